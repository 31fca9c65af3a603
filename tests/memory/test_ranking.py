"""The legs' hits become one ranking: computed by hand, and for any hits."""

import json
from collections.abc import Hashable, Mapping
from datetime import UTC, datetime, timedelta
from math import exp
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsvc.domain import Hit, Role, Trace, Unit
from memsvc.inference.encoders import FUSION, PLAIN, SHIPPED, beside
from memsvc.intervals import Interval, Precision, Window
from memsvc.memory.features import NAMES, candidates
from memsvc.memory.ranking import (
    MATCHED_SHARE,
    RRF_K,
    Boost,
    Fusion,
    LearnedFusion,
    Ranked,
    RankFusion,
    fuse,
    recency_boost,
    speaker_boost,
    time_boost,
)
from tests.factories import row_id
from tests.memory import found, hits_of

NETWORKS = [beside(name) / FUSION for name in (SHIPPED, PLAIN)]

Legs = dict[str, list[Hit]]

ASKED = datetime(2025, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def test_no_hits_make_no_ranking() -> None:
    ranked = fuse({"dense": [], "bm25": []}, unit=Unit.ROUND)

    assert ranked == []


def test_found_item_says_why_it_stands_where_it_stands() -> None:
    legs = {"dense": hits_of("B0 A3", 0.9, 0.8), "bm25": hits_of("A3 C0", 7, 6)}

    ranked = fuse(legs, unit=Unit.ROUND)

    # Of what two first ranks give, 2/6, the item has 1/7 and 1/6: odds of 13/14, a score of 13/27.
    assert ranked[0] == Ranked(
        session_row=row_id("A"),
        round_rows=(row_id("A2"),),
        matched={"3": 0.481481481},
        score=0.481481481,
        trace=Trace({"dense": (2, 0.8), "bm25": (1, 7)}),
        turn_id=None,
        position=3,
        label=row_id("A2"),
    )


@pytest.mark.parametrize(
    ("dense", "bm25", "places"),
    [
        pytest.param("A0 B0", "A0 B0", {"A0": [1, 1], "B0": [2, 2]}, id="legs that agree"),
        pytest.param("A0 B0", "B0 C0", {"B0": [2, 1], "A0": [1], "C0": [2]}, id="agreement comes first"),
        pytest.param("A0 A0 B0", "B0", {"B0": [3, 1], "A0": [1]}, id="the best of several windows counts"),
        pytest.param(
            "A0 B0 C0 D0",
            "D0 C0 B0",
            {"D0": [4, 1], "B0": [2, 3], "C0": [3, 2], "A0": [1]},
            id="two ranks beat one first rank",
        ),
    ],
)
def test_rank_fusion_is_reciprocal_rank_fusion(dense: str, bm25: str, places: dict[str, list[int]]) -> None:
    legs = {"dense": hits_of(dense), "bm25": hits_of(bm25)}

    ranked = fuse(legs, unit=Unit.TURN, fusion=RankFusion())

    assert [item.session_row for item in ranked] == [row_id(name[0]) for name in places]
    assert [item.score for item in ranked] == [pytest.approx(_score(_odds(at, legs=2))) for at in places.values()]


def test_three_legs_share_the_odds() -> None:
    legs = {"dense": hits_of("A0 B0"), "bm25": hits_of("A0 B0"), "late": hits_of("A0 C0")}

    ranked = fuse(legs, unit=Unit.TURN)

    assert [item.score for item in ranked] == [
        pytest.approx(_score(odds)) for odds in (1, _odds([2, 2], legs=3), _odds([2], legs=3))
    ]


def test_leg_that_found_nothing_lowers_no_score() -> None:
    legs = {"dense": hits_of("A0 B0 C0"), "bm25": []}

    ranked = fuse(legs, unit=Unit.ROUND)

    assert [item.score for item in ranked] == [pytest.approx(_score(_odds([rank], legs=1))) for rank in (1, 2, 3)]


def test_turns_are_ranked_each_by_itself() -> None:
    legs = {"dense": hits_of("A1 A0"), "bm25": hits_of("A1")}

    ranked = fuse(legs, unit=Unit.TURN)

    assert [(item.turn_id, item.round_rows) for item in ranked] == [("1", (row_id("A0"),)), ("0", (row_id("A0"),))]


def test_turns_of_the_same_id_in_two_sessions_are_two() -> None:
    legs = {"dense": hits_of("A0 B0")}

    ranked = fuse(legs, unit=Unit.TURN)

    assert [(item.session_row, item.turn_id) for item in ranked] == [(row_id("A"), "0"), (row_id("B"), "0")]


@pytest.mark.parametrize("unit", [Unit.ROUND, Unit.SESSION])
def test_item_has_the_score_of_its_best_turn_and_the_best_place_in_each_leg(unit: Unit) -> None:
    legs = {"dense": hits_of("B0 A0 A1", 0.9, 0.8, 0.7), "bm25": hits_of("A1 A0", 7, 6)}

    alone = fuse(legs, unit=Unit.TURN)
    ranked = fuse(legs, unit=unit)

    best, other = (next(item for item in alone if item.turn_id == turn_id) for turn_id in ("1", "0"))
    assert best.score > other.score > MATCHED_SHARE * best.score
    assert ranked[0].score == best.score
    assert ranked[0].matched == {"1": best.score, "0": other.score}
    assert ranked[0].trace == Trace({"dense": (2, 0.8), "bm25": (1, 7)})


def test_turn_matches_that_has_half_the_score_of_its_item() -> None:
    legs = {"dense": hits_of(" ".join(f"A{place}" for place in range(12)))}

    ranked = fuse(legs, unit=Unit.SESSION)

    # Odds of 6/6, 6/7 … make scores of 6/12, 6/13 …; half of the best is 6/24, which the thirteenth has.
    assert ranked[0].matched == {str(place): pytest.approx(6 / (12 + place)) for place in range(12)}
    longer = {"dense": hits_of(" ".join(f"A{place}" for place in range(20)))}
    assert set(fuse(longer, unit=Unit.SESSION)[0].matched) == {str(place) for place in range(13)}


def test_session_names_its_rounds_best_first() -> None:
    legs = {"dense": hits_of("A0 A4 B0"), "bm25": hits_of("A4 B0 A5 A6")}

    ranked = fuse(legs, unit=Unit.SESSION)

    assert ranked[0].session_row == row_id("A")
    assert ranked[0].round_rows == (row_id("A4"), row_id("A0"), row_id("A6"))
    assert set(ranked[0].matched) == {"6", "4", "5", "0"}


def test_equal_items_stand_in_the_order_they_were_found() -> None:
    legs = {"dense": hits_of("A0 B0"), "bm25": hits_of("B0 A0")}

    ranked = fuse(legs, unit=Unit.ROUND)

    assert ranked[0].score == ranked[1].score
    assert [item.round_rows[0] for item in ranked] == [row_id("A0"), row_id("B0")]


def test_equal_items_stand_in_the_order_of_their_best_ranks() -> None:
    legs = {"dense": hits_of("A0 B0 C0"), "bm25": hits_of("C0")}

    ranked = fuse(legs, unit=Unit.TURN, fusion=_Same())

    assert [item.session_row for item in ranked] == [row_id(name) for name in "ACB"]


def test_score_does_not_depend_on_which_leg_gave_which_rank() -> None:
    # The same three ranks by turns; added up in another order, their reciprocals differ in the last bit.
    places = [{"A": 33, "B": 38, "C": 39}, {"A": 38, "B": 39, "C": 33}, {"A": 39, "B": 33, "C": 38}]
    legs = {f"leg{number}": _placed(places[number]) for number in range(3)}

    ranked = fuse(legs, unit=Unit.SESSION)

    scores = {item.score for item in ranked if item.session_row in {row_id("A"), row_id("B"), row_id("C")}}
    assert len(scores) == 1


def test_limit_gives_the_first_of_the_whole_ranking() -> None:
    legs = {"dense": hits_of("A0 B0 C0 D0"), "bm25": hits_of("D0 C0")}

    ranked = fuse(legs, unit=Unit.ROUND, limit=2)

    assert ranked == fuse(legs, unit=Unit.ROUND)[:2]
    assert len(ranked) == 2


def test_boosts_multiply_the_odds_and_are_told() -> None:
    legs = {"dense": hits_of("A0 B0")}
    boosts = {"speaker": _boost(A0=3.0), "recency": _boost(A0=0.5, B0=0.25), "nothing": _boost()}

    ranked = fuse(legs, unit=Unit.TURN, boosts=boosts)

    # Odds of 1 and 6/7 become 1.5 and 1.5/7.
    assert [item.score for item in ranked] == [pytest.approx(1.5 / 2.5), pytest.approx(1.5 / 8.5)]
    assert [item.trace.boosts for item in ranked] == [{"speaker": 3.0, "recency": 0.5}, {"recency": 0.25}]


def test_boosted_turn_overtakes() -> None:
    legs = {"dense": hits_of("A0 B0")}

    ranked = fuse(legs, unit=Unit.TURN, boosts={"speaker": _boost(B0=1.2)})

    assert [item.session_row for item in ranked] == [row_id("B"), row_id("A")]


def test_boost_of_nothing_puts_last_and_does_not_filter() -> None:
    legs = {"dense": hits_of("A0 B0 C0")}

    ranked = fuse(legs, unit=Unit.TURN, boosts={"speaker": _boost(A0=0.0)})

    assert [(item.session_row, item.score) for item in ranked][-1] == (row_id("A"), 0.0)
    assert len(ranked) == 3


@pytest.mark.parametrize(
    ("query", "called"),
    [
        pytest.param("What did Ana say?", {"Ana Maria"}, id="by the first name"),
        pytest.param("what did ANA say", {"Ana Maria"}, id="in any case"),
        pytest.param("Ana's tortoise, and Ben's.", {"Ana Maria", "Ben"}, id="two, as owners"),
        pytest.param("Is Straße-Müller there? Jörg!", {"Jörg"}, id="letters beyond ASCII"),
        pytest.param("小明昨天吃了什么?", {"小明"}, id="without spaces"),
        pytest.param("Что сказал Олег?", {"Олег"}, id="Cyrillic"),
        pytest.param("What did \U0001f98a say?", {"\U0001f98a"}, id="a sign for a name"),
    ],
)
def test_turns_of_whom_a_query_names_are_boosted_and_those_of_others_lowered(query: str, called: set[str]) -> None:
    speakers = ["Ana Maria", "Ben", "Jörg", "小明", "Олег", "\U0001f98a", "user", "assistant"]
    legs = _spoken_by(*speakers)

    boost = speaker_boost(query, legs, named=1.5, other=0.5)

    assert boost is not None
    assert {speaker: boost(found("A0", speaker=speaker)) for speaker in speakers} == {
        speaker: 1.5 if speaker in called else 0.5 for speaker in speakers
    }


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("Where is the banana?", id="within a word"),
        pytest.param("Where does Maria live?", id="the last name alone"),
        pytest.param("What did Cleo say?", id="somebody who did not speak"),
        pytest.param("", id="nothing"),
    ],
)
def test_query_that_names_no_speaker_boosts_nothing(query: str) -> None:
    assert speaker_boost(query, _spoken_by("Ana Maria", "Ben"), named=1.5, other=0.5) is None


