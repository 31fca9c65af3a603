"""Running text, read by its tense: which way its words look, and what is left alone because they do not tell."""

import pytest

from memsvc.intervals import Precision
from memsvc.temporal import find
from tests.temporal import DAY, HOUR, MONTH, SAID_AT, SEASON, WEEK, YEAR, expression, plain, told


@told(
    ("I met her on [Friday].", "2023-06-09", "2023-06-10", DAY),
    ("I'm seeing her on [Friday].", "2023-06-16", "2023-06-17", DAY),
    ("I have a meeting on [Friday].", "2023-06-16", "2023-06-17", DAY),
    ("I have a birthday party to attend on [Saturday night].", "2023-06-17T20:00", "2023-06-18", HOUR),
    ("We plan to go in [July].", "2023-07-01", "2023-08-01", MONTH),
    ("I'm preparing for the upcoming market on [September 18th].", "2023-09-18", "2023-09-19", DAY),
    ("Tune in to my live stream on [Monday at 8 pm].", "2023-06-19T20:00", "2023-06-19T20:01", HOUR),
    ("See you on [Friday]!", "2023-06-16", "2023-06-17", DAY),
    ("Let's meet on [Friday].", "2023-06-16", "2023-06-17", DAY),
    ("Are you free on [Friday]?", "2023-06-16", "2023-06-17", DAY),
    ("Remind me on [Friday].", "2023-06-16", "2023-06-17", DAY),
    ("My flight is on [Friday].", "2023-06-16", "2023-06-17", DAY),
    ("I've got tickets to see them on [July 17th].", "2023-07-17", "2023-07-18", DAY),
    ("The deadline is [Friday].", "2023-06-16", "2023-06-17", DAY),
    ("The launch is scheduled for [Friday].", "2023-06-16", "2023-06-17", DAY),
    ("I'm planning a trip, and I loved Rome in [April].", "2023-04-01", "2023-05-01", MONTH),
    ("I'm planning to wear the shoes I bought on [Friday].", "2023-06-09", "2023-06-10", DAY),
    ("I went to Rome, and on [Friday] the weather was bad.", "2023-06-09", "2023-06-10", DAY),
    ("I'll be back a week from Friday; that is [a week from Friday].", "2023-06-23", "2023-06-24", WEEK),
)
def test_verbs_of_the_clause_say_which_way_it_looks(marked: str, start: str, end: str, precision: Precision) -> None:
    found = find(plain(marked), reference=SAID_AT, prefer="tense")

    assert expression(marked, start, end, precision) in found


@pytest.mark.parametrize(
    "text",
    [
        "A long walk on Friday.",
        "What about the concert on Friday?",
        "Snow in July.",
        "It should arrive on Friday.",
        "I would go on Friday.",
        "Open Saturday, Sunday, and Monday.",
        "I started going to the gym on Monday, Wednesday, and Friday.",
        "I swim in July.",
        "I'll write an apology for cancelling our plans on Friday.",
        "I need to back up my files after that incident on Friday.",
        "John Mayer was coming to town on May 10th.",
        "I'll definitely plan my trip for May or October.",
        "I love my Saturday morning classes.",
        "Over the weekend.",
        "mid-January to mid-March",
    ],
)
def test_what_comes_round_is_left_alone_where_nothing_tells_which(text: str) -> None:
    found = find(text, reference=SAID_AT, prefer="tense")

    assert found == []


@told(
    ("We went hiking over [the weekend].", "2023-06-10", "2023-06-12", DAY),
    ("We'll go hiking at [the weekend].", "2023-06-17", "2023-06-19", DAY),
    ("Any plans for [the weekend]?", "2023-06-17", "2023-06-19", DAY),
    ("We were there in [the fall].", "2022-09-01", "2022-12-01", SEASON),
    ("We'll be there in [the fall].", "2023-09-01", "2023-12-01", SEASON),
    ("In [the winter] we moved.", "2022-12-01", "2023-03-01", SEASON),
    ("I've lived here [since March].", "2023-03-01", None, MONTH),
)
def test_weekend_and_season_are_those_that_the_verbs_speak_of(
    marked: str, start: str, end: str | None, precision: Precision
) -> None:
    found = find(plain(marked), reference=SAID_AT, prefer="tense")

    assert found == [expression(marked, start, end, precision)]


