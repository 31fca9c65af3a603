"""What is owed: one row a kind and subject, claimed with a lease, done only by the lease that did it."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

from sqlalchemy import ColumnElement, Connection, Row, Select, case, delete, func, select, update

from memsvc.domain import Backlog, FailedTask, Owner, Task, TaskKind
from memsvc.store.dialects import upsert
from memsvc.store.tables import outbox, sessions


class Outbox:
    """Statements about tasks. Claims cross tenants by nature; each task carries its owner."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def owe(
        self, kind: TaskKind, owner: Owner, subject: UUID, *, now: datetime, after: timedelta = timedelta()
    ) -> None:
        """Owe a task. Owed again while a worker has it, it stays that worker's, and is done once more after.

        A task that waits for its next attempt, or had failed, is due at once, or `after` a while: its subject changed.
        """
        row = {
            "id": _task_id(kind, subject),
            "kind": kind.value,
            "workspace": owner.workspace,
            "user_id": owner.user_id,
            "subject": subject,
            "version": 1,
            "attempts": 0,
            "due_at": now + after,
            "owed_at": now,
        }
        insert = upsert(self._connection, outbox).values(row)
        self._connection.execute(
            insert.on_conflict_do_update(
                index_elements=["id"],
                set_={
                    "version": outbox.c.version + 1,
                    "attempts": 0,
                    "due_at": case((outbox.c.lease.is_(None), now + after), else_=outbox.c.due_at),
                    "failed_at": None,
                    "error": None,
                },
            )
        )

    def owe_all(self, kind: TaskKind, subjects: Iterable[tuple[Owner, UUID]], *, now: datetime) -> None:
        """Owe a task for each of these subjects."""
        for owner, subject in sorted(subjects, key=lambda owed: _task_id(kind, owed[1])):
            self.owe(kind, owner, subject, now=now)

    def claim(self, kind: TaskKind, *, limit: int, lease_s: float, now: datetime, retried: bool = False) -> list[Task]:
        """Take due tasks of a kind for `lease_s` seconds, in one statement; a crash gives them back in the end.

        Tasks tried before (`retried`) are claimed apart, so that one which kills its worker takes no other with it.
        """
        tried = outbox.c.attempts > 0 if retried else outbox.c.attempts == 0
        due: Select[Any] = (
            select(outbox.c.id)
            .where(outbox.c.kind == kind.value, outbox.c.failed_at.is_(None), outbox.c.due_at <= now, tried)
            .order_by(outbox.c.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        # Planned as a part of the UPDATE, the SELECT could be run again for other rows, past its limit.
        chosen = due.cte("chosen").prefix_with("MATERIALIZED", dialect="postgresql")
        statement = (
            update(outbox)
            .where(outbox.c.id.in_(select(chosen.c.id)))
            .values(lease=uuid4(), due_at=now + timedelta(seconds=lease_s), attempts=outbox.c.attempts + 1)
            .returning(outbox)
        )
        # By id: whoever writes to several locks them in this order.
        return sorted(map(_task, self._connection.execute(statement)), key=lambda task: task.task_id)

    def renew(self, tasks: Sequence[Task], *, lease_s: float, now: datetime) -> None:
        """Lengthen the leases of tasks in hand."""
        ids, leases = [task.task_id for task in tasks], {task.lease for task in tasks}
        held = outbox.c.id.in_(ids), outbox.c.lease.in_(leases)
        self._lock(*held)
        self._connection.execute(update(outbox).where(*held).values(due_at=now + timedelta(seconds=lease_s)))

    def complete(self, task: Task, *, now: datetime) -> None:
        """End a task that is done. If it was owed again meanwhile, or its lease was lost, it is due again."""
        mine = outbox.c.id == task.task_id, outbox.c.lease == task.lease
        done = delete(outbox).where(*mine, outbox.c.version == task.version)
        if self._connection.execute(done).rowcount == 1:
            return
        again = update(outbox).where(*mine).values(lease=None, due_at=now, attempts=0)
        if self._connection.execute(again).rowcount == 0:
            # The lease was lost while the work went on, so that two workers may have written by turns.
            self.owe(task.kind, task.owner, task.subject, now=now)

    def put_off(self, task: Task, *, until: datetime, error: str | None, counts: bool) -> None:
        """Give a task back until later; `counts` says whether the attempt counts against it."""
        attempts = task.attempts if counts else task.attempts - 1
        self._release(task, {"due_at": until, "error": error, "attempts": attempts})

    def give_up(self, task: Task, *, error: str, now: datetime) -> None:
        """Let a task rest as failed, with its error."""
        self._release(task, {"failed_at": now, "error": error})

    def _release(self, task: Task, values: dict[str, Any]) -> None:
        """End the lease. A task that was owed again meanwhile has a new subject before it: it is simply due."""
        mine = outbox.c.id == task.task_id, outbox.c.lease == task.lease
        same = update(outbox).where(*mine, outbox.c.version == task.version)
        if self._connection.execute(same.values(lease=None, **values)).rowcount == 0:
            self._connection.execute(
                update(outbox).where(*mine).values(lease=None, due_at=outbox.c.owed_at, attempts=0)
            )

    def failed(self, workspace: str, *, limit: int) -> list[FailedTask]:
        """The workspace's failed tasks, newest first."""
        statement = (
            select(outbox, sessions.c.session_id)
            .join(sessions, sessions.c.id == outbox.c.subject, isouter=True)
            .where(outbox.c.workspace == workspace, outbox.c.failed_at.is_not(None))
            .order_by(outbox.c.failed_at.desc(), outbox.c.id)
            .limit(limit)
        )
        return [_failed(row) for row in self._connection.execute(statement)]

    def retry(self, workspace: str, task_id: UUID, *, now: datetime) -> bool | None:
        """Make a failed task due again; None when the workspace has no such task, False when it has not failed."""
        mine = outbox.c.id == task_id, outbox.c.workspace == workspace
        known = self._connection.execute(select(outbox.c.failed_at).where(*mine)).one_or_none()
        if known is None:
            return None
        statement = update(outbox).where(*mine, outbox.c.failed_at.is_not(None))
        values = {"failed_at": None, "error": None, "attempts": 0, "due_at": now}
        return self._connection.execute(statement.values(values)).rowcount == 1

    def renew_versions(self) -> None:
        """Make what is owed the index be done once more after its worker is through (a rebuild has swapped it)."""
        of_index = outbox.c.kind == TaskKind.INDEX.value
        self._lock(of_index)
        self._connection.execute(update(outbox).where(of_index).values(version=outbox.c.version + 1))

    def backlog(self, *, now: datetime) -> Backlog:
        """How much is owed, over all workspaces, and how long the oldest has waited."""
        waiting = case((outbox.c.failed_at.is_(None), outbox.c.owed_at))
        statement = select(func.count(waiting), func.count(outbox.c.failed_at), func.min(waiting))
        due, failed, oldest = self._connection.execute(statement).one()
        age = (now - oldest).total_seconds() if oldest else 0.0
        return Backlog(due=due, failed=failed, oldest_s=max(0.0, age))

    def _lock(self, *conditions: ColumnElement[bool]) -> None:
        """Lock tasks of one kind in the order in which everybody does (PostgreSQL)."""
        statement = select(outbox.c.id).where(*conditions).order_by(outbox.c.id)
        self._connection.execute(statement.with_for_update())


def _task_id(kind: TaskKind, subject: UUID) -> UUID:
    return uuid5(subject, kind.value)


def _task(row: Row[Any]) -> Task:
    return Task(
        task_id=row.id,
        kind=TaskKind(row.kind),
        owner=Owner(row.workspace, row.user_id),
        subject=row.subject,
        version=row.version,
        attempts=row.attempts,
        lease=row.lease,
    )


def _failed(row: Row[Any]) -> FailedTask:
    return FailedTask(
        task_id=row.id,
        kind=TaskKind(row.kind),
        user_id=row.user_id,
        session_id=row.session_id,
        attempts=row.attempts,
        error=row.error or "",
        failed_at=row.failed_at,
    )
