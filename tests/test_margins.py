"""Writing in the Margins: exact in both forms, verdicts, readings that can be asked again."""

import json
import threading
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx_edu import models, read
from longctx_edu.errors import DoesNotFit, LongctxError, TraceError
from longctx_edu.evaluation.tasks import generate
from longctx_edu.events import Answered, Judged, MarginToken, NoteWritten, RolledBack, SegmentRead
from longctx_edu.inference import Context, chat_prompt, continue_turn
from longctx_edu.margins import (
    AttentionMass,
    ByPerson,
    CopySentence,
    KeepAll,
    Margin,
    Note,
    Request,
    SeparateClassifier,
    SureAndSeen,
    Surest,
    YesNo,
    load_trace,
    replay,
    save_trace,
    sources_of,
    write_margins,
    write_margins_together,
)
from longctx_edu.margins.engine import lead_of, words_for
from longctx_edu.margins.notes import say_something_new, within
from longctx_edu.margins.verdicts import Case, surest_notes
from longctx_edu.readers import prepare
from longctx_edu.text import Document

TEXT = (
    "The boat is named Grey Petrel. It is painted green. The keeper is Anna Lund.\n\n"
    "She has two goats. The lamp burns oil. The inspector comes in May.\n\n"
    "In winter the pier froze. Nobody came for a month. The goats slept in the kitchen."
)
QUESTION = "What is the boat named?"
SMALL = dict(segment_tokens=40, margin_tokens=6, verdict="all")
FAMILIES = ["llama", "gpt2", "qwen3", "gpt_neox"]


@pytest.fixture(scope="module")
def model():
    return models.tiny("llama", seed=1)


@pytest.fixture
def reading(model):
    return read(TEXT, method="margins", model=model, **SMALL)


def margins_of(events):
    return sorted(
        (event for event in events if isinstance(event, Margin)), key=lambda margin: margin.segment
    )


def request_to(model, *, max_tokens=8, **options):
    ids = continue_turn(model, "\n\n" + CopySentence().request(QUESTION))
    return Request(ids, max_tokens, **options)


def answered(events):
    return [event for event in events if isinstance(event, Answered)][0].answer


