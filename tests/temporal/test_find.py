"""The expressions that are found in a text, and the times that they name; each time is counted by hand."""

import pytest

from memsvc.intervals import Precision
from memsvc.temporal import find
from tests.temporal import (
    DAY,
    DECADE,
    HOUR,
    MINUTE,
    MONTH,
    QUARTER,
    SAID_AT,
    SEASON,
    SECOND,
    WEEK,
    YEAR,
    Row,
    expression,
    plain,
    told,
)


@told(
    ("We moved on [2021-05-12].", "2021-05-12", "2021-05-13", DAY),
    ("We moved on [2021/05/12].", "2021-05-12", "2021-05-13", DAY),
    ("Logged at [2021-05-12T08:30].", "2021-05-12T08:30", "2021-05-12T08:31", MINUTE),
    ("Logged at [2021-05-12 08:30:15].", "2021-05-12T08:30:15", "2021-05-12T08:31:15", SECOND),
    ("Logged at [2021-05-12T08:30:15+02:00].", "2021-05-12T06:30:15", "2021-05-12T06:31:15", SECOND),
    ("We moved on [12 May 2021].", "2021-05-12", "2021-05-13", DAY),
    ("We moved on [12th May 2021].", "2021-05-12", "2021-05-13", DAY),
    ("We moved on [May 12, 2021].", "2021-05-12", "2021-05-13", DAY),
    ("We moved on [May 12th, 2021].", "2021-05-12", "2021-05-13", DAY),
    ("We moved on [the 12th of May, 2021].", "2021-05-12", "2021-05-13", DAY),
    ("We moved on [12-May-2021].", "2021-05-12", "2021-05-13", DAY),
    ("We moved on [Sept. 3, 2019].", "2019-09-03", "2019-09-04", DAY),
    ("We moved on [5/12/2021].", "2021-05-12", "2021-05-13", DAY),
    ("We moved on [5/12/21].", "2021-05-12", "2021-05-13", DAY),
    ("We moved on [31/12/2020].", "2020-12-31", "2021-01-01", DAY),
    ("We moved on [12.5.2021].", "2021-05-12", "2021-05-13", DAY),
    ("We moved on [Friday, 12 May 2023].", "2023-05-12", "2023-05-13", DAY),
    ("We moved on [Friday, May 12th, 2023].", "2023-05-12", "2023-05-13", DAY),
    ("We moved in [May 2021].", "2021-05-01", "2021-06-01", MONTH),
    ("We moved in [December 2020].", "2020-12-01", "2021-01-01", MONTH),
    ("We moved in [may 2021].", "2021-05-01", "2021-06-01", MONTH),
    ("We moved in [05/2021].", "2021-05-01", "2021-06-01", MONTH),
    ("We moved in [2021].", "2021-01-01", "2022-01-01", YEAR),
    ("We moved in [nineteen ninety-nine].", "1999-01-01", "2000-01-01", YEAR),
    ("We moved in [Q3 2016].", "2016-07-01", "2016-10-01", QUARTER),
    ("We moved in [the third quarter of 2016].", "2016-07-01", "2016-10-01", QUARTER),
    ("We moved in [spring 2021].", "2021-03-01", "2021-06-01", SEASON),
    ("We moved in [the winter of 2020].", "2020-12-01", "2021-03-01", SEASON),
    ("We moved in [winter 2022-2023].", "2022-12-01", "2023-03-01", SEASON),
    ("We moved in [the 1990s].", "1990-01-01", "2000-01-01", DECADE),
    ("We moved in [the 90s].", "1990-01-01", "2000-01-01", DECADE),
    ("We moved in [the '80s].", "1980-01-01", "1990-01-01", DECADE),
    ("We moved in [the seventies].", "1970-01-01", "1980-01-01", DECADE),
    ("We met on [Christmas 2021].", "2021-12-25", "2021-12-26", DAY),
    ("We met on [Thanksgiving 2022].", "2022-11-24", "2022-11-25", DAY),
    ("We met on [Easter 2021].", "2021-04-04", "2021-04-05", DAY),
    ("We met on [Easter Monday 2021].", "2021-04-05", "2021-04-06", DAY),
    ("We met on [Christmas Eve of 2021].", "2021-12-24", "2021-12-25", DAY),
    ("We met on [Labor Day 2022].", "2022-09-05", "2022-09-06", DAY),
    ("We met on [29 February 2024].", "2024-02-29", "2024-03-01", DAY),
    ("We met in [week 10 of 2021].", "2021-03-08", "2021-03-15", WEEK),
)
def test_date_with_its_year_is_found_whenever_it_was_said(
    marked: str, start: str, end: str, precision: Precision
) -> None:
    found = find(plain(marked), reference=SAID_AT)

    assert found == [expression(marked, start, end, precision, is_relative=False)]


