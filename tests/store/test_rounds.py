"""Rounds as recall, the index and a rebuild read them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from sqlalchemy import select

from memsvc.domain import Owner, Round, Shape
from memsvc.intervals import Expression, Locale, Precision
from memsvc.store import tables
from memsvc.store.database import Store
from memsvc.store.rounds import Made
from tests.doubles import FixedClock
from tests.factories import OWNER, STARTED, draft, recorder

NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)
BEN = Owner("default", "ben")
THEIRS = Owner("theirs", "ana")


def record(store: Store, *texts: str, owner: Owner = OWNER, session_id: str = "s1") -> None:
    """Record a session in which every turn is a round of its own."""
    recorder(store).record(owner, session_id, [draft(text) for text in texts], started_at=STARTED)


def all_rounds(store: Store) -> list[tuple[Owner, Round]]:
    with store.read() as tx:
        return tx.rounds.page(after=None, limit=1000)


def mark(
    store: Store, *rounds: Round, owner: Owner = OWNER, keys: int = 1, terms: bytes = b"", now: datetime = NOW
) -> None:
    with store.begin() as tx:
        tx.rounds.mark_indexed([Made(owner, found, keys, terms) for found in rounds], now=now)


def ids(*token_ids: int) -> bytes:
    """Token ids as they are kept."""
    return np.array(token_ids, dtype="<u4").tobytes()


def known_terms(store: Store, owner: Owner = OWNER) -> tuple[int, list[int]]:
    """How many indexed turns a user has, and the token ids that they hold."""
    with store.read() as tx:
        turns, held = tx.rounds.terms(owner)
        assert turns == tx.rounds.indexed_turns(owner)
    return turns, sorted(np.frombuffer(held, dtype="<u4").tolist())


def counts(store: Store) -> tuple[int, int, int]:
    with store.read() as tx:
        return tx.rounds.counts()


def test_round_is_loaded_whole(store: Store) -> None:
    recorder(store).record(
        OWNER, "s1", [draft("hello"), draft("hi", "assistant", captions=("a wave",))], started_at=STARTED
    )
    ((_, found),) = all_rounds(store)

    with store.read() as tx:
        loaded = tx.rounds.load(OWNER, [found.row_id])

    assert loaded == {found.row_id: found}
    assert (found.session_id, found.session_started_at, found.first_position) == ("s1", STARTED, 0)
    assert [(turn.turn_id, turn.said) for turn in found.turns] == [("0", "hello"), ("1", "hi\n[image: a wave]")]


@pytest.mark.parametrize("stranger", [BEN, THEIRS])
def test_strangers_round_is_not_loaded(store: Store, stranger: Owner) -> None:
    record(store, "mine")
    record(store, "theirs", owner=stranger)
    rows = [found.row_id for _, found in all_rounds(store)]

    with store.read() as tx:
        loaded = tx.rounds.load(OWNER, rows)

    assert [turn.text for found in loaded.values() for turn in found.turns] == ["mine"]


def test_nothing_is_loaded_for_no_ids(store: Store) -> None:
    record(store, "hello")

    with store.read() as tx:
        assert tx.rounds.load(OWNER, []) == {}
        assert tx.rounds.load(OWNER, [uuid4()]) == {}


def test_unindexed_rounds_come_in_slices_with_their_owners(store: Store) -> None:
    record(store, "one", "two", "three")
    record(store, "other", owner=BEN)
    rounds = {found.turns[0].text: (owner, found) for owner, found in all_rounds(store)}
    mark(store, rounds["two"][1])
    rows = [rounds["one"][1].session_row, rounds["other"][1].session_row]

    with store.read() as tx:
        all_waiting = tx.rounds.unindexed(rows, limit=10)
        two_waiting = tx.rounds.unindexed(rows, limit=2)
        mine = tx.rounds.unindexed(rows[:1], limit=10)
        nobodys = tx.rounds.unindexed([], limit=10)

    def texts(found: list[tuple[Owner, Round]]) -> list[tuple[str, str]]:
        return sorted((owner.user_id, each.turns[0].text) for owner, each in found)

    assert texts(all_waiting) == [("ana", "one"), ("ana", "three"), ("ben", "other")]
    assert len(two_waiting) == 2
    assert texts(mine) == [("ana", "one"), ("ana", "three")]
    assert nobodys == []


def test_round_comes_to_the_index_with_the_turn_before_it(store: Store) -> None:
    turns = [draft("one"), draft("reply", "assistant", captions=("a wave",)), draft("two"), draft("three")]
    recorder(store).record(OWNER, "s1", turns, started_at=STARTED)
    record(store, "elsewhere", session_id="s2")

    with store.read() as tx:
        page = tx.rounds.page(after=None, limit=10)
        waiting = tx.rounds.unindexed([found.session_row for _, found in page], limit=10)

    expected = {"one": None, "two": "reply\n[image: a wave]", "three": "two", "elsewhere": None}
    for read in (page, waiting):
        assert {found.turns[0].text: found.before and found.before.said for _, found in read} == expected


def test_turn_before_is_there_though_its_round_is_indexed_or_on_another_page(store: Store) -> None:
    record(store, "one", "two")
    rounds = {found.turns[0].text: found for _, found in all_rounds(store)}
    mark(store, rounds["one"])
    just_before = UUID(int=rounds["two"].row_id.int - 1)

    with store.read() as tx:
        ((_, waiting),) = tx.rounds.unindexed([rounds["one"].session_row], limit=10)
        (_, paged), *_ = tx.rounds.page(after=just_before, limit=1)

    assert waiting.before == paged.before == rounds["one"].turns[0]


def test_turn_before_is_of_the_same_session_and_user(store: Store) -> None:
    for owner in (OWNER, BEN, THEIRS):
        record(store, f"first of {owner}", f"second of {owner}", owner=owner)

    with store.read() as tx:
        page = tx.rounds.page(after=None, limit=10)

    befores = {(owner, found.before.text) for owner, found in page if found.before is not None}
    assert befores == {(owner, f"first of {owner}") for owner in (OWNER, BEN, THEIRS)}


def test_round_for_recall_is_loaded_without_the_turn_before_it(store: Store) -> None:
    record(store, "one", "two")
    rows = [found.row_id for _, found in all_rounds(store)]

    with store.read() as tx:
        loaded = tx.rounds.load(OWNER, rows)

    assert [found.before for found in loaded.values()] == [None, None]


def test_round_that_has_grown_is_not_marked(store: Store) -> None:
    record(store, "hello")
    ((_, read_before),) = all_rounds(store)
    recorder(store).append(OWNER, "s1", [draft("hi", "assistant")])

    mark(store, read_before)

    assert counts(store) == (1, 0, 0)


def test_counts_say_how_many_keys_the_index_should_hold(store: Store) -> None:
    record(store, "one", "two", "three")
    record(store, "other", owner=THEIRS)
    rounds = [found for _, found in all_rounds(store)]

    mark(store, *rounds[:2], keys=3)

    assert counts(store) == (4, 2, 6)


def test_what_was_made_of_a_round_is_corrected(store: Store) -> None:
    record(store, "one", "two")
    rounds = [found for _, found in all_rounds(store)]
    mark(store, *rounds, keys=3, terms=ids(1, 2))

    with store.begin() as tx:
        tx.rounds.set_made([Made(OWNER, rounds[0], 1, ids(7))])

    assert counts(store) == (2, 2, 4)
    assert known_terms(store) == (2, [1, 2, 7])


def test_what_was_made_of_a_round_that_has_grown_is_not_corrected(store: Store) -> None:
    record(store, "hello")
    ((_, read_before),) = all_rounds(store)
    mark(store, read_before, keys=3, terms=ids(1, 2))
    recorder(store).append(OWNER, "s1", [draft("hi", "assistant")])
    ((_, grown),) = all_rounds(store)
    mark(store, grown, keys=5, terms=ids(1, 2, 3))

    with store.begin() as tx:
        tx.rounds.set_made([Made(OWNER, read_before, 9, ids(8, 9))])

    assert counts(store) == (1, 1, 5)
    assert known_terms(store) == (2, [1, 2, 3])


def test_corrected_round_that_waits_goes_on_waiting(store: Store) -> None:
    record(store, "hello")
    ((_, waiting),) = all_rounds(store)

    with store.begin() as tx:
        tx.rounds.set_made([Made(OWNER, waiting, 2, ids(1))])

    assert counts(store) == (1, 0, 0)


def test_terms_are_those_of_the_users_indexed_turns(store: Store) -> None:
    recorder(store).record(OWNER, "s1", [draft("one"), draft("reply", "assistant"), draft("two")], started_at=STARTED)
    record(store, "three", session_id="s2")
    rounds = {found.turns[0].text: found for _, found in all_rounds(store)}

    mark(store, rounds["one"], terms=ids(5, 6, 6))
    mark(store, rounds["three"], terms=ids(2**32 - 1))

    assert known_terms(store) == (3, [5, 6, 6, 2**32 - 1])


@pytest.mark.parametrize("stranger", [BEN, THEIRS])
def test_strangers_terms_are_not_counted(store: Store, stranger: Owner) -> None:
    record(store, "mine")
    record(store, "theirs", "and theirs", owner=stranger)
    for owner, found in all_rounds(store):
        mark(store, found, owner=owner, terms=ids(1) if owner == OWNER else ids(2, 3))

    assert known_terms(store) == (1, [1])
    assert known_terms(store, stranger) == (2, [2, 2, 3, 3])


def test_user_without_indexed_turns_has_no_terms(store: Store) -> None:
    record(store, "hello")

    assert known_terms(store) == (0, [])
    assert known_terms(store, BEN) == (0, [])


def test_terms_go_with_their_session(store: Store) -> None:
    record(store, "gone", session_id="s1")
    record(store, "kept", session_id="s2")
    rounds = {found.session_id: found for _, found in all_rounds(store)}
    mark(store, rounds["s1"], terms=ids(1))
    mark(store, rounds["s2"], terms=ids(2))

    with store.begin() as tx:
        tx.sessions.delete(OWNER, rounds["s1"].session_row)

    assert known_terms(store) == (1, [2])


_TOKYO = timezone(timedelta(hours=9))
_TEXT = "We sailed in May, since 2019, until Friday."
_TIMES = (
    Expression(
        text="in May",
        span=(10, 16),
        start=datetime(2023, 5, 1, tzinfo=_TOKYO),
        end=datetime(2023, 6, 1, tzinfo=UTC),
        precision=Precision.MONTH,
        is_relative=True,
    ),
    Expression("since 2019", (18, 28), datetime(2019, 1, 1, tzinfo=UTC), None, Precision.YEAR, is_relative=False),
    Expression("until Friday", (30, 42), None, datetime(2024, 3, 9, tzinfo=_TOKYO), Precision.DAY, is_relative=True),
)
_EASTER = Expression("easter", (0, 6), STARTED, STARTED + timedelta(days=1), Precision.DAY, is_relative=True)


def told(found: Round, *times: Expression) -> Round:
    """The round with these times in its first turn."""
    first, *rest = found.turns
    return replace(found, turns=(replace(first, times=times), *rest))


def times_of(store: Store, owner: Owner = OWNER, rows: Sequence[UUID] | None = None) -> list[tuple[Expression, ...]]:
    """What each turn of these rounds names, or of all rounds that there are."""
    rows = rows or [found.row_id for _, found in all_rounds(store)]
    with store.read() as tx:
        loaded = tx.rounds.load(owner, rows)
    return [turn.times for found in loaded.values() for turn in found.turns]


def wall_clocks(store: Store) -> list[tuple[int | None, int | None]]:
    """Weekday and minute of every turn, by when it was said."""
    columns = select(tables.turns.c.said_weekday, tables.turns.c.said_minute).order_by(tables.turns.c.said_at)
    with store.engine.connect() as connection:
        return [(row.said_weekday, row.said_minute) for row in connection.execute(columns)]


def test_marked_round_keeps_the_times_that_its_turns_name(store: Store) -> None:
    recorder(store).record(OWNER, "s1", [draft(_TEXT), draft("hi", "assistant")], started_at=STARTED)
    ((_, found),) = all_rounds(store)

    mark(store, told(found, *_TIMES))

    assert times_of(store) == [_TIMES, ()]
    offsets = [(time.start and time.start.utcoffset(), time.end and time.end.utcoffset()) for time in _TIMES]
    kept = [(time.start and time.start.utcoffset(), time.end and time.end.utcoffset()) for time in times_of(store)[0]]
    assert kept == offsets


def test_times_come_with_the_turns_of_a_session_and_of_a_round_alike(store: Store) -> None:
    record(store, _TEXT, "nothing", "easter")
    rounds = {found.turns[0].text: found for _, found in all_rounds(store)}
    mark(store, told(rounds[_TEXT], *_TIMES), rounds["nothing"], told(rounds["easter"], _EASTER))

    with store.read() as tx:
        turns = tx.sessions.turns(OWNER, rounds[_TEXT].session_row)

    assert [turn.times for turn in turns] == [_TIMES, (), (_EASTER,)]


def test_times_are_told_in_the_order_of_the_text(store: Store) -> None:
    record(store, _TEXT)
    ((_, found),) = all_rounds(store)

    mark(store, told(found, *reversed(_TIMES)))

    assert times_of(store) == [_TIMES]


def test_times_of_a_text_beyond_the_first_plane_are_where_they_were(store: Store) -> None:
    text = "🎂🎉 on 5 May"
    birthday = Expression(
        "5 May", (6, 11), STARTED, STARTED + timedelta(days=1), precision=Precision.DAY, is_relative=True
    )
    record(store, text)
    ((_, found),) = all_rounds(store)

    mark(store, told(found, birthday))

    assert times_of(store) == [(birthday,)]


def test_time_by_an_old_local_clock_begins_at_its_midnight(store: Store) -> None:
    berlin = ZoneInfo("Europe/Berlin")  # Until 1893, 53 minutes and 28 seconds east of UTC.
    born = Expression(
        text="1880",
        span=(0, 4),
        start=datetime(1880, 1, 1, tzinfo=berlin),
        end=datetime(1881, 1, 1, tzinfo=berlin),
        precision=Precision.YEAR,
        is_relative=False,
    )
    record(store, "1880")
    ((_, found),) = all_rounds(store)

    mark(store, told(found, born))

    ((kept,),) = times_of(store)
    assert [at and at.replace(tzinfo=None).isoformat() for at in (kept.start, kept.end)] == [
        "1880-01-01T00:00:00",
        "1881-01-01T00:00:00",
    ]


def test_corrected_round_has_the_new_times_alone(store: Store) -> None:
    record(store, _TEXT, "easter")
    rounds = {found.turns[0].text: found for _, found in all_rounds(store)}
    mark(store, told(rounds[_TEXT], *_TIMES), told(rounds["easter"], _EASTER))

    with store.begin() as tx:
        tx.rounds.set_made([Made(OWNER, told(rounds[_TEXT], _TIMES[1]), 1)])

    assert sorted(times_of(store), key=str) == sorted([(_TIMES[1],), (_EASTER,)], key=str)


def test_round_marked_twice_has_its_times_once(store: Store) -> None:
    record(store, _TEXT)
    ((_, found),) = all_rounds(store)
    mark(store, told(found, *_TIMES))

    mark(store, told(found, *_TIMES))

    assert times_of(store) == [_TIMES]


def test_round_that_has_grown_keeps_its_old_times(store: Store) -> None:
    record(store, _TEXT)
    ((_, read_before),) = all_rounds(store)
    mark(store, told(read_before, _TIMES[0]))
    recorder(store).append(OWNER, "s1", [draft("hi", "assistant")])

    mark(store, told(read_before, *_TIMES))
    with store.begin() as tx:
        tx.rounds.set_made([Made(OWNER, told(read_before), 1)])

    assert times_of(store) == [(_TIMES[0],), ()]


def test_marked_turns_have_weekday_and_minute_of_their_own_clock(store: Store) -> None:
    late = datetime(2024, 3, 3, 23, 59, tzinfo=timezone(timedelta(hours=-5)))
    recorder(store).record(OWNER, "s1", [draft("a", said_at=STARTED), draft("b", said_at=late)], started_at=STARTED)
    unknown = wall_clocks(store)

    mark(store, *(found for _, found in all_rounds(store)))

    assert unknown == [(None, None)] * 2
    assert wall_clocks(store) == [(4, 600), (6, 1439)]


def test_marked_turns_have_weekday_and_minute_of_their_users_clock(store: Store) -> None:
    record(store, "friday in London")
    with store.begin() as tx:
        tx.times.set_locale(OWNER, Locale("Pacific/Kiritimati"))
    ((_, found),) = all_rounds(store)

    mark(store, found)

    assert found.locale == Locale("Pacific/Kiritimati")
    assert wall_clocks(store) == [(5, 0)]


def test_turn_says_when_it_was_recorded(store: Store) -> None:
    clock = FixedClock(NOW)
    recorder(store, clock).record(OWNER, "s1", [draft("one")], started_at=STARTED)
    clock.pass_time(hours=1)
    recorder(store, clock).append(OWNER, "s1", [draft("reply", "assistant")])

    ((_, found),) = all_rounds(store)

    assert [turn.recorded_at for turn in found.turns] == [NOW, NOW + timedelta(hours=1)]


@pytest.mark.parametrize("stranger", [BEN, THEIRS])
def test_strangers_see_no_times(store: Store, stranger: Owner) -> None:
    record(store, _TEXT)
    record(store, "easter", owner=stranger)
    rounds = dict(all_rounds(store))
    mark(store, told(rounds[OWNER], *_TIMES))
    mark(store, told(rounds[stranger], _EASTER), owner=stranger)
    rows = [found.row_id for found in rounds.values()]

    with store.read() as tx:
        theirs = [tx.times.of_rounds(stranger, rows), tx.times.of_session(stranger, rounds[OWNER].session_row)]

    assert [list(found.values()) for found in theirs] == [[[_EASTER]], []]
    assert times_of(store, rows=rows) == [_TIMES]


def test_times_go_with_their_session(store: Store) -> None:
    record(store, _TEXT, session_id="gone")
    record(store, "easter", session_id="kept")
    rounds = {found.session_id: found for _, found in all_rounds(store)}
    mark(store, told(rounds["gone"], *_TIMES), told(rounds["kept"], _EASTER))

    with store.begin() as tx:
        tx.sessions.delete(OWNER, rounds["gone"].session_row)

    assert time_rows(store) == [rounds["kept"].row_id]


def test_times_go_with_their_user(store: Store) -> None:
    record(store, _TEXT)
    record(store, "easter", owner=BEN)
    rounds = dict(all_rounds(store))
    mark(store, told(rounds[OWNER], *_TIMES))
    mark(store, told(rounds[BEN], _EASTER), owner=BEN)

    with store.begin() as tx:
        tx.workspaces.delete_user(OWNER)

    assert time_rows(store) == [rounds[BEN].row_id]


def time_rows(store: Store) -> list[UUID]:
    """The rounds of all times that are kept."""
    with store.engine.connect() as connection:
        return list(connection.execute(select(tables.turn_times.c.round_row)).scalars())


def test_unmarked_rounds_of_a_user_wait_again(store: Store) -> None:
    for session in ("s1", "s2"):
        record(store, "easter", "easter", session_id=session)
    record(store, "easter", owner=BEN)
    rounds = all_rounds(store)
    for owner, found in rounds:
        mark(store, told(found, _EASTER), owner=owner)

    with store.begin() as tx:
        waiting = tx.rounds.unmark(OWNER)

    assert sorted(waiting) == sorted({found.session_row for owner, found in rounds if owner == OWNER})
    assert counts(store) == (5, 1, 1)
    assert times_of(store) == [(_EASTER,)] * 4


def test_user_without_rounds_has_none_to_unmark(store: Store) -> None:
    record(store, "hello")

    with store.begin() as tx:
        assert tx.rounds.unmark(BEN) == []


def test_pages_walk_through_every_round_once(store: Store) -> None:
    record(store, *[f"text {number}" for number in range(23)])
    record(store, "other", owner=THEIRS)

    walked: list[tuple[Owner, Round]] = []
    with store.read() as tx:
        while page := tx.rounds.page(after=walked[-1][1].row_id if walked else None, limit=5):
            walked += page

    assert walked == all_rounds(store)
    assert len({found.row_id for _, found in walked}) == 24


def test_rounds_indexed_since_are_owed_with_those_that_wait(store: Store) -> None:
    for name in ("before", "since", "waiting"):
        record(store, name, session_id=name)
    rounds = {found.session_id: found for _, found in all_rounds(store)}
    mark(store, rounds["before"], now=NOW - timedelta(microseconds=1))
    mark(store, rounds["since"], now=NOW)

    with store.begin() as tx:
        owed = tx.rounds.owed_since(NOW)

    assert sorted(owed, key=str) == sorted(
        [(OWNER, rounds[name].session_row) for name in ("since", "waiting")], key=str
    )
    assert counts(store) == (3, 1, 1)


def undrawn(store: Store, *, by: str, owner: Owner = OWNER) -> list[tuple[str, int]]:
    """The first words of the rounds that are to be extracted, and how many of their turns have been."""
    with store.read() as tx:
        found = tx.rounds.undrawn(owner, row_id_of(store), by=by)
    return [(round_.turns[0].text, done) for round_, done in found]


def row_id_of(store: Store) -> UUID:
    with store.read() as tx:
        session = tx.sessions.find(OWNER, "s1")
    assert session is not None
    return session.row_id


def draw(store: Store, *texts: str, by: str) -> None:
    """Note that the rounds that begin so were extracted as far as they go."""
    with store.begin() as tx:
        for owner, found in tx.rounds.page(after=None, limit=1000):
            if found.turns[0].text in texts:
                tx.rounds.mark_drawn(owner, found.row_id, turns=len(found.turns), by=by)


def to_draw(store: Store, *, by: str, workspace: str | None = None) -> list[Owner]:
    with store.read() as tx:
        return [owner for owner, _ in tx.rounds.sessions_to_draw(workspace, by=by)]


def test_rounds_are_extracted_in_the_order_of_the_chat_and_once(store: Store) -> None:
    record(store, "one", "two", "three")
    before = undrawn(store, by="llm")

    draw(store, "two", by="llm")

    assert before == [("one", 0), ("two", 0), ("three", 0)]
    assert undrawn(store, by="llm") == [("one", 0), ("three", 0)]


def test_round_that_has_grown_is_extracted_from_where_it_grew(store: Store) -> None:
    record(store, "one")
    draw(store, "one", by="llm")
    before = undrawn(store, by="llm")

    recorder(store).append(OWNER, "s1", [draft("and more", "assistant")])

    assert (before, undrawn(store, by="llm")) == ([], [("one", 1)])


def test_what_the_rules_have_extracted_counts_for_nothing_to_the_model(store: Store) -> None:
    record(store, "one", "two")

    draw(store, "one", by="rules")
    draw(store, "two", by="llm")

    assert (undrawn(store, by="rules"), undrawn(store, by="llm")) == ([], [("one", 0)])


@pytest.mark.parametrize("stranger", [BEN, THEIRS], ids=["user", "workspace"])
def test_strangers_round_is_neither_extracted_nor_marked(stranger: Owner, store: Store) -> None:
    record(store, "mine")

    with store.begin() as tx:
        ((_, mine),) = tx.rounds.page(after=None, limit=9)
        tx.rounds.mark_drawn(stranger, mine.row_id, turns=1, by="llm")

    assert undrawn(store, by="llm", owner=stranger) == []
    assert undrawn(store, by="llm") == [("mine", 0)]


def test_sessions_to_extract_are_of_one_workspace_or_of_all(store: Store) -> None:
    for owner in (OWNER, BEN, THEIRS):
        record(store, owner.user_id + owner.workspace, owner=owner)

    draw(store, "bendefault", by="rules")

    assert set(to_draw(store, by="rules")) == {OWNER, THEIRS}
    assert set(to_draw(store, by="llm")) == {OWNER, BEN, THEIRS}
    assert set(to_draw(store, by="llm", workspace="default")) == {OWNER, BEN}
    assert to_draw(store, by="llm", workspace="nobody's") == []


def test_live_index_is_the_last_one_noted(store: Store) -> None:
    shapes = [Shape("first", 8, 4, form=1), Shape("second", 16)]

    with store.begin() as tx:
        seen = [tx.rounds.live_index()]
        for shape in shapes:
            tx.rounds.set_live_index(shape, now=NOW)
            seen.append(tx.rounds.live_index())

    assert seen == [None, *shapes]
