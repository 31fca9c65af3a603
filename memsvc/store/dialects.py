"""What SQLite and PostgreSQL say differently."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from memsvc.domain import Owner


def upsert(connection: Connection, table: Table) -> "postgresql.Insert | sqlite.Insert":
    """An INSERT that knows ON CONFLICT, in the connection's dialect."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def insert_unless_known(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert the row unless its key is there; says whether it was inserted."""
    statement = upsert(connection, table).values(dict(row)).on_conflict_do_nothing()
    # The count of affected rows is not known for an INSERT on every driver.
    return connection.execute(statement.returning(*table.primary_key)).first() is not None


def owned(table: Table, owner: Owner) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The two conditions that every statement about a user's rows carries."""
    return table.c.workspace == owner.workspace, table.c.user_id == owner.user_id
