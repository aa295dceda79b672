"""The pre-flight check finds what is wrong and says what to do."""

import json
import os
import platform
import sys
from pathlib import Path

import pytest

from longctx_edu import preflight
from longctx_edu.models import EMBEDDED
from longctx_edu.preflight import Check, run_checks, summary
from longctx_edu.teaching.offline import no_network


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """An empty folder in place of the one that holds the fetched model."""
    monkeypatch.setenv("LONGCTX_EDU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Return a function that makes an installed distribution with given requirements."""

    def make(*requirements):
        folder = tmp_path / "site" / "toy_course-1.0.dist-info"
        folder.mkdir(parents=True)
        lines = ["Metadata-Version: 2.1", "Name: toy_course", "Version: 1.0"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requirements]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(str(folder.parent))
        return "toy_course"

    return make


def test_a_line_says_ok_or_what_failed_and_what_to_do():
    assert str(Check("memory", True, "4.0 GB free")) == "[OK]   memory: 4.0 GB free"
    failed = Check("memory", False, "0.2 GB free", "close other programs")
    assert str(failed) == "[FAIL] memory: 0.2 GB free -> close other programs"


def test_this_python_is_new_enough():
    assert preflight.check_python().ok
    assert preflight.check_python().found == platform.python_version()


def test_an_older_python_fails(monkeypatch):
    monkeypatch.setattr(preflight, "OLDEST_PYTHON", (99, 0))
    check = preflight.check_python()
    assert not check.ok
    assert "install Python 99.0" in check.advice


def test_packages_are_compared_with_the_stated_lower_bounds(distribution):
    check = preflight.check_packages(distribution("numpy>=1.0", "tqdm"))
    assert check.ok
    assert check.found == "2 as new as needed"


def test_a_package_that_is_old_or_missing_is_named_with_the_command(distribution):
    check = preflight.check_packages(distribution("numpy>=99", "no-such-package>=1", "tqdm"))
    assert not check.ok
    assert "needed is >=99" in check.found
    assert "no-such-package is missing" in check.found
    assert "tqdm is" not in check.found
    assert "pip install --upgrade 'numpy>=99' 'no-such-package>=1'" in check.advice


def test_an_old_torch_is_replaced_by_the_small_build(distribution):
    check = preflight.check_packages(distribution("torch>=99"))
    assert "download.pytorch.org/whl/cpu 'torch>=99'" in check.advice


def test_packages_of_extras_and_other_systems_are_not_needed(distribution):
    name = distribution('no-such-package; extra == "test"', 'other; sys_platform == "amiga"')
    assert preflight.check_packages(name).ok


def test_a_package_that_is_not_installed_says_how_to_install_it():
    check = preflight.check_packages("no-such-course")
    assert not check.ok
    assert "pip install" in check.advice


def test_one_core_is_enough_but_slow(monkeypatch):
    monkeypatch.setenv("CPU_LIMIT", "1")
    check = preflight.check_cores()
    assert check.ok
    assert "twice as long" in check.found


def test_too_little_memory_fails():
    check = preflight.check_memory(needed=10**18)
    assert not check.ok
    assert "close other programs" in check.advice


def test_memory_counts_the_limit_of_the_container(monkeypatch):
    monkeypatch.setenv("MEM_LIMIT", str(10**9))
    check = preflight.check_memory()
    assert not check.ok
    assert "the container's limit of 1.0 GB" in check.found


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system without room")
def test_a_cache_folder_without_room_fails(monkeypatch):
    monkeypatch.setenv("LONGCTX_EDU_CACHE", "/proc/longctx_edu")
    check = preflight.check_disk()
    assert not check.ok
    assert "LONGCTX_EDU_CACHE" in check.advice


def test_a_cache_folder_that_is_not_made_yet_is_judged_by_its_parent(empty_cache, tmp_path):
    assert str(tmp_path) in preflight.check_disk().found
    assert not empty_cache.exists()


def test_a_missing_model_fails_with_the_command_that_brings_it(empty_cache):
    check = preflight.check_model_files()
    assert not check.ok
    assert "longctx fetch" in check.advice


def test_looking_for_a_missing_model_does_not_fetch_it(empty_cache):
    check = preflight.check_model_loads()
    assert not check.ok
    assert not empty_cache.exists()


def test_a_damaged_model_fails(empty_cache):
    (empty_cache / EMBEDDED).mkdir(parents=True)
    (empty_cache / EMBEDDED / "manifest.json").write_text("{")
    assert not preflight.check_model_files().ok


def test_torch_computes_attention_as_defined():
    assert preflight.check_computation().ok


def test_a_kernel_starts_and_imports_the_package():
    with no_network():
        check = preflight.check_kernel()
    assert check.ok, check.found


def test_a_kernel_that_does_not_start_is_a_failure_with_advice(tmp_path, monkeypatch):
    spec = {"argv": [sys.executable, "-c", "raise SystemExit(1)"], "display_name": "broken"}
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps({**spec, "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    check = preflight.attempt("kernel", preflight.check_kernel)
    assert not check.ok
    assert "ipykernel" in check.advice


def test_the_installed_widgets_have_all_their_files():
    check = preflight.check_widgets()
    assert check.ok, check.found


def test_widget_files_that_are_missing_or_empty_are_named(tmp_path):
    (tmp_path / "view.py").write_text('_esm = Path(__file__).parent / "view.js"\n_css = "view.css"')
    (tmp_path / "other.js").touch()
    (tmp_path / "view.css").write_text(".view { color: black }")
    check = preflight.check_widgets(tmp_path)
    assert not check.ok
    assert check.found == "view.js is missing; other.js is empty"


def test_the_network_is_off_while_a_check_runs():
    assert preflight.attempt("network", preflight.check_network).ok


def test_a_check_that_stumbles_is_a_failed_line_and_not_a_traceback():
    def stumble():
        raise RuntimeError("out of\nluck")

    check = preflight.attempt("memory", stumble)
    assert str(check).startswith("[FAIL] memory: RuntimeError: out of luck -> ")


def test_a_missing_library_says_to_set_the_course_up_again():
    def import_what_is_not_there():
        import no_such_library  # noqa: F401

    assert "make lab" in preflight.attempt("widgets", import_what_is_not_there).advice


def test_a_quick_check_leaves_out_the_slow_ones(empty_cache):
    checks = list(run_checks(quick=True))
    names = [check.name for check in checks]
    assert names == [
        *("python", "packages", "cores", "memory", "disk", "model"),
        *("computation", "widgets", "network"),
    ]
    assert not checks[names.index("model")].ok


def test_the_line_for_the_instructor_names_what_failed_and_nobody():
    line = summary([Check("python", True, "3.12"), Check("model", False, "missing", "fetch it")])
    assert line.endswith("FAIL: model")
    assert "\n" not in line
    assert os.path.expanduser("~") not in line
    assert str(Path(sys.executable).parent) not in line


def test_the_line_for_the_instructor_counts_the_checks_when_all_is_well():
    assert summary([Check("python", True, "3.12")]).endswith("all 1 checks OK")
