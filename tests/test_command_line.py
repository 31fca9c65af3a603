"""The command line: each command does what its help says, or says in one sentence why it cannot."""

import gc
import logging
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from memsvc import __version__
from memsvc.__main__ import main
from memsvc.app import build, open_store
from memsvc.clock import SystemClock
from memsvc.domain import Caller, Owner, Scope
from memsvc.inference.encoders import SHIPPED as SHIPPED_NAME
from memsvc.inference.encoders import projection_of
from memsvc.memory.access import Gatekeeper
from memsvc.settings import Settings
from memsvc.store import schema
from memsvc.store.database import make_engine
from tests.doubles import HashEncoder
from tests.factories import OWNER
from tests.memory import Memory

COMMANDS = [
    "serve",
    "worker",
    "migrate",
    "keys",
    "keys create",
    "keys list",
    "keys revoke",
    "workspaces",
    "workspaces list",
    "workspaces set",
    "extract",
    "rebuild",
    "doctor",
    "demo",
]
NO_SCHEMA = "memsvc: The database has no memsvc schema yet. Run `memsvc migrate`.\n"
TODAY = f"{datetime.now(UTC):%Y-%m-%d}"

# What the index sees of the shipped encoder: its name and the lengths of its vectors.
# What passes for the shipped encoder.
PROJECTION = projection_of(SHIPPED_NAME)
assert PROJECTION is not None
SHIPPED = HashEncoder(SHIPPED_NAME, 384, token_dimension=128, variant=f"int8-{PROJECTION.fingerprint}")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a data folder in it; the log goes back to where it went before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMSVC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("MEMSVC_LOG_LEVEL", "WARNING")
    yield tmp_path
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command in this process: its exit status, and what it printed and complained of."""

    def command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(arguments)
        gc.collect()  # A connection left open would complain here.
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return command


@pytest.fixture
def bare_server(fresh_postgres: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The settings name a PostgreSQL database without a schema."""
    url = fresh_postgres("template1")
    monkeypatch.setenv("MEMSVC_DATABASE_URL", url)
    return url


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: memsvc {command}".strip())


def test_help_lists_every_command_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])

    listed = re.findall(r"(?m)^    (\w+)\s+(\S.*)$", capsys.readouterr().out)
    assert {name for name, _ in listed} == {command.split()[0] for command in COMMANDS}


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])

    assert (ended.value.code, capsys.readouterr().out) == (0, f"memsvc {__version__}\n")


@pytest.mark.parametrize(
    "command",
    [
        "",
        "nonsense",
        "keys",
        "keys revoke",
        "workspaces set",
        "serve --port many",
        "keys create --scope all",
        "extract",
    ],
)
def test_command_that_is_not_understood_shows_how_it_is_used(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command.split())

    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: memsvc")


def test_migrate_makes_the_schema_and_may_run_again(run: Run) -> None:
    ended = [run("migrate"), run("migrate")]

    assert ended == [(0, f"The schema is at revision {schema.head()}.\n", "")] * 2


def test_migrate_goes_down_and_up(run: Run) -> None:
    run("migrate")

    ended = [run("migrate", "--to", "base"), run("migrate", "--to", schema.head())]

    assert ended == [
        (0, "The schema is at revision none.\n", ""),
        (0, f"The schema is at revision {schema.head()}.\n", ""),
    ]


def test_migrate_makes_the_schema_on_a_server(run: Run, bare_server: str) -> None:
    before = run("keys", "list")

    migrated = run("migrate")

    assert before == (1, "", NO_SCHEMA)
    assert migrated == (0, f"The schema is at revision {schema.head()}.\n", "")
    assert run("keys", "list") == (0, "", "")


def test_migrate_to_a_revision_that_is_not_known(run: Run) -> None:
    status, out, err = run("migrate", "--to", "nonsense")

    assert (status, out) == (1, "")
    assert is_one_line(err)
    assert "nonsense" in err


def test_migrate_on_a_schema_of_a_newer_version(run: Run) -> None:
    run("migrate")
    stamp("9999")

    ended = run("migrate")

    assert ended == (
        1,
        "",
        "memsvc: The database's schema is at revision 9999, which this version of memsvc does not know (it knows up to "
        f"{schema.head()}). Run the newer memsvc that wrote it, or restore a backup.\n",
    )


