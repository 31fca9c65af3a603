"""The Indexer: what the outbox owes becomes points; a rebuild fills a new collection from the store."""

import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import numpy as np

from memsvc.clock import Clock
from memsvc.domain import Owner, Round, Shape, Task, TaskKind
from memsvc.errors import IndexReplaced, Unavailable
from memsvc.index.base import Index, Point, Rebuild
from memsvc.index.lexical import Lexicon
from memsvc.inference.encoders import Encoder, Ids
from memsvc.memory.dating import dated, events_of
from memsvc.memory.dividing import keys_of
from memsvc.store.database import Store
from memsvc.store.rounds import Made

log = logging.getLogger(__name__)

TASKS_A_CLAIM = 32
ROUNDS_A_SLICE = 128
CHARACTERS_A_SLICE = 200_000
_SPECIAL_TOKENS = 2
_LONGEST_WAIT_S = 300.0
_CLOCK_SKEW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a worker keeps a task, and how often it is tried."""

    lease_s: float = 60.0
    max_attempts: int = 8

    def wait_s(self, attempts: int) -> float:
        """Seconds before the next attempt: doubled each time, up to five minutes, spread by ± 50 %."""
        return min(_LONGEST_WAIT_S, 2.0 ** (attempts - 1)) * random.uniform(0.5, 1.5)  # noqa: S311 (no secret)


class Projector:
    """Makes the points of rounds."""

    def __init__(self, encoder: Encoder, lexicon: Lexicon) -> None:
        self._encoder = encoder
        self._lexicon = lexicon

    @property
    def shape(self) -> Shape:
        """What an index filled by it is filled with."""
        return shape_of(self._encoder)

    def project(self, rounds: Sequence[tuple[Owner, Round]]) -> tuple[list[Point], list[Made]]:
        """The points of these rounds and what was made of each; all their keys go through the encoder together.

        Their turns are dated on the way.
        """
        rounds = [(owner, dated(round_)) for owner, round_ in rounds]
        limit = self._encoder.max_tokens - _SPECIAL_TOKENS
        keys = [
            (owner, key)
            for owner, round_ in rounds
            for key in keys_of(round_, count_tokens=self._encoder.count_tokens, max_tokens=limit)
        ]
        encoded = self._encoder.encode([key.text for _, key in keys], contexts=[key.context for _, key in keys])
        points = [
            Point(
                key,
                owner,
                vectors.dense,
                self._lexicon.document(f"{key.context}\n{key.text}"),
                vectors.tokens,
                events_of(key.turn),
            )
            for (owner, key), vectors in zip(keys, encoded, strict=True)
        ]
        ids: dict[UUID, dict[int, list[Ids]]] = {}
        for (_, key), vectors in zip(keys, encoded, strict=True):
            ids.setdefault(key.round.row_id, {}).setdefault(key.position, []).append(vectors.token_ids)
        counted = Counter(key.round.row_id for _, key in keys)
        return points, [
            Made(owner, round_, counted[round_.row_id], _terms(ids.get(round_.row_id, {}).values()))
            for owner, round_ in rounds
        ]


def shape_of(encoder: Encoder) -> Shape:
    """What an index is filled with by an encoder."""
    return Shape(encoder.name, encoder.dimension, encoder.token_dimension, variant=encoder.variant)


def _terms(turns: Iterable[Sequence[Ids]]) -> bytes:
    """The distinct token ids of each turn, one after the other, as 4 bytes each."""
    return b"".join(np.unique(np.concatenate(windows)).astype("<u4").tobytes() for windows in turns)


class _Stopped(Exception):
    """The worker shall end; what it has in hand goes back."""


class Indexer:
    """Does what the outbox owes the index. Every step may be repeated, by this process or another."""

    def __init__(
        self,
        store: Store,
        index: Index,
        projector: Projector,
        clock: Clock,
        patience: Patience,
    ) -> None:
        self._store = store
        self._index = index
        self._projector = projector
        self._clock = clock
        self._patience = patience

    def drain(self, *, stopping: Callable[[], bool] = lambda: False) -> int:
        """Do what is due, one claim of tasks; how many were claimed.

        A task that was tried before is taken alone, so that one which kills its worker takes no other with it.
        Raises IndexReplaced when a rebuild with another encoder has taken this worker's index away.
        """
        claimed = 0
        for retried in (True, False):
            tasks = self._claim(retried=retried)
            claimed += len(tasks)
            if retried and tasks and tasks[0].attempts > self._patience.max_attempts:
                self._give_up(tasks[0], "The worker ended in the middle of every attempt.")
            elif tasks:
                self._do_together(tasks, stopping)
        return claimed

    def _claim(self, *, retried: bool) -> list[Task]:
        limit = 1 if retried else TASKS_A_CLAIM
        with self._store.begin() as tx:
            now = self._clock.now()
            return tx.outbox.claim(limit=limit, lease_s=self._patience.lease_s, now=now, retried=retried)

    def _do_together(self, tasks: list[Task], stopping: Callable[[], bool]) -> None:
        """All tasks in shared batches; if that fails, each by itself, so that one failure ends no other."""
        try:
            self._do(tasks, stopping)
        except IndexReplaced:
            self._give_back(tasks)
            raise
        except _Stopped:
            self._give_back(tasks)
        except Exception as exc:  # noqa: BLE001 (a task may fail in any way; its row keeps what happened)
            if len(tasks) == 1:
                self._not_done(tasks[0], exc)
                return
            for number, task in enumerate(tasks):
                try:
                    self._do_together([task], stopping)
                except IndexReplaced:
                    self._give_back(tasks[number + 1 :])
                    raise

    def _do(self, tasks: list[Task], stopping: Callable[[], bool]) -> None:
        subjects = [task.subject for task in tasks]
        while True:
            if stopping():
                raise _Stopped
            with self._store.read() as tx:
                self._require_live(tx.rounds.live_index())
                rounds = tx.rounds.unindexed(subjects, limit=ROUNDS_A_SLICE)
            if not rounds:
                break
            self._put(_slice(rounds))
            with self._store.begin() as tx:
                tx.outbox.renew(tasks, lease_s=self._patience.lease_s, now=self._clock.now())
        self._finish(tasks)

    def _put(self, rounds: Sequence[tuple[Owner, Round]]) -> None:
        points, made = self._projector.project(rounds)
        self._index.put(points)
        with self._store.begin() as tx:
            self._require_live(tx.rounds.live_index())
            tx.rounds.mark_indexed(made, now=self._clock.now())

    def _finish(self, tasks: Sequence[Task]) -> None:
        """Drop the points of sessions that are gone, also of those that went while they were being put."""
        with self._store.read() as tx:
            alive = tx.sessions.alive([task.subject for task in tasks])
        for task in tasks:
            if task.subject not in alive:
                self._index.drop(task.owner, task.subject)
        with self._store.begin() as tx:
            for task in tasks:
                tx.outbox.complete(task, now=self._clock.now())
        log.info("tasks done", extra={"tasks": len(tasks)})

    def _not_done(self, task: Task, exc: Exception) -> None:
        """An outage of what is below does not count against the task; anything else does, up to the last attempt."""
        now = self._clock.now()
        error = f"{type(exc).__name__}: {exc}"
        wait = timedelta(seconds=self._patience.wait_s(task.attempts))
        is_outage = isinstance(exc, Unavailable)
        if not is_outage and task.attempts >= self._patience.max_attempts:
            self._give_up(task, error)
        else:
            with self._store.begin() as tx:
                tx.outbox.put_off(task, until=now + wait, error=error, counts=not is_outage)
        extra = {"task": str(task.task_id), "attempt": task.attempts, "error": type(exc).__name__}
        log.warning("task put off" if is_outage else "task failed", extra=extra, exc_info=not is_outage)

    def _give_up(self, task: Task, error: str) -> None:
        with self._store.begin() as tx:
            tx.outbox.give_up(task, error=error, now=self._clock.now())

    def _give_back(self, tasks: Sequence[Task]) -> None:
        with self._store.begin() as tx:
            for task in tasks:
                tx.outbox.put_off(task, until=self._clock.now(), error=None, counts=False)

    def _require_live(self, live: Shape | None) -> None:
        if live is not None and live != self._projector.shape:
            raise IndexReplaced(str(live))


class Rebuilder:
    """Fills a new collection from the store and swaps it in; recording and recall go on meanwhile."""

    def __init__(self, store: Store, index: Index, projector: Projector, clock: Clock) -> None:
        self._store = store
        self._index = index
        self._projector = projector
        self._clock = clock

    def rebuild(self, *, progress: Callable[[int, int], None] = lambda _done, _total: None) -> int:
        """How many rounds the new collection holds. On any failure the old collection stays live."""
        started = self._clock.now() - _CLOCK_SKEW
        fresh = self._index.rebuilt()
        try:
            sessions, rounds = self._fill(fresh, progress)
        except BaseException:
            fresh.discard()
            raise
        with self._store.read() as tx:
            live = tx.rounds.live_index()
        fresh.swap(replaced=live if live != self._projector.shape else None)
        self._catch_up(started, sessions)
        return rounds

    def _fill(self, fresh: Rebuild, progress: Callable[[int, int], None]) -> tuple[dict[UUID, Owner], int]:
        """Put every round; the sessions they belong to, and how many rounds there were."""
        sessions: dict[UUID, Owner] = {}
        done, after = 0, None
        while True:
            with self._store.read() as tx:
                total = tx.rounds.counts()[0]
                page = tx.rounds.page(after=after, limit=ROUNDS_A_SLICE)
            if not page:
                return sessions, done
            points, made = self._projector.project(page)
            fresh.put(points)
            with self._store.begin() as tx:
                tx.rounds.set_made(made)
            sessions |= {round_.session_row: owner for owner, round_ in page}
            done, after = done + len(page), page[-1][1].row_id
            progress(done, max(done, total))

    def _catch_up(self, started: datetime, sessions: dict[UUID, Owner]) -> None:
        """What was recorded, indexed or deleted while the collection was filled happens to it too."""
        with self._store.begin() as tx:
            now = self._clock.now()
            tx.rounds.set_live_index(self._projector.shape, now=now)
            tx.outbox.renew_versions()
            for owner, session_row in tx.rounds.owed_since(started):
                tx.outbox.owe(TaskKind.INDEX, owner, session_row, now=now)
            alive = tx.sessions.alive(list(sessions))
        for session_row in sessions.keys() - alive:
            self._index.drop(sessions[session_row], session_row)


def _slice(rounds: Sequence[tuple[Owner, Round]]) -> list[tuple[Owner, Round]]:
    """The first rounds, at least one, so many that they are encoded well within a lease."""
    taken: list[tuple[Owner, Round]] = []
    size = 0
    for owner, round_ in rounds:
        size += sum(len(turn.said) for turn in round_.turns)
        if taken and size > CHARACTERS_A_SLICE:
            break
        taken.append((owner, round_))
    return taken
