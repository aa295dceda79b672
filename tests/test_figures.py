"""The registry of figures, fair timing, recorded results, and the machine they are taken on."""

import json
import os
import platform
import subprocess
import sys
import textwrap
import time

import numpy
import pytest

from longctx_edu import evaluation
from longctx_edu.errors import LongctxError
from longctx_edu.evaluation import figures
from longctx_edu.evaluation.figures import (
    Result,
    Run,
    Target,
    interleaved_ratio,
    measure,
    median_seconds,
    read_result,
    write_result,
)
from longctx_edu.evaluation.machine import (
    machine,
    memory_limit,
    peak_rss_bytes,
    peak_rss_of,
    total_memory,
    usable_cores,
    versions,
)

BENCH = '''
"""A bench for the tests."""
from longctx_edu.evaluation.figures import figure

calls = []

@figure("zeta", unit="s", target="<= 3")
def zeta(run):
    calls.append("zeta")
    run.table("steps", [{"step": 1, "seconds": 0.5}, {"step": 2, "seconds": None}])
    return run.choose(quick=1, plain=2.5, record=2.75)

@figure("alpha", unit="ratio", target=">= 0.8")
def alpha(run):
    calls.append("alpha")
    return 0.5

@figure("broken", unit="GB", target="<= 1.5")
def broken(run):
    raise RuntimeError("the disk\\nis full")

@figure("same", unit="yes/no", target=">= 1")
def same(run):
    return True

@figure("seen", unit="tokens")
def seen(run):
    return 7
'''


