"""The explorer of costs in Python: it says what ``longctx_edu.cost`` counts, and nothing else."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import traitlets
from asked_views import heard
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx_edu import cost, models
from longctx_edu.cost import Architecture, Hardware
from longctx_edu.widgets import CostExplorer
from longctx_edu.widgets.cost import GIVEN, SHAPE
from longctx_edu.widgets.plots import png
from longctx_edu.widgets.units import amount, digits, duration

MACHINE = Hardware("this machine", {"float32": 2e10, "16-bit": 1e10}, 1e10, 8e9, "a test's")


def asked(view, **changed):
    """Return what the browser asks for the view's present shape."""
    names = ("preset", "precision", "window", *SHAPE)
    return {"op": "cost", **{name: getattr(view, name) for name in names}, **changed}


@settings(max_examples=25)
@given(
    preset=st.sampled_from(list(cost.KNOWN_MODELS)),
    precision=st.sampled_from(list(cost.PRECISIONS)),
    layers=st.integers(1, 100),
    groups=st.integers(1, 8),
    kv_heads=st.integers(1, 8),
    head_dim=st.integers(8, 256),
    window=st.one_of(st.just(0), st.integers(1, 10**5)),
    tokens=st.integers(1, 2**20),
)
def test_every_number_is_the_one_that_the_counts_give(
    preset, precision, layers, groups, kv_heads, head_dim, window, tokens
):
    view = CostExplorer(
        preset,
        tokens=tokens,
        precision=precision,
        machine=MACHINE,
        layers=layers,
        heads=groups * kv_heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        window=window,
    )
    shape = dict(layers=layers, heads=groups * kv_heads, kv_heads=kv_heads, head_dim=head_dim)
    decoder = cost.KNOWN_MODELS[preset].resized(**shape).with_window(window or None)
    kept = cost.PRECISIONS[precision]
    facts, buffers = view.answer(asked(view))
    assert buffers == []
    assert facts["tokens"] == view.stops["tokens"]
    at = facts["tokens"].index(tokens)
    exact = lambda number: pytest.approx(number, rel=1e-5)  # noqa: E731
    assert facts["prefill"]["linear"][at] == exact(cost.linear_flops(decoder, tokens))
    assert facts["prefill"]["attention"][at] == exact(cost.attention_flops(decoder, tokens))
    assert facts["prefill"]["lm_head"] == cost.lm_head_flops(decoder)
    assert facts["decode"]["attention"][at] == exact(cost.attention_flops(decoder, past=tokens))
    assert facts["weights"] == cost.weight_bytes(decoder, bytes_per_number=kept.weight_bytes)
    assert facts["cache"][at] == exact(
        cost.kv_cache_bytes(decoder, tokens, bytes_per_number=kept.cache_bytes)
    )
    crossing = cost.crossover_tokens(decoder)
    assert (facts["crossover"] or [float("inf")])[0] == crossing
    for machine, seconds in zip([MACHINE, *cost.GPUS], facts["seconds"], strict=True):
        bounds = cost.estimate(decoder, tokens, kept).on(machine)
        assert seconds["prefill"][at] == exact(bounds.prefill)
        assert seconds["decode"][at] == exact(bounds.decode)
        assert bool(seconds["holds"][at]) is bounds.holds
        assert bool(seconds["computes"][at]) is (bounds.prefill_limit == "arithmetic")


def test_it_opens_on_the_embedded_model_and_takes_any_shape():
    assert CostExplorer().architecture == cost.KNOWN_MODELS[cost.EMBEDDED_MODEL]
    assert CostExplorer("GPT-2 124M").architecture == cost.KNOWN_MODELS["GPT-2 124M"]
    language_model = models.tiny("gemma3")
    view = CostExplorer(language_model, layers=5)
    assert view.preset == GIVEN
    assert view.presets[GIVEN]["window"] == 16
    assert view.architecture == Architecture.of(language_model).resized(layers=5)
    mixed = Architecture.of(language_model)
    assert CostExplorer(mixed).architecture == mixed


