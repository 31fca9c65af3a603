"""Pure: time in language; expressions become half-open intervals with a stated precision.

`spans`, `portions`, `feasts` and `words` hold the calendar and the vocabulary. Each of `scanning`, `clocks`, `digits`,
`dates`, `amounts`, `relatives`, `parts`, `compounds`, `ranges`, `doubts` and `grammar` reads more than the one before;
`tense` judges the words around; `tellers` and `mentions`, what running text tells of nobody, or only mentions.
"""

from datetime import UTC, datetime
from functools import cache
from typing import Literal

from memsvc.intervals import Expression
from memsvc.temporal import languages, tense
from memsvc.temporal.grammar import STARTERS, Grammar
from memsvc.temporal.mentions import Mentions
from memsvc.temporal.spans import DAY, EARLIEST, LATEST, Span
from memsvc.temporal.tense import Direction
from memsvc.temporal.words import Tokens

Prefer = Literal["past", "future", "tense"]


def find(
    text: str,
    *,
    reference: datetime,
    prefer: Prefer = "past",
    week_start: int = 0,
    language: str = languages.ENGLISH,
) -> list[Expression]:
    """The expressions of time in a text, in order; none overlaps another.

    `reference` is when it was said, and its zone that of the wall clock they are read on (UTC where it has none).
    `prefer` says which of the two "Friday"s an undirected name means: the last, the next, or the one that the verbs
    around it speak of. `week_start` counts from Monday, 0. Never raises for any text.
    """
    if reference.tzinfo is None:
        reference = reference.replace(tzinfo=UTC)
    if language != languages.ENGLISH:
        return _foreign(text, reference, prefer, language)
    return _english(text, reference, prefer, week_start)


def _english(text: str, reference: datetime, prefer: Prefer, week_start: int) -> list[Expression]:
    tokens = Tokens(text)

    @cache
    def direction(place: int) -> Direction | None:
        return tense.direction_at(tokens, place) if prefer == "tense" else prefer

    is_running = prefer == "tense"
    mentions = Mentions(tokens) if is_running else None
    now = reference.replace(tzinfo=None)
    grammar = Grammar(tokens, now, reference.tzinfo, week_start, direction, is_running=is_running)
    found: list[Expression] = []
    place = 0
    while place < len(tokens):
        read = _read(grammar, place)
        if read is None or read[0] <= place:
            place += 1
            continue
        end, span = read
        if mentions and mentions.is_mere(place, end, span):
            place = end
            continue
        made = _expression(text, tokens[place].start, tokens[end - 1].end, span, reference)
        if made is not None:
            found.append(made)
            grammar.last, grammar.last_end = span, end
        place = end
    return found


def _read(grammar: Grammar, place: int) -> tuple[int, Span] | None:
    token = grammar.tokens[place]
    if not token.is_number and token.low not in STARTERS:
        return None
    try:
        return grammar.expression(place)
    except (OverflowError, ValueError):
        return None  # Beyond the calendar.


def _foreign(text: str, reference: datetime, prefer: Prefer, language: str) -> list[Expression]:
    now = reference.replace(tzinfo=None)
    read = languages.read(text, now=now, prefer=prefer, language=language)
    made = (_expression(text, first, last, span, reference) for first, last, span in read)
    return [expression for expression in made if expression is not None]


def _expression(text: str, first: int, last: int, span: Span, reference: datetime) -> Expression | None:
    start, end = _aware(span.start, reference), _aware(span.end, reference)
    if start is not None and end is not None:
        end = _behind(start, end)
    if (start is None and end is None) or (start is not None and span.end is not None and end is None):
        return None
    return Expression(text[first:last], (first, last), start, end, span.precision, span.is_relative)


def _aware(wall: datetime | None, reference: datetime) -> datetime | None:
    """A wall-clock time in the reference's zone; None for one at the calendar's edge, which no zone can shift."""
    if wall is None or not EARLIEST + 2 * DAY < wall < LATEST - 2 * DAY:
        return None
    return wall.replace(tzinfo=reference.tzinfo)


def _behind(start: datetime, end: datetime) -> datetime | None:
    """The end as an instant behind the start: an hour that comes twice may need its second time; None for none."""
    if start.astimezone(UTC) < end.astimezone(UTC):
        return end
    is_behind_on_wall = start.replace(tzinfo=None) < end.replace(tzinfo=None)
    second_time = end.replace(fold=1)
    return second_time if is_behind_on_wall and start.astimezone(UTC) < second_time.astimezone(UTC) else None
