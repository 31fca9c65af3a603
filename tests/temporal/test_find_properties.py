"""Whatever is said whenever: finding never raises, and what it finds holds together."""

from datetime import UTC, datetime, timedelta, timezone
from typing import get_args

from hypothesis import example, given
from hypothesis import strategies as st

from memsvc.temporal import Prefer, find
from memsvc.temporal.grammar import STARTERS
from memsvc.temporal.words import MONTHS, NUMBERS, ORDINALS, UNITS, WEEKDAYS

MONTH_NAMES = "January February March April May June July August September October November December".split()  # noqa: SIM905

WORDS = sorted(
    {*STARTERS, *MONTHS, *WEEKDAYS, *UNITS, *NUMBERS, *ORDINALS, "ago", "back", "later", "before", "of", "to"}
)
SIGNS = [",", ".", "/", "-", ":", "'", "\u2019s", "!", "\n", "st", "th", "pm", "s", "o'clock", "🙂", "$", "%"]

offsets = st.integers(-24 * 60 + 1, 24 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes)))
references = st.datetimes(timezones=offsets)
numbers = st.integers(0, 10**9).map(str) | st.sampled_from(["1", "5", "12", "31", "53", "99", "1999", "2021", "9999"])
words = st.sampled_from(WORDS)
parts = words | words.map(str.capitalize) | numbers | st.sampled_from(SIGNS)
spoken = st.lists(st.tuples(parts, st.sampled_from([" ", " ", " ", ""])), max_size=16).map(
    lambda pairs: "".join(part + space for part, space in pairs)
)
texts = st.text() | spoken
prefers = st.sampled_from(get_args(Prefer))
week_starts = st.integers(0, 6)

dates = st.dates(datetime(1900, 1, 1, tzinfo=UTC).date(), datetime(2100, 12, 31, tzinfo=UTC).date())
anchored = (
    dates.map(lambda date: date.isoformat())
    | dates.map(lambda date: f"{date.isoformat()} 08:30")
    | dates.map(lambda date: f"{date.day} {MONTH_NAMES[date.month - 1]} {date.year}")
    | dates.map(lambda date: f"{MONTH_NAMES[date.month - 1]} {date.day}, {date.year}")
    | dates.map(lambda date: f"{date.month}/{date.day}/{date.year}")
    | dates.map(lambda date: f"in {MONTH_NAMES[date.month - 1]} {date.year}")
    | dates.map(lambda date: f"in {date.year}")
    | dates.map(lambda date: f"since {date.year}")
    | dates.map(lambda date: f"Q{date.month // 4 + 1} {date.year}")
    | dates.map(lambda date: f"in the {date.year // 10 * 10}s")
)


@given(texts, references, prefers, week_starts)
@example("right now", datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), "past", 0)
@example("tomorrow", datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))), "future", 6)
def test_expressions_of_any_text_lie_in_order_and_end_after_they_start(
    text: str, reference: datetime, prefer: Prefer, week_start: int
) -> None:
    found = find(text, reference=reference, prefer=prefer, week_start=week_start)

    assert [text[slice(*each.span)] for each in found] == [each.text for each in found]
    edges = [edge for each in found for edge in each.span]
    assert edges == sorted(edges)
    assert all(each.text for each in found)
    times = [time for each in found for time in (each.start, each.end) if time]
    assert [time.tzinfo for time in times] == [reference.tzinfo] * len(times)
    assert all(each.start < each.end for each in found if each.start and each.end)


@given(texts, references, prefers, week_starts)
def test_same_text_has_the_same_expressions_again(
    text: str, reference: datetime, prefer: Prefer, week_start: int
) -> None:
    first = find(text, reference=reference, prefer=prefer, week_start=week_start)
    again = find(text, reference=reference, prefer=prefer, week_start=week_start)

    assert again == first


@given(anchored, st.datetimes(), st.datetimes(), offsets, prefers, prefers)
def test_anchored_expression_is_the_same_whenever_it_was_said(
    text: str, one_day: datetime, another: datetime, zone: timezone, prefer: Prefer, other: Prefer
) -> None:
    first = find(text, reference=one_day.replace(tzinfo=zone), prefer=prefer)
    second = find(text, reference=another.replace(tzinfo=zone), prefer=other)

    assert first == second
    assert [each.is_relative for each in first] == [False]
