"""Pure: where a reading stands, and what its parts can be."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo

from memsvc.intervals import Precision
from memsvc.temporal import spans, tense
from memsvc.temporal.spans import Recurrence, Span
from memsvc.temporal.tense import Direction
from memsvc.temporal.words import WEEKDAYS, Tokens

# So many tokens on, a date has been forgotten; in running text, sooner.
_NEAR = 400
_NEAR_IN_TEXT = 60


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day, from midnight. `is_part` marks a part of the day; `is_bare`, an hour that nothing marks as one."""

    start: timedelta
    end: timedelta
    precision: Precision
    is_part: bool = False
    is_bare: bool = False

    def on(self, day: Span) -> Span:
        """The same time on a day."""
        return Span(day.begin + self.start, day.begin + self.end, self.precision, day.is_relative)


Value = Span | Recurrence | Clock


@dataclass(frozen=True, slots=True)
class Match:
    """What was read, up to a place. A weak one is a time only where the words around it say so."""

    end: int
    value: Value
    is_weak: bool = False


class Scan(ABC):
    """A text that is being read, and when it was said; each subclass reads more."""

    def __init__(
        self,
        tokens: Tokens,
        now: datetime,
        zone: tzinfo | None,
        week_start: int,
        direction: Callable[[int], Direction | None],
        *,
        is_running: bool,
    ) -> None:
        self.tokens = tokens
        self.now = now
        self.zone = zone
        self.week_start = week_start
        self.direction = direction
        # Running text is no question: what is ambiguous there is left alone.
        self.is_running = is_running
        # The last date that was read: "the next day" counts from there.
        self.last: Span | None = None
        self.last_end = 0

    @property
    def today(self) -> Span:
        """The day that it was said on."""
        return self.unit(Precision.DAY)

    def unit(self, precision: Precision, steps: int = 0) -> Span:
        """The calendar's unit around the time it was said, or so many further."""
        here = spans.floor(self.now, precision, self.week_start)
        return spans.unit_of(self.later(here, steps, precision), precision, self.week_start).relative()

    def rolling(self, count: float, precision: Precision) -> Span:
        """The last so many units up to the time it was said, from the start of the day on; or the next ones."""
        then = self.later(self.now, count, precision)
        if count > 0:
            return Span(self.now, then, precision, is_relative=True)
        if precision.length >= spans.DAY:
            then = spans.floor(then, Precision.DAY)
        return Span(then, self.now, precision, is_relative=True)

    def resolved(self, value: Value, place: int, *, toward: Direction | None = None) -> Span | None:
        """A value as a time: of what comes round, the one `toward` there, or that the words around the place mean."""
        if isinstance(value, Span):
            return value
        if isinstance(value, Clock):
            return None
        told = self._in_told_month(value, place) or self._in_told_year(value, place)
        if told:
            return told
        direction = toward or self.direction(place)
        if direction is None:
            return None
        strictly = value.is_weekday
        if direction == "future":
            found = value.next(self.now, strictly=strictly)
            if found and found.precision is Precision.SEASON and self.now > found.begin + found.length * 2 / 3:
                found = value.next(found.finish)  # "In the spring" that is almost over is the next one.
        else:
            found = value.latest(self.now, strictly=strictly)
            if found and strictly:
                found = self._before_the_return(found, place)
        return found and found.relative()

    def _before_the_return(self, day: Span, place: int) -> Span:
        """A past weekday, a week earlier where it is told that one came back on a later one: "left on Thursday"."""
        at = tense.return_after(self.tokens, place)
        end = spans.weekly(WEEKDAYS[self.tokens.low(at)]).latest(self.now, strictly=True) if at else None
        is_late = end is not None and end.begin < day.begin
        return replace(day, start=day.begin - 7 * spans.DAY, end=day.finish - 7 * spans.DAY) if is_late else day

    def later(self, instant: datetime, count: float, unit: Precision) -> datetime:
        """So many units later on the wall; hours and less are counted as they pass, through a change of the clocks."""
        if unit.length >= spans.DAY or self.zone is None:
            return spans.moved(instant, count, unit)
        passed = instant.replace(tzinfo=self.zone).astimezone(UTC) + count * unit.length
        return passed.astimezone(self.zone).replace(tzinfo=None)

    def remembers(self, place: int) -> bool:
        """Whether the date that was read last is closed, and near enough to be counted from."""
        if self.last is None or not self.last.is_closed:
            return False
        if not self.is_running:
            return place - self.last_end <= _NEAR
        is_near = place - self.last_end <= _NEAR_IN_TEXT
        is_recent = abs(self.last.begin.year - self.now.year) <= 1 and not self.tokens.is_listed(place)
        return is_near and (is_recent or not self.tokens.breaks(self.last_end, place + 1))

    def _in_told_month(self, value: Recurrence, place: int) -> Span | None:
        """In the month that was read shortly before: "We met last month, on the 15th"."""
        if self.last is None or value.cycle is not Precision.MONTH or place - self.last_end > _NEAR_IN_TEXT:
            return None
        if self.last.precision is not Precision.MONTH or self.last.length > timedelta(days=31):
            return None
        found = next(value.within(self.last), None)
        return found and replace(found, is_relative=self.last.is_relative)

    def _in_told_year(self, value: Recurrence, place: int) -> Span | None:
        """In the year of a date that was read shortly before: "On 5 May 2021 we met; on 3 June …"."""
        if self.last is None or value.is_weekday or not self.remembers(place):
            return None
        if self.last.is_relative and self.last.precision is not Precision.YEAR:
            return None
        if self.last.length > timedelta(days=367):
            return None
        found = next(value.within(spans.year(self.last.begin.year)), None)
        return found and replace(found, is_relative=self.last.is_relative)

    @abstractmethod
    def component(self, place: int) -> Match | None:
        """The longest time without connections to others that stands there."""
