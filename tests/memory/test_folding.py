"""What says the same is one: the same words in the same order, by the same speaker."""

import pytest

from memsvc.memory.folding import signature_of
from tests.factories import turn

SAID = "I adopted a grey kitten in May and called her Tiger"


def test_signature_is_who_says_which_words() -> None:
    shown = turn("Look, a KITTEN!", speaker="Ana", captions=("a grey kitten",))
    reply = turn("How sweet.", "assistant", speaker="bot")

    signature = signature_of([shown, reply])

    assert signature == ("Ana:", "look", "a", "kitten", "image", "a", "grey", "kitten", "bot:", "how", "sweet")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param(SAID, True, id="the same"),
        pytest.param(f"  {SAID.upper()}!!! ", True, id="other signs and case"),
        pytest.param(f"{SAID} again", False, id="a word more"),
        pytest.param(SAID.replace("Tiger", "Lion"), False, id="another name"),
        pytest.param("In May I adopted a grey kitten and called her Tiger", False, id="another order"),
        pytest.param("The ferry to the islands leaves at noon", False, id="something else"),
    ],
)
def test_same_is_what_says_the_same_words_in_their_order(said: str, expected: bool) -> None:
    one, other = (signature_of([turn(text, speaker="Ana")]) for text in (SAID, said))

    assert (one == other) == expected


def test_two_people_who_say_the_same_say_two_things() -> None:
    ana, ben = (signature_of([turn(SAID, speaker=speaker)]) for speaker in ("Ana", "Ben"))

    assert ana != ben


@pytest.mark.parametrize(
    ("said", "expected"),
    [("", False), ("Yes, thanks!", False), ("Yes, it is fine!", False), ("Yes, it is really fine now!", True)],
)
def test_few_words_are_never_the_same(said: str, expected: bool) -> None:
    signature = signature_of([turn(said, speaker="Ana")])

    assert (signature is not None) == expected