@pytest.fixture
def add_bench(tmp_path, monkeypatch):
    """Return a function that puts a bench module where benches are looked for."""
    folder = tmp_path / "benches"
    folder.mkdir()
    monkeypatch.setattr(evaluation, "__path__", [*evaluation.__path__, str(folder)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    added = []

    def add(name, source):
        (folder / f"bench_{name}.py").write_text(textwrap.dedent(source))
        added.append(f"bench_{name}")

    yield add
    for module in added:
        sys.modules.pop(f"{evaluation.__name__}.{module}", None)
        vars(evaluation).pop(module, None)


def outcomes_by_id(report):
    return {outcome.figure.id: outcome for outcome in report.outcomes}


# Targets


@pytest.mark.parametrize(
    ("text", "met", "missed"),
    [
        ("<= 3", [3, -1, 2.9], [3.01]),
        (">= 0.8", [0.8, 5], [0.79]),
        ("1.8 to 2.1", [1.8, 2, 2.1], [1.79, 2.11]),
    ],
)
def test_a_target_includes_its_bounds_and_prints_as_it_was_written(text, met, missed):
    target = Target.parse(text)
    assert str(target) == text
    assert all(target.is_met_by(value) for value in met)
    assert not any(target.is_met_by(value) for value in missed)


@pytest.mark.parametrize("text", ["", "3", "< 3", "<= three", "2.1 to 1.8", "1 to 2 to 3"])
def test_a_target_of_another_form_is_refused_with_examples(text):
    with pytest.raises(ValueError, match="'1.8 to 2.1'"):
        Target.parse(text)


# The registry


def test_a_bench_is_found_by_its_module_name_alone(add_bench):
    before = figures.bench_names()
    add_bench("toy", BENCH)
    assert sorted([*before, "toy"]) == figures.bench_names()


def test_figures_keep_the_order_of_their_definition(add_bench):
    add_bench("toy", BENCH)
    ids = [figure.id for figure in figures.figures_of("toy")]
    assert ids == ["toy.zeta", "toy.alpha", "toy.broken", "toy.same", "toy.seen"]


def test_a_figure_can_be_chosen_with_or_without_its_bench(add_bench):
    add_bench("toy", BENCH)
    for id in ("alpha", "toy.alpha"):
        assert [figure.id for figure in figures.figures_of("toy", only=[id])] == ["toy.alpha"]


def test_an_unknown_bench_is_refused_with_the_list(add_bench):
    add_bench("toy", BENCH)
    with pytest.raises(LongctxError, match=r"no bench named 'toys'; the benches are: .*\btoy\b"):
        figures.figures_of("toys")


def test_an_unknown_figure_is_refused_with_the_list(add_bench):
    add_bench("toy", BENCH)
    with pytest.raises(LongctxError, match=r"no figure 'toy.beta'; .*toy.zeta, toy.alpha"):
        figures.figures_of("toy", only=["alpha", "beta"])


def test_an_id_defined_twice_is_refused(add_bench):
    add_bench("twice", BENCH + '\n@figure("zeta", unit="s")\ndef other(run):\n    return 1\n')
    with pytest.raises(ValueError, match="defines the figure twice.zeta twice"):
        figures.figures_of("twice")


def test_a_figure_imported_from_another_bench_is_not_measured_again(add_bench):
    add_bench("toy", BENCH)
    add_bench(
        "guest",
        """
        from longctx_edu.evaluation.bench_toy import alpha
        from longctx_edu.evaluation.figures import figure

        @figure("own", unit="ratio")
        def own(run):
            return 2 * alpha(run)
        """,
    )
    report = measure("guest")
    assert [(row.figure.id, row.value) for row in report.outcomes] == [("guest.own", 1.0)]


# Measuring


def test_a_plain_run_gives_a_verdict_on_every_figure_with_a_target(add_bench):
    add_bench("toy", BENCH)
    found = outcomes_by_id(measure("toy"))
    assert (found["toy.zeta"].value, found["toy.zeta"].ok) == (2.5, True)
    assert (found["toy.alpha"].value, found["toy.alpha"].ok) == (0.5, False)
    assert (found["toy.seen"].value, found["toy.seen"].ok) == (7, None)


def test_yes_is_the_number_one(add_bench):
    add_bench("toy", BENCH)
    outcome = outcomes_by_id(measure("toy", only=["same"]))["toy.same"]
    assert outcome.ok
    assert json.dumps(outcome.value) == "1"


def test_a_quick_run_gives_no_verdict(add_bench):
    add_bench("toy", BENCH)
    report = measure("toy", only=["zeta", "alpha"], quick=True)
    assert [(row.value, row.ok) for row in report.outcomes] == [(1, None), (0.5, None)]
    assert report.ok


def test_a_recorded_run_uses_the_full_sizes(add_bench):
    add_bench("toy", BENCH)
    assert measure("toy", only=["zeta"], record=True).outcomes[0].value == 2.75
    with pytest.raises(ValueError, match="quick or recorded"):
        measure("toy", quick=True, record=True)


def test_a_figure_that_fails_has_no_value_and_the_others_still_run(add_bench):
    add_bench("toy", BENCH)
    report = measure("toy")
    broken = outcomes_by_id(report)["toy.broken"]
    assert (broken.value, broken.ok) == (None, False)
    assert broken.error == "RuntimeError: the disk is full"
    assert len(report.outcomes) == 5
    assert not report.ok


@pytest.mark.parametrize("returned", ["float('nan')", "float('inf')", "None", "'3'", "[1, 2]"])
def test_anything_but_one_finite_number_is_a_failure(add_bench, returned):
    add_bench(
        "odd",
        f"""
        from longctx_edu.evaluation.figures import figure

        @figure("value", unit="s")
        def value(run):
            return {returned}
        """,
    )
    outcome = measure("odd").outcomes[0]
    assert (outcome.value, outcome.ok) == (None, False)
    assert "one finite number" in outcome.error


def test_numbers_of_numpy_become_plain_numbers():
    run = Run()
    run.table("sizes", [{"bytes": numpy.int64(3), "share": numpy.float32(0.5)}])
    assert json.dumps(run.tables) == '{"sizes": [{"bytes": 3, "share": 0.5}]}'


def test_a_table_is_written_once_and_holds_plain_values_only():
    run = Run()
    run.table("steps", [{"step": 1}])
    with pytest.raises(ValueError, match="already written"):
        run.table("steps", [])
    with pytest.raises(ValueError, match="finite number"):
        run.table("others", [{"step": object()}])
    with pytest.raises(ValueError, match="finite number"):
        run.table("others", [{"step": float("nan")}])


def test_a_report_has_exactly_the_keys_of_the_command_line(add_bench):
    add_bench("toy", BENCH)
    found = measure("toy", only=["zeta"]).as_dict()
    assert list(found) == ["name", "figures", "tables", "versions", "machine"]
    assert found["figures"] == [
        {"id": "toy.zeta", "value": 2.5, "unit": "s", "target": "<= 3", "ok": True}
    ]
    assert found["tables"]["steps"][1] == {"step": 2, "seconds": None}
    json.dumps(found, allow_nan=False)


# Fair timing


def test_two_calls_are_timed_in_alternation_and_every_second_pair_in_reverse():
    calls = []
    interleaved_ratio(lambda: calls.append("a"), lambda: calls.append("b"), repeats=3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"


def test_the_ratio_of_a_slow_call_to_a_quick_one_is_that_of_their_times():
    ratio = interleaved_ratio(lambda: time.sleep(0.06), lambda: time.sleep(0.02))
    assert 2 < ratio < 4


def test_one_slow_call_does_not_move_the_median():
    pauses = iter([0, 0.01, 0.5, 0.01])
    assert median_seconds(lambda: time.sleep(next(pauses)), repeats=3) < 0.2


def test_timing_needs_at_least_one_repeat():
    with pytest.raises(ValueError, match="at least 1"):
        median_seconds(int, repeats=0)
    with pytest.raises(ValueError, match="at least 1"):
        interleaved_ratio(int, int, repeats=0)


# Recorded results


@pytest.fixture
def result(add_bench):
    add_bench("toy", BENCH)
    return Result.of(measure("toy", record=True), command="longctx bench toy --record")


def test_a_result_read_back_is_the_one_written(result, tmp_path):
    path = tmp_path / "results" / "toy.json"
    write_result(path, result)
    assert read_result(path) == result
    assert os.listdir(path.parent) == ["toy.json"]


def test_a_result_file_has_exactly_the_agreed_fields(result, tmp_path):
    path = tmp_path / "toy.json"
    write_result(path, result)
    content = json.loads(path.read_text())
    assert list(content) == ["schema", "command", "versions", "seed", "machine", "rows"]
    assert content["rows"][0]["id"] == "toy.zeta"
    assert content["rows"][-1]["table"] == "steps"


def test_a_result_says_nothing_about_the_host_or_its_folders(result, tmp_path):
    path = tmp_path / "toy.json"
    write_result(path, result)
    text = path.read_text()
    assert platform.node() not in text or len(platform.node()) < 4
    assert os.path.expanduser("~") not in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "damaged"),
        ("[]", "schema None"),
        ('{"schema": "longctx_edu/result/99"}', "schema 'longctx_edu/result/99'"),
        (f'{{"schema": "{figures.SCHEMA}"}}', "lacks 'rows'"),
    ],
)
def test_a_damaged_or_unknown_result_is_refused_with_the_command(tmp_path, content, reason):
    path = tmp_path / "toy.json"
    path.write_text(content)
    with pytest.raises(LongctxError, match=reason) as refused:
        read_result(path)
    assert "longctx bench toy --record" in str(refused.value)


