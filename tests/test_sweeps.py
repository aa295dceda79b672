"""Sweeps lose nothing when they are interrupted, mix nothing, and count what they say."""

import json
import random
import re
from dataclasses import replace
from statistics import fmean

import pytest

from longctx_edu import cli, models, readers
from longctx_edu.errors import LongctxError
from longctx_edu.evaluation import sweep_engines, sweep_journal, sweeps
from longctx_edu.evaluation.figures import read_result
from longctx_edu.evaluation.recorded import recorded
from longctx_edu.evaluation.scoring import score
from longctx_edu.evaluation.sweep_engines import InProcess, depth_of, items_of, work_on
from longctx_edu.evaluation.sweep_scores import costs, gain, scored
from longctx_edu.evaluation.sweep_spec import Cell, Part, Sweep, read_spec, spec_names, sweep_of
from longctx_edu.evaluation.sweeps import (
    CellFinished,
    SweepFinished,
    recorded_sweep,
    run_sweep,
    spec_of,
    without_times,
)
from longctx_edu.evaluation.tasks import (
    LIKELIHOOD_TASKS,
    by_document,
    difficulty_of,
    generate,
)
from longctx_edu.inference import Context
from longctx_edu.widgets.plots import png
from longctx_edu.widgets.sweep_picture import LiveSweep, describe_sweep, sweep_picture

SPEC = """
models = ["MODEL"]
methods = ["plain", "retrieval"]
seed = 5

[[parts]]
tasks = ["kv-list", "common-words"]
lengths = [900, 1300]
documents = 2
questions = 2

[difficulties.kv-list]
pairs = 4
questions = 4

[options.retrieval]
sentences = 4
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a tiny random model."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny = models.tiny("llama", window=2048)
    tiny.model.save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sweep(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("spec") / "small.toml"
    path.write_text(SPEC.replace("MODEL", folder.as_posix()))
    return read_spec(path)


@pytest.fixture(scope="module")
def model(folder):
    return models.load(folder)


@pytest.fixture(scope="module")
def engine(sweep, model):
    return InProcess(models={sweep.models[0]: model})


@pytest.fixture(scope="module")
def whole(sweep, engine, tmp_path_factory):
    """The sweep's result when nothing interrupts it, and the events on the way."""
    path = tmp_path_factory.mktemp("whole") / "whole.json"
    events = [*run_sweep(sweep, path, engine=engine, command="this test")]
    return events[-1].result, events, path


def finished(events):
    return [event for event in events if isinstance(event, CellFinished)]


# --- specs ----------------------------------------------------------------------------------------


def test_a_spec_says_every_cell_once_and_goes_round_the_map_document_by_document(sweep):
    assert len(sweep.cells) == len({*sweep.cells}) == 2 * 2 * 2 * 2
    assert [cell.document for cell in sweep.cells] == [0] * 8 + [1] * 8
    assert [cell.method for cell in sweep.cells[:4]] == ["plain", "retrieval"] * 2
    assert sweep.cells[0].questions == 2


def test_a_spec_is_the_same_in_toml_in_json_and_in_a_result(sweep, tmp_path, whole):
    path = tmp_path / "small.json"
    path.write_text(json.dumps(sweep.as_dict()))
    assert read_spec(path) == sweep == spec_of(whole[0])
    assert read_spec(path).fingerprint == sweep.fingerprint
    assert replace(sweep, seed=6).fingerprint != sweep.fingerprint


@pytest.mark.parametrize("name", spec_names())
def test_the_sweeps_of_the_course_can_be_read_by_name(name):
    assert len(read_spec(name).cells) > 1
    assert read_spec(name).models == ("embedded",)


