"""Any document of one's own: how long it will take, an upload, and one page on all methods."""

import html
import re
from types import SimpleNamespace

import pytest

from longctx_edu import Document, models
from longctx_edu.applications import MethodsReport, WiMDocumentAnalyzer
from longctx_edu.applications.method_report import answers_by_method
from longctx_edu.cost import Range
from longctx_edu.errors import DocumentError, LongctxError
from longctx_edu.readers import METHOD_NAMES
from longctx_edu.readers.forecast import SURE_WITHIN, Pace, forecasts, measure_pace
from longctx_edu.widgets.upload import upload_button, uploaded

TEXT = "The keeper was called Ada. She had a grey cat. The lamp used two litres of oil. "
PACE = Pace(token=0.001, pair=1e-6, written=0.05)
QUESTIONS = ("Who kept it?", "What did the lamp use?")


@pytest.fixture(scope="module")
def model():
    return models.tiny("llama")


def by_name(told):
    return {one.method: one for one in told}


def test_twice_the_text_takes_twice_the_matrices_and_four_times_the_attention():
    matrices, attention = Pace(0.001, 0, 1), Pace(0, 1e-6, 1)
    assert matrices.reading(200) == pytest.approx(2 * matrices.reading(100))
    assert attention.reading(200) == pytest.approx(4 * attention.reading(100))
    both = PACE.reading(100) + PACE.reading(50, past=100)
    assert both == pytest.approx(PACE.reading(150))


def test_a_forecast_says_who_reads_once_and_who_reads_for_every_question(model):
    told = by_name(forecasts(TEXT * 10, model=model, pace=PACE))
    assert set(told) == {*METHOD_NAMES}
    reads_once = {name for name, one in told.items() if one.preparing.low > 0}
    assert reads_once == {"plain", "truncated", "margins", "memory"}
    assert told["map_reduce"].asking.low > told["retrieval"].asking.low
    assert told["margins"].asking.low > told["plain"].asking.low
    two, one = told["plain"].seconds(2), told["plain"].seconds(1)
    assert two.low - one.low == pytest.approx(told["plain"].asking.low)


def test_plain_is_forecast_by_hand(model):
    plain = by_name(forecasts(TEXT, model=model, pace=PACE, max_new_tokens=10))["plain"]
    expected = PACE.reading(plain.tokens)
    assert plain.preparing == SURE_WITHIN * expected
    assert plain.tokens == len(model.tokenizer(TEXT, add_special_tokens=False).input_ids)


def test_a_text_beyond_the_window_is_said_to_be_refused_before_anything_is_read(model):
    small = models.tiny("llama", window=256)
    told = by_name(forecasts(TEXT * 10, model=small, pace=PACE, max_new_tokens=8))
    assert {name for name, one in told.items() if one.refusal} == {"plain", "margins"}
    rolling = {"margins": {"beyond_window": "rolling", "segment_tokens": 64}}
    told = by_name(forecasts(TEXT * 10, model=small, pace=PACE, max_new_tokens=8, options=rolling))
    assert not told["margins"].refusal
    assert told["margins"].preparing == Range(0, 0)


def test_the_pace_of_a_model_is_measured_here(model):
    pace = measure_pace(model)
    assert pace.token > 0
    assert pace.pair >= 0
    assert pace.written > 0
    told = forecasts(TEXT, model=model, pace=pace, methods=("plain",))
    assert 0 < told[0].seconds(1).low < told[0].seconds(1).high


def test_an_unknown_method_or_option_is_refused_by_the_forecast_too(model):
    with pytest.raises(LongctxError, match="no method 'magic'"):
        forecasts(TEXT, model=model, pace=PACE, methods=("magic",))
    with pytest.raises(LongctxError, match="no option 'size'"):
        forecasts(TEXT, model=model, pace=PACE, methods=("plain",), options={"plain": {"size": 1}})


# ------------------------------------------------------------------ upload


def test_a_button_takes_what_the_readers_take_and_holds_nothing_at_first():
    button = upload_button()
    assert ".pdf" in button.accept.split(",")
    assert uploaded(button) == ()


