"""Pure: times that running text only mentions: in names, quotations, songs, templates, lists and examples."""

from collections.abc import Iterator
from functools import cached_property

from memsvc.intervals import Precision
from memsvc.temporal.feasts import ALL_WORDS as FEAST_WORDS
from memsvc.temporal.spans import Span
from memsvc.temporal.tellers import Words
from memsvc.temporal.tense import sentence_around
from memsvc.temporal.words import MONTHS, UNITS, WEEKDAYS, Tokens, words_of

# These have capitals of their own, or are written with either.
_CAPITALS = frozenset({*MONTHS, *WEEKDAYS, *FEAST_WORDS}) | words_of("am pm a p m t z q h st nd rd th s o clock i")
_BEFORE_A_NAME = words_of("in on since by of from until till before after around last this next during")
_QUOTES = frozenset('"\u201c\u201d')
_LABELS = words_of("reminder subject note title caption headline post tweet email")
_LABELS_OF_A_FORM = 3
_SUNG = words_of("chorus verse bridge outro")
_DEFINED = words_of("refers means meaning denotes")
_BEFORE_A_WORD = words_of("word words phrase term expression assuming suppose say")
_EXAMPLES = (("for", "example"), ("e", ".", "g"), ("for", "instance"), ("such", "as"), ("example", ":"))
_OF_ANOTHER = words_of("of before after prior leading following until from when")
_IDLE = (["from", "now", "on"], ["from", "this", "day", "forward"], ["from", "this", "day", "on"], ["this", "day"])
_LONGEST_PLACEHOLDER = 12


