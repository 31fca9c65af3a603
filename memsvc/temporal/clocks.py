"""Pure: times and parts of the day."""

import re
from datetime import timedelta

from memsvc.intervals import Precision
from memsvc.temporal.scanning import Clock, Match, Scan
from memsvc.temporal.words import MONTHS, NUMBERS, PARTS, WEEKDAYS, words_of

_HOUR, _MINUTE, _SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
_HALVES = ("am", "pm")
_DAYS = frozenset({*WEEKDAYS, *MONTHS, *words_of("today yesterday tomorrow tmrw th st nd rd")})
_TIME = re.compile(r"(\d{1,2})(?::(\d{2})(?::(\d{2}))?)?(?!\d)(?:\s?([ap])(?:\.\s?m\b\.?|m\b))?", re.IGNORECASE)


def at_time(hour: int, minute: int = 0, second: int = 0, *, precision: Precision) -> Clock:
    """A point of the day: the minute that begins with it, whatever it is true to."""
    start = hour * _HOUR + minute * _MINUTE + second * _SECOND
    return Clock(start, start + _MINUTE, precision)


class Clocks(Scan):
    """Reads "8:30", "8 pm", "half past eight", "noon", "in the early morning"."""

    def clock(self, place: int) -> Match | None:
        """A time or a part of the day."""
        return self._digits(place) or self._told(place) or self._noon(place) or self._part(place)

    def bare_hour(self, place: int) -> Match | None:
        """An hour that only its place makes one: "at seven", the 8 of "from 8 to 9"."""
        low = self.tokens.low(place)
        hour = int(low) if low.isdigit() and len(low) <= 2 else NUMBERS.get(low, 99)
        if hour > 24 or (self.tokens.low(place + 1) == ":" and not self.tokens[place + 1].is_spaced):
            return None
        held = at_time(hour % 24, precision=Precision.HOUR)
        return Match(place + 1, Clock(held.start, held.end, Precision.HOUR, is_bare=True))

    def behind(self, place: int, offset: int) -> int:
        """The first place at or behind an offset in the text."""
        while place < len(self.tokens) and self.tokens[place].start < offset:
            place += 1
        return place

    def _digits(self, place: int) -> Match | None:
        token = self.tokens[place]
        if not token.is_number or self.tokens.low(place - 1) == "$":
            return None
        found = _TIME.match(self.tokens.text, token.start)
        if not found or not (found[2] or found[4]):
            return self._o_clock(place)
        hour, minute, second = int(found[1]), int(found[2] or 0), int(found[3] or 0)
        half = (found[4] or "").lower()
        if half and hour <= 12:
            hour = hour % 12 + 12 * (half == "p")
        if hour > 23 or minute > 59 or second > 59:
            return None
        fine = Precision.SECOND if found[3] else Precision.MINUTE if found[2] else Precision.HOUR
        end = self.behind(place, found.end())
        return Match(self._half_again(end), at_time(hour, minute, second, precision=fine))

    def _half_again(self, place: int) -> int:
        """Behind a part of the day that only repeats the half: "8pm in the evening"."""
        at = self.tokens.skip(self.tokens.skip(place, "in"), "the")
        return at + 1 if at > place and self.tokens.low(at) in PARTS else place

    def _o_clock(self, place: int) -> Match | None:
        if not self.tokens.phrase(place + 1, ("o", "'", "clock")):
            return None
        hour = self.bare_hour(place)
        if hour is None or not isinstance(hour.value, Clock):
            return None
        return self._with_part(Match(place + 4, at_time(int(hour.value.start / _HOUR), precision=Precision.HOUR)))

    def _told(self, place: int) -> Match | None:
        """Reads "20 min past eight in the evening", "half past eight", "quarter to nine", "eight o'clock"."""
        tokens = self.tokens
        low = tokens.low(place)
        minutes = {"half": 30, "quarter": 15}.get(low, int(low) if low.isdigit() and len(low) < 3 else NUMBERS.get(low))
        if minutes is None:
            return None
        at = tokens.skip(place + 1, "min", "mins", "minutes")
        if tokens.low(at) not in ("past", "to") or (at == place + 1 and minutes not in (15, 30)):
            return None if tokens[place].is_number else self._o_clock(place)
        hour = self.bare_hour(at + 1)
        if hour is None or not isinstance(hour.value, Clock):
            return None
        full = int(hour.value.start / _HOUR) * 60 + (minutes if tokens.low(at) == "past" else -minutes)
        return self._with_part(Match(hour.end, at_time(*divmod(full % 1440, 60), precision=Precision.MINUTE)))

    def _with_part(self, match: Match) -> Match:
        """A time on a clock's face, moved into the half that a part of the day names."""
        at = self.tokens.skip(self.tokens.skip(match.end, "in", "at"), "the")
        part = self.tokens.low(at)
        if part not in PARTS or not isinstance(match.value, Clock):
            return match
        start = match.value.start
        if PARTS[part][0] >= 12 and start < 12 * _HOUR:
            start += 12 * _HOUR
        return Match(at + 1, Clock(start, start + _MINUTE, match.value.precision))

    def _noon(self, place: int) -> Match | None:
        low = self.tokens.low(place)
        if low in ("noon", "midday"):
            return Match(place + 1, at_time(12, precision=Precision.HOUR))
        if low == "midnight":
            return Match(place + 1, at_time(0, precision=Precision.HOUR))
        # Only behind a day; "pm" alone is a politician.
        if low in _HALVES and self.tokens[place].is_spaced and self.tokens.low(place - 1) in _DAYS:
            first, last = PARTS["morning" if low == "am" else "afternoon"]
            return Match(place + 1, Clock(first * _HOUR, last * _HOUR, Precision.HOUR, is_part=True))
        return None

    def _part(self, place: int) -> Match | None:
        """Reads "in the early-morning", "late night", "afternoon"."""
        tokens = self.tokens
        at = tokens.skip(tokens.skip(place, "in", "during", "at"), "the")
        side = tokens.low(at) if tokens.low(at) in ("early", "late", "mid") else ""
        if side:
            at = tokens.skip(at + 1, "-")
        if tokens.low(at) not in PARTS:
            return None
        first, last = PARTS[tokens.low(at)]
        if side == "early":
            last = first + (last - first) // 2
        elif side == "late":
            first += (last - first) // 2
        return Match(at + 1, Clock(first * _HOUR, last * _HOUR, Precision.HOUR, is_part=True))
