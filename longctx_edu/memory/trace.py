"""The trace of a question to a memory: what was looked at, in which blocks, by which tokens.

Plain data for JSON, so that a question can be kept, sent, and shown again without a model. It
holds the text itself. A trace that does not fit this description is refused with the place of
the fault.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from longctx_edu.inference.ledger import Ledger
from longctx_edu.traces import TraceKind, first_fault

SCHEMA = "longctx-memory-trace"
VERSION = 1
KINDS = ("question", "answer")

_TEXT, _NUMBER, _MAYBE = (str,), (int, float), (int, float, type(None))
_LEDGER = {field.name: (int,) for field in fields(Ledger)}
# What a trace holds, see `traces.first_fault`.
_FORM: dict[str, Any] = {
    "schema": _TEXT,
    "version": (int,),
    "model": (dict,),
    "options": {
        "lookup": _TEXT,
        "passages": (int,),
        "blocks": (int,),
        "block_tokens": (int,),
        "k": (int,),
        "similarity": _TEXT,
        "positions": _TEXT,
    },
    "documents": [{"id": _TEXT, "start": (int,), "end": (int,)}],
    "text": _TEXT,
    "question": _TEXT,
    "answer_prefix": _TEXT,
    "answer": {
        "text": _TEXT,
        "citations": [{"document_id": _TEXT, "start": (int,), "end": (int,), "text": _TEXT}],
    },
    "blocks": [{"start": (int,), "end": (int,), "score": _MAYBE, "chosen": (bool,)}],
    "passages": [{"start": (int,), "end": (int,), "score": _MAYBE}],
    "tokens": [{"text": _TEXT, "kind": _TEXT, "window": _NUMBER, "mass": [(list,)]}],
    "captured": [(list,)],
    "cost": {"reading": _LEDGER, "question": _LEDGER},
    "seconds": {"reading": _NUMBER},
}


def _fault_inside(trace: Mapping) -> str | None:
    """Return the first place that points out of the text or the memory, or is no share."""
    length, blocks = len(trace["text"]), len(trace["blocks"])
    for name in ("documents", "blocks", "passages"):
        for n, part in enumerate(trace[name]):
            if not 0 <= part["start"] <= part["end"] <= length:
                return f"{name}[{n}]"
    names = {document["id"] for document in trace["documents"]}
    for n, citation in enumerate(trace["answer"]["citations"]):
        if citation["document_id"] not in names:
            return f"answer.citations[{n}]"
    for n, token in enumerate(trace["tokens"]):
        if token["kind"] not in KINDS:
            return f"tokens[{n}].kind"
        if not all(_is_pair(pair) and 0 <= pair[0] < blocks for pair in token["mass"]):
            return f"tokens[{n}].mass"
    for n, pair in enumerate(trace["captured"]):
        if not _is_pair(pair):
            return f"captured[{n}]"
    return None


def _is_pair(pair: list) -> bool:
    """Say whether this is a whole number with a share, from 0 to 1 but for rounding."""
    return first_fault(pair, [(int, float)]) is None and (
        len(pair) == 2 and isinstance(pair[0], int) and 0 <= pair[1] <= 1.001
    )


KIND = TraceKind("memory", SCHEMA, VERSION, _FORM, _fault_inside)
checked, save_trace, load_trace = KIND.checked, KIND.save, KIND.load
