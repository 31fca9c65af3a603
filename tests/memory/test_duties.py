"""Tasks of one kind: claimed for a while, done, put off, given back or given up, on either database."""

from dataclasses import replace

import pytest

from memsvc.domain import Backlog, Task, TaskKind
from memsvc.errors import (
    IndexUnavailable,
    LlmAnswerCutOff,
    LlmAnswerInvalid,
    LlmPending,
    LlmRefused,
    LlmUnavailable,
    StoreBusy,
)
from memsvc.memory.duties import Duties, Patience
from memsvc.store.database import Store
from tests.doubles import FixedClock
from tests.factories import OWNER, row_id

LEASE_S = 60.0
ATTEMPTS = 3
LONGEST_WAIT_S = 450.0
OUTAGES = [LlmUnavailable("It is down."), LlmPending(), IndexUnavailable("It is down."), StoreBusy("It is locked.")]
FAILURES = [
    LlmAnswerInvalid("it is empty"),
    LlmAnswerCutOff("it ends"),
    LlmRefused("It refuses."),
    ValueError("a defect"),
]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def duties(store: Store, clock: FixedClock) -> Duties:
    return Duties(store, clock, Patience(LEASE_S, ATTEMPTS), TaskKind.EXTRACT)


def owe(store: Store, clock: FixedClock, *names: str, kind: TaskKind = TaskKind.EXTRACT) -> None:
    with store.begin() as tx:
        tx.workspaces.ensure_user(OWNER, now=clock.now())
        for name in names:
            tx.outbox.owe(kind, OWNER, row_id(name), now=clock.now())


def claimed(duties: Duties, *, retried: bool = False) -> list[Task]:
    return duties.claim(limit=10, retried=retried)


def backlog(store: Store, clock: FixedClock) -> Backlog:
    with store.read() as tx:
        return tx.outbox.backlog(now=clock.now())


def errors(store: Store) -> list[tuple[int, str]]:
    """The failed tasks' attempts and errors."""
    with store.read() as tx:
        return [(task.attempts, task.error) for task in tx.outbox.failed(OWNER.workspace, limit=10)]


def tried(duties: Duties, clock: FixedClock, exc: Exception) -> Task | None:
    """Claim the one task, and let it fail; None when there is none to claim."""
    tasks = [*claimed(duties, retried=True), *claimed(duties)]
    for task in tasks:
        duties.not_done(task, exc)
    clock.pass_time(seconds=LONGEST_WAIT_S)
    return tasks[0] if tasks else None


def test_task_is_claimed_once_and_by_its_kind(store: Store, clock: FixedClock, duties: Duties) -> None:
    owe(store, clock, "a")
    owe(store, clock, "b", kind=TaskKind.INDEX)

    first, second = claimed(duties), claimed(duties)

    assert [(task.kind, task.subject, task.attempts) for task in first] == [(TaskKind.EXTRACT, row_id("a"), 1)]
    assert second == []


def test_task_goes_to_another_when_its_lease_has_run_out(store: Store, clock: FixedClock, duties: Duties) -> None:
    owe(store, clock, "a")
    claimed(duties)

    clock.pass_time(seconds=LEASE_S - 1)
    early = claimed(duties, retried=True)
    clock.pass_time(seconds=1)
    late = claimed(duties, retried=True)

    assert early == []
    assert [(task.subject, task.attempts) for task in late] == [(row_id("a"), 2)]


def test_renewed_lease_lasts_from_then_on(store: Store, clock: FixedClock, duties: Duties) -> None:
    owe(store, clock, "a")
    tasks = claimed(duties)

    clock.pass_time(seconds=LEASE_S - 1)
    duties.renew(tasks)
    clock.pass_time(seconds=LEASE_S - 1)

    assert claimed(duties, retried=True) == []


