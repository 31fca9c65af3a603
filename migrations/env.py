"""Runs the migrations over a connection that the caller hands in, or over MEMSVC_DATABASE_URL."""

from typing import Literal

from alembic import context
from sqlalchemy import Connection

from memsvc.settings import Settings
from memsvc.store.database import make_engine
from memsvc.store.tables import UTCDateTime, metadata

# The number means nothing; it only has to be the same in every process that migrates.
_MIGRATION_LOCK = 7_305_931_221


def run(connection: Connection) -> None:
    """Migrate, on SQLite with foreign keys off: a batch change drops the old table, and its children would go along."""
    is_sqlite = connection.dialect.name == "sqlite"
    if is_sqlite:
        _set_foreign_keys(connection, "OFF")
    else:
        # Another's migration may take longer than any other lock is waited for.
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({_MIGRATION_LOCK})")
        connection.commit()
    try:
        context.configure(
            connection=connection,
            target_metadata=metadata,
            render_as_batch=is_sqlite,
            render_item=_render_item,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()
    finally:
        _after(connection, is_sqlite=is_sqlite)


def _set_foreign_keys(connection: Connection, state: str) -> None:
    """Inside a transaction this would do nothing at all, so it goes past SQLAlchemy, which would begin one."""
    driver = connection.connection.driver_connection
    if driver is None or driver.in_transaction:
        raise RuntimeError("foreign keys can be switched outside of a transaction only")
    driver.execute(f"PRAGMA foreign_keys={state}")


def _render_item(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Migrations stand by themselves: our column type is written as the one below it."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UTCDateTime) else False


def _after(connection: Connection, *, is_sqlite: bool) -> None:
    connection.rollback()
    if not is_sqlite:
        connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_MIGRATION_LOCK})")
        connection.commit()
        return
    orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    connection.rollback()
    _set_foreign_keys(connection, "ON")
    if orphans:
        raise RuntimeError(f"the migration left rows without their parents: {orphans[:5]}")


handed = context.config.attributes.get("connection")
if handed is not None:
    run(handed)
else:
    with make_engine(Settings().store_url).connect() as own:
        run(own)
