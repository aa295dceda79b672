"""pyproject.toml, both conda files, the constraints and Binder's image say the same."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import longctx_edu

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONDA_FILES = ("environment.yml", "binder/environment.yml")
CONDA_NAMES = {  # where conda-forge calls a package otherwise
    "jupyter-client": "jupyter_client",
    "matplotlib": "matplotlib-base",
    "playwright": "playwright-python",
    "torch": "pytorch-cpu",
}


def stated_requirements() -> dict[str, Requirement]:
    """Return what pyproject.toml asks for, extras included, by canonical name."""
    texts = [*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)]
    found = [Requirement(text) for text in texts]
    return {canonicalize_name(one.name): one for one in found if one.name != PROJECT["name"]}


def pinned_versions() -> dict[str, Version]:
    """Return what constraints.txt pins, by canonical name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, version in pins.items()}


def conda_dependencies(file: str) -> list:
    return yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["dependencies"]


def conda_bounds(file: str) -> dict[str, SpecifierSet]:
    """Return the packages of a conda file and their bounds, without Python and pip."""
    found = {}
    for line in conda_dependencies(file):
        if isinstance(line, str):
            name, bound = re.fullmatch(r"([a-z0-9_.-]+)(.*)", line).groups()
            found[name] = SpecifierSet(bound if bound[:1] in "<>" else f"={bound}.*")
    del found["python"], found["pip"]
    return found


def conda_python(file: str) -> Version:
    (found,) = (line for line in conda_dependencies(file) if str(line).startswith("python="))
    return Version(found.removeprefix("python="))


def installed_closure() -> set[str]:
    """Return the canonical names of all that installing the course with its extras brings here."""
    waiting = [*stated_requirements().values()]
    seen = set()
    while waiting:
        wanted = waiting.pop()
        key = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if key in seen:
            continue
        seen.add(key)
        for text in metadata.requires(wanted.name) or ():
            needed = Requirement(text)
            contexts = [{"extra": extra} for extra in ("", *wanted.extras)]
            if needed.marker is None or any(map(needed.marker.evaluate, contexts)):
                waiting.append(needed)
    return {name for name, _ in seen}


def imported_distributions() -> dict[str, str]:
    """Return the distributions that the package's modules import, each with one such module."""
    homes, found = metadata.packages_distributions(), {}
    for path in (ROOT / "longctx_edu").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for name in {name.partition(".")[0] for name in names}:
                if name not in sys.stdlib_module_names and name != "longctx_edu":
                    (home,) = set(homes.get(name, [name]))
                    found[canonicalize_name(home)] = path.relative_to(ROOT).as_posix()
    return found


# --------------------------------------------------------------------------
# Agreement


def test_everything_that_the_package_imports_is_required_by_name():
    undeclared = imported_distributions().keys() - stated_requirements().keys()
    assert not undeclared, f"{undeclared} are imported and not in pyproject.toml"


def test_nothing_that_a_hosted_notebook_has_to_keep_is_a_core_requirement():
    core = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    assert core.isdisjoint({"jupyterlab", "notebook", "nbval", "pytest", "ipykernel"})


@pytest.mark.parametrize("name", stated_requirements())
def test_every_requirement_has_a_lower_bound_and_no_other(name):
    (bound,) = stated_requirements()[name].specifier
    assert bound.operator == ">="


@pytest.mark.parametrize("name", stated_requirements())
def test_every_requirement_is_pinned_within_its_bound(name):
    pins = pinned_versions()
    assert name in pins, f"constraints.txt does not pin {name}; run `make constraints`."
    assert stated_requirements()[name].specifier.contains(pins[name])


def test_everything_that_gets_installed_is_pinned():
    assert installed_closure() <= pinned_versions().keys()


def test_the_constraints_are_sorted_and_name_no_build():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins == sorted(pins, key=str.upper)
    assert not any("+" in pin for pin in pins)


@pytest.mark.parametrize("build", ["2.13.0", "2.13.0+cpu", "2.13.0+cu130"])
def test_a_pin_without_a_build_accepts_every_build_of_torch(build):
    assert SpecifierSet("==2.13.0").contains(build)


