"""The Indexer: what the outbox owes becomes points; a rebuild fills a new collection from the store."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import numpy as np

from memsvc.clock import Clock
from memsvc.domain import Key, KeyKind, Owner, Round, Shape, Task, TaskKind, Turn
from memsvc.errors import IndexReplaced
from memsvc.facts import Fact
from memsvc.index.base import Index, Point, Rebuild
from memsvc.index.lexical import Lexicon
from memsvc.inference.encoders import Encoder, Ids
from memsvc.intervals import Interval
from memsvc.memory.dating import closed, dated, events_of
from memsvc.memory.dividing import keys_of
from memsvc.memory.duties import Duties, Patience
from memsvc.store.database import Store, Transaction
from memsvc.store.rounds import Made

log = logging.getLogger(__name__)

PlacedFact = tuple[Owner, Fact, Round, Turn, int]
Mark = tuple[UUID, str, bytes | None]

TASKS_A_CLAIM = 32
ROUNDS_A_SLICE = 128
FACTS_A_SLICE = 256
CHARACTERS_A_SLICE = 200_000
_SPECIAL_TOKENS = 2
_CLOCK_SKEW = timedelta(minutes=1)


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

    def project_facts(self, facts: Sequence["PlacedFact"]) -> list[Point]:
        """The points of facts, each by the turn that it was drawn from."""
        keys = [
            (owner, Key(fact.fact_id, round_, KeyKind.FACT, fact.text, turn, position, fact=fact))
            for owner, fact, round_, turn, position in facts
        ]
        encoded = self._encoder.encode([key.text for _, key in keys])
        return [
            Point(key, owner, vectors.dense, self._lexicon.document(key.text), vectors.tokens, _events(key))
            for (owner, key), vectors in zip(keys, encoded, strict=True)
        ]


def shape_of(encoder: Encoder) -> Shape:
    """What an index is filled with by an encoder."""
    return Shape(encoder.name, encoder.dimension, encoder.token_dimension, variant=encoder.variant)


def _placed(tx: Transaction, waiting: Sequence[tuple[Owner, Fact, str]]) -> list[PlacedFact]:
    """Facts with the rounds and turns that they were drawn from; of those whose turn is gone, nothing."""
    rounds: dict[UUID, Round] = {}
    for owner in {owner for owner, _, _ in waiting}:
        rounds |= tx.rounds.load(owner, [fact.round_row for whose, fact, _ in waiting if whose == owner])
    placed: list[PlacedFact] = []
    for owner, fact, turn_id in waiting:
        round_ = rounds.get(fact.round_row)
        for index, turn in enumerate(round_.turns if round_ is not None else ()):
            if round_ is not None and turn.turn_id == turn_id:
                placed.append((owner, fact, round_, turn, round_.first_position + index))
    return placed


def _marks(points: Sequence[Point]) -> list[Mark]:
    """What is noted of facts once they are indexed: the text that was, and its sentence vector."""
    return [(point.key.point_id, point.key.text, point.dense.astype(np.float16).tobytes()) for point in points]


def _events(key: Key) -> tuple[Interval, ...]:
    """The closed interval of what a fact tells of, if it tells when."""
    fact = key.fact
    if fact is None or fact.event is None:
        return ()
    return (closed(fact.event, fact.precision, key.turn),)


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
        self._duties = Duties(store, clock, patience, TaskKind.INDEX)

    def drain(self, *, stopping: Callable[[], bool] = lambda: False) -> int:
        """Do what is due, one claim of tasks; how many were claimed.

        A task that was tried before is taken alone, so that one which kills its worker takes no other with it.
        Raises IndexReplaced when a rebuild with another encoder has taken this worker's index away.
        """
        claimed = 0
        for retried in (True, False):
            tasks = self._duties.claim(limit=1 if retried else TASKS_A_CLAIM, retried=retried)
            claimed += len(tasks)
            if retried and tasks and self._duties.is_hopeless(tasks[0]):
                self._duties.give_up(tasks[0])
            elif tasks:
                self._do_together(tasks, stopping)
        return claimed

    def _do_together(self, tasks: list[Task], stopping: Callable[[], bool]) -> None:
        """All tasks in shared batches; if that fails, each by itself, so that one failure ends no other."""
        try:
            self._do(tasks, stopping)
        except IndexReplaced:
            self._duties.give_back(tasks)
            raise
        except _Stopped:
            self._duties.give_back(tasks)
        except Exception as exc:  # noqa: BLE001 (a task may fail in any way; its row keeps what happened)
            if len(tasks) == 1:
                self._duties.not_done(tasks[0], exc)
                return
            log.warning("tasks failed together", extra={"tasks": len(tasks), "error": f"{type(exc).__name__}: {exc}"})
            for number, task in enumerate(tasks):
                try:
                    self._do_together([task], stopping)
                except IndexReplaced:
                    self._duties.give_back(tasks[number + 1 :])
                    raise

    def _do(self, tasks: list[Task], stopping: Callable[[], bool]) -> None:
        subjects = [task.subject for task in tasks]
        while True:
            if stopping():
                raise _Stopped
            with self._store.read() as tx:
                live_since = self._live_since(tx)
                rounds = tx.rounds.unindexed(subjects, limit=ROUNDS_A_SLICE)
            if not rounds:
                break
            self._put(_slice(rounds), live_since)
            self._duties.renew(tasks)
        while self._put_facts(subjects):
            if stopping():
                raise _Stopped
            self._duties.renew(tasks)
        self._finish(tasks)

    def _put(self, rounds: Sequence[tuple[Owner, Round]], live_since: datetime | None) -> None:
        points, made = self._projector.project(rounds)
        self._index.put(points)
        with self._store.begin() as tx:
            tx.workspaces.lock_users({owner for owner, _ in rounds})
            # What was put where a rebuild has swapped in another collection meanwhile may be in neither: once more.
            if self._live_since(tx) == live_since:
                tx.rounds.mark_indexed(made, now=self._clock.now())

    def _put_facts(self, session_rows: Sequence[UUID]) -> bool:
        """Put the next facts of these sessions, and remove those that are gone; whether there were any."""
        with self._store.read() as tx:
            live_since = self._live_since(tx)
            waiting, gone = tx.facts.unindexed(session_rows, limit=FACTS_A_SLICE)
            placed = _placed(tx, waiting)
        if not waiting and not gone:
            return False
        points = self._projector.project_facts(placed)
        self._index.put(points)
        for owner, fact_id in gone:
            self._index.remove(owner, [fact_id])
        # What has no turn any more gives no point, and is done all the same.
        marks: dict[UUID, Mark] = {fact.fact_id: (fact.fact_id, fact.text, None) for _, fact, _ in waiting}
        marks |= {fact_id: (fact_id, "", None) for _, fact_id in gone}
        marks |= {mark[0]: mark for mark in _marks(points)}
        with self._store.begin() as tx:
            tx.workspaces.lock_users({owner for owner, *_ in waiting} | {owner for owner, _ in gone})
            if self._live_since(tx) == live_since:
                tx.facts.mark_indexed(marks.values(), now=self._clock.now())
        return True

    def _finish(self, tasks: Sequence[Task]) -> None:
        """Drop the points of sessions that are gone, also of those that went while they were being put."""
        with self._store.read() as tx:
            alive = tx.sessions.alive([task.subject for task in tasks])
        for task in tasks:
            if task.subject not in alive:
                self._index.drop(task.owner, task.subject)
        self._duties.complete(tasks)

    def _live_since(self, tx: Transaction) -> datetime | None:
        """When the live index became that; raises IndexReplaced when it is of another shape than this worker's."""
        live = tx.rounds.live_index()
        if live is not None and live != self._projector.shape:
            raise IndexReplaced(str(live))
        return tx.rounds.swapped_at()


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
            with self._store.read() as tx:
                placed = _placed(tx, tx.facts.with_rounds([round_.row_id for _, round_ in page]))
            of_facts = self._projector.project_facts(placed)
            fresh.put([*points, *of_facts])
            with self._store.begin() as tx:
                tx.workspaces.lock_users({owner for owner, _ in page})
                tx.rounds.set_made(made)
                tx.facts.set_vectors(_marks(of_facts))
            sessions |= {round_.session_row: owner for owner, round_ in page}
            done, after = done + len(page), page[-1][1].row_id
            progress(done, max(done, total))

    def _catch_up(self, started: datetime, sessions: dict[UUID, Owner]) -> None:
        """What was recorded, indexed or deleted while the collection was filled happens to it too."""
        with self._store.begin() as tx:
            now = self._clock.now()
            tx.workspaces.lock_users()
            tx.rounds.set_live_index(self._projector.shape, now=now)
            owed = {*tx.rounds.owed_since(started), *tx.facts.owed_since(started)}
            tx.outbox.renew_versions()
            tx.outbox.owe_all(TaskKind.INDEX, owed, now=now)
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
