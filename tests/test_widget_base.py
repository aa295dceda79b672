"""What all views share, without a browser: parts, codes, state, pictures, saved files."""

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import matplotlib as mpl
import matplotlib.figure
import numpy as np
import pytest
import traitlets
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from longctx_edu.errors import LongctxError
from longctx_edu.text import Tokens
from longctx_edu.widgets import ArraySource, View, WeightsSource, WeightsView, parts
from longctx_edu.widgets.matrix import TICKS, colours, shares, weights_of, written
from longctx_edu.widgets.plots import legible
from longctx_edu.widgets.sources import MASKED, RecordSource, codes, largest

mpl.use("Agg")

VIEWS = ("attention", "cost", "margins", "memory", "rating", "routing", "weights")
MOST_JAVASCRIPT = 60_000  # bytes as sent
MOST_STYLE_SHEET = 9_000
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script>",
    "<!--",
    " $a$ $b$",
    "\u2028",
    "🙂",
    '"&',
] * 2


def softmax_weights(layers=2, heads=3, n=14, seed=0):
    """Return causal attention weights (layers, heads, n, n) of random scores."""
    scores = np.random.default_rng(seed).normal(size=(layers, heads, n, n)) * 3
    powers = np.where(np.tri(n) > 0, np.exp(scores), 0)
    return (powers / powers.sum(-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def weights():
    return softmax_weights()


class Small(View):
    """A view whose picture costs nothing."""

    _part = "weights"

    def describe(self):
        return "an empty picture"

    def picture(self):
        return mpl.figure.Figure(figsize=(1, 1))


@pytest.fixture
def view(weights):
    return WeightsView(weights, HOSTILE, layer=1, head=2)


# --------------------------------------------------------------------------
# Parts


def reader(**texts):
    return lambda name: texts[name]


def test_a_part_comes_once_and_after_all_that_it_needs():
    read = reader(a="", b="// needs: a\n", c="// needs: a\n", d="// needs: c, b\n")
    assert parts.in_order("d", read=read) == ["a", "c", "b", "d"]
    assert parts.in_order("b", "d", read=read) == ["a", "b", "c", "d"]


def test_parts_that_need_each_other_are_refused():
    read = reader(a="// needs: b\n", b="// needs: a\n")
    with pytest.raises(ValueError, match="a needs b needs a"):
        parts.in_order("a", read=read)


@pytest.mark.parametrize("declared", ["const x = 1;", "function x() {}", "class x {}"])
def test_two_parts_that_declare_one_name_are_refused(declared):
    read = reader(a="let x = 2;\n", b=f"// needs: a\n{declared}\n")
    with pytest.raises(ValueError, match="'a' and 'b' both declare `x`"):
        parts.script("b", read=read)


@pytest.mark.parametrize(
    "line",
    ["import { a } from './a.js';", "export const a = 1;", "await import('x');", "const {a} = b;"],
)
def test_a_part_that_cannot_be_joined_is_refused(line):
    with pytest.raises(ValueError, match="plain declarations"):
        parts.script("a", read=reader(a=f"{line}\n"))


def test_an_unknown_part_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"no part 'heet'.*heat"):
        parts.module("heet")


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_one_small_module_without_imports(name):
    module = parts.module(name)
    assert len(module.encode()) <= MOST_JAVASCRIPT
    assert len(parts.style_sheet(name).encode()) <= MOST_STYLE_SHEET
    assert module.count("export default { render };") == 1
    assert "import" not in re.sub(r"important", "", module)
    assert module == parts.module(name)


@pytest.mark.parametrize("name", parts.part_names())
def test_no_part_reaches_out_or_reads_text_as_html(name):
    text = parts.read_part(name) + parts.read_part(name, "css")
    for forbidden in (
        *("fetch(", "XMLHttpRequest", "WebSocket", "EventSource", "sendBeacon", "://", "url("),
        *("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("),
        *("setTimeout('", "</script", "@import"),
    ):
        assert forbidden not in text


def test_every_part_belongs_to_a_view():
    used = {part for name in VIEWS for part in parts.in_order(name)}
    assert used | {"standalone"} == set(parts.part_names())


# --------------------------------------------------------------------------
# Codes and colours


probabilities = st.floats(2**-20, 1, width=32)


@given(arrays.arrays(np.float32, 20, elements=probabilities))
def test_a_code_gives_its_weight_back_to_three_percent(some):
    found = codes(some, np.ones(20, bool))
    assert (found != MASKED).all()
    np.testing.assert_allclose(weights_of(found), some, rtol=0.03)


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=2).map(sorted))
def test_a_larger_weight_never_has_a_smaller_code(pair):
    low, high = codes(np.array(pair), np.ones(2, bool))
    assert low <= high


