"""Pure: a text as tokens, and the words that time is told in."""

import re
from dataclasses import dataclass
from functools import cached_property

from memsvc.intervals import Precision

_TOKEN = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")
# Nothing that tells a time is told in more tokens of a kind, one after the other.
_LONGEST_NUMBER = 8
_BULLETS = frozenset("*-+|#>•●○▪✓·🔸")


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a row of digits, or a sign; `low` is its text in lower case.

    `is_spaced` says whether a space stands before it, `is_first` whether a line begins with it.
    """

    text: str
    low: str
    start: int
    end: int
    is_spaced: bool
    is_first: bool = False

    @property
    def is_number(self) -> bool:
        """Whether it is written in digits."""
        return self.low.isdigit()

    @property
    def is_capital(self) -> bool:
        """Whether it begins with a capital."""
        return self.text[:1].isupper()


_NOTHING = Token("", "", 0, 0, is_spaced=True)


class Tokens:
    """The tokens of a text; beyond its ends stand empty ones."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.all: list[Token] = []
        end = -1
        # Curly apostrophes are read like straight ones; both have one character.
        plain = text.replace("\u2019", "'").replace("\u2013", "-").replace("\u2014", "-")
        for match in _TOKEN.finditer(plain):
            word = match.group()
            if word.isdigit() and not word.isascii():
                continue
            first = match.start()
            is_first = "\n" in plain[max(end, 0) : first]
            self.all.append(Token(word, word.lower(), first, match.end(), is_spaced=first != end, is_first=is_first))
            end = match.end()

    def __len__(self) -> int:
        return len(self.all)

    def __getitem__(self, place: int) -> Token:
        return self.all[place] if 0 <= place < len(self.all) else _NOTHING

    def low(self, place: int) -> str:
        """The token's text in lower case."""
        return self[place].low

    @cached_property
    def _lines(self) -> list[int]:
        """For each place, where its line begins."""
        starts: list[int] = []
        for at, token in enumerate(self.all):
            starts.append(at if at == 0 or token.is_first else starts[-1])
        return starts

    def line_of(self, place: int) -> int:
        """Where the line around a place begins."""
        return self._lines[place] if 0 <= place < len(self) else place

    def lines(self) -> list[int]:
        """Where the lines begin."""
        return sorted(set(self._lines))

    def is_listed(self, place: int) -> bool:
        """Whether it stands in a line of a list, a table, a plan or a heading."""
        first = self.line_of(place)
        token = self[first]
        is_numbered = token.is_number and self.low(first + 1) in (".", ")") and self[first + 2].is_spaced
        is_step = token.low in ("day", "week", "step") and self[first + 1].is_number
        return token.low in _BULLETS or is_numbered or is_step

    def breaks(self, start: int, end: int) -> bool:
        """Whether a line begins at one of these places."""
        return any(self[at].is_first for at in range(start, end))

    def skip(self, place: int, *words: str) -> int:
        """The place behind one of these words, or the same place."""
        return place + 1 if self.low(place) in words else place

    def phrase(self, place: int, words: tuple[str, ...]) -> bool:
        """Whether these words stand there, one after the other."""
        return all(self.low(place + number) == word for number, word in enumerate(words))


def words_of(line: str) -> frozenset[str]:
    """The words of a line."""
    return frozenset(line.split())


def _numbered(line: str, *, first: int = 1) -> dict[str, int]:
    """The words of a line by their place."""
    return {word: number for number, word in enumerate(line.split(), first)}


def number_at(tokens: Tokens, place: int) -> tuple[int, int] | None:
    """A whole number in digits or words, and the place behind it."""
    token = tokens[place]
    if token.is_number:
        return (int(token.low), place + 1) if len(token.low) <= _LONGEST_NUMBER else None
    return _number_in_words(tokens, place)


def ordinal_at(tokens: Tokens, place: int) -> tuple[int, int] | None:
    """An ordinal from first to thirty-first, in digits or words, and the place behind it."""
    token = tokens[place]
    if token.is_number and len(token.low) <= 2:
        after = tokens[place + 1]
        return (int(token.low), place + 2) if after.low in ("st", "nd", "rd", "th") and not after.is_spaced else None
    if token.low in ORDINALS:
        return ORDINALS[token.low], place + 1
    tens = NUMBERS.get(token.low, 0)
    if tens in (20, 30):
        after_dash = tokens.skip(place + 1, "-")
        ones = ORDINALS.get(tokens.low(after_dash), 0)
        if 1 <= ones <= 9:
            return tens + ones, after_dash + 1
    return None


