"""Pure: stretches of a calendar on the wall, without zones, and things that come round again."""

import calendar
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from typing import final

from memsvc.intervals import Precision

DAY = timedelta(days=1)
# The calendar's edges, like all times here those of a clock on the wall.
EARLIEST, LATEST = datetime.min, datetime.max  # noqa: DTZ901
_TRIES = 12


@final
@dataclass(frozen=True, slots=True)
class Span:
    """From `start` up to, and without, `end`; naive wall-clock times. An end that is None is open."""

    start: datetime | None
    end: datetime | None
    precision: Precision
    is_relative: bool = False

    @property
    def begin(self) -> datetime:
        """Its start; for a span that is open there, the earliest time there is."""
        return self.start or EARLIEST

    @property
    def finish(self) -> datetime:
        """Its end; for a span that is open there, the latest time there is."""
        return self.end or LATEST

    @property
    def is_closed(self) -> bool:
        """Whether both ends are known."""
        return self.start is not None and self.end is not None

    @property
    def length(self) -> timedelta:
        """How long it is; of an open one, how long the calendar lets it be."""
        return self.finish - self.begin

    def relative(self) -> "Span":
        """The same span, known to depend on the reference."""
        return replace(self, is_relative=True)

    def true_to(self, precision: Precision) -> "Span":
        """The same span with another precision."""
        return replace(self, precision=precision)


@dataclass(frozen=True, slots=True)
class Recurrence:
    """Something that comes round: a month, a weekday, a feast.

    `occurrence` gives the one of a number, or None where there is none (29 February); `number` that of the one around
    an instant, or of the one before or after it. `cycle` is how often it comes.
    """

    occurrence: Callable[[int], Span | None]
    number: Callable[[datetime], int]
    cycle: Precision

    @property
    def is_weekday(self) -> bool:
        """Whether it comes every week; a weekday is never today."""
        return self.cycle is Precision.WEEK

    def latest(self, now: datetime, *, strictly: bool = False) -> Span | None:
        """The last one that had begun; `strictly`, that was over when the day of `now` began."""
        limit = floor(now, Precision.DAY)
        for number in range(self.number(now) + 1, self.number(now) - _TRIES, -1):
            found = self._at(number)
            if found and (found.finish <= limit if strictly else found.begin <= now):
                return found
        return None

    def next(self, now: datetime, *, strictly: bool = False) -> Span | None:
        """The first one that is not over; `strictly`, that begins after the day of `now`."""
        tomorrow = floor(now, Precision.DAY) + DAY
        for number in range(self.number(now) - 1, self.number(now) + _TRIES):
            found = self._at(number)
            if found and (found.begin >= tomorrow if strictly else found.finish > now):
                return found
        return None

    def within(self, span: Span) -> Iterator[Span]:
        """Those that begin within a closed span, in order."""
        first = self.number(span.begin) - 1
        for number in range(first, min(self.number(span.finish), first + 1000) + 2):
            found = self._at(number)
            if found and span.begin <= found.begin < span.finish:
                yield found

    def only(self, fits: Callable[[Span], bool]) -> "Recurrence":
        """Those alone that fit."""

        def occurrence(number: int) -> Span | None:
            found = self._at(number)
            return found if found and fits(found) else None

        return replace(self, occurrence=occurrence)

    def _at(self, number: int) -> Span | None:
        try:
            return self.occurrence(number)
        except (ValueError, OverflowError):
            return None


def floor(instant: datetime, unit: Precision, week_start: int = 0) -> datetime:
    """When the unit around an instant began; `week_start` counts from Monday, 0. Seasons begin with their month."""
    if unit is Precision.SECOND:
        return instant.replace(microsecond=0)
    if unit is Precision.MINUTE:
        return instant.replace(second=0, microsecond=0)
    if unit is Precision.HOUR:
        return instant.replace(minute=0, second=0, microsecond=0)
    day = datetime.combine(instant.date(), time())
    if unit is Precision.WEEK:
        return day - timedelta(days=(day.weekday() - week_start) % 7)
    if unit is Precision.MONTH:
        return day.replace(day=1)
    if unit is Precision.QUARTER:
        return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
    if unit is Precision.SEASON:
        return moved(day.replace(day=1), -(day.month % 3), Precision.MONTH)
    if unit is Precision.YEAR:
        return day.replace(month=1, day=1)
    if unit is Precision.DECADE:
        return day.replace(year=max(1, day.year // 10 * 10), month=1, day=1)
    return day


def moved(instant: datetime, count: float, unit: Precision) -> datetime:
    """So many units later; a day that the month lacks becomes its last. Raises OverflowError beyond the calendar."""
    months = {Precision.MONTH: 1, Precision.QUARTER: 3, Precision.SEASON: 3, Precision.YEAR: 12, Precision.DECADE: 120}
    if unit not in months:
        return instant + count * unit.length
    whole = int(count * months[unit])
    rest = count * months[unit] - whole
    year, month = divmod(instant.year * 12 + instant.month - 1 + whole, 12)
    if not 1 <= year <= 9999:
        raise OverflowError(f"the year {year}")
    day = min(instant.day, calendar.monthrange(year, month + 1)[1])
    return instant.replace(year=year, month=month + 1, day=day) + timedelta(days=round(rest * 30))


def unit_of(instant: datetime, unit: Precision, week_start: int = 0) -> Span:
    """The whole unit around an instant."""
    start = floor(instant, unit, week_start)
    return Span(start, moved(start, 1, unit), unit)


def midnight(year: int, month: int = 1, number: int = 1) -> datetime:
    """When a date begins on the wall's clock. Raises ValueError for one that is not in the calendar."""
    return datetime(year, month, number)  # noqa: DTZ001


def day(year: int, month: int, number: int) -> Span:
    """A date. Raises ValueError for one that is not in the calendar."""
    start = midnight(year, month, number)
    return Span(start, start + DAY, Precision.DAY)


def month(year: int, number: int) -> Span:
    """A month of a year."""
    return unit_of(midnight(year, number), Precision.MONTH)


def year(number: int) -> Span:
    """A year."""
    return unit_of(midnight(number), Precision.YEAR)


def decade(number: int) -> Span:
    """The ten years from a year on."""
    return unit_of(midnight(number), Precision.DECADE)


def yearly(occurrence: Callable[[int], Span | None]) -> Recurrence:
    """Something that comes once a year, by the year's number."""
    return Recurrence(occurrence, lambda now: now.year, Precision.YEAR)


def monthly(number: int) -> Recurrence:
    """A day of every month that has it."""
    return Recurrence(
        lambda count: day(count // 12, count % 12 + 1, number),
        lambda now: now.year * 12 + now.month - 1,
        Precision.MONTH,
    )


def weekly(weekday: int) -> Recurrence:
    """A weekday, from Monday, 0."""

    def occurrence(number: int) -> Span | None:
        start = EARLIEST + timedelta(days=7 * number + weekday)
        return Span(start, start + DAY, Precision.DAY)

    return Recurrence(occurrence, lambda now: (now - EARLIEST).days // 7, Precision.WEEK)


def week(of_year: int, number: int) -> Span:
    """The numbered week of a year, as ISO 8601 counts. Raises ValueError for one that the year lacks."""
    start = datetime.fromisocalendar(of_year, number, 1)
    return Span(start, start + 7 * DAY, Precision.WEEK)