def test_created_key_is_printed_once_and_opens_the_workspace(run: Run) -> None:
    status, out, err = run("keys", "create", "--workspace", "team", "--scope", "admin", "--scope", "read")

    key = out.strip()
    prefix = key.split("_")[1]
    assert status == 0
    assert err == f"Keep it: it is not shown again. Its prefix is {prefix}.\n"
    assert caller(key) == Caller("team", frozenset({Scope.ADMIN, Scope.READ}))
    assert run("keys", "list") == (0, f"{prefix}  team  admin,read  created {TODAY}  in force\n", "")


def test_key_reads_and_writes_the_default_workspace_unless_told(run: Run) -> None:
    _, key, _ = run("keys", "create")

    assert caller(key.strip()) == Caller("default", frozenset({Scope.READ, Scope.WRITE}))


def test_keys_are_listed_by_workspace(run: Run) -> None:
    prefixes = [run("keys", "create", "--workspace", name)[1].split("_")[1] for name in ("one", "two")]

    _, listed, _ = run("keys", "list", "--workspace", "two")

    assert listed == f"{prefixes[1]}  two  read,write  created {TODAY}  in force\n"


def test_revoked_key_is_listed_as_such(run: Run) -> None:
    prefix = run("keys", "create")[1].split("_")[1]

    revoked = run("keys", "revoke", prefix)

    assert revoked == (0, f"Key {prefix} is revoked.\n", "")
    _, listed, _ = run("keys", "list")
    assert listed == f"{prefix}  default  read,write  created {TODAY}  revoked {TODAY}\n"


def test_key_that_nobody_has_cannot_be_revoked(run: Run) -> None:
    ended = run("keys", "revoke", "abc")

    assert ended == (1, "", "memsvc: There is no key with the prefix 'abc'.\n")


def test_keys_are_made_on_a_server_too(run: Run, bare_server: str) -> None:
    run("migrate")

    status, key, _ = run("keys", "create", "--scope", "admin")

    assert (status, key.startswith("mem_")) == (0, True)
    assert run("keys", "revoke", key.split("_")[1])[0] == 0


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        pytest.param("Europe/Berlin", "Europe/Berlin", id="set"),
        pytest.param("", "none: they are refused", id="taken-away"),
    ],
)
def test_time_zone_of_a_workspace_is_set(run: Run, zone: str, said: str) -> None:
    ended = run("workspaces", "set", "team", "--time-zone", zone)

    assert ended == (0, f"Workspace team reads times without a zone in {said}.\n", "")
    with closing(open_store(Settings())) as store, store.read() as tx:
        assert tx.workspaces.time_zone("team") == (zone or None)


def test_workspaces_are_listed_by_name(run: Run) -> None:
    before = run("workspaces", "list")
    for name in ("two", "one"):
        run("keys", "create", "--workspace", name)

    assert before == (0, "", "")
    assert run("workspaces", "list") == (0, "one\ntwo\n", "")


def test_unknown_time_zone_is_refused(run: Run) -> None:
    ended = run("workspaces", "set", "team", "--time-zone", "Mars/Olympus")

    assert ended == (1, "", "memsvc: 'Mars/Olympus' is not a time zone; give one like Europe/Berlin.\n")


def test_serve_without_a_key_refuses_an_open_address(run: Run) -> None:
    ended = run("serve", "--host", "0.0.0.0")

    assert ended == (
        1,
        "",
        "memsvc: There is no API key yet, so the service may only listen on a loopback address, not on '0.0.0.0'. "
        "Create one with `memsvc keys create --workspace default --scope admin`.\n",
    )


def test_serve_on_a_server_without_the_schema_names_migrate(run: Run, bare_server: str) -> None:
    assert run("serve") == (1, "", NO_SCHEMA)


