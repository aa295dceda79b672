"""The command ``longctx``: ask, check, bench, sweep, fetch, badges.

Results go to standard output and everything else to standard error, so that
the output can be piped. What a command needs is imported when it runs; ``longctx
--help`` answers at once. No command does anything that the package cannot do.
"""

import argparse
import contextlib
import ctypes
import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

from longctx_edu import __version__
from longctx_edu.errors import LongctxError

MISSED, REFUSED, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141  # exit codes beside 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: done. 1: a check failed or a figure missed its target. 2: the command
    was given something it cannot work with, said in one sentence. 130: stopped
    by Ctrl-C. 141: the reader of the output went away.
    """
    try:
        arguments = _parser().parse_args(argv)
        code = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except LongctxError as error:
        print(f"longctx: {_one_line(str(error))}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("longctx: Stopped before the end, as asked.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes once more at exit; it must not find the closed pipe.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


# --------------------------------------------------------------------------
# The commands


def ask(arguments: argparse.Namespace) -> int:
    """Answer questions about documents."""
    prefixes = _one_each(arguments.answer_prefix, arguments.question)
    for question in arguments.question:
        if not question.strip():
            raise LongctxError("A question is empty; give each --question some text.")
    options = {}
    if arguments.max_prompt_tokens is not None:
        options["max_prompt_tokens"] = arguments.max_prompt_tokens
    for name in ("verdict", "beyond_window", "lookup", "memory_file"):
        if getattr(arguments, name) is not None:
            options[name] = getattr(arguments, name)
    if arguments.verdict == "first_token":
        options["prompt"] = "yes_no"  # the one that this verdict can judge
    if arguments.trace is not None and not (
        Path(arguments.trace).name and Path(arguments.trace).parent.is_dir()
    ):
        raise LongctxError(f"--trace {arguments.trace!r} is no file in a folder that exists.")
    with _only_results_on_stdout():
        from longctx_edu import models, readers
        from longctx_edu.evaluation.machine import peak_rss_bytes
        from longctx_edu.text import as_documents, tokenize

        # Whatever is wrong with the call is said before the model is loaded.
        readers.options_for(arguments.method, **options)
        if not (arguments.document or arguments.memory_file):
            raise LongctxError("There is nothing to read; give --document PATH.")
        if arguments.method != "margins" and arguments.server:
            raise LongctxError("--server goes with --method margins only; add it.")
        if arguments.method not in ("margins", "memory") and arguments.trace:
            raise LongctxError("--trace goes with --method margins or memory only; add one.")
        paths = [Path(path) for path in arguments.document]
        documents = as_documents(paths) if paths else None
        if arguments.server is not None:
            from longctx_edu.margins import CompletionsServer

            language_model = CompletionsServer(
                arguments.server, model=arguments.server_model, tokenizer=arguments.model
            )
            if language_model.prompt_form == "text":
                language_model.prompt_form = "words"  # works for any text; the answer's notice says
        else:
            language_model = models.load(arguments.model, device=arguments.device)
        events = readers.prepare(
            documents, method=arguments.method, model=language_model, **options
        )
        reading = _follow(events).reading
        answers = [
            _follow(
                reading.events(
                    question, answer_prefix=prefix, max_new_tokens=arguments.max_new_tokens
                )
            ).answer
            for question, prefix in zip(arguments.question, prefixes, strict=True)
        ]
        result = {
            "method": arguments.method,
            "model": language_model.name,
            "documents": [
                {
                    "id": document.id,
                    "characters": len(document.text),
                    "tokens": len(tokenize(language_model.tokenizer, document.text).ids),
                }
                for document in reading.documents
            ],
            "read_seconds": reading.seconds,
            "read_ledger": asdict(reading.ledger),
            "peak_rss_bytes": peak_rss_bytes(),
            "answers": [
                {
                    "question": question,
                    "answer": answer.text,
                    "citations": [asdict(citation) for citation in answer.citations],
                    "ledger": asdict(answer.ledger),
                    "seconds": answer.seconds,
                    "notice": answer.notice,
                }
                for question, answer in zip(arguments.question, answers, strict=True)
            ],
        }
    _print(json.dumps(result) if arguments.json else _ask_as_text(result, prefixes))
    if arguments.trace is not None:
        from longctx_edu.traces import write_trace

        write_trace(answers[-1].trace, arguments.trace)
    return 0


def check(arguments: argparse.Namespace) -> int:
    """See whether this machine is ready for the course."""
    from longctx_edu.preflight import run_checks, summary

    checks = []
    for found in run_checks(quick=arguments.quick):
        _print(str(found))
        checks.append(found)
    _print(f"\nSend this line to your instructor: {summary(checks)}")
    return 0 if all(found.ok for found in checks) else MISSED


def bench(arguments: argparse.Namespace) -> int:
    """Measure the figures of a bench."""
    from longctx_edu.evaluation import figures

    figures.figures_of(arguments.name, only=arguments.only)  # refuse unknown names at once
    path = _result_path(arguments.name) if arguments.record else None
    with _only_results_on_stdout():
        report = figures.measure(
            arguments.name,
            only=arguments.only,
            quick=arguments.quick,
            record=arguments.record,
            announce=lambda entry: print(f"Measuring {entry.id}", file=sys.stderr, flush=True),
        )
    _print(json.dumps(report.as_dict()) if arguments.json else _report_as_text(report))
    for outcome in report.outcomes:
        if outcome.error:
            print(f"{outcome.figure.id} could not be measured: {outcome.error}", file=sys.stderr)
    if path is not None:
        _record(report, path, only=arguments.only)
    return 0 if report.ok else MISSED


def sweep(arguments: argparse.Namespace) -> int:
    """Ask tasks of every length by every method, and go on where it was interrupted."""
    from longctx_edu.evaluation import sweeps

    if arguments.engine != "dask" and (arguments.workers or arguments.address):
        raise LongctxError("--workers and --address go with --engine dask only; add it.")
    spec = sweeps.read_spec(arguments.spec)
    if arguments.model:
        spec = replace(spec, models=tuple(arguments.model))
    engine = sweeps.InProcess()
    if arguments.engine == "dask":
        engine = sweeps.Dask(workers=arguments.workers, address=arguments.address)
    models = [part for name in arguments.model for part in ("--model", name)]
    command = ["longctx", "sweep", arguments.spec, *models, "--out", arguments.out]
    with _only_results_on_stdout():
        try:
            finished = _follow(
                sweeps.run_sweep(spec, arguments.out, engine=engine, command=shlex.join(command))
            )
        except KeyboardInterrupt:
            print("What is finished is kept; the same command goes on from there.", file=sys.stderr)
            raise
    scores = finished.result.tables["scores"]
    if arguments.json:
        _print(json.dumps({"path": str(finished.path), "sweep": spec.as_dict(), "scores": scores}))
    else:
        columns = [*scores[0]] if scores else ["model"]
        _print(_aligned([columns, *([_cell(row[name]) for name in columns] for row in scores)]))
        print(f"Recorded in {finished.path}", file=sys.stderr)
    return 0


def fetch(arguments: argparse.Namespace) -> int:
    """Fetch the embedded model."""
    with _only_results_on_stdout():
        from longctx_edu.models import fetch as fetch_model

        folder = fetch_model(lambda sentence: print(sentence, file=sys.stderr, flush=True))
    _print(str(folder))
    return 0


def badges(arguments: argparse.Namespace) -> int:
    """Write the course's links into README and notebooks."""
    from longctx_edu.teaching.badges import write_badges

    changed = write_badges(arguments.repository, _checkout(), ref=arguments.ref)
    _print("\n".join(map(str, changed)) or "All links were already there.")
    return 0


