"""Placing a query in time: pure functions, without a store."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from memsvc.domain import Hit, Query, Turn, Unit
from memsvc.intervals import AsOf, Expression, Locale, Mode, On, Precision, Window
from memsvc.memory import placing
from memsvc.memory.placing import Asked
from memsvc.plans import Placed, Plan, Spot, TurnFilter
from tests.factories import STARTED, round_of, row_id, turn
from tests.memory import hits_of

# A Wednesday.
ASKED_AT = datetime(2023, 6, 14, 15, 30, tzinfo=UTC)
MAY = datetime(2023, 5, 1, tzinfo=UTC), datetime(2023, 6, 1, tzinfo=UTC)
OF_MAY = Window(*MAY, Precision.MONTH, Mode.BOOST, On.EITHER, "query", "May 2023")
MINUTE = timedelta(minutes=1)


def query(text: str = "What happened in May 2023?", **more: Any) -> Query:
    return Query(text, ASKED_AT, **more)


def told(start: datetime | None, end: datetime | None, precision: Precision = Precision.DAY) -> Expression:
    return Expression("then", (0, 4), start, end, precision, is_relative=False)


def asked_of(query: Query, **more: Any) -> Asked:
    """A query that is searched by its whole text."""
    return Asked(query, **({"words": query.text} | more))


@pytest.mark.parametrize("mode", Mode)
def test_window_of_the_words_has_the_mode_it_is_given(mode: Mode) -> None:
    found = placing.understood(query("What did I buy in May 2023?"), mode=mode)

    window = None if mode is Mode.OFF else replace(OF_MAY, mode=mode)
    assert found == Asked(query("What did I buy in May 2023?"), "What did I buy in May 2023?", window)


def test_question_of_a_known_form_has_a_plan_beside_its_window() -> None:
    asked = query()

    found = placing.understood(asked)

    plan = Plan(window=replace(OF_MAY, mode=Mode.FILTER, on=On.SAID))
    assert found == Asked(asked, asked.text, OF_MAY, plan)


@pytest.mark.parametrize("ends", [MAY, (None, MAY[1]), (MAY[0], None)], ids=["closed", "no start", "no end"])
@pytest.mark.parametrize("mode", [Mode.BOOST, Mode.FILTER])
def test_window_of_the_caller_takes_the_place_of_the_words(
    ends: tuple[datetime | None, datetime | None], mode: Mode
) -> None:
    window = Window(*ends, mode=mode)
    asked = query("What did we talk about last time, yesterday?", window=window)

    found = placing.understood(asked)

    assert found == asked_of(asked, window=window)


@pytest.mark.parametrize("mode", [Mode.BOOST, Mode.FILTER])
@pytest.mark.parametrize("on", On)
def test_window_of_the_caller_without_ends_says_what_becomes_of_the_words(mode: Mode, on: On) -> None:
    asked = query("What did I buy in May 2023?", window=Window(None, None, mode=mode, on=on))

    found = placing.understood(asked, mode=Mode.OFF)

    assert found == Asked(asked, asked.text, replace(OF_MAY, mode=mode, on=on))


@pytest.mark.parametrize("ends", [MAY, (None, None)])
def test_window_that_is_off_takes_no_notice_of_time(ends: tuple[datetime | None, datetime | None]) -> None:
    asked = query(window=Window(*ends, mode=Mode.OFF))

    found = placing.understood(asked, mode=Mode.FILTER)

    assert found == asked_of(asked)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Which book did I finish a week ago?", "Which book did I finish ?"),
        ("What did I buy on 3 May 2023?", "What did I buy ?"),
        ("What did I buy in the last two months?", "What did I buy in the last two months?"),
        ("How many days have passed since I planted tomatoes?", "I planted tomatoes?"),
        ("When?", "When?"),
    ],
    ids=["narrow window", "a day", "wide window", "only when", "nothing left"],
)
def test_question_is_searched_without_words_that_only_say_when(text: str, words: str) -> None:
    found = placing.understood(query(text))

    assert found.words == words


def test_words_are_read_as_the_user_tells_time() -> None:
    found = placing.understood(query("yesterday"), Locale("Asia/Tokyo"))

    assert found.window is not None
    assert (found.window.start, found.window.end) == (
        datetime(2023, 6, 13, 15, tzinfo=UTC),
        datetime(2023, 6, 14, 15, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("window", "is_filter"),
    [(None, False), (Window(*MAY, mode=Mode.BOOST), False), (Window(*MAY, mode=Mode.FILTER), True)],
    ids=["none", "boost", "filter"],
)
def test_only_a_window_that_filters_is_a_filter(window: Window | None, *, is_filter: bool) -> None:
    found = asked_of(query(), window=window).filter

    assert found == (window if is_filter else None)


@pytest.mark.parametrize(
    ("window", "is_open"),
    [
        (None, True),
        (Window(None, None), True),
        (Window(None, None, mode=Mode.OFF), False),
        (Window(MAY[0], None), False),
        (Window(None, MAY[1], mode=Mode.BOOST), False),
    ],
)
def test_caller_leaves_the_time_to_the_words_or_does_not(window: Window | None, *, is_open: bool) -> None:
    found = asked_of(query(window=window)).is_open

    assert found is is_open


def test_other_words_are_asked_within_the_same_bounds() -> None:
    asked = Asked(query(), "it", OF_MAY, Plan(weekdays=frozenset({1})), frozenset({row_id("A")}), frozenset())

    found = asked.about("the parrot")

    assert found == replace(asked, query=query("the parrot"), words="the parrot")


def test_plan_becomes_what_the_store_is_asked_for() -> None:
    plan = Plan(
        sessions=(1, 2), weekdays=frozenset({1}), minutes=(0, 540), window=OF_MAY, role="user", speaker="Ana",
        after="the parrot", before="the marathon",
    )  # fmt: skip
    after, before = spot("A", 1), spot("B", 2)
    as_of = AsOf(valid=ASKED_AT)

    found = placing.turn_filter(plan, query(as_of=as_of), after=after, before=before)

    assert found == TurnFilter(
        sessions=(1, 2), asked_at=ASKED_AT, weekdays=frozenset({1}), minutes=(0, 540), window=OF_MAY, role="user",
        speaker="Ana", after=after, before=before, as_of=as_of,
    )  # fmt: skip


def test_without_ordinals_it_does_not_matter_when_it_was_asked() -> None:
    found = placing.turn_filter(Plan(weekdays=frozenset({1})), query())

    assert found == TurnFilter(weekdays=frozenset({1}))


def spot(session: str, position: int) -> Spot:
    return Spot(STARTED + position * MINUTE, row_id(session), position)


def placed(name: str) -> Placed:
    """The turn of a name like `A3`, the fourth turn of session A; two turns are a round."""
    session, position = name[0], int(name[1:])
    return Placed(row_id(f"{session}{position // 2}"), str(position), spot(session, position))


@pytest.mark.parametrize(
    ("unit", "items"),
    [
        (Unit.TURN, [(("A0",), ("A0",)), (("A0",), ("A1",)), (("A1",), ("A2",)), (("B1",), ("B3",))]),
        (Unit.ROUND, [(("A0",), ("A0", "A1")), (("A1",), ("A2",)), (("B1",), ("B3",))]),
        (Unit.SESSION, [(("A0", "A1"), ("A0", "A1", "A2")), (("B1",), ("B3",))]),
    ],
)
def test_turns_let_through_are_items_in_their_order(
    unit: Unit, items: list[tuple[tuple[str, ...], tuple[str, ...]]]
) -> None:
    found = placing.ranked([placed(name) for name in ("A0", "A1", "A2", "B3")], unit)

    assert [(item.round_rows, item.matched) for item in found] == [
        (tuple(row_id(name) for name in rounds), {name[1:]: 1.0 for name in turns}) for rounds, turns in items
    ]
    assert [(item.session_row, item.position) for item in found] == [
        (row_id(turns[0][0]), int(turns[0][1:])) for _, turns in items
    ]
    assert [item.turn_id for item in found] == [turns[0][1:] if unit is Unit.TURN else None for _, turns in items]
    assert len({item.label for item in found}) == len(items)
    assert {item.score for item in found} == {1.0}


def test_only_hits_of_surviving_turns_are_left() -> None:
    legs = {"dense": hits_of("A0 A1 B0"), "bm25": hits_of("B0 B1")}

    found = placing.surviving(legs, survivors("A1", "B0"))

    assert {leg: _names(hits) for leg, hits in found.items()} == {"dense": ["A1", "B0"], "bm25": ["B0"]}
    assert [hit.rank for hit in found["dense"]] == [2, 3]


def survivors(*names: str) -> frozenset[tuple[UUID, int]]:
    return frozenset((row_id(name[0]), int(name[1:])) for name in names)


def _names(hits: list[Hit]) -> list[str]:
    sessions = {row_id(name): name for name in ("A", "B")}
    return [f"{sessions[hit.found.session_row]}{hit.found.position}" for hit in hits]


def test_nothing_survives_an_empty_set() -> None:
    found = placing.surviving({"dense": hits_of("A0 A1")}, frozenset())

    assert found == {"dense": []}


def recorded(text: str, said: int, recorded_: int | None) -> Turn:
    at = None if recorded_ is None else STARTED + recorded_ * MINUTE
    return turn(text, turn_id=text, said_at=STARTED + said * MINUTE, recorded_at=at)


@pytest.mark.parametrize(
    ("valid", "on_record", "texts"),
    [
        (None, None, ["a", "b", "c"]),
        (1, None, ["a", "b"]),
        (0, None, ["a"]),
        (-1, None, []),
        (None, 5, ["a", "c"]),
        (None, 4, ["c"]),
        (2, 9, ["a", "b", "c"]),
        (1, 5, ["a"]),
    ],
)
def test_round_is_known_as_far_as_both_clocks_say(valid: int | None, on_record: int | None, texts: list[str]) -> None:
    whole = round_of(recorded("a", 0, 5), recorded("b", 1, 9), recorded("c", 2, None))
    valid_at, recorded_at = (None if clock is None else STARTED + clock * MINUTE for clock in (valid, on_record))

    found = placing.as_known(whole, AsOf(valid_at, recorded_at))

    assert [each.text for each in found.turns] == texts
    assert replace(found, turns=whole.turns) == whole


@pytest.mark.parametrize(
    ("first", "behind", "is_in"),
    [
        (0, 1, True),
        (-1, 0, False),
        (1, 2, False),
        (None, 1, True),
        (0, None, True),
        (None, 0, False),
        (None, None, True),
    ],
)
def test_saying_lies_in_a_half_open_window(first: int | None, behind: int | None, *, is_in: bool) -> None:
    start, end = (None if edge is None else STARTED + edge * MINUTE for edge in (first, behind))

    found = placing.is_within(turn("hello"), Window(start, end))

    assert found is is_in


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("event", "is_in"),
    [
        pytest.param(told(MAY[0], MAY[0] + DAY), True, id="within"),
        pytest.param(told(MAY[0] - DAY, MAY[0]), False, id="ends where the window starts"),
        pytest.param(told(MAY[1], MAY[1] + DAY), False, id="starts where the window ends"),
        pytest.param(told(MAY[0] - DAY, MAY[1] + DAY), True, id="around"),
        pytest.param(told(MAY[0] - DAY, None), True, id="open: up to when it was said"),
        pytest.param(told(STARTED + DAY, None), False, id="open, to come"),
        pytest.param(told(None, MAY[0]), False, id="open start, over: one unit long"),
        pytest.param(told(None, MAY[0] + DAY / 2), True, id="open start: its unit reaches in"),
        pytest.param(told(None, STARTED + DAY), False, id="open start, still to end: since it was said"),
    ],
)
def test_event_lies_in_a_window_that_it_overlaps(event: Expression, *, is_in: bool) -> None:
    said_after = turn("then", times=(event,))

    found = {on: placing.is_within(said_after, Window(*MAY, on=on)) for on in On}

    # It was said in March 2024.
    assert found == {On.SAID: False, On.EVENT: is_in, On.EITHER: is_in}


def test_turn_that_tells_of_nothing_lies_in_no_window_by_its_events() -> None:
    window = Window(STARTED - MINUTE, STARTED + MINUTE)

    found = {on: placing.is_within(turn("hello"), replace(window, on=on)) for on in On}

    assert found == {On.SAID: True, On.EVENT: False, On.EITHER: True}