NAMES = [
    "I read it in Psychology Today.",
    "I know what you did Last Summer.",
    "**The Last Five Years**: a musical",
    "The theme is called Twenty Fourteen.",
    "I saw The 1975 live.",
    "A kit for the 1995 Civic.",
    "We watched Friday the 13th.",
    "We loved Friday Night Lights.",
    "I laughed about Saturday Night Live.",
    "I took part in the Autumn Frenzy event.",
]
QUOTATIONS = [
    'He wrote "See you tomorrow".',
    "He wrote \u201cI met her last week\u201d.",
    "Dear [Your Name], I saw you yesterday.",
    "Hi {{name}}, we met last week.",
    "Chorus:\nWe danced last night.",
    "00:05 --> 00:09\nSo I ask you today",
    "Reminder: your class is tonight.",
    "Subject: We met last week",
    "Anna: Hi!\nBert: I was there yesterday.\nAnna: Me too.",
    "The words 'last month' are mine.",
    "I noticed that last month refers to spring.",
]
OTHERS = [
    "I was out in the last hour before sunset.",
    "I was late in the first week of the season.",
    "I use others for this and then the next week we change.",
    "We won again this season.",
    "I saw it at the end of Season 4.",
    "I'll read it from now on.",
    "I should be done by now.",
    "It was our last night there.",
    "I loved the last night we spent there.",
    "I was planning my weekend routine.",
    "I love the world we live in today.",
    "These are the threats of today and tomorrow.",
    "We fight for a better tomorrow.",
    "It feels like just yesterday.",
    "It feels like it was just yesterday when we met.",
    "It's become a highlight of my week.",
    "Your walk sets the tone for the rest of the day.",
    "I love the Tuesday evening mass.",
    "We went to the Tuesday evening market.",
    "Order today!",
    "Today, we have affordable options for you.",
    "In this winter of our hardship, we hope.",
    "The date is June 25th, and I just got back.",
    "It makes me wonder what we could learn from their culture today.",
    "He wrote songs that still delight readers today.",
    "I live for the moment, and I prepared for the next day.",
    "It has a ratio of 24-8-16.",
    "- We met last week",
    "1. We met last week",
    "| last week | Rome |",
    "For example, I paid in January.",
    "Take a calendar year (January 1 to December 31).",
    "I had leftovers, such as last week.",
    "Stir it for the last few minutes.",
]


@pytest.mark.parametrize("text", [*NAMES, *QUOTATIONS, *OTHERS])
def test_time_that_is_only_mentioned_is_left_alone(text: str) -> None:
    found = find(text, reference=SAID_AT, prefer="tense")

    assert found == []


@told(
    ("I saw her [last Friday].", "2023-06-09", "2023-06-10", DAY),
    ("I was so pumped for the launch [yesterday].", "2023-06-13", "2023-06-14", DAY),
    ("I'll come over [tomorrow] if that's fine.", "2023-06-15", "2023-06-16", DAY),
    ("[Last night] was amazing!", "2023-06-13T20:00", "2023-06-14", HOUR),
    ("How can I help you [today]?", "2023-06-14", "2023-06-15", DAY),
    ("[today]", "2023-06-14", "2023-06-15", DAY),
    ("Big day [today]!", "2023-06-14", "2023-06-15", DAY),
    ('I finished "The Nightingale" [today].', "2023-06-14", "2023-06-15", DAY),
    ("I have been to Rome in [the last 6 months].", "2022-12-14", "2023-06-14T15:30", MONTH),
    ("It is due on [the 15th of next month], I need to hurry.", "2023-07-15", "2023-07-16", DAY),
)
def test_time_of_the_teller_is_found_beside_what_is_only_mentioned(
    marked: str, start: str, end: str, precision: Precision
) -> None:
    found = find(plain(marked), reference=SAID_AT, prefer="tense")

    assert found == [expression(marked, start, end, precision)]


def test_year_that_was_told_shortly_before_dates_a_day_without_any_verb() -> None:
    found = find("It came out in 2019. Premiere: 3 June.", reference=SAID_AT, prefer="tense")

    assert found == [
        expression("It came out in [2019]. Premiere: 3 June.", "2019-01-01", "2020-01-01", YEAR, is_relative=False),
        expression("It came out in 2019. Premiere: [3 June].", "2019-06-03", "2019-06-04", DAY, is_relative=False),
    ]


def test_day_of_the_month_that_was_just_told_is_of_that_month() -> None:
    found = find(
        "I cleaned my shoes last month, after the festival I attended on the 15th.", reference=SAID_AT, prefer="tense"
    )

    assert found[-1] == expression(
        "I cleaned my shoes last month, after the festival I attended on [the 15th].", "2023-05-15", "2023-05-16", DAY
    )


def test_weekday_that_one_came_back_on_follows_the_one_before() -> None:
    text = "I arrived on Monday and left on Thursday."

    found = find(text, reference=SAID_AT, prefer="tense")

    assert found == [
        expression("I arrived on [Monday] and left on Thursday.", "2023-06-05", "2023-06-06", DAY),
        expression("I arrived on Monday and left on [Thursday].", "2023-06-08", "2023-06-09", DAY),
    ]


def test_spring_that_is_almost_over_is_not_the_one_to_come() -> None:
    late_in_may = SAID_AT.replace(month=5, day=29)

    found = find("I'm planning to run in the spring.", reference=late_in_may, prefer="tense")

    assert found == [expression("I'm planning to run in [the spring].", "2024-03-01", "2024-06-01", SEASON)]
