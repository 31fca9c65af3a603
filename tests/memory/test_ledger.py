"""What holds when: tables written by hand, and what is true of every set of statements and bonds."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsvc.facts import Bond
from memsvc.memory.ledger import Entry, Standing, Tie, settled

DAY = timedelta(days=1)
START = datetime(2024, 1, 1, tzinfo=UTC)


class Row(NamedTuple):
    """A standing, in days and names: from when to when it holds, what ended it, what it says again."""

    start: int
    end: int | None = None
    by: str | None = None
    into: str | None = None


def at(day: int) -> datetime:
    return START + day * DAY


def named(name: str) -> UUID:
    return UUID(int=ord(name))


def entry(name: str, valid: int, said: int | None = None, *, ends: int | None = None) -> Entry:
    """A statement that became valid on a day, was said on that or another, and may have been told to end."""
    return Entry(named(name), at(valid), at(valid if said is None else said), None if ends is None else at(ends))


def tie(pair: str, bond: Bond) -> Tie:
    return Tie(named(pair[0]), named(pair[1]), bond)


def same(*pairs: str) -> list[Tie]:
    return [tie(pair, Bond.SAME) for pair in pairs]


def excludes(*pairs: str) -> list[Tie]:
    return [tie(pair, Bond.EXCLUDES) for pair in pairs]


def corrects(*pairs: str) -> list[Tie]:
    return [tie(pair, Bond.CORRECTS) for pair in pairs]


def table(entries: Iterable[Entry], ties: Sequence[Tie]) -> dict[str, Row]:
    return {chr(fact_id.int): row_of(standing) for fact_id, standing in settled(entries, ties).items()}


def row_of(standing: Standing) -> Row:
    end = None if standing.invalid_at is None else (standing.invalid_at - START).days
    return Row((standing.valid_at - START).days, end, name_of(standing.superseded_by), name_of(standing.merged_into))


def name_of(fact_id: UUID | None) -> str | None:
    return None if fact_id is None else chr(fact_id.int)


@pytest.mark.parametrize(
    ("entries", "ties", "expected"),
    [
        pytest.param([], [], {}, id="nothing"),
        pytest.param([entry("A", 0)], [], {"A": Row(0)}, id="one statement"),
        pytest.param(
            [entry("L", 0), entry("P", 10), entry("B", 20)],
            excludes("LP", "LB", "PB"),
            {"L": Row(0, 10, "P"), "P": Row(10, 20, "B"), "B": Row(20)},
            id="moved twice",
        ),
        pytest.param(
            [entry("L", 0), entry("P", 10), entry("M", 20)],
            [*same("LM"), *excludes("LP", "PM")],
            {"L": Row(0, 10, "P"), "P": Row(10, 20, "M"), "M": Row(20)},
            id="moved and came back",
        ),
        pytest.param(
            [entry("L", 0), entry("P", 10), entry("M", 20), entry("N", 25)],
            [*same("LM", "LN", "MN"), *excludes("LP", "PM", "PN")],
            {"L": Row(0, 10, "P"), "P": Row(10, 20, "M"), "M": Row(20), "N": Row(20, into="M")},
            id="came back, and said so again",
        ),
        pytest.param(
            [entry("V", 0), entry("M", 5), entry("W", 10), entry("N", 11)],
            [*same("VW", "MN"), *excludes("VM", "MW", "VN", "WN")],
            {"V": Row(0, 5, "M"), "M": Row(5, 10, "W"), "W": Row(10, 11, "N"), "N": Row(11)},
            id="contradicted himself, again and again",
        ),
        pytest.param(
            [entry("P", 10, 10), entry("F", -50, 30), entry("L", 0, 0)],
            excludes("PF", "PL", "FL"),
            {"F": Row(-50, 0, "L"), "L": Row(0, 10, "P"), "P": Row(10)},
            id="history told late",
        ),
        pytest.param(
            [entry("A", 10, 10), entry("B", 8, 12)],
            corrects("AB"),
            {"A": Row(10, 10, "B"), "B": Row(8)},
            id="a date corrected to an earlier one",
        ),
        pytest.param(
            [entry("A", 10, 10), entry("B", 11, 12)],
            corrects("BA"),
            {"A": Row(10, 10, "B"), "B": Row(11)},
            id="a date corrected to a later one",
        ),
        pytest.param(
            [entry("A", 10, 10), entry("B", 8, 12), entry("C", 9, 14)],
            corrects("AB", "BC"),
            {"A": Row(10), "B": Row(8, 8, "C"), "C": Row(9)},
            id="a correction that was corrected takes nothing back",
        ),
        pytest.param(
            [entry("A", 10, 10), entry("B", 8, 12), entry("C", 9, 14)],
            corrects("AB", "BC", "AC"),
            {"A": Row(10, 10, "C"), "B": Row(8, 8, "C"), "C": Row(9)},
            id="the last correction takes both back",
        ),
        pytest.param(
            [entry("A", 10, 10), entry("B", 8, 12), entry("C", 10, 14)],
            [*corrects("AB", "BC"), *same("AC")],
            {"A": Row(10), "B": Row(8, 8, "A"), "C": Row(10, into="A")},
            id="back to what was said first",
        ),
        pytest.param(
            [entry("A", 0), entry("B", 5), entry("C", 9)],
            [*excludes("AB"), *corrects("BC")],
            {"A": Row(0), "B": Row(5, 5, "C"), "C": Row(9)},
            id="what was taken back has ended nothing",
        ),
        pytest.param(
            [entry("A", 0), entry("B", 5), entry("C", 9)],
            [*same("AB"), *corrects("AC")],
            {"A": Row(0, 0, "C"), "B": Row(5), "C": Row(9)},
            id="nothing is merged into what was taken back",
        ),
        pytest.param(
            [entry("A", 0), entry("B", 1), entry("C", 2)],
            same("AB", "BC"),
            {"A": Row(0), "B": Row(0, into="A"), "C": Row(0, into="A")},
            id="a chain of mentions",
        ),
        pytest.param(
            [entry("A", 0), entry("B", 1), entry("C", 2)],
            same("AC", "BC"),
            {"A": Row(0), "B": Row(1), "C": Row(0, into="A")},
            id="a mention of two statements is of the first",
        ),
        pytest.param(
            [entry("A", 0), entry("B", 5), entry("C", 9)],
            [*same("AB"), *excludes("BC")],
            {"A": Row(0, 9, "C"), "B": Row(0, into="A"), "C": Row(9)},
            id="what excludes a mention ends the first one",
        ),
        pytest.param(
            [entry("A", 0), entry("B", 5), entry("C", 9)],
            [*same("AC"), *excludes("BC")],
            {"A": Row(0), "B": Row(5, 9, "A"), "C": Row(0, into="A")},
            id="a mention ends what it excludes in the first one's name",
        ),
        pytest.param(
            [entry("A", 0), entry("B", 5)],
            [*same("AB"), *excludes("AB")],
            {"A": Row(0), "B": Row(0, into="A")},
            id="nothing ends what it only says again",
        ),
        pytest.param(
            [entry("A", 0, ends=5), entry("B", 10)],
            excludes("AB"),
            {"A": Row(0, 5), "B": Row(10)},
            id="ended before anything could end it",
        ),
        pytest.param(
            [entry("A", 0, ends=15), entry("B", 10)],
            excludes("AB"),
            {"A": Row(0, 10, "B"), "B": Row(10)},
            id="ended earlier than told",
        ),
        pytest.param(
            [entry("A", 0, ends=5), entry("B", 5), entry("C", 8)],
            same("AB", "AC"),
            {"A": Row(0, 5), "B": Row(5), "C": Row(8)},
            id="said again after the end that was told",
        ),
        pytest.param(
            [entry("A", 5, 1), entry("B", 5, 2)],
            excludes("AB"),
            {"A": Row(5, 5, "B"), "B": Row(5)},
            id="of one instant, said later",
        ),
        pytest.param(
            [entry("B", 5, 2), entry("A", 5, 2)],
            excludes("AB"),
            {"A": Row(5, 5, "B"), "B": Row(5)},
            id="of one instant and one saying, the id decides",
        ),
        pytest.param(
            [entry("B", 5, 2), entry("A", 5, 2)],
            same("BA"),
            {"A": Row(5), "B": Row(5, into="A")},
            id="the same at one instant",
        ),
        pytest.param(
            [entry("A", 5, 2), entry("B", 7, 2)],
            corrects("AB"),
            {"A": Row(5, 5, "B"), "B": Row(7)},
            id="corrected in one breath",
        ),
        pytest.param(
            [entry("A", 0), entry("B", 5)],
            [*excludes("AX", "XB"), *same("XA"), *corrects("BX"), *excludes("AA")],
            {"A": Row(0), "B": Row(5)},
            id="ties to nobody, and to oneself",
        ),
    ],
)
def test_standings_are_those_of_the_table(entries: list[Entry], ties: list[Tie], expected: dict[str, Row]) -> None:
    assert table(entries, ties) == expected


NAMES = "ABCDEFGH"
DAYS = st.integers(0, 6)


@st.composite
def entries_of(draw: st.DrawFn) -> list[Entry]:
    """A few statements of a few days, so that many instants are equal."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    return [_entry(draw, name) for name in names]


