"""Shorter texts, tuned margins, reports and talk: citations lead home and words stay words."""

import html
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx_edu import Document, models, read
from longctx_edu.applications import (
    ContextCompressor,
    DocumentChat,
    FutureWiMModel,
    MarginOptimizer,
    MarginSettings,
    WiMDocumentAnalyzer,
    process_long_document,
)
from longctx_edu.applications.markup import as_markdown, shortened
from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.compression_quality import compression_rows
from longctx_edu.evaluation.tasks import generate
from longctx_edu.events import Answered
from longctx_edu.memory import MemoryBank
from longctx_edu.text import Citation, lighthouse_log, lighthouse_questions

TEXT = (
    "# The boat\n\nThe boat is green. It lies in the harbour of Bergen. Ada rowed it home.\n\n"
    "# The sheep\n\nRain fell on the sheep. Nobody counted them. There were forty, they say."
)
OTHER = "A second text. It has <b>tags</b> & $signs$. It ends here."
NASTY = '<script>alert("x")</script> [a](javascript:b) `c` *d* | $e$ <img src=x onerror=y>'


@pytest.fixture(scope="module")
def model():
    return models.tiny(seed=2)


@pytest.fixture(scope="module")
def compressor(model):
    return ContextCompressor([Document("a", TEXT), Document("b", OTHER)], model=model)


# --- shorter texts


@settings(max_examples=25)
@given(data=st.data())
def test_what_is_kept_are_whole_sentences_in_order_that_lead_home(compressor, data):
    every = range(len(compressor.sentences))
    kept = data.draw(st.sets(st.sampled_from(every), min_size=1))
    found = compressor.keeping(list(kept))
    originals = {"a": TEXT, "b": OTHER}
    shorter = {one.id: one.text for one in found.documents}
    places = [(piece.document_id, piece.start) for piece in found.pieces]
    assert places == sorted(places)
    for piece in found.pieces:
        length = piece.end - piece.start
        text = originals[piece.document_id][piece.start : piece.end]
        assert text == shorter[piece.document_id][piece.begin : piece.begin + length]
    for name, text in shorter.items():
        own = [piece for piece in found.pieces if piece.document_id == name]
        joined = "\n...\n".join(originals[name][one.start : one.end] for one in own)
        assert text == joined
    for number in every:
        ((document, start, end),) = compressor.bank.citations(compressor.sentences[number])
        words = document.text[start:end].strip()
        start += len(document.text[start:end]) - len(document.text[start:end].lstrip())
        cited = Citation(document.id, start, start + len(words), words)
        assert found.holds(cited) == (number in kept)


@settings(max_examples=25)
@given(ratio=st.floats(0.001, 1), seed=st.randoms(use_true_random=False))
def test_a_share_of_the_tokens_is_kept_and_never_nothing(compressor, ratio, seed):
    order = list(range(len(compressor.sentences)))
    seed.shuffle(order)
    kept = compressor.fitting(order, ratio=ratio)
    tokens = sum(len(compressor.sentences[n]) for n in kept)
    assert kept == sorted(set(kept)) != []
    assert order[0] in kept
    assert tokens <= round(ratio * len(compressor.bank)) or kept == [order[0]]
    everything = compressor.fitting(order, ratio=1)
    assert everything == sorted(order)


@settings(max_examples=30)
@given(data=st.data())
def test_a_place_in_the_shorter_text_is_the_same_words_in_the_original(compressor, data):
    kept = data.draw(st.sets(st.sampled_from(range(len(compressor.sentences))), min_size=1))
    found = compressor.keeping(sorted(kept))
    document = data.draw(st.sampled_from(found.documents))
    start = data.draw(st.integers(0, len(document.text) - 1))
    end = data.draw(st.integers(start + 1, len(document.text)))
    cited = Citation(document.id, start, end, document.text[start:end], 0.5, "margin")
    originals = {"a": TEXT, "b": OTHER}
    home = found.in_original(cited)
    for one in home:
        assert originals[one.document_id][one.start : one.end] == one.text
        assert (one.weight, one.kind) == (0.5, "margin")
    gapless = cited.text.replace("\n...\n", "")
    if "..." not in gapless and not set(gapless) <= set("\n."):
        assert "".join(one.text for one in home).strip("\n.") == gapless.strip("\n.")


