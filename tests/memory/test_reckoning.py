"""What code reckons: every operation, held against the calendar and against exact arithmetic."""

import re
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memsvc.memory.reckoning import NONE, OPERATIONS, Value, reckoned

ASKED_ON = date(2024, 6, 15)
SPANS = ("days", "weeks", "months", "years")
TOO_LARGE = 10**15
OF_NUMBERS = ("sum", "difference", "average", "ratio", "maximum", "minimum")
OF_DATES = (*(f"{unit}_{how}" for how in ("between", "ago") for unit in SPANS), "earliest", "latest")

amounts = st.decimals(min_value=-(10**12), max_value=10**12, places=2, allow_nan=False, allow_infinity=False)
days = st.dates(min_value=date(1, 1, 1), max_value=date(9999, 12, 31))


def numbers(*amounts: Decimal | int | float | str) -> list[Value]:
    return [Value(f"v{place}", number=Decimal(str(amount))) for place, amount in enumerate(amounts)]


def dates(*days: date | str) -> list[Value]:
    return [
        Value(f"v{place}", day=date.fromisoformat(day) if isinstance(day, str) else day)
        for place, day in enumerate(days)
    ]


def labels(*labels: str) -> list[Value]:
    return [Value(label) for label in labels]


def of(operation: str, values: list[Value]) -> str:
    return reckoned(operation, values, asked_on=ASKED_ON)


def exactly(operation: str, one: float, other: float) -> Fraction | None:
    """What an operation gives of two numbers as they are written; None where it gives nothing."""
    first, second = Fraction(str(one)), Fraction(str(other))
    if operation == "ratio":
        return first / second if second else None
    results = {
        "sum": first + second,
        "difference": abs(first - second),
        "average": (first + second) / 2,
        "maximum": max(first, second),
        "minimum": min(first, second),
    }
    return results[operation]