class TestEngine:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_both_forms_write_what_a_fresh_read_of_the_prefix_would(self, family):
        model = models.tiny(family, seed=1)
        reading = read(TEXT, method="margins", model=model, **SMALL)
        boundaries, request = reading._engine.boundaries, request_to(model)
        apart = margins_of(write_margins(boundaries, request))
        ends = [len(boundary) for boundary in boundaries]
        together = margins_of(write_margins_together(reading.context, ends, request))
        assert len(apart) == len(reading.segments) > 2
        for one, other, boundary in zip(together, apart, boundaries, strict=True):
            fresh = Context(model)
            list(fresh.prefill([*boundary.ids, *request.ids]))
            ids = [i for i in fresh.decode(max_new_tokens=8) if i not in model.end_ids]
            assert list(one.ids) == list(other.ids) == ids
            assert (one.ledger, one.text, one.finished) == (other.ledger, other.text, True)
            assert one.confidence == pytest.approx(other.confidence, rel=1e-4)

    def test_a_margin_ends_when_its_words_say_so_in_both_forms(self, model):
        reading = read(TEXT, method="margins", model=model, **SMALL)
        whole = margins_of(write_margins(reading._engine.boundaries, request_to(model)))
        stop = whole[1].text[:2]
        request = request_to(model, is_over=lambda written: written.lstrip().startswith(stop))
        ends = [len(boundary) for boundary in reading._engine.boundaries]
        apart = margins_of(write_margins(reading._engine.boundaries, request))
        together = margins_of(write_margins_together(reading.context, ends, request))
        assert [m.ids for m in apart] == [m.ids for m in together]
        assert [m.ledger for m in apart] == [m.ledger for m in together]
        assert len(apart[1].ids) < len(whole[1].ids)
        for margin, longest in zip(apart, whole, strict=True):
            assert margin.ids == longest.ids[: len(margin.ids)]

    def test_enough_ends_margins_as_they_are_in_both_forms(self, model):
        reading = read(TEXT, method="margins", model=model, **SMALL)
        ends = [len(boundary) for boundary in reading._engine.boundaries]
        for write in (
            lambda request: write_margins(reading._engine.boundaries, request),
            lambda request: write_margins_together(reading.context, ends, request),
        ):
            seen = []
            request = request_to(model, is_enough=lambda: len(seen) >= 5)  # noqa: B023
            for event in write(request):
                seen += [event] * isinstance(event, MarginToken)
                if isinstance(event, Margin):
                    seen.append(event)
            margins = margins_of(seen)
            assert margins
            assert not margins[-1].finished
            assert all(margin.ledger.decoded <= 8 for margin in margins)

    def test_every_margin_is_followed_by_its_roll_back_to_the_segments_end(self, reading):
        events = list(reading.events(QUESTION, max_new_tokens=2))
        rolled = {event.segment: event for event in events if isinstance(event, RolledBack)}
        ends = [len(boundary) for boundary in reading._engine.boundaries]
        assert [rolled[n].length for n in range(len(ends))] == ends
        assert all(one.tokens > 0 for one in rolled.values())

    def test_close_calls_are_counted_alike_in_both_forms(self, model):
        flat = models.tiny("llama", seed=1)
        with torch.no_grad():
            flat.model.lm_head.weight.zero_()  # every token is as good as any other
        reading = read(TEXT, method="margins", model=flat, **SMALL)
        ends = [len(boundary) for boundary in reading._engine.boundaries]
        request = request_to(flat, max_tokens=3)
        for events in (
            write_margins(reading._engine.boundaries, request),
            write_margins_together(reading.context, ends, request),
        ):
            assert all(m.close_calls == m.ledger.decoded for m in margins_of(events))

    def test_the_lead_of_yes_is_read_before_the_first_token(self, model):
        reading = read(TEXT, method="margins", model=model, **{**SMALL, "prompt": "yes_no"})
        says = tuple(words_for(model.tokenizer, word) for word in ("YES", "NO"))
        request = request_to(model, says=says)
        ends = [len(boundary) for boundary in reading._engine.boundaries]
        together = margins_of(write_margins_together(reading.context, ends, request))
        for margin, boundary in zip(together, reading._engine.boundaries, strict=True):
            with boundary.branch() as branch:
                list(branch.prefill(request.ids))
                expected = lead_of(branch.next_logits, *says)
            assert margin.yes_lead == pytest.approx(expected, abs=1e-4)

    def test_prefixes_in_any_order_give_each_margin_its_own_lead(self, model):
        reading = read(TEXT, method="margins", model=model, **SMALL)
        says = tuple(words_for(model.tokenizer, word) for word in ("YES", "NO"))
        request = request_to(model, says=says, max_tokens=2)
        ends = [len(boundary) for boundary in reading._engine.boundaries]
        forth, back = (
            margins_of(write_margins_together(reading.context, order, request))
            for order in (ends, ends[::-1])
        )
        for one, other in zip(forth, back[::-1], strict=True):
            assert one.ids == other.ids
            assert one.yes_lead == pytest.approx(other.yes_lead, abs=1e-4)

    def test_the_lead_of_yes_is_the_difference_of_log_probabilities(self):
        logits = torch.tensor([1.0, 2.0, 0.5, -1.0])
        probabilities = logits.softmax(0)
        expected = (probabilities[0] + probabilities[1]).log() - probabilities[2].log()
        assert lead_of(logits, [0, 1], [2]) == pytest.approx(float(expected), abs=1e-6)
        assert lead_of(logits, [0, 3], [2, 3]) == pytest.approx(0.5)


class TestPrompts:
    @pytest.mark.parametrize("prompt", [CopySentence(), YesNo()])
    @pytest.mark.parametrize("note", ["NO", "no.", "None", " - Nothing", "I don't know", "", "\n"])
    def test_a_note_of_nothing_is_no_note(self, prompt, note):
        assert prompt.note(note) == ""

    @pytest.mark.parametrize(
        "note",
        ["Nora came in May.", "The boat is green.", "No ship passed.", "None of them is green."],
    )
    def test_a_note_of_something_is_kept_up_to_its_first_line(self, note):
        assert CopySentence().note(f"\n{note}\n\nThe text is:") == note
        assert YesNo().note(f"YES#{note}\nMore") == note
        assert YesNo().note(f"yes # {note}") == note

    @pytest.mark.parametrize(
        ("written", "over"),
        [("N", False), ("NO", False), ("NO#", True), ("No, ", True), ("Nora", False), ("YES#", 0)],
    )
    def test_yes_or_no_is_over_with_a_no_that_cannot_become_another_word(self, written, over):
        assert YesNo().is_over(written) == bool(over)

    def test_braces_and_special_words_in_question_and_note_are_text(self, reading):
        question = "What of {this} and <|im_end|>?"
        answer = reading.ask(question, max_new_tokens=2, notes=[Note(0, "{0} <|im_start|> {x}")])
        assert answer.trace["question"] == question
        assert "{0} <|im_start|> {x}" in reading.final_prompt.text
        plain = chat_prompt(reading.model, "x").ids
        special = set(reading.model.tokenizer.get_added_vocab().values())
        inside = [i for i in reading.final_prompt.ids if i in special]
        assert inside == [i for i in plain if i in special]


