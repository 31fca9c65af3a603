"""Pure: expressions of time in other languages than English, as `dateparser` reads them.

It knows some two hundred languages, but tells no ranges; English is read by our own grammar.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any

from memsvc.intervals import Precision
from memsvc.temporal import spans
from memsvc.temporal.spans import Span

ENGLISH = "en"
_PERIODS = {
    "time": Precision.MINUTE,
    "day": Precision.DAY,
    "week": Precision.WEEK,
    "month": Precision.MONTH,
    "year": Precision.YEAR,
}
# Shorter finds without a digit are mostly other words: "so" is a Sunday in German.
_LEAST_LETTERS = 4
_LEAST_IDEOGRAMS = 2
_YEARS = range(1000, 2200)
# What dateparser raises for texts it was not made for: nobody's text may stop its own indexing.
_FOREIGN_ERRORS = (ValueError, OverflowError, RecursionError, TypeError, AttributeError, IndexError)
_YEAR = re.compile(r"\d{4}")


def is_known(language: str) -> bool:
    """Whether expressions of time can be read in a language, by its code."""
    return language == ENGLISH or language in _languages()


def read(text: str, *, now: datetime, prefer: str, language: str) -> Iterator[tuple[int, int, Span]]:
    """The expressions in a text with the offsets they stand at; `now` is when it was said, on the wall."""
    from dateparser.search import search_dates

    settings: dict[str, Any] = {
        "RELATIVE_BASE": now,
        "PREFER_DATES_FROM": "future" if prefer == "future" else "past",
        "RETURN_TIME_AS_PERIOD": True,
        "PREFER_DAY_OF_MONTH": "first",
        "PREFER_MONTH_OF_YEAR": "first",
    }
    try:
        found = search_dates(text, languages=[language], settings=settings) or []
    except _FOREIGN_ERRORS:
        return
    place = 0
    for words, instant in found:
        first = text.find(words, place)
        if first < 0 or not _is_time(words):
            continue
        place = first + len(words)
        when, precision = _exactly(words, instant, language, settings)
        if when.year not in _YEARS:
            continue
        span = spans.unit_of(when.replace(tzinfo=None), precision)
        yield first, place, span if _YEAR.search(words) else span.relative()


def _exactly(words: str, instant: datetime, language: str, settings: dict[str, Any]) -> tuple[datetime, Precision]:
    """When the words say, and how exactly; the search alone knows no precision, and some times of the day wrongly."""
    from dateparser.date import DateDataParser

    try:
        found = DateDataParser(languages=[language], settings=settings).get_date_data(words)
    except _FOREIGN_ERRORS:
        return instant, Precision.DAY
    if found.date_obj is None:
        return instant, Precision.DAY
    return found.date_obj, _PERIODS.get(found.period or "day", Precision.DAY)


def _is_time(words: str) -> bool:
    letters = [char for char in words if char.isalpha()]
    if not words.isascii() and any(ord(char) > 0x2E80 for char in letters):
        return len(letters) >= _LEAST_IDEOGRAMS
    has_digit = any(char.isdigit() for char in words)
    return (has_digit and (len(letters) > 0 or len(words) >= 6)) or len(letters) >= _LEAST_LETTERS


@lru_cache(maxsize=1)
def _languages() -> frozenset[str]:
    from dateparser.data.languages_info import language_order

    return frozenset(language_order)
