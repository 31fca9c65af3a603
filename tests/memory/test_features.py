"""What a ranking knows of each candidate: computed by hand on a small example."""

from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsvc.domain import Hit, Role
from memsvc.memory.features import NAMES, Candidate, candidates, features
from tests.memory import found, hits_of

TOLD: dict[str, dict[str, Any]] = {
    "A0": {"length": 10, "asks": 2},
    "A1": {"length": 89, "role": Role.ASSISTANT},
    "B5": {"length": 0, "asks": 1},
    "B6": {"length": 1},
}
LEGS = {
    "dense": hits_of("A0 A1 B6", 0.8, 0.5, 0.1, told=TOLD),
    "bm25": hits_of("A0 B6 B5", 4.0, 3.0, 1.0, told=TOLD),
    "late": hits_of("B5 A0 A1 B6", 0.9, 0.6, 0.4, 0.1, told=TOLD),
}
# In the order in which the turns are met: A0, A1, B6, B5. The root of 2.5 is the deviation of 4, 0, 3 and 1.
SPREAD = 1.5811388
EXPECTED = {
    "late": [6, 4, 1, 9],
    "dense": [8, 5, 1, 1],
    "bm25": [2 / SPREAD, -2 / SPREAD, 1 / SPREAD, -1 / SPREAD],
    "late_of_session": [6, 6, 9, 9],
    "dense_of_session": [8, 8, 1, 1],
    "bm25_of_session": [2 / SPREAD, 2 / SPREAD, 1 / SPREAD, 1 / SPREAD],
    "dense_before": [1, 8, 1, 1],
    "dense_after": [5, 1, 1, 1],
    "late_before": [1, 6, 9, 1],
    "late_after": [4, 1, 1, 1],
    "length": [-2.1021047, -0.0001903, -3.8068528, -4.5],
    "is_question": [1, 0, 0, 0],
    "has_question": [1, 0, 0, 1],
    "by_assistant": [0, 1, 0, 0],
    "by_assistant_asked_for": [0, 1, 0, 0],
    "by_assistant_asked_of_me": [0, 1, 0, 0],
}


def test_candidate_has_the_best_rank_and_score_of_each_leg() -> None:
    legs = {"dense": hits_of("A0 B0 A0", 0.9, 0.8, 0.7), "bm25": hits_of("B0 C0 B0", 7, 6, 5)}

    met = candidates(legs)

    assert met == [
        Candidate(found("A0"), {"dense": (1, 0.9)}),
        Candidate(found("B0"), {"dense": (2, 0.8), "bm25": (1, 7)}),
        Candidate(found("C0"), {"bm25": (2, 6)}),
    ]


def test_features_have_names_of_their_own() -> None:
    assert tuple(EXPECTED) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_feature_by_hand(name: str) -> None:
    numbers = features(candidates(LEGS), query="What did you tell me?")

    assert numbers.shape == (4, len(NAMES))
    assert numbers[:, NAMES.index(name)] == pytest.approx(EXPECTED[name], abs=1e-5)


def test_turns_of_two_sessions_are_no_neighbours() -> None:
    numbers = features(candidates({"dense": hits_of("A0 B1 C2", 0.9, 0.5, 0.1)}), query="")

    beside = [NAMES.index(name) for name in ("dense_before", "dense_after")]
    assert numbers[:, beside].tolist() == [[1, 1], [1, 1], [1, 1]]


def test_leg_that_did_not_run_says_the_same_of_all() -> None:
    numbers = features(candidates({"dense": hits_of("A0 A1 B0")}), query="")

    of_leg = [place for place, name in enumerate(NAMES) if name.startswith(("late", "bm25"))]
    assert len(of_leg) == 6
    assert not numbers[:, of_leg].any()