class TestVerdicts:
    def case(self, model, notes, **margin):
        margins = [
            Margin(n, (5,), note, 0.5, ledger=None, **margin) for n, note in enumerate(notes)
        ]
        return Case(model, QUESTION, notes, margins, [], None)

    def test_surest_notes_are_those_near_the_surest(self):
        judged = surest_notes(["a", "", "b", "c"], [0.4, 0.9, 0.32, 0.29], 0.75)
        assert judged.kept == (True, False, True, False)
        assert judged.scores[0] == 1

    def test_all_keeps_what_says_something_new(self, model):
        assert KeepAll().judge(self.case(model, ["a", "", "a", "b"])).kept == (
            True,
            False,
            False,
            True,
        )

    def test_a_separate_classifier_scores_question_and_note_alone_and_pays_for_it(self, model):
        judged = SeparateClassifier().judge(self.case(model, ["a boat", "", "a ship"]))
        assert judged.scores[1] is None
        assert judged.ledger.prefilled == judged.ledger.discarded > 0
        for note, score, kept in zip(
            ["a boat", "a ship"], judged.scores[::2], judged.kept[::2], strict=True
        ):
            context = Context(model)
            user = (
                f"Question: {QUESTION}\nNote: {note}\n"
                "Does this note help to answer the question? Write YES or NO."
            )
            list(context.prefill(chat_prompt(model, user).ids))
            words = [words_for(model.tokenizer, word) for word in ("YES", "NO")]
            assert score == pytest.approx(lead_of(context.next_logits, *words), abs=1e-5)
            assert kept == (score >= 0)

    def test_attention_ranks_segments_as_the_mass_of_the_question_does(self, model):
        from longctx_edu.attention import question_mass
        from longctx_edu.text import tokenize

        reading = read(TEXT, method="margins", model=model, **{**SMALL, "verdict": "attention"})
        reading.ask(QUESTION, max_new_tokens=2)
        ids = tokenize(model.tokenizer, f"\n\n{QUESTION}").ids
        masses = question_mass(reading.context, ids, segments=reading._runs[0].tokens)
        scores = torch.tensor([note.score for note in reading.notes])
        torch.testing.assert_close(scores, masses / masses.max())
        assert [note.by for note in reading.notes] == ["attention"] * len(scores)

    def test_the_default_goes_by_confidence_and_attention_together(self, reading):
        kinds = [Surest(), AttentionMass(), SureAndSeen(threshold=0.5)]
        sure, seen, both = reading.judge(QUESTION, kinds)
        raw = [a.score * b.score**0.5 for a, b in zip(sure, seen, strict=True)]
        new = say_something_new([note.text for note in both])
        most = max(one for one, says in zip(raw, new, strict=True) if says)
        assert [note.score for note in both] == pytest.approx([one / most for one in raw])
        assert [note.kept for note in both] == [
            says and note.score >= 0.5 for note, says in zip(both, new, strict=True)
        ]

    @pytest.mark.parametrize(
        ("family", "verdict"),
        [("llama", "sure_and_seen"), ("gpt2", "surest"), ("gemma3", "surest")],
    )
    def test_the_default_needs_no_more_than_the_model_allows(self, family, verdict):
        model = models.tiny(family, seed=1)
        reading = read(TEXT, method="margins", model=model, segment_tokens=40, margin_tokens=3)
        reading.ask(QUESTION, max_new_tokens=2)
        assert {note.by for note in reading.notes} == {verdict}

    def test_a_person_may_keep_what_they_like(self, model):
        decisions = [False, True] * 10
        verdict = ByPerson(lambda case: decisions[: len(case.notes)])
        reading = read(TEXT, method="margins", model=model, **{**SMALL, "verdict": verdict})
        reading.ask(QUESTION, max_new_tokens=2)
        assert [note.kept for note in reading.notes] == decisions[: len(reading.segments)]
        short = ByPerson(lambda case: [True])
        with pytest.raises(LongctxError, match="1 decisions"):
            read(TEXT, method="margins", model=model, **{**SMALL, "verdict": short}).ask(QUESTION)

    def test_the_first_token_decides_only_where_yes_or_no_was_asked(self, model):
        options = {**SMALL, "verdict": "first_token"}
        with pytest.raises(LongctxError, match="yes_no"):
            read(TEXT, method="margins", model=model, **options).ask(QUESTION)
        reading = read(TEXT, method="margins", model=model, **{**options, "prompt": "yes_no"})
        reading.ask(QUESTION, max_new_tokens=2)
        assert all(note.score is not None for note in reading.notes)

    def test_several_verdicts_judge_the_same_margins(self, reading):
        every, surest = reading.judge(QUESTION, [KeepAll(), Surest()])
        assert [note.text for note in every] == [note.text for note in surest]
        assert {note.by for note in surest} == {"surest"}

    def test_a_server_keeps_its_keys_so_attention_is_refused(self, model):
        with pytest.raises(LongctxError, match="server"):
            AttentionMass().judge(self.case(model, ["a"]))


