"""The built package is whole, holds nothing else, and is light to import."""

import configparser
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from hatchling.build import build_sdist, build_wheel

import longctx_edu

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "longctx_edu"
HEAVY = ("torch", "transformers", "matplotlib", "ipywidgets", "anywidget", "numpy")
LIGHT = ("longctx_edu", "longctx_edu.cli", "longctx_edu.text", "longctx_edu.teaching") + (
    "longctx_edu.teaching.offline",
    "longctx_edu.evaluation.figures",
    "longctx_edu.preflight",
    "longctx_edu.widgets",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from this checkout by the build tool itself: no pip, no network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        folder = tmp_path_factory.mktemp("wheel")
        with zipfile.ZipFile(folder / build_wheel(str(folder))) as archive:
            yield archive


def information(wheel, name: str) -> str:
    """Return a file of the wheel's .dist-info folder."""
    (member,) = (one for one in wheel.namelist() if one.endswith(f".dist-info/{name}"))
    return wheel.read(member).decode()


def files_of_the_package() -> set[str]:
    found = (path for path in PACKAGE.rglob("*") if path.is_file())
    leftover = ("__pycache__", ".ipynb_checkpoints", ".DS_Store")
    files = {
        path.relative_to(ROOT).as_posix()
        for path in found
        if not any(part in leftover for part in path.parts)
    }
    # Recorded results live beside the notebooks and go along in the package.
    results = (ROOT / "notebooks" / "results").glob("*.json")
    return files | {f"longctx_edu/results/{path.name}" for path in results}


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel):
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == files_of_the_package()


@pytest.mark.parametrize("kind", [".py", ".md", ".js", ".css"])
def test_the_wheel_holds_code_texts_and_the_browsers_part_of_views(wheel, kind):
    assert any(name.endswith(kind) for name in wheel.namelist())


def test_the_wheel_states_version_licences_and_python(wheel):
    stated = Parser().parsestr(information(wheel, "METADATA"))
    assert stated["Name"] == "longctx-edu"
    assert stated["Version"] == longctx_edu.__version__
    assert stated["License-Expression"] == "Apache-2.0"
    assert set(stated.get_all("License-File")) == {"LICENSE", "LICENSE-text"}
    assert stated["Requires-Python"] == ">=3.11"
    assert stated["Description-Content-Type"] == "text/markdown"


def test_the_wheel_brings_the_command(wheel):
    scripts = configparser.ConfigParser()
    scripts.read_string(information(wheel, "entry_points.txt"))
    assert dict(scripts["console_scripts"]) == {"longctx": "longctx_edu.cli:main"}


def test_the_source_archive_builds_the_same_wheel(wheel, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    with tarfile.open(tmp_path / build_sdist(str(tmp_path))) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    monkeypatch.chdir(folder)
    with zipfile.ZipFile(tmp_path / build_wheel(str(tmp_path))) as again:
        assert sorted(again.namelist()) == sorted(wheel.namelist())


@pytest.mark.parametrize("module", LIGHT)
def test_importing_loads_nothing_heavy(module):
    program = f"import sys, {module}; print(*sorted(sys.modules.keys() & set({HEAVY})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_a_name_that_the_package_lacks_is_an_ordinary_absence():
    assert hasattr(longctx_edu, "read")
    assert not hasattr(longctx_edu, "no_such_name")
