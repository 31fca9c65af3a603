"""The clock's door: workers drain until they are told to stop, and housekeeping sweeps."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from memsvc.domain import Backlog, Status
from memsvc.errors import IndexReplaced, StorageFull, StoreBusy, StoreUnavailable
from memsvc.index.edge import EdgeIndex
from memsvc.inference.encoders import Encoded
from memsvc.jobs import Housekeeping, Workers
from memsvc.memory.indexing import Indexer, shape_of
from memsvc.store.database import Store
from tests.doubles import FixedClock, HashEncoder, until
from tests.factories import OWNER, draft, recorder
from tests.memory import LEASE_S, Memory

NOTHING = Backlog(due=0, failed=0, oldest_s=0.0)
AN_HOUR_S = 3600.0

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Gated(HashEncoder):
    """An encoder that waits at a gate once there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.gate: threading.Event | None = None

    def encode(self, texts: Sequence[str], *, contexts: Sequence[str] = ()) -> list[Encoded]:
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(30)
        return super().encode(texts, contexts=contexts)


class Scripted(Indexer):
    """An indexer whose drains end as a list says, and find nothing to do from then on."""

    def __init__(self, *ends: Exception | int) -> None:
        self._ends = list(ends)
        self.drained = 0

    def drain(self, *, stopping: Callable[[], bool] = lambda: False) -> int:
        self.drained += 1
        end = self._ends.pop(0) if self._ends else 0
        if isinstance(end, Exception):
            raise end
        return end


class Held(Scripted):
    """An indexer whose drains wait at a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def drain(self, *, stopping: Callable[[], bool] = lambda: False) -> int:
        super().drain()
        assert self.gate.wait(30)
        return 0


@pytest.fixture
def encoder() -> Gated:
    return Gated()


@pytest.fixture
def memory(store: Store, tmp_path: Path, encoder: Gated) -> Iterator[Memory]:
    with closing(EdgeIndex(tmp_path / "index", shape_of(encoder))) as index:
        yield Memory(store, index, encoder)


def is_indexed(memory: Memory) -> bool:
    return memory.reader.status(OWNER, "s1").indexed


def threads_of(*kinds: str) -> list[str]:
    """The names of the threads that drain by objects of these classes."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith(kinds))


def running(workers: Workers) -> Workers:
    workers.start()
    return workers


@on_sqlite
def test_workers_drain_what_is_owed_and_stop(memory: Memory) -> None:
    workers = running(Workers({memory.indexer: 2, memory.extractor: 1}, poll_s=0.01))

    memory.record("s1", "I have a tortoise.")
    until(lambda: memory.reader.backlog() == NOTHING)
    is_done = workers.stop(grace_s=30)

    assert is_done
    assert memory.reader.status(OWNER, "s1") == Status(indexed=True)
    assert [fact.text for fact in memory.reader.session(OWNER, "s1").facts] == ["I have a tortoise."]
    assert memory.index.count() == memory.keys() == 2
    assert threads_of("Indexer", "Extractor") == []


def test_each_who_drains_has_threads_of_its_own() -> None:
    slow, quick = Held(), Scripted()
    workers = running(Workers({slow: 2, quick: 1}, poll_s=0.001))
    until(lambda: slow.drained == 2)
    names = threads_of("Held", "Scripted")

    drained = quick.drained
    until(lambda: quick.drained > drained)

    assert names == ["Held-0", "Held-1", "Scripted-0"]
    slow.gate.set()
    assert workers.stop(grace_s=30)


def test_drain_without_a_thread_is_left_to_others() -> None:
    idle = Scripted()
    workers = running(Workers({idle: 0}, poll_s=0.001))

    workers.wake()

    assert workers.stop(grace_s=30)
    assert idle.drained == 0


def test_wake_is_for_all_who_drain() -> None:
    drains = [Scripted(), Scripted()]
    waiting = running(Workers(dict.fromkeys(drains, 1), poll_s=AN_HOUR_S))
    until(lambda: [drain.drained for drain in drains] == [1, 1])

    waiting.wake()

    until(lambda: [drain.drained for drain in drains] == [2, 2])
    assert waiting.stop(grace_s=30)


