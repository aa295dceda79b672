"""A Python class written by a model that reads a package first, and checks that it has to pass.

What the model writes is text until it is parsed: only imports and the class itself are kept, and
they run in a process of their own (``code_running``), once for each check. Passing the checks is
all that is claimed of it.
"""

import ast
import keyword
from collections.abc import Sequence
from dataclasses import dataclass

from longctx_edu.applications.code_reading import CodeAnswer, CodePlace, analyze_code
from longctx_edu.applications.code_running import Limits, Ran, run_python
from longctx_edu.errors import LongctxError

_INDENT = "   "  # a space short: the model's first word brings it
_LIMITS = Limits()


@dataclass(frozen=True)
class GeneratedClass:
    """A class that a model wrote, and what became of it.

    Attributes:
        name: of the class.
        written: all that the model wrote, the given beginning included.
        code: imports and class alone, unparsed from what could be parsed; "" if nothing could.
        error: why ``code`` is not all of what was written; "" if it is.
        checks: the checks, as given.
        runs: how each of them ended, in the same order; none if there is no code.
        answer: the answer that the code was taken from, with files and lines that it rests on.
    """

    name: str
    written: str
    code: str
    error: str
    checks: tuple[str, ...]
    runs: tuple[Ran, ...]
    answer: CodeAnswer

    @property
    def places(self) -> tuple[CodePlace, ...]:
        """Where in the files that were read the model looked."""
        return self.answer.places

    @property
    def passed(self) -> int:
        """How many checks held."""
        return sum(ran.finished for ran in self.runs)

    def __str__(self) -> str:
        lines = [self.code or self.written, ""]
        if self.error:
            lines.append(f"# {self.error}")
        for check, ran in zip(self.checks, self.runs, strict=False):
            lines.append(f"# {'held' if ran.finished else ran}: {' '.join(check.split())}")
        lines += [f"# read: {place}" for place in self.places]
        return "\n".join(lines).strip()


def generate_python_class(
    request: str,
    *,
    name: str,
    source: object = "collections",
    bases: Sequence[str] = (),
    imports: str = "",
    checks: Sequence[str] = (),
    method: str | None = None,
    model=None,
    max_new_tokens: int = 192,
    limits: Limits = _LIMITS,
    **options,
) -> GeneratedClass:
    """Let a model write a class after reading a package, and try it out in another process.

    The first line of the class is given, so that the model writes code and not about code.

    Args:
        request: what the class is for, in words.
        name: of the class.
        source: what is read; as for ``analyze_code``.
        bases: names of base classes.
        imports: lines that stand before the class.
        checks: each some lines of Python that raise if the class is wrong, such as
            ``"assert Stack().empty()"``. They run one by one after imports and class.
        method, model, options: how it is read; as for ``analyze_code``.
        max_new_tokens: the most tokens of the class.
        limits: what each check may use; see ``code_running.Limits``.

    Raises:
        LongctxError: for a name or a base that is no name, imports that are no imports, or as
            ``analyze_code``.
    """
    first_line = _first_line(name, bases)
    head = "\n\n\n".join(filter(None, [_imports(imports), first_line]))
    answer = analyze_code(
        source,
        f"{request}\nWrite the Python class {name}. Write code only.",
        method=method,
        model=model,
        answer_prefix=f"```python\n{head}\n{_INDENT}",
        max_new_tokens=max_new_tokens,
        **options,
    )
    written = f"{head}\n{_INDENT} {answer.text.partition('```')[0].rstrip()}\n"
    code, error = class_in(written, name)
    runs = (run_python(f"{code}\n\n{check}\n", limits=limits) for check in checks if code)
    return GeneratedClass(name, written, code, error, tuple(checks), tuple(runs), answer)


def _first_line(name: str, bases: Sequence[str]) -> str:
    line = f"class {name}({', '.join(bases)}):" if bases else f"class {name}:"
    dotted = [part for base in bases for part in base.split(".")]
    named = all(one.isidentifier() and not keyword.iskeyword(one) for one in (name, *dotted))
    if isinstance(bases, str) or not named:
        raise LongctxError(
            f"A class and its bases have names of Python, but this would begin with {line!r}; give "
            "name='Stack' and bases=['dict'], for example."
        )
    return line


def _imports(lines: str) -> str:
    try:
        only = all(isinstance(one, ast.Import | ast.ImportFrom) for one in ast.parse(lines).body)
    except SyntaxError:
        only = False
    if not only:
        raise LongctxError(f"imports are lines that import, such as 'import json', got {lines!r}.")
    return lines.strip()


def class_in(written: str, name: str) -> tuple[str, str]:
    """Return the class that a text holds, with the imports before it, and what was left out.

    A text that breaks off, as at a token limit, is cut at its last line that can stand.

    Returns:
        the code, "" if there is none, and a sentence on what was left out, "" if nothing was.

    >>> class_in("class A:\\n    x = 1\\n    y = (2 +", "A")
    ('class A:\\n    x = 1', 'The last line could not be parsed and was left out.')
    """
    lines = written.rstrip().splitlines()
    for kept in range(len(lines), 0, -1):
        try:
            body = ast.parse("\n".join(lines[:kept])).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        wanted = [
            one
            for one in body
            if isinstance(one, ast.Import | ast.ImportFrom)
            or (isinstance(one, ast.ClassDef) and one.name == name)
        ]
        if not any(isinstance(one, ast.ClassDef) for one in wanted):
            break
        code = "\n".join(map(ast.unparse, wanted))
        return code, _left_out(len(lines) - kept, len(body) - len(wanted))
    return "", f"What was written holds no class {name} that can be parsed."


def _left_out(lines: int, statements: int) -> str:
    said = []
    if lines:
        which = "The last line" if lines == 1 else f"The last {lines} lines"
        said.append(f"{which} could not be parsed and {'was' if lines == 1 else 'were'} left out.")
    if statements:
        said.append(
            f"{statements} statement{'s' if statements > 1 else ''} beside imports and class "
            f"{'were' if statements > 1 else 'was'} left out."
        )
    return " ".join(said)
