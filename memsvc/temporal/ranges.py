"""Pure: ranges, closed and open."""

from dataclasses import replace
from datetime import datetime, timedelta
from operator import attrgetter

from memsvc.intervals import Precision
from memsvc.temporal import spans
from memsvc.temporal.compounds import Compounds
from memsvc.temporal.scanning import Clock, Match
from memsvc.temporal.spans import Recurrence, Span
from memsvc.temporal.tense import is_general
from memsvc.temporal.words import MONTHS, SEASONS, TO, UNITS

_UNTIL = ("until", "till", "til", "by", "before")
# Where a range can begin, besides with its first time.
OPENERS = frozenset({"from", "between", "since", "after", *_UNTIL})


class Ranges(Compounds):
    """Reads "from 3 to 9 May", "since March", "until yesterday"."""

    def from_to(self, place: int) -> tuple[int, Span] | None:
        """Reads "from X to Y", "between X and Y", "X until Y", with what the first leaves out."""
        tokens = self.tokens
        word = tokens.low(place)
        is_marked = word in ("from", "between", "in")
        at = place + 1 if is_marked else place
        shorter = [self._years(at), self._elided(at, is_marked=word in ("from", "between")), self._hours_of(place)]
        found = max((read for read in shorter if read), key=lambda read: read[0], default=None)
        if found:
            return found
        first = self.point(at) or (self.year(at, is_certain=True) if is_marked else None)
        if first is None and is_marked and tokens.low(at) == "now":
            first = Match(at + 1, Span(self.now, self.now, Precision.SECOND, is_relative=True))
        if first is None or not self._is_opening(first, word, at):
            return None
        start = self.resolved(first.value, place)
        if start is None and isinstance(first.value, Recurrence):
            # Its end may tell its year: "from February to June 1889".
            second = self._second_end(first.end + 1, self.today)
            is_dated = second is not None and isinstance(second.value, Span)
            return self._between(first, second, place, is_marked=is_marked) if second and is_dated else None
        if start is None:
            return None
        if tokens.low(first.end + 1) in ("now", "present", "date"):
            return (first.end + 2, Span(start.start, self.now, start.precision, is_relative=True))
        second = self._second_end(first.end + 1, start)
        return self._between(first, second, place, is_marked=is_marked) if second else None

    def since_or_until(self, place: int) -> tuple[int, Span] | None:
        """Reads "since March", "until yesterday", "before Christmas", "by the end of the month", "from May on"."""
        tokens = self.tokens
        word = tokens.low(place)
        if word not in ("since", "after", "from", *_UNTIL):
            return None
        if tokens.low(place + 1) == "now":
            is_until = word in ("until", "till", "til")
            return (place + 2, Span(None, self.now, Precision.SECOND, is_relative=True)) if is_until else None
        match = self.point(place + 1) or self.year(place + 1, is_certain=True)
        if match is None or isinstance(match.value, Clock):
            return None
        is_year = isinstance(match.value, Span) and match.value.precision is Precision.YEAR
        if tokens.low(place + 1) == "the" and match.is_weak and is_year:
            return None  # "After the 2019 fire".
        if tokens.low(place + 1) in SEASONS:
            return None  # "Inspired by autumn".
        if (
            word in ("after", "before", "by")
            and isinstance(match.value, Recurrence)
            and is_general(tokens, place, match.end)
        ):
            return None
        span = self.resolved(match.value, place, toward="past" if word == "since" else None)
        if span is None:
            return None
        if word == "from":
            is_open = tokens.low(match.end) in ("onward", "onwards", "forward") or self._goes_on(match.end)
            return (match.end + 1, replace(span, end=None)) if is_open else None
        if word == "since":
            return match.end, replace(span, end=None)
        if word == "after":
            return match.end, Span(span.end, None, span.precision, span.is_relative)
        if word == "before":
            return match.end, Span(None, span.start, span.precision, span.is_relative)
        start = self.now if span.finish > self.now else None
        return match.end, Span(start, span.end, span.precision, span.is_relative or start is not None)

    def _goes_on(self, place: int) -> bool:
        """Whether an "on" leaves a range open: "from May on, we", but not "from last month on the web"."""
        after = self.tokens[place + 1]
        return self.tokens.low(place) == "on" and (not after.low.isalnum() or after.low in ("and", "i", "we", "it"))

    def days_of_week(self, place: int, whole: Span) -> tuple[int, Span] | None:
        """Days of a period that stands before them: "last week between Friday and Sunday"."""
        tokens = self.tokens
        if whole.precision is not Precision.WEEK or tokens.low(place) not in ("from", "between") or not whole.is_closed:
            return None
        days = []
        for word in (TO, ()):
            match = self.weekday(place + 1)
            if match is None or not isinstance(match.value, Recurrence) or (word and tokens.low(match.end) not in word):
                return None
            days += list(match.value.within(whole))
            place = match.end
        if len(days) != 2 or days[0].begin >= days[1].finish:
            return None
        return place, Span(days[0].start, days[1].end, Precision.DAY, is_relative=True)

    def _is_opening(self, first: Match, word: str, place: int) -> bool:
        """Whether a range can begin with this time, behind this word; "and" asks for a "between"."""
        joint = self.tokens.low(first.end)
        if isinstance(first.value, Clock) or joint not in TO or (joint == "and" and word != "between"):
            return False
        return word != "in" or self.tokens[place].is_number

    def _second_end(self, place: int, start: Span) -> Match | None:
        """Where a range ends; "two days later" is counted from its start."""
        before = self.last, self.last_end
        self.last, self.last_end = start, place
        try:
            found = self.point(place) or self.point(self.tokens.skip(place, "the"))
            if found is None and start.precision is Precision.YEAR:
                found = self.year(place, is_certain=True)
        finally:
            self.last, self.last_end = before
        return found

    def _between(self, first: Match, second: Match, place: int, *, is_marked: bool) -> tuple[int, Span] | None:
        """From the start of the first to the end of the second, which belongs to it."""
        if isinstance(second.value, Clock) or isinstance(first.value, Clock):
            return None
        general = isinstance(first.value, Recurrence) and isinstance(second.value, Recurrence)
        if general and is_general(self.tokens, place, second.end) and not self._has_day(first):
            return None
        if not is_marked and first.is_weak and second.is_weak:
            return None
        if self.tokens.low(second.end).startswith("centur"):
            return None
        start = self.resolved(first.value, place)
        end = self.resolved(second.value, place)
        if isinstance(first.value, Recurrence) and start:
            end = self._end_after(start, second)
            end = end and replace(end, is_relative=True)
        elif isinstance(second.value, Recurrence) and start:
            end = self._end_after(start, second)
        if isinstance(first.value, Recurrence) and isinstance(second.value, Span) and second.value.is_closed:
            # "From 4 to 22 January 1995": the end's year is the start's.
            end = second.value
            found = first.value.latest(end.begin)
            start = found and replace(found, is_relative=end.is_relative)
        if start is None or end is None or start.start is None or end.end is None or start.start >= end.end:
            return None
        fine = min(start.precision, end.precision, key=attrgetter("length"))
        return second.end, Span(start.start, _end_of(end), fine, start.is_relative or end.is_relative)

    def _end_after(self, start: Span, second: Match) -> Span | None:
        """What comes round, for the first time after a range's start."""
        if not isinstance(second.value, Recurrence):
            return second.value if isinstance(second.value, Span) else None
        return second.value.next(start.begin)

    def _years(self, place: int) -> tuple[int, Span] | None:
        """Reads "2011-2013", "2019-20"."""
        tokens = self.tokens
        if tokens.low(place + 1) != "-" or tokens[place + 1].is_spaced or tokens[place + 2].is_spaced:
            return None
        # "Toxicon, 56(8), 1390-1397": the pages of a volume.
        if tokens.low(place - 1) == "," and (tokens.low(place - 2) == ")" or tokens[place - 2].is_number):
            return None
        first, last = self.year(place, is_certain=True), self._year_behind(place)
        if not first or not last or first.end != place + 1 or last.end != place + 3:
            return None
        if not isinstance(first.value, Span) or not isinstance(last.value, Span):
            return None
        is_range = first.value.begin < last.value.begin
        return (place + 3, Span(first.value.start, last.value.end, Precision.YEAR)) if is_range else None

    def _year_behind(self, place: int) -> Match | None:
        """The second year of a range, which may be told in two digits: those from 13 on are no month."""
        digits, tokens = self.tokens.low(place + 2), self.tokens
        is_short = len(digits) == 2 and tokens[place + 2].is_number and tokens.low(place + 3) not in ("-", "/")
        if not is_short or tokens[place].low[2:] < "12":
            return self.year(place + 2, is_certain=True)
        number = int(tokens[place].low[:2] + digits)
        return Match(place + 3, spans.year(number)) if number == int(tokens[place].low) + 1 else None

    def _elided(self, place: int, *, is_marked: bool) -> tuple[int, Span] | None:
        """Reads "4 to 22 this month", "3 until 12 of Sept", "November 19 to 20", "4 to January 22, 1995"."""
        tokens = self.tokens
        first = self.day_number(tokens.skip(place, "the") if is_marked else place)
        if first and tokens.low(first[1]) in TO and (tokens.low(first[1]) != "and" or is_marked):
            behind = tokens.skip(first[1] + 1, "the")
            last = self.day_first(behind) or self.month_name(behind)
            if last and self._has_day_number(last):
                return self._days(first[0], last, place)
            numbered = self.day_number(behind)
            if numbered:
                month = self.whole(tokens.skip(numbered[1], "back")) or self.component(tokens.skip(numbered[1], "of"))
                span = self.resolved(month.value, place) if month else None
                if month and span and span.precision is Precision.MONTH:
                    days = _days_of_month(first[0], numbered[0], span)
                    return (month.end, days) if days else None
        opening = self.month_name(place)
        if opening and self._has_day_number(opening) and tokens.low(opening.end) in TO:
            day = self.day_number(opening.end + 1)
            if (
                day
                and (tokens.low(opening.end) != "and" or is_marked)
                and tokens.low(day[1]) not in (":", *MONTHS, *UNITS)
            ):
                return self._until_day(opening, day, place)
        return None

    def _days(self, first: int, last: Match, place: int) -> tuple[int, Span] | None:
        end = self.resolved(last.value, place)
        if end is None or not 1 <= first < end.begin.day:
            return None
        return last.end, Span(end.begin.replace(day=first), _end_of(end), Precision.DAY, end.is_relative)

    def _until_day(self, opening: Match, day: tuple[int, int], place: int) -> tuple[int, Span] | None:
        """A day of the month that the start names; a year behind it is that of both."""
        at = self.before_year(day[1])
        year = self.year(at, is_certain=at > day[1])
        start = self.resolved(opening.value, place)
        end = day[1]
        if year and isinstance(year.value, Span) and isinstance(opening.value, Recurrence) and not year.is_weak:
            start, end = next(opening.value.within(year.value), None), year.end
        if start is None or not start.begin.day < day[0]:
            return None
        try:
            last = spans.day(start.begin.year, start.begin.month, day[0])
        except ValueError:
            return None
        return end, Span(start.start, _end_of(last), Precision.DAY, start.is_relative)

    def _has_day(self, match: Match) -> bool:
        return any(self.tokens[at].is_number for at in range(match.end - 3, match.end))

    def _has_day_number(self, match: Match) -> bool:
        if isinstance(match.value, Clock):
            return False
        span = match.value if isinstance(match.value, Span) else match.value.latest(self.now)
        return span is not None and span.precision is Precision.DAY

    def _hours_of(self, place: int) -> tuple[int, Span] | None:
        """Hours with their day behind them: "from 5 to 6 of April 22", "five to seven today"."""
        tokens = self.tokens
        hours = self.clock_range(place, has_day=True)
        if hours is None and tokens.low(place) not in ("from", "between") and self.bare_hour(place):
            first = self.bare_hour(place)
            if first and tokens.low(first.end) == "to":
                hours = self.hours_between(first, self.bare_hour(first.end + 1))
        if hours is None or not isinstance(hours.value, Clock):
            return None
        at = tokens.skip(tokens.skip(hours.end, "of", "on", ","), "the")
        day = self.component(at)
        span = self.resolved(day.value, place) if day else None
        if day is None or span is None or span.finish - span.begin != spans.DAY:
            return None
        return day.end, hours.value.on(span)


def _end_of(span: Span) -> datetime:
    """Where a range ends: "to Friday" takes Friday in, "to 5 pm" ends at five."""
    return span.begin if span.finish - span.begin <= timedelta(minutes=1) else span.finish


def _days_of_month(first: int, last: int, month: Span) -> Span | None:
    end = month.begin + last * spans.DAY
    if not 1 <= first < last or end > month.finish:
        return None
    return Span(month.begin + (first - 1) * spans.DAY, end, Precision.DAY, month.is_relative)
