"""One history of the schema for both databases: up, down and up again, with rows in every table."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    CHAR,
    JSON,
    Boolean,
    Column,
    DateTime,
    Engine,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Uuid,
    inspect,
    select,
    text,
)
from sqlalchemy.schema import CreateTable

from memsvc.store import schema, tables
from memsvc.store.database import make_engine
from tests.doubles import until

ROOT = Path(__file__).parents[1]
REVISIONS = [
    script.revision
    for script in reversed(
        list(ScriptDirectory.from_config(Config(toml_file=ROOT / "pyproject.toml")).walk_revisions())
    )
]

# A step that makes SQLite write a table with children anew.
REWRITING_REVISION = '''"""A table with children, written anew."""

import sqlalchemy as sa
from alembic import op

revision = "rewriting"
down_revision = "{newest}"


def upgrade() -> None:
    """Upgrade schema."""
    for table in ("workspaces", "users", "sessions", "rounds"):
        with op.batch_alter_table(table) as batch_op:
            batch_op.add_column(sa.Column("note", sa.Text(), nullable=False, server_default="none"))
        with op.batch_alter_table(table) as batch_op:
            batch_op.alter_column("note", server_default=None)


def downgrade() -> None:
    """Downgrade schema."""
    for table in ("workspaces", "users", "sessions", "rounds"):
        with op.batch_alter_table(table) as batch_op:
            batch_op.drop_column("note")
'''

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(params=["sqlite", "postgresql"])
def bare_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without any table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'memsvc.sqlite3'}"
    made: str = request.getfixturevalue("fresh_postgres")("template1")
    return made


@pytest.fixture
def engine(bare_url: str) -> Iterator[Engine]:
    """An engine on a database without any table."""
    made = make_engine(bare_url)
    yield made
    made.dispose()


def test_up_down_and_up_again_with_rows_in_every_table(engine: Engine) -> None:
    schema.migrate(engine)
    fill(engine)

    schema.migrate(engine, to="base")
    left = set(inspect(engine).get_table_names())
    schema.migrate(engine)

    assert left == {"alembic_version"}
    assert differences(engine) == []
    assert rows(engine) == {name: [] for name in tables.metadata.tables}


def test_rows_survive_every_step(engine: Engine) -> None:
    for revision in REVISIONS:
        before = rows(engine)
        schema.migrate(engine, to=revision)
        assert kept(before, rows(engine)) == before
        fill(engine)
    assert {name for name, found in rows(engine).items() if found} == set(tables.metadata.tables)

    for revision in reversed(REVISIONS[:-1]):
        before = rows(engine)
        schema.migrate(engine, to=revision)
        after = rows(engine)
        assert kept(after, before) == after
        assert {name for name, found in after.items() if not found} == set()


def test_rows_survive_a_step_that_writes_their_parents_anew(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema.migrate(engine)
    fill(engine)
    before = rows(engine)
    # There is no other way to have a step that the history may not have yet.
    monkeypatch.setattr(schema, "_SHIPPED", rewriting_history(tmp_path))

    schema.migrate(engine)
    above = rows(engine)
    schema.migrate(engine, to=REVISIONS[-1])

    assert {row["note"] for name in ("workspaces", "users", "sessions", "rounds") for row in above[name]} == {"none"}
    assert kept(before, above) == before
    assert rows(engine) == before
    assert differences(engine) == []


def test_index_filled_before_there_were_token_vectors_is_known_as_such(engine: Engine) -> None:
    schema.migrate(engine, to="0001")
    fill(engine)
    before = rows(engine)

    schema.migrate(engine, to="0002")

    after = rows(engine)
    assert after["live_index"] == [{**before["live_index"][0], "token_dimension": 0, "form": 1, "variant": ""}]
    assert after["rounds"] == [{**before["rounds"][0], "terms": None}]


def test_what_token_vectors_left_goes_on_the_way_down_and_nothing_else(engine: Engine) -> None:
    schema.migrate(engine, to="0002")
    fill(engine)
    filled = rows(engine)

    schema.migrate(engine, to="0001")
    schema.migrate(engine, to="0002")

    ((live, round_),) = zip(filled["live_index"], filled["rounds"], strict=True)
    assert (live["token_dimension"], live["form"], round_["terms"]) == (1, 1, b"\x07\x00\x00\x00")
    assert rows(engine) == {
        **filled,
        "live_index": [{**live, "token_dimension": 0, "form": 1, "variant": ""}],
        "rounds": [{**round_, "terms": None}],
    }


def test_turns_recorded_before_there_were_times_have_the_time_of_their_round(engine: Engine) -> None:
    schema.migrate(engine, to="0002")
    fill(engine)
    before = rows(engine)

    schema.migrate(engine, to="0003")

    after = rows(engine)
    recorded_at = before["rounds"][0]["recorded_at"]
    unknown = {"said_weekday": None, "said_minute": None}
    usual = {"time_zone": None, "week_start": 0, "language": "en"}
    assert after["turns"] == [{**before["turns"][0], "recorded_at": recorded_at, **unknown}]
    assert after["users"] == [{**before["users"][0], **usual}]
    assert after["turn_times"] == []


def test_each_turn_has_the_time_of_its_own_round(engine: Engine) -> None:
    schema.migrate(engine, to="0002")
    fill(engine)
    later = datetime(2025, 2, 1, 12, tzinfo=UTC)
    another(engine, "rounds", id=UUID(int=8), recorded_at=later, first_position=2)
    another(engine, "turns", id=UUID(int=8), round_row=UUID(int=8), position=2, turn_id="b")

    schema.migrate(engine, to="0003")

    turns = {row["turn_id"]: row["recorded_at"].replace(tzinfo=UTC) for row in rows(engine)["turns"]}
    assert turns == {"a": datetime(2025, 1, 1, 12, tzinfo=UTC), "b": later}


def test_what_time_left_goes_on_the_way_down_and_nothing_else(engine: Engine) -> None:
    schema.migrate(engine, to="0003")
    fill(engine)
    filled = rows(engine)

    schema.migrate(engine, to="0002")
    below = rows(engine)
    schema.migrate(engine, to="0003")

    ((turn, user),) = zip(filled["turns"], filled["users"], strict=True)
    assert (turn["said_weekday"], user["time_zone"], user["language"], len(filled["turn_times"])) == (1, "a", "a", 1)
    assert below == kept(below, {name: found for name, found in filled.items() if name != "turn_times"})
    assert rows(engine) == {
        **filled,
        "turns": [{**turn, "said_weekday": None, "said_minute": None}],
        "users": [{**user, "time_zone": None, "week_start": 0, "language": "en"}],
        "turn_times": [],
    }


def test_what_was_recorded_before_there_were_facts_is_not_extracted_yet(engine: Engine) -> None:
    schema.migrate(engine, to="0003")
    fill(engine)
    before = rows(engine)

    schema.migrate(engine, to="0004")

    after = rows(engine)
    ((fact,), (grown,)) = before["facts"], after["facts"]
    assert kept(before, after) == before
    assert after["rounds"] == [{**before["rounds"][0], "drawn": 0, "drawn_by": None}]
    assert after["users"] == [{**before["users"][0], "ledger": 0}]
    wishes = {"daily_tokens": None, "guidelines": "", "kinds": None}
    assert after["workspaces"] == [{**before["workspaces"][0], **wishes}]
    # Where it was said was not kept.
    assert (grown["turn_id"], grown["quote"], grown["first"], grown["last"]) == ("", "", 0, 0)
    assert (grown["said_at"], grown["told_at"], grown["subject"]) == (fact["valid_at"],) * 2 + (fact["speaker"],)
    assert (grown["merged_into"], grown["gone_at"], grown["indexed_at"], grown["vector"]) == (None,) * 4
    assert [after[name] for name in ("fact_bonds", "fact_changes", "decisions", "usage")] == [[]] * 4


def test_what_facts_left_goes_on_the_way_down_and_nothing_else(engine: Engine) -> None:
    schema.migrate(engine, to="0004")
    fill(engine)
    filled = rows(engine)
    another(engine, "outbox", id=UUID(int=8), kind="extract")
    new = ("fact_bonds", "fact_changes", "decisions", "usage")

    schema.migrate(engine, to="0003")
    below = rows(engine)
    schema.migrate(engine, to="0004")

    assert [len(filled[name]) for name in new] == [1] * 4
    assert below == kept(below, {name: found for name, found in filled.items() if name not in new})
    again = rows(engine)
    assert again["rounds"] == [{**filled["rounds"][0], "drawn": 0, "drawn_by": None}]
    assert again["outbox"] == filled["outbox"]
    assert [again[name] for name in new] == [[]] * 4


def test_history_ends_at_the_tables_of_the_code(engine: Engine) -> None:
    schema.migrate(engine)

    assert differences(engine) == []
    assert checks_on(engine) == checks_in_code()


def test_history_is_one_line() -> None:
    assert REVISIONS[-1] == schema.head()
    assert len(set(REVISIONS)) == len(REVISIONS)


@pytest.mark.parametrize("bare_url", ["sqlite"], indirect=True)
def test_foreign_keys_are_on_again_after_a_migration(engine: Engine) -> None:
    schema.migrate(engine)

    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


@pytest.mark.parametrize("bare_url", ["sqlite"], indirect=True)
def test_migration_that_leaves_orphans_says_so(engine: Engine, tmp_path: Path) -> None:
    schema.migrate(engine)
    fill(engine)
    with closing(sqlite3.connect(tmp_path / "memsvc.sqlite3")) as careless:
        careless.execute("DELETE FROM workspaces")
        careless.commit()

    with pytest.raises(RuntimeError, match="the migration left rows without their parents"):
        schema.migrate(engine)


def test_alembic_runs_from_the_project_file(bare_url: str) -> None:
    upgraded = alembic("upgrade", "head", url=bare_url)
    checked = alembic("check", url=bare_url)

    assert (upgraded.returncode, upgraded.stderr) == (0, "")
    assert (checked.returncode, checked.stdout) == (0, "No new upgrade operations detected.\n")


def test_processes_that_migrate_at_once_all_succeed(postgres: str, fresh_postgres: Callable[[str], str]) -> None:
    url = fresh_postgres("template1")
    engine = make_engine(url)
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]

    with engine.connect() as blocking:
        # All wait for the lock that one who migrates holds (`migrations/env.py`), then each for the one before.
        blocking.execute(text("SELECT pg_advisory_lock(7305931221)"))
        migrating = [subprocess.Popen(command, cwd=ROOT, env=environment(url)) for _ in range(3)]
        until(lambda: waiting(engine) == len(migrating), within_s=90)
        time.sleep(6)  # Longer than any other lock is waited for.
        blocking.execute(text("SELECT pg_advisory_unlock(7305931221)"))
    ended = [process.wait(90) for process in migrating]

    assert ended == [0, 0, 0]
    assert schema.current(engine) == schema.head()
    engine.dispose()


def fill(engine: Engine) -> None:
    """Give every empty table a row; all values of a type are the same, so that each row finds its parents."""
    metadata = reflected(engine)
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            if connection.execute(select(table)).first() is None:
                checks = inspect(engine).get_check_constraints(table.name)
                allowed = " ".join(str(check["sqltext"]) for check in checks)
                connection.execute(table.insert().values({column.name: value(column, allowed) for column in table.c}))


def another(engine: Engine, name: str, **changes: Any) -> None:
    """Give a table that has a row one more like it, changed so."""
    table = reflected(engine).tables[name]
    # SQLite's form of an id is its hexadecimal digits.
    kinds = {column.name: column.type for column in table.c}
    values = {
        column: value.hex if isinstance(value, UUID) and not isinstance(kinds[column], Uuid) else value
        for column, value in changes.items()
    }
    with engine.begin() as connection:
        connection.execute(table.insert().values({**all_of(connection, table)[0], **values}))


def value(column: Column[Any], checks: str) -> Any:
    """A value that the column takes: the first that a check on it names, else one of its type."""
    listed = re.search(rf"\b{column.name}\b[^']*'([^']+)'", checks)
    if listed:
        return listed[1]
    values = {
        Uuid: UUID(int=7),
        JSON: {"a": [1]},
        DateTime: datetime(2025, 1, 1, 12, tzinfo=UTC),
        Boolean: True,
        Float: 0.5,
        Integer: 1,
        LargeBinary: b"\x07\x00\x00\x00",
        CHAR: UUID(int=7).hex,  # SQLite's form of an id
    }
    return next((value for kind, value in values.items() if isinstance(column.type, kind)), "a")


def rows(engine: Engine) -> Rows:
    """Every row of every table."""
    with engine.connect() as connection:
        return {table.name: all_of(connection, table) for table in reflected(engine).sorted_tables}


def all_of(connection: Any, table: Table) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(select(table)).mappings()]


def kept(before: Rows, after: Rows) -> Rows:
    """The rows of `after`, in the tables and columns of `before`."""
    return {
        name: [{column: row[column] for column in found[0]} for row in after.get(name, [])] if found else []
        for name, found in before.items()
    }


def reflected(engine: Engine) -> MetaData:
    """The tables as they are in the database, without Alembic's own."""
    metadata = MetaData()
    metadata.reflect(engine, only=lambda name, _: name != "alembic_version")
    return metadata


