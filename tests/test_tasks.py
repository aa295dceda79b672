"""Generated tasks: solvable by construction, the same everywhere, as long as asked for."""

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.metrics import holds
from longctx_edu.evaluation.tasks import (
    TASK_NAMES,
    by_document,
    difficulty_of,
    fitting,
    generate,
    pools,
)
from longctx_edu.evaluation.tasks.facts import KINDS, Facts
from longctx_edu.evaluation.tasks.fitting import (
    Filler,
    Insert,
    hide,
    log_words,
    most,
    occurs_in_filler,
)
from longctx_edu.models.tiny import byte_tokenizer
from longctx_edu.text import Document, tokenize

TASKS = pytest.mark.parametrize("task", TASK_NAMES)
BYTES = 3000  # about 700 tokens of a trained tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


@pytest.fixture(scope="module")
def items(tokenizer):
    return {task: generate(task, BYTES, 12, 5, tokenizer) for task in TASK_NAMES}


def text_of(item):
    (document,) = item.documents
    return document.text


# --- solvers that know how a task writes, and nothing of how it was generated ---------------------


def solve_facts(text, item):
    for kind in KINDS:
        for subject in kind.subjects:
            if kind.question.format(subject=subject) == item.question:
                told = re.escape(kind.statement.format(subject=subject, value="VALUE"))
                return re.findall(told.replace("VALUE", r"(\w+)"), text)
    raise AssertionError(item.question)


def solve_kv_list(text, item):
    (key,) = re.findall('"(.*)"', item.question)
    return re.findall(rf"^{key}: (\d+)$", text, re.MULTILINE)


def solve_multi_value(text, item):
    (things,) = re.findall(r"What are the \w+ (.*)\?", item.question)
    return re.findall(rf"One of the {things} is (?:the )?(\w+)\.", text)


def solve_common_words(text, item):
    counted = Counter(text.split("\n\n")[1].split())
    often = max(counted.values())
    # Common words come equally often, and the others at most half as often.
    return sorted((w for w, n in counted.items() if 2 * n > often), key=text.split().index)


SOLVERS = {
    "facts": solve_facts,
    "kv-list": solve_kv_list,
    "multi-value": solve_multi_value,
    "common-words": solve_common_words,
}


@TASKS
def test_the_answer_follows_from_document_and_question(task, items):
    for item in items[task]:
        assert tuple(SOLVERS[task](text_of(item), item)) == item.gold


@TASKS
def test_the_ceiling_alone_is_enough_and_the_floor_alone_is_not(task, items):
    for item in items[task]:
        (ceiling,), (floor,) = item.controls.ceiling, item.controls.floor
        assert sorted(SOLVERS[task](ceiling.text, item)) == sorted(item.gold)
        assert sorted(SOLVERS[task](floor.text, item)) != sorted(item.gold)
        assert len(ceiling.text) < len(text_of(item))


@TASKS
def test_gold_spans_hold_the_gold_and_nothing_outside_them_does(task, items):
    for item in items[task]:
        rest = text_of(item)
        assert all(span.text == rest[span.start : span.end] for span in item.gold_spans)
        assert {span.document_id for span in item.gold_spans} == {item.documents[0].id}
        assert all(any(holds(span.text, gold) for gold in item.gold) for span in item.gold_spans)
        for span in reversed(item.gold_spans):
            rest = rest[: span.start] + rest[span.end :]
        assert not any(holds(rest, gold) for gold in item.gold)


@pytest.mark.parametrize("task", ["facts", "kv-list", "multi-value"])
def test_each_gold_span_is_one_whole_sentence_or_line(task, items):
    for item in items[task]:
        assert len(item.gold_spans) == len(item.gold)
        for span, gold in zip(item.gold_spans, item.gold, strict=True):
            assert span.text.rstrip(".").endswith(gold)
            assert "\n" not in span.text
            after = text_of(item)[span.end : span.end + 1]
            assert after in ("", " ", "\n")


@TASKS
def test_the_floor_holds_no_gold_or_makes_it_like_the_rest(task, items):
    for item in items[task]:
        (floor,) = item.controls.floor
        if task == "common-words":
            counted = Counter(floor.text.split())
            assert {counted[gold] for gold in item.gold} == {max(counted.values())}
            assert sum(n == max(counted.values()) for n in counted.values()) > len(item.gold)
        else:
            assert not any(holds(floor.text, gold) for gold in item.gold)
            assert len(floor.text) > 0.5 * len(text_of(item))