@pytest.mark.parametrize("role", Role)
def test_role_is_no_name(role: Role) -> None:
    query = f"What did the {role.value} say about the {role.value}?"

    assert speaker_boost(query, _spoken_by(*Role), named=1.5, other=0.5) is None


def test_query_is_compared_with_the_speakers_of_every_leg() -> None:
    legs = {"dense": hits_of("A0"), "late": hits_of("B0", told={"B0": {"speaker": "Ben"}})}

    boost = speaker_boost("What did Ben say?", legs, named=2, other=0.5)

    assert boost is not None
    assert (boost(found("B0", speaker="Ben")), boost(found("A0"))) == (2, 0.5)


@pytest.mark.parametrize(
    ("age", "factor"),
    [
        pytest.param(timedelta(), 1.0, id="now"),
        pytest.param(15 * DAY, 0.7071068, id="half of it"),
        pytest.param(30 * DAY, 0.5, id="one half-life"),
        pytest.param(90 * DAY, 0.125, id="three"),
        pytest.param(-5 * DAY, 1.0, id="said after the question"),
        pytest.param(timedelta(days=40_000), 0.0, id="a century"),
    ],
)
def test_recency_halves_with_each_half_life(age: timedelta, factor: float) -> None:
    boost = recency_boost(ASKED, half_life=30 * DAY)

    assert boost(found("A0", said_at=ASKED - age)) == pytest.approx(factor)


