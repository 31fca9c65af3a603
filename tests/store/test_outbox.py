"""What is owed: claimed with a lease, done only by the lease that did it, never lost and never held by two."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4, uuid5

import pytest

from memsvc.domain import Backlog, FailedTask, Owner, Task, TaskKind
from memsvc.store.database import Store
from tests.doubles import together
from tests.factories import OWNER, STARTED, draft, recorder, row_id

NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)
SUBJECT = row_id("s1")
LEASE_S = 60.0
AFTER_LEASE = NOW + timedelta(seconds=LEASE_S)
IN_AN_HOUR = NOW + timedelta(hours=1)
NOTHING = Backlog(due=0, failed=0, oldest_s=0.0)


def owe(
    store: Store,
    subject: UUID = SUBJECT,
    *,
    kind: TaskKind = TaskKind.INDEX,
    owner: Owner = OWNER,
    now: datetime = NOW,
) -> None:
    with store.begin() as tx:
        tx.outbox.owe(kind, owner, subject, now=now)


def claim(
    store: Store, kind: TaskKind = TaskKind.INDEX, *, now: datetime = NOW, limit: int = 10, retried: bool = False
) -> list[Task]:
    with store.begin() as tx:
        return tx.outbox.claim(kind, limit=limit, lease_s=LEASE_S, now=now, retried=retried)


def claim_one(store: Store, *, now: datetime = NOW, retried: bool = False) -> Task:
    (task,) = claim(store, now=now, retried=retried)
    return task


def complete(store: Store, task: Task, *, now: datetime = NOW) -> None:
    with store.begin() as tx:
        tx.outbox.complete(task, now=now)


def put_off(store: Store, task: Task, *, until: datetime = IN_AN_HOUR, counts: bool = True) -> None:
    with store.begin() as tx:
        tx.outbox.put_off(task, until=until, error="ValueError: no", counts=counts)


def give_up(store: Store, task: Task, *, now: datetime = NOW) -> None:
    with store.begin() as tx:
        tx.outbox.give_up(task, error="ValueError: no", now=now)


def failed(store: Store, *, workspace: str = "default", limit: int = 10) -> list[FailedTask]:
    with store.read() as tx:
        return tx.outbox.failed(workspace, limit=limit)


def backlog(store: Store, *, now: datetime = NOW) -> Backlog:
    with store.read() as tx:
        return tx.outbox.backlog(now=now)


def a_task(*, attempts: int = 1, version: int = 1, kind: TaskKind = TaskKind.INDEX) -> Task:
    return Task(uuid5(SUBJECT, kind.value), kind, OWNER, SUBJECT, version, attempts)


def without_lease(task: Task) -> Task:
    return replace(task, lease=None)


def test_owed_task_is_claimed_with_a_lease(store: Store) -> None:
    owe(store)

    task = claim_one(store)

    assert isinstance(task.lease, UUID)
    assert without_lease(task) == a_task()


def test_claimed_task_is_nobody_elses(store: Store) -> None:
    owe(store)
    claim_one(store)

    assert claim(store, now=AFTER_LEASE - timedelta(microseconds=1), retried=True) == []
    assert claim(store, now=AFTER_LEASE - timedelta(microseconds=1)) == []


def test_task_goes_to_another_when_its_lease_runs_out(store: Store) -> None:
    owe(store)
    first = claim_one(store)

    second = claim_one(store, now=AFTER_LEASE, retried=True)

    assert without_lease(second) == a_task(attempts=2)
    assert second.lease != first.lease


def test_oldest_tasks_are_claimed_first_and_no_more_than_asked(store: Store) -> None:
    for number in (2, 0, 1):
        owe(store, row_id(f"s{number}"), now=NOW - timedelta(minutes=10 - number))

    claimed = [claim(store, limit=2), claim(store, limit=2)]

    subjects = [{task.subject for task in tasks} for tasks in claimed]
    assert subjects == [{row_id("s0"), row_id("s1")}, {row_id("s2")}]


def test_tasks_tried_before_are_claimed_apart(store: Store) -> None:
    owe(store, row_id("tried"))
    put_off(store, claim_one(store), until=NOW)
    owe(store, row_id("fresh"))

    fresh, tried = claim(store), claim(store, retried=True)

    assert [task.subject for task in fresh] == [row_id("fresh")]
    assert [task.subject for task in tried] == [row_id("tried")]


def test_tasks_of_one_subject_are_claimed_by_their_kind(store: Store) -> None:
    for kind in TaskKind:
        owe(store, kind=kind)

    claimed = {kind: [without_lease(task) for task in claim(store, kind)] for kind in TaskKind}

    assert claimed == {kind: [a_task(kind=kind)] for kind in TaskKind}


def test_completed_task_leaves_that_of_another_kind(store: Store) -> None:
    for kind in TaskKind:
        owe(store, kind=kind)

    complete(store, claim_one(store))

    assert (claim(store, retried=True), backlog(store).due) == ([], 1)
    assert [task.kind for task in claim(store, TaskKind.EXTRACT)] == [TaskKind.EXTRACT]


def test_task_is_not_claimed_before_it_is_due(store: Store) -> None:
    owe(store, now=IN_AN_HOUR)

    assert claim(store, now=IN_AN_HOUR - timedelta(microseconds=1)) == []
    assert [without_lease(task) for task in claim(store, now=IN_AN_HOUR)] == [a_task()]


def test_renewed_lease_lasts_longer(store: Store) -> None:
    owe(store)
    task = claim_one(store)

    with store.begin() as tx:
        tx.outbox.renew([task], lease_s=LEASE_S, now=NOW + timedelta(seconds=30))

    assert claim(store, now=AFTER_LEASE, retried=True) == []
    assert len(claim(store, now=AFTER_LEASE + timedelta(seconds=30), retried=True)) == 1


def test_lost_lease_is_not_renewed(store: Store) -> None:
    owe(store)
    lost = claim_one(store)
    put_off(store, claim_one(store, now=AFTER_LEASE, retried=True), until=IN_AN_HOUR)

    with store.begin() as tx:
        tx.outbox.renew([lost], lease_s=7200, now=AFTER_LEASE)

    assert len(claim(store, now=IN_AN_HOUR, retried=True)) == 1


def test_completed_task_is_gone(store: Store) -> None:
    owe(store)
    task = claim_one(store)

    complete(store, task)

    assert backlog(store) == NOTHING


def test_task_owed_again_while_in_hand_stays_with_its_worker(store: Store) -> None:
    owe(store)
    claim_one(store)

    owe(store)

    assert claim(store) == []
    assert claim(store, retried=True) == []


def test_task_owed_again_while_in_hand_is_done_once_more(store: Store) -> None:
    owe(store)
    task = claim_one(store)
    owe(store)

    complete(store, task)
    again = claim_one(store)
    complete(store, again)

    assert without_lease(again) == a_task(version=2)
    assert backlog(store) == NOTHING


def test_task_completed_without_its_lease_is_done_once_more(store: Store) -> None:
    owe(store)
    lost = claim_one(store)
    kept = claim_one(store, now=AFTER_LEASE, retried=True)

    complete(store, lost, now=AFTER_LEASE)
    complete(store, kept, now=AFTER_LEASE)
    again = claim_one(store, now=AFTER_LEASE)

    assert without_lease(again) == a_task(version=2)


def test_task_completed_by_both_leases_is_owed_anew(store: Store) -> None:
    owe(store)
    lost = claim_one(store)
    kept = claim_one(store, now=AFTER_LEASE, retried=True)

    complete(store, kept, now=AFTER_LEASE)
    complete(store, lost, now=AFTER_LEASE)
    again = claim_one(store, now=AFTER_LEASE)

    assert without_lease(again) == a_task()


def test_task_put_off_waits_and_counts_its_attempt(store: Store) -> None:
    owe(store)
    task = claim_one(store)

    put_off(store, task, counts=True)

    assert claim(store, now=IN_AN_HOUR) == []
    assert claim(store, now=IN_AN_HOUR - timedelta(microseconds=1), retried=True) == []
    assert without_lease(claim_one(store, now=IN_AN_HOUR, retried=True)) == a_task(attempts=2)


def test_task_put_off_without_counting_is_as_if_untried(store: Store) -> None:
    owe(store)
    task = claim_one(store)

    put_off(store, task, counts=False)

    assert claim(store, now=IN_AN_HOUR, retried=True) == []
    assert without_lease(claim_one(store, now=IN_AN_HOUR)) == a_task(attempts=1)


def test_task_owed_again_while_it_waits_is_due_at_once_and_fresh(store: Store) -> None:
    owe(store)
    put_off(store, claim_one(store))

    owe(store, now=NOW)

    assert without_lease(claim_one(store, now=NOW)) == a_task(version=2)


@pytest.mark.parametrize("late", [put_off, give_up, complete])
def test_lost_lease_changes_nothing_of_the_one_that_holds(store: Store, late: Callable[[Store, Task], None]) -> None:
    owe(store)
    lost = claim_one(store)
    kept = claim_one(store, now=AFTER_LEASE, retried=True)

    late(store, lost)

    assert claim(store, now=AFTER_LEASE) == []
    assert claim(store, now=AFTER_LEASE, retried=True) == []
    assert failed(store) == []
    put_off(store, kept, until=IN_AN_HOUR)
    assert backlog(store).due == 1


def test_stale_put_off_leaves_a_finished_task_alone(store: Store) -> None:
    owe(store)
    lost = claim_one(store)
    complete(store, claim_one(store, now=AFTER_LEASE, retried=True))

    put_off(store, lost)

    assert backlog(store) == NOTHING


def test_given_up_task_rests_with_its_error(store: Store) -> None:
    recorded = recorder(store)
    recorded.record(OWNER, "s1", [draft("hello")], started_at=STARTED)
    task = claim_one(store, now=datetime.now(UTC))

    give_up(store, task)

    assert failed(store) == [
        FailedTask(task.task_id, TaskKind.INDEX, "ana", "s1", attempts=1, error="ValueError: no", failed_at=NOW)
    ]
    assert claim(store, now=datetime.now(UTC) + timedelta(days=9), retried=True) == []


def test_failed_task_of_a_deleted_session_is_listed_without_its_name(store: Store) -> None:
    owe(store)
    task = claim_one(store)

    give_up(store, task)

    assert failed(store) == [
        FailedTask(task.task_id, TaskKind.INDEX, "ana", None, attempts=1, error="ValueError: no", failed_at=NOW)
    ]


def test_failed_tasks_are_listed_newest_first_for_their_workspace_alone(store: Store) -> None:
    for number in range(3):
        owe(store, row_id(f"s{number}"))
        give_up(store, claim_one(store), now=NOW + timedelta(seconds=number))
    owe(store, row_id("theirs"), owner=Owner("theirs", "ana"))
    give_up(store, claim_one(store))

    listed = failed(store, limit=2)

    assert [task.task_id for task in listed] == [uuid5(row_id("s2"), "index"), uuid5(row_id("s1"), "index")]
    assert [task.task_id for task in failed(store, workspace="theirs")] == [uuid5(row_id("theirs"), "index")]


def test_failed_task_that_is_owed_again_is_due(store: Store) -> None:
    owe(store)
    give_up(store, claim_one(store))

    owe(store)

    assert failed(store) == []
    assert without_lease(claim_one(store)) == a_task(version=2)


def test_task_owed_again_while_its_last_attempt_fails_is_due_all_the_same(store: Store) -> None:
    owe(store)
    task = claim_one(store)
    owe(store)

    give_up(store, task)

    assert failed(store) == []
    assert without_lease(claim_one(store)) == a_task(version=2)


def test_task_owed_again_while_an_attempt_fails_is_due_at_once(store: Store) -> None:
    owe(store)
    task = claim_one(store)
    owe(store)

    put_off(store, task, until=IN_AN_HOUR)

    assert without_lease(claim_one(store)) == a_task(version=2)


def test_retried_task_is_due_and_fresh(store: Store) -> None:
    owe(store)
    task = claim_one(store)
    give_up(store, task)

    with store.begin() as tx:
        retried = tx.outbox.retry("default", task.task_id, now=NOW)

    assert retried is True
    assert failed(store) == []
    assert without_lease(claim_one(store)) == a_task()


def test_task_that_has_not_failed_is_not_retried(store: Store) -> None:
    owe(store)

    with store.begin() as tx:
        retried = tx.outbox.retry("default", uuid5(SUBJECT, "index"), now=NOW)

    assert retried is False


@pytest.mark.parametrize(
    ("workspace", "task_id"),
    [
        pytest.param("theirs", uuid5(SUBJECT, "index"), id="of-another-workspace"),
        pytest.param("default", uuid4(), id="of-nobody"),
    ],
)
def test_task_that_is_not_the_callers_is_not_found(store: Store, workspace: str, task_id: UUID) -> None:
    owe(store)
    give_up(store, claim_one(store))

    with store.begin() as tx:
        retried = tx.outbox.retry(workspace, task_id, now=NOW)

    assert retried is None
    assert len(failed(store)) == 1


def test_backlog_counts_what_is_owed_and_how_long(store: Store) -> None:
    owe(store, row_id("given-up"), now=NOW - timedelta(hours=9))
    give_up(store, claim_one(store))
    owe(store, row_id("in-hand"), now=NOW - timedelta(minutes=2))
    claim_one(store)
    owe(store, row_id("waiting"), now=NOW - timedelta(minutes=1))

    assert backlog(store) == Backlog(due=2, failed=1, oldest_s=120.0)


def test_backlog_of_the_future_has_no_age(store: Store) -> None:
    owe(store, now=IN_AN_HOUR)

    assert backlog(store) == Backlog(due=1, failed=0, oldest_s=0.0)


def test_renewed_version_makes_what_is_in_hand_be_done_once_more(store: Store) -> None:
    owe(store)
    task = claim_one(store)

    with store.begin() as tx:
        tx.outbox.renew_versions()
    complete(store, task)

    assert without_lease(claim_one(store)) == a_task(version=2)


def test_workers_at_once_never_claim_the_same_task(store: Store) -> None:
    subjects = [row_id(f"s{number}") for number in range(200)]
    with store.begin() as tx:
        for subject in subjects:
            tx.outbox.owe(TaskKind.INDEX, OWNER, subject, now=NOW)
    claimed: list[list[Task]] = []
    lock = threading.Lock()

    def work() -> None:
        while tasks := claim(store, limit=7):
            with lock:
                claimed.append(tasks)

    raised = together(*[work] * 8)

    assert raised == []
    assert max(len(tasks) for tasks in claimed) <= 7
    assert sorted(task.subject for tasks in claimed for task in tasks) == sorted(subjects)


def test_the_same_task_owed_first_by_many_at_once_is_one_task(store: Store) -> None:
    subjects = [row_id(f"s{number}") for number in range(25)]

    def owe_all() -> None:
        for subject in subjects:
            owe(store, subject)

    raised = together(*[owe_all] * 8)

    claimed = claim(store, limit=100)
    assert raised == []
    assert sorted(task.subject for task in claimed) == sorted(subjects)
    assert {task.version for task in claimed} == {8}
