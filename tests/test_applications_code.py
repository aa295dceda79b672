"""Code is read and not run, cited by file and line; what a model writes runs elsewhere."""

import ast
import os
import sys
from pathlib import Path

import psutil
import pytest

from longctx_edu import Document, models, read
from longctx_edu.applications import (
    Limits,
    analyze_code,
    code_place,
    definitions,
    generate_python_class,
    process_long_document,
    run_python,
    source_files,
)
from longctx_edu.applications.code_writing import class_in
from longctx_edu.errors import DocumentError, LongctxError
from longctx_edu.evaluation.code_classes import REQUESTS, WAYS, class_rows, empty_file
from longctx_edu.evaluation.code_questions import code_items
from longctx_edu.events import Answered
from longctx_edu.readers import Answer
from longctx_edu.text import Citation

QUICK = Limits(seconds=60, cpu_seconds=2)
CODE = Document(
    "boats.py",
    '''"""Boats."""

import math


@staticmethod
def float_it(boat, *, speed=3, crew: int = 1):
    return boat


class Boat:
    """Grün."""

    def row(self, strokes, rest=None):
        def once():
            return 1
        return strokes
''',
)


@pytest.fixture(scope="module")
def model():
    return models.tiny(seed=2, window=16384)


# --- files and definitions


def test_the_files_of_a_package_are_found_without_importing_it():
    before = set(sys.modules)
    files = source_files("xmlrpc")
    assert [one.id for one in files] == [
        "xmlrpc/__init__.py",
        "xmlrpc/client.py",
        "xmlrpc/server.py",
    ]
    assert {"xmlrpc", "xmlrpc.client"}.isdisjoint(set(sys.modules) - before)
    (one,) = source_files("xmlrpc.client")
    assert one in files
    assert one.text == Path(one.source).read_text(encoding="utf-8")


def test_a_folder_and_a_file_are_sources_too(tmp_path, monkeypatch):
    inner = tmp_path / "tool" / "deep"
    inner.mkdir(parents=True)
    (inner / "b.py").write_text("b = 1\n")
    (tmp_path / "tool" / "a.py").write_text("a = 1\n")
    (tmp_path / "tool" / "__init__.py").write_text("\n")
    monkeypatch.chdir(tmp_path / "tool")
    assert [one.id for one in source_files(Path("."))] == ["tool/a.py", "tool/deep/b.py"]
    assert [one.id for one in source_files(tmp_path / "tool")] == ["tool/a.py", "tool/deep/b.py"]
    assert [one.id for one in source_files(inner / "b.py")] == ["b.py"]


@pytest.mark.parametrize("name", ["no_such_module", "sys", "json.no_such", "json.decoder.x", ""])
def test_a_name_without_source_is_refused(name):
    with pytest.raises(DocumentError, match="Python finds no module"):
        source_files(name)
    with pytest.raises(DocumentError, match="does not exist"):
        source_files(Path("/no/such/place"))


def test_definitions_have_names_lines_parameters_and_defaults():
    found = {one.name: one for one in definitions(CODE)}
    assert list(found) == ["float_it", "Boat", "Boat.row", "Boat.row.once"]
    assert found["float_it"].parameters == ("boat", "speed", "crew")
    assert found["float_it"].defaults == (("speed", "3"), ("crew", "1"))
    assert (found["float_it"].line, found["float_it"].last_line) == (6, 8)  # with its decorator
    assert found["Boat.row"].defaults == (("rest", "None"),)
    lines = CODE.text.splitlines(keepends=True)
    for one in found.values():
        assert CODE.text[one.start : one.end] == "".join(lines[one.line - 1 : one.last_line])
    with pytest.raises(DocumentError, match="cannot be parsed"):
        definitions(Document("a.py", "def f(:\n"))


def test_definitions_are_found_whatever_ends_a_line_and_however_deep_an_expression_is():
    text = "x = " + "+".join(["1"] * 1500) + "\rdef f():\r    pass\r\ndef g(): pass"
    f, g = definitions(Document("a.py", text))
    assert text[f.start : f.end] == "def f():\r    pass\r\n"
    assert text[g.start : g.end] == "def g(): pass"


def test_the_definitions_of_the_standard_library_are_those_that_python_sees():
    for document in source_files("json"):
        tree = ast.parse(document.text)
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        there = [one.name for one in ast.walk(tree) if isinstance(one, kinds)]
        found = definitions(document)
        assert sorted(one.name.rpartition(".")[2] for one in found) == sorted(there)
        for one in found:
            assert one.name.rpartition(".")[2] in document.text[one.start : one.end]


