"""How users tell time, and what a change of it does to what they have said."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from memsvc.domain import Owner, Query, Unit
from memsvc.errors import Invalid, UserNotFound
from memsvc.index.edge import EdgeIndex
from memsvc.intervals import Expression, Locale, Mode, On, Precision, Window
from memsvc.memory.indexing import shape_of
from memsvc.memory.locales import Localizer
from memsvc.plans import TurnFilter
from memsvc.store.database import Store
from tests.doubles import HashEncoder
from tests.factories import OWNER, draft
from tests.memory import Memory

# A Wednesday evening; in Tokyo it is Thursday morning.
SAID_AT = datetime(2024, 6, 12, 22, 30, tzinfo=UTC)
BEN = Owner(OWNER.workspace, "ben")
NAMESAKE = Owner("acme", OWNER.user_id)
TOKYO = ZoneInfo("Asia/Tokyo")


@pytest.fixture
def memory(store: Store, tmp_path: Path) -> Iterator[Memory]:
    with closing(EdgeIndex(tmp_path / "index", shape_of(HashEncoder()))) as index:
        yield Memory(store, index)


class Woken:
    """Counts how often the workers were told that something is owed."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def localizer(memory: Memory, woken: Woken | None = None) -> Localizer:
    return Localizer(memory.store, memory.clock, owed=woken or Woken())


def change(memory: Memory, owner: Owner = OWNER, **changes: object) -> Locale:
    return localizer(memory).change(owner, lambda before: replace(before, **changes))  # type: ignore[arg-type]


def tell(memory: Memory, *texts: str, owner: Owner = OWNER) -> None:
    memory.recorder.record(owner, "s1", [draft(text, said_at=SAID_AT) for text in texts], started_at=SAID_AT)
    memory.drain()


def times(memory: Memory, owner: Owner = OWNER) -> list[Expression]:
    """What the turns of the session name."""
    return [told for turn in memory.reader.session(owner, "s1").turns for told in turn.times]


def starts(memory: Memory, owner: Owner = OWNER) -> list[datetime | None]:
    return [told.start for told in times(memory, owner)]


def utc(day: int, hour: int = 0) -> datetime:
    return datetime(2024, 6, day, hour, tzinfo=UTC)


def test_new_user_tells_time_the_usual_way(memory: Memory) -> None:
    tell(memory, "Hello!")

    seen, locale = localizer(memory).locale(OWNER)

    assert (seen, locale) == (memory.clock.now(), Locale(None, 0, "en"))


def test_user_nobody_knows_is_not_found(memory: Memory) -> None:
    tell(memory, "Hello!", owner=NAMESAKE)

    with pytest.raises(UserNotFound):
        localizer(memory).locale(OWNER)


def test_change_makes_a_user_that_is_new(memory: Memory) -> None:
    changed = change(memory, time_zone="Asia/Tokyo", week_start=6, language="de")

    assert changed == Locale("Asia/Tokyo", 6, "de")
    assert localizer(memory).locale(OWNER) == (memory.clock.now(), changed)


def test_change_is_of_one_user_alone(memory: Memory) -> None:
    for owner in (OWNER, BEN, NAMESAKE):
        tell(memory, "We met yesterday.", owner=owner)

    change(memory, time_zone="Asia/Tokyo")
    memory.drain()

    assert [localizer(memory).locale(owner)[1].time_zone for owner in (OWNER, BEN, NAMESAKE)] == [
        "Asia/Tokyo",
        None,
        None,
    ]
    assert [starts(memory, owner) for owner in (OWNER, BEN, NAMESAKE)] == [[utc(11, 15)], [utc(11)], [utc(11)]]


def test_change_of_zone_dates_anew_what_was_said_once_the_workers_come_to_it(memory: Memory) -> None:
    tell(memory, "We met yesterday.", "I was born in 1990.")
    before = starts(memory)

    change(memory, time_zone="Asia/Tokyo")

    meanwhile = starts(memory)
    memory.drain()
    after = times(memory)
    assert before == meanwhile == [utc(11), datetime(1990, 1, 1, tzinfo=UTC)]
    assert [(told.text, told.start, told.end, told.precision) for told in after] == [
        ("yesterday", datetime(2024, 6, 12, tzinfo=TOKYO), datetime(2024, 6, 13, tzinfo=TOKYO), Precision.DAY),
        ("1990", datetime(1990, 1, 1, tzinfo=TOKYO), datetime(1991, 1, 1, tzinfo=TOKYO), Precision.YEAR),
    ]


def test_change_of_week_start_dates_weeks_anew(memory: Memory) -> None:
    tell(memory, "We met last week.")

    change(memory, week_start=6)
    memory.drain()

    # The Sunday before the last one.
    assert starts(memory) == [utc(2)]


