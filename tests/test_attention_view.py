"""The view of attention in Python: its tiles and rows are the softmax, its state tells all."""

import threading

import numpy as np
import pytest
import torch
import traitlets
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx_edu import models
from longctx_edu.attention import capture
from longctx_edu.attention.ablation import margin_without
from longctx_edu.attention.head_scores import head_scores
from longctx_edu.attention.record import AttentionRecord, Weighting
from longctx_edu.errors import LongctxError
from longctx_edu.memory.attention import Recall, remembering
from longctx_edu.memory.bank import MemoryBank
from longctx_edu.memory.storage import Storage
from longctx_edu.text import tokenize
from longctx_edu.widgets import ArraySource, AttentionView, WeightsView, parts
from longctx_edu.widgets.background import Lane, on_one_core
from longctx_edu.widgets.matrix import colours, weights_of
from longctx_edu.widgets.pyramid import TILE, Pyramid, Tile
from longctx_edu.widgets.sources import RecordSource, codes
from longctx_edu.widgets.tours import ATTENTION_TOUR, is_done

SENTENCE = "The keeper of the lamp wrote that the keeper of the boat was late. "


def make_record(tokens, *, heads=2, kv_heads=1, layers=1, window=None, start=0, seed=0):
    """Return a record of random queries and keys, and of values of different lengths."""
    chance = torch.Generator().manual_seed(seed)
    record = AttentionRecord(reserve=tokens)

    def some(count, length):
        return torch.randn(count, length, 8, generator=chance)

    for layer in range(layers):
        query = some(heads, tokens)[:, start:]
        key, value = some(kv_heads, tokens), 2 * some(kv_heads, tokens)
        record.append(layer, query, key, value, scale=1.5, window=window, past=start)
    record.ids = [n % 11 for n in range(tokens)]
    return record


def direct(record, layer, head, *, by_value_norm=False, hide_sink=False):
    """Return a head's weights by the definition, float64, (rows, columns)."""
    query, key = record.queries(layer, head).double(), record.keys(layer, head).double()
    rows = torch.arange(record.start, record.tokens)[:, None]
    distance = rows - torch.arange(record.tokens)
    hidden = (distance < 0) | (distance >= (record.window(layer) or np.inf))
    weights = (query @ key.T * record.scale(layer)).masked_fill(hidden, -torch.inf).softmax(-1)
    if by_value_norm:
        weights = weights * record.value_norms(layer, head)
    if hide_sink:
        weights[:, 0] = 0
    return (weights / weights.sum(-1, keepdim=True)).nan_to_num().numpy(), ~hidden.numpy()


@pytest.fixture(scope="module")
def record():
    return make_record(700, layers=2, heads=4, kv_heads=2)


@pytest.fixture(scope="module")
def small():
    """A view of a real run of a tiny model, and the model."""
    model = models.tiny()
    tokens = tokenize(model.tokenizer, 3 * SENTENCE)
    return capture(model, tokens.ids), tokens, model


def view_of(small, **options):
    found, tokens, _ = small
    return AttentionView(found, tokens, text=3 * SENTENCE, **options)


def words(count):
    return [f"w{n} " for n in range(count)]


# --------------------------------------------------------------------------
# Tiles and rows