def test_python_drives_every_slider_and_the_shape_follows():
    view = CostExplorer()
    view.preset = "Llama 3 8B"
    assert view.architecture == cost.KNOWN_MODELS["Llama 3 8B"]
    view.heads = 12  # which 8 KV heads do not divide
    assert view.kv_heads == 6
    assert view.stops["kv_heads"] == [1, 2, 3, 4, 6, 12]
    view.heads = 1
    assert view.kv_heads == 1
    view.tokens, view.window, view.layers = 5000, 300, 3
    for name in ("tokens", "window", "layers"):
        assert getattr(view, name) in view.stops[name]
    assert view.stops["window"][-1] == 0  # all comes after every number
    assert view.architecture.windows == (300,) * 3
    view.precision = "4-bit weights"
    assert view.estimate == cost.estimate(view.architecture, 5000, cost.PRECISIONS["4-bit weights"])
    view.preset = "GPT-2 124M"
    assert view.architecture == cost.KNOWN_MODELS["GPT-2 124M"]


def test_a_browser_that_sends_several_traits_at_once_is_understood():
    view = CostExplorer()
    view.set_state({"heads": 8, "kv_heads": 4})
    assert (view.heads, view.kv_heads) == (8, 4)
    view.set_state({"heads": 9})
    assert (view.heads, view.kv_heads) == (9, 3)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("preset", "Llama 9", "There is no preset 'Llama 9'; choose one of SmolLM2 135M"),
        ("kv_heads", 2, "2 KV heads cannot be shared evenly by 9 heads; choose one of 1, 3, 9"),
        ("precision", "float8", "float8"),
        ("layers", 0, "layers"),
        ("machine", {"name": "fast"}, "fields of longctx_edu.cost.Hardware"),
        ("machine", {**vars(MACHINE), "bytes_per_second": 0}, "more than 0"),
        ("machine", {**vars(MACHINE), "flops_per_second": {}}, "float32"),
    ],
)
def test_what_there_is_not_is_refused_and_changes_nothing(name, value, told):
    view = CostExplorer()
    before = view.describe(), view.machine
    with pytest.raises(traitlets.TraitError, match=told):
        setattr(view, name, value)
    assert (view.describe(), view.machine) == before


def test_what_the_browser_asks_wrongly_is_told_in_a_sentence():
    view = CostExplorer()
    assert "cannot be shared evenly" in heard(view, **asked(view, heads=8))
    assert "no such shape" in heard(view, **asked(view, preset="none"))
    assert "no such shape" in heard(view, **asked(view, layers="many"))
    assert "has no answer" in heard(view, **asked(view, precision="float8"))
    with pytest.raises(TypeError, match="takes no width"):
        CostExplorer(width=3)


def test_no_time_of_this_machine_is_told_before_it_is_measured():
    view = CostExplorer()
    assert view.machine == {}
    assert len(view.answer(asked(view))[0]["seconds"]) == len(cost.GPUS)
    assert view.answer({"op": "measure"}) == ({}, [])
    assert view.machine["name"] == "this machine"
    assert view.machines[0].flops_per_second["float32"] > 1e7
    seconds = view.answer(asked(view))[0]["seconds"]
    assert len(seconds) == len(cost.GPUS) + 1
    at = view.stops["tokens"].index(view.tokens)
    assert seconds[0]["prefill"][at] == pytest.approx(
        view.estimate.on(view.machines[0]).prefill, rel=1e-5
    )


def test_a_recorded_machine_can_be_given_again():
    view = CostExplorer(machine=MACHINE)
    other = CostExplorer()
    other.machine = view.machine
    assert other.machines == view.machines == [MACHINE, *cost.GPUS]
    assert CostExplorer(machine=cost.GPUS[0]).machines[0] == cost.GPUS[0]