def test_a_missing_result_is_refused_with_the_command(tmp_path):
    with pytest.raises(LongctxError, match="longctx bench toy --record"):
        read_result(tmp_path / "toy.json")


def test_one_figure_can_be_recorded_anew_beside_the_others(result, add_bench):
    fresh = Result.of(measure("toy", only=["same"]), command="longctx bench toy --only same")
    changed = result.updated_by(fresh)
    assert list(changed.figures) == list(result.figures)
    assert changed.command == result.command
    assert changed.tables == result.tables


def test_figures_of_different_machines_are_not_mixed_in_one_file(result):
    elsewhere = Result(**{**vars(result), "machine": {"cores": 64}})
    with pytest.raises(LongctxError, match="another machine"):
        elsewhere.updated_by(result)


def test_a_result_that_cannot_be_written_is_a_sentence(result, tmp_path):
    (tmp_path / "results").write_text("a file where a folder should be")
    with pytest.raises(LongctxError, match="could not be written"):
        write_result(tmp_path / "results" / "toy.json", result)


def test_a_write_that_fails_leaves_the_former_result_and_nothing_else(
    result, tmp_path, monkeypatch
):
    path = tmp_path / "toy.json"
    write_result(path, result)
    before = path.read_bytes()

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(LongctxError, match="No space left on device"):
        write_result(path, Result(**{**vars(result), "seed": 7}))
    assert path.read_bytes() == before
    assert [one for one in os.listdir(tmp_path) if one.endswith(".part")] == []


