"""Feasts that move, on days that a calendar on paper has for them."""

import pytest

from memsvc.temporal import find
from tests.temporal import DAY, SAID_AT, expression


@pytest.mark.parametrize(
    ("feast", "start", "end"),
    [
        ("Holi 2021", "2021-03-29", "2021-03-30"),
        ("Holi 2024", "2024-03-25", "2024-03-26"),
        ("Diwali 2010", "2010-11-05", "2010-11-06"),
        ("Diwali 2023", "2023-11-12", "2023-11-13"),
        ("Deepavali 2024", "2024-10-31", "2024-11-01"),
        ("Chinese New Year 1995", "1995-01-31", "1995-02-01"),
        ("Chinese New Year 2023", "2023-01-22", "2023-01-23"),
        ("Chinese New Year 2025", "2025-01-29", "2025-01-30"),
        ("Mid-Autumn Festival 2023", "2023-09-29", "2023-09-30"),
        ("Dragon Boat Festival 2024", "2024-06-10", "2024-06-11"),
        ("Eid al-Fitr 2023", "2023-04-21", "2023-04-22"),
        ("Eid al-Fitr 2024", "2024-04-10", "2024-04-11"),
        ("Eid al-Adha 2024", "2024-06-16", "2024-06-17"),
        ("Rosh Hashanah 2023", "2023-09-16", "2023-09-17"),
        ("Yom Kippur 2024", "2024-10-12", "2024-10-13"),
        ("Passover 2023", "2023-04-06", "2023-04-07"),
        ("Mardi Gras 2022", "2022-03-01", "2022-03-02"),
        ("Thanksgiving 2023", "2023-11-23", "2023-11-24"),
    ],
)
def test_feast_of_a_year_is_the_day_itself(feast: str, start: str, end: str) -> None:
    found = find(feast, reference=SAID_AT)

    assert found == [expression(f"[{feast}]", start, end, DAY, is_relative=False)]


@pytest.mark.parametrize("text", ["Holi 1950", "Diwali 2090"])
def test_feast_of_a_year_that_no_calendar_tells_is_none(text: str) -> None:
    found = find(text, reference=SAID_AT)

    assert found == []


@pytest.mark.parametrize(
    "text",
    ["I bought Mardi Gras beads.", "the Black Friday sales", "under the Christmas tree", "the Good Friday Agreement"],
)
def test_feast_that_only_tells_of_which_kind_a_thing_is_is_none(text: str) -> None:
    found = find(text, reference=SAID_AT)

    assert found == []