@told(
    ("In [early 2021] we moved.", "2021-01-01", "2021-07-01", QUARTER),
    ("In [late 2021] we moved.", "2021-07-01", "2022-01-01", QUARTER),
    ("In [mid-April 2021] we moved.", "2021-04-11", "2021-04-21", WEEK),
    ("In [early May 2021] we moved.", "2021-05-01", "2021-05-11", WEEK),
    ("In [late May 2021] we moved.", "2021-05-21", "2021-06-01", WEEK),
    ("At [the beginning of 2021] we moved.", "2021-01-01", "2021-04-01", QUARTER),
    ("At [the end of May 2021] we moved.", "2021-05-16", "2021-06-01", WEEK),
    ("In [the first half of 2021] we moved.", "2021-01-01", "2021-07-01", QUARTER),
    ("In [the early 1990s] we moved.", "1990-01-01", "1994-01-01", YEAR),
    ("In [the mid-90s] we moved.", "1993-01-01", "1997-01-01", YEAR),
    ("In [the late 80s] we moved.", "1986-01-01", "1990-01-01", YEAR),
    ("On [the second Tuesday in May 2021] we moved.", "2021-05-11", "2021-05-12", DAY),
    ("On [the last Monday of May 2022] we moved.", "2022-05-30", "2022-05-31", DAY),
    ("In [the first week of May 2021] we moved.", "2021-05-03", "2021-05-10", WEEK),
    ("On [the last day of February 2024] we moved.", "2024-02-29", "2024-03-01", DAY),
    ("On [the first weekend of July 2022] we moved.", "2022-07-02", "2022-07-04", DAY),
    ("In [the second month of 2021] we moved.", "2021-02-01", "2021-03-01", MONTH),
    ("In [the week of 12 May 2021] we moved.", "2021-05-10", "2021-05-17", WEEK),
)
def test_part_of_a_dated_period_is_found(marked: str, start: str, end: str, precision: Precision) -> None:
    found = find(plain(marked), reference=SAID_AT)

    assert found == [expression(marked, start, end, precision, is_relative=False)]


@told(
    ("We were away [between 3 and 9 May 2021].", "2021-05-03", "2021-05-10", DAY),
    ("We were away [from 3 to 9 May 2021].", "2021-05-03", "2021-05-10", DAY),
    ("We were away [3-9 May 2021].", "2021-05-03", "2021-05-10", DAY),
    ("We were away [3–9 May 2021].", "2021-05-03", "2021-05-10", DAY),  # noqa: RUF001
    ("We were away [May 3-9, 2021].", "2021-05-03", "2021-05-10", DAY),
    ("We were away [between May 3 and May 9, 2021].", "2021-05-03", "2021-05-10", DAY),
    ("We were away [from 28 December 2020 to 3 January 2021].", "2020-12-28", "2021-01-04", DAY),
    ("We were away [from March to May 2021].", "2021-03-01", "2021-06-01", MONTH),
    ("We lived there [from 2015 to 2018].", "2015-01-01", "2019-01-01", YEAR),
    ("We lived there [between 2015 and 2018].", "2015-01-01", "2019-01-01", YEAR),
    ("We lived there [2011-2013].", "2011-01-01", "2014-01-01", YEAR),
    ("We lived there [2019-20].", "2019-01-01", "2021-01-01", YEAR),
    ("We lived there [from February to June 1889].", "1889-02-01", "1889-07-01", MONTH),
    ("We lived there [from May 2019 until March 2021].", "2019-05-01", "2021-04-01", MONTH),
    ("We lived there [since 2019].", "2019-01-01", None, YEAR),
    ("We lived there [since 12 May 2021].", "2021-05-12", None, DAY),
    ("We lived there [before 2015].", None, "2015-01-01", YEAR),
    ("We lived there [until 2015].", None, "2016-01-01", YEAR),
    ("We lived there [after May 2021].", "2021-06-01", None, MONTH),
    ("We lived there [until 12 May 2021].", None, "2021-05-13", DAY),
)
def test_dated_range_takes_its_last_day_month_or_year_in(
    marked: str, start: str | None, end: str | None, precision: Precision
) -> None:
    found = find(plain(marked), reference=SAID_AT)

    assert found == [expression(marked, start, end, precision, is_relative=False)]