def later(day: date, months: int) -> date | None:
    """The same day of a later month; None where that month or the calendar has none."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    try:
        return date(year, month + 1, day.day)
    except ValueError:
        return None


def test_every_operation_is_offered_once() -> None:
    assert sorted(OPERATIONS) == sorted((NONE, "count", *OF_NUMBERS, *OF_DATES))


@pytest.mark.parametrize(
    ("operation", "values", "result"),
    [
        pytest.param("count", labels("a dog", "a cat"), "2", id="count"),
        pytest.param("count", labels("A dog", "a DOG", "Straße", "STRASSE"), "2", id="the same label counts once"),
        pytest.param("count", [], "0", id="count of nothing"),
        pytest.param("sum", numbers("0.1", "0.2"), "0.3", id="sum without what binary adds"),
        pytest.param("sum", numbers(12), "12", id="sum of one"),
        pytest.param("sum", numbers(100, 200), "300", id="zeros that say something"),
        pytest.param("sum", numbers("1.50", "1.50"), "3", id="zeros that say nothing"),
        pytest.param("sum", numbers("5.5", "-5.5"), "0", id="nothing left"),
        pytest.param("sum", numbers("-0.001"), "0", id="less than a cent is no minus"),
        pytest.param("sum", numbers(TOO_LARGE - 1, "0.99"), "999999999999999.99", id="as many digits as are reckoned"),
        pytest.param("difference", numbers(3, 10), "7", id="difference is never negative"),
        pytest.param("average", numbers(1, 2), "1.5", id="average"),
        pytest.param("average", numbers(1, 1, 2), "1.33", id="average, rounded"),
        pytest.param("ratio", numbers(10, 4), "2.5", id="ratio"),
        pytest.param("ratio", numbers(0, 4), "0", id="ratio of nothing"),
        pytest.param("maximum", numbers(1, "7.25", -3), "7.25", id="maximum"),
        pytest.param("minimum", numbers(1, "7.25", -3), "-3", id="minimum"),
        pytest.param("days_between", dates("2024-02-28", "2024-03-01"), "2", id="days over 29 February"),
        pytest.param("days_between", dates("2023-03-01", "2023-02-28"), "1", id="days, the later first"),
        pytest.param("days_between", dates("2024-05-01", "2024-05-01"), "0", id="no day"),
        pytest.param("weeks_between", dates("2024-05-01", "2024-05-15"), "2", id="weeks"),
        pytest.param("weeks_between", dates("2024-05-01", "2024-05-18"), "2", id="two weeks and three days"),
        pytest.param("weeks_between", dates("2024-05-01", "2024-05-19"), "3", id="two weeks and four days"),
        pytest.param("months_between", dates("2024-01-31", "2024-02-29"), "0", id="a day short of a month"),
        pytest.param("months_between", dates("2024-01-15", "2024-03-15"), "2", id="months to the day"),
        pytest.param("months_between", dates("2024-01-15", "2024-03-14"), "1", id="months but a day"),
        pytest.param("years_between", dates("1990-06-16", "2024-06-15"), "33", id="a day before the birthday"),
        pytest.param("years_between", dates("1990-06-15", "2024-06-15"), "34", id="on the birthday"),
        pytest.param("years_between", dates("2020-02-29", "2021-02-28"), "0", id="born on 29 February"),
        pytest.param("days_ago", dates("2024-06-14"), "1", id="yesterday"),
        pytest.param("days_ago", dates("2024-06-17"), "2", id="ahead counts as well"),
        pytest.param("weeks_ago", dates("2024-05-25"), "3", id="weeks ago"),
        pytest.param("months_ago", dates("2023-06-15"), "12", id="months ago"),
        pytest.param("years_ago", dates("2022-06-16"), "1", id="years ago"),
        pytest.param("earliest", dates("2024-05-02", "2023-12-31", "2024-01-01"), "2023-12-31", id="earliest"),
        pytest.param("latest", dates("2024-05-02", "2023-12-31"), "2024-05-02", id="latest"),
        pytest.param("earliest", dates("0001-01-01"), "0001-01-01", id="the first day"),
        pytest.param("days_between", dates("0001-01-01", "9999-12-31"), "3652058", id="all days"),
    ],
)
def test_operation_gives(operation: str, values: list[Value], result: str) -> None:
    assert of(operation, values) == result


@pytest.mark.parametrize(
    ("operation", "values"),
    [
        *(pytest.param(operation, [], id=f"{operation} of nothing") for operation in (*OF_NUMBERS, *OF_DATES)),
        *(pytest.param(operation, labels("a", "b"), id=f"{operation} of labels") for operation in OF_NUMBERS),
        *(pytest.param(operation, labels("a", "b"), id=f"{operation} of labels") for operation in OF_DATES),
        *(pytest.param(operation, dates("2024-01-01"), id=f"{operation} of a date") for operation in OF_NUMBERS),
        *(pytest.param(operation, numbers(1), id=f"{operation} of a number") for operation in OF_DATES),
        *(
            pytest.param(operation, [*numbers(1), *labels("b")], id=f"{operation} with a gap")
            for operation in OF_NUMBERS
        ),
        *(
            pytest.param(operation, [*dates("2024-01-01"), *labels("b")], id=f"{operation} with a gap")
            for operation in OF_DATES
        ),
        pytest.param("difference", numbers(1), id="difference of one"),
        pytest.param("difference", numbers(1, 2, 3), id="difference of three"),
        pytest.param("ratio", numbers(1, 2, 3), id="ratio of three"),
        pytest.param("ratio", numbers(1, 0), id="ratio to nothing"),
        pytest.param("ratio", numbers(0, 0), id="nothing to nothing"),
        *(pytest.param(f"{unit}_between", dates("2024-01-01"), id=f"{unit} between one") for unit in SPANS),
        *(
            pytest.param(f"{unit}_between", dates("2024-01-01", "2024-01-02", "2024-01-03"), id=f"{unit} of three")
            for unit in SPANS
        ),
        *(pytest.param(f"{unit}_ago", dates("2024-01-01", "2024-01-02"), id=f"{unit} since two") for unit in SPANS),
        pytest.param("none", numbers(1), id="none"),
        pytest.param("product", numbers(1), id="no operation"),
        *(
            pytest.param(operation, numbers(TOO_LARGE, TOO_LARGE), id=f"{operation}, too large")
            for operation in ("sum", "average", "maximum", "minimum")
        ),
        pytest.param("difference", numbers(-TOO_LARGE, 1), id="difference, too large"),
        pytest.param("ratio", numbers(TOO_LARGE, "0.5"), id="ratio, too large"),
        pytest.param("sum", numbers("Infinity"), id="without an end"),
        pytest.param("sum", numbers("NaN"), id="not a number"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(operation: str, values: list[Value]) -> None:
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        of(operation, values)


@given(st.lists(amounts, min_size=1, max_size=20))
def test_sum_is_exact(given: list[Decimal]) -> None:
    assert Fraction(of("sum", numbers(*given))) == sum(map(Fraction, given))


@given(amounts, amounts)
def test_difference_is_exact_and_the_same_both_ways(one: Decimal, other: Decimal) -> None:
    result = of("difference", numbers(one, other))

    assert Fraction(result) == abs(Fraction(one) - Fraction(other))
    assert result == of("difference", numbers(other, one))


@given(st.lists(amounts, min_size=1, max_size=20))
def test_average_is_right_to_half_a_cent(given: list[Decimal]) -> None:
    exact = sum(map(Fraction, given), Fraction()) / len(given)

    assert abs(Fraction(of("average", numbers(*given))) - exact) <= Fraction(1, 200)


@given(amounts, amounts.filter(bool))
def test_ratio_is_right_to_half_a_cent(one: Decimal, other: Decimal) -> None:
    assert abs(Fraction(of("ratio", numbers(one, other))) - Fraction(one) / Fraction(other)) <= Fraction(1, 200)


@given(st.lists(amounts, min_size=1, max_size=20))
def test_extremes_are_among_the_values(given: list[Decimal]) -> None:
    assert Decimal(of("maximum", numbers(*given))) == max(given)
    assert Decimal(of("minimum", numbers(*given))) == min(given)


@given(st.sampled_from(OF_NUMBERS), st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2))
@example("sum", [1e300, 1.0])
@example("sum", [999999999999999.0, 1.0])
@example("ratio", [1e300, 1e-300])
@example("ratio", [1.0, 0.0])
@example("average", [-0.001, 0.0])
def test_whatever_number_a_model_writes_is_reckoned_or_refused(operation: str, given: list[float]) -> None:
    exact = exactly(operation, *given)
    try:
        result = of(operation, numbers(*given))
    except ValueError:
        # Nobody asks for numbers that long, and nothing can be divided by zero.
        assert exact is None or abs(exact) > TOO_LARGE - 1
        return

    assert re.fullmatch(r"0|-?[1-9]\d*|-?(0|[1-9]\d*)\.\d?[1-9]", result)
    assert exact is not None
    assert abs(exact) < TOO_LARGE + 1
    assert abs(Fraction(result) - exact) <= Fraction(1, 200)


@given(days, days)
def test_days_between_are_those_of_the_calendar(one: date, other: date) -> None:
    result = int(of("days_between", dates(one, other)))

    assert min(one, other) + timedelta(days=result) == max(one, other)


@given(days, days)
def test_weeks_between_are_the_nearest_whole_ones(one: date, other: date) -> None:
    assert abs(int(of("weeks_between", dates(one, other))) * 7 - abs((one - other).days)) <= 3


@given(days, days)
def test_months_between_are_those_that_have_passed(one: date, other: date) -> None:
    first, last = min(one, other), max(one, other)

    months = int(of("months_between", dates(one, other)))

    reached, beyond = later(first, months), later(first, months + 1)
    assert reached is None or reached <= last
    assert beyond is None or beyond > last


@given(days, days)
def test_years_between_are_whole_twelves_of_months(one: date, other: date) -> None:
    values = dates(one, other)

    assert int(of("years_between", values)) == int(of("months_between", values)) // 12


@given(st.sampled_from(SPANS), days, days)
def test_how_long_ago_is_what_lies_between_then_and_the_question(unit: str, then: date, asked_on: date) -> None:
    ago = reckoned(f"{unit}_ago", dates(then), asked_on=asked_on)

    assert ago == of(f"{unit}_between", dates(then, asked_on))


@given(st.lists(days, min_size=1, max_size=10))
def test_first_and_last_day_are_those_of_the_calendar(given: list[date]) -> None:
    assert (of("earliest", dates(*given)), of("latest", dates(*given))) == (
        min(given).isoformat(),
        max(given).isoformat(),
    )


@given(st.lists(st.text(), max_size=10))
def test_labels_are_counted_once_whatever_their_case(given: list[str]) -> None:
    assert of("count", labels(*given)) == str(len({label.casefold() for label in given}))
