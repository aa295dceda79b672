"""Notebooks are run, saved in one form, measured, and listed in tables."""

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.figures import read_result
from longctx_edu.teaching import canonical, notebooks, template
from longctx_edu.teaching.canonical import KERNELSPEC, UNCHECKED_TAG

ROOT = Path(__file__).parents[1]


def code(source, *outputs, tags=(), count=None):
    return {
        "cell_type": "code",
        "execution_count": count,
        "metadata": {"tags": list(tags)} if tags else {},
        "outputs": list(outputs),
        "source": source,
    }


def markdown(source):
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def printed(text, name="stdout"):
    return {"name": name, "output_type": "stream", "text": text}


def displayed(**data):
    kinds = {"png": "image/png", "plain": "text/plain", "html": "text/html", "view": VIEW}
    return {
        "data": {kinds[kind]: value for kind, value in data.items()},
        "metadata": {},
        "output_type": "display_data",
    }


VIEW = "application/vnd.jupyter.widget-view+json"


def notebook(*cells, **metadata):
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def write(folder, name, *cells):
    path = folder / name
    canonical.save(canonical.canonical(notebook(*cells), name[:2]), path)
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A notebook with text, a figure, an address, a timing and a set, run once."""
    folder = tmp_path_factory.mktemp("notebooks")
    path = write(
        folder,
        "00_tiny.ipynb",
        markdown("# 0. Does it run?"),
        code(
            "import time\nimport matplotlib.pyplot as plt\n"
            "from longctx_edu.widgets.plots import show"
        ),
        code("print('a', end=' ')\nprint({'one', 'two', 'three'})\nobject()"),
        code("fig, ax = plt.subplots()\n_ = ax.plot([1, 3, 2])\nshow(fig, 'a line with a peak')"),
        code("print(f'{time.time()} s')", tags=[UNCHECKED_TAG]),
    )
    assert notebooks.run(path) is True
    return path


def test_a_second_run_gives_the_same_bytes(tiny):
    first = tiny.read_bytes()
    assert notebooks.run(tiny) is False
    assert tiny.read_bytes() == first


def test_a_fresh_run_renews_the_measured_numbers_only(tiny, tmp_path):
    path = tmp_path / tiny.name
    path.write_bytes(tiny.read_bytes())
    assert notebooks.run(path, fresh=True) is True
    before, after = canonical.load(tiny)["cells"], canonical.load(path)["cells"]
    assert [n for n in range(len(before)) if before[n] != after[n]] == [4]


def test_what_is_saved_is_valid_and_as_nbformat_writes_it(tiny):
    read = nbformat.read(tiny, as_version=4)
    nbformat.validate(read)
    assert nbformat.writes(read) + "\n" == tiny.read_text(encoding="utf-8")


def test_a_saved_notebook_holds_no_address_time_or_patch_version(tiny):
    saved = canonical.load(tiny)
    assert saved["metadata"] == {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}}
    assert [cell["id"] for cell in saved["cells"]] == [f"n00-{n:03d}" for n in range(5)]
    assert [cell["execution_count"] for cell in saved["cells"][1:]] == [1, 2, 3, 4]
    assert saved["cells"][2]["outputs"][1]["data"]["text/plain"] == "<object at 0x…>"
    assert all(set(cell["metadata"]) <= {"tags"} for cell in saved["cells"])


def test_the_canonical_form_of_a_canonical_notebook_is_itself(tiny):
    saved = canonical.load(tiny)
    assert canonical.canonical(saved, "00") == saved


def test_the_description_of_a_figure_stays_with_its_picture(tiny):
    picture, words = canonical.load(tiny)["cells"][3]["outputs"]
    assert picture["metadata"] == {"image/png": {"alt": "a line with a peak"}}
    assert words["text"] == "Figure: a line with a peak\n"


def test_only_the_allowed_metadata_stays():
    cell = code("1") | {
        "metadata": {
            "collapsed": True,
            "execution": {"iopub.execute_input": "2020-01-01"},
            "jupyter": {"outputs_hidden": True, "source_hidden": True},
            "slideshow": {"slide_type": "slide"},
            "tags": ["core"],
        }
    }
    kept = canonical.canonical(notebook(cell, widgets={"state": {}}, signature="x"), "03")
    assert set(kept["metadata"]) == {"kernelspec", "language_info"}
    assert kept["cells"][0]["metadata"] == {
        "jupyter": {"source_hidden": True},
        "slideshow": {"slide_type": "slide"},
        "tags": ["core"],
    }


@pytest.mark.parametrize(
    ("output", "left"),
    [
        (
            displayed(view={"model_id": "1f"}, png="AAAA", plain="View(3)"),
            ["image/png", "text/plain"],
        ),
        (displayed(view={"model_id": "1f"}, plain="IntSlider(value=2)"), ["text/plain"]),
        (displayed(view={"model_id": "1f"}), ["text/plain"]),
    ],
    ids=["picture beside it", "text beside it", "nothing beside it"],
)
def test_a_live_view_leaves_its_static_form(output, left):
    kept = canonical.canonical(notebook(code("view", output)), "00")
    assert sorted(kept["cells"][0]["outputs"][0]["data"]) == left


def test_a_stream_that_the_kernel_cut_is_joined():
    kept = canonical.canonical(notebook(code("...", printed("one "), printed("two\n"))), "00")
    assert kept["cells"][0]["outputs"] == [printed("one two\n")]


def test_canonical_leaves_its_argument_alone():
    given = notebook(code("f", printed("<f at 0x7f12>\n"), printed("more")), widgets={})
    before = copy.deepcopy(given)
    canonical.canonical(given, "00", previous=given)
    assert given == before


# --- numbers that are measured, in cells that are not compared


def rerun(old, new, tags=(UNCHECKED_TAG,), old_source="t()", new_source="t()"):
    previous = notebook(code(old_source, *old, tags=tags))
    kept = canonical.canonical(notebook(code(new_source, *new, tags=tags)), "00", previous)
    return kept["cells"][0]["outputs"]


def test_a_measured_number_that_changed_keeps_its_earlier_value():
    assert rerun([printed("read in 9.81 s\n")], [printed("read in 12.2 s\n")]) == [
        printed("read in 9.81 s\n")
    ]


def test_a_table_whose_columns_moved_with_the_numbers_keeps_its_earlier_form():
    old = "method | seconds\n-------|-----\nplain  |  9.8\n"
    new = "method | seconds\n-------|------\nplain  |  10.1\n"
    assert rerun([printed(old)], [printed(new)]) == [printed(old)]
    assert rerun([displayed(html="<td>980 ms</td>")], [displayed(html="<td>1.02 s</td>")]) == [
        displayed(html="<td>980 ms</td>")
    ]


def test_a_word_that_changed_is_a_real_change():
    new = [printed("plain: wrong, 9.9 s\n")]
    assert rerun([printed("plain: right, 9.8 s\n")], new) == new


def test_numbers_are_renewed_when_the_source_changed():
    assert rerun([printed("1 s")], [printed("2 s")], new_source="u()") == [printed("2 s")]


def test_numbers_of_compared_cells_are_always_the_new_ones():
    assert rerun([printed("1 s")], [printed("2 s")], tags=()) == [printed("2 s")]


def test_a_picture_in_an_unchecked_cell_is_always_the_new_one():
    old, new = displayed(png="AAAA", plain="took 1 s"), displayed(png="BBBB", plain="took 2 s")
    assert rerun([old], [new]) == [displayed(png="BBBB", plain="took 1 s")]


def test_equal_sources_are_told_apart_by_their_order():
    def timed(*texts):
        return notebook(*(code("t()", printed(text), tags=[UNCHECKED_TAG]) for text in texts))

    kept = canonical.canonical(timed("3 s", "4 s"), "00", timed("1 s", "2 s"))
    assert [cell["outputs"][0]["text"] for cell in kept["cells"]] == ["1 s", "2 s"]


# --- what was saved passes the test that compares it


def test_a_saved_notebook_passes_the_strict_comparison_except_where_it_changed(tmp_path):
    path = write(
        tmp_path,
        "00_compared.ipynb",
        code(
            "import ipywidgets\nimport matplotlib.pyplot as plt\nfrom tqdm.auto import tqdm\n"
            "from longctx_edu.widgets.plots import show"
        ),
        code("print({'one', 'two', 'three'}, [n for n in tqdm(range(3))])"),
        code("fig, ax = plt.subplots()\nshow(fig, 'empty axes')"),
        code("ipywidgets.IntSlider(value=2)"),
        code("import time\ntime.time()", tags=[UNCHECKED_TAG]),
        code("len('changed')"),
    )
    notebooks.run(path)
    path.write_text(path.read_text().replace('"7"', '"8"'))
    assert "1 failed, 5 passed" in compare(path).stdout


def compare(path):
    """Compare a notebook with its saved outputs, as the course's tests do."""
    shutil.copy(ROOT / "notebooks" / "conftest.py", path.parent)
    options = ("-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env", "--no-header")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={path.parent}", str(path)],
        cwd=path.parent,
        capture_output=True,
        text=True,
    )