# --------------------------------------------------------------------------
# Arguments


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one sentence, without the usage lines before it."""

    def error(self, message: str) -> NoReturn:
        raise LongctxError(f"{message[0].upper()}{message[1:]}; see '{self.prog} --help'.")


def _parser() -> argparse.ArgumentParser:
    from longctx_edu.readers import METHOD_NAMES

    parser = _Parser(
        prog="longctx",
        description="Ask language models about documents longer than they can read at once.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"longctx_edu {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(run, name: str, epilog: str | None = None) -> argparse.ArgumentParser:
        about = run.__doc__.splitlines()[0]
        added = commands.add_parser(
            name, help=about, description=about, epilog=epilog, allow_abbrev=False
        )
        added.set_defaults(run=run)
        return added

    asking = command(
        ask,
        "ask",
        "Files may be .txt, .md, .py, .ipynb, .html, .pdf, .epub or .docx. Citations count "
        "characters (code points) of the text taken out of the file.",
    )
    asking.add_argument(
        "--document",
        action="append",
        default=[],
        metavar="PATH",
        help="repeatable; may be left out with a --memory-file that is there",
    )
    asking.add_argument(
        "--question", action="append", required=True, metavar="TEXT", help="repeatable"
    )
    asking.add_argument(
        "--method",
        choices=tuple(METHOD_NAMES),
        default="retrieval",
        help="how the documents are read (default: %(default)s)",
    )
    asking.add_argument(
        "--model",
        metavar="NAME_OR_PATH",
        help="a folder or a Hugging Face id (default: the embedded model)",
    )
    asking.add_argument(
        "--server",
        metavar="URL",
        help="an OpenAI-compatible completions server instead of a model here, for margins; "
        "--model then names the tokenizer of its model",
    )
    asking.add_argument(
        "--server-model", metavar="NAME", help="which model of a server that has several"
    )
    asking.add_argument(
        "--verdict", metavar="NAME", help="which notes count, for margins (all, surest, ...)"
    )
    asking.add_argument(
        "--beyond-window",
        choices=("refuse", "rolling"),
        help="for margins: read a text that does not fit in runs, and answer from notes alone",
    )
    asking.add_argument(
        "--lookup",
        metavar="NAME",
        help="how memory is looked up: passages (default), blocks, topk",
    )
    asking.add_argument(
        "--memory-file",
        metavar="PATH",
        help="for memory: build it into this file, or ask the one that is there",
    )
    asking.add_argument(
        "--trace",
        metavar="PATH",
        help="save how the last answer came about, for margins and memory",
    )
    asking.add_argument("--device", default="auto", help="auto, cpu, cuda ... (default: auto)")
    asking.add_argument(
        "--answer-prefix",
        action="append",
        default=[],
        metavar="TEXT",
        help="how the answer begins: once for all questions, or once for each in order",
    )
    asking.add_argument(
        "--max-new-tokens",
        type=_at_least_one,
        default=64,
        metavar="N",
        help="longest answer in tokens (default: %(default)s)",
    )
    asking.add_argument(
        "--max-prompt-tokens",
        type=_at_least_one,
        metavar="N",
        help="longest prompt in tokens, for the methods that take it",
    )
    asking.add_argument("--json", action="store_true", help="print one JSON object")

    checking = command(check, "check", "The exit code is 1 when anything fails.")
    checking.add_argument(
        "--quick", action="store_true", help="neither load the model nor start a kernel"
    )

    benching = command(bench, "bench", "The exit code is 1 when a figure misses its target.")
    benching.add_argument("name", metavar="NAME", help="the bench, such as foundation")
    benching.add_argument(
        "--only", action="append", default=[], metavar="ID", help="only this figure; repeatable"
    )
    size = benching.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small sizes, no verdict")
    size.add_argument(
        "--record", action="store_true", help="full sizes; writes notebooks/results/NAME.json"
    )
    benching.add_argument("--json", action="store_true", help="print one JSON object")

    sweeping = command(
        sweep,
        "sweep",
        "Every finished document is kept: stop it whenever you like, and the same command goes "
        "on. SPEC is a .toml or .json file with models, methods, tasks, lengths and numbers of "
        "documents, or the name of one that comes with the course.",
    )
    sweeping.add_argument("spec", metavar="SPEC", help="what to measure, such as recorded")
    sweeping.add_argument("--out", metavar="FILE", required=True, help="the JSON file to write")
    sweeping.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME_OR_PATH",
        help="another model than SPEC says: a folder or a Hugging Face id; repeatable",
    )
    sweeping.add_argument(
        "--engine",
        choices=("in-process", "dask"),
        default="in-process",
        help="who does the work: this process, or Dask's workers (default: %(default)s)",
    )
    sweeping.add_argument(
        "--workers",
        type=_at_least_one,
        metavar="N",
        help="for dask: processes to start on this machine (default: one for each core)",
    )
    sweeping.add_argument(
        "--address",
        metavar="ADDRESS",
        help="for dask: of a scheduler that runs already, such as tcp://10.0.0.1:8786",
    )
    sweeping.add_argument("--json", action="store_true", help="print one JSON object")

    command(fetch, "fetch", "Prints the folder it lies in; needs the network once.")

    linking = command(badges, "badges", "Run it once in a fork, before the course is announced.")
    linking.add_argument("repository", metavar="OWNER/REPO", help="where the course is published")
    linking.add_argument(
        "--ref", default="main", help="branch or tag that the links open (default: %(default)s)"
    )
    return parser


def _at_least_one(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 is needed, not {text!r}")
    return number


def _one_each(prefixes: list[str], questions: list[str]) -> list[str]:
    """Return one answer prefix for every question."""
    if len(prefixes) <= 1:
        return (prefixes or [""]) * len(questions)
    if len(prefixes) != len(questions):
        raise LongctxError(
            f"{len(prefixes)} answer prefixes were given for {len(questions)} question(s); give "
            "one for all questions, or one for each in order."
        )
    return prefixes


def _checkout() -> Path:
    """Return the course's folder that the current folder is or lies in."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "longctx_edu" / "cli.py").exists() and (folder / "pyproject.toml").exists():
            return folder
    raise LongctxError(
        f"{here} is not inside a copy of the course; change to the folder that holds "
        "pyproject.toml and notebooks, and run the command there."
    )