@pytest.mark.parametrize("file", CONDA_FILES)
def test_a_conda_file_has_the_packages_and_bounds_of_pyproject(file):
    expected = {CONDA_NAMES.get(n, n): r.specifier for n, r in stated_requirements().items()}
    assert conda_bounds(file) == expected


@pytest.mark.parametrize("file", CONDA_FILES)
def test_a_conda_file_names_a_python_that_the_package_supports(file):
    assert SpecifierSet(PROJECT["requires-python"]).contains(conda_python(file))


def test_binder_differs_from_the_conda_file_by_the_local_line_only():
    root, binder = map(conda_dependencies, CONDA_FILES)
    assert root == [*binder, {"pip": ["-e ."]}]


def test_every_conda_file_uses_conda_forge_alone():
    for file in CONDA_FILES:
        assert yaml.safe_load((ROOT / file).read_text())["channels"] == ["conda-forge"]


def test_the_preflight_check_asks_for_the_python_of_pyproject():
    from longctx_edu.preflight import OLDEST_PYTHON

    assert PROJECT["requires-python"] == f">={'.'.join(map(str, OLDEST_PYTHON))}"


def test_the_citation_names_the_version_and_licence_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == longctx_edu.__version__
    assert citation["license"] == PROJECT["license"]


def test_the_hooks_call_tools_that_are_installed_for_changing_the_course():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    tools = {hook["entry"].split()[0] for hook in hooks}
    assert tools == {".venv/bin/ruff", ".venv/bin/python"}
    assert {hook["language"] for hook in hooks} == {"system"}


# --------------------------------------------------------------------------
# Binder


@pytest.fixture(scope="module")
def dockerfile(tmp_path_factory) -> str:
    """The Dockerfile that repo2docker writes for the repository as mybinder.org calls it."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "binder", folder / "binder")
    for name in ("environment.yml", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    done = subprocess.run(
        [sys.executable, "-m", "repo2docker", "--no-build", "--debug"]
        + ["--Repo2Docker.default_buildpack=None", "--user-id=1000", "--user-name=jovyan", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def line_with(text: str, *parts: str) -> int:
    """Return the number of the only line that holds all parts."""
    found = [n for n, line in enumerate(text.splitlines()) if all(part in line for part in parts)]
    assert len(found) == 1, f"{parts} stands in lines {found}"
    return found[0]


def test_binder_solves_the_environment_before_it_copies_the_repository(dockerfile):
    environment = line_with(dockerfile, "COPY", "src/binder/environment.yml")
    solve = line_with(dockerfile, "env update", "binder/environment.yml")
    everything = line_with(dockerfile, "COPY", " src/ ")
    assert environment < solve < everything


def test_binder_runs_the_build_step_last_and_launches_through_start(dockerfile):
    everything = line_with(dockerfile, "COPY", " src/ ")
    build = line_with(dockerfile, "RUN ./binder/postBuild")
    launch = line_with(dockerfile, "R2D_ENTRYPOINT", "binder/start")
    assert everything < build
    assert everything < launch


def test_binder_uses_the_python_of_the_conda_file(dockerfile):
    python = conda_python("binder/environment.yml")
    line_with(dockerfile, f"Building conda environment for python={python}")


@pytest.mark.parametrize("script", ["binder/postBuild", "binder/start", ".ci/run"])
def test_scripts_can_be_run_and_are_written_without_mistakes(script):
    path = ROOT / script
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", str(path)], check=True)


@pytest.mark.parametrize(
    ("limit", "threads"),
    [("1.0", "1"), ("2.5", "2"), ("4", "4"), ("0.5", "1"), (None, "1")],
)
def test_start_uses_as_many_threads_as_there_are_whole_cores(limit, threads):
    environment = {k: v for k, v in os.environ.items() if k not in ("CPU_LIMIT", "HF_HUB_OFFLINE")}
    if limit is not None:
        environment["CPU_LIMIT"] = limit
    done = subprocess.run(
        [str(ROOT / "binder" / "start"), "sh", "-c", 'echo "$OMP_NUM_THREADS $HF_HUB_OFFLINE $1"']
        + ["sh", "two words"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{threads} 1 two words\n"