def _entry(draw: st.DrawFn, name: str) -> Entry:
    valid = draw(DAYS)
    return entry(name, valid, draw(DAYS), ends=draw(st.none() | st.integers(valid, 8)))


TIES = st.lists(
    st.builds(lambda one, other, bond: tie(one + other, bond), *[st.sampled_from(NAMES)] * 2, st.sampled_from(Bond)),
    max_size=14,
)
many = settings(max_examples=300, deadline=None)


@many
@given(entries_of(), TIES, st.data())
def test_order_direction_and_repetition_change_nothing(
    entries: list[Entry], ties: list[Tie], data: st.DataObject
) -> None:
    again = data.draw(
        st.permutations(entries + data.draw(st.lists(st.sampled_from(entries)) if entries else st.just([])))
    )
    more = data.draw(st.permutations(ties + data.draw(st.lists(st.sampled_from(ties)) if ties else st.just([]))))
    turned = [Tie(one.other, one.one, one.bond) if data.draw(st.booleans()) else one for one in more]

    assert settled(again, turned) == settled(entries, ties)


@many
@given(entries_of(), TIES)
def test_every_statement_has_one_standing_that_names_only_statements(entries: list[Entry], ties: list[Tie]) -> None:
    standings = settled(entries, ties)

    assert set(standings) == {one.fact_id for one in entries}
    for fact_id, standing in standings.items():
        others = {standing.merged_into, standing.superseded_by} - {None}
        assert others <= set(standings) - {fact_id}
        assert all(standings[other].merged_into is None for other in others if other is not None)
        assert standing.merged_into is None or standing.superseded_by is None


