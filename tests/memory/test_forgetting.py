"""The Forgetter: rows go at once, their points at once or soon, and the receipt says what went."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from memsvc.domain import Backlog, Owner, Receipt
from memsvc.errors import IndexUnavailable, SessionNotFound, UserNotFound
from memsvc.facts import Origin
from memsvc.index.base import Legs, Point, Probe
from memsvc.index.edge import EdgeIndex
from memsvc.intervals import AsOf
from memsvc.memory.indexing import shape_of
from memsvc.memory.metering import Meter
from memsvc.memory.reconciling import Batch, Reconciler, Sourced
from memsvc.memory.stating import stated
from memsvc.store.database import Store
from memsvc.store.ledger import Decision
from tests.doubles import HashEncoder, until
from tests.factories import OWNER
from tests.memory import Memory

BEN = Owner("default", "ben")
THEIRS = Owner("theirs", "ana")
NOTHING = Backlog(due=0, failed=0, oldest_s=0.0)


class Unwilling(EdgeIndex):
    """An embedded index that can be told to remove nothing."""

    is_down = False

    def drop(self, owner: Owner, session_row: UUID) -> None:
        if self.is_down:
            raise IndexUnavailable("The index is down.")
        super().drop(owner, session_row)


class Silent(EdgeIndex):
    """An embedded index that is there and answers nothing."""

    def put(self, points: Sequence[Point]) -> None:
        raise IndexUnavailable("The index is down.")

    def drop(self, owner: Owner, session_row: UUID) -> None:
        raise IndexUnavailable("The index is down.")

    def search(self, owner: Owner, probe: Probe) -> Legs:
        raise IndexUnavailable("The index is down.")

    def count(self, owner: Owner | None = None, session_row: UUID | None = None) -> int:
        raise IndexUnavailable("The index is down.")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Unwilling]:
    with closing(Unwilling(tmp_path / "index", shape_of(HashEncoder()))) as opened:
        yield opened


@pytest.fixture
def memory(store: Store, index: Unwilling) -> Memory:
    return Memory(store, index)


def receipt(memory: Memory, **told: int | str | None) -> Receipt:
    nothing = Receipt("ana", None, memory.clock.now(), sessions=0, turns=0, rounds=0, points_left=0)
    return replace(nothing, **told)  # type: ignore[arg-type]


def test_forgotten_session_is_gone_with_its_points(memory: Memory) -> None:
    memory.record("s1", "a tortoise", "a ferry")
    memory.record("s2", "a piano")
    memory.drain()

    forgotten = memory.forgetter.forget_session(OWNER, "s1")

    assert forgotten == receipt(memory, session_id="s1", sessions=1, turns=2, rounds=2)
    assert memory.recalled("tortoise ferry piano") == ["a piano"]
    assert memory.index.count() == 1
    with pytest.raises(SessionNotFound):
        memory.reader.session(OWNER, "s1")


def test_forgotten_user_is_gone_with_every_session(memory: Memory) -> None:
    memory.record("s1", "a tortoise", "a ferry")
    memory.record("s2", "a piano")
    memory.record("s1", "a kite", owner=BEN)
    memory.drain()

    forgotten = memory.forgetter.forget_user(OWNER)

    assert forgotten == receipt(memory, sessions=2, turns=3, rounds=3)
    assert memory.index.count() == memory.index.count(BEN) == 1
    assert [user_id for user_id, _ in memory.reader.users("default", after=None, limit=9)] == ["ben"]


def test_user_without_sessions_is_forgotten_too(memory: Memory) -> None:
    memory.record("s1", "a tortoise")
    memory.forgetter.forget_session(OWNER, "s1")

    forgotten = memory.forgetter.forget_user(OWNER)

    assert forgotten == receipt(memory)
    assert memory.reader.users("default", after=None, limit=9) == []


@pytest.mark.parametrize("stranger", [BEN, THEIRS])
def test_stranger_forgets_nothing(memory: Memory, stranger: Owner) -> None:
    memory.record("s1", "a tortoise")
    memory.drain()

    with pytest.raises(SessionNotFound):
        memory.forgetter.forget_session(stranger, "s1")
    with pytest.raises(UserNotFound):
        memory.forgetter.forget_user(stranger)

    assert memory.recalled("tortoise") == ["a tortoise"]


@pytest.mark.parametrize("stranger", [BEN, THEIRS])
def test_forgetting_leaves_the_same_ids_of_others_alone(memory: Memory, stranger: Owner) -> None:
    for owner in (OWNER, stranger):
        memory.record("s1", "a tortoise", owner=owner)
    memory.drain()

    memory.forgetter.forget_user(OWNER)

    assert memory.recalled("tortoise", owner=stranger) == ["a tortoise"]
    assert memory.recalled("tortoise") == []


def test_session_forgotten_before_it_was_indexed_never_is(memory: Memory) -> None:
    memory.record("s1", "a tortoise")

    memory.forgetter.forget_session(OWNER, "s1")
    memory.drain()

    assert memory.index.count() == 0
    assert memory.reader.backlog() == NOTHING


def test_forgotten_session_is_gone_at_once_and_its_points_when_the_index_is_up(
    memory: Memory, index: Unwilling
) -> None:
    memory.record("s1", "a tortoise")
    memory.drain()
    index.is_down = True

    forgotten = memory.forgetter.forget_session(OWNER, "s1")
    found_while_down = memory.recalled("tortoise")
    left_while_down = index.count()
    index.is_down = False
    memory.drain()

    assert forgotten == receipt(memory, session_id="s1", sessions=1, turns=1, rounds=1, points_left=None)
    assert (found_while_down, left_while_down) == ([], 1)
    assert (index.count(), memory.reader.backlog()) == (0, NOTHING)


class Overtaken(Reconciler):
    """A reconciler that has begun to write when somebody else begins to forget, and goes on when that one waits."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory.store, HashEncoder(), Meter(memory.store, None, memory.clock), memory.clock)
        self._memory = memory
        self.forgetting = threading.Thread(target=self._forget)
        self.raised: list[Exception] = []

    def _write(self, *written: Any) -> list[Decision]:
        self.forgetting.start()
        if self._memory.store.engine.dialect.name == "postgresql":  # SQLite has one writer anyway.
            until(self._is_waited_for)
        return super()._write(*written)

    def _forget(self) -> None:
        try:
            self._memory.forgetter.forget_session(OWNER, "s1")
        except Exception as exc:  # noqa: BLE001 (whatever it is, the test shall see it)
            self.raised.append(exc)

    def _is_waited_for(self) -> bool:
        mine = "datname = current_database() AND wait_event_type = 'Lock'"
        with self._memory.store.engine.connect() as connection:
            return bool(connection.execute(text(f"SELECT count(*) FROM pg_stat_activity WHERE {mine}")).scalar_one())