def differences(engine: Engine) -> list[Any]:
    """What Alembic would still change."""
    with engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), tables.metadata))


def checks_on(engine: Engine) -> dict[str | None, set[str]]:
    """The values that the database's checks list, by the check's name; Alembic does not compare them."""
    found = (check for table in tables.metadata.tables for check in inspect(engine).get_check_constraints(table))
    return {check["name"]: set(re.findall(r"'(\w+)'", str(check["sqltext"]))) for check in found}


def checks_in_code() -> dict[str | None, set[str]]:
    """The same of the checks in the code."""
    statements = "\n".join(str(CreateTable(table)) for table in tables.metadata.sorted_tables)
    found = re.findall(r"CONSTRAINT (ck_\w+) CHECK \((.*)\)", statements)
    return {name: set(re.findall(r"'(\w+)'", listed)) for name, listed in found}


def rewriting_history(folder: Path) -> Path:
    """A copy of the migrations with one step more."""
    copy = folder / "migrations"
    shutil.copytree(ROOT / "migrations", copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "versions" / "rewriting.py").write_text(REWRITING_REVISION.format(newest=REVISIONS[-1]))
    return copy


def alembic(*arguments: str, url: str) -> "subprocess.CompletedProcess[str]":
    """Alembic's own command, with nothing but the project file to go by."""
    command = [sys.executable, "-m", "alembic", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment(url), capture_output=True, text=True, timeout=60)


def environment(url: str) -> dict[str, str]:
    return {**os.environ, "MEMSVC_DATABASE_URL": url}


def waiting(engine: Engine) -> int:
    """How many connections to the database wait for a lock."""
    statement = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with engine.connect() as connection:
        return int(connection.execute(statement).scalar_one())