class TestReading:
    def test_every_segment_is_told_while_reading_and_judged_once_while_asking(self, model):
        events = list(prepare(TEXT, method="margins", model=model, **SMALL))
        reading = events[-1].reading
        told = [event for event in events if isinstance(event, SegmentRead)]
        assert [(event.start, event.end) for event in told] == reading.segments
        asked = list(reading.events(QUESTION, max_new_tokens=2))
        numbers = list(range(len(reading.segments)))
        assert sorted(e.segment for e in asked if isinstance(e, NoteWritten)) == numbers
        assert [e.segment for e in asked if isinstance(e, Judged)] == numbers

    def test_without_notes_it_answers_as_the_plain_method_does(self, reading, model):
        plain = read(TEXT, method="plain", model=model).ask(QUESTION, max_new_tokens=8)
        answer = reading.ask(QUESTION, max_new_tokens=8, notes=[])
        assert answer.text == plain.text
        assert answer.ledger.prefilled <= plain.ledger.prefilled

    def test_a_second_question_and_a_second_answer_read_nothing_of_the_text_again(self, reading):
        before = len(reading.context)
        reading.ask(QUESTION, max_new_tokens=2)
        second = reading.ask("Who is the keeper?", max_new_tokens=2)
        request = len(reading._request("Who is the keeper?", CopySentence()).ids)
        margins = request * len(reading.segments)
        assert second.ledger.prefilled == margins + len(reading.final_prompt.ids) - before
        kept = [replace(note, kept=n == 0) for n, note in enumerate(reading.notes)]
        again = reading.ask("Who is the keeper?", max_new_tokens=2, notes=kept)
        assert again.ledger.prefilled == len(reading.final_prompt.ids) - before
        assert again.ledger.decoded <= 2
        assert len(reading.context) == before

    def test_decisions_edits_and_own_notes_enter_the_prompt(self, reading):
        reading.ask(QUESTION, max_new_tokens=2)
        notes = [replace(note, kept=False) for note in reading.notes]
        notes[1] = replace(notes[1], text="The boat is Grey Petrel.", kept=True, by="person")
        notes.append(Note(None, "Boats have names."))
        answer = reading.ask(QUESTION, max_new_tokens=2, notes=notes)
        text = reading.final_prompt.text
        assert "- The boat is Grey Petrel.\n- Boats have names.\n" in text
        assert text.count("\n- ") == 2
        # The note says less than the sentence and is known as its copy all the same.
        assert [c.text for c in answer.citations] == ["The boat is named Grey Petrel."]
        assert reading.notes[-1].segment is None

    @pytest.mark.parametrize("place", ["last", "first", "only"])
    def test_notes_stand_where_they_are_wanted(self, model, place):
        reading = read(TEXT, method="margins", model=model, **{**SMALL, "place": place})
        answer = reading.ask(QUESTION, max_new_tokens=2, notes=[Note(0, "NOTED")])
        text = reading.final_prompt.text
        order = sorted(
            (text.find(part), name)
            for part, name in (("NOTED", "note"), (TEXT[-20:], "text"), (QUESTION, "question"))
        )
        assert [name for place, name in order if place >= 0] == {
            "last": ["text", "note", "question"],
            "first": ["note", "text", "question"],
            "only": ["note", "question"],
        }[place]
        reread = answer.ledger.prefilled > len(reading.context) / 2
        assert reread == (place == "first")

    @pytest.mark.parametrize("final", ["labelled", "bare", "read_again"])
    def test_every_final_prompt_hands_over_notes_and_question(self, model, final):
        reading = read(TEXT, method="margins", model=model, **{**SMALL, "final": final})
        reading.ask(QUESTION, max_new_tokens=2, notes=[Note(0, "NOTED")])
        assert "NOTED" in reading.final_prompt.text
        assert QUESTION in reading.final_prompt.text

    def test_a_cap_on_note_tokens_keeps_the_best(self):
        notes = [
            Note(0, "a", score=0.2, by="all"),
            Note(1, "b", score=0.9, by="all"),
            Note(2, "c", kept=False, by="all"),
        ]
        notes.append(Note(None, "mine"))
        assert within(notes, [3, 3, 3, 3], None) == {0, 1, 3}
        assert within(notes, [3, 3, 3, 3], 6) == {1, 3}
        assert within(notes, [3, 9, 3, 3], 6) == {0, 3}
        assert within(notes, [3, 3, 3, 3], 0) == set()

    @settings(max_examples=20)
    @given(stop=st.integers(1, 80))
    def test_cancelled_anywhere_the_reading_is_as_before(self, model, stop):
        reading = read(TEXT, method="margins", model=model, **SMALL)
        expected = reading.ask(QUESTION, max_new_tokens=3)
        before = [layer.keys.clone() for layer in reading.context.cache.layers]
        events = reading.events(QUESTION, max_new_tokens=3)
        for _ in range(stop):
            if isinstance(next(events, None), (Answered, type(None))):
                break
        events.close()
        written = list(reading.notes)
        after = [layer.keys for layer in reading.context.cache.layers]
        assert all(map(torch.equal, before, after))
        if written:  # what was written by then can be used
            assert reading.ask(QUESTION, max_new_tokens=3, notes=written).text is not None
        again = reading.ask(QUESTION, max_new_tokens=3)
        assert (again.text, again.ledger) == (expected.text, expected.ledger)

    def test_answer_now_ends_the_margins_and_answers_from_what_there_is(self, model):
        reading = read(TEXT, method="margins", model=model, **{**SMALL, "margin_tokens": 64})
        events = reading.events(QUESTION, max_new_tokens=2)
        seen = []
        for event in events:
            seen.append(event)
            if sum(isinstance(one, MarginToken) for one in seen) == 12:
                threading.Thread(target=reading.answer_now).start()
        answer = answered(seen)
        assert any(not note.finished for note in reading.notes)
        assert answer.ledger.decoded < 64 * len(reading.segments)
        longer = reading.ask(QUESTION, max_new_tokens=2)
        assert longer.ledger.decoded > answer.ledger.decoded

    @pytest.mark.parametrize("writing", ["together", "one_by_one"])
    def test_answer_now_before_the_first_margin_answers_without_any(self, model, writing):
        options = {**SMALL, "writing": writing, "verdict": "sure_and_seen"}
        reading = read(TEXT, method="margins", model=model, **options)
        events = reading.events(QUESTION, max_new_tokens=2)
        next(events)
        reading.answer_now()
        assert answered(list(events)).ledger.decoded >= 1

    def test_a_note_on_a_segment_that_there_is_not_is_refused_before_anything_is_read(
        self, reading
    ):
        with pytest.raises(LongctxError, match="segment 99"):
            reading.ask(QUESTION, notes=[Note(99, "x")])

    def test_a_person_may_hold_what_cannot_be_copied(self, model):
        lock = threading.Lock()

        def decide(case):
            with lock:
                return [True] * len(case.notes)

        options = {**SMALL, "verdict": ByPerson(decide)}
        reading = read(TEXT, method="margins", model=model, **options)
        assert reading.ask(QUESTION, max_new_tokens=2).trace["options"]["verdict"] == "person"

    @pytest.mark.parametrize("verdict", ["classifier", "sure_and_seen"])
    def test_a_prediction_counts_what_the_verdict_reads(self, model, verdict):
        reading = read(TEXT, method="margins", model=model, **{**SMALL, "verdict": verdict})
        prefix = "The boat is named " * 4
        predicted = reading.predicted_cost(QUESTION, answer_prefix=prefix, max_new_tokens=2)
        answer = reading.ask(QUESTION, answer_prefix=prefix, max_new_tokens=2)
        assert answer.ledger.prefilled <= 1.02 * predicted.prefilled
        assert answer.trace["cost"]["predicted"] == vars(predicted)

    def test_a_prediction_is_an_upper_bound_that_can_be_reached(self, model):
        endless = replace(model, end_ids=frozenset())
        reading = read(TEXT, method="margins", model=endless, **SMALL)
        predicted = reading.predicted_cost(QUESTION, max_new_tokens=4)
        cost = reading.ask(QUESTION, max_new_tokens=4).ledger
        assert cost.decoded <= predicted.decoded
        assert predicted.decoded == 6 * len(reading.segments) + 4
        # What a random model writes may take a token more when it is read.
        assert cost.prefilled <= 1.02 * predicted.prefilled <= 1.2 * cost.prefilled

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("place", "middle"),
            ("writing", "backwards"),
            ("beyond_window", "ignore"),
            ("prompt", "shout"),
            ("verdict", "coin"),
            ("final", "poem"),
            ("segment_tokens", 0),
            ("most_note_tokens", -1),
        ],
    )
    def test_options_that_there_are_not_are_refused_before_anything_is_read(self, option, value):
        with pytest.raises(LongctxError, match=str(value)):
            next(prepare(TEXT, method="margins", model=models.tiny(), **{option: value}))