@given(st.floats(1e-30, 1))
def test_a_written_weight_is_short_and_within_five_percent(weight):
    assert float(written(weight)) == pytest.approx(weight, rel=0.051)
    assert len(written(weight)) < 8


def test_only_what_must_not_be_seen_is_masked():
    found = codes(np.array([0.0, 0.0, 1e-30, 1.0]), np.array([False, True, True, True]))
    assert found.tolist() == [MASKED, 1, 1, 255]


@pytest.mark.parametrize("scale", TICKS)
def test_a_scale_rises_with_the_weight_from_none_to_all(scale):
    some = 2.0 ** np.arange(-20, 1)
    found = shares(some, scale, np.array(1024 if scale == "wide" else 32))
    assert (np.diff(found) >= 0).all()
    assert 0 <= found[0] < 0.01
    assert found[-1] > 0.9


@pytest.mark.parametrize("scale", ["relative", "wide"])
def test_attention_spread_evenly_is_the_middle_of_the_relative_scale(scale):
    lengths = np.array([2, 100, 8192])
    assert shares(1 / lengths, scale, lengths) == pytest.approx([0.5] * 3)


def test_an_unknown_scale_is_refused():
    with pytest.raises(LongctxError, match="relative, log, linear"):
        shares(np.ones(2), "sqrt", np.array(2))


def test_masked_cells_are_clear_so_that_the_pattern_shows(weights):
    found = codes(weights[0, 0], np.tri(14, dtype=bool))
    alpha = colours(found, "log")[..., 3]
    assert (alpha == np.where(np.tri(14), 255, 0)).all()


# --------------------------------------------------------------------------
# Sources


def test_tiles_and_rows_of_an_array_are_those_of_the_array(weights):
    source = ArraySource(weights)
    assert isinstance(source, WeightsSource)
    assert source.shape == weights.shape
    np.testing.assert_array_equal(source.tile(1, 2, range(3, 9), range(5)), weights[1, 2, 3:9, 0:5])
    np.testing.assert_array_equal(
        source.visible(1, range(3, 9), range(5)), np.tri(14)[3:9, 0:5] > 0
    )
    row = source.row(1, 2, 9, top_k=4)
    np.testing.assert_array_equal(row.weights, weights[1, 2, 9])
    assert row.keys.tolist() == np.argsort(-weights[1, 2, 9])[:4].tolist()
    np.testing.assert_array_equal(row.values, np.sort(weights[1, 2, 9])[::-1][:4])


def test_the_largest_weights_are_among_the_visible_keys_even_where_all_are_zero():
    row = largest(np.zeros(5), np.array([True, False, True, False, True]), 8)
    assert row.keys.tolist() == [0, 2, 4]


def test_axes_of_one_may_be_left_out(weights):
    assert ArraySource(weights[0, 0]).shape == (1, 1, 14, 14)
    assert ArraySource(weights[0]).shape == (1, 3, 14, 14)


def test_half_precision_tensors_are_weights_too(weights):
    import torch

    tensor = torch.tensor(weights).bfloat16().requires_grad_()
    np.testing.assert_allclose(
        ArraySource(tensor).tile(0, 0, range(14), range(14)), weights[0, 0], 0.01
    )


def test_queries_that_come_last_see_the_keys_before_them():
    source = ArraySource(np.full((2, 5), [[0.25] * 4 + [0], [0.2] * 5]))
    assert source.visible(0, range(2), range(5)).tolist() == [[True] * 4 + [False], [True] * 5]


@pytest.mark.parametrize("family", ["llama", "gemma3"])  # gemma3 has windows of 16 tokens
def test_a_recorded_run_is_a_source_that_agrees_with_itself(family):
    from longctx_edu import models
    from longctx_edu.attention import capture

    ids = list(range(3, 27))
    source = RecordSource(capture(models.tiny(family), ids))
    assert source.shape == (3, 6, 24, 24)
    everything = range(24), range(24)
    for layer in range(3):
        whole = source.tile(layer, 4, *everything)
        np.testing.assert_allclose(whole.sum(-1), 1, atol=1e-5)
        np.testing.assert_array_equal(source.visible(layer, *everything), whole > 0)
        for query in (0, 20):
            row = source.row(layer, 4, query, top_k=5)
            np.testing.assert_allclose(row.weights, whole[query], atol=1e-6)
            expected = largest(whole[query], whole[query] > 0, 5)
            np.testing.assert_array_equal(row.keys, expected.keys)
    view = WeightsView(capture(models.tiny(family), ids), ["a"] * 24, layer=2)
    codes_of_view = np.frombuffer(view.codes, np.uint8).reshape(24, 24)
    expected = codes(source.tile(2, 0, *everything), source.visible(2, *everything))
    np.testing.assert_array_equal(codes_of_view, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w * 3, "from 0 to 1"),
        (lambda w: -w, "from 0 to 1"),
        (lambda w: w * np.nan, "from 0 to 1"),
        (lambda w: w[None], "take the first entry"),
        (lambda w: w[0, 0, 0], r"\(layers, heads, queries, keys\)"),
        (lambda w: np.swapaxes(w, -1, -2), "must not see"),
    ],
)
def test_what_are_no_attention_weights_is_refused(weights, change, message):
    with pytest.raises(LongctxError, match=message):
        ArraySource(change(weights))