# The machine


def test_versions_name_the_packages_that_decide_a_result():
    found = versions()
    assert list(found) == ["python", "torch", "transformers", "numpy", "longctx_edu"]
    assert found["python"] == platform.python_version()


def test_versions_are_read_without_importing_torch():
    code = (
        "import sys; from longctx_edu.evaluation import figures, machine; "
        "machine.versions(); machine.machine(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_machine_is_described_by_its_shape_alone():
    found = machine()
    assert list(found) == ["cores", "memory_gib", "cpu", "os"]
    assert found["cores"] >= 1
    assert found["memory_gib"] > 0.5
    assert platform.system() in found["os"]


def test_the_limits_of_a_hub_count_as_the_machine(monkeypatch):
    monkeypatch.setenv("CPU_LIMIT", "1.0")
    monkeypatch.setenv("MEM_LIMIT", str(2**30))
    assert usable_cores() == 1
    assert memory_limit() <= 2**30
    assert total_memory() <= 2**30
    assert machine()["memory_gib"] <= 1.0


def test_unusable_limits_are_ignored(monkeypatch):
    monkeypatch.delenv("MEM_LIMIT", raising=False)
    cores, limit = usable_cores(), memory_limit()
    for nonsense in ("", "plenty", "0", "inf"):
        monkeypatch.setenv("CPU_LIMIT", nonsense)
        monkeypatch.setenv("MEM_LIMIT", nonsense)
        assert (usable_cores(), memory_limit()) == (cores, limit)


FILL = "block = bytearray(120 << 20); block[::4096] = b'x' * len(block[::4096]); print('filled')"
needs_wait4 = pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs Linux or macOS")


@needs_wait4
def test_the_peak_of_a_program_is_its_own_and_not_that_of_its_parent():
    block = bytearray(300 << 20)
    block[::4096] = b"x" * len(block[::4096])
    peak, seconds, completed = peak_rss_of([sys.executable, "-c", FILL])
    assert completed.stdout.strip() == "filled"
    assert completed.returncode == 0
    assert 120e6 < peak < 250e6
    assert 0 < seconds < 30
    assert peak_rss_bytes() > len(block)


@needs_wait4
def test_the_exit_code_and_the_errors_of_a_program_are_kept():
    code = "import os, sys; print(os.environ['LAMP'], file=sys.stderr); sys.exit(3)"
    _, _, completed = peak_rss_of([sys.executable, "-c", code], {**os.environ, "LAMP": "lit"})
    assert completed.returncode == 3
    assert completed.stderr.strip() == "lit"


@needs_wait4
def test_a_program_that_takes_too_long_is_ended_with_all_it_started(tmp_path):
    mark, grandchild = tmp_path / "still-alive", tmp_path / "grandchild.py"
    grandchild.write_text(f"import time; time.sleep(2); open({str(mark)!r}, 'w')")
    code = "import subprocess, sys; subprocess.run([sys.executable, sys.argv[1]])"
    began = time.perf_counter()
    with pytest.raises(subprocess.TimeoutExpired):
        peak_rss_of([sys.executable, "-c", code, str(grandchild)], timeout=1)
    assert time.perf_counter() - began < 2
    time.sleep(2)
    assert not mark.exists()


@needs_wait4
def test_a_program_that_does_not_exist_is_named():
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        peak_rss_of(["no-such-program"])