@told(
    ("We met on [12 May 2021 at 8:30 pm].", "2021-05-12T20:30", "2021-05-12T20:31", MINUTE),
    ("We met at [8:56 pm on 20 July, 2023].", "2023-07-20T20:56", "2023-07-20T20:57", MINUTE),
    ("We met on [the morning of 12 May 2021].", "2021-05-12T08:00", "2021-05-12T12:00", HOUR),
    ("We met [in the early morning of 12 May 2021].", "2021-05-12T08:00", "2021-05-12T10:00", HOUR),
    ("We met on [the evening of 12 May 2021].", "2021-05-12T16:00", "2021-05-12T20:00", HOUR),
    ("We met on [the night of 5 May 2021].", "2021-05-05T20:00", "2021-05-06", HOUR),
)
def test_time_of_a_dated_day_is_found(marked: str, start: str, end: str, precision: Precision) -> None:
    found = find(plain(marked), reference=SAID_AT)

    assert found == [expression(marked, start, end, precision, is_relative=False)]


@told(
    ("We met on [Tuesday].", "2023-06-13", "2023-06-14", DAY),
    ("We met on [Wednesday].", "2023-06-07", "2023-06-08", DAY),
    ("We met on [Thursday].", "2023-06-08", "2023-06-09", DAY),
    ("We met [last Friday].", "2023-06-09", "2023-06-10", DAY),
    ("We met [last Wednesday].", "2023-06-07", "2023-06-08", DAY),
    ("We meet [this Friday].", "2023-06-16", "2023-06-17", DAY),
    ("We meet [next Friday].", "2023-06-23", "2023-06-24", DAY),
    ("We meet [next Monday].", "2023-06-19", "2023-06-20", DAY),
    ("We met on [Sat].", "2023-06-10", "2023-06-11", DAY),
    ("We met on [Sunday].", "2023-06-11", "2023-06-12", DAY),
    ("We met [two Thursdays ago].", "2023-06-01", "2023-06-02", DAY),
    ("We met [the Friday before last].", "2023-06-02", "2023-06-03", DAY),
    ("We met [the Friday before].", "2023-06-09", "2023-06-10", DAY),
    ("We met [the Tuesday before Easter].", "2023-04-04", "2023-04-05", DAY),
    ("We met on [Friday the 9th].", "2023-06-09", "2023-06-10", DAY),
    ("We met on [Friday, May 12].", "2023-05-12", "2023-05-13", DAY),
    ("We met on [Tues] or so.", "2023-06-13", "2023-06-14", DAY),
    ("We met [this past Friday].", "2023-06-09", "2023-06-10", DAY),
    ("We met on [Tuesday of last week].", "2023-06-06", "2023-06-07", DAY),
    ("We met [last week on Tuesday].", "2023-06-06", "2023-06-07", DAY),
)
def test_weekday_is_the_last_one_before_the_day_of_saying_unless_its_words_say_which(
    marked: str, start: str, end: str, precision: Precision
) -> None:
    found = find(plain(marked), reference=SAID_AT)

    assert found == [expression(marked, start, end, precision)]