def test_recency_compares_instants() -> None:
    boost = recency_boost(ASKED, half_life=timedelta(hours=12))

    assert boost(found("A0", said_at=datetime.fromisoformat("2025-01-01T09:00:00+09:00"))) == pytest.approx(0.5)


_WINDOW = Window(ASKED, ASKED + DAY, Precision.DAY)


@pytest.mark.parametrize(
    ("said_at", "factor"),
    [
        pytest.param(ASKED, 3, id="at its start"),
        pytest.param(ASKED + DAY / 2, 3, id="within"),
        pytest.param(ASKED + DAY, 3, id="at its end"),
        pytest.param(ASKED + 3 * DAY, 3, id="as late as is tolerated"),
        pytest.param(ASKED - 2 * DAY, 3, id="as early as is tolerated"),
        pytest.param(ASKED + 4 * DAY, 2, id="a unit later"),
        pytest.param(ASKED - 3 * DAY, 2, id="a unit earlier"),
        pytest.param(ASKED + 5 * DAY, 1.5, id="two units later"),
        pytest.param(ASKED - 5 * DAY, 1.25, id="three units earlier"),
        pytest.param(ASKED - 50_000 * DAY, 1, id="hundreds of years earlier"),
        pytest.param(datetime.max.replace(tzinfo=UTC), 1, id="at the calendar's end"),
    ],
)
def test_time_boost_is_whole_in_the_window_and_halved_by_each_unit_beyond(said_at: datetime, factor: float) -> None:
    boost = time_boost(_WINDOW, peak=3, tolerance=2 * DAY)

    assert boost(found("A0", said_at=said_at)) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("precision", "beyond"),
    [
        (Precision.HOUR, timedelta(hours=1)),
        (Precision.WEEK, 7 * DAY),
        (Precision.MONTH, 30.44 * DAY),
        (Precision.YEAR, 365.25 * DAY),
    ],
)
def test_time_boost_fades_by_the_unit_that_the_window_is_true_to(precision: Precision, beyond: timedelta) -> None:
    boost = time_boost(Window(ASKED, ASKED + DAY, precision), peak=5, tolerance=timedelta())

    factors = [boost(found("A0", said_at=ASKED + DAY + units * beyond)) for units in (0, 1, 2)]

    assert factors == [5, pytest.approx(3), pytest.approx(2)]


