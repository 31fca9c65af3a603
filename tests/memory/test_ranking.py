"""The legs' hits become one ranking: computed by hand, and for any hits."""

from unittest.mock import ANY
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsvc.domain import Hit, KeyKind, Trace, Unit
from memsvc.memory.ranking import ROUND_WEIGHT, RRF_K, Ranked, fuse
from tests.factories import row_id

Legs = dict[str, list[Hit]]


def test_no_hits_make_no_ranking() -> None:
    ranked = fuse({"dense": [], "bm25": []}, unit=Unit.ROUND)

    assert ranked == []


def test_found_item_says_why_it_stands_where_it_stands() -> None:
    legs = {"dense": [_hit("other"), _hit("r1", session="s1", score=0.8)], "bm25": [_hit("r1", session="s1", score=7)]}

    ranked = fuse(legs, unit=Unit.ROUND)

    assert ranked[0] == Ranked(
        session_row=row_id("s1"),
        round_rows=(row_id("r1"),),
        matched=frozenset({"0"}),
        score=ANY,
        trace=Trace({"dense": (2, 0.8), "bm25": (1, 7)}),
        turn_id=None,
    )
    assert ranked[0].score == pytest.approx(_share([2, 1], lists=2))


@pytest.mark.parametrize(
    ("dense", "bm25", "places"),
    [
        pytest.param("A B", "A B", {"A": [1, 1], "B": [2, 2]}, id="legs that agree"),
        pytest.param("A B", "B C", {"B": [2, 1], "A": [1], "C": [2]}, id="agreement comes first"),
        pytest.param("A A B", "B", {"B": [3, 1], "A": [1]}, id="the best of several keys counts"),
        pytest.param(
            "A B C D", "D C B", {"D": [4, 1], "B": [2, 3], "C": [3, 2], "A": [1]}, id="two ranks beat one first rank"
        ),
    ],
)
def test_fusion_is_reciprocal_rank_fusion(dense: str, bm25: str, places: dict[str, list[int]]) -> None:
    legs = {"dense": _hits(dense), "bm25": _hits(bm25)}

    ranked = fuse(legs, unit=Unit.ROUND)

    assert [item.round_rows for item in ranked] == [(row_id(name),) for name in places]
    assert [item.score for item in ranked] == [pytest.approx(_share(ranks, lists=2)) for ranks in places.values()]


def test_leg_that_found_nothing_lowers_no_score() -> None:
    legs = {"dense": _hits("A B C"), "bm25": []}

    ranked = fuse(legs, unit=Unit.ROUND)

    assert [item.score for item in ranked] == [pytest.approx(_share([rank], lists=1)) for rank in (1, 2, 3)]


def test_windows_of_rounds_are_a_list_of_their_own() -> None:
    dense = [
        _hit("A", kind=KeyKind.TURN, score=0.9),
        _hit("A", kind=KeyKind.ROUND, score=0.8),
        _hit("B", kind=KeyKind.TURN, score=0.7),
        _hit("B", kind=KeyKind.ROUND, score=0.6),
    ]

    ranked = fuse({"dense": dense}, unit=Unit.ROUND)

    assert [(item.round_rows[0], item.score, item.trace.legs) for item in ranked] == [
        (row_id("A"), 1.0, {"dense": (1, 0.9), "dense_round": (1, 0.8)}),
        (row_id("B"), pytest.approx(_share([2, 2], lists=2)), {"dense": (2, 0.7), "dense_round": (2, 0.6)}),
    ]


def test_turns_are_ranked_each_by_itself() -> None:
    legs = {
        "dense": [_hit("r1", turns="b"), _hit("r1", turns="a"), _hit("r1", turns="a b", kind=KeyKind.ROUND)],
        "bm25": [_hit("r1", turns="b")],
    }

    ranked = fuse(legs, unit=Unit.TURN)

    assert [(item.turn_id, item.round_rows) for item in ranked] == [("b", (row_id("r1"),)), ("a", (row_id("r1"),))]
    share = (1 / (RRF_K + 2) + ROUND_WEIGHT / (RRF_K + 1)) * (RRF_K + 1) / (2 + ROUND_WEIGHT)
    assert [item.score for item in ranked] == [1.0, pytest.approx(share)]


def test_turns_of_the_same_id_in_two_sessions_are_two() -> None:
    legs = {"dense": [_hit("r1", session="s1", turns="0"), _hit("r2", session="s2", turns="0")]}

    ranked = fuse(legs, unit=Unit.TURN)

    assert [(item.session_row, item.turn_id) for item in ranked] == [(row_id("s1"), "0"), (row_id("s2"), "0")]


def test_turns_of_one_window_stand_in_their_order() -> None:
    legs = {"dense": [_hit("r1", turns="9 10 11", kind=KeyKind.ROUND)]}

    ranked = fuse(legs, unit=Unit.TURN)

    assert [item.turn_id for item in ranked] == ["9", "10", "11"]


def test_round_is_matched_by_the_turns_of_all_its_keys() -> None:
    legs = {"dense": [_hit("r1", turns="a")], "bm25": [_hit("r1", turns="c")]}

    ranked = fuse(legs, unit=Unit.ROUND)

    assert [item.matched for item in ranked] == [frozenset({"a", "c"})]