# --- what cannot be saved


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("1 / 0", "cell 1 raised ZeroDivisionError: division by zero"),
        ("import warnings; warnings.warn('old')", "cell 1 prints to stderr"),
        ("import os; os._exit(1)", "the kernel died"),
        ("while True: pass", "did not finish in 2 s"),
        (
            "import socket; socket.create_connection(('192.0.2.1', 80), 1)",
            "network is switched off",
        ),
    ],
    ids=["error", "warning", "dead kernel", "too slow", "network"],
)
def test_a_notebook_that_fails_is_refused_and_left_as_it_was(tmp_path, source, says):
    path = write(tmp_path, "00_bad.ipynb", markdown("# 0. Bad?"), code(source))
    before = path.read_bytes()
    with pytest.raises(LongctxError, match=says):
        notebooks.run(path, timeout=2 if "while" in source else 60)
    assert path.read_bytes() == before


def test_a_file_that_is_no_notebook_is_refused(tmp_path):
    path = tmp_path / "00_x.ipynb"
    with pytest.raises(LongctxError, match="There is no file"):
        canonical.load(path)
    path.write_text("{")
    with pytest.raises(LongctxError, match="cannot be read as a notebook"):
        canonical.load(path)
    path.write_text("[]")
    with pytest.raises(LongctxError, match="no notebook of format 4"):
        canonical.load(path)


