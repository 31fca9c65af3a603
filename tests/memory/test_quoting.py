"""Quotes: found word for word in what a turn says, whatever a model tidied on the way, and nowhere else."""

import re
import string
import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsvc.memory.quoting import located, plain, whole
from tests.factories import turn

SAID = "Well, I moved to Lisbon last Friday \u2013 it\u2019s a long story!"
WORDS = st.lists(st.sampled_from(["art", "party", "I", "été", "ﬁve"]), max_size=4)
Form = Literal["NFC", "NFD", "NFKC"]
MARKS = st.sampled_from([" ", ", ", "  ", "\n", " \u2013 ", "... ", '" '])


def words_of(text: str) -> list[str]:
    """The words of a text in their plainest form."""
    return [unicodedata.normalize("NFKC", word).casefold() for word in re.findall(r"\w+", text)]


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ("I moved to Lisbon last Friday", "I moved to Lisbon last Friday"),
        ("  I moved to Lisbon ", "I moved to Lisbon"),
        ("i MOVED to lisbon", "I moved to Lisbon"),
        ("I moved  to\nLisbon", "I moved to Lisbon"),
        ('"I moved to Lisbon."', "I moved to Lisbon"),
        ("Well I moved", "Well, I moved"),
        ("Friday - it's a long story", "Friday \u2013 it\u2019s a long story"),
        (SAID, SAID),
    ],
    ids=["exact", "spaces around", "case", "spaces within", "quotation marks", "no comma", "plain marks", "all of it"],
)
def test_quote_is_found_as_the_turn_says_it(quote: str, found: str) -> None:
    span = located(quote, SAID)

    assert span is not None
    assert SAID[slice(*span)] == found


@pytest.mark.parametrize(
    "quote",
    [
        "",
        "   ",
        "...",
        "I moved to Porto",
        "I have moved to Lisbon",
        "I moved Lisbon",
        "Lisbon to moved I",
        "I moved to Lisbon last Friday it's a long story told",
        "I moved to Lisbon … a long story",
    ],
    ids=["empty", "blank", "marks", "other word", "word more", "word less", "other order", "longer", "words left out"],
)
def test_what_does_not_stand_there_is_not_found(quote: str) -> None:
    assert located(quote, SAID) is None


@pytest.mark.parametrize("quote", ["I moved to Lis", "moved to Lisbon las", "ell, I moved"])
def test_part_of_a_word_is_not_that_word(quote: str) -> None:
    assert located(quote, SAID) is None


def test_whole_word_is_found_behind_one_that_holds_it() -> None:
    text = "My party has art."

    assert located("art", text) == (13, 16)


def test_part_of_a_text_without_spaces_is_found() -> None:
    text = "我上周五搬到了里斯本。"

    assert located("搬到了里斯本", text) == (4, 10)


@pytest.mark.parametrize(
    ("form", "other"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFKC", "NFC")], ids=["composed", "decomposed", "folded"]
)
def test_quote_is_found_in_another_normal_form(form: Form, other: Form) -> None:
    text = unicodedata.normalize(other, "Two cafés in Düsseldorf, ﬁve in Bonn.")

    span = located(unicodedata.normalize(form, "cafés in Düsseldorf, ﬁve"), text)

    assert span is not None
    assert text[slice(*span)] == unicodedata.normalize(other, "cafés in Düsseldorf, ﬁve")


@given(st.text(), st.text())
def test_found_quote_has_the_words_of_its_place(quote: str, text: str) -> None:
    span = located(quote, text)

    assert span is None or (0 <= span[0] < span[1] <= len(text) and words_of(text[slice(*span)]) == words_of(quote))


@given(before=st.text(), quote=st.text(), after=st.text())
def test_words_that_are_copied_exactly_are_found(before: str, quote: str, after: str) -> None:
    text = f"{before} {quote} {after}"

    assert not words_of(quote) or located(quote, text) is not None


@pytest.mark.parametrize("quote", ["!", ", ", "\u2013"])
def test_marks_without_a_word_are_no_quote(quote: str) -> None:
    assert located(quote, SAID) is None


@given(words=WORDS, others=WORDS, between=MARKS)
def test_words_are_found_if_they_stand_one_behind_the_other(words: list[str], others: list[str], between: str) -> None:
    text, quote = between.join(others), " ".join(words)
    wanted, held = words_of(quote), words_of(text)

    stands = bool(wanted) and any(held[start:][: len(wanted)] == wanted for start in range(len(held)))

    assert (located(quote, text) is not None) == stands


def test_long_quote_in_a_long_turn_is_looked_for_in_one_pass() -> None:
    text = "the same words again " * 10_000

    assert located("THE SAME words again, once more", text) is None
    assert located("THE SAME words again the same", text) == (0, 29)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("I live in Porto.", "i live in PORTO"),
        ("\u201cReally!\u201d (she said)", "really she said"),
        ("I  live\nin Porto", "I live in Porto"),
        ("ﬁve", "five"),
    ],
    ids=["case and full stop", "marks around words", "spaces", "ligature"],
)
def test_texts_with_the_same_words_are_plainly_equal(one: str, other: str) -> None:
    assert plain(one) == plain(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("I live in Porto", "I lived in Porto"),
        ("I write C", "I write C++"),
        ("It was 5 degrees", "It was -5 degrees"),
        ("\U0001f44d", "\U0001f44e"),
    ],
    ids=["words", "C++", "below zero", "thumbs"],
)
def test_texts_that_tell_something_else_are_not(one: str, other: str) -> None:
    assert plain(one) != plain(other)


@given(st.text(alphabet=string.printable))
def test_plain_words_stay_as_they_are(text: str) -> None:
    once = plain(text)

    assert plain(once) == once


def test_captions_stand_behind_the_text_that_is_quoted() -> None:
    shown = turn("Look!", captions=("a grey cat", "its basket"))

    text = whole(shown)

    assert text == "Look!\n[image: a grey cat]\n[image: its basket]"
    assert located("a grey cat", text) == (14, 24)


def test_turn_without_captions_is_quoted_from_its_text() -> None:
    assert whole(turn(" as it was said ")) == " as it was said "