def test_lone_candidate_has_numbers() -> None:
    numbers = features(candidates({"bm25": hits_of("A0", 7.0), "dense": hits_of("A0", 0.3)}), query="")

    assert np.isfinite(numbers).all()
    assert numbers[0, NAMES.index("bm25")] == 0
    assert numbers[0, NAMES.index("dense_before")] == pytest.approx(3)


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("Which hotel did you recommend?", id="did you"),
        pytest.param("The hotel you recommended in Rome", id="past"),
        pytest.param("What were the steps you gave?", id="irregular past"),
        pytest.param("What was the title you'd suggested?", id="short past perfect"),
        pytest.param("the book you had originally mentioned", id="with an adverb"),
        pytest.param("Remind me of the third item.", id="remind me"),
        pytest.param("In our last chat there was a poem.", id="last chat"),
        pytest.param("Going back to our previous conversation about Rome", id="previous conversation"),
        pytest.param("What was number 7 on your list?", id="your list"),
        pytest.param("What was in YOUR FIRST SUMMARY?", id="any case"),
    ],
)
def test_question_for_what_the_assistant_said(query: str) -> None:
    assert _by_assistant(query)["by_assistant_asked_for"] == [0, 1]


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("Where did Ana go in May?", id="somebody else"),
        pytest.param("How old is my tortoise?", id="the asker"),
        pytest.param("When did I move to Porto?", id="did I"),
        pytest.param("Can you tell what is in the cellar?", id="a request"),
        pytest.param("What is on the list?", id="a list of nobody's"),
        pytest.param("Where is the youth hostel?", id="you within a word"),
    ],
)
def test_question_for_something_else(query: str) -> None:
    assert _by_assistant(query)["by_assistant_asked_for"] == [0, 0]


@pytest.mark.parametrize(
    ("query", "is_of_asker"),
    [
        ("How old is my tortoise?", True),
        ("Where did I go?", True),
        ("What I've read", True),
        ("Is it mine", True),
        ("Where did Ana go?", False),
        ("Where is the miner's museum?", False),
        ("Which Mylo?", False),
    ],
)
def test_question_of_the_asker(query: str, is_of_asker: bool) -> None:
    assert _by_assistant(query)["by_assistant_asked_of_me"] == [0, int(is_of_asker)]


_names = st.tuples(st.sampled_from("AB"), st.integers(0, 4)).map(lambda pair: f"{pair[0]}{pair[1]}")
_legs = st.fixed_dictionaries(
    {leg: st.lists(_names, max_size=8).map(lambda names: hits_of(" ".join(names))) for leg in ("dense", "bm25", "late")}
).filter(lambda legs: any(legs.values()))


@given(_legs)
def test_numbers_are_finite_and_one_row_a_candidate(legs: dict[str, list[Hit]]) -> None:
    met = candidates(legs)

    numbers = features(met, query="Did you say so?")

    assert numbers.shape == (len(met), len(NAMES))
    assert np.isfinite(numbers).all()


@given(_legs, st.randoms())
def test_order_of_the_candidates_changes_no_number(legs: dict[str, list[Hit]], chance: Random) -> None:
    met = candidates(legs)
    shuffled = list(met)
    chance.shuffle(shuffled)

    rows = dict(zip(map(_place, met), features(met, query="my list"), strict=True))
    again = dict(zip(map(_place, shuffled), features(shuffled, query="my list"), strict=True))

    assert again == {place: pytest.approx(row) for place, row in rows.items()}


@given(_legs)
def test_session_is_never_below_any_of_its_candidates(legs: dict[str, list[Hit]]) -> None:
    numbers = features(candidates(legs), query="")

    for leg in ("late", "dense", "bm25"):
        assert (numbers[:, NAMES.index(f"{leg}_of_session")] >= numbers[:, NAMES.index(leg)]).all()


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=9, unique=True))
def test_higher_score_is_a_higher_number(scores: list[float]) -> None:
    ordered = sorted(scores, reverse=True)
    names = " ".join(f"A{2 * place}" for place in range(len(ordered)))

    numbers = features(candidates({"late": hits_of(names, *ordered)}), query="")

    assert all(before >= after for before, after in pairwise(numbers[:, NAMES.index("late")]))


def _by_assistant(query: str) -> dict[str, list[float]]:
    """The flags of a user's and of an assistant's turn."""
    met = candidates({"dense": hits_of("A0 A1", told={"A1": {"role": Role.ASSISTANT}})})
    numbers = features(met, query=query)
    return {name: numbers[:, NAMES.index(name)].tolist() for name in NAMES if name.startswith("by_assistant")}


def _place(candidate: Candidate) -> tuple[str, int]:
    return str(candidate.found.session_row), candidate.found.position
