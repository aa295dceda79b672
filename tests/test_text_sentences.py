"""Sentences lose nothing, end where a reader would end them, and take linear time."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from longctx_edu.errors import LongctxError
from longctx_edu.text import Span, segment_sentences

# Random text seldom holds what the rules look at, so half of it is made of exactly that.
TRICKY = st.lists(
    st.sampled_from(
        [".", "!", "?", "…", "。", "．", "؟", "।", '"', "”", "“", "」", ")", "(", " ", "  ", "\n"]
        + ["\n\n", "\r\n", "\t", "\x0c", "\x85", "\u2028", "\u3000", "Dr", "e.g", "No", "3", "U.S"]
        + [
            "word",
            "Word",
            "# ",
            "- ",
            "1. ",
            "| ",
            "```",
            "日本",
            "e\u0301",
            "👩\u200d🚀",
            "é",
            "K",
        ]
    ),
    max_size=40,
).map("".join)
TEXTS = st.text() | TRICKY


def sentences(text, **options):
    return [text[start:end] for start, end in segment_sentences(text, **options)]


@given(TEXTS)
@example(" \n ")
@example("...")
@example("\n\nWord")
def test_sentences_are_adjacent_and_cover_the_text(text):
    spans = segment_sentences(text)
    assert "".join(text[start:end] for start, end in spans) == text
    assert all(start < end for start, end in spans)
    assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]]


@given(TEXTS)
def test_no_sentence_but_the_first_begins_with_white_space(text):
    assert not any(sentence[0].isspace() for sentence in sentences(text)[1:])


@given(TEXTS, st.integers(1, 20))
def test_a_limit_cuts_sentences_but_keeps_their_ends(text, limit):
    spans = segment_sentences(text, max_characters=limit)
    assert "".join(text[start:end] for start, end in spans) == text
    assert all(0 < end - start <= limit for start, end in spans)
    assert {end for _, end in segment_sentences(text)} <= {end for _, end in spans}


@given(TRICKY)
def test_cutting_the_same_text_twice_gives_the_same_sentences(text):
    assert segment_sentences(text) == segment_sentences(text)


def test_an_empty_text_has_no_sentence_and_a_blank_one_has_one():
    assert segment_sentences("") == []
    assert segment_sentences(" \n\n\t ") == [Span(0, 5)]


def test_white_space_goes_to_the_sentence_before_it_and_at_the_start_to_the_first():
    assert sentences("\n  One. \n Two.\n\n") == ["\n  One. \n ", "Two.\n\n"]


@pytest.mark.parametrize(
    "expected",
    [
        ["It rained. ", "Did it? ", "It did! ", "Fine…"],
        ["Dr. Roe and Mrs. Lee met Prof. Ito, e.g. at noon, i.e. late. ", "Yes."],
        ["See Fig. 3 vs. Table 2, No. 5, pp. 7 and cf. Smith. ", "End."],
        ["Is it there? ", "No. ", "No. 5 is."],
        ["Apples, pears, etc. are fruit. ", "So are figs, etc. ", "Now go."],
        ["J. R. R. Tolkien wrote it. ", "J.-J. Rousseau and the U.S. Navy did not."],
        ["They left at 5 p.m. ", "We stayed."],
        ["Pi is 3.14, not .5 or 3,141.59. ", "It was 1999. ", "Version 2.0.1 came."],
        ["Well... maybe… not. ", "He fell... ", "She ran."],
        [
            '"Really?" he asked. ',
            '"Yes!" ',
            "(He nodded.) ",
            "“So it is.” ",
            "«Voilà.» ",
            "**Done.** ",
        ]
        + ["Ok."],
        ["Да. ", "А. С. Пушкин писал. ", "И вот."],
        ["¿Qué? ", "¡Nada! ", "Dijo el Sr. López."],
        ["他说：“你好！”", "然后走了。", "再见！！"],
        ["「そうか。」", "３．１４です．", "次。"],
        ["मैं जाता हूँ। ", "तुम आओ॥ ", "ठीक।"],
        ["كيف حالك؟ ", "أنا بخير."],
        ["See example.com/a.b?c=d! ", "It works."],
        ["Wait?! ", "What?!"],
    ],
    ids=lambda sentences: sentences[0][:20],
)
def test_sentences_end_where_a_reader_would_end_them(expected):
    assert sentences("".join(expected)) == expected


def test_headings_list_items_and_table_rows_stand_apart():
    expected = [
        "# The lamp\n",
        "It needs oil and\n",
        "- wicks, which are\n  trimmed daily\n",
        "- glass\n",
        "1. First, clean it. ",
        "Then fill it\n",
        "(b) wait\n",
        "| oil | wick |\n\n",
        "End",
    ]
    assert sentences("".join(expected)) == expected


def test_wrapped_prose_is_not_cut_at_its_line_ends():
    text = (
        "The quick brown fox jumped over the lazy\n"
        "dog and then went on to do so many other\n"
        "things that a list of them would be too\n"
        "long for this page.\n"
    )
    assert sentences(text) == [text]


def test_lines_that_stop_short_are_sentences_so_that_code_and_verse_are_cut():
    code = [
        "def light(lamp):\n    ",
        "lamp.open()\n    ",
        "if lamp.fill(oil) and lamp.trim():\n        return lamp.burn(oil)\n\n",
        "class Lamp:\n    oil = 3\n",
    ]
    assert sentences("".join(code)) == code
    address = ["The Keeper\n", "Skerra Light\n", "Sandwick post office, Shetland"]
    assert sentences("".join(address)) == address


def test_an_over_long_sentence_is_cut_at_white_space_where_there_is_some():
    assert sentences("one two three. four", max_characters=8) == ["one two ", "three. ", "four"]
    assert sentences("abcdefgh ij", max_characters=3) == ["abc", "def", "gh ", "ij"]


def test_a_cut_within_a_word_keeps_accents_and_joined_emoji_whole():
    assert sentences("e\u0301" * 4, max_characters=3) == ["e\u0301"] * 4
    family, thumb = "👨\u200d👩\u200d👧", "👍🏽"
    assert sentences(family + thumb + family, max_characters=7) == [family + thumb, family]
    assert sentences("\u0301" * 5, max_characters=2) == ["\u0301\u0301", "\u0301\u0301", "\u0301"]


def test_a_limit_below_one_is_refused():
    with pytest.raises(LongctxError, match="at least 1, or None"):
        segment_sentences("One.", max_characters=0)


@pytest.mark.parametrize(
    "pattern",
    [" ", ".", "a", "\n", "a\n", ". ", "A. ", ".)", "。", "- \n", "1.\n", "(", "\u0301", "a.\r\n"],
    ids=repr,
)
def test_a_megabyte_of_anything_takes_linear_time(pattern):
    text = "x. " + pattern * (1_000_000 // len(pattern)) + "x"
    began = time.process_time()  # CPU time: other work on the machine does not count
    spans = segment_sentences(text, max_characters=1000)
    assert time.process_time() - began < 6  # a quadratic pass would take hours
    assert spans[-1].end == len(text)
