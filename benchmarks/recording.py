"""Recording: sessions acknowledged in a second, against bare SQLite transactions of the same rows."""

import json
import sqlite3
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from benchmarks.report import Figure, Report
from benchmarks.texts import Chat, chats
from memsvc.clock import SystemClock
from memsvc.domain import Owner
from memsvc.memory.recording import Limits, Recorder
from memsvc.store import schema
from memsvc.store.database import Store
from tests.processes import Process

_WORKSPACE = "default"
_ALSO_WRITTEN = ("rounds", "turns", "outbox")
_CLIENTS = 8


def measure(*, sessions: int) -> Report:
    """Record the same chats through the Recorder, over HTTP by one client and by eight, and bare."""
    told = list(chats(sessions, users=max(1, sessions // 10)))
    with tempfile.TemporaryDirectory(prefix="memsvc-bench-") as folder:
        rows = _rows(told, Path(folder, "rows.sqlite3"))
        inside, floor = _in_process(told, rows, Path(folder))
        alone = _over_http(told, Path(folder, "one"), clients=1)
        together = _over_http(told, Path(folder, "eight"), clients=_CLIENTS)
    return Report(
        "recording",
        "the same rows in bare sqlite3 transactions (WAL, synchronous=FULL), one a session",
        [
            Figure("Recorder, in this process", inside, floor, "sessions/s"),
            Figure("PUT over HTTP, 1 client", alone, floor, "sessions/s"),
            Figure(f"PUT over HTTP, {_CLIENTS} clients", together, floor, "sessions/s"),
        ],
        [f"{sessions} sessions of 12 turns in 6 rounds; one uvicorn process, no indexing beside it"],
    )


def _in_process(told: Sequence[Chat], rows: Sequence[dict[str, list[Any]]], folder: Path) -> tuple[float, float]:
    """Sessions a second through the Recorder and bare, by turns so that both meet the same disk."""
    spent = bare_spent = 0.0
    with _recorder(folder / "recorder.sqlite3") as recorder, _bare(folder / "bare.sqlite3") as bare:
        for chat, session_rows in zip(told, rows, strict=True):
            begun = perf_counter()
            recorder.record(Owner(_WORKSPACE, chat.user_id), chat.session_id, chat.drafts, started_at=chat.started_at)
            between = perf_counter()
            _insert(bare, session_rows)
            spent += between - begun
            bare_spent += perf_counter() - between
    return len(told) / spent, len(told) / bare_spent


def _over_http(told: Sequence[Chat], folder: Path, *, clients: int) -> float:
    """Sessions a second through a process of `memsvc serve` that only records."""
    folder.mkdir()
    waiting: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
    for chat in told:
        waiting.put((f"/v1/users/{chat.user_id}/sessions/{chat.session_id}", _body(chat)))
    env = {"MEMSVC_DATA_DIR": str(folder), "MEMSVC_WORKERS": "0", "MEMSVC_LOG_LEVEL": "WARNING"}
    with Process.start("serve", "--port", "0", env=env) as server:
        address = urlsplit(server.url()).netloc
        _send(address, *waiting.get())
        threads = [threading.Thread(target=_send_all, args=(address, waiting)) for _ in range(clients)]
        begun = perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spent = perf_counter() - begun
        server.stop()
    return (len(told) - 1) / spent


def _send(address: str, path: str, body: bytes) -> None:
    connection = HTTPConnection(address)
    _put(connection, path, body)
    connection.close()


def _send_all(address: str, waiting: "SimpleQueue[tuple[str, bytes]]") -> None:
    connection = HTTPConnection(address)
    while True:
        try:
            path, body = waiting.get_nowait()
        except Empty:
            connection.close()
            return
        _put(connection, path, body)


def _put(connection: HTTPConnection, path: str, body: bytes) -> None:
    connection.request("PUT", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = answer.read()
    if answer.status != 201:
        raise RuntimeError(f"the service answered {answer.status}: {said!r}")


def _body(chat: Chat) -> bytes:
    turns = [{"role": draft.role.value, "text": draft.text} for draft in chat.drafts]
    return json.dumps({"started_at": chat.started_at.isoformat(), "turns": turns}).encode()


@contextmanager
def _recorder(path: Path) -> Iterator[Recorder]:
    store = Store(f"sqlite:///{path}")
    schema.migrate(store.engine)
    yield Recorder(store, SystemClock(), Limits(), owed=lambda: None)
    store.close()


@contextmanager
def _bare(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to an empty database of the same schema, set up as the store sets up its own."""
    store = Store(f"sqlite:///{path}")
    schema.migrate(store.engine)
    store.close()
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    yield connection
    connection.close()


def _rows(told: Sequence[Chat], path: Path) -> list[dict[str, list[Any]]]:
    """By session, the rows of every table that recording it writes, as SQLite holds them."""
    with _recorder(path) as recorder:
        for chat in told:
            recorder.record(Owner(_WORKSPACE, chat.user_id), chat.session_id, chat.drafts, started_at=chat.started_at)
    written = sqlite3.connect(path)
    session_ids = [row[0] for row in written.execute("SELECT id FROM sessions ORDER BY rowid")]
    rows = [_rows_of(written, session) for session in session_ids]
    written.close()
    return rows


def _rows_of(written: sqlite3.Connection, session: str) -> dict[str, list[Any]]:
    rows = {
        "workspaces": written.execute("SELECT * FROM workspaces").fetchall(),
        "users": written.execute(
            "SELECT * FROM users WHERE user_id = (SELECT user_id FROM sessions WHERE id = ?)", (session,)
        ).fetchall(),
        "sessions": written.execute("SELECT * FROM sessions WHERE id = ?", (session,)).fetchall(),
    }
    for table in _ALSO_WRITTEN:
        column = "subject" if table == "outbox" else "session_row"
        rows[table] = written.execute(f"SELECT * FROM {table} WHERE {column} = ?", (session,)).fetchall()
    return rows


def _insert(bare: sqlite3.Connection, rows: dict[str, list[Any]]) -> None:
    bare.execute("BEGIN IMMEDIATE")
    for table, values in rows.items():
        places = ", ".join("?" * len(values[0]))
        bare.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({places})", values)
    bare.execute("COMMIT")
