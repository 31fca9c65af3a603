"""What language models were asked, counted on both databases."""

from datetime import UTC, date, datetime

import pytest

from memsvc.store.database import Store
from memsvc.store.usage import Used
from tests.doubles import together

DAY, NEXT = date(2024, 2, 29), date(2024, 3, 1)


@pytest.fixture
def workspaces(store: Store) -> Store:
    """A store with two workspaces."""
    with store.begin() as tx:
        for name in ("default", "other"):
            tx.workspaces.ensure(name, now=datetime(2024, 1, 1, tzinfo=UTC))
    return store


def add(store: Store, *used: Used, workspace: str = "default") -> None:
    with store.begin() as tx:
        for one in used:
            tx.usage.add(workspace, one)


def between(store: Store, first: date, last: date, *, workspace: str = "default") -> list[Used]:
    with store.read() as tx:
        return tx.usage.between(workspace, first, last)


def test_what_is_used_on_one_day_is_summed(workspaces: Store) -> None:
    add(workspaces, Used(DAY, "extract", "m", 1, 100, 10, 1, 0))

    add(workspaces, Used(DAY, "extract", "m", 2, 50, 5, 0, 3))

    assert between(workspaces, DAY, DAY) == [Used(DAY, "extract", "m", 3, 150, 15, 1, 3)]


def test_days_operations_and_models_are_counted_apart_and_come_in_order(workspaces: Store) -> None:
    apart = [
        Used(DAY, "extract", "m", 1, 1, 1),
        Used(DAY, "extract", "n", 1, 1, 1),
        Used(DAY, "reconcile", "m", 1, 1, 1),
        Used(NEXT, "extract", "m", 1, 1, 1),
    ]

    add(workspaces, *reversed(apart))

    assert between(workspaces, DAY, NEXT) == apart


@pytest.mark.parametrize(
    ("first", "last", "found"),
    [(DAY, DAY, [DAY]), (NEXT, NEXT, [NEXT]), (DAY, NEXT, [DAY, NEXT]), (NEXT, DAY, [])],
    ids=["the first", "the last", "both", "none"],
)
def test_days_are_chosen_with_both_ends(workspaces: Store, first: date, last: date, found: list[date]) -> None:
    add(workspaces, *(Used(day, "extract", "m", 1, 1, 1) for day in (DAY, NEXT)))

    assert [used.day for used in between(workspaces, first, last)] == found


def test_tokens_of_a_day_are_those_of_questions_and_answers_of_all_operations(workspaces: Store) -> None:
    add(workspaces, Used(DAY, "extract", "m", 1, 100, 10), Used(DAY, "answer", "n", 1, 7, 3))
    add(workspaces, Used(NEXT, "extract", "m", 1, 1000, 0))

    with workspaces.read() as tx:
        assert tx.usage.tokens("default", DAY) == 120
        assert tx.usage.tokens("default", date(2023, 1, 1)) == 0


def test_workspaces_are_counted_apart(workspaces: Store) -> None:
    add(workspaces, Used(DAY, "extract", "m", 1, 100, 10))

    assert between(workspaces, DAY, DAY, workspace="other") == []
    with workspaces.read() as tx:
        assert tx.usage.tokens("other", DAY) == 0


def test_nothing_is_lost_when_several_count_at_once(workspaces: Store) -> None:
    used = Used(DAY, "extract", "m", 1, 10, 1)

    raised = together(*[lambda: add(workspaces, used)] * 8)

    assert (raised, between(workspaces, DAY, DAY)) == ([], [Used(DAY, "extract", "m", 8, 80, 8)])
