"""Pure: dates with names, and months, weekdays, seasons, holidays, years and decades alone."""

from memsvc.intervals import Precision
from memsvc.temporal import spans
from memsvc.temporal.digits import YEARS, Digits
from memsvc.temporal.feasts import feast_at
from memsvc.temporal.scanning import Match
from memsvc.temporal.spans import Span
from memsvc.temporal.words import (
    HOMONYMS,
    MONTHS,
    NUMBERS,
    PARTS,
    SEASONS,
    TENS,
    UNITS,
    WEEKDAYS,
    century_and_rest,
    ordinal_at,
    words_of,
    year_at,
)

# What numbers count; a year is not counted.
_COUNTED = words_of(
    "words steps calories people miles dollars characters meters feet km kg pieces points members users degrees square "
    "rpm bc bce kcal mg ml grams lines times items pages copies units"
)
_BEFORE_A_DOUBTFUL_MONTH = ("in", "since", "last", "next", "this", "until", "early", "late")
_BEFORE_AN_ORDINAL = words_of("the on of from to until till between and by since before after")
# What may follow "the 21st"; another word is what is counted: "the 1st floor".
_AFTER_AN_ORDINAL = words_of(
    "and or but with when we i he she they this last in at of was is it to the my our so because through until till "
    "around before after from by for while then there you as that which night morning afternoon evening noon on during"
)
_AFTER_A_FEAST = words_of(
    "and or but with when while we i he she they you it this that last next of in on at is was are were will to from "
    "until till through by for since before after because so as eve night morning afternoon evening day weekend week "
    "service dinner lunch brunch party two three four five six several a an the around if about s which there then "
    "had has have can ll would should my our your her his their not also just together during year nineteen twenty"
)
_OWNERS = words_of("my your his her our their")
_DEGREES = words_of("fahrenheit celsius degrees temperature temperatures highs lows °")