def test_every_character_of_a_file_has_its_line_and_its_innermost_definition():
    for start in range(len(CODE.text)):
        if CODE.text[start].isspace():
            continue
        place = code_place(CODE, Citation(CODE.id, start, start + 1, CODE.text[start]))
        assert place.line == place.last_line == CODE.text[:start].count("\n") + 1
        around = [one for one in definitions(CODE) if one.line <= place.line <= one.last_line]
        assert place.inside == (around[-1].name if around else "")
    start = CODE.text.index("\n        return strokes")
    cited = Citation(CODE.id, start, len(CODE.text), CODE.text[start:])
    assert str(code_place(CODE, cited)) == "boats.py:17 in Boat.row"
    prose = Document("a.txt", "No Python.\nAt all.")
    assert str(code_place(prose, Citation("a.txt", 11, 17, "At all"))) == "a.txt:2"


# --- answers about code


def test_an_answer_about_code_cites_file_and_line(model):
    answer = analyze_code("json.scanner", "What is scanned?", model=model, max_new_tokens=2)
    assert len(answer.places) == len(answer.citations) > 0
    (document,) = source_files("json.scanner")
    for place, cited in zip(answer.places, answer.citations, strict=True):
        line = document.text.splitlines()[place.line - 1]
        assert cited.text.strip().splitlines()[0].strip() in line
        assert f"json/scanner.py:{place.line}" in str(answer)


def test_a_memory_and_a_reading_of_code_are_asked_like_its_name(model):
    files = source_files("json.scanner")
    asked = dict(max_new_tokens=3)
    by_name = analyze_code("json.scanner", "What?", model=model, **asked)
    by_bank = analyze_code(process_long_document(files, model=model), "What?", **asked)
    by_reading = analyze_code(read(files, method="memory", model=model), "What?", **asked)
    assert by_name.places == by_bank.places == by_reading.places
    assert by_name.text == by_bank.text == by_reading.text


def test_questions_on_code_have_the_right_answers_by_the_source_itself(model):
    files = source_files("json")
    items = code_items(files, 8, seed=1)
    assert items == code_items(files, 8, seed=1) != code_items(files, 8, seed=2)
    assert len({item.question for item in items}) == 8
    for item in items:
        (cited,), (gold,) = item.gold_spans, item.gold
        document = next(one for one in files if one.id == cited.document_id)
        assert document.text[cited.start : cited.end] == cited.text
        function = ast.parse(f"async {cited.text}: pass").body[0]
        names = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
        names += [one.arg for one in function.args.kwonlyargs]
        shown = item.answer_prefix.partition("(")[2].rstrip(",").split(", ")
        assert names[: len(shown)] == shown
        assert names[len(shown)] == gold
        assert item.candidates.count(gold) == 1 < len(item.candidates)
        assert not {*item.candidates} - {gold} & {*names}
        (floor,) = (one for one in item.controls.floor if one.id == cited.document_id)
        assert cited.text not in floor.text
        assert cited.text in item.controls.ceiling[0].text
    with pytest.raises(LongctxError, match="functions that can be asked for"):
        code_items(files, 10_000, seed=1)


# --- running


@pytest.mark.parametrize(
    ("code", "ended", "said"),
    [
        ("assert 1 + 1 == 2\nprint('ja')", "finished", ""),
        ("assert 1 + 1 == 3", "raised", "AssertionError"),
        ("x = 1\ndef f(:\n", "raised", "SyntaxError"),
        ("import sys\nsys.exit(0)", "exited", "left before its end"),
        ("import os\nos._exit(0)", "killed", "code 0"),
        ("raise KeyboardInterrupt", "raised", "KeyboardInterrupt"),
        ("print(input())", "raised", "EOFError"),
        ("import torch", "raised", "No module named 'torch'"),
        ("raise ValueError('x' * 2**22)", "raised", "ValueError: xxx"),
        ("class E(Exception):\n    __str__ = None\nraise E", "raised", "E"),
        (
            "from __future__ import annotations\nimport pickle\n"
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n"
            "assert pickle.loads(pickle.dumps(P(1))).x == 1\nprint('ja')",
            "finished",
            "",
        ),
    ],
)
def test_a_run_says_how_it_ended(code, ended, said):
    ran = run_python(code, limits=QUICK)
    assert (ran.ended, ran.finished) == (ended, ended == "finished")
    assert said in ran.error
    assert ran.output.strip() == ("ja" if ended == "finished" else "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not all systems have them")