@pytest.mark.parametrize(
    ("events", "factor"),
    [
        pytest.param([Interval(ASKED, ASKED + DAY)], 3, id="in the window"),
        pytest.param([Interval(ASKED - 99 * DAY, ASKED + 99 * DAY)], 3, id="around it"),
        pytest.param([Interval(ASKED + DAY, ASKED + 2 * DAY)], 3, id="from its end on"),
        pytest.param([Interval(ASKED + 2 * DAY, ASKED + 3 * DAY)], 2, id="a unit later"),
        pytest.param([Interval(ASKED - 3 * DAY, ASKED - 2 * DAY)], 1.5, id="two units earlier"),
        pytest.param([Interval(ASKED - 9 * DAY, ASKED - 8 * DAY), Interval(ASKED, ASKED + DAY)], 3, id="the nearest"),
    ],
)
def test_time_boost_is_for_what_is_told_of_the_window_too(events: list[Interval], factor: float) -> None:
    boost = time_boost(_WINDOW, peak=3, tolerance=timedelta())
    told = found("A0", said_at=ASKED + 999 * DAY, events=tuple(events))

    assert boost(told) == pytest.approx(factor)


def test_time_boost_takes_the_nearer_of_saying_and_event() -> None:
    boost = time_boost(_WINDOW, peak=3, tolerance=timedelta())
    far = (Interval(ASKED + 99 * DAY, ASKED + 100 * DAY),)

    assert boost(found("A0", said_at=ASKED, events=far)) == 3


