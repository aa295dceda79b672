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
    LIKELIHOOD_TASKS,
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
from longctx_edu.evaluation.tasks.moves import Event, stays
from longctx_edu.evaluation.tasks.second import SecondQuestion
from longctx_edu.models.tiny import byte_tokenizer
from longctx_edu.text import Document, lighthouse_log, lighthouse_questions, tokenize

TASKS = pytest.mark.parametrize("task", TASK_NAMES)
BYTES = 3000  # about 700 tokens of a trained tokenizer
TOKENS = BYTES // 4  # of the quick tokenizer
ONE_QUESTION = ("needle", "common-words", "freq-words", *LIKELIHOOD_TASKS)  # a document
LISTS = ("common-words", "freq-words")  # whose answers are counted, not found
# In a story the same place is named for others too; how prose goes on stands in no text before.
NAMED_ELSEWHERE = ("moves", "stream-ppl")
TOLD_ONCE = pytest.mark.parametrize("task", [t for t in TASK_NAMES if t not in NAMED_ELSEWHERE])


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


@pytest.fixture(scope="module")
def quick():
    """A tokenizer of four characters a token, for what must be long."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]{1,4}"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="?")


@pytest.fixture(scope="module")
def items(quick):
    return {
        task: generate(task, TOKENS, 3 if task in ONE_QUESTION else 6, 5, quick)
        for task in TASK_NAMES
    }


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


def solve_codes(text, item):
    (thing,) = re.findall("What is (the code of the .*)\\?", item.question)
    return re.findall(rf"The {thing[4:]} is (\d+)\.", text)


def solve_var_trace(text, item):
    (value,) = re.findall(r"the number (\d+) belong", item.question)
    known, names = {value}, []
    told_of = re.findall(r"The number (?:of )?(\w+) (?:also )?belongs to (\w+)\.", text)
    for told, name in told_of:
        if told in known:
            known.add(name)
            names.append(name)
    return names


def solve_freq_words(text, item):
    counted = Counter(text.split("\n\n")[1].split())
    del counted["..."]
    row = counted.most_common()
    asked, rest = row[: len(item.gold)], row[len(item.gold) :]
    stands_out = not rest or asked[-1][1] > rest[0][1]
    return [word for word, _ in asked] if stands_out else []


DEED = re.compile(r"(\w+) (went to|picked up|put down) the (\w+)\.")


def solve_moves(text, item):
    deeds = {"went to": "go", "picked up": "take", "put down": "drop"}
    told = [Event(who, deeds[deed], what) for who, deed, what in DEED.findall(text)]
    (who,) = re.findall(r"Where (?:is|was|did) (?:the )?(\w+) ", item.question)
    row = stays(told).get(who, [])
    return [stay.place for stay in (row[-2:-1] if " before " in item.question else row[-1:])]


def solve_docs_qa(text, item):
    (known,) = [one for one in lighthouse_questions() if one.question == item.question]
    sentence = lighthouse_log().text[known.start : known.end]
    return [known.gold] if sentence in text else []


def solve_copy_ppl(text, item):
    return re.findall("^Words: (.*)$", text, re.MULTILINE)


def solve_stream_ppl(text, item):
    log = lighthouse_log().text
    (end,) = [match.end() for match in re.finditer(re.escape(text[-60:]), log)] or [None]
    return [] if end is None else [" ".join(log[end:].split()[: len(item.gold[0].split())])]


SOLVERS = {
    "facts": solve_facts,
    "needle": solve_codes,
    "needles-everywhere": solve_codes,
    "var-trace": solve_var_trace,
    "freq-words": solve_freq_words,
    "moves": solve_moves,
    "docs-qa": solve_docs_qa,
    "copy-ppl": solve_copy_ppl,
    "stream-ppl": solve_stream_ppl,
    "second-question": solve_facts,
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


@TOLD_ONCE
def test_gold_spans_hold_the_gold_and_nothing_outside_them_does(task, items):
    for item in items[task]:
        rest = text_of(item)
        assert all(span.text == rest[span.start : span.end] for span in item.gold_spans)
        assert {span.document_id for span in item.gold_spans} == {item.documents[0].id}
        assert all(any(holds(span.text, gold) for gold in item.gold) for span in item.gold_spans)
        for span in reversed(item.gold_spans):
            rest = rest[: span.start] + rest[span.end :]
        assert not any(holds(rest, gold) for gold in item.gold)


@pytest.mark.parametrize(
    "task",
    [
        "facts",
        "needle",
        "needles-everywhere",
        "kv-list",
        "multi-value",
        "copy-ppl",
        "second-question",
    ],
)
def test_each_gold_span_is_one_whole_sentence_or_line(task, items):
    for item in items[task]:
        assert len(item.gold_spans) == len(item.gold)
        for span, gold in zip(item.gold_spans, item.gold, strict=True):
            assert span.text.rstrip(".").endswith(gold)
            assert "\n" not in span.text
            after = text_of(item)[span.end : span.end + 1]
            assert after in ("", " ", "\n")


@TOLD_ONCE
def test_the_floor_holds_no_gold_or_makes_it_like_the_rest(task, items):
    for item in items[task]:
        (floor,) = item.controls.floor
        if task in LISTS:
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
@pytest.mark.parametrize("length", [650, 751, 1750])
def test_documents_have_the_length_asked_for_and_never_more(task, length, quick):
    item = generate(task, length, 1, 0, quick)[0]
    tokens = len(tokenize(quick, text_of(item)))
    assert length - 10 <= tokens <= length


@TASKS
def test_the_same_questions_come_at_every_length(task, quick):
    short, long = (generate(task, length, 3, 3, quick) for length in (TOKENS, 2 * TOKENS))
    for one, other in zip(short, long, strict=True):
        assert (one.question, set(one.gold), one.answer_prefix) == (
            other.question,
            set(other.gold),
            other.answer_prefix,
        )
        assert one.documents != other.documents


@TASKS
def test_more_items_go_on_where_fewer_stopped_and_another_seed_gives_others(task, quick):
    three, two = (generate(task, TOKENS, n, 1, quick) for n in (3, 2))
    assert three[:2] == two
    other = generate(task, TOKENS, 2, 2, quick)
    assert [item.gold for item in other] != [item.gold for item in two]
    assert [item.seed for item in other] == [2] * 2
    assert set(two[0].document_ids).isdisjoint(other[0].document_ids)


@TASKS
def test_items_that_share_a_document_share_its_controls_floor(task, items):
    groups = by_document(items[task])
    assert sum(map(len, groups)) == len(items[task])
    assert (len(groups) == len(items[task])) == (task in ONE_QUESTION)
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
        "items = [generate(task, 3000, 1, 7, byte_tokenizer()) for task in TASK_NAMES]\n"
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
        ("needle", dict(distractors=-1)),
        ("needle", dict(digits=2)),
        ("needle", dict(depth=1.5)),
        ("needles-everywhere", dict(needles=0)),
        ("needles-everywhere", dict(needles=99)),
        ("var-trace", dict(hops=-1)),
        ("var-trace", dict(chains=0)),
        ("freq-words", dict(alpha=1.0)),
        ("freq-words", dict(asked=4)),
        ("freq-words", dict(vocabulary=9)),
        ("moves", dict(hops=4)),
        ("moves", dict(hops=2, questions=4)),
        ("moves", dict(events=3)),
        ("docs-qa", dict(questions=0)),
        ("copy-ppl", dict(words=3)),
        ("copy-ppl", dict(depth=-0.1)),
        ("stream-ppl", dict(words=99)),
        ("second-question", dict(distractors=9)),
    ],
)
def test_a_difficulty_out_of_range_is_refused_with_what_was_given(task, options):
    name, value = list(options.items())[-1]
    with pytest.raises(LongctxError, match=rf"{name}={value}\b"):
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


# --- what is special to one task --------------------------------------------------------------


@pytest.mark.parametrize("task", ["needle", "copy-ppl"])
def test_what_moves_to_another_depth_stays_the_same(task, quick):
    near, far = (
        generate(task, TOKENS, 1, 0, quick, difficulty=difficulty_of(task)(depth=depth))[0]
        for depth in (0.95, 0.05)
    )
    assert (near.question, near.gold, near.gold_spans[0].text) == (
        far.question,
        far.gold,
        far.gold_spans[0].text,
    )
    assert far.gold_spans[0].start < 0.2 * BYTES
    assert near.gold_spans[0].start > 0.8 * BYTES - len(near.gold[0])
    assert set(near.document_ids).isdisjoint(far.document_ids)


def test_needles_everywhere_lie_at_every_depth_and_are_all_asked_for(quick):
    items = generate("needles-everywhere", 1500, 10, 0, quick)
    assert len(by_document(items)) == 1
    depths = [item.gold_spans[0].start / len(text_of(item)) for item in items]
    assert all(abs(a - (n + 0.5) / 10) < 0.07 for n, a in enumerate(depths))
    codes = {item.gold[0] for item in items}
    assert all(len(codes & {*item.candidates}) >= 8 for item in items)


@pytest.mark.parametrize("hops", [0, 2, 4])
def test_a_variable_is_handed_on_as_often_as_it_shall_be(hops, quick):
    hard = difficulty_of("var-trace")(hops=hops, chains=3)
    for item in generate("var-trace", TOKENS, 3, 1, quick, difficulty=hard):
        assert len(item.gold) == len(item.gold_spans) == hops + 1
        (value,) = re.findall(r"\d+", item.question)
        named = [span.text for span in item.gold_spans if value in span.text]
        assert len(named) == 1  # the value itself is told once
        assert solve_var_trace(text_of(item), item) == list(item.gold)


@pytest.mark.parametrize("alpha", [1.5, 2.5])
def test_frequent_words_become_rarer_by_their_rank(alpha, quick):
    hard = difficulty_of("freq-words")(alpha=alpha)
    (item,) = generate("freq-words", 2000, 1, 0, quick, difficulty=hard)
    counted = Counter(text_of(item).split("\n\n")[1].split())
    (noise, first), *rest = counted.most_common(4)
    assert noise == "..."
    assert [word for word, _ in rest] == list(item.gold)
    assert [n / first for _, n in rest] == pytest.approx(
        [rank**-alpha for rank in (2, 3, 4)], rel=0.15
    )


def test_a_text_in_which_no_word_stands_out_is_refused(tokenizer):
    with pytest.raises(LongctxError, match="no word stands out"):
        generate("freq-words", 150, 1, 0, tokenizer)


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_stories_are_told_in_order_and_what_is_needed_was_told_last(hops, quick):
    hard = difficulty_of("moves")(hops=hops, events=20)
    items = generate("moves", 1000, 8, 2, quick, difficulty=hard)
    for item in items:
        assert len(DEED.findall(text_of(item))) == 20
        assert tuple(solve_moves(text_of(item), item)) == item.gold
        (ceiling,), (floor,) = item.controls.ceiling, item.controls.floor
        assert tuple(solve_moves(ceiling.text, item)) == item.gold
        assert tuple(solve_moves(floor.text, item)) != item.gold
        assert any(item.gold[0] in span.text for span in item.gold_spans)
        assert len(item.gold_spans) >= hops
        assert item.gold[0] not in item.question  # else a label in it could be copied
    assert len({item.gold for item in items}) > 2


def test_a_thing_goes_with_its_holder_until_it_is_put_down():
    story = [
        Event("Ada", "go", "zoo"),
        Event("Ada", "take", "cup"),
        Event("Ada", "go", "spa"),
        Event("Ada", "drop", "cup"),
        Event("Ada", "go", "bank"),
    ]
    found = stays(story)
    assert [stay.place for stay in found["Ada"]] == ["zoo", "spa", "bank"]
    assert [(stay.place, sorted(stay.events)) for stay in found["cup"]] == [
        ("zoo", [0, 1]),
        ("spa", [1, 2, 3]),
    ]


def test_documents_questions_stand_on_real_prose_at_many_depths(quick):
    items = generate("docs-qa", TOKENS, 12, 4, quick)
    log = lighthouse_log().text
    for item in items:
        (span,) = item.gold_spans
        assert span.text.endswith(".")
        around = text_of(item)[max(0, span.start - 80) : span.end]
        assert around in log
    depths = [item.gold_spans[0].start / BYTES for item in items]
    assert max(depths) - min(depths) > 0.4
    assert len({item.question for item in items}) == 12
    # Longer than the log, and no sentence of it comes twice.
    (item,) = generate("docs-qa", 12_000, 1, 4, quick)
    assert text_of(item).count(item.gold_spans[0].text) == 1


def test_a_stream_goes_on_where_its_text_ends(quick):
    (item,) = generate("stream-ppl", TOKENS, 1, 9, quick)
    (span,) = item.gold_spans
    assert span.end == len(text_of(item))
    (floor,), (ceiling,) = item.controls.floor, item.controls.ceiling
    assert text_of(item).endswith(ceiling.text)
    assert text_of(item).startswith(floor.text)
    assert not any(holds(text_of(item), other) for other in item.candidates)


def test_the_two_questions_of_a_document_are_of_two_kinds_and_far_apart(quick):
    items = generate("second-question", 1500, 8, 0, quick)
    for first, second in by_document(items):
        assert first.question != second.question
        assert second.gold_spans[0].start - first.gold_spans[0].end > 1500
    assert "second-question" in items[0].document_ids[0]
    with pytest.raises(LongctxError, match="is a Facts, but this is a SecondQuestion"):
        generate("facts", TOKENS, 1, 0, quick, difficulty=SecondQuestion())
