"""Every notebook keeps the rules of the course, and each rule does find its fault."""

from pathlib import Path

import pytest

from longctx_edu.teaching import badges, canonical, lessons, notebooks, structure, template
from longctx_edu.teaching.structure import notebook_faults, structure_faults

ROOT = Path(__file__).parents[1]
NOTEBOOKS = notebooks.find_notebooks((), ROOT / "notebooks")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_keeps_the_rules_of_the_course(path):
    assert structure_faults(path) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_is_in_canonical_form(path):
    assert notebooks.faults(path) == []


def test_the_colab_cell_is_the_same_in_all_notebooks():
    assert notebooks.faults_between(NOTEBOOKS) == []


def test_the_tables_of_notebooks_hold_what_was_recorded():
    for path, text in notebooks.render_tables(ROOT).items():
        assert path.read_text(encoding="utf-8") == text


# --- the rules themselves, on a notebook made on the spot


def good():
    """A notebook that keeps all rules: the template, filled in and as if it had been run."""
    notebook = template.new_notebook("00")
    questions = lessons.find(0).questions
    for cell in notebook["cells"]:
        if cell["source"].startswith("quiz("):
            cell["source"] = "\n".join(f'quiz("{item}", None)' for item in questions)
        if cell["cell_type"] == "code":
            cell["outputs"] = [stream("as expected\n")]
    return canonical.canonical(notebook, "00")


def stream(text, name="stdout"):
    return {"name": name, "output_type": "stream", "text": text}


def picture():
    return {
        "data": {"image/png": "AAAA", "text/plain": "<Figure>"},
        "metadata": {},
        "output_type": "display_data",
    }


def cell_with(notebook, text):
    return next(cell for cell in notebook["cells"] if text in cell["source"])


def replace(old, new):
    def change(notebook):
        cell = cell_with(notebook, old)
        cell["source"] = cell["source"].replace(old, new)

    return change


def remove(text):
    def change(notebook):
        notebook["cells"].remove(cell_with(notebook, text))
        for position, cell in enumerate(notebook["cells"]):
            cell["id"] = f"n00-{position:03d}"

    return change


def output(text, *outputs):
    def change(notebook):
        cell_with(notebook, text)["outputs"] = list(outputs)

    return change


def long_class(notebook):
    body = "\n".join(f"    a{n} = {n}" for n in range(40))
    cell_with(notebook, 'reveal("0.1")')["source"] += f"\n\n\nclass Long:\n{body}"


def swap_sections(notebook):
    cells = notebook["cells"]
    first, second = (
        cells.index(cell_with(notebook, f"## {name}")) for name in ("Take-away", "Words to keep")
    )
    cells[first], cells[second] = cells[second], cells[first]


def unchecked_all(notebook):
    for cell in notebook["cells"][5:]:
        cell["metadata"] = {"tags": ["nbval-ignore-output"]}


def three_code_cells(notebook):
    notebook["cells"].remove(cell_with(notebook, "## The effect first"))


def many_cells(notebook):
    notebook["cells"] += [{"cell_type": "markdown", "metadata": {}, "source": "More."}] * 60


def many_lines(notebook):
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["source"] += "\n" * 30 + "a = 1"


def rotated(notebook):
    cells = notebook["cells"]
    cells.append(cells.pop(0))


SOURCE = 'reveal("0.1")'
RULES = [
    (replace("# 0. ", "# 1. "), "must begin with the title `# 0. Question?`"),
    (replace("## The mechanism", "# The mechanism"), "one heading of level 1, not 2"),
    (replace("## The mechanism", "#### The mechanism"), "'The mechanism' skips a level"),
    (replace(badges.MARKER, "badges"), "no line for the badges"),
    (replace("30 minutes", "a while"), "how many minutes the notebook takes"),
    (replace("Prerequisites", "Before"), "must name the prerequisites"),
    (replace("- measure ...\n", ""), "three or more things"),
    (remove("## Quiz"), "one section `## Quiz`, not 0"),
    (swap_sections, "must stand in this order"),
    (replace("## Take-away", "## Take-away\n\n## More"), "these close it"),
    (replace("## What it costs", "What it costs"), "3 or more sections, not 2"),
    (replace("import sys", "import os"), "must be the Colab cell of the course, unchanged"),
    (replace(SOURCE, f"{SOURCE}\n'google.colab'"), "one Colab cell"),
    (remove("from longctx_edu.teaching import"), "second code cell must hold the imports"),
    (replace(SOURCE, f"import torch\n\n{SOURCE}"), "all imports stand in the imports cell"),
    (replace("**Next:**", "Then"), "must begin with `**Next:**`"),
    (replace("[the glossary](GLOSSARY.md).", "nothing."), "a link to what follows"),
    (remove('predict("0.2"'), "2 or more calls of predict(), not 1"),
    (remove('check("0.2"'), "2 or more calls of check(), not 1"),
    (remove("quiz("), "3 or more calls of quiz(), not 0"),
    (remove('reveal("0.2"'), "Prediction 0.2 needs reveal('0.2') in a later cell"),
    (replace("### Exercise 0.1", "### Task 0.1"), "Exercise 0.1 needs a heading"),
    (replace("(about 8 min, core)", "(core)"), "must say how many minutes it takes"),
    (replace('hint("0.2")', "a hint"), 'must mention hint("0.2")'),
    (replace(SOURCE, f'{SOURCE}\nhint("0.1")'), "which gives the answer away"),
    (replace('quiz("0.1"', 'quiz("0.9"'), "quiz('0.9') is not in lessons/lesson_00.py"),
    (replace('quiz("0.1", None)\n', ""), "has an unused item: quiz('0.1')"),
    (many_cells, "keep it to 60"),
    (many_lines, "lines of code; keep it to 250"),
    (three_code_cells, "third code cell in a row"),
    (replace("The numbers of", "word " * 120), "words; keep a text to 120"),
    (replace(SOURCE, SOURCE + "\na = 1" * 25), "has 26 lines of code; keep it to 25"),
    (long_class, "has 44 lines of code; keep it to 40"),
    (replace(SOURCE, f"{SOURCE}  # {'x' * 70}"), "columns; keep code to 79"),
    (replace(SOURCE, " "), "is an empty code cell"),
    (replace(SOURCE, f"{SOURCE}\n!pip install x"), "calls a shell or pip"),
    (replace(SOURCE, f"{SOURCE}\n%pip install x"), "calls a shell or pip"),
    (replace(SOURCE, f"{SOURCE};"), "ends a line with `;`"),
    (replace(SOURCE, "reveal("), "is not valid Python"),
    (replace(SOURCE, f"{SOURCE}\nopen_url('https://x')"), "asks the web"),
    (replace("from longctx_edu", "import requests\nfrom longctx_edu"), "asks the web"),
    (replace(SOURCE, f"{SOURCE}\nopen('/home/me/text.md')"), "holds an absolute path"),
    (output(SOURCE, stream("saved in /tmp/x\n")), "holds an absolute path"),
    (output(SOURCE, picture()), "shows a picture without words"),
    (replace("The task in", "![](images/a.png) in"), "without a description"),
    (replace("The task in", "![a](https://x/a.png)"), "takes a picture from the web"),
    (lambda notebook: notebook["cells"][2].update(execution_count=None), "not all run once"),
    (lambda notebook: notebook["cells"][3].update(execution_count=7), "not all run once"),
    (lambda notebook: notebook["cells"][3].update(id="f00"), "The cell ids are not"),
    (rotated, "The cell ids are not"),
    (output(SOURCE, stream("old\n", name="stderr")), "prints to stderr"),
    (output(SOURCE, {"output_type": "error", "ename": "E"}), "ends in an error"),
    (output(SOURCE, stream("<object at 0x…>\n")), "shows an address"),
    (unchecked_all, "Outputs of 3 or more cells must be compared, not of 2"),
    (lambda notebook: notebook["cells"].clear(), "has no cells"),
]