def test_change_of_language_reads_other_words(memory: Memory) -> None:
    tell(memory, "Das war gestern.")
    before = times(memory)

    change(memory, language="de")
    memory.drain()

    assert before == []
    assert [(told.text, told.start, told.end) for told in times(memory)] == [("gestern", utc(11), utc(12))]


def test_change_of_zone_changes_weekdays_and_hours(memory: Memory) -> None:
    tell(memory, "Hello!")
    on_wednesday_night = TurnFilter(weekdays=frozenset({2}), minutes=(1320, 1440))
    on_thursday_morning = TurnFilter(weekdays=frozenset({3}), minutes=(420, 480))
    before = [_placed(memory, wanted) for wanted in (on_wednesday_night, on_thursday_morning)]

    change(memory, time_zone="Asia/Tokyo")
    memory.drain()

    after = [_placed(memory, wanted) for wanted in (on_wednesday_night, on_thursday_morning)]
    assert (before, after) == ([1, 0], [0, 1])


def _placed(memory: Memory, wanted: TurnFilter) -> int:
    with memory.store.read() as tx:
        return len(tx.times.placed(OWNER, wanted, limit=10))


def test_change_of_zone_changes_what_a_window_lets_through(memory: Memory) -> None:
    tell(memory, "We met yesterday.")
    # Only in Tokyo is it still yesterday.
    window = Window(utc(12, 1), utc(12, 15), mode=Mode.FILTER, on=On.EVENT)
    before = _recalled(memory, window)

    change(memory, time_zone="Asia/Tokyo")
    memory.drain()

    assert (before, _recalled(memory, window)) == (0, 1)


def _recalled(memory: Memory, window: Window) -> int:
    query = Query("met", memory.clock.now(), unit=Unit.TURN, window=window)
    return len(memory.recaller.recall(OWNER, query).evidence)


def test_what_is_said_after_a_change_is_read_the_new_way(memory: Memory) -> None:
    change(memory, time_zone="Asia/Tokyo")

    tell(memory, "We met yesterday.")

    assert starts(memory) == [utc(11, 15)]


def test_zone_that_is_given_up_dates_in_the_turns_own_again(memory: Memory) -> None:
    change(memory, time_zone="Asia/Tokyo")
    tell(memory, "We met yesterday.")

    change(memory, time_zone=None)
    memory.drain()

    assert starts(memory) == [utc(11)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("time_zone", zone)
            for zone in (
                "Mars/Olympus",
                "",
                " ",
                "europe",
                "../UTC",
                "/etc/passwd",
                "UTC\x00",
                "Europe/Berlin ",
                "x" * 300,
            )
        ),
        ("language", "xx"),
        ("language", ""),
        ("language", "tlh"),
    ],
)
def test_zone_or_language_nobody_knows_is_refused_and_nothing_changed(memory: Memory, field: str, value: str) -> None:
    tell(memory, "We met yesterday.")
    change(memory, time_zone="Asia/Tokyo", week_start=5)
    memory.drain()
    woken = Woken()

    with pytest.raises(Invalid) as refused:
        localizer(memory, woken).change(OWNER, lambda before: replace(before, **{field: value}))  # type: ignore[arg-type]

    assert refused.value.fields == ((field, "is not known"),)
    assert localizer(memory).locale(OWNER)[1] == Locale("Asia/Tokyo", 5, "en")
    assert (memory.claim(), woken.times) == ([], 0)


def test_refusal_makes_no_user(memory: Memory) -> None:
    with pytest.raises(Invalid):
        change(memory, time_zone="Mars/Olympus")

    with pytest.raises(UserNotFound):
        localizer(memory).locale(OWNER)


def test_locale_that_stays_as_it_is_owes_nothing(memory: Memory) -> None:
    tell(memory, "We met yesterday.")
    change(memory, time_zone="Asia/Tokyo")
    memory.drain()

    changed = change(memory, time_zone="Asia/Tokyo")

    assert changed == Locale("Asia/Tokyo")
    assert memory.claim() == []


def test_change_owes_each_session_once_and_wakes_the_workers(memory: Memory) -> None:
    for session in ("s1", "s2"):
        memory.recorder.record(OWNER, session, [draft("Hello!"), draft("Again!")], started_at=SAID_AT)
    memory.drain()
    woken = Woken()

    localizer(memory, woken).change(OWNER, lambda before: replace(before, time_zone="Asia/Tokyo"))

    assert (len(memory.claim()), woken.times) == (2, 1)


def test_session_that_is_dated_anew_is_said_to_be_waiting(memory: Memory) -> None:
    tell(memory, "We met yesterday.")

    change(memory, time_zone="Asia/Tokyo")

    assert memory.reader.status(OWNER, "s1").indexed is False
