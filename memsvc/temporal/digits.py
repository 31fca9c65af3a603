"""Pure: dates that begin with digits."""

import re
from datetime import datetime, timedelta

from memsvc.intervals import Precision
from memsvc.temporal import spans
from memsvc.temporal.clocks import Clocks, at_time
from memsvc.temporal.scanning import Clock, Match
from memsvc.temporal.spans import Recurrence, Span
from memsvc.temporal.words import HOMONYMS, MONTHS, year_at

_ISO = re.compile(
    r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?!\d)"
    r"(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.\d{1,9})?)?(Z\b|[+-]\d{2}:?\d{2})?)?",
    re.IGNORECASE,
)
_NUMERIC = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d{2})(?![\d/.-]\d|\d)")
_YEAR_MONTH = re.compile(r"(\d{4})(?:[-/]| [-/]|[-/] | / )(\d{1,2})(?![\d/-])")
_MONTH_YEAR = re.compile(r"(\d{1,2})(?:[-/]| [-/]|[-/] | / )(\d{4})(?![\d/-])")
_MONTH_DAY = re.compile(r"(\d{1,2})/(\d{1,2})(?![\d/]|\s?-\d|-)")
YEARS = range(1900, 2101)


class Digits(Clocks):
    """Reads "2021-05-03", "5/3/2021", "5/2021", "2021 May"."""

    def written(self, place: int) -> Match | None:
        """A date in digits."""
        token, before = self.tokens[place], self.tokens[place - 1]
        if (
            not token.is_number
            or len(token.low) > 4
            or (before.low in ("-", "/", ".", ":", "$") and not token.is_spaced)
        ):
            return None
        text, at = self.tokens.text, token.start
        for pattern, read in _READERS:
            found = pattern.match(text, at)
            if found and not (pattern is _MONTH_DAY and before.low == "the"):  # "The 9/11 attacks".
                try:
                    value = read(self, found)
                except (ValueError, OverflowError):
                    value = None
                if value is not None:
                    is_short = pattern is _NUMERIC and found[2] == "-" and len(found[4]) == 2
                    return Match(self.behind(place, found.end()), value, is_weak=pattern is _MONTH_DAY or is_short)
        return self._with_named_month(place)

    def full_year(self, two_digits: int) -> int:
        """The year that two digits stand for: at most ten years ahead."""
        return two_digits + (2000 if two_digits <= self.now.year % 100 + 10 else 1900)

    def _iso(self, found: re.Match[str]) -> Span | None:
        if int(found[1]) not in YEARS:
            return None
        day = spans.day(int(found[1]), int(found[3]), int(found[4]))
        if not found[5]:
            return day
        fine = Precision.SECOND if found[7] else Precision.MINUTE
        clock = at_time(int(found[5]), int(found[6]), int(found[7] or 0), precision=fine)
        if clock.end > timedelta(days=1) or int(found[6]) > 59:
            return day
        return self._in_zone(clock, day, found[8])

    def _in_zone(self, clock: Clock, day: Span, offset: str | None) -> Span:
        """The time on the wall of who said it, where the text gives it in another zone."""
        held = clock.on(day)
        if not offset or self.zone is None:
            return held
        aware = datetime.fromisoformat(held.begin.isoformat() + offset.upper().replace("Z", "+00:00"))
        here = aware.astimezone(self.zone).replace(tzinfo=None)
        return Span(here, here + (held.finish - held.begin), held.precision)

    def _numeric(self, found: re.Match[str]) -> Span | None:
        first, second = int(found[1]), int(found[3])
        if len(found[4]) == 2 and found[2] == ".":
            return None
        year = int(found[4]) if len(found[4]) == 4 else self.full_year(int(found[4]))
        if year not in YEARS:
            return None
        # With full stops the day comes first, as in most of Europe; else the month, unless it cannot.
        day_first = first > 12 or (found[2] == "." and second <= 12)
        return spans.day(year, second, first) if day_first else spans.day(year, first, second)

    def _year_month(self, found: re.Match[str]) -> Span | None:
        return spans.month(int(found[1]), int(found[2])) if int(found[1]) in YEARS else None

    def _month_year(self, found: re.Match[str]) -> Span | None:
        return spans.month(int(found[2]), int(found[1])) if int(found[2]) in YEARS else None

    def _month_day(self, found: re.Match[str]) -> Recurrence | None:
        month, day = int(found[1]), int(found[2])
        spans.day(2000, month, day)
        return spans.yearly(lambda year: spans.day(year, month, day))

    def _with_named_month(self, place: int) -> Match | None:
        """Reads "2016 June", "2016, Nov", "2019/aug/01"."""
        tokens = self.tokens
        year = year_at(tokens, place)
        if year is None or year[0] not in YEARS:
            return None
        at = tokens.skip(year[1], ",", "-", "/")
        month = MONTHS.get(tokens.low(at))
        if month is None or (tokens.low(at) in HOMONYMS and not tokens[at].is_capital and at == year[1]):
            return None
        if tokens.low(at + 1) in ("-", "/") and tokens[at + 2].is_number:
            try:
                return Match(at + 3, spans.day(year[0], month, int(tokens.low(at + 2))))
            except ValueError:
                return None
        # "In 2016 June said": a sentence that goes on with a name is rarer than a date.
        return Match(at + 1, spans.month(year[0], month))


_READERS = (
    (_ISO, Digits._iso),
    (_NUMERIC, Digits._numeric),
    (_YEAR_MONTH, Digits._year_month),
    (_MONTH_YEAR, Digits._month_year),
    (_MONTH_DAY, Digits._month_day),
)
