"""Pure: whole expressions, and which reader may begin at which word."""

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

from memsvc.temporal.doubts import Doubts
from memsvc.temporal.feasts import FIRST_WORDS
from memsvc.temporal.ranges import OPENERS
from memsvc.temporal.scanning import Clock, Match
from memsvc.temporal.spans import Span
from memsvc.temporal.words import (
    MONTHS,
    NEXT,
    NUMBERS,
    ORDINALS,
    PARTS,
    PREVIOUS,
    SEASONS,
    TENS,
    THIS,
    WEEKDAYS,
    words_of,
)

# A part of a part of a part: "the first Monday of the last week of last month".
_DEEPEST = 4


class Grammar(Doubts):
    """Reads whole expressions."""

    _depth = 0

    @cached_property
    def _known(self) -> dict[tuple[int, int, Span | None], Match | None]:
        """What was read: by place, by how many parts it is a part of, and by the date that was read before."""
        return {}

    def expression(self, place: int) -> tuple[int, Span] | None:
        """The expression that begins there, and the place behind it."""
        found = self.from_to(place) or self.since_or_until(place)
        if found:
            return found
        match = self.point(place)
        if match is None or not self.is_told(place, match):
            return None
        span = match.value.on(self.today) if isinstance(match.value, Clock) else self.resolved(match.value, place)
        return (self.days_of_week(match.end, span) or (match.end, span)) if span else None

    def component(self, place: int) -> Match | None:
        """The longest reading of one part; what was read once at a place is remembered."""
        if self._depth == _DEEPEST or place >= len(self.tokens):
            return None
        key = place, self._depth, self.last
        if key not in self._known:
            self._depth += 1
            try:
                found = [match for reading in self._readings(place) if (match := self._tried(reading, place))]
            finally:
                self._depth -= 1
            self._known[key] = max(found, key=lambda match: match.end, default=None)
        return self._known[key]

    def _readings(self, place: int) -> Iterator["Reading"]:
        token = self.tokens[place]
        yield from _IN_DIGITS if token.is_number else _BY_WORD.get(token.low, ())
        if self.last is not None:
            yield Grammar.told_from_last

    def _tried(self, reading: "Reading", place: int) -> Match | None:
        """What a reading finds; beyond the calendar it finds nothing, and hides no other reading."""
        try:
            return reading(self, place)
        except (OverflowError, ValueError):
            return None

    def behind_article(self, place: int) -> Match | None:
        """Reads "the 1990s", "the 21st": the article adds nothing."""
        return self.component(place + 1) if self.tokens.low(place + 1) != "the" else None


Reading = Callable[[Grammar, int], Match | None]

_IN_DIGITS: tuple[Reading, ...] = (
    Grammar.written,
    Grammar.day_first,
    Grammar.year,
    Grammar.ordinal_part,
    Grammar.day_of_month,
    Grammar.decade,
    Grammar.clock,
    Grammar.counted,
    Grammar.year_quarter,
    Grammar.day_at,
)
# By reading: the words that it can begin with.
_IN_WORDS: dict[Reading, Iterable[str]] = {
    Grammar.month_name: MONTHS,
    Grammar.weekday: WEEKDAYS,
    Grammar.season: SEASONS,
    Grammar.feast: FIRST_WORDS,
    Grammar.quarter: ("q", "h"),
    Grammar.decade: ("'", "two", *NUMBERS, *TENS),
    Grammar.year: ("'", "year", *NUMBERS),
    Grammar.clock: words_of("in at during early late mid noon midday midnight half quarter am pm").union(
        PARTS, NUMBERS
    ),
    Grammar.day_first: (*ORDINALS, *NUMBERS),
    Grammar.day_of_month: (*ORDINALS, *NUMBERS),
    Grammar.counted: words_of(
        "a an couple few several half for less within in about around the roughly almost nearly exactly"
    ).union(NUMBERS),
    Grammar.deictic: words_of(
        "today yesterday tomorrow tmrw tonight right just now at atm the day eod eow eom eoy bow bom boy"
    ),
    Grammar.modified: words_of("the my all whole entire week weekend month year quarter decade").union(
        PREVIOUS, NEXT, THIS
    ),
    Grammar.weekday_beside: ("the",),
    Grammar.part: words_of("the early mid middle late beginning start end rest remainder earlier later"),
    Grammar.ordinal_part: ("the", "last", *ORDINALS, "twenty", "thirty"),
    Grammar.week_of: ("the", "week", "w"),
    Grammar.behind_article: ("the",),
}


def _by_word() -> dict[str, tuple[Reading, ...]]:
    return {
        word: tuple(reading for reading, words in _IN_WORDS.items() if word in words)
        for word in frozenset().union(*_IN_WORDS.values())
    }


_BY_WORD = _by_word()
# Where an expression can begin, besides digits.
STARTERS = frozenset(_BY_WORD) | OPENERS