def test_serve_on_a_port_that_is_taken(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        status, out, err = run("serve", "--port", str(port))

    assert (status, out) == (1, "")
    assert err == (
        f"memsvc: Cannot listen on 127.0.0.1:{port}: Address already in use. Give another --host or --port.\n"
    )


def test_worker_refuses_the_embedded_index(run: Run) -> None:
    ended = run("worker")

    assert ended == (
        1,
        "",
        "memsvc: The embedded index admits one process, and `memsvc serve` has a worker of its own. Set "
        "MEMSVC_QDRANT_URL and MEMSVC_DATABASE_URL to run workers as processes.\n",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MEMSVC_PORT", "many"),
        ("MEMSVC_PORT", "70000"),
        ("MEMSVC_LOG_FORMAT", "xml"),
        ("MEMSVC_LOG_LEVEL", "LOUD"),
        ("MEMSVC_QDRANT_PREFIX", "a b"),
        ("MEMSVC_WORKERS", "-2"),
        ("MEMSVC_LEASE_S", "0"),
        ("MEMSVC_BUSY_S", "soon"),
        ("MEMSVC_ENCODER_DOWNLOAD", "perhaps"),
        ("MEMSVC_DATABASE_URL", "memsvc.sqlite3"),
        ("MEMSVC_DATABASE_URL", "nosql://localhost"),
    ],
)
def test_setting_that_cannot_be_used_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    status, out, err = run("serve")

    assert (status, out) == (1, "")
    assert is_one_line(err)
    assert f"{name} cannot be used: " in err


def test_bad_option_is_named_as_its_setting(run: Run) -> None:
    status, _, err = run("serve", "--port", "70000")

    assert status == 1
    assert err == "memsvc: MEMSVC_PORT cannot be used: Input should be less than or equal to 65535.\n"


def test_settings_are_read_from_the_folders_file_too(run: Run, folder: Path) -> None:
    (folder / ".env").write_text("MEMSVC_PORT=many\n")

    _, _, err = run("serve")

    assert err.startswith("memsvc: MEMSVC_PORT cannot be used: ")


@pytest.mark.parametrize("command", ["serve", "migrate", "keys create", "keys list", "workspaces set a --time-zone ''"])
def test_data_folder_that_cannot_be_made(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    (folder / "file").touch()
    monkeypatch.setenv("MEMSVC_DATA_DIR", str(folder / "file" / "data"))

    ended = run(*command.split())

    assert ended == (
        1,
        "",
        f"memsvc: The data folder {folder / 'file' / 'data'} cannot be written: Not a directory. Set MEMSVC_DATA_DIR "
        "to a folder that this user can write, with free space.\n",
    )


@pytest.mark.parametrize("command", ["serve", "migrate", "keys list", "rebuild"])
def test_database_that_does_not_answer(run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("MEMSVC_DATABASE_URL", "postgresql://postgres@127.0.0.1:1/memsvc")

    ended = run(*command.split())

    assert ended == (1, "", "memsvc: The database does not answer; nothing was recorded. Try again.\n")


@pytest.mark.parametrize("command", ["serve", "migrate", "keys list", "rebuild"])
def test_file_that_is_no_database(run: Run, folder: Path, command: str) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "memsvc.sqlite3").write_bytes(b"no database " * 1000)

    status, out, err = run(*command.split())

    assert (status, out) == (1, "")
    assert is_one_line(err)


def test_doctor_prints_what_it_found_and_what_to_do(run: Run, folder: Path) -> None:
    status, out, err = run("doctor")

    assert (status, err) == (1, "")
    assert out == (
        f"ok    folder     {folder / 'data'} can be written\n"
        f"ok    database   sqlite:///{folder / 'data' / 'memsvc.sqlite3'} answers\n"
        "FAIL  schema     none yet\n"
        "      → Run `memsvc serve`: it makes one in a fresh database.\n"
    )


def test_doctor_ends_well_when_all_is_well(run: Run) -> None:
    run("migrate")

    status, out, _ = run("doctor")

    assert status == 0
    assert [line[:4] for line in out.splitlines()] == ["ok  "] * 7


def test_extract_owes_what_was_not_extracted(run: Run) -> None:
    with closing(build(Settings(), encoder=SHIPPED)) as service:
        memory = Memory(service.store, service.index, SHIPPED)
        memory.record("s1", "I have a tortoise.")
        memory.record("s2", "I live in Lisbon.", owner=Owner("theirs", "ana"))
        memory.record("s3", "hello")
        session = memory.reader.session(OWNER, "s3").session
        memory.extractor.extract(OWNER, session.row_id)

    ended = [run("extract", "--all", *more) for more in ((), ("--workspace", "theirs"))]

    by = "by rules: no language model is configured. `memsvc serve` or `memsvc worker` does it."
    assert [(status, out) for status, out, _ in ended] == [
        (0, f"{number} sessions are to be extracted, {by}\n") for number in (2, 1)
    ]


@pytest.mark.parametrize("half", ["MEMSVC_LLM_BASE_URL", "MEMSVC_LLM_MODEL"])
def test_half_of_a_language_model_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch, half: str) -> None:
    monkeypatch.setenv(half, "http://127.0.0.1:1/v1")
    run("migrate")

    status, _, err = run("extract", "--all")

    wanted = "A language model needs both MEMSVC_LLM_BASE_URL and MEMSVC_LLM_MODEL, or neither."
    assert (status, err) == (1, f"memsvc: {wanted}\n")