class Dates(Digits):
    """Reads what stands in a calendar."""

    def month_name(self, place: int) -> Match | None:
        """A month by its name, with its day or its year if they are there."""
        tokens = self.tokens
        number = MONTHS.get(tokens.low(place))
        if number is None:
            return None
        is_doubtful = tokens.low(place) in HOMONYMS and not tokens[place].is_capital
        if tokens.low(place + 1) == "," and self.day_number(place + 2) and tokens.low(place + 3) == ",":
            return self._with_year(place + 3, number, int(tokens.low(place + 2)))  # "January, 6, 2021"
        at = tokens.skip(place + 1, ".") if len(tokens.low(place)) < 5 or tokens.low(place + 2).isdigit() else place + 1
        if self._is_of_no_day(place, number):
            return None
        day = self.day_number(tokens.skip(tokens.skip(at, "-", "/"), "the"))
        is_joined = is_doubtful and tokens[place + 1].low in ("-", "/")
        if day is not None and not is_joined and not tokens.breaks(place + 1, day[1]):
            return self._with_year(day[1], number, day[0])
        year = self.year(self.before_year(at), is_certain=True)
        if year is not None and isinstance(year.value, Span):
            return Match(year.end, spans.month(year.value.begin.year, number))
        if is_doubtful and tokens.low(place - 1) not in _BEFORE_A_DOUBTFUL_MONTH:
            return None
        end = at if tokens.low(at - 1) == "." and tokens.low(at) == "," else place + 1
        return Match(end, spans.yearly(lambda year: spans.month(year, number)), is_weak=True)

    def day_first(self, place: int) -> Match | None:
        """Reads "5 May 2016", "22 of Jan", "the second of August"."""
        tokens = self.tokens
        found = ordinal_at(tokens, place) or self._plain_day(place)
        if found is None or not 1 <= found[0] <= 31:
            return None
        day, at = found
        has_of = tokens.low(at) == "of"
        at = tokens.skip(tokens.skip(tokens.skip(at, "of"), "-", "/"), ",") if not has_of else at + 1
        month = MONTHS.get(tokens.low(at))
        is_homonym = tokens.low(at) in HOMONYMS and not tokens[at].is_capital
        is_bare_word = not tokens[place].is_number and not has_of
        if month is None or is_homonym or is_bare_word:
            return None
        return self._with_year(tokens.skip(at + 1, ".") if tokens.low(at + 2).isdigit() else at + 1, month, day)

    def day_of_month(self, place: int) -> Match | None:
        """Reads "the 21st": of some month."""
        tokens = self.tokens
        found = ordinal_at(tokens, place)
        if found is None or not 1 <= found[0] <= 31 or tokens.low(place - 1) not in _BEFORE_AN_ORDINAL:
            return None
        after = tokens[found[1]]
        is_part = after.low in PARTS and not tokens[place].is_number  # "The first night" is one of several.
        is_counting = after.is_number or is_part or (after.low.isalpha() and after.low not in _AFTER_AN_ORDINAL)
        is_of_century = any(tokens.low(at).startswith("centur") for at in range(found[1], found[1] + 6))
        if is_counting or is_of_century:
            return None
        return Match(found[1], spans.monthly(found[0]), is_weak=True)

    def _is_of_no_day(self, place: int, month: int) -> bool:
        """Whether a day stands before the month that the month lacks in the year behind it: "29 February 2023"."""
        year = self.year(self.before_year(place + 1), is_certain=True)
        at = place - 1 - (self.tokens.low(place - 1) == "of")
        at -= self.tokens.low(at) in ("st", "nd", "rd", "th")
        day = self.tokens[at]
        if year is None or not isinstance(year.value, Span) or not day.is_number or len(day.low) > 2:
            return False
        return int(day.low) in range(spans.month(year.value.begin.year, month).length.days + 1, 32)

    def weekday(self, place: int) -> Match | None:
        """A weekday by its name, with the day of the month if it is there."""
        tokens = self.tokens
        number = WEEKDAYS.get(tokens.low(place))
        if number is None or tokens.low(place - 1) in ("every", "each", "most", "any", "all", "-"):
            return None
        if tokens.low(place + 1).removesuffix("s") in PARTS and tokens.low(place + 1).endswith("s"):
            return None  # "Monday evenings": every one.
        is_short = len(tokens.low(place)) <= 5
        if is_short and not tokens[place].is_capital and tokens.low(place) in HOMONYMS:
            return None
        at = tokens.skip(place + 1, ".") if is_short else place + 1
        ordinal = self._day_of(at)
        if ordinal:
            days = spans.monthly(ordinal[0])
            fitting = days.only(lambda span: span.begin.weekday() == number)
            fits = fitting.latest(self.now) or fitting.next(self.now)
            return Match(ordinal[1], fitting if fits else days)
        if tokens.low(place - 1) in ("a", "per") or tokens.low(at) == ":":
            return None
        return Match(place + 1, spans.weekly(number), is_weak=True)

    def season(self, place: int) -> Match | None:
        """A season; of a year, or in general."""
        first = SEASONS.get(self.tokens.low(place))
        if first is None:
            return None
        recurrence = spans.yearly(lambda year: spans.unit_of(spans.midnight(year, first), Precision.SEASON))
        year = self.year(self.before_year(place + 1), is_certain=True)
        if year is not None and isinstance(year.value, Span):
            found = recurrence.occurrence(year.value.begin.year)
            return found and Match(self._behind_next_year(year.end, year.value.begin.year), found)
        return Match(place + 1, recurrence, is_weak=True)

    def _behind_next_year(self, place: int, year: int) -> int:
        """Behind the second year of "winter 2022-2023", "winter 2022/23"."""
        tokens = self.tokens
        is_next = tokens.low(place) in ("-", "/") and tokens.low(place + 1) in (str(year + 1), str(year + 1)[2:])
        return place + 2 if is_next else place

    def feast(self, place: int) -> Match | None:
        """A holiday."""
        found = feast_at(self.tokens, place)
        if found is None:
            return None
        recurrence, end, is_plain = found
        after = self.tokens[end]
        if after.low.isalpha() and after.low not in _AFTER_A_FEAST and not after.is_first:
            return None  # "Black Friday sales", "the Good Friday Agreement", "a Christmas tree".
        return Match(end, recurrence, is_weak=not is_plain)

    def year(self, place: int, *, is_certain: bool = False) -> Match | None:
        """A year; `is_certain` where the words before it leave no other reading."""
        tokens = self.tokens
        start = tokens.skip(tokens.skip(place, "the"), "year")
        found = century_and_rest(tokens, start) or year_at(tokens, start)
        if (
            found is None
            and tokens.low(start) == "'"
            and tokens[start + 1].is_number
            and len(tokens.low(start + 1)) == 2
        ):
            found = (self.full_year(int(tokens.low(start + 1))), start + 2)
        if found is None or found[0] not in range(1001, 2200) or (found[0] < 1500 and tokens.low(place - 1) == "of"):
            return None
        number, end = found
        if (tokens.low(end).isalpha() or tokens.low(end) in ("%", "°")) and not tokens[end].is_spaced:
            return None
        joined = tokens.low(end) in (".", ",", ":", "/") and tokens[end + 1].is_number and not tokens[end + 1].is_spaced
        if joined or tokens.low(end) in _COUNTED or tokens.low(end) in UNITS:
            return None
        return Match(end, spans.year(number), is_weak=not (is_certain or start > place))

    def decade(self, place: int) -> Match | None:
        """Reads "the 1970s", "the '40s", "the seventies", "the twenty-tens", "the two thousands"."""
        tokens = self.tokens
        start = tokens.skip(place, "'")
        if tokens[start].is_number:
            return self._decade_in_digits(start, is_marked=start > place)
        if tokens.phrase(start, ("two", "thousand", "and", "tens")):
            return Match(start + 4, spans.decade(2010))
        if tokens.phrase(start, ("two", "thousands")):
            return Match(start + 2, spans.decade(2000))
        century = NUMBERS.get(tokens.low(start), 0)
        at = tokens.skip(start + 1, "-") if century in range(15, 21) else start
        tens = TENS.get(tokens.low(at))
        if tens is None or (tens == 10 and at == start):
            return None
        is_age = not {tokens.low(start - 1), tokens.low(start - 2), tokens.low(start - 3)}.isdisjoint(_OWNERS)
        if at == start and is_age:
            return None  # "In their early thirties".
        return Match(at + 1, spans.decade((century * 100 or 1900) + tens), is_weak=at == start)

    def quarter(self, place: int) -> Match | None:
        """Reads "Q1 2016", "2016 H2"; without a year it needs more around it."""
        tokens = self.tokens
        letter, number = tokens.low(place), tokens.low(place + 1)
        if letter not in ("q", "h") or number not in ("1", "2", "3", "4") or tokens[place + 1].is_spaced:
            return None
        year = self.year(self.before_year(place + 2), is_certain=True)
        if letter == "h" and (year is None or number > "2"):
            return None
        months = 3 if letter == "q" else 6
        whole = year.value if year and isinstance(year.value, Span) else self.unit(Precision.YEAR)
        start = spans.moved(whole.begin, months * (int(number) - 1), Precision.MONTH)
        span = Span(start, spans.moved(start, months, Precision.MONTH), Precision.QUARTER, is_relative=year is None)
        return Match(year.end if year else place + 2, span, is_weak=year is None)

    def year_quarter(self, place: int) -> Match | None:
        """Reads "2016 Q3", "2016 H2"."""
        year = self.year(place)
        if year is None or not isinstance(year.value, Span):
            return None
        letter, number = self.tokens.low(year.end), self.tokens.low(year.end + 1)
        found = self.quarter(year.end)
        if letter == "q" and found and found.end == year.end + 2:
            months = 3
        elif letter == "h" and number in ("1", "2"):
            months = 6
        else:
            return None
        start = spans.moved(year.value.begin, months * (int(number) - 1), Precision.MONTH)
        return Match(year.end + 2, Span(start, spans.moved(start, months, Precision.MONTH), Precision.QUARTER))

    def _decade_in_digits(self, place: int, *, is_marked: bool) -> Match | None:
        tokens = self.tokens
        digits = tokens.low(place)
        at = tokens.skip(place + 1, "'")
        if tokens.low(at) != "s" or tokens[at].is_spaced or not digits.endswith("0") or len(digits) not in (2, 4):
            return None
        if tokens.low(at + 1) == "'" and not tokens[at + 1].is_spaced:
            return None  # "Wait: '60s'".
        number = int(digits)
        if len(digits) == 2:
            number += 2000 if number < 30 else 1900
        before = tokens.low(place - 1 - is_marked)
        is_told = is_marked or len(digits) == 4 or before in ("the", "early", "mid", "late", "-", "in")
        # "Highs in the 70s" are degrees.
        is_warm = any(tokens.low(near) in _DEGREES for near in range(place - 12, at + 12))
        if not is_told or number not in YEARS or (is_warm and len(digits) == 2):
            return None
        is_age = len(digits) == 2 and not {before, tokens.low(place - 2), tokens.low(place - 3)}.isdisjoint(_OWNERS)
        if is_age or (number > self.now.year + 20 and before != "the"):
            return None  # "In your early 30s", "the RTX 2060's".
        if number == 1900:
            return Match(at + 1, Span(spans.year(1900).start, spans.year(2000).start, Precision.DECADE))
        return Match(at + 1, spans.decade(number))

    def _with_year(self, place: int, month: int, day: int) -> Match | None:
        """A day of a month, of the year that follows, or of every one."""
        recurrence = spans.yearly(lambda year: spans.day(year, month, day))
        try:
            spans.day(2000, month, day)
            year = self.year(self.before_year(place), is_certain=True)
            if year is not None and isinstance(year.value, Span):
                return Match(year.end, spans.day(year.value.begin.year, month, day))
            clock = self.clock(place)
            year = self.year(clock.end) if clock and self.tokens[clock.end].is_number else None
            if year is not None and isinstance(year.value, Span):
                # "Oct 26 15:50:06 2016": the time stands before the year, and is read next.
                return Match(place, spans.day(year.value.begin.year, month, day))
        except ValueError:
            return None
        return Match(place, recurrence)

    def before_year(self, place: int) -> int:
        """Where the year of a date would stand."""
        return self.tokens.skip(self.tokens.skip(place, ",", "-", "/"), "of", "in")

    def day_number(self, place: int) -> tuple[int, int] | None:
        """The day that follows a month's name, and the place behind it."""
        ordinal = ordinal_at(self.tokens, place)
        if ordinal is not None:
            return ordinal if 1 <= ordinal[0] <= 31 else None
        return self._plain_day(place)

    def _plain_day(self, place: int) -> tuple[int, int] | None:
        token, after = self.tokens[place], self.tokens[place + 1]
        if not token.is_number or len(token.low) > 2 or not 1 <= int(token.low) <= 31:
            return None
        if after.low in (":", "%", "°", "am", "pm", "x") and not after.is_spaced:
            return None
        is_fraction = (
            after.low in (".", "/") and self.tokens[place + 2].is_number and not self.tokens[place + 2].is_spaced
        )
        if after.low in UNITS or after.low in _COUNTED or is_fraction or after.low in ("am", "pm"):
            return None
        return int(token.low), place + 1

    def _day_of(self, place: int) -> tuple[int, int] | None:
        """The day of the month behind a weekday: "the 21st", "the fifteen"."""
        at = self.tokens.skip(self.tokens.skip(place, ","), "the")
        ordinal = ordinal_at(self.tokens, at)
        if ordinal is None and at > place and self.tokens.low(at - 1) == "the":
            day = NUMBERS.get(self.tokens.low(at), 0)
            ordinal = (day, at + 1) if 1 <= day <= 31 else None
        follows = self.tokens.low(ordinal[1]) if ordinal else ""
        return None if follows == "of" or follows in MONTHS or follows in UNITS else ordinal