@told(
    ("We met [three weeks ago].", "2023-05-24", "2023-05-25", WEEK),
    ("We met [a couple of months back].", "2023-04-14", "2023-04-15", MONTH),
    ("We met [two days ago].", "2023-06-12", "2023-06-13", DAY),
    ("We met [a week or two ago].", "2023-06-04", "2023-06-05", WEEK),
    ("We met [a year or so ago].", "2022-06-01", "2022-07-01", YEAR),
    ("We met [a hundred years ago].", "1923-06-01", "1923-07-01", YEAR),
    ("We leave [a week from Friday].", "2023-06-23", "2023-06-24", WEEK),
    ("We leave [two weeks from Monday].", "2023-07-03", "2023-07-04", WEEK),
    ("It will rain in [the next year].", "2023-06-14", "2024-06-14", YEAR),
    ("We met [a year ago].", "2022-06-01", "2022-07-01", YEAR),
    ("We met [five years ago].", "2018-06-01", "2018-07-01", YEAR),
    ("We met [a decade ago].", "2013-01-01", "2014-01-01", DECADE),
    ("We met [five minutes ago].", "2023-06-14T15:25", "2023-06-14T15:26", MINUTE),
    ("We met [two hours ago].", "2023-06-14T13:30", "2023-06-14T13:31", HOUR),
    ("We met [an hour and a half ago].", "2023-06-14T14:00", "2023-06-14T14:01", HOUR),
    ("We met [a few days ago].", "2023-06-11", "2023-06-12", DAY),
    ("We met [a fortnight ago].", "2023-05-31", "2023-06-01", WEEK),
    ("We met [two weeks and three days ago].", "2023-05-28", "2023-05-29", DAY),
    ("We met [2 weeks ago].", "2023-05-31", "2023-06-01", WEEK),
    ("We met [about six months ago].", "2022-12-14", "2022-12-15", MONTH),
    ("It rained in [the past ten days].", "2023-06-04", "2023-06-14T15:30", DAY),
    ("It rained over [the last two weeks].", "2023-05-31", "2023-06-14T15:30", WEEK),
    ("It rained for [the past three months].", "2023-03-14", "2023-06-14T15:30", MONTH),
    ("It rained in [the last few days].", "2023-06-11", "2023-06-14T15:30", DAY),
    ("It rained in [the last 24 hours].", "2023-06-13T15:30", "2023-06-14T15:30", HOUR),
    ("It rained [the past week].", "2023-06-07", "2023-06-14T15:30", WEEK),
    ("We met [two days before yesterday].", "2023-06-11", "2023-06-12", DAY),
    ("We met [the day before yesterday].", "2023-06-12", "2023-06-13", DAY),
    ("We met [a week after Christmas].", "2023-01-01", "2023-01-02", WEEK),
    ("We leave [ten days from now].", "2023-06-24", "2023-06-25", DAY),
    ("We leave [two weeks from today].", "2023-06-28", "2023-06-29", WEEK),
    ("I stay [for 3 days from today].", "2023-06-14", "2023-06-17", DAY),
    ("It will rain [within the next two days].", "2023-06-14", "2023-06-16", DAY),
    ("It will rain in [the next two weeks].", "2023-06-14", "2023-06-28", WEEK),
)
def test_amount_is_counted_from_when_it_was_said(marked: str, start: str, end: str, precision: Precision) -> None:
    found = find(plain(marked), reference=SAID_AT)

    assert found == [expression(marked, start, end, precision)]