# --- finding, checking, starting


def test_notebooks_are_found_by_number_name_or_path(tmp_path):
    zero, one = (write(tmp_path, name) for name in ("00_start_here.ipynb", "01_cost.ipynb"))
    (tmp_path / "draft.ipynb").write_text("{}")
    assert notebooks.find_notebooks((), tmp_path) == [zero, one]
    for name in ("01", "01_cost", "01_cost.ipynb", str(one)):
        assert notebooks.find_notebooks([name], tmp_path) == [one]
    with pytest.raises(LongctxError, match="there are: 00_start_here, 01_cost"):
        notebooks.find_notebooks(["07"], tmp_path)


def test_a_new_notebook_has_all_sections_and_is_not_overwritten(tmp_path, capsys):
    arguments = ["new", "07_long_documents", "--folder", str(tmp_path)]
    assert notebooks.main(arguments) == 0
    nbformat.validate(nbformat.read(tmp_path / "07_long_documents.ipynb", as_version=4))
    assert notebooks.main(arguments) == 2
    assert "already holds 07_long_documents.ipynb" in capsys.readouterr().err
    with pytest.raises(LongctxError, match="called NN_snake_case"):
        notebooks.new("Long documents", tmp_path)


def test_check_says_what_is_wrong_and_fails(tmp_path, capsys):
    notebooks.new("07_long_documents", tmp_path)
    assert notebooks.main(["check", "--folder", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "07_long_documents.ipynb: The code cells were not all run once" in said
    assert "07_long_documents.ipynb: The file is not in canonical form" in said


def test_check_notices_a_file_that_was_saved_by_an_editor(tiny, tmp_path):
    path = tmp_path / tiny.name
    path.write_bytes(tiny.read_bytes())
    form = "The file is not in canonical form; use the command `run`."
    assert form not in notebooks.faults(path)
    saved = canonical.load(path)
    saved["metadata"]["language_info"]["version"] = "3.11.7"
    canonical.save(saved, path)
    assert form in notebooks.faults(path)


def test_colab_cells_must_be_the_same_in_all_notebooks(tmp_path):
    paths = [notebooks.new(name, tmp_path) for name in ("01_one", "02_two")]
    assert notebooks.faults_between(paths) == []
    changed = canonical.load(paths[1])
    for cell in changed["cells"]:
        cell["source"] = cell["source"].replace('course = ""', 'course = "elsewhere"')
    canonical.save(changed, paths[1])
    assert notebooks.faults_between(paths) == [
        "The Colab cells differ between notebooks; write them by `longctx badges`."
    ]


# --- measuring and tables


def test_measuring_sees_the_memory_of_the_kernel_and_leaves_the_file(tmp_path):
    path = write(
        tmp_path,
        "00_big.ipynb",
        code("import time\nblock = bytearray(b'x') * 300_000_000\ndel block"),
    )
    before = path.read_bytes()
    measured = notebooks.measure(path)
    assert measured.notebook == "00_big"
    assert 300_000_000 < measured.peak_rss_bytes < 700_000_000
    assert 0.1 < measured.seconds < 60
    assert path.read_bytes() == before


@pytest.fixture
def course(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (tmp_path / "README.md").write_text(
        "# Course\n\n<!-- notebooks:begin -->\nold\n<!-- notebooks:end -->\n\nMore.\n"
    )
    (folder / "INSTRUCTOR.md").write_text(
        "<!-- notebooks:begin --><!-- notebooks:end -->\n<!-- slides:begin --><!-- slides:end -->\n"
    )
    text = "## What you will be able to do\n\n- see\n\n**Time:** 25 minutes."
    exercise = markdown("### Exercise 0.1 - count (about 8 min, core)")
    write(folder, "00_start_here.ipynb", markdown(f"# 0. Can it answer?\n\n{text}"), exercise)
    write(folder, "01_cost.ipynb", markdown(f"# 1. What does it cost?\n\n{text}"))
    return tmp_path


def test_tables_hold_what_was_recorded_and_say_what_was_not_measured(course):
    notebooks.record([notebooks.Measured("00_start_here", 41.6, 912_000_000)], course / "notebooks")
    changed = notebooks.write_tables(course)
    assert [path.name for path in changed] == ["README.md", "INSTRUCTOR.md"]
    assert (course / "README.md").read_text() == (
        "# Course\n\n<!-- notebooks:begin -->\n"
        "| Notebook | Question | Minutes | Run time | Memory |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| [00_start_here](notebooks/00_start_here.ipynb) | Can it answer? | 25 | 42 s | 0.9 GB |\n"
        "| [01_cost](notebooks/01_cost.ipynb) | What does it cost? | 25 "
        "| not measured | not measured |\n"
        "<!-- notebooks:end -->\n\nMore.\n"
    )
    instructor = (course / "notebooks" / "INSTRUCTOR.md").read_text()
    assert (
        "| [00_start_here](00_start_here.ipynb) | 25 | 33 | 0.1 8 min | 42 s | 0.9 GB |"
        in instructor
    )
    assert notebooks.write_tables(course) == []


def test_a_record_keeps_other_rows_of_the_same_machine_only(course, monkeypatch):
    folder = course / "notebooks"
    path = notebooks.record([notebooks.Measured("00_start_here", 40.0, 1)], folder)
    notebooks.record([notebooks.Measured("01_cost", 20.0, 2)], folder)
    rows = read_result(path).tables["notebooks"]
    assert [row["notebook"] for row in rows] == ["00_start_here", "01_cost"]
    monkeypatch.setattr(notebooks, "machine", lambda: {"cores": 64})
    notebooks.record([notebooks.Measured("01_cost", 10.0, 2)], folder)
    assert [row["notebook"] for row in read_result(path).tables["notebooks"]] == ["01_cost"]


def test_a_record_that_is_not_ours_is_refused_and_left_alone(course):
    path = course / "notebooks" / "results" / "notebooks.json"
    path.parent.mkdir()
    path.write_text('{"schema": 7}')
    with pytest.raises(
        LongctxError, match=r"schema 7, .*notebooks measure --record.*remove the file"
    ):
        notebooks.record([notebooks.Measured("01_cost", 1.0, 1)], course / "notebooks")
    assert path.read_text() == '{"schema": 7}'


def test_tables_are_renewed_by_a_command_that_runs_no_notebook(course, capsys):
    command = ["tables", "--folder", str(course / "notebooks")]
    assert notebooks.main(command) == 0
    said = capsys.readouterr().out
    assert "tables renewed in README.md" in said
    assert "tables renewed in INSTRUCTOR.md" in said
    assert notebooks.main(command) == 0
    assert capsys.readouterr().out == ""


def test_a_file_without_the_markers_is_refused(course):
    (course / "README.md").write_text("# Course\n")
    with pytest.raises(LongctxError, match=r"README.md needs the lines <!-- notebooks:begin -->"):
        notebooks.render_tables(course)


def test_measure_fails_over_the_budget(course, monkeypatch, capsys):
    monkeypatch.setattr(
        notebooks,
        "measure",
        lambda path, timeout: notebooks.Measured(path.stem, 91.0, 1_600_000_000),
    )
    arguments = ["measure", "00", "--record", "--folder", str(course / "notebooks")]
    assert notebooks.main(arguments) == 1
    said = capsys.readouterr().out
    assert "00_start_here takes more than 90 s." in said
    assert "00_start_here needs more than 1.5 GB." in said
    assert "91 s" in (course / "README.md").read_text()


def test_the_template_has_the_cells_of_the_course():
    sources = [cell["source"] for cell in template.new_notebook("07")["cells"]]
    assert sources[0].startswith("# 7. ")
    assert "## Quiz" in "\n".join(sources)