def test_rebuild_takes_over_what_another_encoder_had_filled(run: Run) -> None:
    with closing(build(Settings(), encoder=HashEncoder())) as service:
        memory = Memory(service.store, service.index)
        memory.record("s1", "a tortoise", "a ferry")
        memory.drain()
    refused = run("serve")

    status, out, err = run("rebuild")

    assert refused[0] == 1
    assert "Run `memsvc rebuild`" in refused[2]
    assert (status, out) == (0, "The index holds 2 rounds, encoded with memsvc-minilm-v2.\n")
    assert err == "2 of 2 rounds\n"
    assert run("doctor")[0] == 0


@pytest.mark.parametrize("command", ["serve", "rebuild"])
def test_index_that_is_open_elsewhere_is_left_alone(run: Run, folder: Path, command: str) -> None:
    with closing(build(Settings(), encoder=SHIPPED)):
        ended = run(command)

    assert ended == (
        1,
        "",
        f"memsvc: The embedded index in {folder / 'data' / 'index'} is open in another process, and admits one only. "
        "Stop that process, or set MEMSVC_QDRANT_URL to share a Qdrant server.\n",
    )


@pytest.mark.parametrize("damaged", ["edge_config.json", "payload_index/*/tracker.dat"])
def test_damaged_index_is_refused_with_what_to_do(run: Run, folder: Path, damaged: str) -> None:
    build(Settings(), encoder=SHIPPED).close()
    for file in (folder / "data" / "index").rglob(damaged):
        file.write_bytes(b"\xff" * file.stat().st_size)

    status, out, err = run("serve")

    assert (status, out) == (1, "")
    assert err.startswith(f"memsvc: The embedded index in {folder / 'data' / 'index'} cannot be read")
    assert "`memsvc rebuild`" in err


def test_demo_against_a_service_that_is_not_there(run: Run) -> None:
    status, _, err = run("demo", "--url", "http://127.0.0.1:1")

    assert status == 1
    assert is_one_line(err)
    assert "http://127.0.0.1:1" in err


def test_commands_are_processes_that_end_with_their_status(folder: Path) -> None:
    ended = [process("migrate"), process("keys", "revoke", "abc"), process("worker")]

    assert [one.returncode for one in ended] == [0, 1, 1]
    assert [one.stdout for one in ended] == [f"The schema is at revision {schema.head()}.\n", "", ""]
    assert [one.stderr.count("\n") for one in ended] == [0, 1, 1]


def is_one_line(complaint: str) -> bool:
    """Whether a complaint is one line, said by memsvc."""
    return re.fullmatch(r"memsvc: [^\n]+\n", complaint) is not None


def caller(key: str) -> Caller:
    with closing(open_store(Settings())) as store:
        return Gatekeeper(store, SystemClock()).caller(f"Bearer {key}", is_local=False)


def stamp(revision: str) -> None:
    """Make the database say that it is at a revision."""
    engine = make_engine(Settings().store_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    engine.dispose()


def process(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "memsvc", *arguments], capture_output=True, text=True, timeout=60)
