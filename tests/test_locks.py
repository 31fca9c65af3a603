"""Locks: those who write the same users' rows at once wait for one another, and never for one another in a circle."""

import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import text

from memsvc.clock import utc_now
from memsvc.domain import Owner, TaskKind
from memsvc.errors import NotFound, SessionConflict
from memsvc.index.edge import EdgeIndex
from memsvc.intervals import Locale
from memsvc.memory.indexing import shape_of
from memsvc.memory.locales import Localizer
from memsvc.store.database import Store
from tests.doubles import FixedClock, HashEncoder, together, until
from tests.factories import OWNER, STARTED, draft
from tests.memory import Memory

USERS = [OWNER, Owner("default", "ben")]
TURNS = ["I moved to Lisbon last Friday.", "My sister Mia visits on 3 May.", "I bought a kite yesterday."]
TIMES = 20
_OTHERS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


class RunningClock(FixedClock):
    """A clock that goes: a session that comes again is another one."""

    def now(self) -> datetime:
        return utc_now()


@pytest.fixture
def memory(store: Store, tmp_path: Path) -> Iterator[Memory]:
    with closing(EdgeIndex(tmp_path / "index", shape_of(HashEncoder()))) as index:
        yield Memory(store, index, clock=RunningClock())


class Crowd:
    """Everybody who writes, each in a thread of its own, until all have written so many times."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.localizer = Localizer(memory.store, memory.clock, owed=lambda: None)
        self._numbers = count()

    def run(self) -> list[Exception]:
        """What was raised while all wrote, beside what the deleting explains."""
        writers = [
            self.record, self.record, self.append, self.append, self.index, self.index, self.extract, self.extract,
            self.rebuild, self.relocate, self.forget_session, self.forget_user,
        ]  # fmt: skip
        return together(*(partial(self._repeat, writer) for writer in writers))

    def record(self) -> None:
        self.memory.record(self._session(), *TURNS, owner=self._owner())

    def append(self) -> None:
        key = str(next(self._numbers))
        self.memory.recorder.append(self._owner(), self._session(), [draft("I ran 5 km today.")], idempotency_key=key)

    def index(self) -> None:
        self.memory.indexer.drain()

    def extract(self) -> None:
        self.memory.extractor.drain()

    def rebuild(self) -> None:
        self.memory.rebuilder.rebuild()

    def relocate(self) -> None:
        zone = ("Europe/Berlin", "Asia/Tokyo")[next(self._numbers) % 2]
        self.localizer.change(self._owner(), lambda _before: Locale(zone))

    def forget_session(self) -> None:
        self.memory.forgetter.forget_session(self._owner(), self._session())

    def forget_user(self) -> None:
        self.memory.forgetter.forget_user(self._owner())

    def _repeat(self, write: Callable[[], object]) -> None:
        for _ in range(TIMES):
            with suppress(NotFound, SessionConflict):
                write()

    def _owner(self) -> Owner:
        return USERS[next(self._numbers) % 2]

    def _session(self) -> str:
        return f"s{next(self._numbers) % 3}"


def deadlocks(store: Store) -> int:
    """How many circles of waiting PostgreSQL has had to break in this database."""
    if store.engine.dialect.name != "postgresql":
        return 0
    # A connection tells what it met when it ends, at the latest.
    store.engine.dispose()
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        until(lambda: connection.execute(text(_OTHERS)).scalar_one() == 0)
        found = connection.execute(text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))
        return int(found.scalar_one())


def test_those_who_write_at_once_never_wait_in_a_circle(memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
    raised = Crowd(memory).run()

    assert ["".join(traceback.format_exception(exc)) for exc in raised] == []
    assert deadlocks(memory.store) == 0
    told = [(record.message, vars(record).get("error")) for record in caplog.records if record.levelname != "INFO"]
    assert told == []
    memory.drain()
    assert memory.index.count() == memory.keys()


def test_recording_and_the_end_of_a_rebuild_do_not_wait_in_a_circle(memory: Memory) -> None:
    memory.record("s1", *TURNS)
    memory.indexer.drain()
    raised: list[Exception] = []

    def append() -> None:
        raised.extend(together(lambda: memory.recorder.append(OWNER, "s1", [draft("I ran 5 km today.")])))

    recording = threading.Thread(target=append)
    with memory.store.begin() as tx:
        tx.workspaces.lock_users()
        owed = tx.rounds.owed_since(STARTED)
        tx.outbox.renew_versions()
        recording.start()
        recording.join(timeout=1)  # On SQLite it waits until this transaction has ended.
        tx.outbox.owe_all(TaskKind.INDEX, owed, now=memory.clock.now())
    recording.join()

    assert raised == []
    memory.drain()
    assert memory.index.count() == memory.keys()
