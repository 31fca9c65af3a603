"""The times that turns name, and the filters over turns that time makes: on both databases."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from memsvc.domain import Draft, Owner, Turn
from memsvc.intervals import AsOf, Expression, Locale, Precision, Window
from memsvc.plans import Placed, Spot, TurnFilter
from memsvc.store.database import Store
from memsvc.store.rounds import Made
from memsvc.store.times import Dated
from tests.doubles import FixedClock
from tests.factories import OWNER, STARTED, draft, recorder

BEN = Owner("default", "ben")
NAMESAKE = Owner("theirs", "ana")
DAY = timedelta(days=1)
RECORDED = datetime(2025, 1, 1, 12, tzinfo=UTC)
TOKYO = timezone(timedelta(hours=9))


def remember(
    store: Store,
    session_id: str,
    *drafts: Draft,
    owner: Owner = OWNER,
    started_at: datetime = STARTED,
    recorded_at: datetime = RECORDED,
) -> None:
    """Record a session and mark it as indexed."""
    recorder(store, FixedClock(recorded_at)).record(owner, session_id, drafts, started_at=started_at)
    mark(store)


def mark(store: Store, **times: Sequence[Expression]) -> None:
    """Mark all rounds as indexed; a turn names those times that are given for its id."""
    with store.begin() as tx:
        made = []
        for owner, found in tx.rounds.page(after=None, limit=1000):
            turns = tuple(replace(turn, times=tuple(times.get(turn.turn_id, ()))) for turn in found.turns)
            made.append(Made(owner, replace(found, turns=turns), 1))
        tx.rounds.mark_indexed(made, now=RECORDED)


def placed(store: Store, owner: Owner = OWNER, *, limit: int = 100, **wanted: Any) -> list[str]:
    """The ids of the turns that a filter lets through."""
    return [one.turn_id for one in all_placed(store, owner, limit=limit, **wanted)]


def all_placed(store: Store, owner: Owner = OWNER, *, limit: int = 100, **wanted: Any) -> list[Placed]:
    with store.read() as tx:
        return tx.times.placed(owner, TurnFilter(**wanted), limit=limit)


def spot_of(store: Store, turn_id: str) -> Spot:
    return next(one.spot for one in all_placed(store) if one.turn_id == turn_id)


# How users tell time.


def test_user_tells_time_in_the_usual_way_unless_said(store: Store) -> None:
    with store.begin() as tx:
        tx.workspaces.ensure_user(OWNER, now=RECORDED)

        locales = [tx.times.locale(owner) for owner in (OWNER, BEN)]

    assert locales == [Locale(None, 0, "en")] * 2


def test_way_a_user_tells_time_is_their_own(store: Store) -> None:
    with store.begin() as tx:
        for owner in (OWNER, BEN, NAMESAKE):
            tx.workspaces.ensure_user(owner, now=RECORDED)

        tx.times.set_locale(OWNER, Locale("Europe/Berlin", 6, "de"))

    with store.read() as tx:
        locales = [tx.times.locale(owner) for owner in (OWNER, BEN, NAMESAKE)]
    assert locales == [Locale("Europe/Berlin", 6, "de"), Locale(), Locale()]


def test_way_of_a_user_nobody_knows_is_not_kept(store: Store) -> None:
    with store.begin() as tx:
        tx.times.set_locale(OWNER, Locale("Europe/Berlin"))

        assert tx.times.locale(OWNER) == Locale()
        assert not tx.workspaces.has_user(OWNER)


# Turns by their place in time.


def test_placed_turns_come_as_they_were_said_with_their_rounds(store: Store) -> None:
    remember(store, "late", draft("c", turn_id="c"), started_at=STARTED + DAY)
    remember(store, "early", draft("a", turn_id="a"), draft("b", "assistant", turn_id="b"))
    with store.read() as tx:
        rounds = {found.session_id: found for _, found in tx.rounds.page(after=None, limit=10)}
    early, late = rounds["early"], rounds["late"]

    found = all_placed(store)

    assert found == [
        Placed(early.row_id, "a", Spot(STARTED, early.session_row, 0)),
        Placed(early.row_id, "b", Spot(STARTED, early.session_row, 1)),
        Placed(late.row_id, "c", Spot(STARTED + DAY, late.session_row, 0)),
    ]


def test_turn_that_waits_for_the_index_is_not_placed(store: Store) -> None:
    remember(store, "s1", draft("a", turn_id="a"))
    recorder(store).record(OWNER, "s2", [draft("b", turn_id="b")], started_at=STARTED)

    assert placed(store) == ["a"]


def test_no_more_turns_are_placed_than_asked(store: Store) -> None:
    remember(store, "s1", *(draft(name, turn_id=name) for name in "abc"))

    assert placed(store, limit=2) == ["a", "b"]


@pytest.mark.parametrize("stranger", [BEN, NAMESAKE])
def test_strangers_turns_are_not_placed(store: Store, stranger: Owner) -> None:
    remember(store, "s1", draft("a", turn_id="a"))
    remember(store, "s1", draft("b", turn_id="b"), owner=stranger)

    assert placed(store) == ["a"]
    assert placed(store, sessions=(1, -1)) == ["a"]
    assert placed(store, stranger) == ["b"]
    assert placed(store, stranger, after=spot_of(store, "a")) == []


@pytest.mark.parametrize(
    ("weekdays", "expected"),
    [
        pytest.param(set(), ["fri", "sat", "sun", "mon"], id="any"),
        pytest.param({4}, ["fri"], id="Fridays"),
        pytest.param({5, 6}, ["sat", "sun"], id="weekends"),
        pytest.param({0, 1, 2, 3}, ["mon"], id="Mondays to Thursdays"),
        pytest.param({2}, [], id="Wednesdays"),
    ],
)
def test_turns_of_certain_weekdays(store: Store, weekdays: set[int], expected: list[str]) -> None:
    names = ("fri", "sat", "sun", "mon")
    remember(store, "s1", *(draft(name, turn_id=name, said_at=STARTED + day * DAY) for day, name in enumerate(names)))

    assert placed(store, weekdays=frozenset(weekdays)) == expected


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        pytest.param((540, 720), ["09:00", "11:59"], id="from, included, to, excluded"),
        pytest.param((0, 1), ["00:00"], id="the first minute"),
        pytest.param((1380, 360), ["00:00", "05:59", "23:00"], id="over midnight"),
        pytest.param((1320, 0), ["23:00"], id="up to midnight"),
        pytest.param((1320, 1440), ["23:00"], id="up to midnight, as the day's last"),
        pytest.param((780, 840), [], id="when nothing was said"),
    ],
)
def test_turns_of_a_time_of_day(store: Store, minutes: tuple[int, int], expected: list[str]) -> None:
    clocks = ("00:00", "05:59", "06:00", "09:00", "11:59", "12:00", "23:00")
    remember(
        store,
        "s1",
        *(draft(clock, turn_id=clock, said_at=datetime.fromisoformat(f"2024-03-01T{clock}:59Z")) for clock in clocks),
    )

    assert placed(store, minutes=minutes) == expected


def test_weekday_and_time_of_day_are_those_of_the_users_clock(store: Store) -> None:
    with store.begin() as tx:
        tx.workspaces.ensure_user(OWNER, now=RECORDED)
        tx.times.set_locale(OWNER, Locale("America/New_York"))
    remember(
        store,
        "s1",
        draft("a", turn_id="a", said_at=datetime(2024, 3, 2, 3, tzinfo=UTC)),
        draft("b", turn_id="b", said_at=datetime(2024, 3, 2, 12, tzinfo=TOKYO)),
        draft("c", turn_id="c", said_at=datetime(2024, 7, 2, 2, tzinfo=UTC)),
    )

    # Friday evening in New York, in winter five hours behind, in summer four.
    assert placed(store, weekdays=frozenset({4}), minutes=(1320, 1380)) == ["a", "b"]
    assert placed(store, weekdays=frozenset({0}), minutes=(1320, 1380)) == ["c"]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        pytest.param(Window(None, None), ["a", "b", "c"], id="open"),
        pytest.param(Window(STARTED + DAY, None), ["b", "c"], id="from, included"),
        pytest.param(Window(None, STARTED + DAY), ["a"], id="to, excluded"),
        pytest.param(Window(STARTED + DAY, STARTED + 2 * DAY), ["b"], id="a day"),
        pytest.param(Window((STARTED + DAY).astimezone(TOKYO), None), ["b", "c"], id="in Tokyo's time"),
        pytest.param(Window(STARTED + 9 * DAY, None), [], id="when nothing was said"),
    ],
)
def test_turns_said_within_a_window(store: Store, window: Window, expected: list[str]) -> None:
    remember(store, "s1", *(draft(name, turn_id=name, said_at=STARTED + day * DAY) for day, name in enumerate("abc")))

    assert placed(store, window=window) == expected


def test_turns_of_a_role(store: Store) -> None:
    remember(store, "s1", draft("a", turn_id="a"), draft("b", "assistant", turn_id="b"), draft("c", turn_id="c"))

    assert placed(store, role="user") == ["a", "c"]
    assert placed(store, role="assistant") == ["b"]
    assert placed(store, role="tool") == []


@pytest.mark.parametrize("named", ["Caroline", "caroline", "CAROLINE"])
def test_turns_of_a_speaker_in_any_case(store: Store, named: str) -> None:
    remember(
        store,
        "s1",
        draft("a", turn_id="a", speaker="Caroline"),
        draft("b", turn_id="b", speaker="Carol"),
        draft("c", turn_id="c", speaker="CAROLINE"),
    )

    assert placed(store, speaker=named) == ["a", "c"]


@pytest.mark.parametrize("named", ["Zoë", "zoë", "ZOË"])
def test_turns_of_a_speaker_with_letters_beyond_ascii(store: Store, named: str) -> None:
    remember(
        store,
        "s1",
        draft("a", turn_id="a", speaker="Zoë"),
        draft("b", turn_id="b", speaker="ZOË"),
        draft("c", turn_id="c", speaker="Zoe"),
    )

    assert placed(store, speaker=named) == ["a", "b"]


@pytest.fixture
def talks(store: Store) -> Store:
    """Two sessions at one time, and one before and one behind them; the turns of each share one time."""
    for day, session in ((0, "a"), (1, "b"), (1, "c"), (2, "d")):
        turns = [draft("text", turn_id=f"{session}{place}") for place in range(2)]
        remember(store, session, *turns, started_at=STARTED + day * DAY)
    return store


def test_turns_after_a_spot_are_the_next_of_its_session_and_later_ones(talks: Store) -> None:
    found = placed(talks, after=spot_of(talks, "b0"))

    assert found == ["b1", "d0", "d1"]


def test_turns_before_a_spot_are_the_first_of_its_session_and_earlier_ones(talks: Store) -> None:
    found = placed(talks, before=spot_of(talks, "b1"))

    assert found == ["a0", "a1", "b0"]


def test_turns_between_two_spots(talks: Store) -> None:
    across = placed(talks, after=spot_of(talks, "a0"), before=spot_of(talks, "d1"))
    within = placed(talks, after=spot_of(talks, "b0"), before=spot_of(talks, "b1"))

    assert sorted(across) == ["a1", "b0", "b1", "c0", "c1", "d0"]
    assert within == []


@pytest.mark.parametrize(
    ("ordinals", "expected"),
    [
        pytest.param((1, 1), "a", id="the first"),
        pytest.param((2, 2), "b", id="the second, by its name"),
        pytest.param((1, 3), "abc", id="the first three"),
        pytest.param((-1, -1), "d", id="the last"),
        pytest.param((-2, -2), "c", id="the last but one"),
        pytest.param((-3, -1), "bcd", id="the last three"),
        pytest.param((-3, -2), "bc", id="the last three without the last"),
        pytest.param((3, -1), "cd", id="from the third on"),
        pytest.param((1, -1), "abcd", id="all"),
        pytest.param((5, 5), "", id="more than there are"),
        pytest.param((-5, -5), "", id="more than there are, from the end"),
        pytest.param((-9, -1), "abcd", id="as many as there are"),
        pytest.param((3, 9), "cd", id="up to as many as there are"),
    ],
)
def test_sessions_by_their_ordinal(talks: Store, ordinals: tuple[int, int], expected: str) -> None:
    names = sessions_by_id(talks)

    with talks.read() as tx:
        found = tx.times.sessions(OWNER, TurnFilter(sessions=ordinals))

    assert [names[row] for row in found] == list(expected)
    assert sorted(placed(talks, sessions=ordinals)) == [f"{name}{place}" for name in expected for place in range(2)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param({"asked_at": STARTED + DAY}, "abc", id="begun when it was asked"),
        pytest.param({"asked_at": STARTED - DAY}, "", id="none begun when it was asked"),
        pytest.param({"asked_at": STARTED + DAY, "sessions": (-1, -1)}, "c", id="the last when it was asked"),
        pytest.param({"as_of": AsOf(valid=STARTED)}, "a", id="with a turn that was said then"),
        pytest.param({"as_of": AsOf(valid=STARTED + DAY), "sessions": (-1, -1)}, "c", id="the last as of then"),
        pytest.param({"as_of": AsOf(recorded=RECORDED - DAY)}, "", id="nothing on record then"),
    ],
)
def test_sessions_are_counted_as_they_were_known(talks: Store, wanted: dict[str, Any], expected: str) -> None:
    names = sessions_by_id(talks)

    with talks.read() as tx:
        found = tx.times.sessions(OWNER, TurnFilter(**{"sessions": (1, -1), **wanted}))

    assert [names[row] for row in found] == list(expected)


def test_sessions_without_turns_do_not_count(talks: Store) -> None:
    recorder(talks).record(OWNER, "0", [], started_at=STARTED - DAY)

    assert placed(talks, sessions=(1, 1)) == ["a0", "a1"]


def sessions_by_id(store: Store) -> dict[UUID, str]:
    with store.read() as tx:
        return {found.session_row: found.session_id for _, found in tx.rounds.page(after=None, limit=100)}


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [
        pytest.param(AsOf(), ["a", "b", "c"], id="now"),
        pytest.param(AsOf(valid=STARTED), ["a"], id="said by then, included"),
        pytest.param(AsOf(valid=STARTED - timedelta(microseconds=1)), [], id="before all"),
        pytest.param(AsOf(recorded=RECORDED), ["a", "b"], id="on record by then, included"),
        pytest.param(AsOf(recorded=RECORDED - timedelta(microseconds=1)), [], id="before the record"),
        pytest.param(AsOf(valid=STARTED + DAY, recorded=RECORDED), ["a", "b"], id="both"),
        pytest.param(AsOf(valid=STARTED + DAY, recorded=RECORDED - DAY), [], id="one of both is not enough"),
    ],
)
def test_turns_as_they_were_known_at_two_instants(store: Store, as_of: AsOf, expected: list[str]) -> None:
    first = [draft("a", turn_id="a"), draft("b", turn_id="b", said_at=STARTED + DAY)]
    remember(store, "s1", *first)
    recorder(store, FixedClock(RECORDED + DAY)).append(
        OWNER, "s1", [draft("c", turn_id="c", said_at=STARTED + 2 * DAY)]
    )
    mark(store)

    assert placed(store, as_of=as_of) == expected


def test_filters_hold_together(talks: Store) -> None:
    remember(talks, "e", draft("other", "assistant", turn_id="e0", speaker="Bot"), started_at=STARTED + DAY)

    found = placed(
        talks,
        sessions=(1, -1),
        weekdays=frozenset({5}),
        minutes=(600, 601),
        window=Window(STARTED, STARTED + 2 * DAY),
        role="user",
        speaker="user",
        after=spot_of(talks, "a1"),
        before=spot_of(talks, "b1"),
        as_of=AsOf(STARTED + 9 * DAY, RECORDED),
    )

    assert found == ["b0"]


# Timelines.

_MAY = datetime(2023, 5, 1, tzinfo=UTC)


def expression(
    start: datetime | None,
    end: datetime | None,
    *,
    span: tuple[int, int] = (0, 4),
    precision: Precision = Precision.DAY,
) -> Expression:
    """The words at these offsets of a text of four letters over and over."""
    return Expression(("text" * 9)[slice(*span)], span, start, end, precision, is_relative=False)


def told(
    store: Store, *, speaker: str = "user", owner: Owner = OWNER, session_id: str = "s1", **times: Sequence[Expression]
) -> None:
    """Record a session of turns that name these times."""
    drafts = [draft("text" * 9, turn_id=turn_id, speaker=speaker) for turn_id in times]
    recorder(store, FixedClock(RECORDED)).record(owner, session_id, drafts, started_at=STARTED)
    with store.begin() as tx:
        for whose, found in tx.rounds.page(after=None, limit=1000):
            if (whose, found.session_id) == (owner, session_id):
                turns = tuple(replace(turn, times=tuple(times[turn.turn_id])) for turn in found.turns)
                tx.rounds.mark_indexed([Made(whose, replace(found, turns=turns), 1)], now=RECORDED)


def timeline(store: Store, owner: Owner = OWNER, **wanted: Any) -> list[Dated]:
    usual: dict[str, Any] = {
        "start": None, "end": None, "speaker": None, "as_of": AsOf(), "after": None, "limit": 100
    }  # fmt: skip
    with store.read() as tx:
        return tx.times.timeline(owner, **{**usual, **wanted})


def turn_ids(items: Sequence[Dated]) -> list[str]:
    return [item.turn.turn_id for item in items]


def test_item_of_a_timeline_has_its_turn_its_session_and_its_time(store: Store) -> None:
    time = expression(_MAY.astimezone(TOKYO), _MAY + DAY, span=(4, 8))
    told(store, a=[time])

    (item,) = timeline(store)

    assert item == Dated(
        sorts_at=_MAY,
        row_id=item.row_id,
        session_id="s1",
        turn=Turn("a", item.turn.role, "user", "text" * 9, STARTED),
        expression=time,
    )
    assert (item.turn.recorded_at, item.turn.times) == (RECORDED, ())
    assert item.expression.start is not None
    assert item.expression.start.utcoffset() == timedelta(hours=9)


def test_timeline_stands_in_the_order_of_the_times_told(store: Store) -> None:
    told(
        store,
        later=[expression(_MAY + DAY, _MAY + 2 * DAY)],
        earlier=[expression(_MAY, _MAY + DAY)],
        ends=[expression(None, _MAY - DAY)],
        begins=[expression(_MAY + 2 * DAY, None)],
        twice=[expression(_MAY + 3 * DAY, None), expression(_MAY - 2 * DAY, _MAY, span=(4, 8))],
    )

    found = timeline(store)

    # What has no start stands where it ends.
    assert turn_ids(found) == ["twice", "ends", "earlier", "later", "begins", "twice"]
    assert [item.sorts_at for item in found] == [_MAY + days * DAY for days in (-2, -1, 0, 1, 2, 3)]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        pytest.param({}, ["month", "ends", "day", "begins"], id="all"),
        pytest.param({"start": _MAY + DAY}, ["month", "begins"], id="a day ends where it starts"),
        pytest.param({"end": _MAY}, ["month", "ends"], id="a day starts where it ends"),
        pytest.param({"start": _MAY, "end": _MAY + DAY}, ["month", "day"], id="a day"),
        pytest.param({"start": _MAY - 30 * DAY, "end": _MAY - 20 * DAY}, ["ends"], id="before an open start"),
        pytest.param({"start": _MAY + 90 * DAY}, ["begins"], id="behind an open end"),
        pytest.param({"start": _MAY.astimezone(TOKYO)}, ["month", "day", "begins"], id="in Tokyo's time"),
    ],
)
def test_timeline_has_what_overlaps_its_bounds(store: Store, bounds: dict[str, Any], expected: list[str]) -> None:
    told(
        store,
        day=[expression(_MAY, _MAY + DAY)],
        month=[expression(_MAY - 7 * DAY, _MAY + 23 * DAY)],
        ends=[expression(None, _MAY - DAY)],
        begins=[expression(_MAY + 9 * DAY, None)],
    )

    found = turn_ids(timeline(store, **bounds))

    assert found == expected


def test_timeline_goes_on_behind_a_place_until_all_was_told_once(store: Store) -> None:
    same = [expression(_MAY, _MAY + DAY, span=(place, place + 4)) for place in range(0, 20, 4)]
    told(store, a=same, b=[expression(_MAY + DAY, None)], c=[expression(_MAY - DAY, _MAY)])
    whole = timeline(store)

    walked: list[Dated] = []
    while page := timeline(store, limit=2, after=(walked[-1].sorts_at, walked[-1].row_id) if walked else None):
        walked += page

    assert turn_ids(whole) == ["c", *"aaaaa", "b"]
    assert walked == whole
    assert len({item.row_id for item in walked}) == 7


def test_timeline_of_a_speaker(store: Store) -> None:
    for session, speaker in (("s1", "Ana"), ("s2", "Ben")):
        told(store, session_id=session, speaker=speaker, a=[expression(_MAY, None)])

    found = timeline(store, speaker="Ben")

    assert [(item.session_id, item.turn.speaker) for item in found] == [("s2", "Ben")]


@pytest.mark.parametrize(
    ("as_of", "is_known"),
    [
        pytest.param(AsOf(), True, id="now"),
        pytest.param(AsOf(valid=STARTED), True, id="said by then, included"),
        pytest.param(AsOf(valid=STARTED - DAY), False, id="not said yet"),
        pytest.param(AsOf(recorded=RECORDED), True, id="on record by then, included"),
        pytest.param(AsOf(recorded=RECORDED - DAY), False, id="not on record yet"),
        pytest.param(AsOf(STARTED, RECORDED - DAY), False, id="one of both is not enough"),
    ],
)
def test_timeline_as_it_was_known_at_two_instants(store: Store, as_of: AsOf, is_known: bool) -> None:
    told(store, a=[expression(_MAY, None)])

    assert turn_ids(timeline(store, as_of=as_of)) == ["a"] * is_known


@pytest.mark.parametrize("stranger", [BEN, NAMESAKE])
def test_timelines_are_each_owners_own(store: Store, stranger: Owner) -> None:
    told(store, a=[expression(_MAY, None)])
    told(store, owner=stranger, b=[expression(_MAY, None)])

    found = [turn_ids(timeline(store, owner)) for owner in (OWNER, stranger)]

    assert found == [["a"], ["b"]]
