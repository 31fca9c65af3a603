"""What a question asks of order and place in time; asked on a Wednesday, 14 June 2023."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsvc.intervals import Locale, Mode, On, Precision, Window
from memsvc.plans import Plan
from memsvc.temporal.questions import plan_of
from tests.temporal import DAY, HOUR, MONTH, SAID_AT, WEEK, instant

MORNING, AFTERNOON, EVENING, NIGHT = (300, 720), (720, 1020), (1020, 1320), (1320, 300)

WORDS = re.findall(
    r"\S+",
    "what did we talk about in our last first 0th third conversations session 000 number before after I Ana say "
    "mention on a Tuesday Tuesdays weekends at night 99:99 pm which came or and : , ? how many times when since May",
)


def said_in(text: str, start: str | None, end: str | None, precision: Precision) -> Window:
    """The window of a plan: what was said in it, and nothing else."""
    return Window(
        start=instant(start) if start else None,
        end=instant(end) if end else None,
        precision=precision,
        mode=Mode.FILTER,
        on=On.SAID,
        source="query",
        text=text,
    )


MAY = said_in("May 2023", "2023-05-01", "2023-06-01", MONTH)
YESTERDAY = said_in("yesterday", "2023-06-13", "2023-06-14", DAY)


@pytest.mark.parametrize(
    ("place", "sessions"),
    [
        ("in our first conversation", (1, 1)),
        ("in our very first conversation", (1, 1)),
        ("in our third conversation", (3, 3)),
        ("during our 3rd chat", (3, 3)),
        ("in our 21st conversation", (21, 21)),
        ("in our twenty-first conversation", (21, 21)),
        ("in conversation 4", (4, 4)),
        ("in session #2", (2, 2)),
        ("in conversation number 12", (12, 12)),
        ("the first time we talked", (1, 1)),
        ("the second time we spoke", (2, 2)),
        ("when we first met", (1, 1)),
        ("when we last spoke", (-1, -1)),
        ("last time", (-1, -1)),
        ("the last time we talked", (-1, -1)),
        ("in our last conversation", (-1, -1)),
        ("in our most recent conversation", (-1, -1)),
        ("in our previous session", (-1, -1)),
        ("in the conversation before last", (-2, -2)),
        ("in our second to last conversation", (-2, -2)),
        ("in our next-to-last conversation", (-2, -2)),
        ("in our third-to-last session", (-3, -3)),
        ("in our last two conversations", (-2, -1)),
        ("in our last 5 conversations", (-5, -1)),
        ("in our first three conversations", (1, 3)),
        ("in our last couple of conversations", (-2, -1)),
    ],
)
def test_conversations_are_asked_for_by_their_ordinals(place: str, sessions: tuple[int, int]) -> None:
    found = plan_of(f"What did we talk about {place}?", asked_at=SAID_AT)

    assert found == Plan(sessions=sessions)


@pytest.mark.parametrize(
    ("place", "plan"),
    [
        ("on Tuesdays", Plan(weekdays=frozenset({1}))),
        ("on a Tuesday", Plan(weekdays=frozenset({1}))),
        ("on Tuesdays and Thursdays", Plan(weekdays=frozenset({1, 3}))),
        ("on Mondays, Wednesdays and Fridays", Plan(weekdays=frozenset({0, 2, 4}))),
        ("on weekends", Plan(weekdays=frozenset({5, 6}))),
        ("on weekdays", Plan(weekdays=frozenset({0, 1, 2, 3, 4}))),
        ("in the mornings", Plan(minutes=MORNING)),
        ("in the morning", Plan(minutes=MORNING)),
        ("in the afternoon", Plan(minutes=AFTERNOON)),
        ("in the evenings", Plan(minutes=EVENING)),
        ("at night", Plan(minutes=NIGHT)),
        ("late at night", Plan(minutes=NIGHT)),
        ("before 9 am", Plan(minutes=(0, 540))),
        ("after 6:30 pm", Plan(minutes=(1110, 1440))),
        ("after 12 pm", Plan(minutes=(720, 1440))),
        ("on Tuesdays in the evening", Plan(weekdays=frozenset({1}), minutes=EVENING)),
        ("on weekends before 12 pm", Plan(weekdays=frozenset({5, 6}), minutes=(0, 720))),
        ("in our last two conversations in the evening", Plan(sessions=(-2, -1), minutes=EVENING)),
    ],
)
def test_weekdays_and_times_of_the_day_come_again_and_again(place: str, plan: Plan) -> None:
    found = plan_of(f"What did we talk about {place}?", asked_at=SAID_AT)

    assert found == plan


@pytest.mark.parametrize(
    ("place", "window"),
    [
        ("yesterday", YESTERDAY),
        ("last week", said_in("last week", "2023-06-05", "2023-06-12", WEEK)),
        ("on Monday", said_in("Monday", "2023-06-12", "2023-06-13", DAY)),
        ("in May 2023", MAY),
        ("on 3 May 2023", said_in("3 May 2023", "2023-05-03", "2023-05-04", DAY)),
        ("yesterday evening", said_in("yesterday evening", "2023-06-13T16:00", "2023-06-13T20:00", HOUR)),
        (
            "between 3 May 2023 and 7 May 2023",
            said_in("between 3 May 2023 and 7 May 2023", "2023-05-03", "2023-05-08", DAY),
        ),
        ("since March 2023", said_in("since March 2023", "2023-03-01", None, MONTH)),
        ("before May 2023", said_in("before May 2023", None, "2023-05-01", MONTH)),
    ],
)
def test_dates_are_a_window_of_what_was_said(place: str, window: Window) -> None:
    found = plan_of(f"What did we talk about {place}?", asked_at=SAID_AT)

    assert found == Plan(window=window)


@pytest.mark.parametrize(
    ("question", "plan"),
    [
        ("What did I say in our second conversation?", Plan(sessions=(2, 2), role="user")),
        ("What did you say in our second conversation?", Plan(sessions=(2, 2), role="assistant")),
        ("What did Ana say in our second conversation?", Plan(sessions=(2, 2), speaker="Ana")),
        ("What did Ana say on Tuesdays?", Plan(weekdays=frozenset({1}), speaker="Ana")),
        ("What did Ana say in May 2023?", Plan(window=MAY, speaker="Ana")),
        ("What did I tell you yesterday?", Plan(window=YESTERDAY, role="user")),
        ("What did we say in our second conversation?", Plan(sessions=(2, 2))),
    ],
)
def test_speaker_is_the_one_who_is_asked_for(question: str, plan: Plan) -> None:
    found = plan_of(question, asked_at=SAID_AT)

    assert found == plan


@pytest.mark.parametrize(
    ("question", "plan"),
    [
        ("What did we talk about after I adopted a parrot?", Plan(after="I adopted a parrot")),
        ("What did we talk about before I adopted a parrot?", Plan(before="I adopted a parrot")),
        ("What did we discuss since my trip to Rome?", Plan(after="my trip to Rome")),
        ("What did we talk about after the film?", Plan(after="the film")),
        ("What happened after I adopted a parrot?", Plan(after="I adopted a parrot")),
        ("What did Ben talk about after I adopted a parrot?", Plan(after="I adopted a parrot", speaker="Ben")),
        ("After I adopted a parrot, what did we talk about?", Plan(after="I adopted a parrot")),
    ],
)
def test_question_is_placed_by_an_event(question: str, plan: Plan) -> None:
    found = plan_of(question, asked_at=SAID_AT)

    assert found == plan


@pytest.mark.parametrize(
    ("question", "alternatives"),
    [
        ("Which came first, the parrot or the marathon?", ("the parrot", "the marathon")),
        (
            "Which happened first, adopting the parrot or running the marathon?",
            ("adopting the parrot", "running the marathon"),
        ),
        ("Did I adopt the parrot or run the marathon first?", ("adopt the parrot", "run the marathon")),
        (
            "How many days passed between adopting the parrot and the marathon?",
            ("adopting the parrot", "the marathon"),
        ),
        (
            "What is the order, from first to last: the parrot, the marathon and the move?",
            ("the parrot", "the marathon", "the move"),
        ),
    ],
)
def test_order_of_events_is_asked_for_with_their_words(question: str, alternatives: tuple[str, ...]) -> None:
    found = plan_of(question, asked_at=SAID_AT)

    assert found == Plan(alternatives=alternatives, about=question)


@pytest.mark.parametrize(
    ("question", "plan"),
    [
        ("When did I first mention the parrot?", Plan(picks="first", role="user", about="the parrot")),
        ("When did I last mention the parrot?", Plan(picks="last", role="user", about="the parrot")),
        ("When did we last talk about the marathon?", Plan(picks="last", about="the marathon")),
        ("In which conversation did I first mention the parrot?", Plan(picks="first", role="user", about="the parrot")),
        ("What was the first time I mentioned the parrot?", Plan(picks="first", role="user", about="the parrot")),
    ],
)
def test_first_or_last_mention_is_picked(question: str, plan: Plan) -> None:
    found = plan_of(question, asked_at=SAID_AT)

    assert found == plan


@pytest.mark.parametrize(
    ("question", "plan"),
    [
        ("How many times did we talk in May 2023?", Plan(window=MAY, counts=True)),
        ("How many conversations did we have in May 2023?", Plan(window=MAY, counts=True)),
        ("How often did we talk on Tuesdays?", Plan(weekdays=frozenset({1}), counts=True)),
        ("How many times did we talk yesterday?", Plan(window=YESTERDAY, counts=True)),
    ],
)
def test_conversations_are_counted(question: str, plan: Plan) -> None:
    found = plan_of(question, asked_at=SAID_AT)

    assert found == plan


@pytest.mark.parametrize(
    ("question", "plan"),
    [
        ("What did we say about the parrot on Tuesdays?", Plan(weekdays=frozenset({1}), about="parrot")),
        (
            "What did I say about the parrot in our second conversation?",
            Plan(sessions=(2, 2), role="user", about="parrot"),
        ),
        (
            "What did Ana say about Anatolia on Tuesdays?",
            Plan(weekdays=frozenset({1}), speaker="Ana", about="Anatolia"),
        ),
        ("What did Ana tell about parrots in the evenings?", Plan(minutes=EVENING, speaker="Ana", about="parrots")),
    ],
)
def test_what_else_is_asked_is_kept(question: str, plan: Plan) -> None:
    found = plan_of(question, asked_at=SAID_AT)

    assert found == plan


@pytest.mark.parametrize(
    "question",
    [
        "I'm going back to our previous conversation about the hotel, which one did you recommend?",
        "What time do I wake up on Tuesdays and Thursdays?",
        "What did Caroline do after her trip to Rome?",
        "last time I asked you about SQL you gave me a query, what was it?",
        "What is the weather on Tuesdays?",
        "What do I eat in the evenings?",
        "What did Ana say about the parrot?",
        "What did Ana say?",
        "What did we talk about?",
        "What did we say about Maya in May?",
        "What did we say about the mayor in May 2023?",
        "Who is Caroline?",
        "What did I buy in May 2023?",
        "When did Caroline go to the support group?",
        "What should I do now?",
        "may I ask you something?",
        "What did I say about the parrot in May 2023?",
        "How many parrots do I have?",
        "",
        " ",
        "?",
        "What did we talk about last time? " + "I wonder. " * 100,
    ],
)
def test_other_questions_are_no_plan(question: str) -> None:
    found = plan_of(question, asked_at=SAID_AT)

    assert found is None


@pytest.mark.parametrize(
    ("place", "sessions"),
    [
        ("before our third conversation", (1, 2)),
        ("before our second chat", (1, 1)),
        ("after our second conversation", (3, -1)),
        ("since our first conversation", (2, -1)),
    ],
)
def test_conversations_beside_one_are_not_that_one(place: str, sessions: tuple[int, int]) -> None:
    found = plan_of(f"What did we talk about {place}?", asked_at=SAID_AT)

    assert found == Plan(sessions=sessions)


def test_days_of_a_plan_are_those_of_the_users_wall_clock() -> None:
    found = plan_of("What did we talk about yesterday?", asked_at=SAID_AT, locale=Locale("Asia/Tokyo"))

    # In Tokyo it is the 15th.
    window = replace(YESTERDAY, start=instant("2023-06-13T15:00"), end=instant("2023-06-14T15:00"))
    assert found == Plan(window=window)


@settings(max_examples=100)
@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join))
def test_plan_of_any_text_is_made_without_an_exception(text: str) -> None:
    found = plan_of(text, asked_at=SAID_AT)

    assert found is None or found.is_filter or found.alternatives or found.picks
    assert found is None or found.sessions is None or 0 not in found.sessions
    assert found is None or found.minutes is None or all(0 <= minute <= 1440 for minute in found.minutes)