@told(
    ("I slept [today].", "2023-06-14", "2023-06-15", DAY),
    ("I slept [yesterday].", "2023-06-13", "2023-06-14", DAY),
    ("I sleep [tomorrow].", "2023-06-15", "2023-06-16", DAY),
    ("I leave [the day after tomorrow].", "2023-06-16", "2023-06-17", DAY),
    ("I sleep [right now].", "2023-06-14T15:30", "2023-06-14T15:30:01", SECOND),
    ("I slept [last week].", "2023-06-05", "2023-06-12", WEEK),
    ("I slept [this week].", "2023-06-12", "2023-06-19", WEEK),
    ("I sleep [next week].", "2023-06-19", "2023-06-26", WEEK),
    ("I slept [the week before last].", "2023-05-29", "2023-06-05", WEEK),
    ("I sleep [the week after next].", "2023-06-26", "2023-07-03", WEEK),
    ("I slept [last weekend].", "2023-06-10", "2023-06-12", DAY),
    ("I sleep [this weekend].", "2023-06-17", "2023-06-19", DAY),
    ("I sleep [next weekend].", "2023-06-24", "2023-06-26", DAY),
    ("I slept [the weekend before last].", "2023-06-03", "2023-06-05", DAY),
    ("I slept [last month].", "2023-05-01", "2023-06-01", MONTH),
    ("I slept [this month].", "2023-06-01", "2023-07-01", MONTH),
    ("I sleep [next month].", "2023-07-01", "2023-08-01", MONTH),
    ("I slept [the month before last].", "2023-04-01", "2023-05-01", MONTH),
    ("I slept [last quarter].", "2023-01-01", "2023-04-01", QUARTER),
    ("I slept [last year].", "2022-01-01", "2023-01-01", YEAR),
    ("I slept [this year].", "2023-01-01", "2024-01-01", YEAR),
    ("I slept [last decade].", "2010-01-01", "2020-01-01", DECADE),
    ("I slept [this spring].", "2023-03-01", "2023-06-01", SEASON),
    ("I slept [last summer].", "2022-06-01", "2022-09-01", SEASON),
    ("I slept [last winter].", "2022-12-01", "2023-03-01", SEASON),
    ("I sleep [next summer].", "2024-06-01", "2024-09-01", SEASON),
    ("I slept [last fall].", "2022-09-01", "2022-12-01", SEASON),
    ("I slept in [March].", "2023-03-01", "2023-04-01", MONTH),
    ("I slept in [July].", "2022-07-01", "2022-08-01", MONTH),
    ("I slept in [June].", "2023-06-01", "2023-07-01", MONTH),
    ("I slept [last March].", "2023-03-01", "2023-04-01", MONTH),
    ("I slept on [March 3].", "2023-03-03", "2023-03-04", DAY),
    ("I slept on [3 July].", "2022-07-03", "2022-07-04", DAY),
    ("I slept on [3/7].", "2023-03-07", "2023-03-08", DAY),
    ("I slept on [the 21st].", "2023-05-21", "2023-05-22", DAY),
    ("I slept at [Christmas].", "2022-12-25", "2022-12-26", DAY),
    ("I slept on [New Year's Eve].", "2022-12-31", "2023-01-01", DAY),
    ("I slept [last Christmas].", "2022-12-25", "2022-12-26", DAY),
    ("I slept in [mid-April].", "2023-04-11", "2023-04-21", WEEK),
    ("I slept in [early May].", "2023-05-01", "2023-05-11", WEEK),
    ("I slept at [the end of last week].", "2023-06-09", "2023-06-12", DAY),
    ("I slept at [the beginning of this month].", "2023-06-01", "2023-06-11", WEEK),
    ("I slept at [the end of March].", "2023-03-16", "2023-04-01", WEEK),
    ("I slept [earlier this week].", "2023-06-12", "2023-06-14", WEEK),
    ("I sleep [later this month].", "2023-06-14", "2023-07-01", MONTH),
    ("I sleep for [the rest of the week].", "2023-06-14", "2023-06-19", WEEK),
    ("I slept on [the first Saturday of April].", "2023-04-01", "2023-04-02", DAY),
    ("I slept on [the last Friday of May].", "2023-05-26", "2023-05-27", DAY),
    ("I slept on [the 20th of last month].", "2023-05-20", "2023-05-21", DAY),
    ("I slept in [the second week of this month].", "2023-06-05", "2023-06-12", WEEK),
    ("I slept in [early summer].", "2023-06-01", "2023-07-01", MONTH),
    ("I slept [this past weekend].", "2023-06-10", "2023-06-12", DAY),
    ("I slept in [the last week of April].", "2023-04-24", "2023-05-01", WEEK),
    ("I slept in [the spring of last year].", "2022-03-01", "2022-06-01", SEASON),
    ("I slept [last year in May].", "2022-05-01", "2022-06-01", MONTH),
    ("I slept in [May last year].", "2022-05-01", "2022-06-01", MONTH),
    ("I slept in [the second quarter of last year].", "2022-04-01", "2022-07-01", QUARTER),
    ("I slept on [the first of May].", "2023-05-01", "2023-05-02", DAY),
    ("I sleep on [the last day of the month].", "2023-06-30", "2023-07-01", DAY),
    ("I slept on [the first Monday in September].", "2022-09-05", "2022-09-06", DAY),
    ("I slept on [the 2nd weekend of May].", "2023-05-13", "2023-05-15", DAY),
    ("I slept in [the week of May 3rd].", "2023-05-01", "2023-05-08", WEEK),
)
def test_name_is_the_one_that_the_day_of_saying_makes_it(
    marked: str, start: str, end: str, precision: Precision
) -> None:
    found = find(plain(marked), reference=SAID_AT)

    assert found == [expression(marked, start, end, precision)]


