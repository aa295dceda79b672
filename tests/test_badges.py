"""Links to Binder and Colab are written for one repository and no other file changes."""

import pytest

from longctx_edu.errors import LongctxError
from longctx_edu.teaching import badges, canonical, notebooks
from longctx_edu.teaching.badges import MARKER, write_badges


@pytest.fixture
def course(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (tmp_path / "README.md").write_text(
        f"# Course\n\n{MARKER}\n\n<!-- notebooks:begin -->\n<!-- notebooks:end -->\n\nEnd.\n"
    )
    for name in ("00_start_here", "01_cost"):
        notebooks.new(name, folder)
    notebooks.write_tables(tmp_path)
    return tmp_path


def texts(course):
    return {path.name: path.read_text() for path in course.rglob("*") if path.is_file()}


def first_cell(course, name):
    return canonical.load(course / "notebooks" / name)["cells"][0]["source"]


def test_each_file_gets_its_own_links(course):
    changed = write_badges("ada/long-context", course)
    assert {path.name for path in changed} == {"README.md", "00_start_here.ipynb", "01_cost.ipynb"}
    binder = "https://mybinder.org/v2/gh/ada/long-context/main?urlpath=lab%2Ftree%2Fnotebooks%2F"
    colab = "https://colab.research.google.com/github/ada/long-context/blob/main/notebooks/"
    for name in ("00_start_here.ipynb", "01_cost.ipynb"):
        line = first_cell(course, name).splitlines()[-1]
        assert line.endswith(f"]({colab}{name}) {MARKER}")
        assert f"]({binder}{name})" in line
    readme = (course / "README.md").read_text().splitlines()
    assert f"{binder}00_start_here.ipynb" in readme[2]
    assert readme[2].endswith(MARKER)


def test_the_table_of_notebooks_gets_the_links_too(course):
    assert "| Open |" not in (course / "README.md").read_text()
    write_badges("ada/long-context", course)
    text = (course / "README.md").read_text()
    assert "| Open |" in text
    assert text.count("notebooks/01_cost.ipynb)") == 2  # the file, and the link to Colab


def test_the_colab_cell_installs_from_the_same_place(course):
    write_badges("ada/long-context", course, ref="v0.1.0")
    cell = next(
        cell["source"]
        for cell in canonical.load(course / "notebooks" / "01_cost.ipynb")["cells"]
        if badges.is_colab_cell(cell["source"])
    )
    assert 'course = "git+https://github.com/ada/long-context@v0.1.0"' in cell


def test_writing_again_changes_nothing(course):
    write_badges("ada/long-context", course)
    before = texts(course)
    assert write_badges("ada/long-context", course) == []
    assert texts(course) == before


def test_another_repository_takes_the_place_of_the_first(course, tmp_path):
    write_badges("grace/other", course, ref="dev")
    expected = texts(course)
    write_badges("ada/long-context", course)
    assert texts(course) != expected
    write_badges("grace/other", course, ref="dev")
    assert texts(course) == expected


def test_nothing_but_the_links_changes(course):
    before = texts(course)
    write_badges("ada/long-context", course)
    after = texts(course)
    for name, text in before.items():
        lines = [line for line in after[name].splitlines() if "ada/long-context" not in line]
        kept = [line for line in text.splitlines() if line in after[name].splitlines()]
        assert [line for line in lines if line in kept] == kept


@pytest.mark.parametrize(
    "owner_repo",
    [
        "",
        "longctx",
        "/longctx",
        "ada/",
        "ada/long/context",
        "https://github.com/ada/longctx",
        "ada/longctx.git",
        "ada lovelace/longctx",
        "-ada/longctx",
        "ada/..",
        "OWNER/REPO)",
        "ada/long\ncontext",
        None,
    ],
)
def test_a_malformed_repository_is_refused_before_anything_is_written(course, owner_repo):
    before = texts(course)
    with pytest.raises(LongctxError, match="give OWNER/REPO"):
        write_badges(owner_repo, course)
    assert texts(course) == before


def test_a_malformed_ref_is_refused(course):
    with pytest.raises(LongctxError, match="does not name a branch or tag"):
        write_badges("ada/longctx", course, ref="main branch")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("README.md", "README.md has no line for the badges"),
        ("notebooks/01_cost.ipynb", "01_cost.ipynb has no line for the badges"),
    ],
)
def test_a_missing_marker_is_named_and_nothing_is_written(course, name, says):
    path = course / name
    path.write_text(path.read_text().replace(MARKER, "none"))
    before = texts(course)
    with pytest.raises(LongctxError, match=says):
        write_badges("ada/longctx", course)
    assert texts(course) == before


def test_a_notebook_without_its_colab_cell_is_named(course):
    path = course / "notebooks" / "01_cost.ipynb"
    path.write_text(path.read_text().replace("google.colab", "google"))
    with pytest.raises(LongctxError, match="has no Colab cell"):
        write_badges("ada/longctx", course)


def test_a_folder_without_notebooks_is_refused(tmp_path):
    with pytest.raises(LongctxError, match="run this in the course's folder"):
        write_badges("ada/longctx", tmp_path)


# --- the Colab cell


def run_colab_cell(source, modules, monkeypatch, capsys):
    """Run the cell with its pip line recorded in place of executed."""
    import sys

    for name, found in modules.items():
        monkeypatch.setitem(sys.modules, name, found)
    installed = []
    python = source.replace('%pip install -q "longctx-edu @ {course}"', "installed.append(course)")
    exec(python, {"installed": installed})
    return installed, capsys.readouterr().out


def test_the_colab_cell_does_nothing_elsewhere(monkeypatch, capsys):
    source = badges.colab_cell("git+https://x@v1")
    assert run_colab_cell(source, {}, monkeypatch, capsys) == ([], "")


@pytest.mark.parametrize("address", ["", "git+https://x@v1"])
def test_on_colab_it_installs_a_missing_package_or_says_how(address, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    source = badges.colab_cell(address)
    installed, said = run_colab_cell(source, {"google.colab": object()}, monkeypatch, capsys)
    if address:
        assert (installed, said) == ([address], "")
    else:
        assert installed == []
        assert "longctx badges OWNER/REPO" in said


def test_on_colab_an_installed_package_is_left_alone(monkeypatch, capsys):
    source = badges.colab_cell("git+https://x@v1")
    ran = run_colab_cell(source, {"google.colab": object()}, monkeypatch, capsys)
    assert ran == ([], "")
