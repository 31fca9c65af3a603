"""Words that could name a time and name none: other meanings, what lasts, and what always is."""

from typing import get_args

import pytest

from memsvc.temporal import Prefer, find
from tests.temporal import DAY, MONTH, SAID_AT, Row, expression, plain

LASTING = [
    "for two weeks",
    "We stayed for two weeks.",
    "It took three days.",
    "It lasted five minutes.",
    "a two-day trip",
    "ten years of marriage",
    "He is 30 years old.",
    "my 20-year-old son",
    "Boil for ten minutes.",
    "10 minutes of cooking",
    "week after week",
]

OTHER_MEANINGS = [
    "I may go out.",
    "May I ask you something?",
    "It may rain.",
    "We march.",
    "They march on.",
    "march on",
    "March with me!",
    "The march was long.",
    "We sat down.",
    "I sat on the sun deck.",
    "We wed at dawn.",
    "Wait a second.",
    "Just a second, please.",
    "Second, I like it.",
    "the second time",
    "second to none",
    "The sun was hot.",
    "Sun Microsystems",
    "He will fall down.",
    "a fall from the roof",
    "spring rolls",
    "the spring of the lock",
    "We are many.",
    "I said we can.",
    "Augustus was an emperor.",
    "My friend April called.",
    "I called June.",
    "one at a time",
    "the first of many",
    "back to the future",
    "back pain",
    "my wedding day",
    "the day is short",
    "Have a nice day!",
    "good morning",
    "Sunday school",
    "in today's world",
    "once upon a time",
    "next door",
    "last but not least",
    "this time",
    "in the end",
    "a quarter of the cake",
    "half the time",
]

NUMBERS = [
    "1/2 cup of sugar",
    "3/4 of the cake",
    "rated 9/10",
    "open 24/7",
    "It cost $2000.",
    "I paid 1999 dollars.",
    "I walked 2021 steps.",
    "There were 1500 people.",
    "It is 20 degrees.",
    "Highs in the 70s, with wind.",
    "page 12",
    "room 101",
    "the novel 1984",
    "2020 vision",
    "call 555-2020",
    "version 2.3.1",
    "2-3 times",
    "on the 5th floor",
    "5th Avenue",
    "in the 19th century",
    "Give me 5.",
    "a ratio of 3/4",
    "Toxicon, 56(8), 1990-1997.",
    "Argentina's 2nd 15:35:56 goal",
    "It works by first constructing a tree.",
    "the first 10-15 minutes",
    "from the 18th to the 20th century",
    "wait: '60s'",
    "in your early 30s",
    "in their early thirties",
    "after the 9/11 attacks",
    "The RTX 2060's cores are fast.",
]

HABITS = [
    "I run every Monday.",
    "I run on Mondays.",
    "I run on Monday evenings.",
    "I run in the mornings.",
    "I swim every morning.",
    "I read at night.",
    "We meet each spring.",
    "Sundays are for rest.",
    "I usually run on Monday.",
    "We typically travel in July.",
    "We usually travel in the summer.",
    "In winter we ski.",
    "The best time is in May.",
    "The best time to visit is in May.",
    "It always snows in January.",
    "It's open from May to September.",
    "The festival is celebrated in April.",
    "Every Christmas we bake.",
    "I love Christmas.",
    "We go there every year.",
    "I play tennis on weekends.",
    "Every other Friday we dance.",
    "every Friday in May",
    "The shop is closed on Sundays.",
    "The shop opens at 9 am.",
    "I go there once a week.",
    "I work out three times a week.",
]

OUTSIDE_THE_CALENDAR = [
    "2023-02-29",
    "2021-13-05",
    "31/31/2021",
    "February 29, 2023",
    "on April 31",
    "30 February",
    "99999 years ago",
    "29 February 2023",
    "31 April 2021",
    "the 31st of April 2021",
]


@pytest.mark.parametrize("prefer", get_args(Prefer))
@pytest.mark.parametrize("text", LASTING)
def test_how_long_something_lasts_is_no_time(text: str, prefer: Prefer) -> None:
    found = find(text, reference=SAID_AT, prefer=prefer)

    assert found == []


@pytest.mark.parametrize("prefer", get_args(Prefer))
@pytest.mark.parametrize("text", OTHER_MEANINGS)
def test_word_of_another_meaning_is_left_alone(text: str, prefer: Prefer) -> None:
    found = find(text, reference=SAID_AT, prefer=prefer)

    assert found == []


@pytest.mark.parametrize("prefer", get_args(Prefer))
@pytest.mark.parametrize("text", NUMBERS)
def test_number_that_counts_or_names_something_is_left_alone(text: str, prefer: Prefer) -> None:
    found = find(text, reference=SAID_AT, prefer=prefer)

    assert found == []


@pytest.mark.parametrize("prefer", get_args(Prefer))
@pytest.mark.parametrize("text", HABITS)
def test_what_is_done_each_time_is_left_alone(text: str, prefer: Prefer) -> None:
    found = find(text, reference=SAID_AT, prefer=prefer)

    assert found == []


@pytest.mark.parametrize("prefer", get_args(Prefer))
@pytest.mark.parametrize("text", OUTSIDE_THE_CALENDAR)
def test_date_that_no_calendar_has_is_left_alone(text: str, prefer: Prefer) -> None:
    found = find(text, reference=SAID_AT, prefer=prefer)

    assert found == []


@pytest.mark.parametrize(
    "row",
    [
        ("In [May] I may go.", "2023-05-01", "2023-06-01", MONTH),
        ("We march on [Friday].", "2023-06-09", "2023-06-10", DAY),
        ("He sat in the sun on [Sunday].", "2023-06-11", "2023-06-12", DAY),
        ("I met May [yesterday].", "2023-06-13", "2023-06-14", DAY),
    ],
    ids=lambda row: row[0],
)
def test_word_of_another_meaning_hides_no_time_beside_it(row: Row) -> None:
    found = find(plain(row[0]), reference=SAID_AT)

    assert found == [expression(*row)]


@pytest.mark.parametrize("text", ["", " ", "\n", ".", "🙂", "Hello there", "今日", "\u0661\u0662 \u0663"])
def test_text_without_times_has_none(text: str) -> None:
    found = find(text, reference=SAID_AT)

    assert found == []
