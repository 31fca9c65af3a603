"""Pure: what a reader counts, adds up or measures, reckoned by code from the values that it has found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, DivisionByZero, InvalidOperation

NONE = "none"
_TOO_LARGE = Decimal(10) ** 15


@dataclass(frozen=True, slots=True)
class Value:
    """A number or a date that stands in the evidence."""

    label: str
    number: Decimal | None = None
    day: date | None = None


def reckoned(operation: str, values: Sequence[Value], *, asked_on: date) -> str:
    """The result, as it stands in an answer; raises ValueError for values that do not fit the operation."""
    if operation in _OF_NUMBERS:
        return _number(_OF_NUMBERS[operation](_numbers(values, operation)))
    if operation in _OF_DATES:
        return _OF_DATES[operation](_dates(values, operation), asked_on)
    if operation == "count":
        return str(len({value.label.casefold() for value in values}))
    raise ValueError(f"{operation} is no operation")


def _numbers(values: Sequence[Value], operation: str) -> list[Decimal]:
    numbers = [value.number for value in values if value.number is not None]
    if not numbers or len(numbers) < len(values):
        raise ValueError(f"{operation} needs values that all have a number")
    return numbers


def _dates(values: Sequence[Value], operation: str) -> list[date]:
    days = [value.day for value in values if value.day is not None]
    if not days or len(days) < len(values):
        raise ValueError(f"{operation} needs values that all have a date")
    return days


def _difference(numbers: Sequence[Decimal]) -> Decimal:
    if len(numbers) != 2:
        raise ValueError("difference needs two values")
    return abs(numbers[0] - numbers[1])


def _ratio(numbers: Sequence[Decimal]) -> Decimal:
    if len(numbers) != 2:
        raise ValueError("ratio needs two values")
    try:
        return numbers[0] / numbers[1]
    except (DivisionByZero, InvalidOperation) as exc:
        raise ValueError("ratio cannot divide by zero") from exc


def _between(days: Sequence[date], _asked_on: date) -> tuple[date, date]:
    if len(days) != 2:
        raise ValueError("a span of time needs two dates")
    return min(days), max(days)


def _since(days: Sequence[date], asked_on: date) -> tuple[date, date]:
    if len(days) != 1:
        raise ValueError("how long ago it was needs one date")
    return min(days[0], asked_on), max(days[0], asked_on)


def _months(first: date, last: date) -> int:
    whole = (last.year - first.year) * 12 + last.month - first.month
    return whole - (last.day < first.day)


_UNITS: dict[str, Callable[[date, date], int]] = {
    "days": lambda first, last: (last - first).days,
    "weeks": lambda first, last: round((last - first).days / 7),
    "months": _months,
    "years": lambda first, last: _months(first, last) // 12,
}


def _measured(
    unit: str, ends: Callable[[Sequence[date], date], tuple[date, date]]
) -> Callable[[Sequence[date], date], str]:
    return lambda days, asked_on: str(_UNITS[unit](*ends(days, asked_on)))


_OF_NUMBERS: dict[str, Callable[[Sequence[Decimal]], Decimal]] = {
    "sum": lambda numbers: sum(numbers, Decimal()),
    "difference": _difference,
    "average": lambda numbers: sum(numbers, Decimal()) / len(numbers),
    "ratio": _ratio,
    "maximum": max,
    "minimum": min,
}
_OF_DATES: dict[str, Callable[[Sequence[date], date], str]] = {
    **{f"{unit}_between": _measured(unit, _between) for unit in _UNITS},
    **{f"{unit}_ago": _measured(unit, _since) for unit in _UNITS},
    "earliest": lambda days, _asked_on: min(days).isoformat(),
    "latest": lambda days, _asked_on: max(days).isoformat(),
}
OPERATIONS = (NONE, "count", *_OF_NUMBERS, *_OF_DATES)


def _number(result: Decimal) -> str:
    """Without zeros that say nothing, and with two decimals at most."""
    if not result.is_finite() or abs(result) >= _TOO_LARGE:
        raise ValueError("the result has too many digits")
    rounded = result.quantize(Decimal("0.01")) + 0
    return f"{rounded.normalize():f}"
