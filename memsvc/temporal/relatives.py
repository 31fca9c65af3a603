"""Pure: times told from the time of saying, or from a time that was told before: "last weekend", "the next day"."""

from dataclasses import replace
from datetime import timedelta

from memsvc.intervals import Precision
from memsvc.temporal import portions, spans
from memsvc.temporal.amounts import Amounts
from memsvc.temporal.scanning import Match
from memsvc.temporal.spans import Recurrence, Span
from memsvc.temporal.tense import direction_at, is_nowadays, looks_at
from memsvc.temporal.words import HOMONYMS, NEXT, PARTS, PREVIOUS, THIS, UNITS, WEEKDAYS, words_of

_FINE = (Precision.SECOND, Precision.MINUTE)
_NOW = {
    ("right", "now"), ("just", "now"), ("at", "the", "moment"), ("at", "this", "moment"), ("at", "present"),
}  # fmt: skip
_DAYS = {"today": 0, "yesterday": -1, "tomorrow": 1, "tmrw": 1, "tonight": 0}
# "Today's world" is no day.
_OF_AN_AGE = words_of("world society age market economy fast digital modern standards era generation youth")
_BUT_ONE = {("day", "before", "yesterday"): -2, ("day", "after", "tomorrow"): 2}
_SHORT = {
    "eod": ("end", Precision.DAY), "eow": ("end", Precision.WEEK),
    "eom": ("end", Precision.MONTH), "eoy": ("end", Precision.YEAR),
    "bow": ("beginning", Precision.WEEK), "bom": ("beginning", Precision.MONTH), "boy": ("beginning", Precision.YEAR),
}  # fmt: skip