def year_at(tokens: Tokens, place: int) -> tuple[int, int] | None:
    """A year of four digits or in words, from 1000 to 2999, and the place behind it."""
    token = tokens[place]
    if token.is_number:
        return (int(token.low), place + 1) if len(token.low) == 4 and "1" <= token.low[0] <= "2" else None
    found = _number_in_words(tokens, place)
    if found is None or found[1] == place + 1:
        return None
    return found if found[0] in range(1000, 3000) else None


def century_and_rest(tokens: Tokens, place: int) -> tuple[int, int] | None:
    """A year said in two parts, "nineteen ninety-nine", and the place behind it."""
    first = NUMBERS.get(tokens.low(place), 0)
    if first not in range(10, 21):
        return None
    rest = _number_in_words(tokens, tokens.skip(place + 1, "-"))
    return (first * 100 + rest[0], rest[1]) if rest and 10 <= rest[0] <= 99 else None


def _number_in_words(tokens: Tokens, place: int) -> tuple[int, int] | None:
    total = current = 0
    end = place
    for _ in range(_LONGEST_NUMBER):
        at = end
        if end > place and tokens.low(at) in ("and", "-") and tokens.low(at + 1) in NUMBERS:
            if tokens.low(at) == "and" and current % 100:
                break
            at += 1
        word = tokens.low(at)
        value = NUMBERS.get(word)
        if value is None:
            break
        if value in (100, 1000):
            if not current:
                break
            current *= value
            if value == 1000:
                total, current = total + current, 0
        elif current % 100 == 0 or (current % 10 == 0 and current % 100 >= 20 and value < 10):
            current += value
        else:
            break
        end = at + 1
    return (total + current, end) if end > place else None


NUMBERS = _numbered(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
) | {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
    "hundred": 100, "thousand": 1000,
}  # fmt: skip

ORDINALS = _numbered(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth"
) | {"thirtieth": 30}

# The decades by their names.
TENS = {f"{word[:-1]}ies": value for word, value in NUMBERS.items() if value in range(20, 100, 10)} | {"tens": 10}

_MONTH_NAMES = _numbered("january february march april may june july august september october november december")
MONTHS = _MONTH_NAMES | {name[:3]: number for name, number in _MONTH_NAMES.items()} | {"sept": 9}
_WEEKDAY_NAMES = _numbered("monday tuesday wednesday thursday friday saturday sunday", first=0)
WEEKDAYS = (
    _WEEKDAY_NAMES
    | {name[:3]: number for name, number in _WEEKDAY_NAMES.items()}
    | {"tues": 1, "weds": 2, "thur": 3, "thurs": 3}
)
# Names that are words of another meaning too; they need more around them to be a time.
HOMONYMS = frozenset({"may", "march", "mar", "sun", "sat", "mon", "wed", "fri", "jan", "dec", "second", "fall"})

UNITS = {
    "second": Precision.SECOND, "seconds": Precision.SECOND, "sec": Precision.SECOND, "secs": Precision.SECOND,
    "minute": Precision.MINUTE, "minutes": Precision.MINUTE, "min": Precision.MINUTE, "mins": Precision.MINUTE,
    "hour": Precision.HOUR, "hours": Precision.HOUR, "hr": Precision.HOUR, "hrs": Precision.HOUR,
    "day": Precision.DAY, "days": Precision.DAY, "night": Precision.DAY, "nights": Precision.DAY,
    "week": Precision.WEEK, "weeks": Precision.WEEK, "wk": Precision.WEEK, "wks": Precision.WEEK,
    "month": Precision.MONTH, "months": Precision.MONTH,
    "quarter": Precision.QUARTER, "quarters": Precision.QUARTER,
    "season": Precision.SEASON, "seasons": Precision.SEASON,
    "year": Precision.YEAR, "years": Precision.YEAR, "yr": Precision.YEAR, "yrs": Precision.YEAR,
    "decade": Precision.DECADE, "decades": Precision.DECADE,
}  # fmt: skip

# The month that a season begins with, as meteorologists count in the north.
SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}

# Hours from and up to which a part of the day lasts.
PARTS = {
    "morning": (8, 12), "afternoon": (12, 16), "evening": (16, 20), "night": (20, 24), "nighttime": (20, 24),
    "lunchtime": (12, 14),
}  # fmt: skip

# What stands between the ends of a range.
TO = ("to", "until", "till", "til", "through", "thru", "-", "and")

PREVIOUS = frozenset({"last", "past", "previous"})
NEXT = frozenset({"next", "coming", "upcoming", "following"})
THIS = frozenset({"this", "current", "same"})