# --------------------------------------------------------------------------
# Standard output, and progress beside it


@contextlib.contextmanager
def _only_results_on_stdout() -> Iterator[None]:
    """Send to standard error whatever is printed meanwhile, by Python or by compiled code."""
    printed = sys.stdout
    printed.flush()
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # no such files, as in a windowed Python
        kept = None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            # C buffers its output; what is left there would come out later.
            with contextlib.suppress(OSError, TypeError, AttributeError):
                ctypes.CDLL(None).fflush(None)
            os.dup2(kept, 1)
            os.close(kept)


def _follow(events: Iterable) -> Any:
    """Drain events into progress bars, one for each stage, and return the last one."""
    from tqdm import tqdm

    from longctx_edu.events import Dropped, NoteWritten, Progress, TokenDecoded

    current, event = None, None
    with contextlib.ExitStack() as bars:
        for event in events:
            if isinstance(event, Dropped) and event.tokens:
                print(
                    f"Left out {event.tokens} of {event.total} tokens (characters {event.start} "
                    f"to {event.end}).",
                    file=sys.stderr,
                )
            if isinstance(event, NoteWritten):
                sure = "" if event.confidence is None else f" ({event.confidence:.2f})"
                print(
                    f"Note {event.segment + 1} of {event.segments}{sure}: "
                    + " ".join(event.text.split()),
                    file=sys.stderr,
                )
            if not isinstance(event, Progress | TokenDecoded):
                continue
            total, unit = getattr(event, "total", None), getattr(event, "unit", "tokens")
            if current != (event.stage, total):
                current = event.stage, total
                bars.close()
                # disable=None: no bar where standard error is not a terminal
                bar = tqdm(desc=event.stage, total=total, unit=f" {unit}", disable=None)
                bars.enter_context(bar)
            bar.update(event.done - bar.n if isinstance(event, Progress) else 1)
    return event


