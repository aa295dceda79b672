"""What was recorded can be read, says where it comes from, and still holds."""

import io
import json
from pathlib import Path

import pytest

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.figures import Result, Target, bench_names, figures_of
from longctx_edu.evaluation.recorded import recorded
from longctx_edu.evaluation.samples import sample, samples_of
from longctx_edu.teaching import notebooks
from longctx_edu.widgets.pictures import README_PICTURE, right_and_read
from longctx_edu.widgets.plots import png

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "notebooks" / "results"
RECORDS = sorted(path.stem for path in RESULTS.glob("*.json"))
RECORDED_BENCHES = [name for name in bench_names() if name in RECORDS]
SAMPLES = [
    pytest.param(name, taken, id=taken.of, marks=[pytest.mark.model] if taken.needs_model else [])
    for name in RECORDED_BENCHES
    for taken in samples_of(name)
]


@pytest.mark.parametrize("name", bench_names())
def test_every_bench_was_recorded_by_its_command(name):
    result = recorded(name)
    assert result.command == f"longctx bench {name} --record"
    assert set(result.figures) == {figure.id for figure in figures_of(name)}
    failed = [id for id, row in result.figures.items() if row["value"] is None]
    assert not failed, f"{failed} could not be measured when the bench was recorded"


def test_what_was_never_recorded_is_told_how_to():
    with pytest.raises(LongctxError, match="longctx bench nothing --record"):
        recorded("nothing")


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_says_where_it_comes_from_and_its_verdicts_follow_from_its_numbers(name):
    content = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    assert list(content) == ["schema", "command", "versions", "seed", "machine", "rows"]
    result = recorded(name)
    assert {"python", "torch", "transformers", "longctx_edu"} <= set(result.versions)
    assert set(result.machine) == {"cores", "memory_gib", "cpu", "os"}
    for row in result.figures.values():
        assert list(row) == ["id", "value", "unit", "target", "ok"]
        if row["value"] is None:
            assert row["ok"] is False
        elif row["target"] is None:
            assert row["ok"] is None
        else:
            assert row["ok"] is Target.parse(row["target"]).is_met_by(row["value"])


def test_every_record_belongs_to_a_bench_to_the_notebooks_to_the_peers_or_to_the_sweep():
    assert set(RECORDS) <= {*bench_names(), "notebooks", "peers", "sweep"}


@pytest.mark.parametrize("name", RECORDED_BENCHES)
def test_every_record_of_a_bench_has_a_sample(name):
    assert samples_of(name), (
        f"No test computes anything of results/{name}.json again: give bench_{name}.py a function "
        "that takes a figure or a row of a table anew, cheaply, and decorate it with @sample."
    )


@pytest.mark.parametrize(("name", "taken"), SAMPLES)
def test_a_sample_of_what_was_recorded_comes_out_again(name, taken):
    assert taken.fault(recorded(name)) is None


def test_the_notebooks_were_recorded_within_their_budget():
    # Their times are not taken again here: they are run, one by one, where outputs are compared.
    for row in recorded("notebooks").tables["notebooks"]:
        assert (ROOT / "notebooks" / f"{row['notebook']}.ipynb").exists()
        assert row["seconds"] <= notebooks.BUDGET_SECONDS
        assert row["peak_rss_bytes"] <= notebooks.BUDGET_BYTES


RECORD = Result(
    command="longctx bench toy --record",
    versions={},
    seed=0,
    machine={},
    figures={
        "toy.seconds": {"value": 2.0, "target": "<= 3", "ok": True},
        "toy.tokens": {"value": 7, "target": None, "ok": None},
    },
    tables={"steps": [{"step": 1, "share": 0.5}, {"step": 2, "share": 0.25}]},
)


@pytest.mark.parametrize(
    ("of", "again"),
    [
        ("toy.seconds", 2.9),
        ("toy.tokens", 7),
        ("steps", {"step": 2, "share": 0.25 + 1e-9}),
        ("steps", {"share": 0.5}),
    ],
)
def test_a_sample_that_agrees_has_no_fault(of, again):
    assert sample(of)(lambda: again).fault(RECORD) is None


@pytest.mark.parametrize(
    ("of", "again", "says"),
    [
        ("toy.seconds", 3.1, "toy.seconds was recorded as 2.0, and is now 3.1"),
        ("toy.tokens", 8, "toy.tokens was recorded as 7, and is now 8"),
        ("toy.bytes", 8, "no recorded figure toy.bytes"),
        ("steps", {"step": 2, "share": 0.5}, "No row of the recorded table steps holds"),
        ("steps", {"step": 2, "bytes": 3}, "No row of the recorded table steps holds"),
        ("walks", {"step": 2}, "No row of the recorded table walks holds"),
    ],
)
def test_a_sample_that_differs_is_a_sentence(of, again, says):
    assert says in sample(of)(lambda: again).fault(RECORD)


def test_readmes_picture_shows_what_was_recorded():
    from PIL import Image

    drawn = Image.open(io.BytesIO(png(right_and_read(recorded("start")))))
    saved = Image.open(ROOT / README_PICTURE)
    assert saved.size == drawn.size
    assert saved.tobytes() == drawn.tobytes()
