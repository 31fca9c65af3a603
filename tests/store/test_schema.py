"""The schema's version: a fresh embedded database gets it, and any other than the newest is refused with what to do."""

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from memsvc.app import open_store
from memsvc.errors import SchemaMismatch, StoreUnavailable
from memsvc.settings import Settings
from memsvc.store import schema
from memsvc.store.database import Store

MIGRATIONS = Path(__file__).parents[2] / "migrations"

# What a newer version of memsvc would bring.
NEXT_REVISION = '''"""The next schema."""

revision = "next"
down_revision = "{newest}"


def upgrade() -> None:
    """Upgrade schema."""


def downgrade() -> None:
    """Downgrade schema."""
'''


def stamp(store: Store, revision: str) -> None:
    """Make the database say that it is at a revision."""
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def test_fresh_embedded_database_migrates_itself(settings: Settings) -> None:
    with closing(open_store(settings)) as store:
        assert schema.current(store.engine) == schema.head()


def test_embedded_database_is_opened_again_as_it_is(settings: Settings) -> None:
    open_store(settings).close()

    with closing(open_store(settings)) as store:
        assert schema.current(store.engine) == schema.head()


def test_server_without_the_schema_is_refused(settings: Settings, fresh_postgres: Callable[[str], str]) -> None:
    fresh = settings.model_copy(update={"database_url": fresh_postgres("template1")})

    with pytest.raises(SchemaMismatch) as raised:
        open_store(fresh)

    assert str(raised.value) == "The database has no memsvc schema yet. Run `memsvc migrate`."


def test_file_named_by_its_url_is_not_migrated_unasked(settings: Settings, tmp_path: Path) -> None:
    fresh = settings.model_copy(update={"database_url": f"sqlite:///{tmp_path / 'own.sqlite3'}"})

    with pytest.raises(SchemaMismatch) as raised:
        open_store(fresh)

    assert str(raised.value) == "The database has no memsvc schema yet. Run `memsvc migrate`."


def test_embedded_database_with_tables_of_another_program_is_left_alone(settings: Settings) -> None:
    settings.data_dir.mkdir()
    with closing(Store(settings.store_url)) as store, store.engine.begin() as connection:
        connection.execute(text("CREATE TABLE recipes (name TEXT)"))

    with pytest.raises(SchemaMismatch) as raised:
        open_store(settings)

    assert str(raised.value) == "The database has no memsvc schema yet. Run `memsvc migrate`."


def test_unknown_revision_is_refused(store: Store) -> None:
    stamp(store, "9999")

    with pytest.raises(SchemaMismatch) as raised:
        schema.require_current(store.engine)

    assert str(raised.value) == (
        "The database's schema is at revision 9999, which this version of memsvc does not know (it knows up to "
        f"{schema.head()}). Run the newer memsvc that wrote it, or restore a backup."
    )


def test_unknown_revision_is_not_migrated(store: Store) -> None:
    stamp(store, "9999")

    with pytest.raises(SchemaMismatch) as raised:
        schema.migrate(store.engine)

    assert str(raised.value) == (
        "The database's schema is at revision 9999, which this version of memsvc does not know (it knows up to "
        f"{schema.head()}). Run the newer memsvc that wrote it, or restore a backup."
    )


def test_older_revision_is_refused(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newest = schema.head()
    shutil.copytree(MIGRATIONS, tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "migrations/versions/next.py").write_text(NEXT_REVISION.format(newest=newest))
    # There is no other way to be the newer version that finds what this one left.
    monkeypatch.setattr(schema, "_SHIPPED", tmp_path / "migrations")

    with pytest.raises(SchemaMismatch) as raised:
        schema.require_current(store.engine)

    assert str(raised.value) == (
        f"The database's schema is at revision {newest}, this version of memsvc needs next. "
        "Make a backup, then run `memsvc migrate`."
    )


def test_older_revision_is_migrated(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(MIGRATIONS, tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "migrations/versions/next.py").write_text(NEXT_REVISION.format(newest=schema.head()))
    monkeypatch.setattr(schema, "_SHIPPED", tmp_path / "migrations")

    schema.migrate(store.engine)

    assert schema.current(store.engine) == "next"


def test_database_that_does_not_answer_is_no_mismatch(settings: Settings) -> None:
    gone = settings.model_copy(update={"database_url": "postgresql://postgres@127.0.0.1:1/memsvc"})

    with pytest.raises(StoreUnavailable):
        open_store(gone)
