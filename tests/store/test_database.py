"""The engine and its transactions: instants, writers that wait for each other, and failures below as our errors."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import StatementError

from memsvc import errors
from memsvc.domain import ApiKey, Owner, Scope, TaskKind
from memsvc.store.database import CONNECTIONS, Store, Transaction, make_data_dir, make_engine, translated
from tests.doubles import together
from tests.factories import OWNER, row_id

NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def hasty(database_url: str) -> Iterator[Store]:
    """A store that waits a tenth of a second for others."""
    with closing(Store(database_url, busy_s=0.1)) as opened:
        yield opened


def write(store: Store, user_id: str = "ana", *, now: datetime = NOW) -> None:
    with store.begin() as tx:
        tx.workspaces.ensure_user(Owner("default", user_id), now=now)


def users(store: Store) -> list[str]:
    with store.read() as tx:
        return users_in(tx)


def users_in(tx: Transaction) -> list[str]:
    return [user_id for user_id, _ in tx.workspaces.users("default", after=None, limit=9)]


def test_naive_time_is_refused(store: Store) -> None:
    naive = datetime(2025, 1, 1, 12)  # noqa: DTZ001 (what is refused here)

    with pytest.raises(StatementError, match="a naive time cannot be stored"):
        write(store, now=naive)

    assert users(store) == []


@pytest.mark.parametrize(
    "zone",
    [
        pytest.param(UTC, id="utc"),
        pytest.param(timezone(timedelta(hours=5, minutes=30)), id="east"),
        pytest.param(timezone(timedelta(hours=-9)), id="west"),
    ],
)
def test_time_comes_back_in_utc(store: Store, zone: timezone) -> None:
    moment = datetime(2025, 1, 1, 2, 3, 4, 567_891, tzinfo=zone)
    key = ApiKey("abc", "default", frozenset({Scope.READ}), created_at=moment)
    write(store)

    with store.begin() as tx:
        tx.workspaces.add_key(key, secret_hash="")
        (kept,) = tx.workspaces.keys("default")

    assert (kept.created_at, kept.created_at.tzinfo) == (moment, UTC)


def test_error_in_the_block_takes_everything_back(store: Store) -> None:
    def begin_and_fail() -> None:
        with store.begin() as tx:
            tx.workspaces.ensure_user(OWNER, now=NOW)
            raise LookupError

    with pytest.raises(LookupError):
        begin_and_fail()

    assert users(store) == []


def test_reading_transaction_sees_one_state(store: Store) -> None:
    write(store, "first")

    with store.read() as tx:
        before = users_in(tx)
        writer = threading.Thread(target=write, args=(store, "second"))
        writer.start()
        writer.join()
        after = users_in(tx)

    assert (before, after) == (["first"], ["first"])
    assert users(store) == ["first", "second"]


def test_writers_at_once_lose_no_update(store: Store) -> None:
    def owe_ten_times() -> None:
        for _ in range(10):
            with store.begin() as tx:
                tx.outbox.owe(TaskKind.INDEX, OWNER, row_id("s1"), now=NOW)

    raised = together(*[owe_ten_times] * 8)

    with store.begin() as tx:
        (task,) = tx.outbox.claim(TaskKind.INDEX, limit=10, lease_s=60, now=NOW)
    assert (raised, task.version) == ([], 80)


@on_sqlite
def test_writer_waits_its_turn_no_longer_than_it_is_told(hasty: Store) -> None:
    refused: list[Exception] = []

    with hasty.begin() as tx:
        tx.workspaces.ensure_user(Owner("default", "first"), now=NOW)
        refused += together(lambda: write(hasty, "second"))

    assert [(type(error), str(error)) for error in refused] == [
        (errors.StoreBusy, "The database is busy with other writes; try again.")
    ]
    assert users(hasty) == ["first"]


@on_sqlite
def test_locked_database_is_busy_and_nothing_is_written(hasty: Store, tmp_path: Path) -> None:
    with locked(tmp_path / "memsvc.sqlite3"):
        with pytest.raises(errors.StoreBusy, match=r"The database is locked; nothing was recorded\. Try again\."):
            write(hasty)
        assert users(hasty) == []

    write(hasty, "afterwards")
    assert users(hasty) == ["afterwards"]


@on_sqlite
def test_file_that_may_only_be_read_is_read_only(store: Store, tmp_path: Path) -> None:
    write(store, "before")
    with closing(Store(f"sqlite:///file:{tmp_path / 'memsvc.sqlite3'}?mode=ro&uri=true")) as reader:
        with pytest.raises(errors.StoreReadOnly, match="read-only"):
            write(reader, "refused")

        assert users(reader) == ["before"]


@on_postgres
def test_server_that_may_only_be_read_is_read_only(database_url: str) -> None:
    url = make_url(database_url).update_query_dict({"options": "-c default_transaction_read_only=on"})
    with closing(Store(url.render_as_string(hide_password=False))) as reader:
        with pytest.raises(errors.StoreReadOnly, match="read-only"):
            write(reader)

        assert users(reader) == []


@on_sqlite
def test_full_database_is_full_and_keeps_what_it_had(store: Store) -> None:
    write(store, "before")
    with store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1")

    with pytest.raises(errors.StorageFull, match="disk is full"):
        write(store, "refused " * 10_000)

    assert users(store) == ["before"]


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("postgresql://postgres@127.0.0.1:1/memsvc", id="closed-port"),
        pytest.param("postgresql://postgres@/memsvc?host=/nowhere", id="no-socket"),
        pytest.param("sqlite:////nowhere/memsvc.sqlite3", id="no-folder"),
    ],
)
def test_database_that_does_not_answer_is_unavailable(url: str) -> None:
    with (
        closing(Store(url, busy_s=0.1)) as gone,
        pytest.raises(errors.StoreUnavailable, match="The database does not answer; nothing was recorded"),
    ):
        write(gone)


@on_postgres
def test_connection_that_is_cut_is_unavailable_and_the_next_one_is_well(store: Store, postgres: str) -> None:
    def write_on_a_cut_connection() -> None:
        with store.begin() as tx:
            tx.workspaces.ensure_user(Owner("default", "refused"), now=NOW)
            cut_all_others(postgres, store)
            tx.workspaces.ensure_user(Owner("default", "refused too"), now=NOW)

    with pytest.raises(errors.StoreUnavailable):
        write_on_a_cut_connection()

    write(store, "afterwards")
    assert users(store) == ["afterwards"]


@on_postgres
def test_idle_connections_that_are_cut_are_not_noticed(store: Store, postgres: str) -> None:
    write(store, "before")

    cut_all_others(postgres, store)

    assert users(store) == ["before"]


@on_postgres
def test_pool_without_a_free_connection_is_busy(hasty: Store) -> None:
    with ExitStack() as readers:
        for _ in range(2 * CONNECTIONS):
            readers.enter_context(hasty.read())

        with pytest.raises(errors.StoreBusy, match="All database connections are in use"):
            write(hasty)

    assert users(hasty) == []


@on_postgres
@pytest.mark.parametrize(
    ("state", "expected"),
    [
        pytest.param("55P03", errors.StoreBusy, id="lock-not-available"),
        pytest.param("40P01", errors.StoreBusy, id="deadlock"),
        pytest.param("40001", errors.StoreBusy, id="serialization-failure"),
        pytest.param("53300", errors.StoreBusy, id="too-many-connections"),
        pytest.param("53100", errors.StorageFull, id="disk-full"),
        pytest.param("25006", errors.StoreReadOnly, id="read-only"),
        pytest.param("57P01", errors.StoreUnavailable, id="admin-shutdown"),
        pytest.param("57P03", errors.StoreUnavailable, id="cannot-connect-now"),
        pytest.param("08006", errors.StoreUnavailable, id="connection-failure"),
    ],
)
def test_state_that_the_server_reports_becomes_ours(
    store: Store, state: str, expected: type[errors.MemsvcError]
) -> None:
    failing = text(f"DO $$ BEGIN RAISE EXCEPTION 'as told' USING ERRCODE = '{state}'; END $$")

    with pytest.raises(expected), translated(), store.engine.connect() as connection:
        connection.execute(failing)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("memsvc.sqlite3", id="no-url"),
        pytest.param("nosql://localhost/memsvc", id="unknown-database"),
        pytest.param("mysql://localhost/memsvc", id="no-driver"),
        pytest.param("postgresql+asyncpg://localhost/memsvc", id="asynchronous-driver"),
        pytest.param("postgresql://localhost:port/memsvc", id="port-is-no-number"),
        pytest.param("sqlite://", id="in-memory"),
        pytest.param("sqlite:///:memory:", id="in-memory-by-name"),
    ],
)
def test_url_that_cannot_be_used_is_a_bad_setting(url: str) -> None:
    with pytest.raises(errors.BadSetting, match=r"MEMSVC_DATABASE_URL cannot be used: .*Give sqlite:///PATH"):
        make_engine(url)


def test_data_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"

    make_data_dir(folder)

    assert list(folder.iterdir()) == []


def test_data_folder_below_a_file_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "data"

    with pytest.raises(errors.DataDirUnusable) as raised:
        make_data_dir(folder)

    assert str(raised.value) == (
        f"The data folder {folder} cannot be written: Not a directory. Set MEMSVC_DATA_DIR to a folder that this user "
        "can write, with free space."
    )


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another connection holds the file's one writing lock."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.rollback()


def cut_all_others(postgres: str, store: Store) -> None:
    """End every connection to the store's database, as an administrator would."""
    engine = make_engine(postgres)
    with engine.begin() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
            {"name": store.engine.url.database},
        )
    engine.dispose()