def test_a_run_says_which_limits_do_not_hold():
    assert run_python("", limits=QUICK).without == (() if os.getuid() else ("RLIMIT_NPROC",))


def test_a_run_says_in_which_line_it_went_wrong():
    assert run_python("x = 1\n\n\nx / 0", limits=QUICK).line == 4
    assert run_python("import json\njson.loads('{')", limits=QUICK).line == 2
    assert run_python("x = (", limits=QUICK).line == 1
    assert run_python("import ast\n\nast.parse('(')", limits=QUICK).line == 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not all systems have them")
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("while True: pass", "SIG"),
        ("x = bytearray(2**31)", "MemoryError"),
        ("print('x' * 2**22)", "File too large"),
        ("open('big', 'w').write('x' * 2**22)", "File too large"),
        (
            "[open('f', 'w') for _ in [0]]; k = [open('f') for _ in range(99)]",
            "Too many open files",
        ),
    ],
)
def test_what_takes_too_much_is_stopped(code, said):
    ran = run_python(code, limits=Limits(seconds=60, cpu_seconds=1, memory_bytes=2**28))
    assert not ran.finished
    assert said in ran.error


def test_what_a_run_started_ends_with_it(tmp_path):
    code = "import sys, _posixsubprocess\n"  # which raises no audit event
    mark = "import time; time.sleep(599.25)"
    code += "import multiprocessing.util as m\n"
    code += f"m.spawnv_passfds(sys.executable.encode(), [b'python', b'-c', b'{mark}'], [])\n"
    code += "import time; time.sleep(600)"
    run_python(code, limits=Limits(seconds=1.5))
    assert not [
        one for one in psutil.process_iter(["cmdline"]) if mark in (one.info["cmdline"] or [])
    ]


def test_what_waits_too_long_is_stopped():
    ran = run_python("import time\ntime.sleep(600)", limits=Limits(seconds=1.5))
    assert ran.ended == "timed out"
    assert 1.5 <= ran.seconds < 30


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.system('true')",
        "import os; os.fork()",
        "import os; os.kill(os.getppid(), 0)",
        "import ctypes; ctypes.CDLL(None)",
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (99, 99))",
    ],
)
def test_network_processes_and_other_limits_are_refused(code):
    ran = run_python(code, limits=QUICK)
    assert ran.ended == "raised"
    assert "may not do this" in ran.error


def test_files_outside_of_its_folder_are_not_written_moved_or_deleted(tmp_path):
    kept = tmp_path / "kept.txt"
    kept.write_text("here")
    for code in (
        f"open({str(kept)!r}, 'w')",
        f"open({str(tmp_path / 'new')!r}, 'x')",
        f"import os; os.remove({str(kept)!r})",
        f"import os; os.rename({str(kept)!r}, 'mine')",
        f"import shutil; shutil.rmtree({str(tmp_path)!r})",
        f"import pathlib; pathlib.Path({str(kept)!r}).write_text('gone')",
    ):
        assert "may not" in run_python(code, limits=QUICK).error
    assert [one.name for one in tmp_path.iterdir()] == ["kept.txt"]
    assert kept.read_text() == "here"
    own = "open('own', 'w').write('mine'); assert open('own').read() == 'mine'"
    assert run_python(own, limits=QUICK).finished
    assert not Path("own").exists()


def test_a_run_is_another_process_with_nothing_of_this_one(monkeypatch):
    monkeypatch.setenv("SECRET", "token")
    monkeypatch.setenv("PYTHONPATH", "/tmp")
    ran = run_python(
        "import os, sys; print(os.getpid(), os.environ.get('SECRET'), len(sys.argv[0]))"
    )
    process, secret, _ = ran.output.split()
    assert int(process) != os.getpid()
    assert secret == "None"


def test_limits_of_nothing_are_refused():
    with pytest.raises(LongctxError, match="more than 0"):
        Limits(seconds=0)


# --- writing


@pytest.mark.parametrize(
    ("written", "code", "said"),
    [
        ("class A:\n    x = 1\n", "class A:\n    x = 1", ""),
        ("import os\nclass A:\n    x = 1\n", "import os\nclass A:\n    x = 1", ""),
        ("class A:\n    x = 1\n    def f(self", "class A:\n    x = 1", "last line could not"),
        ("class A:\n    x = 1\nprint(A)\n", "class A:\n    x = 1", "1 statement beside"),
        (
            "class A:\n    x = 1\nThat is a class.\nA good one.",
            "class A:\n    x = 1",
            "last 2 lines",
        ),
        ("class B:\n    x = 1\n", "", "no class A"),
        ("class A:\n    def f(self):", "", "no class A"),
    ],
)
def test_of_what_was_written_the_class_is_kept_and_the_rest_is_named(written, code, said):
    found, error = class_in(written, "A")
    assert found == code
    assert said in error
    assert bool(said) == bool(error)


