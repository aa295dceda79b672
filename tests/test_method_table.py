"""README's comparison calls a gain a win only where the same questions tell it from chance."""

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
    session = {"engine": "dask", "workers": 2}
    return Result(
        command=COMMAND,
        versions={},
        seed=2,
        machine={},
        figures={},
        tables={"spec": spec, "sessions": [session], "cells": cells, "answers": answers},
    )


ALWAYS, NEVER, HALF = [1] * 8, [0] * 8, [1, 0] * 4


def line(text, begin):
    (found,) = (line for line in text.splitlines() if line.startswith(f"| {begin} "))
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_a_gain_over_all_lengths_is_bold_only_where_it_is_told_from_chance():
    text = method_table(
        recorded(
            {
                ("plain", 512): NEVER,
                ("memory", 512): ALWAYS,
                ("margins", 512): NEVER,
                ("plain", 2048): [1] * 7 + [0],
                ("memory", 2048): ALWAYS,
                ("margins", 2048): ALWAYS,
            }
        )
    )
    _, plain, memory, margins = line(text.partition("**By length**")[0], "facts")
    assert plain == "0.44 (n=16, d=8)"
    assert memory.startswith("**+0.56 (+")
    assert memory.endswith(")**")
    assert margins == "+0.06 (+0.00 to +0.19)"
    assert "at 512, 2,048 tokens" in text


def test_beyond_the_window_methods_are_set_against_the_truncated_prompt():
    answers = {(method, 512): HALF for method in ("plain", "truncated", "memory")}
    answers |= {("plain", 16384): NEVER, ("truncated", 16384): NEVER, ("memory", 16384): ALWAYS}
    text = method_table(recorded(answers, refused=[("plain", 16384)]))
    within, beyond = text.split("**Against `truncated`**")
    assert "at 512 tokens" in within
    assert "at 16,384 tokens" in beyond
    assert line(within, "facts")[1:] == ["0.50 (n=8, d=8)", "0", "0"]
    assert line(beyond.partition("**By length**")[0], "facts")[1:] == [
        "0.00 (n=8, d=8)",
        "**+1.00 (+1.00 to +1.00)**",
    ]


def test_the_highest_by_length_are_all_that_reach_it():
    text = method_table(
        recorded(
            {
                ("plain", 512): NEVER,
                ("memory", 512): ALWAYS,
                ("plain", 2048): ALWAYS,
                ("memory", 2048): ALWAYS,
                ("plain", 6144): NEVER,
                ("memory", 6144): NEVER,
            }
        )
    )
    _, short, middle, long = line(text.partition("**By length**")[2], "facts")
    assert short == "`memory` 1.00 (0.68 to 1.00)"
    assert middle == "all 1.00 (0.68 to 1.00)"
    assert long == "none finds anything"


def test_costs_stand_beside_the_lengths_and_what_does_not_fit_says_so():
    answers = {("plain", 512): HALF, ("plain", 2048): HALF}
    answers |= {("memory", length): HALF for _, length in [*answers]}
    text = method_table(recorded(answers, refused=[("plain", 2048)]))
    assert line(text, "Method") == ["Method", "512 tokens", "2,048 tokens"]
    assert line(text, "`plain`") == ["`plain`", "100; 2.5 s", "does not fit"]
    assert line(text, "`memory`")[1:] == ["100; 2.5 s"] * 2
    assert COMMAND in text
    assert "24 answers" in text
    assert "0.0 hours of work in 2 processes" in text


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