@TASKS
def test_candidates_are_the_gold_and_wrong_answers_of_its_kind(task, items):
    for item in items[task]:
        assert item.candidates.count(item.gold[0]) == 1
        assert len(set(item.candidates)) == len(item.candidates) >= 4
        wrong = [other for other in item.candidates if other != item.gold[0]]
        assert not set(wrong) & set(item.gold)
        assert all(other.isdigit() == item.gold[0].isdigit() for other in wrong)
    places = {item.candidates.index(item.gold[0]) for item in items[task]}
    assert len(places) > 1


@TASKS
@pytest.mark.parametrize("length", [2600, 3001, 7000])
def test_documents_have_the_length_asked_for_and_never_more(task, length, tokenizer):
    item = generate(task, length, 1, 0, tokenizer)[0]
    tokens = len(tokenize(tokenizer, text_of(item)))
    assert length - 40 <= tokens <= length


@TASKS
def test_the_same_questions_come_at_every_length(task, tokenizer):
    short, long = (generate(task, length, 5, 3, tokenizer) for length in (BYTES, 2 * BYTES))
    for one, other in zip(short, long, strict=True):
        assert (one.question, set(one.gold), one.answer_prefix) == (
            other.question,
            set(other.gold),
            other.answer_prefix,
        )
        assert one.documents != other.documents


@TASKS
def test_more_items_go_on_where_fewer_stopped_and_another_seed_gives_others(task, tokenizer):
    six, three = (generate(task, BYTES, n, 1, tokenizer) for n in (6, 3))
    assert six[:3] == three
    other = generate(task, BYTES, 3, 2, tokenizer)
    assert [item.gold for item in other] != [item.gold for item in three]
    assert [item.seed for item in other] == [2] * 3
    assert set(three[0].document_ids).isdisjoint(other[0].document_ids)


@TASKS
def test_items_that_share_a_document_share_its_controls_floor(task, items):
    groups = by_document(items[task])
    assert sum(map(len, groups)) == 12
    if task != "common-words":  # the one task with one question a document
        assert len(groups) < 12
    for group in groups:
        assert len({item.documents for item in group}) == 1
        assert len({item.controls.floor for item in group}) == 1
        assert len({item.question for item in group}) == len(group)
    ids = [group[0].document_ids for group in groups]
    assert len(set(ids)) == len(ids)


def test_the_hash_seed_of_the_process_changes_nothing():
    code = (
        "import hashlib\n"
        "from longctx_edu.evaluation.tasks import TASK_NAMES, generate\n"
        "from longctx_edu.models.tiny import byte_tokenizer\n"
        "items = [generate(task, 3000, 2, 7, byte_tokenizer()) for task in TASK_NAMES]\n"
        "print(hashlib.sha256(repr([[(i.gold, i.candidates, i.gold_spans, i.documents[0].text,"
        " i.controls.floor[0].text) for i in one] for one in items]).encode()).hexdigest())\n"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(seen) == 1
    assert len(seen.pop()) == 65


def test_facts_lie_at_depths_all_over_the_document(tokenizer):
    items = generate("facts", 8_000, 8, 0, tokenizer, difficulty=Facts(facts=8))
    depths = [item.gold_spans[0].start / len(text_of(item)) for item in items]
    expected = [(place + 0.5) / 8 for place in range(8)]
    assert all(abs(a - b) < 0.05 for a, b in zip(depths, expected, strict=True))


def test_distractors_tell_the_same_of_others(tokenizer):
    plain, harder = (
        generate("facts", 5000, 4, 0, tokenizer, difficulty=Facts(facts=4, distractors=d))
        for d in (0, 2)
    )
    for items, told in ((plain, 1), (harder, 3)):
        for item in items:
            (kind,) = [
                kind
                for kind in KINDS
                if any(item.question == kind.question.format(subject=s) for s in kind.subjects)
            ]
            statements = re.escape(kind.statement).replace(r"\{subject\}", ".{4,20}")
            found = re.findall(statements.replace(r"\{value\}", r"\w+"), text_of(item))
            assert len(found) == told
            floor = item.controls.floor[0].text
            assert len(re.findall(statements.replace(r"\{value\}", r"\w+"), floor)) == told - 1


def test_no_word_that_can_be_an_answer_stands_in_the_filler():
    values = [word for name, words in vars(pools).items() if name.isupper() for word in words]
    assert [value for value in values if occurs_in_filler(value)] == []
    assert len(values) == len(set(values))
    assert len(values) >= 64
    assert occurs_in_filler("lamp")


def test_keys_and_list_entries_are_plain_words_of_the_log():
    assert len(log_words()) > 800
    assert all(re.fullmatch("[a-z]{5,8}", word) for word in log_words())


def test_an_insert_stands_after_a_sentence_and_the_text_around_it_is_unchanged(tokenizer):
    text = "One came. Two went.\n\nThree stayed. And so on until the end of it all."
    ends = tuple(match.end() for match in re.finditer(r"\.", text))
    words = tuple(match.end() for match in re.finditer(r"\S+", text))
    around = Filler(text, ends, (19,), words)
    inserts = [Insert("HERE.", 0.3, frozenset([0])), Insert("THERE.", 0.9)]
    hidden, floor = hide(inserts, around, len(text) + 13, tokenizer, id="d")
    assert "went. HERE.\n\nThree stayed" in hidden.document.text
    assert [hidden.document.text[a:b] for a, b in hidden.spans] == ["HERE.", "THERE."]
    assert hidden.document.text.replace(" HERE.", "").replace(" THERE.", "") == text
    assert floor.text == hidden.document.text.replace(" HERE.", "")
    lines, _ = hide(inserts, around, len(text) + 15, tokenizer, id="d", as_lines=True)
    assert "went.\n\nHERE.\n\nTHERE.\n\nThree stayed" in lines.document.text


def test_the_largest_size_that_fits_is_found(tokenizer):
    for length in range(10, 40):
        assert most(lambda size: "ab" * size, range(2, 30), length, tokenizer) == length // 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(task="fact"), "no task 'fact'; choose one of facts"),
        (dict(n=0), "at least 1, but 0"),
        (dict(length_tokens=0), "at least 1, but 0"),
        (dict(length_tokens=300), "needs .* tokens at this difficulty, and 300 were given"),
        (dict(difficulty=difficulty_of("kv-list")()), "is a Facts, but this is a KeyValueList"),
    ],
)
def test_what_cannot_be_generated_is_refused_with_the_reason(change, message, tokenizer):
    asked = dict(task="facts", length_tokens=BYTES, n=1, seed=0, tokenizer=tokenizer) | change
    with pytest.raises(LongctxError, match=message):
        generate(**asked)