class TestBeyondTheWindow:
    def test_a_text_beyond_the_window_is_refused_with_the_methods_that_fit(self):
        with pytest.raises(DoesNotFit, match=r"map_reduce.*rolling"):
            read(TEXT * 9, method="margins", model=models.tiny(window=400))

    def test_rolling_reads_every_character_in_runs_and_says_so(self):
        model = models.tiny("llama", seed=1, window=400)
        options = {**SMALL, "beyond_window": "rolling"}
        reading = read(TEXT * 9, method="margins", model=model, **options)
        assert len(reading._runs) > 2
        covered = "".join((TEXT * 9)[start:end] for start, end in reading.segments)
        assert "".join(covered.split()) == "".join((TEXT * 9).split())
        events = list(reading.events(QUESTION, max_new_tokens=2))
        answer = answered(events)
        assert "notes alone" in answer.notice
        assert answer.trace["answer"]["notice"] == answer.notice
        assert TEXT[:40] not in reading.final_prompt.text
        read_ = [event.segment for event in events if isinstance(event, SegmentRead)]
        assert read_ == list(range(len(reading.segments)))
        assert [note.segment for note in reading.notes] == read_
        assert len(reading.final_prompt.ids) <= 400

    def test_a_text_just_under_the_window_is_read_in_runs_too_if_it_leaves_no_room(self):
        tokens = len(read(TEXT * 2, method="plain", model=models.tiny(window=4096)).context)
        model = models.tiny("llama", seed=1, window=tokens + 8)
        options = {**SMALL, "beyond_window": "rolling"}
        reading = read(TEXT * 2, method="margins", model=model, **options)
        assert len(reading._runs) > 1
        assert reading.ask("Who?", max_new_tokens=2).notice

    def test_a_window_too_small_for_one_segment_says_what_to_change(self):
        with pytest.raises(DoesNotFit, match="smaller segments"):
            read(
                TEXT * 9,
                method="margins",
                model=models.tiny(window=400),
                segment_tokens=512,
                beyond_window="rolling",
            )