def test_a_notebook_that_keeps_the_rules_has_no_faults():
    assert notebook_faults(good(), "00") == []


@pytest.mark.parametrize(("break_rule", "says"), RULES, ids=[says for _, says in RULES])
def test_a_broken_rule_is_named(break_rule, says):
    notebook = good()
    break_rule(notebook)
    found = notebook_faults(notebook, "00")
    assert any(says in fault for fault in found), found


@pytest.mark.parametrize(
    "change",
    [
        output(SOURCE, picture(), stream("Figure: a line with a peak\n")),
        output(SOURCE, stream("half of 1/2, see and/or notes/tmp/x\n")),
        replace("The task in", "```python\n# no heading\n```\nThe task in"),
        replace(badges.MARKER, f"[![a](https://x/b.svg)](https://x) {badges.MARKER}"),
        replace(SOURCE, f"%matplotlib inline\n{SOURCE}"),
        replace(
            'course = ""', 'course = "git+https://example.org/a/long/address/of/the/course@v1.0"'
        ),
    ],
    ids=["described", "slashes", "fenced", "badges", "magic", "address of the course"],
)
def test_what_is_allowed_is_no_fault(change):
    notebook = good()
    change(notebook)
    assert notebook_faults(notebook, "00") == []


def test_a_notebook_without_a_lesson_is_told_where_to_write_it():
    found = notebook_faults(template.new_notebook("99"), "99")
    assert "There is no lessons/lesson_99.py with the notebook's questions." in found


# --- the rules that need the file


def saved(tmp_path, notebook):
    path = tmp_path / "00_start_here.ipynb"
    canonical.save(notebook, path)
    return path


def test_links_to_missing_files_are_named(tmp_path):
    path = saved(tmp_path, good())
    assert structure_faults(path) == [
        f"Cell {position} links to {name}, which does not exist."
        for position, name in ((20, "GLOSSARY.md"), (21, "REFERENCES.md"), (22, "GLOSSARY.md"))
    ]
    (tmp_path / "GLOSSARY.md").touch()
    (tmp_path / "REFERENCES.md").touch()
    assert structure_faults(path) == []


def test_a_large_file_is_named(tmp_path):
    notebook = good()
    output(SOURCE, stream("x" * 1_000_000))(notebook)
    assert any(
        "keep it under 1,000,000" in fault for fault in structure_faults(saved(tmp_path, notebook))
    )


@pytest.mark.parametrize(
    "name", ["start.ipynb", "0_start.ipynb", "00_Start.ipynb", "00-start.ipynb"]
)
def test_the_file_name_is_a_rule_too(tmp_path, name):
    path = tmp_path / name
    canonical.save(good(), path)
    assert "is called NN_snake_case.ipynb" in structure_faults(path)[0]


def test_a_file_that_cannot_be_read_is_a_fault_and_no_crash(tmp_path):
    path = tmp_path / "00_x.ipynb"
    path.write_text("not json")
    assert "cannot be read as a notebook" in structure_faults(path)[0]


def test_title_minutes_and_exercises_are_read_from_the_notebook():
    notebook = good()
    assert structure.title(notebook) == "The question that this notebook answers?"
    assert structure.minutes(notebook) == 30
    assert structure.exercise_minutes(notebook) == {"0.1": 8, "0.2": 8}
