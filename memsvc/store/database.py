"""The engine and its transactions: one writer at a time on SQLite, a pool on PostgreSQL.

On PostgreSQL every writer takes its locks in one order, so that none waits for another in a circle: users by name,
then a session, then its rounds and what hangs on them, then tasks, those of the index first, by id.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from memsvc import errors
from memsvc.store.facts import Facts
from memsvc.store.ledger import Ledger
from memsvc.store.outbox import Outbox
from memsvc.store.rounds import Rounds
from memsvc.store.sessions import Sessions
from memsvc.store.times import Times
from memsvc.store.usage import Usage
from memsvc.store.workspaces import Workspaces

CONNECTIONS = 16


class Transaction:
    """What one transaction may say. It ends with the `with` block that opened it."""

    def __init__(self, connection: Connection) -> None:
        self.workspaces = Workspaces(connection)
        self.sessions = Sessions(connection)
        self.rounds = Rounds(connection)
        self.outbox = Outbox(connection)
        self.times = Times(connection)
        self.facts = Facts(connection)
        self.ledger = Ledger(connection)
        self.usage = Usage(connection)


class Store:
    """The database. `begin` writes, `read` reads; no network or model call belongs inside either."""

    def __init__(self, url: str, *, busy_s: float = 5.0) -> None:
        self.engine = make_engine(url, busy_s=busy_s)
        self._busy_s = busy_s
        # SQLite admits one writer; waiting for a turn in the process beats polling for the file's lock.
        self._writer = threading.Lock() if self.engine.dialect.name == "sqlite" else None

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        """A writing transaction: commits at the end of the block, rolls back on any error."""
        with (
            self._turn_to_write(),
            translated(),
            self.engine.connect() as connection,
            connection.execution_options(memsvc_write=True).begin(),
        ):
            yield Transaction(connection)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A reading transaction over one consistent state."""
        with translated(), self.engine.connect() as connection:
            if self._writer is None:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield Transaction(connection)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        if self._writer is None:
            yield
            return
        if not self._writer.acquire(timeout=self._busy_s):
            raise errors.StoreBusy("The database is busy with other writes; try again.")
        try:
            yield
        finally:
            self._writer.release()


def make_engine(url: str, *, busy_s: float = 5.0) -> Engine:
    """An engine for `url`; raises BadSetting for a URL that no driver here understands."""
    # An error of the database must not take a user's words along into a log.
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            if parsed.database in (None, "", ":memory:") or "mode=memory" in url:
                raise ArgumentError("a database in memory would lose what it acknowledged")
            return _sqlite_engine(url, busy_s)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        # Instants come back in UTC, wherever the server stands: in its own zone the first year may not be told.
        return create_engine(
            parsed,
            hide_parameters=True,
            connect_args={
                "options": f"{parsed.query.get('options', '')} -c timezone=UTC -c lock_timeout={busy_s * 1000:.0f}"
            },
            pool_size=CONNECTIONS,
            max_overflow=CONNECTIONS,
            pool_timeout=busy_s,
            pool_pre_ping=True,
        )
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as exc:
        raise errors.BadSetting(
            f"MEMSVC_DATABASE_URL cannot be used: {exc}. Give sqlite:///PATH, or postgresql://… with the "
            "extra `memsvc[postgres]` installed."
        ) from exc


def _sqlite_engine(url: str, busy_s: float) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,
        connect_args={"timeout": busy_s},
        pool_size=CONNECTIONS,
        max_overflow=-1,
        pool_timeout=busy_s,
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # This module says BEGIN itself.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer that began as a reader could not be promoted without an error.
        immediate = connection.get_execution_options().get("memsvc_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


@contextmanager
def translated() -> Iterator[None]:
    """Foreign errors of the database become ours."""
    try:
        yield
    except PoolTimeout as exc:
        raise errors.StoreBusy("All database connections are in use; try again.") from exc
    except DBAPIError as exc:
        ours = _ours(exc)
        if ours is None:
            raise
        raise ours from exc


def _ours(exc: DBAPIError) -> errors.MemsvcError | None:
    """Our error for a foreign one, or None when it is a defect of ours and should rise as it is."""
    said = str(exc.orig).lower()
    state = getattr(exc.orig, "sqlstate", None) or ""
    if "is locked" in said or state in ("55P03", "40P01", "40001", "53300"):
        return errors.StoreBusy("The database is locked; nothing was recorded. Try again.")
    if "disk is full" in said or "disk i/o error" in said or state == "53100":
        return errors.StorageFull("The database's disk is full or cannot be written; nothing was recorded.")
    if "readonly" in said or state == "25006":
        return errors.StoreReadOnly("The database cannot be written (read-only); nothing was recorded.")
    if "not a database" in said or "malformed" in said:
        return errors.StoreUnavailable("The database's file is damaged, or is no SQLite database; restore a backup.")
    if "unable to open database" in said or exc.connection_invalidated or _connection_lost(exc, state):
        return errors.StoreUnavailable("The database does not answer; nothing was recorded. Try again.")
    return None


def _connection_lost(exc: DBAPIError, state: str) -> bool:
    unnamed = not state and type(exc.orig).__module__.startswith("psycopg") and type(exc).__name__ == "OperationalError"
    return unnamed or state.startswith(("08", "57P"))


def make_data_dir(folder: Path) -> None:
    """Make the data folder and try a write in it; raises DataDirUnusable."""
    probe = folder / ".write-test"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"memsvc")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as exc:
        raise errors.DataDirUnusable(
            f"The data folder {folder} cannot be written: {exc.strerror}. Set MEMSVC_DATA_DIR to a folder "
            "that this user can write, with free space."
        ) from exc