class TestSources:
    def test_a_copied_sentence_is_cited_where_it_stands_even_before_its_segment(self):
        segment = (TEXT.index("In winter"), len(TEXT))
        [(start, end)] = sources_of("The boat is named Grey Petrel.", TEXT, segment)
        assert TEXT[start:end] == "The boat is named Grey Petrel."
        [(start, end)] = sources_of("Nobody came for a month", TEXT, segment)
        assert TEXT[start:end] == "Nobody came for a month."

    def test_what_stands_nowhere_is_cited_by_its_segment(self):
        assert sources_of("Whales sang all night.", TEXT, (5, 60)) == [(5, 60)]

    def test_what_stands_after_the_segment_was_not_read_and_is_not_cited(self):
        end = TEXT.index("She has")
        assert sources_of("The goats slept in the kitchen.", TEXT, (0, end)) == [(0, end)]


class TestTrace:
    @pytest.fixture
    def trace(self, model):
        documents = [Document("boats", TEXT, "a.txt"), Document("goats", "Two goats 🐐 ate.", "b")]
        reading = read(documents, method="margins", model=model, **SMALL)
        return reading.ask(QUESTION, max_new_tokens=3).trace

    def test_a_trace_comes_back_from_its_file_as_it_was(self, trace, tmp_path):
        path = save_trace(trace, tmp_path / "run.json")
        assert load_trace(path) == json.loads(json.dumps(trace))

    def test_replayed_events_are_those_that_happened(self, model):
        reading = read(TEXT, method="margins", model=model, **SMALL)
        events = list(reading.events(QUESTION, max_new_tokens=3))
        trace = json.loads(json.dumps(answered(events).trace))
        replayed = list(replay(trace))
        assert [event for _, event in replayed] == events[:-1]
        times = [seconds for seconds, _ in replayed]
        assert times == sorted(times)

    def test_documents_and_segments_are_places_of_the_text(self, trace):
        goats = trace["documents"][1]
        assert trace["text"][goats["start"] : goats["end"]] == "Two goats 🐐 ate."
        assert trace["segments"][-1]["end"] == len(trace["text"])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda trace: trace.update(schema="else"), "no trace of margins"),
            (lambda trace: trace.update(version=99), "version 99"),
            (lambda trace: trace.pop("text"), "damaged at text"),
            (lambda trace: trace["margins"][0].pop("kept"), r"damaged at margins\[0\].kept"),
            (lambda trace: trace["margins"][1].update(segment=99), r"margins\[1\].segment"),
            (lambda trace: trace["segments"][0].update(end=10**6), r"segments\[0\]"),
            (lambda trace: trace["cost"].update(question=3), "cost.question"),
            (lambda trace: trace["close_calls"].__class__ and trace.update(close_calls=True), "cl"),
            (lambda trace: trace["events"].append([0.1, {"event": "Bang"}]), r"events\[\d+\]"),
            (lambda trace: trace["events"].append("x"), r"events\[\d+\]"),
            (lambda trace: trace["events"].append([0.1, {"event": []}]), r"events\[\d+\]"),
            (
                lambda trace: trace["events"].append(
                    [0.1, {"event": "MarginToken", "segment": "a", "text": "", "token_id": 1}]
                ),
                r"events\[\d+\]",
            ),
            (
                lambda trace: trace["answer"]["citations"].append(
                    {"document_id": "?", "start": 0, "end": 1, "text": "x"}
                ),
                r"answer.citations\[\d+\]",
            ),
        ],
    )
    def test_a_damaged_trace_is_refused_with_the_place_of_the_fault(
        self, trace, change, message, tmp_path
    ):
        damaged = json.loads(json.dumps(trace))
        change(damaged)
        path = tmp_path / "run.json"
        path.write_text(json.dumps(damaged))
        with pytest.raises(TraceError, match=message):
            load_trace(path)

    @pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null", b"[" * 100000])
    def test_a_file_that_is_no_trace_is_refused(self, content, tmp_path):
        path = tmp_path / "run.json"
        path.write_bytes(content)
        with pytest.raises(TraceError, match=r"run\.json"):
            load_trace(path)

    def test_a_missing_file_and_an_unwritable_place_are_refused(self, trace, tmp_path):
        with pytest.raises(TraceError, match="could not be read"):
            load_trace(tmp_path / "none.json")
        with pytest.raises(TraceError, match="could not be written"):
            save_trace(trace, tmp_path / "no" / "run.json")


@pytest.mark.model
def test_the_embedded_model_notes_a_fact_and_cites_its_sentence():
    model = models.load()
    item = generate("facts", 900, 1, 101, model.tokenizer)[0]
    reading = read(item.documents, method="margins", model=model, segment_tokens=256)
    answer = reading.ask(item.question, answer_prefix=item.answer_prefix, max_new_tokens=8)
    assert item.gold[0] in answer.text
    assert any(item.gold[0] in note.text for note in reading.notes if note.kept)
    fact = item.gold_spans[0]
    assert any(c.start <= fact.start and fact.end <= c.end for c in answer.citations)