@many
@given(entries_of(), TIES)
def test_nothing_ends_before_it_began_or_after_it_was_told_to(entries: list[Entry], ties: list[Tie]) -> None:
    standings = settled(entries, ties)

    for one in entries:
        standing = standings[one.fact_id]
        end = standing.invalid_at
        assert end is None or end >= standing.valid_at
        assert standing.valid_at <= one.valid_at
        if standing.merged_into is None and one.ends_at is not None:
            assert end is not None
            assert end <= one.ends_at


@many
@given(entries_of(), TIES)
def test_two_that_exclude_each_other_never_hold_at_once(entries: list[Entry], ties: list[Tie]) -> None:
    standings = settled(entries, ties)

    own = {fact_id: standing for fact_id, standing in standings.items() if standing.merged_into is None}
    for one in ties:
        if one.bond is Bond.EXCLUDES and one.one != one.other and {one.one, one.other} <= set(own):
            assert not any(_holds(own[one.one], at(day)) and _holds(own[one.other], at(day)) for day in range(10))


@many
@given(entries_of(), TIES)
def test_statements_bear_only_on_what_they_are_bound_to(entries: list[Entry], ties: list[Tie]) -> None:
    apart = {
        fact_id: standing
        for group in _groups(entries, ties)
        for fact_id, standing in settled([one for one in entries if one.fact_id in group], ties).items()
    }

    assert apart == settled(entries, ties)


@many
@given(entries_of(), TIES, st.data())
def test_tie_that_is_taken_away_and_put_back_has_changed_nothing(
    entries: list[Entry], ties: list[Tie], data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from([*ties, *excludes("AB")]))
    without = [one for one in ties if one != gone]

    assert settled(entries, [*without, gone]) == settled(entries, [gone, *ties])
    assert settled(entries, without) == settled(entries, [*without, Tie(gone.one, UUID(int=0), gone.bond)])


def _holds(standing: Standing, instant: datetime) -> bool:
    return standing.valid_at <= instant and (standing.invalid_at is None or instant < standing.invalid_at)


def _groups(entries: list[Entry], ties: list[Tie]) -> list[set[UUID]]:
    """The statements, put together as they are bound."""
    groups = [{one.fact_id} for one in entries]
    for one in ties:
        joined = [group for group in groups if one.one in group or one.other in group]
        met = set[UUID]().union(*joined)
        if {one.one, one.other} <= met:
            groups = [group for group in groups if group not in joined] + [met]
    return groups