@told(
    ("We met [this morning].", "2023-06-14T08:00", "2023-06-14T12:00", HOUR),
    ("We met [early this morning].", "2023-06-14T08:00", "2023-06-14T10:00", HOUR),
    ("We met [late last night].", "2023-06-13T22:00", "2023-06-14", HOUR),
    ("We meet [tonight at 8 pm].", "2023-06-14T20:00", "2023-06-14T20:01", HOUR),
    ("We met [yesterday morning].", "2023-06-13T08:00", "2023-06-13T12:00", HOUR),
    ("We met [yesterday afternoon].", "2023-06-13T12:00", "2023-06-13T16:00", HOUR),
    ("We met [yesterday evening].", "2023-06-13T16:00", "2023-06-13T20:00", HOUR),
    ("We met [last night].", "2023-06-13T20:00", "2023-06-14", HOUR),
    ("We meet [tonight].", "2023-06-14T20:00", "2023-06-15", HOUR),
    ("We met on [Friday night].", "2023-06-09T20:00", "2023-06-10", HOUR),
    ("We met on [Friday at 7pm].", "2023-06-09T19:00", "2023-06-09T19:01", HOUR),
    ("We met [yesterday at 8:30].", "2023-06-13T08:30", "2023-06-13T08:31", MINUTE),
    ("We met [yesterday at noon].", "2023-06-13T12:00", "2023-06-13T12:01", HOUR),
    ("We met [yesterday at seven].", "2023-06-13T07:00", "2023-06-13T07:01", HOUR),
    ("We met [yesterday at half past eight in the evening].", "2023-06-13T20:30", "2023-06-13T20:31", MINUTE),
    ("We met [yesterday from 3 to 5pm].", "2023-06-13T15:00", "2023-06-13T17:00", HOUR),
    ("We met [yesterday between 1 pm and 4 pm].", "2023-06-13T13:00", "2023-06-13T16:00", HOUR),
    ("We meet [tomorrow at 8 pm].", "2023-06-15T20:00", "2023-06-15T20:01", HOUR),
    ("We met at [8 pm yesterday].", "2023-06-13T20:00", "2023-06-13T20:01", HOUR),
    ("We met [last Tuesday evening].", "2023-06-13T16:00", "2023-06-13T20:00", HOUR),
    ("We meet [in the morning tomorrow].", "2023-06-15T08:00", "2023-06-15T12:00", HOUR),
)
def test_part_of_a_day_and_time_of_a_day_are_found(marked: str, start: str, end: str, precision: Precision) -> None:
    found = find(plain(marked), reference=SAID_AT)

    assert found == [expression(marked, start, end, precision)]