def test_the_sentences_that_a_question_looks_at_most_are_kept(compressor):
    found = compressor.compress("Who rowed the boat?", ratio=0.3)
    best = sorted(range(len(found.scores)), key=lambda n: -found.scores[n])
    assert list(found.kept) == compressor.fitting(best, ratio=0.3)
    assert best[0] in found.kept
    assert found.tokens_before == len(TEXT) + len(OTHER)  # a tiny model's tokens are bytes
    assert found.tokens_after == sum(len(one.text) for one in found.documents)
    assert compressor.compress("Who rowed the boat?", ratio=1).ratio == pytest.approx(1, abs=0.05)


def test_scores_are_those_of_the_memory_whatever_was_asked_before(model, compressor):
    bank = process_long_document([Document("a", TEXT), Document("b", OTHER)], model=model)
    again = ContextCompressor(bank)
    compressor.scores("Something else?")
    assert again.scores("Who?") == pytest.approx(compressor.scores("Who?"), abs=1e-6)


@pytest.mark.parametrize("ratio", [0, -0.5, 1.01])
def test_a_ratio_out_of_range_and_an_empty_question_are_refused(compressor, ratio, model):
    with pytest.raises(LongctxError, match="ratio is more than 0"):
        compressor.compress("Who?", ratio=ratio)
    with pytest.raises(LongctxError, match="ratio is more than 0"):
        FutureWiMModel(TEXT, model=model, ratio=ratio)
    with pytest.raises(LongctxError, match="question is empty"):
        compressor.compress(" ")
    with pytest.raises(LongctxError, match="at least one sentence"):
        compressor.keeping([])
    with pytest.raises(LongctxError, match="holds no document"):
        ContextCompressor(MemoryBank(model))


def test_compression_is_measured_against_chance_and_place(model):
    items = generate("facts", 1100, 2, 1, model.tokenizer)
    rows = compression_rows(items, model, ratios=(0.2, 1.0), ask=False)
    assert len(rows) == 2 * 3 * 2
    for row in rows:
        assert 0 <= row.kept <= 1
        assert row.kept == 1 or row.ratio < 1
        assert row.left <= row.ratio + 0.2
    asked = compression_rows(items[:1], model, ratios=(0.2,), ways=("beginning",))
    assert asked[0].recall is not None
    with pytest.raises(LongctxError, match="no way 'best'"):
        compression_rows(items, model, ways=("best",))


# --- compressed, then margins


def test_answers_from_margins_on_what_is_left_cite_the_originals(model):
    settings = MarginSettings(segment_tokens=60, margin_tokens=4, threshold=0.0)
    both = [Document("a", TEXT), Document("b", OTHER)]
    pipeline = FutureWiMModel(both, model=model, ratio=0.4, settings=settings)
    answer = pipeline.process_input("Who rowed?", max_new_tokens=2)
    assert answer.citations
    originals = {"a": TEXT, "b": OTHER}
    for cited in answer.citations:
        assert originals[cited.document_id][cited.start : cited.end] == cited.text
    left = pipeline.compressed
    assert f"{left.tokens_after:,} were left to read" in answer.notice
    again = read(left.documents, method="margins", model=model, **settings.options())
    assert again.ask("Who rowed?", max_new_tokens=2).text == answer.text
    with pytest.raises(LongctxError, match="question is empty"):
        pipeline.process_input(" ")


# --- tuned margins