PART = {"tasks": ["facts"], "lengths": [512], "documents": 1}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"parts": [PART], "length": 3}, "has no 'length'"),
        ({"parts": [{**PART, "size": 3}]}, "has no 'size'"),
        ({"parts": []}, "at least one model and one part"),
        ({}, r"needs parts"),
        ({"parts": [{"tasks": ["facts"], "lengths": [512]}]}, "needs documents"),
        ({"parts": [{**PART, "tasks": ["telepathy"]}]}, "'telepathy'"),
        ({"parts": [{**PART, "tasks": [LIKELIHOOD_TASKS[0]]}]}, LIKELIHOOD_TASKS[0]),
        ({"parts": [{**PART, "methods": ["telepathy"]}]}, "'telepathy'"),
        ({"parts": [{**PART, "lengths": 512}]}, "lengths is a list"),
        ({"parts": [{**PART, "lengths": [0]}]}, "at least 1, got 0"),
        ({"parts": [{**PART, "documents": 1.5}]}, "at least 1, got 1.5"),
        ({"parts": [PART, PART]}, "one cell twice: plain on facts, 512 tokens, document 0"),
        ({"parts": [PART], "options": {"plain": {"speed": 3}}}, "no option 'speed'"),
        ({"parts": [PART], "difficulties": {"facts": {"mood": 3}}}, "no difficulty 'mood'"),
        ({"parts": [PART], "options": {"plain": 3}}, "table of tables"),
        ({"parts": [PART], "dtype": "int8"}, "dtype is one of float32, .* got 'int8'"),
    ],
)
def test_what_is_wrong_with_a_spec_is_one_sentence(content, says):
    with pytest.raises(LongctxError, match=says):
        sweep_of(content)


def test_a_spec_that_is_not_there_is_answered_with_those_that_are(tmp_path):
    for path in ("nothing", tmp_path / "nothing.toml", tmp_path):
        with pytest.raises(LongctxError, match="recorded"):
            read_spec(path)
    broken = tmp_path / "broken.toml"
    broken.write_text("parts = [")
    with pytest.raises(LongctxError, match="cannot be read as toml"):
        read_spec(broken)


# --- a cell ---------------------------------------------------------------------------------------


def test_questions_that_are_left_out_are_other_ones_of_each_document(model):
    some = Sweep("x", (Part(("facts",), (1500,), 4, questions=2),), models=("m",))
    every = replace(some, parts=(replace(some.parts[0], questions=None),))
    asked = []
    for cell, full in zip(some.cells, every.cells, strict=True):
        if cell.method == "plain":
            items, all_items = (
                items_of(one, this, model.tokenizer) for one, this in ((some, cell), (every, full))
            )
            places = [all_items.index(item) for item in items]
            assert places[1] - places[0] == len(all_items) // 2
            asked += places
    assert sorted(asked) == [*range(8)]


def test_a_depth_is_where_the_place_that_is_needed_begins(model):
    every = Sweep("x", (Part(("facts", "common-words"), (1500,), 1),), models=("m",))
    by_task = {cell.task: items_of(every, cell, model.tokenizer) for cell in every.cells}
    for item in by_task["facts"]:
        text, depth = item.documents[0].text, depth_of(item)
        assert item.gold[0] in text[round(depth * len(text)) :][: len(item.gold_spans[0].text)]
    assert [depth_of(item) for item in by_task["common-words"]] == [None]


def test_a_cell_is_one_reading_of_its_document_for_all_its_questions(sweep, model, monkeypatch):
    cell = next(cell for cell in sweep.cells if cell.task == "kv-list" and cell.method == "plain")
    items = items_of(sweep, cell, model.tokenizer)
    expected = score("plain", items, model, likelihood=False)
    read, original = [], Context.prefill
    monkeypatch.setattr(
        Context, "prefill", lambda self, ids, **k: read.append(len(ids)) or original(self, ids, **k)
    )
    outcome = work_on(sweep, cell, model)
    assert sum(length > 500 for length in read) == 1
    assert len(items) == 2
    assert [row["answer"] for row in outcome["answers"]] == [row.answer for row in expected]
    assert [row["recall"] for row in outcome["answers"]] == [row.recall for row in expected]
    reading = readers.read(items[0].documents, method="plain", model=model)
    assert outcome["read_tokens"] == reading.ledger.prefilled
    assert json.loads(json.dumps(outcome)) == outcome


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_weights_are_of_the_type_that_the_spec_says(sweep, dtype, monkeypatch):
    found = []
    monkeypatch.setattr(sweep_engines, "work_on", lambda *given: found.append(given[-1]) or {})
    sweep = replace(sweep, dtype=dtype)
    [*InProcess().outcomes(sweep, sweep.cells[:1])]
    sweep_engines._work_here(sweep, sweep.cells[0])
    assert [str(model.model.dtype) for model in found] == [f"torch.{dtype or 'float32'}"] * 2