@told(
    ("I ran [since March].", "2023-03-01", None, MONTH),
    ("I ran [since last Friday].", "2023-06-09", None, DAY),
    ("I ran [until yesterday].", None, "2023-06-14", DAY),
    ("I ran [until now].", None, "2023-06-14T15:30", SECOND),
    ("I ran [between the 3rd and 9th of May].", "2023-05-03", "2023-05-10", DAY),
    ("I ran [until Friday].", None, "2023-06-10", DAY),
    ("I ran [until last week].", None, "2023-06-12", WEEK),
    ("I ran [before Christmas].", None, "2022-12-25", DAY),
    ("I ran [before last weekend].", None, "2023-06-10", DAY),
    ("I ran [after Christmas].", "2022-12-26", None, DAY),
    ("I ran [after last weekend].", "2023-06-12", None, DAY),
    ("I ran [from May on].", "2023-05-01", None, MONTH),
    ("I run [until tomorrow].", "2023-06-14T15:30", "2023-06-16", DAY),
    ("I run [by the end of the month].", "2023-06-14T15:30", "2023-07-01", WEEK),
    ("I ran [between 3 and 9 May].", "2023-05-03", "2023-05-10", DAY),
    ("I ran [from 3 to 9 May].", "2023-05-03", "2023-05-10", DAY),
    ("I ran [from 3 May to 9 May].", "2023-05-03", "2023-05-10", DAY),
    ("I ran [from Friday to Sunday].", "2023-06-09", "2023-06-12", DAY),
    ("I ran [between Monday and Tuesday].", "2023-06-12", "2023-06-14", DAY),
    ("I ran [between Christmas and New Year's].", "2022-12-25", "2023-01-02", DAY),
    ("I ran [from March to May].", "2023-03-01", "2023-06-01", MONTH),
    ("I ran [from November to February].", "2022-11-01", "2023-03-01", MONTH),
    ("I ran [from last Friday until yesterday].", "2023-06-09", "2023-06-14", DAY),
    ("I ran [last week between Tuesday and Thursday].", "2023-06-06", "2023-06-09", DAY),
    ("I ran [from 2019 until now].", "2019-01-01", "2023-06-14T15:30", YEAR),
    ("I ran [from 2 to 5 this month].", "2023-06-02", "2023-06-06", DAY),
    ("I ran [before 5 May].", None, "2023-05-05", DAY),
    ("I ran [after the 3rd of May].", "2023-05-04", None, DAY),
    ("I ran [from the 3rd to the 9th of May].", "2023-05-03", "2023-05-10", DAY),
    ("I ran [from May 3 to 9].", "2023-05-03", "2023-05-10", DAY),
    ("I ran [May 3 to June 4].", "2023-05-03", "2023-06-05", DAY),
    ("I ran [from 28 December to 3 January].", "2022-12-28", "2023-01-04", DAY),
)
def test_range_is_closed_or_open_as_its_words_say(
    marked: str, start: str | None, end: str | None, precision: Precision
) -> None:
    found = find(plain(marked), reference=SAID_AT)

    assert found == [expression(marked, start, end, precision)]


CHAINS: dict[str, list[Row]] = {
    "several days in one sentence": [
        ("[Yesterday] I ran, today I rest and tomorrow I swim.", "2023-06-13", "2023-06-14", DAY),
        ("Yesterday I ran, [today] I rest and tomorrow I swim.", "2023-06-14", "2023-06-15", DAY),
        ("Yesterday I ran, today I rest and [tomorrow] I swim.", "2023-06-15", "2023-06-16", DAY),
    ],
    "an amount counted from the day before it": [
        ("On [Monday] we left and came back two days later.", "2023-06-12", "2023-06-13", DAY),
        ("On Monday we left and came back [two days later].", "2023-06-14", "2023-06-15", DAY),
    ],
    "the day after the day before it": [
        ("On [Saturday] we went hiking. The day after, we slept.", "2023-06-10", "2023-06-11", DAY),
        ("On Saturday we went hiking. [The day after], we slept.", "2023-06-11", "2023-06-12", DAY),
    ],
    "the next day": [
        ("We left [last Friday]; the next day we were home.", "2023-06-09", "2023-06-10", DAY),
        ("We left last Friday; [the next day] we were home.", "2023-06-10", "2023-06-11", DAY),
    ],
    "two that belong to each other": [
        ("We met in [March] and again last week, on Tuesday.", "2023-03-01", "2023-04-01", MONTH),
        ("We met in March and again [last week, on Tuesday].", "2023-06-06", "2023-06-07", DAY),
    ],
}