@pytest.fixture
def writes(monkeypatch, model):
    """Put words into the model's mouth, since a tiny one writes no Python."""

    def saying(text):
        reading = read(CODE, method="memory", model=model)
        trace = {"ranges": [], "options": {"lookup": "topk", "k": 1}}
        events = [Answered(Answer(text, trace=trace))]
        monkeypatch.setattr(reading, "events", lambda question, **asked: iter(events))
        return reading

    return saying


def test_a_class_is_checked_one_check_after_another(writes):
    body = "def __init__(self):\n        self.items = []\n\n    def push(self, one):\n"
    body += "        self.items.append(one)\n```\nThat is all."
    checks = ["s = Stack(); s.push(1); assert s.items == [1]", "Stack().pop()", "assert Stack"]
    made = generate_python_class(
        "A stack.",
        name="Stack",
        source=writes(body),
        checks=checks,
        bases=["object"],
        imports="import json",
        limits=QUICK,
    )
    assert [type(one).__name__ for one in ast.parse(made.code).body] == ["Import", "ClassDef"]
    assert made.error == ""
    assert [ran.ended for ran in made.runs] == ["finished", "raised", "finished"]
    assert made.passed == 2
    assert "AttributeError" in made.runs[1].error
    assert "# raised" in str(made)


def test_words_that_are_no_class_run_nowhere(writes):
    words = writes("That is hard to say.")
    made = generate_python_class("A boat.", name="Boat", source=words, checks=["assert Boat()"])
    assert (made.code, made.runs, made.passed) == ("", (), 0)
    assert "no class Boat" in made.error
    assert made.written == "class Boat:\n    That is hard to say.\n"


def test_a_class_names_the_places_that_were_read_for_it(model):
    made = generate_python_class("A boat.", name="Boat", source=CODE, model=model, max_new_tokens=3)
    assert {place.file for place in made.places} == {"boats.py"}
    assert made.answer.answer_prefix.startswith("```python\nclass Boat:\n")
    assert all(f"# read: {place}" in str(made) for place in made.places)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(name="A B"),
        dict(name="A", bases=["dict, x"]),
        dict(name="class"),
        dict(name="A", bases="dict"),
        dict(name="A", imports="import os; os.remove('x')"),
        dict(name="A", imports="import"),
    ],
)
def test_a_first_line_that_is_more_than_a_class_is_refused(wrong, model):
    with pytest.raises(LongctxError, match="names of Python|lines that import"):
        generate_python_class("A.", source=CODE, model=model, **wrong)


# --- does reading help to write?


RIGHT = {
    "SettingsError": "    def __init__(self, msg, line):\n        super().__init__(msg)\n"
    "        self.msg, self.line = msg, line\n",
    "Stack": "    def __init__(self):\n        self.items = []\n"
    "    def push(self, one):\n        self.items.append(one)\n"
    "    def pop(self):\n        return self.items.pop()\n"
    "    def is_empty(self):\n        return not self.items\n",
    "DecimalDecoder": "    def __init__(self):\n        super().__init__(parse_float=Decimal)\n",
}


@pytest.mark.parametrize("one", REQUESTS, ids=lambda one: one.name)
def test_the_checks_of_a_request_hold_for_a_right_class_and_fail_for_an_empty_one(one):
    head = f"{one.imports}\nclass {one.name}({', '.join(one.bases)}):\n"
    assert all(run_python(f"{head}{RIGHT[one.name]}\n{check}").finished for check in one.checks)
    assert not all(run_python(f"{head}    pass\n{check}").finished for check in one.checks)


def test_each_request_is_written_after_reading_and_without(model):
    rows = class_rows(REQUESTS[:2], [CODE], model, max_new_tokens=2)
    asked = [(one.name, way) for one in REQUESTS[:2] for way in WAYS]
    assert [(row["class"], row["way"]) for row in rows] == asked
    for row in rows:
        assert row["written"].startswith(f"class {row['class']}")
        assert 0 <= row["held"] <= row["checks"] == 3


def test_an_empty_file_has_the_name_and_nothing_of_the_code():
    empty = empty_file(CODE)
    assert empty.id == CODE.id
    assert definitions(empty) == []