class Relatives(Amounts):
    """Reads what depends on the time of saying."""

    def deictic(self, place: int) -> Match | None:
        """Reads "today", "the day before yesterday", "right now"."""
        tokens = self.tokens
        for words in _NOW:
            if tokens.phrase(place, words):
                if tokens.low(place + len(words)) in ("when", "of", "that", "you", "i"):
                    return None  # "At the moment when the price falls".
                return Match(place + len(words), spans.unit_of(self.now, Precision.SECOND).relative())
        low = tokens.low(place)
        if low == "now" or (low == "atm" and tokens[place].text.isupper()):
            return Match(place + 1, spans.unit_of(self.now, Precision.SECOND).relative(), is_weak=True)
        if low in _DAYS:
            return self._of_today(place, low)
        at = tokens.skip(place, "the")
        for words, days in _BUT_ONE.items():
            if tokens.phrase(at, words):
                return Match(at + 3, self.unit(Precision.DAY, days))
        if low in _SHORT and tokens[place].text.isupper():
            side, unit = _SHORT[low]
            whole = self.unit(unit)
            return Match(place + 1, portions.side(side, whole) or whole, is_weak=True)
        return None

    def modified(self, place: int) -> Match | None:
        """Reads "last week", "the past ten days", "this Friday", "next summer", "my week", "the week before last"."""
        tokens = self.tokens
        rolls = tokens.low(place - 1) in ("in", "over", "during", "for", "within", "throughout")
        at = tokens.skip(place, "the")
        word = tokens.low(at)
        if word == "this" and tokens.low(at + 1) in ("past", "coming", "last", "previous", "upcoming"):
            at, word = at + 1, tokens.low(at + 1)
        if word in PREVIOUS or word in NEXT or word in THIS:
            at = tokens.skip(at + 1, "-")
            if word in PREVIOUS:
                return self._previous(at, word, rolls=word == "past" or (rolls and at > place + 1))
            if rolls and word == "next" and tokens.low(place) == "the" and tokens.low(at) in UNITS:
                return self._rolling_on(at)
            return self._next(at, word) if word in NEXT else self._this(at, word)
        if word in ("my", "all", "whole", "entire") and tokens.low(at + 1) in ("week", "weekend"):
            return self._this(at + 1, word)
        if word == "weekend" and at > place and tokens.low(place - 1) in ("over", "at", "on", "during", "for"):
            return self._that_weekend(at)
        if word == "week" and at > place:
            return Match(at + 1, self.unit(Precision.WEEK), is_weak=True)
        return self._before_last(at)

    def told_from_last(self, place: int) -> Match | None:
        """Reads "the next day", "two days later", "the Friday before": counted from the date that was read before."""
        if self.last is None or not self.last.is_closed or (self.is_running and not self.remembers(place)):
            return None
        found = self._told_from(self.last, place)
        # "Prepare for the next day" is told of no day.
        is_told = found is not None and (not self.is_running or "past" in looks_at(self.tokens, place))
        return found if is_told else None

    def _told_from(self, last: Span, place: int) -> Match | None:
        later = self.days_later(place, last)
        if later:
            return later
        tokens = self.tokens
        at = tokens.skip(place, "the")
        if at == place:
            return None
        if tokens.low(at) in ("next", "following", "previous") and tokens.low(at + 1) in ("day", "morning", "week"):
            step = -1 if tokens.low(at) == "previous" else 1
            unit = UNITS.get(tokens.low(at + 1), Precision.DAY)
            start = spans.moved(spans.floor(last.begin, unit, self.week_start), step, unit)
            return Match(at + 2, replace(spans.unit_of(start, unit, self.week_start), is_relative=last.is_relative))
        if tokens.low(at) == "day" and tokens.low(at + 1) in ("before", "after"):
            step = -1 if tokens.low(at + 1) == "before" else 1
            start = spans.floor(last.begin, Precision.DAY) + step * spans.DAY
            return Match(at + 2, replace(spans.unit_of(start, Precision.DAY), is_relative=last.is_relative))
        return None

    def weekday_beside(self, place: int) -> Match | None:
        """Reads "the Friday before", "the Sunday after Christmas"."""
        tokens = self.tokens
        at = tokens.skip(place, "the")
        number = WEEKDAYS.get(tokens.low(at))
        side = tokens.low(at + 1)
        if number is None or at == place or side not in ("before", "after"):
            return None
        if side == "before" and tokens.low(at + 2) == "last":
            last = spans.weekly(number).latest(self.now, strictly=True)
            return last and Match(at + 3, _moved(last, -7).relative())
        anchor = self.component(at + 2)
        span = self.resolved(anchor.value, at + 2) if anchor and not self.is_loose(anchor) else None
        if anchor and span is None and isinstance(anchor.value, Recurrence):
            return None  # Which Christmas is not told.
        end = anchor.end if anchor and span else at + 2
        span = span or (self.last if self.last and self.last.is_closed else None)
        if span is None and side == "after":
            return None
        weekly = spans.weekly(number)
        found = (
            weekly.latest(span.begin if span else self.now, strictly=True)
            if side == "before"
            else weekly.next(span.finish - spans.DAY if span else self.now, strictly=True)
        )
        return found and Match(end, found if span and not span.is_relative else found.relative())

    def _of_today(self, place: int, low: str) -> Match | None:
        tokens = self.tokens
        if tokens.phrase(place + 1, ("'", "s")) and tokens.low(place + 3) in _OF_AN_AGE:
            return None
        day = self.unit(Precision.DAY, _DAYS[low])
        if low == "today" and is_nowadays(tokens, place):
            return None
        if low == "tonight":
            return Match(place + 1, _part_of_day(day, "night"))
        return Match(place + 1, day)

    def _previous(self, place: int, word: str, *, rolls: bool) -> Match | None:
        tokens = self.tokens
        low = tokens.low(place)
        unit = UNITS.get(low)
        if low in ("night", "nights"):
            return Match(place + 1, _part_of_day(self.unit(Precision.DAY, -1), low)) if low == "night" else None
        if low in PARTS and word == "last":
            return Match(place + 1, _part_of_day(self.unit(Precision.DAY, -1), low))
        if unit is not None:
            is_plural = low.endswith("s")
            if unit in _FINE and not is_plural:
                return None
            if is_plural and unit is not Precision.SEASON:
                return Match(place + 1, self.rolling(-3, unit)) if word == "past" else None
            if tokens.low(place + 1) == "of":
                return None
            rolls = rolls and unit is not Precision.SEASON
            return Match(place + 1, self.rolling(-1, unit) if rolls else self.unit(unit, -1))
        if low == "weekend":
            return Match(place + 1, self._weekend(-1))
        if low == "fortnight":
            return Match(place + 1, self.rolling(-2, Precision.WEEK))
        amount = self.amount(place)
        if amount is not None and tokens.low(amount.end) == "of":
            return None  # "The last 30 minutes of cooking".
        if amount is not None and len(amount.parts) == 1:
            return Match(amount.end, self._last_amount(amount.parts[0]))
        named = self._named(place)
        if named is None or not isinstance(named.value, Recurrence):
            return None
        found = named.value.latest(self.now, strictly=True)
        return found and Match(named.end, found.relative())

    def _last_amount(self, part: tuple[float, Precision]) -> Span:
        count, unit = part
        if unit is Precision.DECADE and not self.is_running:
            end = self.unit(unit).begin
            return Span(spans.moved(end, -count, unit), end, unit, is_relative=True)
        return self.rolling(-count, unit)

    def _next(self, place: int, word: str) -> Match | None:
        low = self.tokens.low(place)
        unit = UNITS.get(low)
        if unit is not None:
            # "The next day" and "the following week" are counted from what was told before.
            is_told = word == "following" or (unit in (Precision.DAY, *_FINE, Precision.HOUR) and not low.endswith("s"))
            if is_told or (low.endswith("s") and word == "next") or unit in _FINE:
                return None
            return Match(place + 1, self.rolling(3, unit) if low.endswith("s") else self.unit(unit, 1))
        if low == "weekend":
            return Match(place + 1, self._weekend(1 if word == "next" else 0))
        amount = self.amount(place)
        if amount is not None and word != "following":
            start = self.now if amount.precision.length < spans.DAY else spans.floor(self.now, Precision.DAY)
            then = amount.after(start, move=self.later)
            return Match(amount.end, Span(start, then, amount.precision, is_relative=True))
        named = self._named(place)
        if named is None or not isinstance(named.value, Recurrence):
            return None
        after = self.now
        if named.value.is_weekday and word == "next":
            after = self.unit(Precision.WEEK).finish - spans.DAY
        found = named.value.next(after, strictly=True)
        return found and Match(named.end, found.relative())

    def _this(self, place: int, word: str) -> Match | None:
        low = self.tokens.low(place)
        unit = UNITS.get(low)
        if word == "same" and unit and self.last and self.last.is_closed and self.last.length <= 2 * unit.length:
            same = spans.unit_of(self.last.begin, unit, self.week_start)
            return Match(place + 1, replace(same, is_relative=self.last.is_relative))
        if low in ("day", "night") and (word == "same" or self.tokens.low(place - 2) == "to"):
            return None  # "To this day".
        if low in HOMONYMS and not self.tokens[place].is_capital:
            return None  # "This may be".
        if low in PARTS:
            return Match(place + 1, _part_of_day(self.unit(Precision.DAY), low))
        if unit is not None:
            if unit in _FINE or (low.endswith("s") and unit is not Precision.SEASON):
                return None
            return Match(place + 1, self.unit(unit))
        if low == "weekend":
            return Match(place + 1, self._weekend(0))
        named = self._named(place)
        if named is None or not isinstance(named.value, Recurrence):
            return None
        if named.value.is_weekday:
            # "This Sunday" is the coming one wherever weeks begin: the weekend is spoken of as their end.
            found = next(named.value.within(spans.unit_of(self.now, Precision.WEEK)), None)
        else:
            found = next(named.value.within(self.unit(Precision.YEAR)), None)
            before = named.value.latest(self.now)
            if before and self.now - before.finish < timedelta(days=60):
                found = before
        return found and Match(named.end, found.relative())

    def _rolling_on(self, place: int) -> Match | None:
        """Reads "in the next year": a year from now on."""
        unit = UNITS[self.tokens.low(place)]
        if unit in (Precision.DAY, Precision.QUARTER, Precision.SEASON) or self.tokens.low(place).endswith("s"):
            return self._next(place, "next")
        start = self.now if unit in (*_FINE, Precision.HOUR) else spans.floor(self.now, Precision.DAY)
        return Match(place + 1, Span(start, self.later(start, 1, unit), unit, is_relative=True))

    def _that_weekend(self, place: int) -> Match | None:
        """Reads "over the weekend", where the words around say which: the last that had begun, or the next."""
        if direction_at(self.tokens, place) is None:
            return None
        is_ahead = self.direction(place) == "future"
        found = self._weekend(0)
        if not is_ahead and found.begin > self.now:
            found = self._weekend(-1)
        return Match(place + 1, found)

    def _named(self, place: int) -> Match | None:
        """What "last" and "next" can stand before: a weekday, a month, a season, a holiday."""
        return self.feast(place) or self.month_name(place) or self.weekday(place) or self.season(place)

    def _weekend(self, weeks: int) -> Span:
        """A Saturday with its Sunday; said on a Sunday, "last weekend" is the one before."""
        monday = spans.floor(self.now, Precision.WEEK) + timedelta(weeks=weeks)
        return Span(monday + 5 * spans.DAY, monday + 7 * spans.DAY, Precision.DAY, is_relative=True)

    def _before_last(self, place: int) -> Match | None:
        low = self.tokens.low(place)
        if self.tokens.phrase(place + 1, ("before", "last")):
            steps = -2
        elif self.tokens.phrase(place + 1, ("after", "next")):
            steps = 2
        else:
            return None
        if low == "weekend":
            return Match(place + 3, self._weekend(steps))
        unit = UNITS.get(low)
        if unit is None or unit.length < spans.DAY or low in ("night", "day"):
            return None
        return Match(place + 3, self.unit(unit, steps))


def _part_of_day(day: Span, part: str) -> Span:
    first, last = (day.begin + timedelta(hours=hour) for hour in PARTS[part])
    return Span(first, last, Precision.HOUR, is_relative=True)


def _moved(span: Span, days: int) -> Span:
    return Span(span.begin + days * spans.DAY, span.finish + days * spans.DAY, span.precision, span.is_relative)