def test_woken_worker_does_not_wait_for_its_next_look() -> None:
    indexer = Scripted()
    waiting = running(Workers({indexer: 1}, poll_s=AN_HOUR_S))
    until(lambda: indexer.drained == 1)

    waiting.wake()

    until(lambda: indexer.drained == 2)
    assert waiting.stop(grace_s=30)


def test_worker_that_found_something_looks_again_at_once() -> None:
    indexer = Scripted(3, 1)
    workers = running(Workers({indexer: 1}, poll_s=AN_HOUR_S))

    until(lambda: indexer.drained == 3)

    assert workers.stop(grace_s=30)


def test_idle_workers_stop_at_once() -> None:
    indexer = Scripted()
    workers = running(Workers({indexer: 3}, poll_s=AN_HOUR_S))
    until(lambda: indexer.drained >= 3)

    assert workers.stop(grace_s=30)


@on_sqlite
def test_stopped_worker_ends_the_batch_it_has_in_hand(memory: Memory, encoder: Gated) -> None:
    encoder.gate = threading.Event()
    memory.record("s1", "a tortoise")
    workers = running(Workers({memory.indexer: 1}, poll_s=0.01))
    assert encoder.entered.wait(30)
    ended: list[bool] = []

    stopping = threading.Thread(target=lambda: ended.append(workers.stop(grace_s=30)))
    stopping.start()
    encoder.gate.set()
    stopping.join()

    assert ended == [True]
    assert is_indexed(memory)


@on_sqlite
def test_batch_that_outlasts_the_grace_period_is_done_by_another(memory: Memory, encoder: Gated) -> None:
    encoder.gate = threading.Event()
    memory.record("s1", "a tortoise")
    workers = running(Workers({memory.indexer: 1}, poll_s=0.01))
    assert encoder.entered.wait(30)

    is_done = workers.stop(grace_s=0.05)

    assert not is_done
    assert memory.claim(retried=True) == []
    memory.clock.pass_time(seconds=LEASE_S)
    assert len(memory.claim(retried=True)) == 1
    encoder.gate.set()
    until(lambda: threads_of("Indexer") == [])


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(StoreUnavailable("gone"), id="database-gone"),
        pytest.param(StoreBusy("locked"), id="database-locked"),
        pytest.param(StorageFull("full"), id="disk-full"),
        pytest.param(RuntimeError("a defect"), id="defect"),
        pytest.param(MemoryError(), id="out-of-memory"),
    ],
)
def test_worker_survives_a_drain_that_fails(error: Exception) -> None:
    indexer = Scripted(error, error)
    workers = running(Workers({indexer: 1}, poll_s=0.001))

    until(lambda: indexer.drained >= 5)

    assert workers.failure is None
    assert workers.stop(grace_s=30)


def test_workers_of_a_replaced_index_end_by_themselves() -> None:
    indexer = Scripted(IndexReplaced("other"))
    workers = running(Workers({indexer: 1}, poll_s=AN_HOUR_S))

    has_ended = workers.wait(seconds=30)

    assert has_ended
    assert str(workers.failure) == "The index is now filled with other; restart with the same encoder and version."
    assert workers.stop(grace_s=30)


def test_workers_that_run_are_waited_for_in_vain() -> None:
    workers = running(Workers({Scripted(): 1}, poll_s=0.001))

    has_ended = workers.wait(seconds=0.01)

    assert not has_ended
    assert workers.stop(grace_s=30)


@on_sqlite
def test_sweep_forgets_answers_older_than_a_day(memory: Memory) -> None:
    clock = FixedClock()
    housekeeping = Housekeeping(memory.store, clock)
    for key in ("old", "day-old", "new"):
        recorder(memory.store, clock).append(OWNER, "s1", [draft(key)], idempotency_key=key)
        clock.pass_time(microseconds=1)
    clock.pass_time(hours=24, microseconds=-2)

    swept = housekeeping.sweep()

    with memory.store.read() as tx:
        kept = [key for key in ("old", "day-old", "new") if tx.sessions.kept_answer(OWNER, key)]
    assert (swept, kept) == (1, ["day-old", "new"])


@on_sqlite
def test_housekeeping_stops_as_it_started(memory: Memory) -> None:
    before = set(threading.enumerate())
    housekeeping = Housekeeping(memory.store, FixedClock())

    housekeeping.start()
    housekeeping.stop()

    until(lambda: set(threading.enumerate()) <= before)
    assert housekeeping.sweep() == 0
