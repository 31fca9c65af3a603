"""Tests of the times that are found in texts.

Here are sentences with the words that name a time in brackets, "We met on [Tuesday].", and what is found in them.
"""

from datetime import UTC, datetime

import pytest

from memsvc.intervals import Expression, Precision

SECOND, MINUTE, HOUR, DAY, WEEK = (
    Precision.SECOND,
    Precision.MINUTE,
    Precision.HOUR,
    Precision.DAY,
    Precision.WEEK,
)
MONTH, QUARTER, SEASON, YEAR, DECADE = (
    Precision.MONTH,
    Precision.QUARTER,
    Precision.SEASON,
    Precision.YEAR,
    Precision.DECADE,
)

# A Wednesday; its month began on a Thursday.
SAID_AT = datetime(2023, 6, 14, 15, 30, tzinfo=UTC)

Row = tuple[str, str | None, str | None, Precision]


def told(*rows: Row) -> pytest.MarkDecorator:
    """Run a test for each row: the marked sentence, when its time starts and ends (None: open), and the precision."""
    return pytest.mark.parametrize(
        ("marked", "start", "end", "precision"), [pytest.param(*row, id=row[0]) for row in rows]
    )


def plain(marked: str) -> str:
    """The sentence without its brackets."""
    return marked.replace("[", "").replace("]", "")


def expression(
    marked: str, start: str | None, end: str | None, precision: Precision, *, is_relative: bool = True
) -> Expression:
    """The words in brackets as an expression; times are in UTC."""
    first, behind = marked.index("["), marked.index("]") - 1
    return Expression(
        text=plain(marked)[first:behind],
        span=(first, behind),
        start=_in_utc(start),
        end=_in_utc(end),
        precision=precision,
        is_relative=is_relative,
    )


def instant(written: str) -> datetime:
    """A time in UTC, "2023-06-14T15:30"."""
    return datetime.fromisoformat(written).replace(tzinfo=UTC)


def _in_utc(written: str | None) -> datetime | None:
    return instant(written) if written else None
