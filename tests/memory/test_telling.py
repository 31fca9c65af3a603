"""When a statement's event was: the rules read its words against the turn's time; the model's reading comes last."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from memsvc.domain import Turn
from memsvc.facts import Origin
from memsvc.intervals import Interval, Locale, Precision
from memsvc.memory import quoting
from memsvc.memory.telling import TimeTeller, Told
from tests.factories import turn

SAID_AT = datetime(2023, 5, 30, 12, tzinfo=UTC)  # A Tuesday.
LISBON = "I moved to Lisbon last Friday, and on 3 June 2024 my sister will come."
CAMP = "Since the second camp I paint every day."


def told(
    text: str,
    when: str | None,
    *,
    quote: str | None = None,
    kind: str = "fact",
    start: str | None = None,
    end: str | None = None,
    locale: Locale | None = None,
    captions: tuple[str, ...] = (),
) -> Told:
    said = turn(text, said_at=SAID_AT, captions=captions)
    span = quoting.located(quote or text, quoting.whole(said))
    assert span is not None
    return TimeTeller(locale or Locale()).told(said, span, kind=kind, when=when, start=start, end=end)


def day(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


def test_words_are_read_against_the_time_they_were_said() -> None:
    found = told(LISBON, "last Friday", quote="I moved to Lisbon last Friday")

    assert found == Told("last Friday", Interval(day(2023, 5, 26), day(2023, 5, 27)), Precision.DAY, Origin.RULES)


def test_rules_are_believed_before_the_model() -> None:
    found = told(LISBON, "last Friday", start="2020-01-01", end="2020-01-02")

    assert (found.interval, found.reading) == (Interval(day(2023, 5, 26), day(2023, 5, 27)), Origin.RULES)


def test_words_are_tidied_as_quotes_are() -> None:
    found = told(LISBON, "Last friday,", quote="I moved to Lisbon last Friday")

    assert (found.when, found.interval) == ("last Friday", Interval(day(2023, 5, 26), day(2023, 5, 27)))


def test_whole_expression_is_told_where_the_model_copied_a_part() -> None:
    found = told("We married on 5 May 2019 in Graz.", "May 2019")

    assert (found.when, found.interval) == ("5 May 2019", Interval(day(2019, 5, 5), day(2019, 5, 6)))


def test_expression_within_the_quote_goes_before_the_same_words_elsewhere() -> None:
    text = "On Monday I rested for long. In the week after, on Monday 8 May, I ran."

    found = told(text, "on Monday", quote="on Monday 8 May, I ran")

    assert found.interval == Interval(day(2023, 5, 8), day(2023, 5, 9))


def test_words_may_stand_elsewhere_in_the_turn_than_the_quote() -> None:
    found = told(LISBON, "3 June 2024", quote="my sister will come")

    assert found.interval == Interval(day(2024, 6, 3), day(2024, 6, 4))


@pytest.mark.parametrize(
    ("kind", "start"), [("plan", day(2023, 6, 2)), ("event", day(2023, 5, 26))], ids=["a plan", "an event"]
)
def test_words_that_are_not_in_the_turn_are_read_by_the_kind(kind: str, start: datetime) -> None:
    found = told("The dentist again.", "Friday", kind=kind)

    assert (found.interval, found.reading) == (Interval(start, start + timedelta(days=1)), Origin.RULES)


@pytest.mark.parametrize(
    ("start", "meant"),
    [("2023-06-02", day(2023, 6, 2)), ("2023-05-26", day(2023, 5, 26)), ("2023-05-25", day(2023, 5, 26))],
    ids=["ahead", "behind", "a day off"],
)
def test_model_says_which_of_two_days_is_meant_and_the_rules_say_when_it_is(start: str, meant: datetime) -> None:
    found = told("The dentist again.", "Friday", start=start)

    assert (found.interval, found.reading) == (Interval(meant, meant + timedelta(days=1)), Origin.RULES)


def test_state_on_a_day_that_nobody_can_tell_has_no_time() -> None:
    assert told("The dentist again.", "Friday") == Told()


def test_words_are_read_on_the_users_wall_clock() -> None:
    berlin = ZoneInfo("Europe/Berlin")

    found = told("I moved yesterday.", "yesterday", locale=Locale("Europe/Berlin"))

    assert found.interval == Interval(datetime(2023, 5, 29, tzinfo=berlin), datetime(2023, 5, 30, tzinfo=berlin))


def test_statement_without_words_of_time_has_none() -> None:
    assert told(LISBON, None, start="2023-05-26", end="2023-05-27") == Told()
    assert told(LISBON, "", start="2023-05-26", end="2023-05-27") == Told()


def test_model_is_believed_where_the_rules_find_nothing() -> None:
    found = told(CAMP, "since the second camp", start="2023-05-10", end="2023-05-24")

    assert found == Told(
        "since the second camp", Interval(day(2023, 5, 10), day(2023, 5, 24)), Precision.WEEK, Origin.LLM
    )


@pytest.mark.parametrize(
    ("start", "end", "interval", "precision"),
    [
        ("2023-05-10", None, Interval(day(2023, 5, 10), day(2023, 5, 11)), Precision.DAY),
        ("2023-05-10T08:30:00Z", "2023-05-11T08:30:00Z", Interval(day(2023, 5, 10), day(2023, 5, 11)), Precision.DAY),
        (None, "2023-05-24", Interval(None, day(2023, 5, 24)), Precision.DAY),
        ("2022-01-01", "2023-01-01", Interval(day(2022, 1, 1), day(2023, 1, 1)), Precision.YEAR),
        ("2022-04-01", "2022-05-01", Interval(day(2022, 4, 1), day(2022, 5, 1)), Precision.MONTH),
        ("2023-02-01", "2023-03-01", Interval(day(2023, 2, 1), day(2023, 3, 1)), Precision.MONTH),
    ],
    ids=["no end is one day", "the hour is left out", "no beginning", "a year", "a month", "a short month"],
)
def test_reading_of_the_model_is_in_days(
    start: str | None, end: str | None, interval: Interval, precision: Precision
) -> None:
    found = told(CAMP, "since the second camp", start=start, end=end)

    assert (found.interval, found.precision, found.reading) == (interval, precision, Origin.LLM)


def test_reading_of_the_model_is_on_the_users_wall_clock() -> None:
    zone = ZoneInfo("America/New_York")

    found = told(CAMP, "since the second camp", start="2023-05-10", locale=Locale("America/New_York"))

    assert found.interval == Interval(datetime(2023, 5, 10, tzinfo=zone), datetime(2023, 5, 11, tzinfo=zone))


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (None, None),
        ("soon", None),
        ("2023-05-10", "later"),
        ("2023-05-10", "2023-05-10"),
        ("2023-05-24", "2023-05-10"),
        ("2023-02-30", None),
        ("2023", None),
        ("9999-12-31", None),
        ("", ""),
    ],
    ids=["none", "words", "words to", "empty", "backwards", "no such day", "a year", "the end", "blank"],
)
def test_what_the_model_cannot_mean_leaves_the_words_without_a_time(start: str | None, end: str | None) -> None:
    assert told(CAMP, "since the second camp", start=start, end=end) == Told("since the second camp")


def test_words_that_nobody_said_are_not_kept_with_the_models_reading() -> None:
    assert told(CAMP, "during the first camp", start="2023-05-10", end="2023-05-24") == Told()


def test_caption_may_tell_the_time() -> None:
    found = told(
        "Look at us!", "12 March 2021", quote="a wedding on 12 March 2021", captions=("a wedding on 12 March 2021",)
    )

    assert (found.when, found.interval) == ("12 March 2021", Interval(day(2021, 3, 12), day(2021, 3, 13)))


def test_each_turn_is_read_by_its_own_time() -> None:
    teller = TimeTeller(Locale())
    turns = [
        turn("I ran yesterday.", turn_id=str(number), said_at=SAID_AT + timedelta(days=number)) for number in (0, 7)
    ]

    found = [_yesterday(teller, said) for said in turns]

    assert [one.interval for one in found] == [
        Interval(day(2023, 5, 29), day(2023, 5, 30)),
        Interval(day(2023, 6, 5), day(2023, 6, 6)),
    ]


def _yesterday(teller: TimeTeller, said: Turn) -> Told:
    return teller.told(said, (0, len(said.text)), kind="event", when="yesterday", start=None, end=None)