def test_more_text_than_there_is_cannot_be_had(tokenizer, monkeypatch):
    monkeypatch.setattr(fitting, "lighthouse_log", lambda: Document("log", "It rained. " * 90))
    monkeypatch.setattr(fitting, "python_reference", lambda: Document("py", "It passed. " * 90))
    fitting._filler.cache_clear()
    with pytest.raises(LongctxError, match="All the text there is makes .* ask for less"):
        generate("facts", 9000, 1, 0, tokenizer)
    fitting._filler.cache_clear()


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("facts", dict(facts=0)),
        ("facts", dict(facts=99)),
        ("facts", dict(distractors=9)),
        ("kv-list", dict(pairs=1)),
        ("kv-list", dict(pairs=4, questions=5)),
        ("kv-list", dict(digits=0)),
        ("multi-value", dict(values=0)),
        ("multi-value", dict(keys=99)),
        ("common-words", dict(common=0)),
        ("common-words", dict(share=1.0)),
        ("common-words", dict(others=2)),
    ],
)
def test_a_difficulty_out_of_range_is_refused_with_what_was_given(task, options):
    name, value = list(options.items())[-1]
    with pytest.raises(LongctxError, match=rf"{name}={value}"):
        difficulty_of(task)(**options)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_a_text_too_short_for_the_task_is_refused(task, tokenizer):
    with pytest.raises(LongctxError, match="token"):
        generate(task, 5, 1, 0, tokenizer)


def test_the_same_words_are_asked_for_in_the_same_order_at_every_length(tokenizer):
    hard = replace(difficulty_of("common-words")(), common=2, share=0.2)
    asked = [
        generate("common-words", length, 1, 3, tokenizer, difficulty=hard)[0].gold
        for length in (1000, 1700, 2600)
    ]
    assert asked[0] == asked[1] == asked[2]


def test_more_pairs_values_and_words_make_more_of_them(tokenizer):
    for task, options, count in (
        ("kv-list", dict(pairs=24), lambda text: len(re.findall(r"^\w+: \d+$", text, re.M))),
        ("multi-value", dict(values=4, keys=6), lambda text: text.count("One of the ")),
    ):
        difficulty = difficulty_of(task)(**options)
        (item,) = generate(task, 4000, 1, 0, tokenizer, difficulty=difficulty)
        assert count(text_of(item)) == 24
    fewer, more = (
        generate(
            "common-words",
            BYTES,
            1,
            0,
            tokenizer,
            difficulty=replace(difficulty_of("common-words")(), common=1, share=share),
        )[0]
        for share in (0.1, 0.2)
    )
    assert len(more.gold_spans) > 1.8 * len(fewer.gold_spans)
