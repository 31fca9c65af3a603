"""What is below fails: a clear error, nothing acknowledged that is not on disk, and all of it there afterwards."""

import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from memsvc.app import build, create_app
from memsvc.doctor import examine
from memsvc.errors import DataDirUnusable, IndexMissing, StorageFull, Unavailable
from memsvc.settings import Settings
from memsvc.store import schema
from memsvc.store.database import Store, make_engine
from tests.crashing import NOWHERE
from tests.doubles import HashEncoder, listening, until
from tests.factories import OWNER, STARTED, draft, recorder, session_body
from tests.processes import Process

MEGABYTE = 2**20
ROOT = Path(__file__).parents[1]
LEASE_S = 2  # What a worker had in hand when it could not write is soon due again.
LONG = "x" * 16_000
READ_ONLY_SYSTEM = "Read-only file system"


class Disk:
    """A small file system in memory, which can be filled up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, *, leaving: int) -> None:
        """Take all room but some bytes."""
        taken = shutil.disk_usage(self.path).free - leaving
        with self._ballast.open("wb") as ballast:
            for start in range(0, taken, MEGABYTE):
                ballast.write(bytes(min(MEGABYTE, taken - start)))

    def clear(self) -> None:
        """Give the room back."""
        self._ballast.unlink()

    def become_read_only(self) -> None:
        """Take no write any more."""
        subprocess.run(["mount", "-o", "remount,ro", str(self.path)], check=True)


@dataclass
class Answers:
    """What a service said to many recordings."""

    acknowledged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    problems: list[tuple[int, dict[str, Any]]] = field(default_factory=list)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(path)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted by this user, so no disk can be filled")
    yield Disk(path)
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def on_disk(disk: Disk) -> Settings:
    """Settings of a service whose data folder is on the small disk."""
    return Settings(_env_file=None, data_dir=disk.path / "data", poll_s=0.05, lease_s=LEASE_S)


def test_folder_on_a_read_only_disk_is_refused(disk: Disk, on_disk: Settings) -> None:
    disk.become_read_only()

    with pytest.raises(DataDirUnusable, match=f"{on_disk.data_dir} cannot be written: {READ_ONLY_SYSTEM}"):
        build(on_disk, encoder=HashEncoder())


def test_known_folder_that_became_read_only_is_refused(disk: Disk, on_disk: Settings) -> None:
    build(on_disk, encoder=HashEncoder()).close()
    disk.become_read_only()

    with pytest.raises(DataDirUnusable, match=f"{on_disk.data_dir} cannot be written: {READ_ONLY_SYSTEM}"):
        build(on_disk, encoder=HashEncoder())


def test_doctor_sees_a_read_only_disk(disk: Disk, on_disk: Settings) -> None:
    build(on_disk, encoder=HashEncoder()).close()
    disk.become_read_only()

    found = examine(on_disk)

    assert [finding.is_well for finding in found if finding.subject == "folder"] == [False]
    assert READ_ONLY_SYSTEM in found[0].advice


def test_database_on_a_read_only_disk_accepts_nothing(disk: Disk, on_disk: Settings) -> None:
    build(on_disk, encoder=HashEncoder()).close()
    disk.become_read_only()

    with closing(Store(on_disk.store_url)) as store, pytest.raises(Unavailable, match="nothing was recorded"):
        recorder(store).record(OWNER, "s1", [draft("hello")], started_at=STARTED)


def test_folder_on_a_full_disk_is_refused(disk: Disk, on_disk: Settings) -> None:
    disk.fill(leaving=0)

    with pytest.raises(DataDirUnusable, match="No space left on device"):
        build(on_disk, encoder=HashEncoder())


def test_database_on_a_full_disk_refuses_and_keeps_what_it_acknowledged(disk: Disk, settings: Settings) -> None:
    url = migrated(f"sqlite:///{disk.path / 'memsvc.sqlite3'}")
    with serving(settings.model_copy(update={"database_url": url, "lease_s": LEASE_S})) as client:
        disk.fill(leaving=2 * MEGABYTE)

        answers = record_until_refused(client)

        disk.clear()
        assert set(map(str, answers.problems)) == {
            str(
                (
                    507,
                    {
                        "error": "storage_full",
                        "detail": "The database's disk is full or cannot be written; nothing was recorded.",
                    },
                )
            )
        }
        assert_there_is_what_was_acknowledged(client, answers)


def test_service_on_a_full_disk_lives_on_and_keeps_what_it_acknowledged(disk: Disk, on_disk: Settings) -> None:
    with running(on_disk) as process, httpx.Client(base_url=process.url(), timeout=60) as client:
        disk.fill(leaving=2 * MEGABYTE)

        answers = record_until_refused(client)

        assert process.is_running
        assert {status for status, _ in answers.problems} <= {503, 507}
        disk.clear()
        assert_there_is_what_was_acknowledged(client, answers)
        assert process.stop() == 0


def test_index_on_a_full_disk_waits_for_room(disk: Disk, on_disk: Settings, tmp_path: Path) -> None:
    separate = on_disk.model_copy(update={"database_url": migrated(f"sqlite:///{tmp_path / 'memsvc.sqlite3'}")})
    with running(separate) as process, httpx.Client(base_url=process.url(), timeout=60) as client:
        disk.fill(leaving=0)

        answers = record_some(client)

        process.line_with("task put off")
        assert process.is_running
        disk.clear()
        assert_there_is_what_was_acknowledged(client, answers)
        assert process.stop() == 0


def test_service_is_not_started_on_a_full_disk(disk: Disk, on_disk: Settings) -> None:
    disk.fill(leaving=2 * MEGABYTE)

    with running(on_disk) as process:
        status = process.ended()

    assert status == 1
    assert process.stderr_text.startswith("memsvc: ")


def test_file_that_may_not_grow_is_full_and_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    url = migrated(f"sqlite:///{tmp_path / 'memsvc.sqlite3'}")

    # The limit is a whole process's.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as limited:
        acknowledged, said = limited.submit(record_under_a_limit, url, 2 * MEGABYTE).result()

    assert said == "The database's disk is full or cannot be written; nothing was recorded."
    assert acknowledged > 0
    with closing(Store(url)) as store, store.read() as tx:
        found = {session.session_id for session in tx.sessions.all_rows(OWNER)}
    assert found == {f"s{number}" for number in range(acknowledged)}


def test_locked_database_is_busy_and_nothing_is_recorded(settings: Settings) -> None:
    with serving(settings.model_copy(update={"busy_s": 0.1, "workers": 0})) as client:
        with locked(settings.data_dir / "memsvc.sqlite3"):
            refused = record(client, "s1")
            read = client.get("/v1/users/ana/sessions/s1")
        later = client.get("/v1/users/ana/sessions/s1"), record(client, "s1")

    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "1"
    assert refused.json() == {
        "error": "store_busy",
        "detail": "The database is locked; nothing was recorded. Try again.",
    }
    assert (read.status_code, [answer.status_code for answer in later]) == (404, [404, 201])


def test_locked_server_is_busy_and_nothing_is_recorded(
    settings: Settings, postgres_template: str, fresh_postgres: Callable[[str], str]
) -> None:
    url = fresh_postgres(postgres_template)
    with serving(settings.model_copy(update={"database_url": url, "busy_s": 0.1, "workers": 0})) as client:
        with tables_locked(url):
            refused = record(client, "s1", timeout=5)
        later = client.get("/v1/users/ana/sessions/s1"), record(client, "s1")

    assert (refused.status_code, refused.json()["error"]) == (503, "store_busy")
    assert [answer.status_code for answer in later] == [404, 201]


def test_index_deleted_while_stopped_is_missed_and_healed_by_a_rebuild(settings: Settings) -> None:
    with serving(settings) as client:
        record(client, "s1", "A tortoise sleeps in the cellar.", wait="indexed")
    shutil.rmtree(settings.index_dir)

    with pytest.raises(IndexMissing) as raised:
        build(settings, encoder=HashEncoder())
    with closing(build(settings, encoder=HashEncoder(), to_rebuild=True)) as rebuilding:
        rebuilding.rebuilder.rebuild()

    assert str(raised.value) == (
        "The database holds 1 indexed rounds, but the index is empty or gone. "
        "Run `memsvc rebuild` to fill it again from the database."
    )
    with serving(settings) as client:
        assert recalled(client, "tortoise") == ["A tortoise sleeps in the cellar."]


def test_shard_deleted_while_stopped_is_missed_too(settings: Settings) -> None:
    with serving(settings) as client:
        record(client, "s1", wait="indexed")
    for entry in settings.index_dir.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else None

    with pytest.raises(IndexMissing):
        build(settings, encoder=HashEncoder())


def test_database_deleted_while_stopped_leaves_no_stale_evidence(settings: Settings) -> None:
    with serving(settings) as client:
        record(client, "s1", "A tortoise sleeps in the cellar.", wait="indexed")
    for file in settings.data_dir.glob("memsvc.sqlite3*"):
        file.unlink()

    with serving(settings) as client:
        assert recalled(client, "tortoise") == []
        record(client, "s2", "A tortoise swims.", wait="indexed")
        assert recalled(client, "tortoise") == ["A tortoise swims."]


@contextmanager
def serving(settings: Settings) -> Iterator[httpx.Client]:
    """A service with the hashing encoder in this process, and a client of it."""
    with (
        listening(create_app(build(settings, encoder=HashEncoder()))) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


def running(settings: Settings) -> Process:
    """The same service as a process of its own, which a fault of the disk can end."""
    environment = {
        "MEMSVC_DATA_DIR": str(settings.data_dir),
        "MEMSVC_DATABASE_URL": settings.database_url,
        "MEMSVC_ENCODER": "hash-64",
        "MEMSVC_LEASE_S": str(settings.lease_s),
        "MEMSVC_POLL_S": str(settings.poll_s),
        "MEMSVC_LOG_LEVEL": "WARNING",
        "PYTHONPATH": str(ROOT),
    }
    return Process.start(NOWHERE, "serve", "--port", "0", env=environment, module="tests.crashing")


def migrated(url: str) -> str:
    engine = make_engine(url)
    schema.migrate(engine)
    engine.dispose()
    return url


def record(
    client: httpx.Client, session_id: str, words: str = "hello", *, wait: str | None = None, timeout: float = 60
) -> httpx.Response:
    params = {"wait": wait} if wait else {}
    path = f"/v1/users/ana/sessions/{session_id}"
    return client.put(path, json=session_body(words), params=params, timeout=timeout)


def record_some(client: httpx.Client) -> Answers:
    """Record fifty long sessions, none of which is refused."""
    names = [f"s{number}" for number in range(50)]
    assert {record(client, name, f"{name} {LONG}").status_code for name in names} == {201}
    return Answers(acknowledged=names)


def record_until_refused(client: httpx.Client) -> Answers:
    """Record long sessions until three were refused."""
    answers = Answers()
    for number in range(2000):
        session_id = f"s{number}"
        answer = record(client, session_id, f"{session_id} {LONG}")
        if answer.status_code == 201:
            answers.acknowledged.append(session_id)
        else:
            answers.refused.append(session_id)
            answers.problems.append((answer.status_code, answer.json()))
        if len(answers.refused) == 3:
            return answers
    raise AssertionError("the disk was never full")


def assert_there_is_what_was_acknowledged(client: httpx.Client, answers: Answers) -> None:
    """Every acknowledged session is there and recalled, none that was refused, and the next is accepted."""
    names = [*answers.acknowledged, *answers.refused]
    statuses = {name: client.get(f"/v1/users/ana/sessions/{name}").status_code for name in names}
    assert statuses == dict.fromkeys(answers.acknowledged, 200) | dict.fromkeys(answers.refused, 404)
    assert record(client, "afterwards").status_code == 201
    wait_until_done(client)
    assert client.get("/v1/tasks").json() == {"tasks": []}
    recalled_names = {name for name in names if f"{name} {LONG}" in recalled(client, name)}
    assert recalled_names == set(answers.acknowledged)


def wait_until_done(client: httpx.Client) -> None:
    """Wait until nothing is owed."""
    until(lambda: client.get("/readyz").json()["checks"]["backlog"]["due"] == 0, within_s=120)


def recalled(client: httpx.Client, query: str) -> list[str]:
    """The texts of the turns that recall finds, best first."""
    answer = client.post("/v1/users/ana/recall", json={"query": query, "unit": "turn", "limit": 10})
    return [item["turns"][0]["text"] for item in answer.json()["evidence"]]


def record_under_a_limit(url: str, most_bytes: int) -> tuple[int, str]:
    """Record until a file may not grow any more: how many were acknowledged, and what the error said."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))
    with closing(Store(url)) as store:
        for number in range(2000):
            try:
                recorder(store).record(OWNER, f"s{number}", [draft(LONG)], started_at=STARTED)
            except StorageFull as full:
                return number, str(full)
    raise AssertionError("the file was never too large")


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another process holds the file's one writing lock."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.rollback()


@contextmanager
def tables_locked(url: str) -> Iterator[None]:
    """Another client holds every lock there is on the sessions."""
    with closing(Store(url)) as store, store.engine.connect() as other:
        other.execute(text("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE"))
        yield