def test_methods_get_the_options_and_tasks_the_difficulty_of_the_spec(sweep, model, monkeypatch):
    seen = []
    original = readers.read
    monkeypatch.setattr(readers, "read", lambda *a, **k: seen.append((a, k)) or original(*a, **k))
    cells = {cell.method: cell for cell in sweep.cells[:4] if cell.task == "kv-list"}
    for cell in cells.values():
        work_on(sweep, cell, model)
    options = {k["method"]: k for _, k in seen}
    assert options["retrieval"]["sentences"] == 4
    assert "sentences" not in options["plain"]
    chosen = difficulty_of("kv-list")(pairs=4, questions=4)
    (wanted,) = by_document(
        generate("kv-list", cells["plain"].length, 4, 5, model.tokenizer, difficulty=chosen)
    )
    assert {documents for (documents,), _ in seen} == {wanted[0].documents}


def test_a_text_that_does_not_fit_is_a_cell_without_answers_that_says_why(sweep, model):
    long = replace(sweep, parts=(replace(sweep.parts[0], lengths=(2100,)),))
    plain, retrieval = (work_on(long, cell, model) for cell in long.cells[:2])
    assert (plain["answers"], len(retrieval["answers"])) == ([], 2)
    assert "window holds 2048" in plain["refused"]
    assert retrieval["refused"] is None


# --- a run ----------------------------------------------------------------------------------------


def test_a_run_tells_every_cell_and_ends_in_a_result_with_its_provenance(sweep, model, whole):
    result, events, path = whole
    cells = finished(events)
    assert [event.cell for event in cells] == [*sweep.cells]
    assert [event.done for event in cells] == [*range(1, 17)]
    assert isinstance(events[-1], SweepFinished)
    assert read_result(path) == result
    assert (result.command, result.seed) == ("this test", 5)
    assert {"torch", "python"} <= {*result.versions}
    assert result.tables["models"] == [
        {"model": sweep.models[0], "fingerprint": model.fingerprint, "window": 2048}
    ]
    (session,) = result.tables["sessions"]
    assert (session["engine"], session["cells_before"]) == ("in-process", 0)
    assert session["cores"] >= 1
    questions = sum(row["questions"] for row in result.tables["cells"])
    assert questions == len(result.tables["answers"]) == 2 * 2 * 2 * (2 + 1)
    assert [path.name for path in path.parent.iterdir()] == ["whole.json"]


def test_a_finished_sweep_is_told_again_and_not_done_again(sweep, whole, monkeypatch):
    result, events, path = whole
    monkeypatch.setattr(sweep_engines, "work_on", None)
    again = [*run_sweep(sweep, path)]
    assert again[-1].result == result
    assert [replace(event, was_kept=False) for event in finished(again)] == finished(events)


@pytest.mark.parametrize("after", [1, 5, 15])
def test_a_run_that_is_closed_goes_on_where_it_was(sweep, engine, whole, tmp_path, after):
    path = tmp_path / "out.json"
    events = run_sweep(sweep, path, engine=engine, command="this test")
    for event in events:
        if isinstance(event, CellFinished) and event.done == after:
            break
    events.close()
    assert not path.exists()
    again = [*run_sweep(sweep, path, engine=engine, command="this test")]
    assert [event.was_kept for event in finished(again)] == [True] * after + [False] * (16 - after)
    assert without_times(again[-1].result) == without_times(whole[0])
    assert [one["cells_before"] for one in again[-1].result.tables["sessions"]] == [0, after]


def test_whatever_byte_the_file_ends_in_the_rest_is_done_again(sweep, engine, whole, tmp_path):
    journal = tmp_path / "out.json.cells"
    events = run_sweep(sweep, tmp_path / "out.json", engine=engine)
    for event in events:
        if isinstance(event, CellFinished) and event.done == 4:
            break
    events.close()
    content = journal.read_bytes()
    draw = random.Random(0)
    for cut in [0, 1, len(content) - 1, *(draw.randrange(len(content)) for _ in range(20))]:
        journal.write_bytes(content[:cut])
        lines = content[:cut].count(b"\n")
        with sweep_journal.Journal(journal, sweep) as opened:
            assert len(opened.done) == max(0, lines - 2)
        assert journal.read_bytes().startswith(content[: content[:cut].rfind(b"\n") + 1])
    journal.write_bytes(content[:-40])
    again = [*run_sweep(sweep, tmp_path / "out.json", engine=engine)]
    assert sum(event.was_kept for event in finished(again)) == 3
    assert without_times(again[-1].result) == without_times(whole[0])