def test_a_mask_of_another_shape_is_refused(weights):
    with pytest.raises(LongctxError, match=r"\(queries, keys\) = \(14, 14\)"):
        ArraySource(weights, visible=np.ones((3, 3)))


# --------------------------------------------------------------------------
# A view's state


def test_a_view_says_in_words_what_it_shows_and_has_no_address(view, weights):
    best = int(weights[1, 2, 13].argmax())
    assert repr(view) == (
        "WeightsView: attention of layer 1 of 2, head 2 of 3, over 14 tokens; query 13 '\"&' "
        f"looks most at key {best} {HOSTILE[best]!r}, weight {written(weights[1, 2, 13].max())}"
    )
    assert "0x" not in repr(view)


def test_without_a_query_a_view_says_which_head_it_shows(view):
    view.query = -1
    assert view.describe() == "attention of layer 1 of 2, head 2 of 3, over 14 tokens"


def test_even_attention_over_many_keys_is_not_called_none():
    even = WeightsView(np.tri(30) / np.arange(1, 31)[:, None], ["a"] * 30)
    assert even.describe().endswith("weight 0.033")


def test_a_query_that_sees_no_key_is_shown_as_such(weights, tmp_path):
    seen = np.tri(14, dtype=bool)
    seen[3] = False  # padding
    padded = WeightsView(weights * seen, HOSTILE, visible=seen, query=3)
    assert padded.describe().endswith("query 3 ' $a$ $b$' sees no key")
    assert padded.save(tmp_path / "x.png").stat().st_size > 0
    assert padded.save(tmp_path / "x.html").stat().st_size > 0


@pytest.mark.parametrize("top_k", [0, 1025])
def test_a_table_that_is_too_long_or_empty_is_refused_at_once(weights, top_k):
    with pytest.raises(traitlets.TraitError, match="top_k"):
        WeightsView(weights, HOSTILE, top_k=top_k)


def test_the_longest_table_is_saved(weights):
    assert len(WeightsView(weights, HOSTILE, top_k=1024)._saved()["answers"]) == 14


def test_the_browser_gets_the_codes_of_the_head_that_is_chosen(view, weights):
    for layer, head in [(1, 2), (0, 2), (0, 1)]:
        view.set_state({"layer": layer, "head": head})  # as the front end does
        expected = codes(weights[layer, head], np.tri(14, dtype=bool))
        assert view.get_state()["codes"] == expected.tobytes()
        assert view.shown == [layer, head]


def test_python_hears_of_a_choice_in_the_browser(view):
    heard = []
    view.observe(lambda change: heard.append((change.name, change.new)), ["query", "key"])
    view.set_state({"query": 5, "key": 3})
    assert heard == [("query", 5), ("key", 3)]


@pytest.mark.parametrize(
    ("name", "value"), [("layer", 2), ("layer", -1), ("head", 3), ("query", 14), ("key", -2)]
)
def test_a_choice_that_there_is_not_is_refused_and_changes_nothing(view, name, value):
    before = view.get_state()
    with pytest.raises(traitlets.TraitError, match=f"{name} is {value}, but there are"):
        setattr(view, name, value)
    assert view.get_state() == before


def test_a_first_choice_that_there_is_not_is_refused(weights):
    with pytest.raises(traitlets.TraitError, match="layer is 7, but there are 2"):
        WeightsView(weights, HOSTILE, layer=7)


def test_spans_are_code_points_of_the_text(weights):
    text = "".join(HOSTILE)
    one = WeightsView(weights, HOSTILE)
    spans = np.frombuffer(one.spans, "<i4").reshape(-1, 2)
    assert [text[start:end] for start, end in spans] == HOSTILE
    same = WeightsView(weights, Tokens([0] * 14, [tuple(map(int, s)) for s in spans]), text=text)
    assert (same.text, same.spans) == (one.text, one.spans)


