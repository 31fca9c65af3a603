"""Pure: when a statement's event was: its words, read by rules; the model's reading only where these are silent."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from memsvc.domain import Turn
from memsvc.facts import EVENT, PLAN, Origin
from memsvc.intervals import Expression, Interval, Locale, Precision
from memsvc.memory import quoting
from memsvc.temporal import find


@dataclass(frozen=True, slots=True)
class Told:
    """An event's time: the words that tell it, the interval they name, and who read them."""

    when: str | None = None
    interval: Interval | None = None
    precision: Precision = Precision.UNKNOWN
    reading: Origin | None = None


class TimeTeller:
    """Tells the times of statements, turn by turn; what a turn names is read once."""

    def __init__(self, locale: Locale) -> None:
        self._locale = locale
        self._read: dict[tuple[str, datetime], list[Expression]] = {}

    def told(
        self, turn: Turn, quote: tuple[int, int], *, kind: str, when: str | None, start: str | None, end: str | None
    ) -> Told:
        """The time of a statement that rests on a quote; `when`, `start` and `end` are what the model said of it."""
        if not when:
            return Told()
        text = quoting.whole(turn)
        span = _nearest(when, text, quote)
        named = span and self._named(turn, span)
        if named:
            return _of(named)
        by_model = self._read_by_model(turn, when, start, end)
        alone = self._alone(turn, when, kind, by_model.interval)
        if alone is not None:
            return _of(alone)
        # Words that are not there are no one's words; what the model made of them is not kept either.
        return by_model if span else Told()

    def _alone(self, turn: Turn, when: str, kind: str, meant: Interval | None) -> Expression | None:
        """The words read by themselves. Which "Friday" is meant they do not tell: the one that the model has read.

        Where it has read none, what happened lies behind, and what is planned ahead.
        """
        past, future = (_widest(self._find(when, turn, prefer=prefer)) for prefer in ("past", "future"))
        if past is None or future is None or past.interval == future.interval:
            return past or future
        if meant is not None:
            return min((past, future), key=lambda found: _gap(found.interval, meant))
        return {EVENT: past, PLAN: future}.get(kind)

    def _named(self, turn: Turn, span: tuple[int, int]) -> Expression | None:
        """The expression that overlaps a stretch of the turn the most."""
        key = turn.turn_id, turn.said_at
        if key not in self._read:
            self._read[key] = self._find(turn.text, turn, prefer="tense")
        overlapping = [found for found in self._read[key] if _shared(found.span, span) > 0]
        return max(overlapping, key=lambda found: _shared(found.span, span), default=None)

    def _find(self, text: str, turn: Turn, *, prefer: str) -> list[Expression]:
        locale = self._locale
        return find(
            text,
            reference=locale.at(turn.said_at),
            prefer=prefer,  # type: ignore[arg-type]
            week_start=locale.week_start,
            language=locale.language,
        )

    def _read_by_model(self, turn: Turn, when: str, start: str | None, end: str | None) -> Told:
        zone = self._locale.at(turn.said_at).tzinfo
        try:
            first, last = (_midnight(told, zone) for told in (start, end))
            if first is not None and last is None:
                last = first + timedelta(days=1)
        except (ValueError, OverflowError):
            return Told(when)
        if last is None or (first is not None and first >= last):
            return Told(when)
        precision = Precision.of(last - first) if first is not None else Precision.DAY
        return Told(when, Interval(first, last), precision, Origin.LLM)


def _widest(found: list[Expression]) -> Expression | None:
    return max(found, key=lambda one: one.span[1] - one.span[0], default=None)


def _gap(one: Interval, other: Interval) -> timedelta:
    """How far the ends of two intervals are apart, as far as both have them."""
    ends = ((one.start, other.start), (one.end, other.end))
    return sum((abs(mine - theirs) for mine, theirs in ends if mine and theirs), timedelta())


def _of(found: Expression) -> Told:
    return Told(found.text, found.interval, found.precision, Origin.RULES)


def _nearest(when: str, text: str, quote: tuple[int, int]) -> tuple[int, int] | None:
    """Where the words stand: within the quote if they do, else anywhere in the turn."""
    inside = quoting.located(when, text[slice(*quote)])
    if inside is not None:
        return quote[0] + inside[0], quote[0] + inside[1]
    return quoting.located(when, text)


def _shared(one: tuple[int, int], other: tuple[int, int]) -> int:
    return min(one[1], other[1]) - max(one[0], other[0])


def _midnight(told: str | None, zone: object) -> datetime | None:
    if told is None:
        return None
    return datetime.combine(date.fromisoformat(told[:10]), time(), zone)  # type: ignore[arg-type]
