"""Pure: stretches of time: half-open intervals, how precisely they are known, and the words that named them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


class Precision(StrEnum):
    """The unit that a time is true to: "two weeks ago" names a day and is true to the week."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    SEASON = "season"
    QUARTER = "quarter"
    YEAR = "year"
    DECADE = "decade"
    UNKNOWN = "unknown"

    @property
    def length(self) -> timedelta:
        """How long one unit is, on the average; a day for what is unknown."""
        return _LENGTHS[self]

    @classmethod
    def of(cls, length: timedelta) -> "Precision":
        """The longest unit that a stretch of time holds, or nearly: February is a month."""
        return max(
            (unit for unit in cls if 0.9 * unit.length <= length), key=lambda unit: unit.length, default=cls.SECOND
        )


_LENGTHS = {
    Precision.SECOND: timedelta(seconds=1),
    Precision.MINUTE: timedelta(minutes=1),
    Precision.HOUR: timedelta(hours=1),
    Precision.DAY: timedelta(days=1),
    Precision.WEEK: timedelta(days=7),
    Precision.MONTH: timedelta(days=30.44),
    Precision.SEASON: timedelta(days=91.3),
    Precision.QUARTER: timedelta(days=91.3),
    Precision.YEAR: timedelta(days=365.25),
    Precision.DECADE: timedelta(days=3652.5),
    Precision.UNKNOWN: timedelta(days=1),
}


@dataclass(frozen=True, slots=True)
class Interval:
    """From `start` up to, and without, `end`; aware. An end that is None is open."""

    start: datetime | None
    end: datetime | None

    def overlaps(self, other: "Interval") -> bool:
        """Whether the two have an instant in common."""
        return _is_before(self.start, other.end) and _is_before(other.start, self.end)

    def holds(self, instant: datetime) -> bool:
        """Whether the instant lies within."""
        return (self.start is None or self.start <= instant) and (self.end is None or instant < self.end)

    def distance(self, other: "Interval") -> timedelta:
        """The gap between the two; nothing when they meet or overlap."""
        gaps = [
            later - earlier
            for earlier, later in ((self.end, other.start), (other.end, self.start))
            if earlier is not None and later is not None
        ]
        return max([timedelta(), *gaps])


def _is_before(start: datetime | None, end: datetime | None) -> bool:
    return start is None or end is None or start < end


@dataclass(frozen=True, slots=True)
class Expression:
    """Words that name a time, and the time they name.

    `span` are the offsets of the first character and of the one behind the last. A relative expression depends on when
    it was said ("last week"); an anchored one does not ("May 2023").
    """

    text: str
    span: tuple[int, int]
    start: datetime | None
    end: datetime | None
    precision: Precision
    is_relative: bool

    @property
    def interval(self) -> Interval:
        """The time alone."""
        return Interval(self.start, self.end)


class Mode(StrEnum):
    """What a window does to what lies outside it: rank it lower, or leave it out."""

    BOOST = "boost"
    FILTER = "filter"
    OFF = "off"


class On(StrEnum):
    """Which time of a turn a filter looks at: when it was said, when what it tells of happened, or one of both."""

    SAID = "said"
    EVENT = "event"
    EITHER = "either"


@dataclass(frozen=True, slots=True)
class Window:
    """The half-open interval that a query speaks of, and where it comes from: the caller, the query, or an LLM."""

    start: datetime | None
    end: datetime | None
    precision: Precision = Precision.SECOND
    mode: Mode = Mode.FILTER
    on: On = On.SAID
    source: str = "caller"
    text: str | None = None

    @property
    def interval(self) -> Interval:
        """The time alone."""
        return Interval(self.start, self.end)


@dataclass(frozen=True, slots=True)
class AsOf:
    """The two clocks: what the world was like at `valid`, as far as it was on record at `recorded`; None is now."""

    valid: datetime | None = None
    recorded: datetime | None = None


@dataclass(frozen=True, slots=True)
class Locale:
    """How a user tells time. Without a zone, each turn is read in the one that it came with; Monday is 0."""

    time_zone: str | None = None
    week_start: int = 0
    language: str = "en"

    def at(self, instant: datetime) -> datetime:
        """The instant on the user's wall clock; on its own, where the zone would shift it out of the calendar."""
        if self.time_zone is not None:
            try:
                return instant.astimezone(ZoneInfo(self.time_zone))
            except OverflowError:
                return instant
        return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def is_zone(name: str) -> bool:
    """Whether a time zone has that name."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