@pytest.mark.parametrize(
    ("window", "said_at", "factor"),
    [
        pytest.param(Window(ASKED, None, Precision.DAY), ASKED + 9999 * DAY, 3, id="since, later"),
        pytest.param(Window(ASKED, None, Precision.DAY), ASKED - DAY, 2, id="since, earlier"),
        pytest.param(Window(None, ASKED, Precision.DAY), ASKED - 9999 * DAY, 3, id="until, earlier"),
        pytest.param(Window(None, ASKED, Precision.DAY), ASKED + DAY, 2, id="until, later"),
        pytest.param(Window(None, None, Precision.DAY), ASKED, 3, id="at any time"),
    ],
)
def test_open_window_boosts_all_on_its_open_side(window: Window, said_at: datetime, factor: float) -> None:
    boost = time_boost(window, peak=3, tolerance=timedelta())

    assert boost(found("A0", said_at=said_at)) == pytest.approx(factor)


@given(st.datetimes(timezones=st.just(UTC)), st.floats(1, 100), st.sampled_from(Precision))
def test_time_boost_is_never_below_one_nor_above_its_peak(said_at: datetime, peak: float, unit: Precision) -> None:
    boost = time_boost(Window(ASKED, ASKED + DAY, unit), peak=peak, tolerance=2 * DAY)

    assert 1 <= boost(found("A0", said_at=said_at)) <= peak


def test_learned_fusion_is_a_network_over_the_features(tmp_path: Path) -> None:
    fusion = LearnedFusion(_network(tmp_path, late=1.0, by_assistant=-1.0, slope=2.0, bias=-0.5))
    legs = {"late": hits_of("C1 A0 B0 D0", 0.2, 0.1, 0.0, -0.1, told={"C1": {"role": Role.ASSISTANT}})}

    odds = fusion.odds(candidates(legs), query="")

    # GELU in its tanh form is 0.841192 of 1 (of 2 - 1 too), nothing of 0, and -0.158808 of -1.
    assert odds == pytest.approx([exp(2 * 0.841192 - 0.5)] * 2 + [exp(-0.5), exp(2 * -0.158808 - 0.5)], rel=1e-5)


def test_learned_fusion_has_weights_with_token_vectors_and_without(tmp_path: Path) -> None:
    path = _network(tmp_path, late=1.0)
    held = json.loads(path.read_text())
    path.write_text(json.dumps({"late": held["late"], "plain": {**held["late"], "bias": 3.0}}))
    legs = {"dense": hits_of("A0")}

    scores = [fuse(legs, unit=Unit.TURN, fusion=LearnedFusion(path, late=late))[0].score for late in (True, False)]

    assert scores == [pytest.approx(0.5), pytest.approx(0.952574, abs=1e-5)]


@pytest.mark.parametrize("bias", [-1e9, 1e9])
def test_odds_of_a_network_beyond_all_bounds_are_a_score(tmp_path: Path, bias: float) -> None:
    fusion = LearnedFusion(_network(tmp_path, late=1.0, bias=bias))

    ranked = fuse({"late": hits_of("A0 B0")}, unit=Unit.TURN, fusion=fusion)

    assert [item.score for item in ranked] == [float(bias > 0)] * 2


def test_network_over_other_features_is_refused(tmp_path: Path) -> None:
    path = _network(tmp_path, late=1.0)
    path.write_text(path.read_text().replace('"dense_before"', '"dense_behind"'))

    with pytest.raises(ValueError, match="was trained on other features than"):
        LearnedFusion(path)


@pytest.mark.parametrize("network", NETWORKS, ids=["shipped encoder", "plain encoder"])
@pytest.mark.parametrize("late", [True, False], ids=["late", "plain"])
def test_shipped_networks_rank_what_all_legs_find_first(network: Path, late: bool) -> None:
    legs = {"dense": hits_of("A0 B0 C0 D0", 0.8, 0.3, 0.2, 0.1), "bm25": hits_of("A0 C0", 9.0, 1.0)}
    if late:
        legs["late"] = hits_of("A0 B0 C0 D0", 0.8, 0.4, 0.3, 0.2)

    ranked = fuse(legs, unit=Unit.TURN, query="What is its name?", fusion=LearnedFusion(network, late=late))

    assert ranked[0].session_row == row_id("A")
    assert ranked[0].score > 2 * ranked[1].score