def test_lease_that_is_lost_cannot_be_renewed(store: Store, clock: FixedClock, duties: Duties) -> None:
    owe(store, clock, "a")
    lost = claimed(duties)
    clock.pass_time(seconds=LEASE_S)
    (held,) = claimed(duties, retried=True)

    clock.pass_time(seconds=LEASE_S - 1)
    duties.renew(lost)
    clock.pass_time(seconds=1)

    assert [task.subject for task in claimed(duties, retried=True)] == [held.subject]


def test_done_task_is_gone(store: Store, clock: FixedClock, duties: Duties) -> None:
    owe(store, clock, "a", "b")

    duties.complete(claimed(duties))

    assert backlog(store, clock) == Backlog(due=0, failed=0, oldest_s=0.0)


def test_task_that_was_owed_again_meanwhile_is_done_once_more(store: Store, clock: FixedClock, duties: Duties) -> None:
    owe(store, clock, "a")
    tasks = claimed(duties)
    owe(store, clock, "a")

    duties.complete(tasks)

    assert [(task.subject, task.attempts) for task in claimed(duties)] == [(row_id("a"), 1)]


def test_given_back_task_is_due_at_once_and_was_not_tried(store: Store, clock: FixedClock, duties: Duties) -> None:
    owe(store, clock, "a")

    duties.give_back(claimed(duties))

    assert [task.attempts for task in claimed(duties)] == [1]


@pytest.mark.parametrize("exc", OUTAGES, ids=lambda exc: type(exc).__name__)
def test_outage_never_makes_a_task_fail(store: Store, clock: FixedClock, duties: Duties, exc: Exception) -> None:
    owe(store, clock, "a")

    for _ in range(3 * ATTEMPTS):
        tried(duties, clock, exc)

    assert errors(store) == []
    assert [task.attempts for task in claimed(duties)] == [1]


@pytest.mark.parametrize("exc", FAILURES, ids=lambda exc: type(exc).__name__)
def test_failure_counts_until_the_last_attempt(store: Store, clock: FixedClock, duties: Duties, exc: Exception) -> None:
    owe(store, clock, "a")

    made = [tried(duties, clock, exc) for _ in range(ATTEMPTS + 2)]

    assert [task.attempts if task else None for task in made] == [1, 2, 3, None, None]
    assert errors(store) == [(ATTEMPTS, f"{type(exc).__name__}: {exc}")]
    assert backlog(store, clock) == Backlog(due=0, failed=1, oldest_s=0.0)


def test_task_that_is_put_off_is_not_due_before_its_wait_is_over(
    store: Store, clock: FixedClock, duties: Duties
) -> None:
    owe(store, clock, "a")
    (task,) = claimed(duties)

    duties.not_done(task, ValueError("a defect"))

    assert claimed(duties, retried=True) == []


def test_task_whose_worker_ended_without_a_word_each_time_is_hopeless(
    store: Store, clock: FixedClock, duties: Duties
) -> None:
    owe(store, clock, "a")
    tasks = claimed(duties)
    while not duties.is_hopeless(tasks[0]):
        clock.pass_time(seconds=LEASE_S)
        tasks = claimed(duties, retried=True)

    duties.give_up(tasks[0])

    assert tasks[0].attempts == ATTEMPTS + 1
    assert errors(store) == [(ATTEMPTS + 1, "The worker ended in the middle of every attempt.")]


def test_failed_task_is_due_again_when_it_is_owed_again(store: Store, clock: FixedClock, duties: Duties) -> None:
    owe(store, clock, "a")
    (task,) = claimed(duties)
    duties.give_up(task, "It will not do.")

    owe(store, clock, "a")

    assert errors(store) == []
    assert [replace(task, lease=None) for task in claimed(duties)] == [replace(task, lease=None, version=2)]


@pytest.mark.parametrize(("attempts", "least", "most"), [(1, 0.5, 1.5), (2, 1, 3), (5, 8, 24), (30, 150, 450)], ids=str)
def test_wait_doubles_up_to_five_minutes(attempts: int, least: float, most: float) -> None:
    waits = [Patience().wait_s(attempts) for _ in range(100)]

    assert least <= min(waits) <= max(waits) <= most
    assert len(set(waits)) > 1