def _print(text: str) -> None:
    """Print a result, with escapes in place of letters that the terminal cannot show."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def _one_line(text: str) -> str:
    return " ".join(text.split())


# --------------------------------------------------------------------------
# Results as text


def _ask_as_text(result: dict[str, Any], prefixes: list[str]) -> str:
    """Write answers as paragraphs, each behind its prefix and with its citations below it."""
    lines = []
    for answer, prefix in zip(result["answers"], prefixes, strict=True):
        words = _one_line(f"{prefix} {answer['answer']}")
        lines += [f"Question: {answer['question']}", f"Answer:   {words}"]
        for number, citation in enumerate(answer["citations"], 1):
            weight = "" if citation["weight"] is None else f", weight {citation['weight']:.2f}"
            lines += [
                f"  [{number}] {citation['document_id']}, characters {citation['start']} to "
                f"{citation['end']}{weight}",
                f"      {_shortened(citation['text'])}",
            ]
        if answer["notice"]:
            lines.append(f"  {answer['notice']}")
        lines += [f"  {_ledger_as_text(answer['ledger'])}; {answer['seconds']:.1f} s", ""]
    read = _ledger_as_text(result["read_ledger"])
    lines.append(
        f"Read {_documents_as_text(result['documents'])} by {result['method']} with "
        f"{result['model']}: {read}; {result['read_seconds']:.1f} s; "
        f"peak memory {result['peak_rss_bytes'] / 1e9:.2f} GB"
    )
    return "\n".join(lines)


def _documents_as_text(documents: list[dict[str, Any]]) -> str:
    return ", ".join(f"{document['id']} ({document['tokens']:,} tokens)" for document in documents)


def _ledger_as_text(ledger: dict[str, int]) -> str:
    counts = [f"{count:,} {kind}" for kind, count in ledger.items() if count]
    return f"tokens: {', '.join(counts) or 'none'}"


def _shortened(text: str, width: int = 90) -> str:
    line = _one_line(text)
    return line if len(line) <= width else f"{line[: width - 3]}..."


def _report_as_text(report) -> str:
    """Write a report as an aligned table, followed by the tables that go with it."""
    verdicts = {True: "met", False: "MISSED", None: ""}
    rows = [["figure", "value", "unit", "target", ""]]
    for outcome in report.outcomes:
        row = outcome.row()
        verdict = "FAILED" if outcome.error else verdicts[row["ok"]]
        rows.append([row["id"], _cell(row["value"]), row["unit"], row["target"] or "", verdict])
    parts = [_aligned(rows)]
    for name, table in report.tables.items():
        columns = list(dict.fromkeys(key for row in table for key in row))
        cells = [[_cell(row.get(column)) for column in columns] for row in table]
        parts.append(f"{name}\n{_aligned([columns, *cells])}")
    shape = report.machine
    parts.append(
        f"{shape['cpu']}, {shape['cores']} cores, {shape['memory_gib']} GiB, {shape['os']}; "
        + ", ".join(f"{name} {version}" for name, version in report.versions.items())
    )
    return "\n\n".join(parts)


def _cell(value) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


# --------------------------------------------------------------------------
# Recorded results


def _result_path(name: str) -> Path:
    return _checkout() / "notebooks" / "results" / f"{name}.json"


def _record(report, path: Path, *, only: list[str]) -> None:
    """Write the report; with ``only``, into the file that is there, beside its other figures."""
    from longctx_edu.evaluation.figures import Result, read_result, write_result

    command = ["longctx", "bench", report.name, *(part for id in only for part in ("--only", id))]
    result = Result.of(report, command=shlex.join([*command, "--record"]))
    if only and path.exists():
        result = read_result(path).updated_by(result)
    write_result(path, result)
    print(f"Recorded in {path}", file=sys.stderr)