@pytest.fixture
def optimizer(model):
    def kept_notes(answer, example):
        return sum(note["kept"] for note in answer.trace["margins"])

    documents = (Document("a", TEXT),)
    examples = [
        SimpleNamespace(documents=documents, question=question, answer_prefix="")
        for question in ("Who?", "How many?")
    ]
    return MarginOptimizer(
        examples,
        kept_notes,
        model=model,
        segment_tokens=(80, 160, 240),
        margin_tokens=(2, 4),
        thresholds=(0.2, 0.8),
        max_new_tokens=2,
    )


def test_the_walk_ends_where_no_neighbour_is_better(optimizer):
    best = optimizer.optimize(steps=9)
    assert optimizer.trials[best].score == max(one.score for one in optimizer.trials.values())
    tried = len(optimizer.trials)
    assert optimizer.update_margin(best) == best
    assert len(optimizer.trials) == tried  # all of it was known
    # More notes are kept of smaller segments and at a lower threshold; that is what is scored.
    assert (best.segment_tokens, best.threshold) == (80, 0.2)
    for trial in optimizer.trials.values():
        higher = optimizer.trials[MarginSettings(*vars_of(trial.settings)[:2], 0.8)]
        assert trial.score >= higher.score


def vars_of(settings):
    return tuple(vars(settings).values())


def test_a_step_begins_in_the_middle_and_moves_by_one(optimizer):
    start = optimizer.initialize_margin()
    assert start == MarginSettings(160, 4, 0.8)
    step = optimizer.update_margin(start)
    assert vars_of(step)[:2] in {(160, 4), (80, 4), (240, 4), (160, 2)}
    tried = {vars_of(one)[:2] for one in optimizer.trials}
    assert tried == {(160, 4), (80, 4), (240, 4), (160, 2)}


def test_a_trial_is_what_reading_with_these_settings_gives(optimizer, model):
    settings = MarginSettings(80, 4, 0.8)
    trial = optimizer.measure(settings, optimizer.examples)
    reading = read(TEXT, method="margins", model=model, **settings.options())
    for example, score in zip(optimizer.examples, trial.scores, strict=True):
        answer = reading.ask(example.question, max_new_tokens=2)
        assert sum(note["kept"] for note in answer.trace["margins"]) == score
    assert trial.score == sum(trial.scores) / 2
    assert settings not in optimizer.trials


def test_settings_off_the_grid_and_choices_of_nothing_are_refused(optimizer, model):
    with pytest.raises(LongctxError, match="begin with initialize_margin"):
        optimizer.update_margin(MarginSettings(81, 4, 0.8))
    with pytest.raises(LongctxError, match="no example"):
        MarginOptimizer([], None, model=model)
    with pytest.raises(LongctxError, match="rising order"):
        MarginOptimizer([1], None, model=model, thresholds=(0.9, 0.1))
    one = dict(segment_tokens=(80,), margin_tokens=(2,), thresholds=(0.5,), max_new_tokens=2)
    by_yes = MarginOptimizer(
        optimizer.examples[:1], optimizer.score, model=model, verdict="first_token", **one
    )
    assert by_yes.optimize() in by_yes.trials
    with pytest.raises(LongctxError, match="no threshold to tune"):
        MarginOptimizer([1], None, model=model, verdict="all")


# --- reports