def test_a_file_that_is_damaged_within_is_refused_with_the_line(sweep, tmp_path):
    path = tmp_path / "out.json.cells"
    with sweep_journal.Journal(path, sweep) as journal:
        journal.begin({"engine": "one"})
        journal.begin({"engine": "two"})
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\0\0\n" + lines[2])
    with pytest.raises(LongctxError, match="damaged in line 2"):
        sweep_journal.Journal(path, sweep)


def test_a_file_of_another_sweep_is_refused_before_anything_is_read(sweep, whole, tmp_path):
    other = replace(sweep, seed=6)
    with pytest.raises(LongctxError, match="holds the result of another sweep"):
        next(run_sweep(other, whole[2]))
    started = tmp_path / "out.json"
    sweep_journal.Journal(started.with_name("out.json.cells"), sweep).close()
    with pytest.raises(LongctxError, match="finished cells of another sweep"):
        next(run_sweep(other, started))
    started.write_text("{}")
    with pytest.raises(LongctxError, match="schema"):
        next(run_sweep(sweep, started))
    with pytest.raises(LongctxError, match="no file in a folder that exists"):
        next(run_sweep(sweep, tmp_path / "nowhere" / "out.json"))


def test_other_weights_and_other_versions_are_not_mixed_in(sweep, model, tmp_path, monkeypatch):
    path = tmp_path / "out.json.cells"
    outcome = work_on(sweep, sweep.cells[0], model)
    with sweep_journal.Journal(path, sweep) as journal:
        journal.add(outcome)
        with pytest.raises(LongctxError, match="is another one now"):
            journal.add({**outcome, "fingerprint": "0" * 16})
        with pytest.raises(LongctxError, match="torch .* and now 1.0"):
            journal.add({**outcome, "versions": {**outcome["versions"], "torch": "1.0"}})
        assert len(journal.outcomes) == 1
    monkeypatch.setattr(sweep_journal, "versions", lambda: {**outcome["versions"], "numpy": "9"})
    with pytest.raises(LongctxError, match="other versions .numpy"):
        sweep_journal.Journal(path, sweep)


def test_two_sweeps_do_not_write_into_one_file(sweep, engine, tmp_path):
    path = tmp_path / "out.json"
    first = run_sweep(sweep, path, engine=engine)
    next(first)
    with pytest.raises(LongctxError, match="Another sweep is writing"):
        next(run_sweep(sweep, path, engine=engine))
    first.close()
    next(run_sweep(sweep, path, engine=engine))


# --- the command ----------------------------------------------------------------------------------


def test_control_c_keeps_what_is_finished_and_the_same_command_goes_on(
    folder, whole, tmp_path, monkeypatch, capsys
):
    spec, out = tmp_path / "small.toml", tmp_path / "out.json"
    spec.write_text(SPEC.replace("MODEL", "embedded"))
    argv = ["sweep", str(spec), "--model", folder.as_posix(), "--out", str(out), "--json"]
    worked, original = [], sweep_engines.work_on

    def interrupted(sweep, cell, model):
        worked.append(cell)
        if len(worked) == 6:
            raise KeyboardInterrupt
        return original(sweep, cell, model)

    monkeypatch.setattr(sweep_engines, "work_on", interrupted)
    assert cli.main(argv) == cli.INTERRUPTED
    assert "What is finished is kept; the same command goes on" in capsys.readouterr().err
    assert cli.main(argv) == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(worked) == len({*worked}) + 1 == 17
    assert printed["scores"] == whole[0].tables["scores"]
    assert read_result(out).command == " ".join(["longctx", *argv[:-1]])
    assert cli.main(argv[:-1]) == 0
    assert "kv-list" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("further", "says"),
    [
        (["--workers", "2"], "--engine dask only"),
        (["--engine", "ray"], "invalid choice"),
        (["--engine", "dask", "--workers", "0"], "at least 1"),
        (["--engine", "dask", "--workers", "2", "--address", "a:1"], "workers or an address"),
    ],
)
def test_what_the_command_cannot_do_is_one_sentence(further, says, tmp_path, capsys):
    argv = ["sweep", "recorded", "--out", str(tmp_path / "out.json"), *further]
    assert cli.main(argv) == cli.REFUSED
    said = capsys.readouterr().err
    assert says in said
    assert re.fullmatch(r"longctx: .*\n", said)