_names = st.tuples(st.sampled_from("ABC"), st.integers(0, 5)).map(lambda pair: f"{pair[0]}{pair[1]}")
_facts = {f"{session}{place}": {"fact": row_id(f"fact {session}{place}")} for session in "ABC" for place in range(6)}
_hit_lists = st.lists(_names, max_size=12).map(lambda names: hits_of(" ".join(names), told=_facts))
_legs = st.fixed_dictionaries({"dense": _hit_lists, "bm25": _hit_lists, "late": _hit_lists})
_units = st.sampled_from(Unit)
_fusions = st.sampled_from(
    [RankFusion(), *(LearnedFusion(network, late=late) for network in NETWORKS for late in (True, False))]
)
_factors = st.dictionaries(_names, st.floats(0, 100), max_size=8)


@given(_legs, _units, _fusions, _factors)
def test_scores_lie_between_nothing_and_one_best_first(
    legs: Legs, unit: Unit, fusion: Fusion, factors: dict[str, float]
) -> None:
    ranked = fuse(legs, unit=unit, fusion=fusion, boosts={"some": _boost(**factors)})

    scores = [item.score for item in ranked]
    assert all(0 <= score <= 1 for score in scores)
    assert scores == sorted(scores, reverse=True)
    assert all(max(item.matched.values()) == item.score for item in ranked)


@given(_legs, _units, _fusions)
def test_every_item_that_was_found_stands_once(legs: Legs, unit: Unit, fusion: Fusion) -> None:
    ranked = fuse(legs, unit=unit, fusion=fusion)

    turns = [hit.found for hits in legs.values() for hit in hits]
    labels = [_label(item, unit) for item in ranked]
    assert len(set(labels)) == len(labels)
    assert (
        set(labels)
        == {
            Unit.TURN: {(turn.session_row, turn.turn_id) for turn in turns},
            Unit.ROUND: {turn.round_row for turn in turns},
            Unit.SESSION: {turn.session_row for turn in turns},
            Unit.FACT: {turn.fact for turn in turns},
        }[unit]
    )


@given(_legs, _units, _fusions, _factors, _factors)
def test_boosts_reorder_and_never_filter(
    legs: Legs, unit: Unit, fusion: Fusion, some: dict[str, float], more: dict[str, float]
) -> None:
    boosts = {"some": _boost(**some), "more": _boost(**more)}

    plain, boosted = (fuse(legs, unit=unit, fusion=fusion, boosts=each) for each in ({}, boosts))

    assert {_label(item, unit) for item in boosted} == {_label(item, unit) for item in plain}
    assert {row for item in boosted for row in item.round_rows} == {row for item in plain for row in item.round_rows}


@given(_legs, _fusions, _factors)
def test_boost_alone_raises_what_it_is_for_and_lowers_nothing(
    legs: Legs, fusion: Fusion, factors: dict[str, float]
) -> None:
    raised = {name: 1 + factor for name, factor in factors.items()}

    plain, boosted = (
        {_label(item, Unit.TURN): item.score for item in fuse(legs, unit=Unit.TURN, fusion=fusion, boosts=each)}
        for each in ({}, {"some": _boost(**raised)})
    )

    touched = {(row_id(name[0]), name[1:]) for name in raised}
    assert all(boosted[label] >= score for label, score in plain.items())
    assert {label for label, score in plain.items() if boosted[label] != score} <= touched


@given(_legs, _fusions, _factors, st.sampled_from([Unit.ROUND, Unit.SESSION]))
def test_item_has_the_score_of_its_best_turn(legs: Legs, fusion: Fusion, factors: dict[str, float], unit: Unit) -> None:
    boosts = {"some": _boost(**factors)}

    turns = fuse(legs, unit=Unit.TURN, fusion=fusion, boosts=boosts)
    ranked = fuse(legs, unit=unit, fusion=fusion, boosts=boosts)

    best: dict[Hashable, float] = {}
    for turn in turns:
        label = turn.round_rows[0] if unit is Unit.ROUND else turn.session_row
        best[label] = max(turn.score, best.get(label, 0))
    assert {_label(item, unit): item.score for item in ranked} == best