@pytest.mark.parametrize("kind", ["ipywidgets 8", "ipywidgets 7"])
def test_uploaded_files_become_documents_with_their_own_names(kind):
    files = {"a log.md": b"# Log\nAda kept it.", "page.html": b"<p>Oil &amp; wicks</p>"}
    if kind == "ipywidgets 8":
        value = tuple({"name": n, "content": memoryview(data)} for n, data in files.items())
    else:
        value = {name: {"content": data} for name, data in files.items()}
    told = uploaded(SimpleNamespace(value=value))
    assert [one.id for one in told] == ["a log.md", "page.html"]
    assert told[0].text == "# Log\nAda kept it."
    assert told[1].text == "Oil & wicks"


def test_an_uploaded_name_reaches_no_folder_and_an_error_names_the_file_alone(tmp_path):
    value = ({"name": "../../etc/passwd.txt", "content": b"Ada"},)
    assert uploaded(SimpleNamespace(value=value))[0].id == "passwd.txt"
    with pytest.raises(DocumentError, match=r"^scan\.pdf cannot be read"):
        uploaded(SimpleNamespace(value=({"name": "scan.pdf", "content": b"%PDF-no"},)))


# ------------------------------------------------------------------ report


@pytest.fixture(scope="module")
def told(model):
    small = dict(margins=dict(segment_tokens=50, margin_tokens=5, verdict="surest"))
    return tuple(
        answers_by_method(
            TEXT * 2,
            QUESTIONS,
            model=model,
            max_new_tokens=5,
            methods=("plain", "retrieval", "margins"),
            options=small,
            keep_readings=("plain", "retrieval", "margins"),
        )
    )


def test_every_method_reads_once_and_is_asked_everything(told):
    assert [one.method for one in told] == ["plain", "retrieval", "margins"]
    for one in told:
        assert len(one.answers) == len(QUESTIONS)
        assert one.reading.ask("Who?", max_new_tokens=2).ledger.decoded > 0
        assert one.seconds >= one.read_seconds
    assert told[0].read_tokens > 100


def test_a_method_that_refuses_the_text_says_so_and_the_others_go_on():
    small = models.tiny("llama", window=256)
    methods = ("plain", "retrieval")
    options = {"retrieval": {"sentences": 1, "neighbours": 0}}
    refused, answered = answers_by_method(
        TEXT * 10, ["Who?"], model=small, methods=methods, max_new_tokens=4, options=options
    )
    assert "window" in refused.refusal
    assert refused.answers == ()
    assert refused.reading is None
    assert len(answered.answers) == 1
    page = MethodsReport((), ("Who?",), (refused, answered)).html()
    assert "Not asked: " in page


def test_a_reading_that_is_not_kept_is_not_handed_over(model):
    asking = dict(model=model, max_new_tokens=2, methods=("plain", "memory"))
    found = {one.method: one.reading for one in answers_by_method(TEXT, ["Who?"], **asking)}
    assert found["plain"] is None
    assert found["memory"].ask("Who?", max_new_tokens=2)


def test_prefixes_are_one_for_each_question_or_none(model):
    with pytest.raises(LongctxError, match="2 questions and 1 answer prefixes"):
        next(answers_by_method(TEXT, QUESTIONS, model=model, answer_prefixes=["It"]))
    with pytest.raises(LongctxError, match="0 questions"):
        next(answers_by_method(TEXT, [], model=model))


def test_the_page_holds_all_answers_and_costs_and_words_stay_words(told, model, tmp_path):
    evil = "<script>alert('x')</script> & <b>Ada</b>"
    analysis = WiMDocumentAnalyzer(
        model, questions=[evil], segment_tokens=60, margin_tokens=4, verdict="all"
    ).analyze_document(f"{evil} {TEXT}", max_new_tokens=4)
    report = MethodsReport(
        (Document(evil, TEXT),), (evil, QUESTIONS[1]), told, analysis, model_name=evil
    )
    page = report.save(tmp_path / "report.html").read_text(encoding="utf-8")
    assert page == report.html()
    assert "<script" not in page
    assert "<b>" not in page
    assert html.escape(evil) in page
    for one in told:
        assert f"<h3>{one.method}</h3>" in page
        assert f"<td>{one.read_tokens:,}</td>" in page
        for answer in one.answers:
            assert html.escape(answer.text) in page
    assert not re.search(r"(src|href)=[\"'](?!#)", page)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_report_that_cannot_be_written_says_so(told, tmp_path):
    with pytest.raises(LongctxError, match="cannot be written"):
        MethodsReport((), QUESTIONS, told).save(tmp_path / "none" / "report.html")
