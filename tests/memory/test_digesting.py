"""Digests: the few sentences that stand for a session, word for word and in its own order."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from memsvc.domain import Turn
from memsvc.facts import Citation, Fact
from memsvc.intervals import Precision
from memsvc.memory import quoting
from memsvc.memory.digesting import MOST_LINES, Line, digest_of
from tests.factories import STARTED, row_id, turn


def fact_of(said: Turn, quote: str, *, kind: str = "fact", confidence: float | None = 0.9) -> Fact:
    """A fact that rests on a quote."""
    span = quoting.located(quote, quoting.whole(said))
    assert span is not None
    return Fact(
        fact_id=row_id(quote),
        round_row=row_id("round"),
        text=quote,
        kind=kind,
        subject=said.speaker,
        speaker=said.speaker,
        event=None,
        precision=Precision.UNKNOWN,
        valid_at=STARTED,
        invalid_at=None,
        recorded_at=STARTED + timedelta(minutes=1),
        expired_at=None,
        superseded_by=None,
        confidence=confidence,
        source="llm",
        trust=said.role.value,
        sources=(Citation("s1", said.turn_id, quote, *span, STARTED),),
    )


def test_session_opens_with_what_the_user_said_first() -> None:
    turns = [turn("Welcome to the shop, dear customer.", "assistant"), turn("I am looking for a tent.", turn_id="1")]

    assert digest_of(turns, []) == [Line("1", "I am looking for a tent.")]


def test_greeting_is_not_what_it_opens_with() -> None:
    turns = [turn("Hi there! I adopted a cat from the shelter. It is grey.")]

    assert digest_of(turns, []) == [Line("0", "I adopted a cat from the shelter.")]


def test_sentence_stands_once_also_when_facts_rest_on_it() -> None:
    said = turn("Hi! I adopted a cat from the shelter, named Biscuit.")
    facts = [fact_of(said, "I adopted a cat"), fact_of(said, "named Biscuit")]

    assert digest_of([said], facts) == [Line("0", "I adopted a cat from the shelter, named Biscuit.")]


def test_sentences_of_facts_follow_in_the_order_of_the_chat() -> None:
    first = turn("Could you help me with a trip? I live in Porto.")
    second = turn("Try the night train to Vienna. It is cheap.", "assistant", turn_id="1")
    third = turn("I get sick on trains. My sister lives in Graz.", turn_id="2")
    facts = [
        fact_of(third, "My sister lives in Graz", confidence=0.5),
        fact_of(second, "night train to Vienna", kind="assistant"),
        fact_of(first, "I live in Porto"),
    ]

    assert digest_of([first, second, third], facts) == [
        Line("0", "Could you help me with a trip?"),
        Line("0", "I live in Porto."),
        Line("1", "Try the night train to Vienna."),
        Line("2", "My sister lives in Graz."),
    ]


def test_users_facts_go_before_those_of_others_and_the_surer_before_the_less_sure() -> None:
    reply = turn("Take the tram to the castle.", "assistant", turn_id="reply")
    said = [turn(f"I collect stamps of kind {number}.", turn_id=f"t{number}") for number in range(6)]
    facts = [fact_of(reply, "the tram", kind="assistant", confidence=1.0)]
    facts += [fact_of(one, "I collect", confidence=0.1 * number) for number, one in enumerate(said)]

    lines = digest_of([*said, reply], facts)

    assert [line.turn_id for line in lines] == ["t0", "t2", "t3", "t4", "t5"]


def test_fact_without_confidence_counts_least() -> None:
    said = [turn(f"I collect stamps of kind {number}.", turn_id=f"t{number}") for number in range(7)]
    facts = [fact_of(one, "I collect", confidence=None if one.turn_id == "t3" else 0.5) for one in said]

    lines = digest_of(said, facts)

    assert [line.turn_id for line in lines] == ["t0", "t1", "t2", "t4", "t5"]


def test_spaces_before_the_text_move_nothing() -> None:
    said = turn("  Hello. I adopted a grey cat. It purrs.")

    lines = digest_of([said], [fact_of(said, "I adopted a grey cat")])

    assert lines == [Line("0", "I adopted a grey cat.")]


def test_caption_is_told_whole() -> None:
    said = turn("", captions=("a grey cat in a basket",))

    lines = digest_of([said], [fact_of(said, "a grey cat in a basket")])

    assert lines == [Line("0", "a grey cat in a basket")]


def test_fact_of_a_turn_that_is_not_there_is_left_out() -> None:
    gone = turn("I adopted a grey cat.", turn_id="gone")

    assert digest_of([turn("Good morning, how are you?")], [fact_of(gone, "a grey cat")]) == [
        Line("0", "Good morning, how are you?")
    ]


def test_long_sentence_is_cut() -> None:
    lines = digest_of([turn("word " * 200)], [])

    assert lines == [Line("0", ("word " * 60))]


def test_session_in_which_no_user_speaks_has_no_digest() -> None:
    assert digest_of([turn("It is five o'clock.", "tool")], []) == []
    assert digest_of([], []) == []


@given(st.lists(st.text(min_size=1), min_size=1, max_size=8))
def test_digest_is_the_turns_own_words(texts: list[str]) -> None:
    turns = [turn(text, turn_id=str(number)) for number, text in enumerate(texts)]

    lines = digest_of(turns, [])

    assert len(lines) <= MOST_LINES
    assert all(line.text in " ".join(turns[int(line.turn_id)].text.split()) for line in lines)