@given(_legs, _fusions)
def test_matched_turns_of_a_session_have_half_its_score_at_least(legs: Legs, fusion: Fusion) -> None:
    turns = {(item.session_row, item.turn_id): item.score for item in fuse(legs, unit=Unit.TURN, fusion=fusion)}

    ranked = fuse(legs, unit=Unit.SESSION, fusion=fusion)

    for item in ranked:
        own = {turn_id: score for (session, turn_id), score in turns.items() if session == item.session_row}
        assert item.matched == {turn_id: score for turn_id, score in own.items() if score >= MATCHED_SHARE * item.score}


@given(_legs, _units, _fusions, st.permutations(["dense", "bm25", "late"]))
def test_order_of_the_legs_changes_no_score(legs: Legs, unit: Unit, fusion: Fusion, order: list[str]) -> None:
    turned = {leg: legs[leg] for leg in order}

    scores = {_label(item, unit): pytest.approx(item.score) for item in fuse(legs, unit=unit, fusion=fusion)}

    assert {_label(item, unit): item.score for item in fuse(turned, unit=unit, fusion=fusion)} == scores


@given(_legs, _units, _fusions)
def test_same_hits_give_the_same_ranking(legs: Legs, unit: Unit, fusion: Fusion) -> None:
    again = {leg: list(hits) for leg, hits in legs.items()}

    assert fuse(legs, unit=unit, fusion=fusion) == fuse(again, unit=unit, fusion=fusion)


@given(_legs)
def test_item_that_is_best_in_every_list_is_first(legs: Legs) -> None:
    ahead = {leg: hits_of(" ".join(["D0", *map(_name, hits)])) for leg, hits in legs.items()}

    ranked = fuse(ahead, unit=Unit.ROUND)

    assert (ranked[0].round_rows, ranked[0].score) == ((row_id("D0"),), 0.5)


@given(_legs, _units, st.integers(1, 20))
def test_limit_is_the_head_of_the_ranking(legs: Legs, unit: Unit, limit: int) -> None:
    assert fuse(legs, unit=unit, limit=limit) == fuse(legs, unit=unit)[:limit]


class _Same(Fusion):
    """A fusion that finds all alike."""

    def odds(self, of: Any, *, query: str) -> Any:
        return [1.0] * len(of)


def _odds(ranks: list[int], *, legs: int) -> float:
    """The odds of an item with these ranks, by hand: what it gets, of what a first rank in every leg gets."""
    return sum(1 / (RRF_K + rank) for rank in ranks) * (RRF_K + 1) / legs


def _score(odds: float) -> float:
    return odds / (1 + odds)


def _boost(**factors: float) -> Boost:
    """A boost with these factors for turns by name, and one for the rest."""
    places = {(row_id(name[0]), int(name[1:])): factor for name, factor in factors.items()}
    return lambda of: places.get((of.session_row, of.position), 1.0)


def _spoken_by(*speakers: str) -> Legs:
    told: Mapping[str, Mapping[str, Any]] = {f"A{place}": {"speaker": name} for place, name in enumerate(speakers)}
    return {"dense": hits_of(" ".join(told), told=told)}


def _network(folder: Path, *, slope: float = 1.0, bias: float = 0.0, **weights: float) -> Path:
    """A file with a network of one hidden number, which weighs the features of these names."""
    held = {
        "features": NAMES,
        "hidden_weight": [[weights.get(name, 0.0)] for name in NAMES],
        "hidden_bias": [0.0],
        "out_weight": [1.0],
        "slope": slope,
        "bias": bias,
    }
    path = folder / "fusion.json"
    path.write_text(json.dumps({"late": held, "plain": held}))
    return path


def _placed(places: dict[str, int]) -> list[Hit]:
    """Forty hits with these sessions at these places."""
    named = {place: f"{name}0" for name, place in places.items()}
    return hits_of(" ".join(named.get(place, f"F{place}") for place in range(1, 41)))


def _name(hit: Hit) -> str:
    names = {row_id(name): name for name in "ABC"}
    return f"{names[hit.found.session_row]}{hit.found.position}"


def _label(item: Ranked, unit: Unit) -> Hashable:
    labels: dict[Unit, Hashable] = {
        Unit.TURN: (item.session_row, item.turn_id),
        Unit.ROUND: item.round_rows[0],
        Unit.SESSION: item.session_row,
        Unit.FACT: item.label,
    }
    return labels[unit]
