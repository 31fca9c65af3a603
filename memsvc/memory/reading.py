"""The Reader: sessions, users and failed tasks as they are on disk."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from memsvc.clock import Clock
from memsvc.domain import Backlog, FailedTask, Owner, Session, Status, Turn
from memsvc.errors import SessionNotFound, TaskNotFailed, TaskNotFound
from memsvc.facts import Fact
from memsvc.intervals import AsOf
from memsvc.store.database import Store
from memsvc.store.facts import FactFilter


@dataclass(frozen=True, slots=True)
class SessionOnDisk:
    """A session with its turns and how far it has come."""

    session: Session
    turns: tuple[Turn, ...]
    status: Status
    facts: tuple[Fact, ...] = ()


class Reader:
    """Reads what the caller owns, and nothing else."""

    def __init__(self, store: Store, clock: Clock, *, has_llm: bool = False) -> None:
        self._store = store
        self._clock = clock
        self._has_llm = has_llm

    def session(self, owner: Owner, session_id: str) -> SessionOnDisk:
        """A whole session; raises SessionNotFound."""
        with self._store.read() as tx:
            session = tx.sessions.find(owner, session_id)
            if session is None:
                raise SessionNotFound(owner.user_id, session_id)
            turns = tx.sessions.turns(owner, session.row_id)
            facts = tx.facts.of_session(owner, session.row_id)
            status = self._told(tx.sessions.status(owner, session.row_id))
            return SessionOnDisk(session, tuple(turns), status, tuple(facts))

    def status(self, owner: Owner, session_id: str) -> Status:
        """How far a session has come; raises SessionNotFound."""
        with self._store.read() as tx:
            session = tx.sessions.find(owner, session_id)
            if session is None:
                raise SessionNotFound(owner.user_id, session_id)
            return self._told(tx.sessions.status(owner, session.row_id))

    def sessions(
        self, owner: Owner, *, before: tuple[datetime, str] | None, limit: int
    ) -> list[tuple[Session, Status]]:
        """The user's sessions, newest first, after a (started_at, session_id); none for a user nobody knows."""
        with self._store.read() as tx:
            found = tx.sessions.newest(owner, before=before, limit=limit)
        return [(session, self._told(status)) for session, status in found]

    def _told(self, status: Status) -> Status:
        """The status as it is told: without a language model, nothing is extracted, whatever the rules draw."""
        return status if self._has_llm else replace(status, extracted="off", degraded=None)

    def facts(
        self,
        owner: Owner,
        as_of: AsOf,
        *,
        kind: str | None = None,
        speaker: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        superseded: bool = False,
        after: tuple[datetime, UUID] | None = None,
        limit: int,
    ) -> list[Fact]:
        """The facts that hold at the two clocks, by when they became valid, after a (valid_at, id)."""
        now = self._clock.now()
        wanted = FactFilter(
            as_of.valid or now, as_of.recorded, kind, speaker, start=start, end=end, superseded=superseded
        )
        with self._store.read() as tx:
            return tx.facts.page(owner, wanted, after=after, limit=limit)

    def users(self, workspace: str, *, after: str | None, limit: int) -> list[tuple[str, datetime]]:
        """The workspace's users by id, each with the time it was first seen."""
        with self._store.read() as tx:
            return tx.workspaces.users(workspace, after=after, limit=limit)

    def failed_tasks(self, workspace: str, *, limit: int) -> list[FailedTask]:
        """The workspace's failed tasks, newest first."""
        with self._store.read() as tx:
            return tx.outbox.failed(workspace, limit=limit)

    def retry(self, workspace: str, task_id: UUID) -> None:
        """Make a failed task due again; raises TaskNotFound, TaskNotFailed."""
        with self._store.begin() as tx:
            retried = tx.outbox.retry(workspace, task_id, now=self._clock.now())
        if retried is None:
            raise TaskNotFound(str(task_id))
        if not retried:
            raise TaskNotFailed(str(task_id))

    def backlog(self) -> Backlog:
        """What is owed, over all workspaces; it also says whether the database answers."""
        with self._store.read() as tx:
            return tx.outbox.backlog(now=self._clock.now())
