"""The two clocks and the windows, over random histories, against oracles that are written plainly."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memsvc.domain import Owner, Query, Recollection, Unit
from memsvc.index.edge import EdgeIndex
from memsvc.intervals import AsOf, Interval, Locale, Mode, On, Window
from memsvc.memory.indexing import shape_of
from memsvc.memory.locales import Localizer
from memsvc.plans import Spot, TurnFilter
from memsvc.store.database import Store
from memsvc.temporal import find
from tests.doubles import HashEncoder
from tests.factories import draft
from tests.memory import Memory

EVERYTHING = 100
# Around these, clocks are changed in Berlin, New York and Auckland, years end, or a day is rare.
CORNERS = [
    datetime(2023, 12, 31, 20, tzinfo=UTC),
    datetime(2024, 2, 28, 21, tzinfo=UTC),
    datetime(2024, 3, 10, 6, tzinfo=UTC),
    datetime(2024, 3, 30, 23, tzinfo=UTC),
    datetime(2024, 4, 6, 13, tzinfo=UTC),
    datetime(2024, 10, 26, 22, tzinfo=UTC),
    datetime(2024, 11, 3, 5, tzinfo=UTC),
]
ZONES = [None, "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland", "Pacific/Kiritimati"]
OFFSETS = [timezone(timedelta(minutes=minutes)) for minutes in (-720, -300, 0, 60, 345, 840)]
TIMES = [
    "", "", "yesterday", "today", "last week", "tomorrow", "on 3 May 2024", "on 29 February 2024", "since March 2024",
    "in 2023", "at the end of 2023", "before 2020", "on 31 December 2023 and on 1 January 2024", "until 5 April 2024",
    "in the 90s", "two weeks ago",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Said:
    """A turn of a history, as it will be recorded."""

    text: str
    role: str
    speaker: str
    said_at: datetime


@dataclass(frozen=True, slots=True)
class Chat:
    """A session; the turns behind the first `cut` are appended later."""

    started_at: datetime
    turns: tuple[Said, ...]
    cut: int


@dataclass(frozen=True, slots=True)
class History:
    """Sessions in the order they are recorded in; `appended` says when the rest of each comes."""

    chats: tuple[Chat, ...]
    appended: tuple[int, ...]
    zone: str | None


@dataclass(frozen=True, slots=True)
class Known:
    """A turn as the oracle knows it."""

    session: int
    position: int
    round: int
    turn: Said
    recorded_at: datetime
    local: datetime
    events: tuple[Interval, ...]

    @property
    def name(self) -> str:
        return f"s{self.session}/{self.position}"

    def is_visible(self, as_of: AsOf) -> bool:
        was_said = as_of.valid is None or self.turn.said_at <= as_of.valid
        was_on_record = as_of.recorded is None or self.recorded_at <= as_of.recorded
        return was_said and was_on_record

    def lies_in(self, window: Window) -> bool:
        start = window.start or datetime.min.replace(tzinfo=UTC)
        end = window.end or datetime.max.replace(tzinfo=UTC)
        is_said = start <= self.turn.said_at < end
        is_told = any(event.start < end and start < event.end for event in self.events if event.start and event.end)
        return {On.SAID: is_said, On.EVENT: is_told, On.EITHER: is_said or is_told}[window.on]


def local_of(turn: Said, zone: str | None) -> datetime:
    """When a turn was said, on the user's wall clock."""
    return turn.said_at if zone is None else turn.said_at.astimezone(ZoneInfo(zone))


def events_of(turn: Said, local: datetime) -> tuple[Interval, ...]:
    """What a turn tells of, with open ends closed: at when it was said, or one unit away."""
    closed = []
    for told in find(turn.text, reference=local, prefer="tense"):
        start, end = told.start, told.end
        if start is None and end is not None:
            start = turn.said_at if turn.said_at < end else end - told.precision.length
        elif end is None and start is not None:
            end = turn.said_at if turn.said_at > start else start + told.precision.length
        closed.append(Interval(start, end))
    return tuple(closed)


