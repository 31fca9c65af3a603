"""The Duties: what the outbox owes of one kind, claimed for a while, and done, put off, given back or given up."""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from memsvc.clock import Clock
from memsvc.domain import Task, TaskKind
from memsvc.errors import LlmRefused, LlmUnavailable, Unavailable
from memsvc.store.database import Store

log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 300.0
_MODEL_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a worker keeps a task, and how often it is tried."""

    lease_s: float = 60.0
    max_attempts: int = 8

    def wait_s(self, attempts: int) -> float:
        """Seconds before the next attempt: doubled each time, up to five minutes, spread by ± 50 %."""
        return min(_LONGEST_WAIT_S, 2.0 ** (attempts - 1)) * random.uniform(0.5, 1.5)  # noqa: S311 (no secret)


class Duties:
    """Tasks of one kind. A crash gives a task back when its lease runs out."""

    def __init__(self, store: Store, clock: Clock, patience: Patience, kind: TaskKind) -> None:
        self._store = store
        self._clock = clock
        self._patience = patience
        self._kind = kind

    def claim(self, *, limit: int, retried: bool) -> list[Task]:
        """Take due tasks; those tried before are claimed apart."""
        with self._store.begin() as tx:
            now = self._clock.now()
            return tx.outbox.claim(self._kind, limit=limit, lease_s=self._patience.lease_s, now=now, retried=retried)

    def is_hopeless(self, task: Task) -> bool:
        """Whether a task was tried as often as it may be, and its worker ended each time without a word."""
        return task.attempts > self._patience.max_attempts

    def renew(self, tasks: Sequence[Task]) -> None:
        """Keep tasks in hand for longer."""
        with self._store.begin() as tx:
            tx.outbox.renew(tasks, lease_s=self._patience.lease_s, now=self._clock.now())

    def complete(self, tasks: Sequence[Task]) -> None:
        """End tasks that are done."""
        with self._store.begin() as tx:
            for task in tasks:
                tx.outbox.complete(task, now=self._clock.now())
        log.info("tasks done", extra={"kind": self._kind.value, "tasks": len(tasks)})

    def give_back(self, tasks: Sequence[Task]) -> None:
        """Let somebody else do what was not begun."""
        with self._store.begin() as tx:
            for task in tasks:
                tx.outbox.put_off(task, until=self._clock.now(), error=None, counts=False)

    def not_done(self, task: Task, exc: Exception) -> None:
        """An outage of what is below does not count against the task; anything else does, up to the last attempt."""
        now = self._clock.now()
        error = f"{type(exc).__name__}: {exc}"
        wait = timedelta(seconds=self._patience.wait_s(task.attempts))
        if isinstance(exc, LlmUnavailable):
            # Models are out for minutes rather than moments, and every task of theirs waits.
            wait = max(wait, timedelta(seconds=self._patience.wait_s(_MODEL_ATTEMPTS)))
        # What is refused for what it is will be refused again.
        is_outage = isinstance(exc, Unavailable) and not isinstance(exc, LlmRefused)
        if not is_outage and task.attempts >= self._patience.max_attempts:
            self.give_up(task, error)
        else:
            with self._store.begin() as tx:
                tx.outbox.put_off(task, until=now + wait, error=error, counts=not is_outage)
        extra = {"task": str(task.task_id), "attempt": task.attempts, "error": type(exc).__name__}
        log.warning("task put off" if is_outage else "task failed", extra=extra, exc_info=not is_outage)

    def give_up(self, task: Task, error: str = "The worker ended in the middle of every attempt.") -> None:
        """Let a task rest as failed."""
        with self._store.begin() as tx:
            tx.outbox.give_up(task, error=error, now=self._clock.now())