def test_session_names_its_rounds_best_first() -> None:
    legs = {
        "dense": [_hit("x"), _hit("r2", session="s1", turns="2"), _hit("r1", session="s1", turns="1")],
        "bm25": [_hit("r3", session="s1", turns="3")],
    }

    ranked = fuse(legs, unit=Unit.SESSION)

    assert ranked[0].session_row == row_id("s1")
    assert ranked[0].round_rows == (row_id("r3"), row_id("r2"), row_id("r1"))
    assert ranked[0].matched == frozenset({"1", "2", "3"})


def test_equal_items_stand_in_the_order_they_were_found() -> None:
    legs = {"dense": _hits("A B"), "bm25": _hits("B A")}

    ranked = fuse(legs, unit=Unit.ROUND)

    assert ranked[0].score == ranked[1].score
    assert [item.round_rows[0] for item in ranked] == [row_id("A"), row_id("B")]


def test_score_does_not_depend_on_which_leg_gave_which_rank() -> None:
    # The same three ranks by turns; added up in another order, their reciprocals differ in the last bit.
    places = [{"A": 33, "B": 38, "C": 39}, {"A": 38, "B": 39, "C": 33}, {"A": 39, "B": 33, "C": 38}]
    legs = {f"leg{number}": _placed(places[number]) for number in range(3)}

    ranked = fuse(legs, unit=Unit.ROUND)

    scores = {item.score for item in ranked if item.round_rows[0] in {row_id("A"), row_id("B"), row_id("C")}}
    assert len(scores) == 1


def test_limit_gives_the_first_of_the_whole_ranking() -> None:
    legs = {"dense": _hits("A B C D"), "bm25": _hits("D C")}

    ranked = fuse(legs, unit=Unit.ROUND, limit=2)

    assert ranked == fuse(legs, unit=Unit.ROUND)[:2]
    assert len(ranked) == 2


_hit_lists = st.lists(
    st.builds(
        lambda round_, session, kind, turns: _hit(f"{session}{round_}", session=session, kind=kind, turns=turns),
        st.sampled_from("123"),
        st.sampled_from("stu"),
        st.sampled_from(KeyKind),
        st.sampled_from(["a", "b", "a b"]),
    ),
    max_size=12,
)
_legs = st.fixed_dictionaries({"dense": _hit_lists, "bm25": _hit_lists})
_units = st.sampled_from(Unit)


@given(_legs, _units)
def test_scores_lie_between_nothing_and_one_best_first(legs: Legs, unit: Unit) -> None:
    ranked = fuse(legs, unit=unit)

    scores = [item.score for item in ranked]
    assert all(0 < score <= 1 for score in scores)
    assert scores == sorted(scores, reverse=True)


@given(_legs, _units)
def test_every_item_that_was_found_stands_once(legs: Legs, unit: Unit) -> None:
    ranked = fuse(legs, unit=unit)

    hits = [hit for leg in legs.values() for hit in leg]
    found = {
        Unit.TURN: {(hit.session_row, turn_id) for hit in hits for turn_id in hit.turn_ids},
        Unit.ROUND: {hit.round_row for hit in hits},
        Unit.SESSION: {hit.session_row for hit in hits},
    }[unit]
    labels = [_label(item, unit) for item in ranked]
    assert len(set(labels)) == len(labels)
    assert set(labels) == found


@given(_legs, _units)
def test_order_of_the_legs_changes_no_score(legs: Legs, unit: Unit) -> None:
    turned = dict(reversed(legs.items()))

    scores = {_label(item, unit): pytest.approx(item.score) for item in fuse(legs, unit=unit)}

    assert {_label(item, unit): item.score for item in fuse(turned, unit=unit)} == scores


@given(_legs, _units)
def test_same_hits_give_the_same_ranking(legs: Legs, unit: Unit) -> None:
    again = {leg: list(hits) for leg, hits in legs.items()}

    assert fuse(legs, unit=unit) == fuse(again, unit=unit)


@given(_legs)
def test_item_that_is_best_in_every_list_is_first(legs: Legs) -> None:
    best = [_hit("best", session="best", kind=kind, turns="a") for kind in KeyKind]

    ranked = fuse({leg: [*best, *hits] for leg, hits in legs.items()}, unit=Unit.ROUND)

    assert (ranked[0].round_rows, ranked[0].score) == ((row_id("best"),), 1.0)


def _hit(round_: str, *, session: str = "s", kind: KeyKind = KeyKind.TURN, turns: str = "0", score: float = 0.5) -> Hit:
    return Hit(row_id(round_), row_id(session), kind, tuple(turns.split()), rank=1, score=score)


def _share(ranks: list[int], *, lists: int) -> float:
    """The score of an item with these ranks, by hand: what it gets, of what a first rank in every list gets."""
    return sum(1 / (RRF_K + rank) for rank in ranks) * (RRF_K + 1) / lists


def _hits(rounds: str) -> list[Hit]:
    return [_hit(name) for name in rounds.split()]


def _placed(places: dict[str, int]) -> list[Hit]:
    """Forty hits with these rounds at these places."""
    named = {place: name for name, place in places.items()}
    return [_hit(named.get(place, f"filler {place}")) for place in range(1, 41)]


def _label(item: Ranked, unit: Unit) -> UUID | tuple[UUID, str | None]:
    labels: dict[Unit, UUID | tuple[UUID, str | None]] = {
        Unit.TURN: (item.session_row, item.turn_id),
        Unit.ROUND: item.round_rows[0],
        Unit.SESSION: item.session_row,
    }
    return labels[unit]