# --- scores ---------------------------------------------------------------------------------------


def answers_of(recalls, method="plain", task="facts", length=512):
    """Rows for recalls by document: a list for each document."""
    return [
        {
            **dict(model="m", method=method, task=task, length=length, document=document),
            **dict(depth=(n + 0.5) / len(row), question=f"{n}", gold=["a"], recall=recall),
        }
        for document, row in enumerate(recalls)
        for n, recall in enumerate(row)
    ]


def test_scores_are_means_with_intervals_that_count_documents():
    spread, alike = (
        scored(answers_of(recalls), "method")[0]
        for recalls in ([[1, 0], [0, 1], [1, 0], [0, 1]], [[1, 1], [0, 0], [1, 1], [0, 0]])
    )
    assert spread["recall"] == alike["recall"] == 0.5
    assert (spread["n"], spread["documents"]) == (8, 4)
    assert alike["high"] - alike["low"] > spread["high"] - spread["low"]
    assert 0 <= spread["low"] < 0.5 < spread["high"] <= 1


def test_scores_by_depth_are_those_of_the_fifths_of_the_text():
    rows = scored(answers_of([[1, 0, 0.5, 0, 1]] * 2), "method", "depth")
    assert [(row["depth"], row["recall"]) for row in rows] == [
        (0.1, 1),
        (0.3, 0),
        (0.5, 0.5),
        (0.7, 0),
        (0.9, 1),
    ]
    nowhere = [{**row, "depth": None} for row in answers_of([[1]])]
    assert scored(nowhere, "depth") == []


def test_a_gain_is_in_pairs_over_what_both_answered():
    plain, margins = answers_of([[0, 0], [0, 1], [1, 1]]), [[1, 0], [1, 1], [1, 1]]
    rows = plain + answers_of(margins, method="margins") + answers_of([[1]], "margins", "needle")
    found = gain(rows, "margins", "plain")
    assert found["gain"] == pytest.approx(2 / 6)
    assert (found["n"], found["documents"]) == (6, 3)
    assert found["low"] <= found["gain"] <= found["high"]
    assert gain(rows, "plain", "margins")["gain"] == pytest.approx(-2 / 6)
    with pytest.raises(LongctxError, match="no question that both"):
        gain(plain, "margins", "plain")


def test_documents_that_ask_the_same_at_several_lengths_count_as_one():
    rows = [
        row
        for length in (512, 2048, 6144)
        for method, recalls in (("plain", [[0], [0], [1]]), ("margins", [[1], [1], [1]]))
        for row in answers_of(recalls, method, length=length)
    ]
    found = gain(rows, "margins", "plain")
    assert (found["n"], found["documents"]) == (9, 3)
    assert found["gain"] == pytest.approx(2 / 3)
    assert found["p"] == pytest.approx(2 / 4)
    assert scored(rows, "method")[0]["documents"] == 3


def test_costs_share_what_was_read_among_the_questions(whole):
    cells = [
        dict(method="a", questions=4, read_tokens=100, answer_tokens=20, seconds=2.0),
        dict(method="a", questions=2, read_tokens=100, answer_tokens=10, seconds=1.0),
        dict(method="a", questions=0, read_tokens=0, answer_tokens=0, seconds=0.1),
    ]
    (row,) = costs(cells, "method")
    assert row == {"method": "a", "tokens": 230 / 6, "seconds": 0.5, "read_tokens": 100}
    tables = whole[0].tables
    by_method = {row["method"]: row for row in costs(tables["cells"], "method")}
    plain = [row for row in tables["cells"] if row["method"] == "plain"]
    assert by_method["plain"]["read_tokens"] == fmean(row["read_tokens"] for row in plain)


# --- pictures -------------------------------------------------------------------------------------


def texts(figure):
    return [[text.get_text() for text in axes.texts] for axes in figure.axes]


def test_every_square_of_the_map_has_its_mean_and_its_interval(whole):
    import matplotlib.pyplot as plt

    tables = whole[0].tables
    figure = sweep_picture(tables["cells"], tables["answers"])
    assert [axes.get_title() for axes in figure.axes[:2]] == ["kv-list", "common-words"]
    for axes, task in zip(figure.axes, ("kv-list", "common-words"), strict=False):
        scores = [row for row in tables["scores"] if row["task"] == task]
        expected = {
            text
            for row in scores
            for text in (f"{row['recall']:.2f}", f"{row['low']:.2f}–{row['high']:.2f}")
        }
        shown = [text.get_text() for text in axes.texts]
        assert (len(shown), {*shown}) == (2 * 2 * 2, expected)
    plt.close(figure)


