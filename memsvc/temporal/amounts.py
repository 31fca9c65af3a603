"""Pure: amounts of time, "two and a half days", counted from the time of saying or from another time."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from memsvc.intervals import Precision
from memsvc.temporal import spans
from memsvc.temporal.dates import Dates
from memsvc.temporal.scanning import Match
from memsvc.temporal.spans import Span
from memsvc.temporal.tense import looks_at
from memsvc.temporal.words import NEXT, NUMBERS, UNITS, WEEKDAYS, number_at

Move = Callable[[datetime, float, Precision], datetime]

_MOST_PARTS = 6
_VAGUE = {"few": 3.0, "several": 5.0, "couple": 2.0}
_AGO = ("ago", "back")
_FROM_NOW = (("from", "now"), ("from", "today"), ("hence",), ("in", "the", "future"))
_FINE = (Precision.SECOND, Precision.MINUTE, Precision.HOUR)


@dataclass(frozen=True, slots=True)
class Amount:
    """So many units of one or several kinds."""

    parts: tuple[tuple[float, Precision], ...]
    end: int

    @property
    def precision(self) -> Precision:
        """The finest unit."""
        return min((unit for _, unit in self.parts), key=lambda unit: unit.length)

    def after(self, instant: datetime, sign: int = 1, *, move: Move = spans.moved) -> datetime:
        """So much later, or earlier; `move` tells how one unit passes."""
        for count, unit in sorted(self.parts, key=lambda part: -part[1].length):
            instant = move(instant, sign * count, unit)
        return instant

    def point(self, instant: datetime) -> Span:
        """The time that an amount leads to: a day for weeks and months, a month for years, a minute for hours."""
        grain = Precision.DAY
        if self.precision in _FINE:
            grain = Precision.MINUTE
        elif self.precision is Precision.YEAR:
            grain = Precision.MONTH
        elif self.precision is Precision.DECADE:
            grain = Precision.YEAR
        return spans.unit_of(instant, grain).true_to(self.precision).relative()


class Amounts(Dates):
    """Reads "three weeks ago", "in two days", "the past ten days", "two days before yesterday"."""

    def amount(self, place: int) -> Amount | None:
        """Units with their numbers; "a year and a half" is one of them."""
        parts: list[tuple[float, Precision]] = []
        end = at = place
        while len(parts) < _MOST_PARTS:
            counted = self._count(at)
            unit = UNITS.get(self.tokens.low(counted[1])) if counted else None
            weeks = 1
            if counted and unit is None and self.tokens.low(counted[1]) in ("fortnight", "fortnights"):
                unit, weeks = Precision.WEEK, 2
            if counted is None or unit is None or (unit in _FINE and self.tokens.low(counted[1]) == "second"):
                break
            count, end = counted[0] * weeks, counted[1] + 1
            if self.tokens.phrase(end, ("and", "a", "half")):
                count, end = count + 0.5, end + 3
            if self.tokens.phrase(end, ("or", "so")):
                end += 2
            elif count == 1 and self.tokens.phrase(end, ("or", "two")):
                count, end = 1.5, end + 2
            parts.append((count, unit))
            at = self.tokens.skip(self.tokens.skip(end, ","), "and")
        return Amount(tuple(parts), end) if parts else None

    def counted(self, place: int) -> Match | None:
        """An amount, and where it leads."""
        tokens = self.tokens
        if tokens.phrase(place, ("less", "than")) or tokens.phrase(place, ("for",)):
            return self._lasting(place)
        if tokens.low(place) == "within":
            return self._within(place)
        if tokens.low(place) == "in":
            return self._in(place)
        start = tokens.skip(tokens.skip(place, "about", "around", "roughly", "almost", "nearly", "exactly"), "the")
        amount = self.amount(start)
        unit = UNITS.get(tokens.low(start))
        if amount is None and start > place and unit is not None and tokens.low(start + 1) in ("before", "after"):
            amount = Amount(((1, unit),), start + 1)  # "the day after Christmas"
        if amount is None:
            return self._weekdays_ago(place)
        if tokens.low(amount.end) in _AGO:
            end = amount.end + 1
            if tokens.low(amount.end) == "back" and tokens.low(end) in ("to", "in", "and", "from", "pain"):
                return None
            return Match(self._behind_today(end), amount.point(amount.after(self.now, -1, move=self.later)))
        for words in _FROM_NOW:
            if tokens.phrase(amount.end, words):
                if words[0] == "in":
                    then = amount.after(self.now, move=self.later)
                    return Match(amount.end + 3, Span(self.now, then, amount.precision, is_relative=True))
                return Match(amount.end + len(words), amount.point(amount.after(self.now, move=self.later)))
        return self._beside(amount)

    def days_later(self, place: int, day: Span) -> Match | None:
        """Reads "two days later", counted from a day that was named before."""
        amount = self.amount(place)
        if amount is None:
            return None
        word, after = self.tokens.low(amount.end), self.tokens.low(amount.end + 1)
        # "Thirty minutes before serving" is counted from what follows.
        is_whole = word in ("later", "earlier") or (word in ("after", "before") and not after.isalnum())
        if not is_whole or amount.precision in _FINE:
            return None
        sign = 1 if word in ("later", "after") else -1
        return Match(amount.end + 1, replace(amount.point(amount.after(day.begin, sign)), is_relative=day.is_relative))

    def _count(self, place: int) -> tuple[float, int] | None:
        """How many, and the place behind it."""
        tokens = self.tokens
        low = tokens.low(place)
        if low == "half":
            at = tokens.skip(place + 1, "a", "an")
            return (0.5, at)
        if low in ("a", "an"):
            if tokens.low(place + 1) in ("few", "couple"):
                return self._count(place + 1)
            if tokens.low(place + 1) in ("hundred", "thousand"):
                return float(NUMBERS[tokens.low(place + 1)]), place + 2
            return (1.5, place + 3) if tokens.phrase(place + 1, ("half",)) else (1.0, place + 1)
        if low in _VAGUE:
            at = tokens.skip(tokens.skip(place + 1, "of"), "more", "short")
            return _VAGUE[low], at
        if low == "one" and tokens.phrase(place + 1, ("and", "a", "half")):
            return 1.5, place + 4
        found = number_at(tokens, place)
        if found is None or found[0] > 10_000:
            return None
        number, end = float(found[0]), found[1]
        other = number_at(tokens, end + 1) if tokens.low(end) in ("or", "to") else None
        if other and other[0] == number + 1 and tokens.low(other[1]) in UNITS:
            return number + 0.5, other[1]
        if tokens.low(end) == "." and tokens[end + 1].is_number and not tokens[end].is_spaced:
            return number + float(f"0.{tokens.low(end + 1)}"), end + 2
        if tokens.phrase(end, ("and", "a", "half")) or tokens.phrase(end, ("and", "half")):
            return number + 0.5, end + (3 if tokens.low(end + 1) == "a" else 2)
        return number, tokens.skip(end, "-")

    def _behind_today(self, place: int) -> int:
        return self.tokens.skip(place, "today") if self.tokens.low(place - 1) == "ago" else place

    def _weekdays_ago(self, place: int) -> Match | None:
        """Reads "two Thursdays ago"."""
        found = number_at(self.tokens, place)
        if found is None or not 1 <= found[0] <= 100:
            return None
        number = WEEKDAYS.get(self.tokens.low(found[1]).removesuffix("s"))
        if number is None or self.tokens.low(found[1] + 1) not in _AGO:
            return None
        last = spans.weekly(number).latest(self.now, strictly=True)
        if last is None:
            return None
        start = last.begin - (found[0] - 1) * 7 * spans.DAY
        return Match(found[1] + 2, Span(start, start + spans.DAY, Precision.DAY, is_relative=True))

    def _beside(self, amount: Amount) -> Match | None:
        """Reads "two days before yesterday", "a week after Christmas"."""
        word = self.tokens.low(amount.end)
        if word not in ("before", "after", "from", "following", "prior"):
            return None
        at = self.tokens.skip(amount.end + 1, "to") if word == "prior" else amount.end + 1
        anchor = self.component(at)
        if anchor is None or self.is_loose(anchor):
            return None
        # "A week from Friday" is counted from the coming one.
        span = self.resolved(anchor.value, at, toward="future" if word == "from" else None)
        if span is None:
            return None
        sign = -1 if word in ("before", "prior") else 1
        point = amount.point(amount.after(span.begin, sign))
        return Match(anchor.end, point if span.is_relative else Span(point.start, point.end, point.precision))

    def is_loose(self, match: Match) -> bool:
        """A weak match that is not a name of its own kind; feasts and months may be counted from."""
        return match.is_weak and isinstance(match.value, Span)

    def _in(self, place: int) -> Match | None:
        """Reads "in two weeks", where it is said of the future; in a recipe it lasts."""
        at = self.tokens.skip(place + 1, "about", "around", "just")
        amount = self.amount(at)
        is_ahead = looks_at(self.tokens, place) == {"future"} if self.is_running else self.direction(place) == "future"
        if amount is None or not is_ahead or self.tokens.low(amount.end) in ("of", "or", "-", "'"):
            return None
        if amount.precision in _FINE:
            return None
        return Match(self.tokens.skip(amount.end, "time"), amount.point(amount.after(self.now, move=self.later)))

    def _within(self, place: int) -> Match | None:
        """Reads "within five days", "within the next two days": from now on, where it is said of the future."""
        at = self.tokens.skip(place + 1, "the")
        marked = self.tokens.low(at) in NEXT
        amount = self.amount(at + marked)
        if amount is None or not (marked or self.is_promised(place)):
            return None
        return Match(amount.end, self._from_now(amount))

    def _lasting(self, place: int) -> Match | None:
        """Reads "for three days from today", "less than two weeks from now"."""
        amount = self.amount(place + (1 if self.tokens.low(place) == "for" else 2))
        if amount is None:
            return None
        at = self.tokens.skip(amount.end, ",")
        if self.tokens.low(at) not in ("from", "starting") or self.tokens.low(at + 1) not in ("today", "now"):
            return None
        return Match(at + 2, self._from_now(amount))

    def _from_now(self, amount: Amount) -> Span:
        start = self.now if amount.precision in _FINE else spans.floor(self.now, Precision.DAY)
        return Span(start, amount.after(start, move=self.later), amount.precision, is_relative=True)

    def is_promised(self, place: int) -> bool:
        """Whether a verb shortly before a place speaks of what is to come."""
        return any(self.tokens.low(at) in ("will", "ll", "would", "shall", "should") for at in range(place - 8, place))