def test_it_says_what_is_shown_and_what_was_changed():
    view = CostExplorer("Mistral 7B", tokens=32768, precision="16-bit", window=0, layers=16)
    told = view.describe()
    assert told.startswith(
        "Reading 32,768 tokens with Mistral 7B with 16 layers, no window takes "
        f"{amount(view.estimate.prefill.total, 'FLOP')} ("
    )
    assert f"{amount(view.estimate.cache_bytes, 'B')} of KV cache in 16-bit; " in told
    crossing = cost.crossover_tokens(view.architecture)
    assert told.endswith(f"attention overtakes the linear layers at {crossing:,} tokens")
    view.window = 128
    assert "with 16 layers, a window of 128 takes" in view.describe()
    assert view.describe().endswith("attention never overtakes the linear layers")


def test_amounts_are_written_with_three_digits():
    assert [digits(n) for n in (0, 6.136, 61.36, 613.6, 6136, 9.996, 0.0123456)] == (
        ["0", "6.14", "61.4", "614", "6,136", "10.0", "0.0123"]
    )
    assert amount(2.9e12, "FLOP") == "2.90 TFLOP"
    assert amount(999.6e6, "B") == "1.00 GB"
    assert [duration(n) for n in (0.00478, 90, 7200, 3e9, 2e-7)] == (
        ["4.78 ms", "1.50 min", "2.00 h", "95.1 years", "0.200 µs"]
    )


def test_the_picture_shows_the_same_costs_and_is_the_same_each_time():
    view = CostExplorer(machine=MACHINE, tokens=5000)
    figure = view.picture()
    work, times = figure.axes
    lines = {line.get_label(): line for line in work.get_lines()}
    lengths = view.stops["tokens"]
    assert list(lines["attention"].get_xdata()) == lengths
    assert list(lines["attention"].get_ydata()) == [
        cost.attention_flops(view.architecture, n) for n in lengths
    ]
    assert [text.get_text() for text in times.get_yticklabels()] == (
        ["this machine", *(gpu.name for gpu in cost.GPUS)]
    )
    assert "6,143 tokens" in [text.get_text() for text in work.texts]
    assert png(figure) == png(view.picture())


def test_a_saved_file_holds_a_grid_of_every_model_window_and_precision(tmp_path):
    view = CostExplorer("GPT-2 124M", layers=24, window=100, tokens=4096)
    saved = view._saved()
    assert saved["variants"]["names"] == ["preset"]
    own = saved["variants"]["values"]['["GPT-2 124M"]']
    assert own["layers"] == 24  # opening the file changes nothing
    keys = set(saved["answers"])
    assert view.presets["GPT-2 124M"]["window"] in own["stops"]["window"]
    for preset, state in saved["variants"]["values"].items():
        shape = {name: state[name] for name in SHAPE}
        for window in state["stops"]["window"]:
            for precision in cost.PRECISIONS:
                ask = dict(op="cost", preset=json.loads(preset)[0], precision=precision)
                ask.update(shape, window=window)
                assert json.dumps(ask, sort_keys=True, separators=(",", ":")) in keys
    assert len(view.to_html()) < 2_000_000


def test_given_shapes_are_refused_where_their_cost_is_not_known():
    from transformers import MixtralConfig

    with pytest.raises(ValueError, match="mixture of experts"):
        CostExplorer(MixtralConfig())


def test_a_shape_without_a_crossing_and_one_whose_crossing_lies_far_out_are_drawn():
    small = cost.KNOWN_MODELS[cost.EMBEDDED_MODEL]
    for shape in (small.with_window(32), replace(small, intermediate=10**8)):
        assert png(CostExplorer(shape).picture())


def test_the_explorer_loads_no_torch():
    program = (
        "import sys; from longctx_edu.widgets import CostExplorer as C; C().describe(); "
        "print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "False\n", ran.stderr