def test_session_that_is_forgotten_while_its_facts_are_written_is_gone(memory: Memory) -> None:
    memory.record("s1", "I live in Lisbon.")
    overtaken = Overtaken(memory)
    session = memory.reader.session(OWNER, "s1").session
    with memory.store.read() as tx:
        ((round_, _),) = tx.rounds.undrawn(OWNER, session.row_id, by="rules")
    (statement,) = stated(round_.turns[0], round_.locale)
    sourced = Sourced(statement, round_.turns[0], round_.row_id, session.row_id, "s1")

    overtaken.reconcile(OWNER, Batch(session.row_id, (sourced,), origin=Origin.RULES))
    overtaken.forgetting.join()

    assert overtaken.raised == []
    with pytest.raises(SessionNotFound):
        memory.reader.session(OWNER, "s1")
    assert memory.reader.facts(OWNER, AsOf(), limit=9) == []


def test_session_is_forgotten_though_the_index_answers_nothing(store: Store, tmp_path: Path) -> None:
    with closing(Silent(tmp_path / "index", shape_of(HashEncoder()))) as index:
        memory = Memory(store, index)
        memory.record("s1", "a tortoise")

        forgotten = memory.forgetter.forget_session(OWNER, "s1")

        assert forgotten.points_left is None
        with pytest.raises(SessionNotFound):
            memory.reader.session(OWNER, "s1")


def test_same_session_recorded_again_is_recalled_as_it_is_now(memory: Memory) -> None:
    memory.record("s1", "a tortoise")
    memory.drain()
    memory.forgetter.forget_session(OWNER, "s1")
    memory.clock.pass_time(microseconds=1)

    memory.record("s1", "a tortoise and a ferry")
    memory.drain()

    assert memory.recalled("tortoise") == ["a tortoise and a ferry"]
    assert memory.index.count() == memory.keys() == 1