class Tags(HTMLParser):
    """Which tags and addresses a page has."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.links, self.ids, self.text = set(), set(), set(), ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        told = dict(attrs)
        self.links |= {told["href"]} if "href" in told else set()
        self.ids |= {told["id"]} if "id" in told else set()
        assert not any(name.startswith("on") for name in told)

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def report(model):
    documents = [Document("a", TEXT), Document(NASTY[:20], NASTY + "\n\n" + OTHER)]
    analyzer = WiMDocumentAnalyzer(model, segment_tokens=60, margin_tokens=4, verdict="all")
    return analyzer.analyze_document(documents, questions=["Who?", NASTY], max_new_tokens=2)


def test_a_report_has_a_section_for_each_segment_and_all_that_was_read(report):
    assert "".join(report.text[one.start : one.end] for one in report.sections) in report.text
    assert report.sections[0].start == 0
    assert report.sections[-1].end == len(report.text)
    for before, after in zip(report.sections, report.sections[1:], strict=False):
        assert before.end == after.start
    assert report.sections[0].title == "The boat"
    assert len(report.answers) == len(report.questions) == 2
    for section in report.sections:
        assert len(section.notes) == 2
        for note in section.notes:
            for start, end in note.places if note else ():
                assert 0 <= start < end <= len(report.text)


def test_a_report_numbers_its_sources_and_links_each(report):
    page = Tags(report.html())
    numbers = range(1, len(report.sources) + 1)
    assert page.links <= {f"#source-{number}" for number in numbers}
    assert {link[1:] for link in page.links} <= page.ids == {f"source-{n}" for n in numbers}
    lines = report.markdown().splitlines()
    for number, place in enumerate(report.sources, 1):
        (line,) = (one for one in lines if one.startswith(f"{number}. ") and "characters" in one)
        assert as_markdown(report.where(place)) in line


def test_in_a_report_the_documents_words_are_words_and_nothing_else(report):
    page = Tags(report.html())
    allowed = {"html", "head", "meta", "title", "body", "h1", "h2", "h3", "p", "ul", "li", "i"}
    assert page.tags <= allowed | {"a", "small", "details", "summary", "div", "mark", "sup"}
    assert NASTY in re.sub(r"\[\d+\]", "", page.text)
    assert "<script" not in report.markdown()
    assert "](" not in report.markdown().replace("\\](", "")


@settings(max_examples=60)
@given(text=st.text(alphabet=st.sampled_from("ab <>&*_`[]()$#|~\\-+1.)\n"), max_size=30))
def test_in_markdown_every_mark_of_a_text_is_escaped(text):
    out = as_markdown(text)
    assert "\n" not in out
    assert not re.search(r"(?<!\\)(?:\\\\)*[*_`\[\]$#|~]", out)
    assert "<" not in out
    bare = re.sub(r"\\([\\`*_\[\]#|~$+=-])", r"\1", out).replace("\u200b", "")
    assert html.unescape(bare) == " ".join(text.split())


def test_a_long_line_is_shortened_and_a_short_one_is_not():
    assert shortened("one  two", 8) == "one two"
    assert len(shortened("word " * 50, 30)) <= 30


def test_a_reading_is_reported_on_without_reading_again_and_other_methods_are_refused(model):
    reading = read(TEXT, method="margins", model=model, segment_tokens=80, margin_tokens=3)
    before = reading.ledger
    found = WiMDocumentAnalyzer(questions="Who?").analyze_document(reading, max_new_tokens=2)
    assert reading.ledger == before
    assert found.questions == ("Who?",)
    assert found._repr_html_() in found.html()
    with pytest.raises(LongctxError, match="read by 'plain'"):
        WiMDocumentAnalyzer().analyze_document(read(TEXT, model=model))
    with pytest.raises(LongctxError, match="no question"):
        WiMDocumentAnalyzer(questions=[])


def test_notes_that_did_not_count_say_so_and_cite_nothing(model):
    none = WiMDocumentAnalyzer(
        model, questions=["Who?"], segment_tokens=80, margin_tokens=3, most_note_tokens=0
    )
    found = none.analyze_document(TEXT, max_new_tokens=2)
    noted = [note for section in found.sections for note in section.notes if note]
    assert noted
    assert not any(note.kept for note in noted)
    assert found.sources == ()
    assert found.markdown().count("(did not count)") == len(noted)
    assert found.html().count("(did not count)") == len(noted)


# --- talk


def test_a_chat_reads_once_and_a_message_brings_the_turns_before(model):
    chat = DocumentChat(TEXT, model=model, remembers=1)
    before = chat.reading.ledger
    first = chat.say("Who rowed?", answer_prefix="It was", max_new_tokens=2)
    assert chat.turns[0].asked == "Who rowed?"
    assert chat.turns[0].said == f"It was {first.text}".strip()
    chat.say("And whose boat was it?", max_new_tokens=2)
    chat.say("Why?", max_new_tokens=2)
    assert chat.reading.ledger == before
    said = chat.turns[1].said
    wanted = f"Question: And whose boat was it?\nAnswer: {said}\nQuestion: Why?"
    assert chat.turns[2].asked == wanted
    alone = read(TEXT, method="memory", model=model).ask(wanted, max_new_tokens=2)
    assert chat.turns[2].answer.text == alone.text
    chat.forget()
    assert chat.turns == []
    assert chat.asked_for("Who?") == "Who?"


@pytest.mark.parametrize("remembers", [0, 1, 2, 5])
def test_only_the_turns_remembered_are_told(model, remembers):
    chat = DocumentChat(TEXT, model=model, remembers=remembers)
    for number in range(3):
        chat.say(f"Message {number}?", max_new_tokens=1)
    told = re.findall(r"Message \d", chat.asked_for("Last?"))
    assert told == [f"Message {n}" for n in range(3)][3 - min(remembers, 3) :]


def test_a_message_that_is_cancelled_was_not_said(model):
    chat = DocumentChat(TEXT, model=model)
    events = chat.events("Who rowed?", max_new_tokens=3)
    for event in events:
        assert not isinstance(event, Answered)
        break
    events.close()
    assert chat.turns == []
    assert chat.say("Who rowed?", max_new_tokens=1).ledger.decoded == 1
    with pytest.raises(LongctxError, match="message is empty"):
        chat.say("  ")
    with pytest.raises(LongctxError, match="at least 0 turns"):
        DocumentChat(TEXT, model=model, remembers=-1)


def test_a_chat_by_another_method_and_one_over_a_memory(model):
    bank = process_long_document(TEXT, model=model)
    chat = DocumentChat(bank, passages=1)
    chat.say("Who?", max_new_tokens=1)
    assert len(chat.turns[0].answer.trace["passages"]) == 1
    assert DocumentChat(TEXT, method="plain", model=model).reading.method == "plain"


def test_a_chat_shows_what_was_said_as_words(model):
    chat = DocumentChat(NASTY, model=model)
    assert "Nothing was said" in chat._repr_html_()
    chat.say(NASTY, max_new_tokens=2)
    page = Tags(chat._repr_html_())
    assert page.tags <= {"p", "b", "ul", "li", "small"}
    assert NASTY in page.text
    assert "<script" not in chat.markdown()
    assert chat.markdown().startswith("**You:** &lt;script&gt;")


@pytest.mark.model
def test_attention_keeps_the_facts_that_chance_loses():
    model = models.load()
    items = generate("facts", 700, 8, 3, model.tokenizer)
    rows = compression_rows(items, model, ratios=(0.1,), ways=("attention", "chance"), ask=False)
    kept = {way: [row.kept for row in rows if row.way == way] for way in ("attention", "chance")}
    assert sum(kept["attention"]) >= 7
    assert sum(kept["chance"]) <= 4


@pytest.mark.model
def test_a_fact_survives_compression_and_margins_and_is_cited_where_it_stood():
    model, asked = models.load(), lighthouse_questions()[0]
    text = lighthouse_log().text[: asked.end + 400]
    pipeline = FutureWiMModel(Document("log", text), model=model, ratio=0.3)
    answer = pipeline.process_input(
        asked.question, answer_prefix=asked.answer_prefix, max_new_tokens=6
    )
    assert asked.gold in answer.text
    assert any(one.start < asked.end and asked.start < one.end for one in answer.citations)
    assert pipeline.compressed.ratio < 0.4
