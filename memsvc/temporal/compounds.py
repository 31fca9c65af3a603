"""Pure: parts that tell one time together, "Friday at 8 pm", "the first week of May 2021"."""

from dataclasses import replace
from datetime import timedelta
from operator import attrgetter

from memsvc.intervals import Precision
from memsvc.temporal import spans
from memsvc.temporal.parts import Parts
from memsvc.temporal.scanning import Clock, Match, Value
from memsvc.temporal.spans import Recurrence, Span
from memsvc.temporal.words import TO, UNITS, number_at

_HOUR = timedelta(hours=1)
# What may stand between the parts of one time.
_JOINTS = (",", "of", "in", "on", "at", "-", "during", "'")
_MOST_PARTS = 4


class Compounds(Parts):
    """Reads a day with its time, a weekday in its week, a holiday in its year."""

    def point(self, place: int) -> Match | None:
        """Parts that tell one time together: a day with its time, a weekday in its week, a feast in its year."""
        first = self.component(place)
        if first is None:
            return None
        for _ in range(_MOST_PARTS):
            longer = self._joined(first)
            if longer is None:
                return first
            first = longer
        return first

    def day_at(self, place: int) -> Match | None:
        """Reads "on 15 at 8:00": a day of the month that only the time behind it makes one."""
        tokens = self.tokens
        day = self._bare_day(place)
        if day is None or tokens.low(place - 1) not in ("on", "the") or tokens.low(day.end) not in ("at", ","):
            return None
        clock, span = self.clock(day.end + 1), self.resolved(day.value, place)
        if clock is None or span is None or not isinstance(clock.value, Clock):
            return None
        return Match(clock.end, clock.value.on(span))

    def _bare_day(self, place: int) -> Match | None:
        """A day of the month that only a time before it makes one: "8pm on 15"."""
        found = number_at(self.tokens, place)
        if found is None or not self.tokens[place].is_number or not 1 <= found[0] <= 31:
            return None
        return Match(found[1], spans.monthly(found[0]))

    def clock_range(self, place: int, *, has_day: bool) -> Match | None:
        """Reads "between 1PM and 4 PM", "from 3:30 to 5:55", "8 to 9", "for 7 hours from 9:30am"."""
        tokens = self.tokens
        if tokens.low(place) == "for":
            amount = self.amount(place + 1)
            start = self.clock(amount.end + 1) if amount and tokens.low(amount.end) == "from" else None
            if amount is None or start is None or not isinstance(start.value, Clock) or amount.precision.length > _HOUR:
                return None
            lasting = amount.after(self.now) - self.now
            return Match(start.end, Clock(start.value.start, start.value.start + lasting, Precision.MINUTE))
        is_marked = tokens.low(place) in ("from", "between")
        at = place + is_marked
        if not tokens[at].is_number and not is_marked:
            return None
        first = self.clock(at) or (self.bare_hour(at) if is_marked or has_day else None)
        if first is None or tokens.low(first.end) not in TO:
            return None
        if tokens.low(first.end) == "and" and not (is_marked and tokens.low(place) == "between"):
            return None
        second = self.clock(first.end + 1) or self.bare_hour(first.end + 1)
        return self.hours_between(first, second)

    def hours_between(self, first: Match, second: Match | None) -> Match | None:
        """The hours from one time of day to another; "3 to 5pm" begins in the afternoon."""
        if second is None or not isinstance(first.value, Clock) or not isinstance(second.value, Clock):
            return None
        start, end = first.value.start, second.value.start
        if first.value.is_part or second.value.is_part or self.tokens.low(second.end) in (*UNITS, "%"):
            return None
        if first.value.is_bare and end >= 12 * _HOUR > start and end - start > 12 * _HOUR:
            start += 12 * _HOUR  # "3 to 5pm"
        if start == 12 * _HOUR and first.value.is_bare and end < start:
            start = timedelta()
        if end <= start:
            end += 12 * _HOUR if second.value.is_bare and end + 12 * _HOUR > start else 24 * _HOUR
        return Match(
            second.end, Clock(start, end, max(first.value.precision, second.value.precision, key=attrgetter("length")))
        )

    def _joined(self, first: Match) -> Match | None:
        """The first part with the one that follows, where the two fit."""
        tokens = self.tokens
        at, joints = first.end, 0
        while tokens.low(at) in _JOINTS and joints < 2:
            if tokens.low(at) == "'":
                if tokens.low(at + 1) != "s":
                    return None
                at += 1
            at += 1
            joints += 1
        at = tokens.skip(at, "the")
        if tokens.breaks(first.end, at + 1):
            return None  # A line of its own tells a time of its own.
        second = self._second(first.value, at)
        if second is None:
            return None
        value = self._met(first.value, second.value, at)
        return Match(second.end, value) if value is not None else None

    def _second(self, first: Value, place: int) -> Match | None:
        """The part that follows, which may mean nothing without the first: the seven of "Friday at seven"."""
        found = self.clock_range(place, has_day=not isinstance(first, Clock)) or self.component(place)
        if found:
            return found
        joint = self.tokens.low(place - 1)
        if isinstance(first, Clock):
            return self._bare_day(place) if joint in ("on", "the", ",") else None
        if joint == "at":
            return self.bare_hour(place)
        return self.year(place, is_certain=True) if joint in ("of", "in", ",") else None

    def _met(self, first: Value, second: Value, place: int) -> Span | Recurrence | None:
        """What two parts mean together; None when they do not belong together."""
        if isinstance(first, Clock):
            return None if isinstance(second, Clock) else self._met(second, first, place)
        if isinstance(second, Clock):
            day = self.resolved(first, place)
            if day is not None and day.precision.length > spans.DAY:
                return None  # "An open mic night a few weeks ago".
            if day is None or not day.is_closed or day.finish - day.begin != spans.DAY:
                return self._narrowed(day, second)
            return second.on(day)
        if isinstance(first, Span) and isinstance(second, Span):
            return self._of_both(first, second)
        if isinstance(first, Recurrence) and isinstance(second, Recurrence):
            return self._both_round(first, second)
        round_, whole = (first, second) if isinstance(first, Recurrence) else (second, first)
        if not isinstance(round_, Recurrence) or not isinstance(whole, Span) or not whole.is_closed:
            return None
        if whole.finish - whole.begin <= spans.DAY:
            # "Friday, 5 May 2023", "May 5, yesterday": the date alone decides.
            return whole if round_.is_weekday else self._dated(whole, round_)
        if whole.precision is Precision.YEAR and whole.is_relative:
            # "Christmas two years ago": the month that the amount leads to stands for its year.
            whole = replace(spans.year(whole.begin.year), is_relative=True)
        if whole.finish - whole.begin > round_.cycle.length * 1.1:
            return None  # "Tuesday 2008": there are many.
        found = next(round_.within(whole), None)
        if found is None and round_.cycle is Precision.YEAR:
            raise ValueError("the year has no such day")  # "29 February, 2023" is no day of another year.
        return replace(found, is_relative=whole.is_relative) if found else None

    def _dated(self, day: Span, date: Recurrence) -> Span | None:
        """A weekday that is told from the time of saying, with its date: the date decides, "last Friday, May 5th"."""
        if day.length != spans.DAY or not day.is_relative:
            return None
        found = date.next(self.now) if day.begin > self.now else date.latest(self.now)
        return found.relative() if found and found.length == spans.DAY else None

    def _narrowed(self, day: Span | None, clock: Clock) -> Span | None:
        """Reads "in the afternoon on Friday between 1 and 4": the narrower of two times of one day."""
        if day is None or day.precision is not Precision.HOUR or clock.is_bare or not day.is_closed:
            return None
        return clock.on(spans.unit_of(day.begin, Precision.DAY).relative()) if day.is_relative else None

    def _of_both(self, first: Span, second: Span) -> Span | None:
        """The same time told twice; "tax day two years ago" has no day."""
        if first.is_closed and second.is_closed and first.begin == second.begin and first.finish == second.finish:
            return first
        return None

    def _both_round(self, first: Recurrence, second: Recurrence) -> Recurrence | None:
        """A weekday with a date: the date alone decides, but the weekday chooses between last time and next."""
        if first.is_weekday == second.is_weekday:
            return None
        weekday, date = (first, second) if first.is_weekday else (second, first)
        last, coming = date.latest(self.now), date.next(self.now)
        if not last or not coming or last.finish - last.begin != spans.DAY:
            return None
        fits = [span for span in (last, coming) if next(weekday.within(span), None) is not None]
        return date.only(lambda span: span in fits) if len(fits) == 1 else date