@given(
    tokens=st.integers(1, 600),
    start=st.integers(0, 50),
    window=st.sampled_from([None, 1, 40]),
    counted=st.sampled_from([{}, {"hide_sink": True}, {"by_value_norm": True}]),
)
@settings(max_examples=15)
def test_a_tile_is_the_direct_softmax_to_one_step_of_its_code(tokens, start, window, counted):
    start = min(start, tokens - 1)
    record = make_record(tokens, start=start, window=window)
    pyramid = Pyramid(RecordSource(record))
    weights, visible = direct(record, 0, 1, **counted)
    expected = codes(weights, visible).astype(int)
    high, wide = pyramid.tiles_of(0)
    for row in range(high):
        for column in range(wide):
            found = pyramid.codes(Tile(0, 1, 0, row, column, **counted)).astype(int)
            place = np.s_[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
            np.testing.assert_array_equal(found == 0, expected[place] == 0)
            assert abs(found - expected[place]).max(initial=0) <= 1


@pytest.mark.parametrize("pooling", ["max", "mean"])
@pytest.mark.parametrize("window", [None, 100])
def test_a_cell_of_every_level_is_pooled_from_the_weights_it_stands_for(pooling, window):
    record = make_record(700, window=window)
    pyramid = Pyramid(RecordSource(record))
    weights, visible = direct(record, 0, 0)
    for level in range(pyramid.top + 1):
        side = 1 << level
        high, wide = pyramid.tiles_of(level)
        whole = np.block(
            [
                [pyramid.codes(Tile(0, 0, level, y, x, pooling=pooling)) for x in range(wide)]
                for y in range(high)
            ]
        )
        for row, column in ((0, 0), (5, 2), (whole.shape[0] - 1, whole.shape[1] - 1), (40, 41)):
            place = np.s_[row * side : (row + 1) * side, column * side : (column + 1) * side]
            expected = codes(getattr(np, pooling)(weights[place]), visible[place].any())
            assert abs(int(whole[row, column]) - int(expected)) <= 1


def test_levels_agree_a_coarse_cell_is_the_largest_of_its_four_finer_ones(record):
    pyramid = Pyramid(RecordSource(record))
    fine = pyramid.codes(Tile(1, 3, 0, 1, 0))
    coarse = pyramid.codes(Tile(1, 3, 1, 0, 0))[128:256, :128]
    np.testing.assert_array_equal(coarse, fine.reshape(128, 2, 128, 2).max(axis=(1, 3)))


def test_a_rough_tile_is_never_brighter_than_the_exact_one_and_a_thumbnail_is_small(record):
    pyramid = Pyramid(RecordSource(record))
    rough, exact = (pyramid.codes(Tile(0, 2, pyramid.top, rough=one)) for one in (True, False))
    np.testing.assert_array_equal(rough == 0, exact == 0)
    assert (rough <= exact).all()
    assert (rough < exact).any()
    assert max(pyramid.thumbnail(0, 2).shape) <= 64


@pytest.mark.parametrize("by_value_norm", [False, True])
@pytest.mark.parametrize("hide_sink", [False, True])
def test_a_row_is_exact_however_weights_are_counted(record, by_value_norm, hide_sink):
    counted = dict(by_value_norm=by_value_norm, hide_sink=hide_sink)
    weights, _ = direct(record, 1, 2, **counted)
    for query in (1, 350, 699):
        row = RecordSource(record).row(1, 2, query, top_k=5, **counted)
        np.testing.assert_allclose(row.weights, weights[query], atol=1e-5)
        np.testing.assert_array_equal(np.sort(row.values)[::-1], row.values)
        assert weights[query][row.keys[0]] == pytest.approx(weights[query].max(), abs=1e-6)


def test_without_the_first_token_the_first_row_has_nothing(record):
    weighting = Weighting(hide_sink=True)
    assert record.row(0, 0, 0, weighting=weighting).weights.tolist() == [0]
    tile = record.tile(0, 0, range(3), range(3), weighting=weighting)
    assert tile[0].tolist() == [0, 0, 0]
    assert tile[1].tolist() == [0, 1, 0]


def test_a_text_read_on_forgets_what_was_worked_out_of_it():
    record = make_record(20)
    record.row(0, 0, 19, weighting=Weighting(hide_sink=True))
    key, value = (torch.cat([record.keys(0, 0)[None], torch.randn(1, 10, 8)], 1) for _ in range(2))
    record.append(0, torch.ones(2, 10, 8), key, value, scale=1.5, window=None, past=20)
    row = record.row(0, 0, 25, weighting=Weighting(hide_sink=True)).weights
    assert float(row.sum()) == pytest.approx(1, abs=1e-5)


def test_an_array_and_a_record_of_the_same_weights_give_the_same_tiles(record):
    weights, _ = direct(record, 0, 0)
    array, recorded = Pyramid(ArraySource(weights)), Pyramid(RecordSource(record))
    for tile in (Tile(0, 0, 0, 1, 1), Tile(0, 0, 2), Tile(0, 0, 1, 0, 0, hide_sink=True)):
        found, expected = array.codes(tile).astype(int), recorded.codes(tile).astype(int)
        assert abs(found - expected).max() <= 1


def test_weights_alone_do_not_tell_the_lengths_of_values():
    view = AttentionView(np.eye(3), ["a", "b", "c"], by_value_norm=True, query=-1)
    with pytest.raises(LongctxError, match="lengths of the values"):
        view.answer(dict(op="tile", layer=0, head=0, level=0, by_value_norm=True))


def test_tiles_are_worked_out_once_and_the_oldest_go(record, monkeypatch):
    source, asked = RecordSource(record), []
    monkeypatch.setattr(
        source, "pooled", lambda *places, **how: asked.append(places) or np.zeros((256, 256))
    )
    pyramid = Pyramid(source, kept_bytes=2 * 256 * 256)
    first, *others = (Tile(0, head, 0, 1, 0) for head in range(3))
    for tile in (first, first, others[0], first, others[1], first):
        pyramid.codes(tile)
    assert len(asked) == 3
    pyramid.codes(others[0])
    assert len(asked) == 4


@pytest.mark.parametrize(
    "change",
    [dict(level=11), dict(level=-1), dict(row=3), dict(column=1.0), dict(head=4),
     dict(pooling="sum"), dict(rough="yes"), dict(colour=1), dict(layer=True)],
)  # fmt: skip
def test_a_tile_that_there_is_not_is_refused(record, change):
    view = AttentionView(record, words(700))
    ask = dict(op="tile", layer=0, head=0, level=0, row=0, column=0) | change
    with pytest.raises(LongctxError, match=r"whole number|is not told|one of"):
        view.answer(ask)


@pytest.mark.parametrize(
    "ask",
    [dict(op="tile"), dict(op="tile", level=0), dict(op="tile", layer=0, level=0),
     dict(op="tile", layer=0, head=1), dict(op="heads"), dict(op="heads", layer=True),
     dict(op="heads", layer=0, head=1), dict(op="heads", layer=0, level=1)],
)  # fmt: skip
def test_a_question_that_lacks_a_place_or_names_one_too_many_is_refused(record, ask):
    view = AttentionView(record, words(700))
    with pytest.raises(LongctxError, match=r"whole number|is not told|\[start, stop\]"):
        view.answer(ask)


# --------------------------------------------------------------------------
# Answers beside the kernel's thread


def test_of_one_askers_messages_only_the_newest_is_answered():
    begun, go, answered = threading.Event(), threading.Event(), []

    def answer(message):
        begun.set()
        go.wait(10)
        answered.append(message["n"])

    lane = Lane(answer, urgency=lambda message: message["urgency"])
    lane.put("a", {"n": 1, "urgency": 1})
    assert begun.wait(10)
    for number in (2, 3, 4):
        lane.put("a", {"n": number, "urgency": 1})
    lane.put("b", {"n": 5, "urgency": 0})
    go.set()
    lane.wait()
    assert answered == [1, 5, 4]
    lane.put("a", {"n": 6, "urgency": 1})  # a lane that ran empty starts again
    lane.wait()
    assert answered[-1] == 6


def test_a_lane_on_one_core_leaves_other_threads_theirs():
    cores, seen = torch.get_num_threads(), []
    try:
        torch.set_num_threads(3)
        lane = Lane(lambda _: seen.append(torch.get_num_threads()), begin=on_one_core)
        lane.put("a", {})
        lane.wait()
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert [*seen, torch.get_num_threads()] == [1, 3, 3]
    finally:
        torch.set_num_threads(cores)


def test_a_message_is_answered_in_another_thread_and_an_error_is_told(small, monkeypatch):
    view, sent = view_of(small), []
    monkeypatch.setattr(
        view, "send", lambda *all_of: sent.append((threading.current_thread().name, *all_of))
    )
    good = dict(op="tile", layer=0, head=0, level=0)
    view._reply(view, {"id": "x:1", "asks": [good, {**good, "head": 1}]}, [])
    view._reply(view, {"id": "y:1", "asks": [{**good, "head": 99}]}, [])
    view._reply(
        view, {"id": "z:1", "asks": [dict(op="row", layer=0, head=0, query=3, top_k=2)]}, []
    )
    view._reply(view, "nonsense", [])
    for lane in view._lanes.values():
        lane.wait()
    names, facts = {one[0] for one in sent}, {one[1]["id"]: one[1:] for one in sent}
    assert names == {"attention pictures", "attention numbers"}
    told, buffers = facts["x:1"]
    length = len(view._pieces)
    assert [one["buffers"] for one in told["answers"]] == [1, 1]
    assert [len(one) for one in buffers] == [length * length] * 2
    assert "head is 99" in facts["y:1"][0]["error"]
    assert len(facts["z:1"][1]) == 3


# --------------------------------------------------------------------------
# State


def test_state_is_driven_and_read_from_python(small):
    view = view_of(small, layer=1, head=2, key=3, view=[0, 4, 10, 14], scale="log", hide_sink=True)
    assert (view.layer, view.head, view.key, view.query) == (1, 2, 3, len(view._pieces) - 1)
    assert view.view == [0, 4, 10, 14]
    assert "layer 1 of 3, head 2 of 6" in view.describe()
    view.view = []
    length = float(len(view._pieces))
    assert view.view == [0, 0, length, length]


@pytest.mark.parametrize(
    "change",
    [dict(view=[0, 0, 10]), dict(view=[5, 0, 5, 10]), dict(view=[0, 0, 1e6, 10]), dict(layer=3),
     dict(query=10_000), dict(pooling="sum"), dict(sort="beauty")],
)  # fmt: skip
def test_a_state_that_there_is_not_is_refused(small, change):
    view = view_of(small)
    (name, value), before = *change.items(), view.view
    with pytest.raises(traitlets.TraitError):
        setattr(view, name, value)
    assert view.view == before


def test_rows_that_begin_later_are_counted_as_tokens(record):
    late = make_record(60, start=40)
    view = AttentionView(late, words(60))
    assert (view.query, view.view) == (59, [0, 40, 60, 60])
    with pytest.raises(traitlets.TraitError, match="choose from 40 to 59"):
        view.query = 39
    view.query = 45
    weights, _ = direct(late, 0, 0)
    best = int(weights[5].argmax())
    assert f"query 45 'w45 ' looks most at key {best}" in view.describe()


def test_tokens_that_do_not_fit_are_refused(record):
    with pytest.raises(LongctxError, match="700 tokens, but there are 699"):
        AttentionView(record, words(699))


def test_a_source_without_cells_is_refused():
    class Bare:
        shape = (1, 1, 2, 2)

        def tile(self, *_, **__): ...

        visible = row = tile

    with pytest.raises(LongctxError, match="gives no pooled cells"):
        AttentionView(Bare(), ["a", "b"])


@pytest.mark.parametrize(
    "visible",
    [np.ones((4, 4)), np.tri(4) - np.tri(4, k=-2), np.tri(4) * [[1], [0], [1], [1]]],
    ids=["everything", "window", "padding"],
)
def test_a_mask_that_is_not_causal_is_left_to_the_view_that_draws_any(visible):
    source = ArraySource(np.eye(4) * visible, visible=visible)
    with pytest.raises(LongctxError, match="give them to WeightsView, which draws any mask"):
        AttentionView(source, words(4))
    WeightsView(source, words(4))
    AttentionView(ArraySource(np.eye(4), visible=np.tri(4)), words(4))


def test_scores_are_those_of_the_heads_and_weights_alone_have_none(small):
    view = view_of(small)
    expected = head_scores(small[0])
    assert set(view.scores) == set(expected)
    for name, found in view.scores.items():
        found = np.array(found, dtype=float)
        np.testing.assert_allclose(found, expected[name].numpy(), atol=1e-4)
    assert AttentionView(np.eye(2), ["a", "b"]).scores == {}


def test_a_key_is_taken_away_in_a_head_a_layer_or_everywhere(small):
    found, tokens, model = small
    view = view_of(small, model=model, layer=1, head=2, query=30, key=4)
    for where, place in (
        ("head", dict(layer=1, head=2)),
        ("layer", dict(layer=1)),
        ("everywhere", {}),
    ):
        expected = margin_without(model, tokens.ids, 30, 4, **place)
        ablation = view.without_key(where=where)
        assert ablation.token == expected.token
        assert ablation.after.margin == pytest.approx(expected.after.margin, abs=1e-4)
    facts, _ = view.answer(dict(op="without", query=31, key=2, where="layer"))
    told = facts["without"]
    assert told["token"] == model.tokenizer.decode([margin_without(model, tokens.ids, 31, 2).token])
    assert 0 < told["before"]["probability"] <= 1


def test_without_a_model_or_a_key_nothing_is_taken_away(small):
    with pytest.raises(LongctxError, match="was given its model"):
        view_of(small, key=1).without_key()
    view = view_of(small, model=small[2])
    with pytest.raises(LongctxError, match="Choose a query and a key"):
        view.without_key()
    with pytest.raises(LongctxError, match="sees the keys 0 to 3"):
        view.without_key(3, 5)


def test_the_tokens_of_a_memory_stand_before_those_of_the_text():
    model, text = models.tiny(), "The keeper of the boat"
    bank = MemoryBank(model, storage=Storage("float32"))
    for _ in bank.add(SENTENCE):
        pass
    tokens = tokenize(model.tokenizer, text)
    with remembering(bank, Recall(k=4)):
        record = capture(model, tokens.ids)
    memory, keys = len(bank), len(bank) + len(tokens.ids)
    view = AttentionView(record, tokens, text=text, model=model)
    assert (view.offers["memory"], view.offers["model"]) == (memory, False)
    assert view.view == [0, memory, keys, keys]
    assert view._name(memory - 1) == f"memory {memory - 1}"
    assert view._name(memory) == text[slice(*tokens.spans[0])]
    found = view._pyramid.codes(Tile(1, 2, 0))
    weights = record.tile(1, 2, range(memory, keys), range(keys)).numpy()
    assert (found[:, :memory] > 0).all()  # every query may look up what it wants
    assert (found[:, memory:] > 0).tolist() == np.tri(len(tokens.ids), dtype=bool).tolist()
    expected = codes(weights, found > 0).astype(int)
    assert abs(found.astype(int) - expected).max() <= 1
    whole = AttentionView(record, words(keys))
    assert whole._name(0) == "w0 "


# --------------------------------------------------------------------------
# Tours


def test_a_tour_is_done_step_by_step_as_its_conditions_say(small):
    view = view_of(small, tour=ATTENTION_TOUR)
    assert view.tour_done == [False] * len(ATTENTION_TOUR)

    def zoom():
        view.view = [0, 0, 10, 10]

    acts = (
        lambda: setattr(view, "head", 3),
        lambda: setattr(view, "sort", "previous token"),
        lambda: setattr(view, "hide_sink", True),
        zoom,
        lambda: setattr(view, "query", 20),
        lambda: setattr(view, "guesses", [1, 2, 3]),
        lambda: setattr(view, "key", 2),
    )
    for step, act in enumerate(acts):
        view.tour_step = step
        assert not view.tour_done[step], ATTENTION_TOUR[step]["text"]
        if step == 5:
            assert view.predicting
        act()
        assert view.tour_done[: step + 1] == [True] * (step + 1)
    assert not view.predicting
    assert not view.hide_sink
    view.tour_step = 99
    assert view.tour_step == len(ATTENTION_TOUR) - 1


def test_a_tour_names_what_there_is(small):
    names = set(view_of(small)._state_names()) | {"place", "width"}
    for step in ATTENTION_TOUR:
        assert set(step) == {"text", "state", "target", "done"}
        assert set(step["state"]) <= names
        assert set(step["done"]) <= names
        assert f'"{step["target"]}"' in parts.read_part("attention")


def test_an_unknown_condition_is_refused():
    with pytest.raises(ValueError, match="changed"):
        is_done({"done": {"key": {"about": 3}}}, {"key": 3}, {"key": 3})


# --------------------------------------------------------------------------
# Pictures and files


def test_a_view_is_displayed_with_a_described_picture(small):
    data, metadata = view_of(small, key=2, view=[0, 10, 20, 30])._repr_mimebundle_()
    assert data["image/png"]
    assert metadata["image/png"]["alt"].startswith("attention of layer 0 of 3, head 0 of 6, over")


@pytest.mark.parametrize("window", [None, 7])
def test_the_picture_compares_weights_with_an_even_share_of_the_keys_in_sight(window):
    record = make_record(60, layers=2, window=window)
    view = AttentionView(record, words(60), layer=1, scale="relative")
    heads, _, matrix, _ = view._closed_picture().axes
    # Without being told how many keys a row sees, ``colours`` counts those that are not masked.
    expected = colours(view._pyramid.codes(Tile(1, 0, 0)), "relative")
    for axes in (heads, matrix):
        np.testing.assert_array_equal(axes.images[0].get_array()[:60, :60], expected)


@pytest.mark.parametrize("ending", ["png", "svg", "html"])
def test_a_view_is_saved_in_every_form(small, tmp_path, ending):
    path = view_of(small, hide_sink=True, pooling="mean").save(tmp_path / f"a.{ending}")
    assert path.stat().st_size > 5000


def test_a_long_text_saves_below_two_megabytes(tmp_path):
    record = make_record(4096, heads=9, kv_heads=3)
    view = AttentionView(record, [f" word{n % 700}" for n in range(4096)])
    assert view.save(tmp_path / "long.html").stat().st_size < 2_000_000
    data, _ = view._repr_mimebundle_()
    assert len(data["image/png"]) < 700_000


def test_a_saved_file_holds_its_layer_its_head_finer_and_the_chosen_row(record):
    view = AttentionView(record, words(700), layer=1, head=2)
    saved = view._saved()
    assert set(saved["variants"]["values"]) == {f"[1,{head}]" for head in range(4)}
    kinds = [key.split('"op":"')[1].split('"')[0] for key in saved["answers"]]
    assert kinds.count("heads") == 1
    assert kinds.count("row") == 1
    assert kinds.count("tile") == 4 + 3  # all heads in one tile, the shown one in what is seen
    assert saved["state"]["finest"] == 1
    assert not saved["state"]["offers"]["model"]


def test_the_script_of_the_view_is_small():
    assert len(parts.module("attention").encode()) < 60_000


@pytest.mark.model
def test_on_a_real_text_heads_have_their_patterns_and_a_tile_is_the_softmax():
    model = models.load()
    text = 12 * SENTENCE
    tokens = tokenize(model.tokenizer, text)
    record = capture(model, tokens.ids, layers=[0, 17])
    view = AttentionView(record, tokens, text=text, layer=1)
    weights, visible = direct(record, 17, 4)
    found, _, _, side = view._pyramid.cut(1, 4, *[range(len(tokens.ids))] * 2, cells=256)
    assert side == 1
    assert abs(found.astype(int) - codes(weights, visible).astype(int)).max() <= 1
    np.testing.assert_allclose(
        weights_of(found)[weights > 1e-5], weights[weights > 1e-5], rtol=0.06
    )
    assert max(max(layer) for layer in view.scores["sink"]) > 0.5
