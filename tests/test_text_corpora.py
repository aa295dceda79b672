"""The offline texts are long, the same each time, and need no network."""

import subprocess
import sys

import pytest

from longctx_edu.errors import LongctxError
from longctx_edu.text import lighthouse_log, lighthouse_questions, python_reference


def test_the_lighthouse_log_is_a_long_text():
    log = lighthouse_log()
    assert log.id == "lighthouse_log.md"
    assert len(log.text) > 30_000
    assert "\r" not in log.text


def test_the_python_reference_is_all_topics_in_order():
    reference = python_reference()
    assert len(reference.text) > 300_000
    assert reference == python_reference()
    assert reference.text.index('The "assert" statement') < reference.text.index('The "while" st')


def test_topics_come_in_the_order_asked_for():
    text = python_reference(["while", "assert"]).text
    assert text.index('The "while" statement') < text.index('The "assert" statement')
    assert python_reference("while").text == python_reference(["while"]).text


def test_a_limit_keeps_whole_paragraphs():
    whole, part = python_reference(["assert"]).text, python_reference(["assert"], 400).text
    assert 0 < len(part) <= 400
    assert whole.startswith(part)
    assert whole[len(part)] == "\n"
    assert len(python_reference(max_characters=5).text) == 5


def test_an_unknown_topic_names_the_nearest_ones():
    with pytest.raises(LongctxError, match="no topic 'wile'; there is: .*while"):
        python_reference(["wile"])
    with pytest.raises(LongctxError, match="at least 1"):
        python_reference(max_characters=0)


def test_importing_the_text_room_loads_no_heavy_library():
    heavy = "torch transformers matplotlib ipywidgets pypdf ebooklib docx bs4 lxml pydoc_data"
    code = (
        "import sys, longctx_edu.text; "
        f"print(sorted(set({heavy.split()!r}) & {{name.split('.')[0] for name in sys.modules}}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_question_on_the_log_is_answered_by_one_sentence_alone():
    text = lighthouse_log().text
    questions = lighthouse_questions()
    assert len(questions) >= 24
    for asked in questions:
        sentence = text[asked.start : asked.end]
        assert sentence.startswith(f"{asked.answer_prefix} {asked.gold}")
        assert text.casefold().count(asked.gold.casefold()) == 1
    places = [asked.start / len(text) for asked in questions]
    assert places == sorted(places)
    assert max(b - a for a, b in zip([0, *places], [*places, 1], strict=True)) < 0.05
