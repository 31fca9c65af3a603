"""Pure: what may be a time and may be another thing: "may", "2008", "the fall"."""

from memsvc.intervals import Precision
from memsvc.temporal.ranges import Ranges
from memsvc.temporal.scanning import Clock, Match
from memsvc.temporal.spans import Recurrence
from memsvc.temporal.tense import direction_at, is_general
from memsvc.temporal.words import HOMONYMS, MONTHS, NEXT, PREVIOUS, THIS, WEEKDAYS, words_of

# What stands before a part that would mean nothing alone.
_BEFORE_A_DATE = words_of(
    "on in at by since until till til from to through thru between before after during around circa of last next this "
    "past early mid late and starting beginning ending back over come for about"
)
_BEFORE_A_YEAR = words_of("in since until till by before after from during around circa of to through year and")
_BEFORE_DIGITS = words_of("on by since from until till before after between of starting dated back")
_BEFORE_A_DAY = words_of("on until till since by before after from for")
_BEFORE_A_FEAST = _BEFORE_A_DATE | {"this", "last", "at", "the", "was", "is"}
_BEFORE_A_HOMONYM = ("in", "since", "last", "next")
_AFTER_A_NAME = words_of("and or but with when we i he she they this last in at of was is it to the my our so because")
_OF_A_DAY = words_of("morning afternoon evening night day week weekend as")
_ON_A_DAY = words_of("deadline appointment exam test meeting flight interview party wedding concert trip due date")
_POINTING = PREVIOUS | NEXT | THIS | words_of("ago back now today yesterday tomorrow tonight later earlier rest week")


class Doubts(Ranges):
    """Judges a reading by the words around it."""

    def is_told(self, place: int, match: Match) -> bool:
        """Whether the words around make a time of what may be another thing."""
        tokens = self.tokens
        # A text that is nothing else tells a time: "When?" "Summer."
        is_alone = place == 0 and match.end >= len(tokens) - (tokens.low(len(tokens) - 1) in (".", "!"))
        if is_alone and not tokens[place].is_number:
            return True
        if isinstance(match.value, Clock):
            return is_alone and not match.value.is_bare
        is_pointed = any(tokens.low(at) in _POINTING for at in range(place, match.end))
        is_loose = isinstance(match.value, Recurrence) or (match.value.is_relative and not is_pointed)
        if is_loose and is_general(tokens, place, match.end):
            return False
        if tokens.low(place - 1) == "-" and not tokens[place].is_spaced:
            return False  # A part of another word or number: "pre-Christmas", "275-1100".
        return not match.is_weak or self._is_marked(tokens.skip(place, "the"), match)

    def _is_marked(self, place: int, match: Match) -> bool:
        """Whether the word before makes a time of what is weak alone."""
        tokens = self.tokens
        before = tokens.low(place - 1)
        before = tokens.low(place - 2) if before in ("the", "'", "s") and place > 1 else before
        if tokens.low(place) in HOMONYMS and not tokens[place].is_capital and before not in _BEFORE_A_HOMONYM:
            return False
        if isinstance(match.value, Recurrence):
            return self._is_marked_name(place, match.end, before)
        if match.value.precision is Precision.DAY and tokens[place].is_number:
            return before in _BEFORE_DIGITS
        # "Now" and "the week" are no times but where nothing else is said.
        return before in _BEFORE_A_YEAR and match.value.precision not in (Precision.SECOND, Precision.WEEK)

    def _is_marked_name(self, place: int, end: int, before: str) -> bool:
        tokens = self.tokens
        word, after = tokens.low(place), tokens.low(end)
        is_name = after.isalpha() and after not in _AFTER_A_NAME
        if self.feast(place):
            return before in _BEFORE_A_FEAST and not is_name
        if self.season(place):
            is_placed = tokens.low(place - 1) == "the" and before in ("over", "during", "in")
            return is_placed and direction_at(tokens, place) is not None
        if self.day_of_month(place):
            is_named = tokens[place].is_number or word in ("twenty", "thirty")
            return before in _BEFORE_A_DAY and is_named and not is_name
        if tokens[place].is_number:
            # "A ratio of 3/4".
            return before in _BEFORE_DIGITS and (before != "of" or tokens.low(place - 2) in _OF_A_DAY)
        if word in WEEKDAYS and before == "is":
            return any(tokens.low(at) in _ON_A_DAY for at in range(place - 4, place - 1))
        if word in WEEKDAYS and tokens.low(place - 1) == "the":
            return False
        if before in ("to", "through", "thru") and tokens.low(place - 2) in (*WEEKDAYS, *MONTHS):
            return False
        return before in _BEFORE_A_DATE
