"""Pure: the window of time that a query speaks of."""

from datetime import datetime, timedelta

from memsvc.intervals import Expression, Locale, Mode, On, Precision, Window
from memsvc.temporal import find
from memsvc.temporal.tense import looks_ahead

# What a query asks for reaches to its own moment: evidence may be a minute old.
_TO_COME = timedelta(days=1)
# Between the expressions that a window was put together from.
_BETWEEN = " … "


def window_of(query: str, *, asked_at: datetime, locale: Locale | None = None) -> Window | None:
    """The interval that the query's expressions name, as a window that boosts; None when they name none.

    Several of one precision are taken from the first to the last; of several precisions, the finest counts.
    """
    locale = locale or Locale()
    found = find(
        query,
        reference=locale.at(asked_at),
        prefer="future" if looks_ahead(query) else "past",
        week_start=locale.week_start,
        language=locale.language,
    )
    told = [expression for expression in found if _tells(expression, asked_at)]
    if not told:
        return None
    finest = min((expression.precision for expression in told), key=lambda precision: precision.length)
    counted = [expression for expression in told if expression.precision is finest]
    starts = [expression.start for expression in counted]
    ends = [expression.end for expression in counted]
    return Window(
        start=None if None in starts else min(start for start in starts if start),
        end=None if None in ends else max(end for end in ends if end),
        precision=finest,
        mode=Mode.BOOST,
        on=On.EITHER,
        source="query",
        text=_BETWEEN.join(expression.text for expression in counted),
    )


def words_of_window(window: Window) -> list[str]:
    """The expressions that a query's window was put together from, as they stand in the query."""
    return window.text.split(_BETWEEN) if window.text else []


def _tells(expression: Expression, asked_at: datetime) -> bool:
    """Whether the interval tells anything: this very moment does not, nor does all the time up to now."""
    if expression.precision in (Precision.SECOND, Precision.UNKNOWN):
        return False
    is_all_before = expression.start is None and expression.end is not None and expression.end > asked_at - _TO_COME
    return not is_all_before