class Mentions:
    """Judges what was read in a text that tells something; "unknown" is better there than a guess."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    def is_mere(self, start: int, end: int, span: Span) -> bool:
        """Whether the words only mention a time, and tell of none."""
        words = Words(self.tokens, start, end)
        if self._is_name(words, span) or self._is_short_date(words) or words.held[-2:] == ["same", "season"]:
            return True
        has_year = any(len(word) == 4 and word.isdigit() for word in words.held)
        if has_year or not span.is_relative:
            return False
        if self._is_template or start in self._quoted or self.tokens.is_listed(start) or self._is_labelled(start):
            return True
        return self._is_worded(words) or self._is_counted_from_another(words) or words.is_of_nobody()

    @cached_property
    def _is_template(self) -> bool:
        """Whether the text is a song, subtitles of a film, or has places to fill in."""
        has_time_codes = any(self.tokens.phrase(at, ("-", "-", ">")) for at in range(len(self.tokens)))
        return has_time_codes or self._is_sung or any(True for _ in self._placeholders())

    @property
    def _is_sung(self) -> bool:
        """Whether a line begins with "Chorus:" or "[Verse 2]"."""
        low = self.tokens.low
        marked = (at for at in range(len(self.tokens)) if low(at) in _SUNG)
        return any(not {low(at + 1), low(at + 2)}.isdisjoint(":])") for at in marked)

    def _placeholders(self) -> Iterator[int]:
        """Where "[Your Name]" and "{{name}}" stand; "[text](link)" is none."""
        tokens = self.tokens
        for at in range(len(tokens)):
            if tokens.low(at) == "{" and tokens.low(at + 1) == "{":
                yield at
            if tokens.low(at) != "[" or not tokens[at + 1].text[:1].isalpha():
                continue
            close = next((to for to in range(at + 2, at + _LONGEST_PLACEHOLDER) if tokens.low(to) == "]"), None)
            if close is not None and tokens.low(close + 1) != "(":
                yield at

    @cached_property
    def _quoted(self) -> frozenset[int]:
        """The places between double quotes, which end with their line."""
        inside: set[int] = set()
        is_inside = False
        for at in range(len(self.tokens)):
            token = self.tokens[at]
            if token.is_first:
                is_inside = False
            if token.low not in _QUOTES:
                if is_inside:
                    inside.add(at)
            elif is_inside:
                is_inside = token.low == "\u201c"
            else:
                # A sign for inches follows its number without a space.
                is_inside = token.low == "\u201c" or (token.low == '"' and not self.tokens[at - 1].is_number)
        return frozenset(inside)

    def _is_labelled(self, place: int) -> bool:
        """Whether its line begins with "Reminder:", "Subject Line:", or with the name of who speaks in a play."""
        first = self.tokens.line_of(place)
        is_label = ":" in (self.tokens.low(first + 1), self.tokens.low(first + 2))
        return (is_label and self.tokens.low(first) in _LABELS) or (self._is_form and self._has_label(first))

    @cached_property
    def _is_form(self) -> bool:
        """Whether several lines have names before them: a dialogue, or a form that is filled in."""
        return sum(map(self._has_label, self.tokens.lines())) >= _LABELS_OF_A_FORM

    def _has_label(self, first: int) -> bool:
        """Whether a line begins with a name and a colon: "Person 1:"."""
        return self.tokens[first].is_capital and any(self.tokens.low(at) == ":" for at in range(first + 1, first + 4))

    def _is_worded(self, words: Words) -> bool:
        """Whether the words are spoken of, and not used: "'last month' refers to", "e.g. in May"."""
        tokens, start = self.tokens, words.start
        if words.after in _DEFINED or words.after in ("]", "}") or words.before in _BEFORE_A_WORD:
            return True
        if tokens.phrase(start - 2, ("date", "is")) or tokens.phrase(start - 2, ("today", "is")):
            return True  # "Today's date is June 25th": it names the day that it is said on, or is a mistake.
        if words.before == "'" == words.after or tokens.phrase(start - 2, ("at", "least")):
            return True
        before = range(sentence_around(tokens, start, start).start, start)
        return any(tokens.phrase(at, example) for at in before for example in _EXAMPLES)

    def _is_name(self, words: Words, span: Span) -> bool:
        """Whether it is a title or a part of a name: "Psychology Today", "The 1975", "Friday Night Lights"."""
        tokens, start, end = self.tokens, words.start, words.end
        if tokens.low(end - 2) == "the" and tokens[end - 1].is_number and len(tokens.low(end - 1)) == 4:
            return True
        if words.held[0] == "friday" and "13" in words.held[1:3]:
            return True
        held = [tokens[at] for at in range(start, end)]
        if all(token.text.isupper() or not token.text.isalpha() for token in held):
            return False
        capitals = [token for token in held if token.is_capital and token.low not in _CAPITALS]
        is_within_sentence = start > 0 and words.before.isalnum() and not held[0].is_first
        return len(capitals) > 1 or bool(capitals and is_within_sentence) or self._goes_on_as_name(words, span)

    def _goes_on_as_name(self, words: Words, span: Span) -> bool:
        """Whether a word with a capital follows a bare year, weekday or feast that no preposition stands before."""
        after, last = self.tokens[words.end], self.tokens[words.end - 1]
        if not after.is_capital or not after.is_spaced or after.is_first or len(after.text) < 2 or len(words.held) > 3:
            return False
        if after.low in _CAPITALS or words.held[0] in _BEFORE_A_NAME or words.before in _BEFORE_A_NAME:
            return last.low in ("night", "day") and last.is_capital
        return last.is_capital or span.precision is Precision.YEAR

    def _is_short_date(self, words: Words) -> bool:
        """Whether it is "24-8-16", which may be anything."""
        held = words.held
        is_dashed = len(held) == 5 and held[1] == "-" == held[3]
        return is_dashed and all(len(part) < 3 for part in held[::2])

    def _is_counted_from_another(self, words: Words) -> bool:
        """Whether it is a part of another time, or of a tale: "the last hour before sunset", "the next week"."""
        held = words.held
        if not {"season", "seasons", "same"}.isdisjoint(held) or held in _IDLE or words.after == "long":
            return True
        if held[-2:] == ["previous", "day"] or held[-2:] == ["following", "weekend"]:
            return True
        if held[-1] == "year" and words.after == "(" and self.tokens[words.end + 1].is_number:
            return True  # "The past year (2022)".
        if words.is_owned or (held[0] == "this" and words.after == "of"):
            return True  # "In this winter of our hardship".
        is_whole = held[0] == "the"
        if not is_whole and words.before not in ("the", "your"):
            return False
        if words.after in (*_OF_ANOTHER, "we", "i") and not {"first", "last", "next", "past"}.isdisjoint(held):
            return True
        before = words.before if is_whole else self.tokens.low(words.start - 2)
        bare = held[1:] if is_whole else held
        is_next = len(bare) == 2 and bare[0] == "next" and bare[1] in UNITS
        return is_next and before not in ("over", "in", "for", "during", "within")