def test_squares_that_do_not_fit_are_hatched_and_those_to_come_are_empty(whole):
    import matplotlib.pyplot as plt

    tables = whole[0].tables
    cells = [
        {**row, "refused": "too long" if row["length"] == 1300 else None} for row in tables["cells"]
    ]
    kept = [row for row in tables["answers"] if (row["length"], row["task"]) == (900, "kv-list")]
    figure = sweep_picture(cells, kept)
    hatches = [[patch.get_hatch() for patch in axes.patches] for axes in figure.axes]
    assert hatches[0] == hatches[1] == [None, "////"] * 2
    assert [len(shown) for shown in texts(figure)[:2]] == [4, 0]
    assert "8 cells do not fit" in describe_sweep(cells, kept)
    plt.close(figure)


def test_a_map_by_depth_is_of_one_task(whole):
    import matplotlib.pyplot as plt

    tables = whole[0].tables
    with pytest.raises(LongctxError, match="several tasks .kv-list, common-words."):
        sweep_picture(tables["cells"], tables["answers"], panels="method", down="depth")
    one = [row for row in tables["cells"] if row["task"] == "kv-list"]
    answers = [row for row in tables["answers"] if row["task"] == "kv-list"]
    figure = sweep_picture(one, answers, panels="method", down="depth")
    assert len(figure.axes[0].patches) == 5 * 2
    with pytest.raises(LongctxError, match="panels is one of"):
        sweep_picture(one, answers, panels="depth")
    plt.close(figure)


def test_the_map_of_a_run_ends_as_that_of_its_result(sweep, whole):
    result, events, _ = whole
    live = LiveSweep(sweep, seconds=0)
    empty = png(live.picture())
    for event in events:
        live.see(event)
    assert live.describe() == describe_sweep(result.tables["cells"], result.tables["answers"])
    drawn = png(live.picture())
    assert drawn == png(sweep_picture(result.tables["cells"], result.tables["answers"])) != empty


def test_the_map_of_a_run_stays_in_its_place_in_a_notebook(sweep, whole, monkeypatch):
    import IPython
    import IPython.display

    shown = []

    class Handle:
        def update(self, content, **more):
            shown.append(("update", content, more))

    def display(content, **more):
        shown.append(("display", content, more))
        return Handle()

    monkeypatch.setattr(IPython, "get_ipython", lambda: object())
    monkeypatch.setattr(IPython.display, "display", display)
    live = LiveSweep(sweep, seconds=0)
    for event in whole[1][-4:]:
        live.see(event)
    assert [name for name, _, _ in shown] == ["display", "update", "update", "update"]
    assert shown[0][2]["display_id"] is True
    for _, content, more in shown:
        assert content["text/plain"] == more["metadata"]["image/png"]["alt"]
        assert content["image/png"]


# --- what was recorded ----------------------------------------------------------------------------


def test_a_sweep_that_was_never_recorded_is_told_how_to():
    with pytest.raises(LongctxError, match="run: longctx sweep recorded --out"):
        recorded("no such sweep", command=sweeps.COMMAND)


@pytest.mark.model
def test_cells_of_the_recorded_sweep_come_out_again():
    result = recorded_sweep()
    sweep = spec_of(result)
    assert (sweep, result.command) == (read_spec("recorded"), sweeps.COMMAND)
    model = models.load(dtype=sweep.dtype)
    for method, task in (("plain", "facts"), ("margins", "facts"), ("memory", "docs-qa")):
        cell = next(
            cell
            for cell in sweep.cells
            if (cell.method, cell.task, cell.length) == (method, task, 512)
        )
        place = {name: getattr(cell, name) for name in ("method", "task", "length", "document")}
        rows = [row for row in result.tables["answers"] if place.items() <= row.items()]
        again = work_on(sweep, cell, model)["answers"]
        assert [row["answer"] for row in again] == [row["answer"] for row in rows]


def test_a_cell_says_where_it_is():
    assert str(Cell("m", "plain", "facts", 2048, 3)) == "plain on facts, 2,048 tokens, document 3"
