"""Whether a context holds the evidence, as a client reads it."""

import pytest

from evals.cases import HaystackTurn
from evals.contexts import approximate_tokens, holds

CONTEXT = """[2023-05-08 13:56] Ana: Hi! I bought a kayak,
  and two paddles.
[2023-05-08 13:57] Ben: Nice.
  [image: a red kayak]"""


@pytest.mark.parametrize(
    ("turn", "held"),
    [
        pytest.param(HaystackTurn("user", "Hi! I bought a kayak,\n\nand two paddles."), True, id="indented line"),
        pytest.param(HaystackTurn("user", "  Hi! I bought a kayak, and two paddles. "), True, id="white space"),
        pytest.param(HaystackTurn("user", "Hi! I bought a kayak, and two paddles. Or three."), False, id="cut"),
        pytest.param(HaystackTurn("user", "I bought a kayak, and two paddles"), True, id="a part is whole"),
        pytest.param(HaystackTurn("user", "ought a kayak"), False, id="from inside a word"),
        pytest.param(HaystackTurn("user", "I bought a kay"), False, id="to inside a word"),
        pytest.param(HaystackTurn("user", "Nice.", captions=("a red kayak",)), True, id="text and caption"),
        pytest.param(HaystackTurn("user", "Nice.", captions=("a blue kayak",)), False, id="another caption"),
        pytest.param(HaystackTurn("user", "", captions=("a red kayak",)), True, id="caption alone"),
    ],
)
def test_context_holds_a_turn_whose_whole_text_stands_in_it(turn: HaystackTurn, held: bool) -> None:
    assert holds(CONTEXT, [turn]) is held


def test_context_holds_evidence_only_when_every_turn_is_there() -> None:
    there, missing = HaystackTurn("user", "Nice."), HaystackTurn("user", "Not so nice.")

    assert holds(CONTEXT, [there, there])
    assert not holds(CONTEXT, [there, missing])


def test_later_place_counts_where_the_first_is_inside_a_word() -> None:
    assert holds("a category, a cat.", [HaystackTurn("user", "cat")])


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("abc", 1), ("abcd", 1), ("abcde", 2)])
def test_four_characters_are_a_token(text: str, tokens: int) -> None:
    assert approximate_tokens(text) == tokens
