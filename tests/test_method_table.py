"""README's comparison names the best only where the same questions tell it from the others."""

import json

import pytest

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.figures import Result, write_result
from longctx_edu.evaluation.sweep_spec import Part, Sweep
from longctx_edu.evaluation.sweeps import COMMAND
from longctx_edu.teaching import tables
from longctx_edu.teaching.method_table import method_table


def recorded(recalls, *, refused=()):
    """A sweep of eight documents with a question each, by method and length."""
    methods = tuple(dict.fromkeys(method for method, _ in recalls))
    lengths = tuple(sorted({length for _, length in recalls}))
    sweep = Sweep("small", (Part(("facts",), lengths, 8),), methods=methods)
    cells, answers = [], []
    for cell in sweep.cells:
        place = dict(vars(cell))
        place.pop("questions")
        key = cell.method, cell.length
        is_refused = key in refused
        cost = dict(read_tokens=90, answer_tokens=10, seconds=0.0 if is_refused else 2.5)
        cells.append(
            {
                **place,
                **cost,
                "questions": 0 if is_refused else 1,
                "refused": "too long" if is_refused else None,
            }
        )
        if not is_refused:
            recall = recalls[key][cell.document]
            answers.append({**place, "question": "?", "gold": ["a"], "recall": recall})
    spec = [{"json": json.dumps(sweep.as_dict())}]
    return Result(
        command=COMMAND,
        versions={},
        seed=2,
        machine={},
        figures={},
        tables={"spec": spec, "cells": cells, "answers": answers},
    )


ALWAYS, NEVER, HALF = [1] * 8, [0] * 8, [1, 0] * 4


def line(text, begin):
    (found,) = (line for line in text.splitlines() if line.startswith(f"| {begin} "))
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_the_best_stands_alone_only_where_the_others_are_told_apart_from_it():
    text = method_table(
        recorded(
            {
                ("plain", 512): NEVER,
                ("memory", 512): ALWAYS,
                ("plain", 2048): [1] * 7 + [0],
                ("memory", 2048): ALWAYS,
                ("plain", 6144): NEVER,
                ("memory", 6144): NEVER,
            }
        )
    )
    _, short, middle, long = line(text, "facts")
    assert short == "`memory` 1.00 (0.68 to 1.00)"
    assert middle == "`memory` 1.00 (0.68 to 1.00); not told apart: `plain`"
    assert long == "none finds anything"


def test_costs_stand_beside_the_lengths_and_what_does_not_fit_says_so():
    answers = {("plain", 512): HALF, ("plain", 2048): HALF}
    answers |= {("memory", length): HALF for _, length in [*answers]}
    text = method_table(recorded(answers, refused=[("plain", 2048)]))
    assert line(text, "Method") == ["Method", "512 tokens", "2,048 tokens"]
    assert line(text, "`plain`") == ["`plain`", "100 tokens, 2.5 s", "does not fit"]
    assert line(text, "`memory`")[1:] == ["100 tokens, 2.5 s"] * 2
    assert COMMAND in text
    assert "24 answers" in text


def test_readmes_comparison_is_made_once_the_sweep_is_recorded(tmp_path):
    readme, results = tmp_path / "README.md", tmp_path / "notebooks" / "results"
    results.mkdir(parents=True)
    markers = "".join(f"<!-- {name}:begin --><!-- {name}:end -->" for name in ("notebooks",))
    readme.write_text(markers)
    tables.write_tables(tmp_path)
    assert "`memory`" not in readme.read_text()
    result = recorded({("plain", 512): NEVER, ("memory", 512): ALWAYS})
    write_result(results / "sweep.json", result)
    with pytest.raises(LongctxError, match="methods:begin"):
        tables.write_tables(tmp_path)
    readme.write_text(markers + "<!-- methods:begin --><!-- methods:end -->")
    tables.write_tables(tmp_path)
    assert method_table(result) in readme.read_text()
    assert tables.write_tables(tmp_path) == []