@st.composite
def chats(draw: st.DrawFn) -> Chat:
    corner, zone = draw(st.sampled_from(CORNERS)), draw(st.sampled_from(OFFSETS))
    start = (corner + timedelta(minutes=15 * draw(st.integers(0, 40)))).astimezone(zone)
    by_two = draw(st.booleans())
    turns, at = [], start
    for position in range(draw(st.integers(1, 4))):
        role = "assistant" if position % 2 and not by_two else "user"
        speaker = ("Ana", "Ben")[draw(st.integers(0, 1))] if by_two else role
        text = f"bramble {draw(st.sampled_from(TIMES))}".strip()
        turns.append(Said(text, role, speaker, at))
        at += timedelta(minutes=draw(st.sampled_from([0, 1, 90, 60 * 24])))
    return Chat(start, tuple(turns), draw(st.integers(1, len(turns))))


@st.composite
def histories(draw: st.DrawFn) -> History:
    made = tuple(draw(st.lists(chats(), min_size=2, max_size=6)))
    order = tuple(draw(st.permutations(range(len(made)))))
    return History(made, order, draw(st.sampled_from(ZONES)))


modest = settings(
    deadline=None,
    max_examples=10,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture
def memory(store: Store, tmp_path: Path) -> Iterator[Memory]:
    with closing(EdgeIndex(tmp_path / "index", shape_of(HashEncoder()))) as index:
        yield Memory(store, index)


@dataclass(slots=True)
class World:
    """A history on disk and in the index, and what the oracle knows of it."""

    memory: Memory
    owner: Owner
    known: list[Known] = field(default_factory=list)

    def instants(self) -> st.SearchStrategy[datetime | None]:
        """Instants at the edges of something, and beside them, on any clock."""
        edges = {known.turn.said_at.astimezone(UTC) for known in self.known}
        for known in self.known:
            edges |= {end.astimezone(UTC) for event in known.events for end in (event.start, event.end) if end}
        beside = st.sampled_from([timedelta(), timedelta(), timedelta(seconds=1), timedelta(seconds=-1)])
        moved = st.builds(lambda at, by: at + by, st.sampled_from(sorted(edges)), beside)
        return st.none() | st.builds(lambda at, zone: at.astimezone(zone), moved, st.sampled_from(OFFSETS))

    def clocks(self) -> st.SearchStrategy[AsOf]:
        recorded = sorted({known.recorded_at for known in self.known})
        return st.builds(
            AsOf,
            valid=self.instants(),
            recorded=st.none() | st.sampled_from([recorded[0] - timedelta(seconds=1), *recorded]),
        )

    def windows(self) -> st.SearchStrategy[Window]:
        def window(one: datetime | None, other: datetime | None, on: On) -> Window:
            if one is not None and other is not None and one >= other:
                one, other = other, one + timedelta(seconds=one == other)
            return Window(one, other, mode=Mode.FILTER, on=on)

        made = st.builds(window, self.instants(), self.instants(), st.sampled_from(On))
        # One that is open at both ends stands for the one that the query names.
        return made.filter(lambda window: window.start is not None or window.end is not None)

    def recalled(self, *, unit: Unit, as_of: AsOf, window: Window | None) -> Recollection:
        asked_at = self.memory.clock.now()
        query = Query("bramble", asked_at, limit=EVERYTHING, unit=unit, window=window, as_of=as_of)
        return self.memory.recaller.recall(self.owner, query)

    def visible(self, as_of: AsOf, window: Window | None = None) -> list[Known]:
        return [known for known in self.known if known.is_visible(as_of) and (window is None or known.lies_in(window))]


def distinct(history: History) -> History:
    """The same history with a word of its own in each turn, so that no item is folded into another."""
    return replace(
        history,
        chats=tuple(
            replace(
                chat,
                turns=tuple(replace(turn, text=f"{turn.text} {_word(n, at)}") for at, turn in enumerate(chat.turns)),
            )
            for n, chat in enumerate(history.chats)
        ),
    )


def _word(session: int, position: int) -> str:
    return f"thorn{'abcdefgh'[session]}{'klmnopqr'[position]}"


def world_of(memory: Memory, history: History) -> World:
    """Record a history piece by piece, a minute apart, for a user of its own."""
    world = World(memory, Owner("default", uuid4().hex))
    Localizer(memory.store, memory.clock, owed=lambda: None).change(world.owner, lambda _: Locale(history.zone))
    for number, chat in enumerate(history.chats):
        record(world, history, number, chat.turns[: chat.cut])
    for number in history.appended:
        if rest := history.chats[number].turns[history.chats[number].cut :]:
            record(world, history, number, rest)
    memory.drain()
    return world


def record(world: World, history: History, number: int, turns: tuple[Said, ...]) -> None:
    memory, chat = world.memory, history.chats[number]
    drafts = [draft(turn.text, turn.role, speaker=turn.speaker, said_at=turn.said_at) for turn in turns]
    memory.clock.pass_time(minutes=1)
    if turns[0] is chat.turns[0]:
        memory.recorder.record(world.owner, f"s{number}", drafts, started_at=chat.started_at)
    else:
        memory.recorder.append(world.owner, f"s{number}", drafts)
    for turn in turns:
        before = [known for known in world.known if known.session == number]
        local = local_of(turn, history.zone)
        opener = _round(before, turn)
        made = Known(number, len(before), opener, turn, memory.clock.now(), local, events_of(turn, local))
        world.known.append(made)


def _round(before: list[Known], turn: Said) -> int:
    """The position of the turn that opens the round of the next one."""
    if not before:
        return 0
    opener = before[before[-1].round]
    size = len(before) - opener.position
    is_reply = turn.role == "assistant" or (size == 1 and turn.speaker != opener.turn.speaker)
    return opener.position if is_reply else len(before)


def shown(found: Recollection) -> set[str]:
    """All turns that evidence shows or names."""
    turns = {f"{item.session_id}/{turn.turn_id}" for item in found.evidence for turn in item.turns}
    return turns | {f"{also.session_id}/{also.turn_id}" for item in found.evidence for also in item.also}


def names(known: list[Known]) -> set[str]:
    return {each.name for each in known}


@modest
@given(histories(), st.data())
def test_recall_returns_exactly_the_turns_that_the_clocks_and_the_window_let_through(
    memory: Memory, history: History, data: st.DataObject
) -> None:
    world = world_of(memory, history)
    for _ in range(6):
        as_of, window = data.draw(world.clocks()), data.draw(st.none() | world.windows())

        found = world.recalled(unit=Unit.TURN, as_of=as_of, window=window)

        assert shown(found) == names(world.visible(as_of, window))


@modest
@given(histories(), st.data())
def test_rounds_are_those_of_the_turns_let_through_and_show_no_other_than_visible_ones(
    memory: Memory, history: History, data: st.DataObject
) -> None:
    world = world_of(memory, distinct(history))
    for _ in range(4):
        as_of, window = data.draw(world.clocks()), data.draw(st.none() | world.windows())

        found = world.recalled(unit=Unit.ROUND, as_of=as_of, window=window)

        rounds = {(known.session, known.round) for known in world.visible(as_of, window)}
        whole = [known for known in world.visible(as_of) if (known.session, known.round) in rounds]
        assert shown(found) == names(whole)


@modest
@given(histories(), st.data())
def test_sessions_are_those_of_the_turns_let_through_and_show_no_other_than_visible_ones(
    memory: Memory, history: History, data: st.DataObject
) -> None:
    world = world_of(memory, history)
    for _ in range(4):
        as_of, window = data.draw(world.clocks()), data.draw(st.none() | world.windows())

        found = world.recalled(unit=Unit.SESSION, as_of=as_of, window=window)

        sessions = {f"s{known.session}" for known in world.visible(as_of, window)}
        assert {item.session_id for item in found.evidence} == sessions
        assert shown(found) <= names(world.visible(as_of))
        assert found.context.count("bramble") == len(shown(found))


@modest
@given(histories(), st.data())
def test_change_of_zone_dates_all_that_was_said_before(memory: Memory, history: History, data: st.DataObject) -> None:
    world = world_of(memory, history)
    zone = data.draw(st.sampled_from(ZONES))
    Localizer(memory.store, memory.clock, owed=lambda: None).change(world.owner, lambda _: Locale(zone))
    memory.drain()
    world.known = [_dated_anew(known, zone) for known in world.known]
    for _ in range(4):
        window = replace(data.draw(world.windows()), on=On.EVENT)

        found = world.recalled(unit=Unit.TURN, as_of=AsOf(), window=window)

        assert shown(found) == names(world.visible(AsOf(), window))


def _dated_anew(known: Known, zone: str | None) -> Known:
    local = local_of(known.turn, zone)
    return replace(known, local=local, events=events_of(known.turn, local))


@modest
@given(histories(), st.data())
def test_store_places_exactly_the_turns_that_a_filter_lets_through_as_they_were_said(
    memory: Memory, history: History, data: st.DataObject
) -> None:
    world = world_of(memory, history)
    rows = rows_of(world)
    for _ in range(10):
        wanted = data.draw(filters(world, rows))
        limit = data.draw(st.sampled_from([1, 3, EVERYTHING]))

        with memory.store.read() as tx:
            placed = tx.times.placed(world.owner, wanted, limit=limit)

        let_through = [known for known in world.known if lets_through(wanted, known, world, rows)]
        let_through.sort(key=lambda known: (known.turn.said_at, rows[known.session].hex, known.position))
        named = [(rows_back(rows)[one.spot.session_row], one.spot.position, one.spot.said_at) for one in placed]
        assert named == [(known.session, known.position, known.turn.said_at) for known in let_through][:limit]
        assert [one.turn_id for one in placed] == [str(one.spot.position) for one in placed]


def rows_of(world: World) -> dict[int, UUID]:
    with world.memory.store.read() as tx:
        found = {known.session: tx.sessions.find(world.owner, f"s{known.session}") for known in world.known}
    return {session: on_disk.row_id for session, on_disk in found.items() if on_disk}


def rows_back(rows: dict[int, UUID]) -> dict[UUID, int]:
    return {row: session for session, row in rows.items()}


def filters(world: World, rows: dict[int, UUID]) -> st.SearchStrategy[TurnFilter]:
    spots = st.none() | st.sampled_from(world.known).map(
        lambda known: Spot(known.turn.said_at, rows[known.session], known.position)
    )
    ordinals = st.sampled_from([None, None, (1, 1), (2, 2), (3, 3), (1, 2), (-1, -1), (-2, -2), (-2, -1), (9, 9)])
    minutes = [None, None, (0, 540), (300, 720), (1020, 1320), (1110, 1440), (1320, 300)]
    return st.builds(
        TurnFilter,
        sessions=ordinals,
        asked_at=world.instants(),
        weekdays=st.just(frozenset()) | st.frozensets(st.integers(0, 6), min_size=1),
        minutes=st.sampled_from(minutes),
        window=st.none() | world.windows().map(lambda window: replace(window, on=On.SAID)),
        role=st.sampled_from([None, None, "user", "assistant"]),
        speaker=st.sampled_from([None, None, "Ana", "ben", "USER"]),
        after=spots,
        before=spots,
        as_of=world.clocks(),
    )


def lets_through(wanted: TurnFilter, known: Known, world: World, rows: dict[int, UUID]) -> bool:
    """Whether a turn is one of those asked for: each condition by itself."""
    minute = known.local.hour * 60 + known.local.minute
    conditions = [
        known.is_visible(wanted.as_of),
        not wanted.weekdays or known.local.weekday() in wanted.weekdays,
        wanted.minutes is None or _is_between(minute, *wanted.minutes),
        wanted.window is None or known.lies_in(wanted.window),
        wanted.role is None or known.turn.role == wanted.role,
        wanted.speaker is None or known.turn.speaker.lower() == wanted.speaker.lower(),
        wanted.after is None or _is_beyond(known, wanted.after, rows, later=True),
        wanted.before is None or _is_beyond(known, wanted.before, rows, later=False),
        wanted.sessions is None or known.session in _ordinals(wanted, world),
    ]
    return all(conditions)


def _is_between(minute: int, first: int, behind: int) -> bool:
    return first <= minute < behind if first < behind else minute >= first or minute < behind


def _is_beyond(known: Known, spot: Spot, rows: dict[int, UUID], *, later: bool) -> bool:
    if rows[known.session] == spot.session_row:
        return known.position > spot.position if later else known.position < spot.position
    return known.turn.said_at > spot.said_at if later else known.turn.said_at < spot.said_at


def _ordinals(wanted: TurnFilter, world: World) -> list[int]:
    """The sessions asked for among those of which something is visible, as they began."""
    first, last = wanted.sessions or (1, -1)
    began = {known.session: world.known[_first(world, known.session)].turn.said_at for known in world.known}
    seen = {known.session for known in world.visible(wanted.as_of)}
    in_order = sorted(
        (at, f"s{session}", session)
        for session, at in began.items()
        if session in seen and (wanted.asked_at is None or at <= wanted.asked_at)
    )
    sessions = [session for _, _, session in in_order]
    if first < 0:
        return [session for place, session in enumerate(sessions, -len(sessions)) if first <= place <= last]
    return [session for place, session in enumerate(sessions, 1) if first <= place and (last < 0 or place <= last)]


def _first(world: World, session: int) -> int:
    return next(place for place, known in enumerate(world.known) if known.session == session)