def test_of_tokens_that_share_a_character_the_first_shows_it(weights):
    spans = [(0, 1), *[(1, 2)] * 4, *[(n, n + 1) for n in range(2, 11)]]
    shared = WeightsView(weights, Tokens([0] * 14, spans), text="a🙂bcdefghijk", query=4)
    assert "query 4 ''" in shared.describe()


@pytest.mark.parametrize(
    ("tokens", "options", "message"),
    [
        (["a"] * 13, {}, "but there are 13 tokens"),
        ([*["a"] * 13, "\ud83d"], {}, r"half a character \(U\+D83D, .* offset 13; replace it"),
        (Tokens([0] * 14, [(0, 1)] * 14), {"text": "\udc00"}, "half a character"),
        ("a" * 14, {}, "the text of each token"),
        ([1] * 14, {}, "the text of each token"),
        (["a"] * 14, {"text": "a" * 14}, "Tokens together with text"),
        (Tokens([0] * 14, [(n, n + 1) for n in range(14)]), {}, "give the text as well"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(weights, tokens, options, message):
    with pytest.raises(LongctxError, match=message):
        WeightsView(weights, tokens, **options)


def test_the_end_of_a_text_alone_is_refused():
    from longctx_edu import models
    from longctx_edu.attention import capture
    from longctx_edu.inference import Context

    context = Context(models.tiny("llama"))
    for _ in context.prefill([3, 4, 5]):
        pass
    whole = r"whole text.* 2 queries and 5 keys.* from an empty context"
    for weights in (capture(context, [6, 7]), np.full((2, 5), [[0.25] * 4 + [0], [0.2] * 5])):
        with pytest.raises(LongctxError, match=whole):
            WeightsView(weights, ["a"] * 5)


def test_a_text_that_is_too_long_for_this_view_is_refused():
    with pytest.raises(LongctxError, match="257 tokens, and this view shows up to 256"):
        WeightsView(np.eye(257), ["a"] * 257)


def test_a_source_is_shown_as_it_is_and_takes_no_mask(weights):
    source = ArraySource(weights)
    assert WeightsView(source, HOSTILE).codes == WeightsView(weights, HOSTILE).codes
    with pytest.raises(LongctxError, match="leave out visible"):
        WeightsView(source, HOSTILE, visible=np.ones((14, 14)))


# --------------------------------------------------------------------------
# Messages


@pytest.fixture
def sent(view, monkeypatch):
    """What the view sends."""
    found = []
    monkeypatch.setattr(
        type(view), "send", lambda self, content, buffers=None: found.append((content, buffers))
    )
    return found


def test_a_message_is_answered_at_once_with_exact_rows(view, weights, sent):
    asks = [dict(op="row", layer=1, head=h, query=9, top_k=3) for h in (0, 2)]
    view._handle_custom_msg({"id": "a:1", "asks": asks}, [])
    ((content, buffers),) = sent
    assert content == {"id": "a:1", "answers": [{"buffers": 3}, {"buffers": 3}]}
    for place, head in enumerate((0, 2)):
        row, keys, values = buffers[3 * place : 3 * place + 3]
        np.testing.assert_array_equal(np.frombuffer(row, "<f4"), weights[1, head, 9])
        order = np.argsort(-weights[1, head, 9])[:3]
        assert np.frombuffer(keys, "<i4").tolist() == order.tolist()
        np.testing.assert_array_equal(np.frombuffer(values, "<f4"), weights[1, head, 9, order])


@pytest.mark.parametrize(
    "change", [{"op": "colour"}, {"query": 14}, {"query": -1}, {"top_k": "8"}, {"layer": None}]
)
def test_a_message_that_asks_for_what_there_is_not_is_told_so(view, sent, change):
    ask = {**dict(op="row", layer=1, head=0, query=9, top_k=3), **change}
    view._handle_custom_msg({"id": "a:2", "asks": [ask]}, [])
    ((content, buffers),) = sent
    assert content.keys() == {"id", "error"}
    assert content["error"].endswith(".")
    assert buffers == []


def test_a_tile_of_codes_is_cut_from_the_whole(view, weights):
    ask = dict(op="tile", layer=0, head=1, rows=[3, 9], columns=[2, 14])
    facts, (found,) = view.answer(ask)
    whole = codes(weights[0, 1], np.tri(14, dtype=bool))
    assert facts == {}
    assert found == whole[3:9, 2:14].tobytes()
    for wrong in ([3, 3], [9, 3], [-1, 4], [3, 15], [3], "3", [3.0, 9]):
        with pytest.raises(LongctxError, match=r"rows is .* within 0 to 14"):
            view.answer({**ask, "rows": wrong})


def test_messages_of_others_are_left_alone(view, sent):
    view._handle_custom_msg({"kind": "other"}, [])
    assert sent == []


# --------------------------------------------------------------------------
# Pictures and files


class Page(HTMLParser):
    """The elements of a page with their texts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.texts.append("")

    def handle_data(self, data):
        if self.texts:
            self.texts[-1] += data

    def all(self, tag):
        found = zip(self.elements, self.texts, strict=True)
        return [(facts, text) for (name, facts), text in found if name == tag]


def test_displaying_brings_a_described_picture_beside_the_live_view(view):
    data, metadata = view._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert metadata["image/png"] == {"alt": view.describe()}
    assert data["text/plain"] == repr(view)
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == view.model_id


def test_drawing_leaves_no_figure_open_and_no_setting_changed(view):
    import matplotlib.pyplot as plt

    before, open_before = dict(mpl.rcParams), plt.get_fignums()
    view._repr_mimebundle_()
    assert plt.get_fignums() == open_before
    assert dict(mpl.rcParams) == before


@pytest.mark.filterwarnings("error:Glyph")  # matplotlib warns of letters that its font lacks
@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_same_view_gives_the_same_file(weights, tmp_path, ending):
    first, second = (
        WeightsView(weights, HOSTILE, query=3, key=1).save(tmp_path / f"{n}.{ending}")
        for n in (1, 2)
    )
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", ["x.pdf", "x", "x.png.gz", "png"])
def test_another_ending_is_refused_with_those_that_there_are(tmp_path, name):
    with pytest.raises(LongctxError, match=r"\.png, \.svg or \.html"):
        Small().save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "x.html"
    path.write_text("before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("longctx_edu.widgets.base.os.replace", full)
    with pytest.raises(LongctxError, match="No space left"):
        Small().save(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_there_is_not_is_named(tmp_path):
    with pytest.raises(LongctxError, match="none"):
        Small().save(tmp_path / "none" / "x.png")


def test_a_saved_page_holds_texts_as_data_and_forbids_every_connection(view):
    page = Page(view.to_html())
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 2
    assert tags.count("img") == 1  # the static picture, for readers without scripts
    ((facts, _),) = [one for one in page.all("meta") if "http-equiv" in one[0]]
    assert "default-src 'none'" in facts["content"]
    assert "unsafe" not in facts["content"]
    texts = {facts.get("id"): text for facts, text in page.all("script")}
    saved = json.loads(texts["saved"])
    assert saved["state"]["text"] == "".join(HOSTILE)
    assert page.all("title")[0][1].strip() == view.describe()


def test_a_saved_page_holds_the_heads_of_its_layer_and_the_rows_of_its_head(view, weights):
    saved = view._saved()
    assert saved["variants"]["names"] == ["layer", "head"]
    assert list(saved["variants"]["values"]) == ["[1,0]", "[1,1]", "[1,2]"]
    assert len(saved["answers"]) == 14
    key = '{"head":2,"layer":1,"op":"row","query":9,"top_k":8}'
    row = base64.b64decode(saved["answers"][key]["buffers"][0]["$bytes"])
    np.testing.assert_array_equal(np.frombuffer(row, "<f4"), weights[1, 2, 9])


def test_the_longest_text_with_nine_heads_saves_below_two_megabytes(tmp_path):
    view = WeightsView(softmax_weights(1, 9, 256), [" token"] * 256)
    data, _ = view._repr_mimebundle_()
    assert len(data["image/png"]) < 300_000
    assert view.save(tmp_path / "x.html").stat().st_size < 2_000_000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" the", " the"),
        ("\n", "⏎"),
        ("\t", "⇥"),
        ("🙈中", "□□"),
        ("", "▫"),
        ("\x00", "□"),
        ("é", "é"),
    ],
)
def test_a_figure_shows_every_token_as_something(text, shown):
    assert legible(text) == shown


def test_a_view_that_says_nothing_of_itself_is_told_what_it_lacks():
    class Silent(View):
        pass

    with pytest.raises(NotImplementedError, match="Silent does not say what it shows"):
        Silent().describe()


def test_naming_the_views_loads_no_widget_library():
    program = (
        "import sys, longctx_edu.widgets as w; assert 'WeightsView' in dir(w)\n"
        "print(*sys.modules.keys() & {'anywidget', 'traitlets', 'matplotlib', 'numpy', 'torch'})"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout.split() == [], ran.stderr


def test_the_views_load_no_torch():
    program = "import sys, longctx_edu.widgets.weights; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "False\n", ran.stderr