@pytest.mark.parametrize("rows", [pytest.param(rows, id=name) for name, rows in CHAINS.items()])
def test_expressions_come_in_order_and_may_count_from_the_one_before(rows: list[Row]) -> None:
    found = find(plain(rows[0][0]), reference=SAID_AT)

    assert found == [expression(*row) for row in rows]


@pytest.mark.parametrize(
    "rows",
    [
        [
            ("In [2019] I met her in May.", "2019-01-01", "2020-01-01", YEAR),
            ("In 2019 I met her in [May].", "2019-05-01", "2019-06-01", MONTH),
        ],
        [
            ("In [May 2019] I met her; in June we married.", "2019-05-01", "2019-06-01", MONTH),
            ("In May 2019 I met her; in [June] we married.", "2019-06-01", "2019-07-01", MONTH),
        ],
        [
            ("We moved on [5 May 2021]; on 3 June we sold the car.", "2021-05-05", "2021-05-06", DAY),
            ("We moved on 5 May 2021; on [3 June] we sold the car.", "2021-06-03", "2021-06-04", DAY),
        ],
        [
            ("On [20 May 2021] we moved; the Friday before we had packed.", "2021-05-20", "2021-05-21", DAY),
            ("On 20 May 2021 we moved; [the Friday before] we had packed.", "2021-05-14", "2021-05-15", DAY),
        ],
    ],
    ids=["month of a year", "month of a dated month's year", "day of a dated day's year", "weekday before a dated day"],
)
def test_what_comes_round_is_of_the_year_that_was_told_before(rows: list[Row]) -> None:
    found = find(plain(rows[0][0]), reference=SAID_AT)

    assert found == [expression(*row, is_relative=False) for row in rows]


def test_span_counts_characters_of_the_text_as_it_was_given() -> None:
    text = "Zoë\u2019s café 🙂 \u2013 opened on 12 May 2021…"

    found = find(text, reference=SAID_AT)

    assert [text[slice(*each.span)] for each in found] == ["12 May 2021"]
    assert [each.text for each in found] == ["12 May 2021"]


@pytest.mark.parametrize(
    ("text", "words", "is_relative"),
    [
        ("On 20 May 2021 we left and came back two days later.", "two days later", False),
        ("On 20 May 2021 we left. The next day we were home.", "The next day", False),
        ("Last Friday we left. The next day we were home.", "The next day", True),
        ("Last year we moved in May.", "May", True),
        ("In 2019 we moved in May.", "May", False),
        ("a week after 5 May 2021", "a week after 5 May 2021", False),
        ("by 2030", "by 2030", True),
        ("until 2015", "until 2015", False),
        ("tonight at 8 pm", "tonight at 8 pm", True),
    ],
)
def test_time_is_relative_where_it_depends_on_when_it_was_said(text: str, words: str, *, is_relative: bool) -> None:
    found = find(text, reference=SAID_AT)

    assert (found[-1].text, found[-1].is_relative) == (words, is_relative)


@pytest.mark.parametrize(
    "text",
    ["99999 years ago or yesterday", "from 99999 years ago to yesterday", "99999 years before 2020 and yesterday"],
)
def test_part_beyond_the_calendar_hides_none_beside_it(text: str) -> None:
    found = find(text, reference=SAID_AT)

    assert found[-1].text == "yesterday"
