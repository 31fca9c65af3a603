"""Pure: parts of a period, "the end of March", "the first Saturday of April"."""

from memsvc.intervals import Precision
from memsvc.temporal import portions, spans
from memsvc.temporal.relatives import Relatives
from memsvc.temporal.scanning import Match
from memsvc.temporal.spans import Span
from memsvc.temporal.words import UNITS, WEEKDAYS, ordinal_at, words_of

_SIDES = {"mid": "middle", "start": "beginning"} | {
    side: side for side in ("early", "late", "middle", "beginning", "end")
}
_POSSESSIVES = words_of("my his her their your our its")
# "The first minute of the day" is hardly a time, and which season or decade is the first is open.
_UNCOUNTED = (Precision.SECOND, Precision.MINUTE, Precision.HOUR, Precision.SEASON, Precision.DECADE)


class Parts(Relatives):
    """Reads parts of what others read."""

    def part(self, place: int) -> Match | None:
        """Reads "early 2021", "mid-April", "the end of last week", "the rest of the day", "later this month"."""
        tokens = self.tokens
        at = tokens.skip(place, "the")
        word = tokens.low(at)
        if word in ("rest", "remainder") and tokens.low(at + 1) == "of":
            return self._rest(at + 2)
        if word in ("earlier", "later"):
            return self._earlier_or_later(at, word)
        side = _SIDES.get(word)
        if side is None:
            return None
        at = tokens.skip(at + 1, "-", "to") if word != "end" else at + 1
        if word in ("middle", "beginning", "start", "end"):
            if tokens.low(at) != "of":
                return None
            at += 1
        elif tokens.low(at) == "in":
            at += 1
        return self._part_of(side, at)

    def ordinal_part(self, place: int) -> Match | None:
        """Reads "the first Saturday of April", "the third quarter of 2016", "the 20th of last month"."""
        tokens = self.tokens
        at = tokens.skip(place, "the")
        ordinal = (-1, at + 1) if tokens.low(at) == "last" else ordinal_at(tokens, at)
        if ordinal is None:
            return None
        number, at = ordinal
        kind, at = tokens.low(at), at + 1
        if kind not in WEEKDAYS and kind not in UNITS and kind not in ("weekend", "half"):
            return self._day_of_span(ordinal)
        if UNITS.get(kind) in _UNCOUNTED:
            return None
        whole = self.whole(at)
        if whole is None:
            is_own = kind in WEEKDAYS and number > 0 and tokens.low(at) not in ("of", "in")
            if not is_own or len(kind) < 5 or number > 5:
                return None
            whole = Match(at, self.unit(Precision.MONTH))
        found = _nth(number, kind, whole.value) if isinstance(whole.value, Span) else None
        return found and Match(whole.end, found)

    def week_of(self, place: int) -> Match | None:
        """Reads "the week of 16 September", "week 10", "w/c 4 February"."""
        tokens = self.tokens
        at = tokens.skip(place, "the")
        if tokens.phrase(at, ("w", "/", "c")):
            at += 3
        elif tokens.low(at) == "week" and tokens.low(at + 1) in ("of", "commencing", "starting", "beginning"):
            at += 2
        else:
            return self._numbered_week(at)
        day = self.component(tokens.skip(at, "the"))
        span = self.resolved(day.value, at) if day else None
        if day is None or span is None or span.finish - span.begin > spans.DAY:
            return None
        start = spans.floor(span.begin, Precision.WEEK, self.week_start)
        return Match(day.end, Span(start, start + 7 * spans.DAY, Precision.WEEK, span.is_relative))

    def whole(self, place: int) -> Match | None:
        """The period that a part is of."""
        tokens = self.tokens
        if tokens.low(place) not in ("of", "in"):
            # "first half 2021" says its period without a word between.
            return self.year(place, is_certain=True) if tokens[place].is_number else None
        at = place + 1
        year = self.year(at, is_certain=True)
        if year:
            return year
        after = tokens.skip(at, "the", "this")
        unit = UNITS.get(tokens.low(after))
        if unit is not None and after > at and unit.length >= Precision.WEEK.length:
            return Match(after + 1, self.unit(unit))
        found = self.component(at)
        span = self.resolved(found.value, at) if found else None
        return Match(found.end, span) if found and span else None

    def _numbered_week(self, place: int) -> Match | None:
        tokens = self.tokens
        number = tokens[place + 1]
        if tokens.low(place) != "week" or not number.is_number or int(number.low[:4]) not in range(1, 54):
            return None
        year = self.year(tokens.skip(place + 2, "of", ","), is_certain=True)
        if year is None or not isinstance(year.value, Span):
            return Match(place + 2, spans.week(self.now.year, int(number.low)), is_weak=True)
        return Match(year.end, spans.week(year.value.begin.year, int(number.low)))

    def _rest(self, place: int) -> Match | None:
        at = self._behind_determiner(place)
        unit = UNITS.get(self.tokens.low(at))
        if unit is None or at == place:
            return None
        start = self.now if unit is Precision.DAY else spans.floor(self.now, Precision.DAY)
        if self._is_almost_over(unit):
            return None
        return Match(at + 1, Span(start, self.unit(unit).end, unit, is_relative=True))

    def _is_almost_over(self, unit: Precision) -> bool:
        """Whether it may be the coming week that is meant: for many, it begins on the day that ours ends on."""
        is_last_day = self.unit(unit).finish - self.now <= spans.DAY
        return self.is_running and unit is Precision.WEEK and is_last_day

    def _earlier_or_later(self, place: int, word: str) -> Match | None:
        tokens = self.tokens
        if tokens.low(place + 1) == "today":
            whole, end = self.today, place + 2
        else:
            at = self._behind_determiner(tokens.skip(place + 1, "in"))
            unit = UNITS.get(tokens.low(at))
            if unit is None or unit.length < spans.DAY or at == place + 1 or tokens.low(at - 1) not in ("this", "the"):
                return None
            if tokens.low(at - 1) == "the" and unit is Precision.DAY:
                return None
            if word == "later" and self._is_almost_over(unit):
                return None
            whole, end = self.unit(unit), at + 1
        here = self.now if whole.precision is Precision.DAY else spans.floor(self.now, Precision.DAY)
        start, stop = (whole.begin, here) if word == "earlier" else (here, whole.finish)
        return Match(end, Span(start, stop, whole.precision, is_relative=True)) if start < stop else Match(end, whole)

    def _behind_determiner(self, place: int) -> int:
        return self.tokens.skip(place, "the", "this", "my", "our", "current") + (
            self.tokens.low(place) == "the" and self.tokens.low(place + 1) == "current"
        )

    def _part_of(self, side: str, place: int) -> Match | None:
        """A side of the period that stands there; years need no more than their digits here."""
        at = self.tokens.skip(place, "the")
        if self.tokens.low(place - 1) in _POSSESSIVES:
            return None
        unit = UNITS.get(self.tokens.low(at))
        if unit is not None and (at > place or side in ("end", "beginning")) and unit.length >= Precision.WEEK.length:
            whole: Span | None = self.unit(unit)
            end = at + 1
        else:
            found = self.year(at, is_certain=True) or self.component(place)
            if found is None:
                return None
            whole, end = self.resolved(found.value, place), found.end
        span = portions.side(side, whole) if whole else None
        return span and Match(end, span)

    def _day_of_span(self, ordinal: tuple[int, int]) -> Match | None:
        """Reads "the 20th of last month": a day of a month that is told."""
        word = self.tokens.low(ordinal[1])
        if word not in ("of", "this", "last", "next") or ordinal[0] < 1:
            return None
        whole = self.whole(ordinal[1]) if word == "of" else self.modified(ordinal[1])
        if whole is None or not isinstance(whole.value, Span) or whole.value.precision is not Precision.MONTH:
            return None
        start = whole.value.begin + (ordinal[0] - 1) * spans.DAY
        found = Span(start, start + spans.DAY, Precision.DAY, whole.value.is_relative)
        return Match(whole.end, found) if start < whole.value.finish else None


def _nth(number: int, kind: str, whole: Span) -> Span | None:
    if kind == "half":
        return portions.half(number, whole)
    if kind == "weekend":
        return portions.nth_weekend(number, whole)
    if kind in WEEKDAYS:
        return portions.nth_weekday(number, WEEKDAYS[kind], whole)
    unit = UNITS[kind]
    return portions.nth_week(number, whole) if unit is Precision.WEEK else portions.nth_unit(number, unit, whole)
