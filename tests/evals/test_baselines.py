"""The baselines, on a history whose every word is known."""

from datetime import UTC, datetime

from evals import baselines
from evals.cases import Case, Haystack, HaystackSession, HaystackTurn
from evals.contexts import approximate_tokens

STARTED = datetime(2024, 1, 5, 10, tzinfo=UTC)
HAYSTACK = Haystack(
    "h1",
    tuple(
        HaystackSession(STARTED, tuple(HaystackTurn("user", f"word{number}{index}", "Ana") for index in range(5)))
        for number in range(4)
    ),
    (),
)


def test_ranking_is_drawn_over_all_turns_and_stays_the_same() -> None:
    first, again = (baselines.drawn(HAYSTACK, _case("q1")) for _ in range(2))

    assert first == again
    assert sorted(first) == [(number, index) for number in range(4) for index in range(5)]
    assert first != sorted(first)
    assert first != baselines.drawn(HAYSTACK, _case("q2"))


def test_drawn_context_takes_turns_with_replies_until_nothing_fits() -> None:
    # Each line is `Ana: wordNN` and its end, 12 characters and so 3 tokens: three pairs and no fourth fit into 20.
    context = baselines.drawn_context(HAYSTACK, [(2, 0), (0, 3), (1, 1), (3, 3)], budget=20)

    assert context.split("\n") == [f"Ana: word{place}" for place in ("03", "04", "11", "12", "20", "21")]


def test_drawn_context_takes_a_turn_once() -> None:
    context = baselines.drawn_context(HAYSTACK, [(0, 0), (0, 1), (0, 4)], budget=100)

    assert context.split("\n") == [f"Ana: word{place}" for place in ("00", "01", "02", "04")]


def test_full_context_holds_every_turn_under_its_date() -> None:
    turns = (HaystackTurn("user", "Look", "Ana", ("a dog",)), HaystackTurn("assistant", "Nice."))
    haystack = Haystack("h1", (HaystackSession(STARTED, turns),), ())

    context = baselines.full_context(haystack)

    assert context == "[2024-01-05 10:00]\nAna: Look [image: a dog]\nassistant: Nice."
    assert approximate_tokens(context) == 15


def _case(case_id: str) -> Case:
    return Case(case_id, "single", "?", "!", STARTED, frozenset({(0, 0)}), frozenset({0}))
