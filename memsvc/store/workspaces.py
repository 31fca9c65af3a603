"""Workspaces, their users and their API keys."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, insert, select, tuple_, update

from memsvc.domain import ApiKey, Owner, Scope
from memsvc.store.dialects import insert_unless_known, owned
from memsvc.store.tables import api_keys, users, workspaces


@dataclass(frozen=True, slots=True)
class Extraction:
    """How a workspace wants facts to be extracted: guidelines, kinds of its own, and how many tokens a day it may cost.

    None for `daily_tokens` is the service's own limit.
    """

    guidelines: str = ""
    kinds: dict[str, str] = field(default_factory=dict)
    daily_tokens: int | None = None


class Workspaces:
    """Statements about tenants."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ensure(self, workspace: str, *, now: datetime) -> None:
        """Make the workspace unless it is there."""
        insert_unless_known(self._connection, workspaces, {"workspace": workspace, "created_at": now})

    def set_time_zone(self, workspace: str, time_zone: str | None) -> None:
        """Set the zone that times without one are read in; None refuses such times."""
        statement = update(workspaces).where(workspaces.c.workspace == workspace)
        self._connection.execute(statement.values(time_zone=time_zone))

    def time_zone(self, workspace: str) -> str | None:
        """The zone that times without one are read in."""
        return self._connection.execute(
            select(workspaces.c.time_zone).where(workspaces.c.workspace == workspace)
        ).scalar()

    def extraction(self, workspace: str) -> Extraction:
        """How the workspace wants facts to be extracted; the usual way for one nobody knows."""
        columns = workspaces.c.guidelines, workspaces.c.kinds, workspaces.c.daily_tokens
        row = self._connection.execute(select(*columns).where(workspaces.c.workspace == workspace)).one_or_none()
        return Extraction(row.guidelines, dict(row.kinds or {}), row.daily_tokens) if row else Extraction()

    def set_extraction(self, workspace: str, wanted: Extraction) -> None:
        """Say how a known workspace wants facts to be extracted."""
        values = {"guidelines": wanted.guidelines, "kinds": wanted.kinds, "daily_tokens": wanted.daily_tokens}
        self._connection.execute(update(workspaces).where(workspaces.c.workspace == workspace).values(values))

    def names(self) -> list[str]:
        """Every workspace, by name."""
        return list(self._connection.execute(select(workspaces.c.workspace).order_by("workspace")).scalars())

    def ensure_user(self, owner: Owner, *, now: datetime) -> None:
        """Make the user unless it is there, and keep it from being deleted until the transaction ends."""
        self.ensure(owner.workspace, now=now)
        row = {"workspace": owner.workspace, "user_id": owner.user_id, "created_at": now}
        held = select(users.c.user_id).where(*owned(users, owner)).with_for_update(read=True, key_share=True)
        while not insert_unless_known(self._connection, users, row) and self._connection.execute(held).first() is None:
            pass  # Another transaction has deleted the user between the two statements.

    def lock_user(self, owner: Owner, *, to_delete: bool = False) -> bool:
        """Let one transaction at a time go on for this user (PostgreSQL; SQLite has one writer anyway).

        Recording goes on meanwhile, unless the user is locked `to_delete` it. False when nobody knows the user.
        """
        statement = select(users.c.user_id).where(*owned(users, owner))
        return self._connection.execute(statement.with_for_update(key_share=not to_delete)).first() is not None

    def lock_users(self, owners: Collection[Owner] | None = None) -> None:
        """Lock each of these users as `lock_user` does, or every user there is."""
        statement = select(users.c.user_id).order_by(users.c.workspace, users.c.user_id)
        if owners is not None:
            names = [(owner.workspace, owner.user_id) for owner in set(owners)]
            statement = statement.where(tuple_(users.c.workspace, users.c.user_id).in_(names))
        self._connection.execute(statement.with_for_update(key_share=True))

    def has_user(self, owner: Owner) -> bool:
        """Whether the user is known."""
        return bool(self._connection.execute(select(exists().where(*owned(users, owner)))).scalar())

    def seen_at(self, owner: Owner) -> datetime | None:
        """When the user was first seen; None for one nobody knows."""
        return self._connection.execute(select(users.c.created_at).where(*owned(users, owner))).scalar()

    def users(self, workspace: str, *, after: str | None, limit: int) -> list[tuple[str, datetime]]:
        """User ids with the time they were first seen, by id, after `after`."""
        statement = select(users.c.user_id, users.c.created_at).where(users.c.workspace == workspace)
        if after is not None:
            statement = statement.where(users.c.user_id > after)
        return [(row[0], row[1]) for row in self._connection.execute(statement.order_by("user_id").limit(limit))]

    def delete_user(self, owner: Owner) -> None:
        """Delete the user and, by cascade, all that is theirs."""
        self._connection.execute(delete(users).where(*owned(users, owner)))

    def any_key(self) -> bool:
        """Whether any workspace has, or ever had, a key: revoking the last one opens no door."""
        return bool(self._connection.execute(select(exists(select(api_keys.c.prefix)))).scalar())

    def add_key(self, key: ApiKey, *, secret_hash: str) -> None:
        """Keep a new key's prefix and hash."""
        row = {
            "prefix": key.prefix,
            "workspace": key.workspace,
            "secret_hash": secret_hash,
            "scopes": sorted(key.scopes),
            "created_at": key.created_at,
        }
        self._connection.execute(insert(api_keys).values(row))

    def key(self, prefix: str) -> tuple[ApiKey, str] | None:
        """The key of that prefix and its secret's hash."""
        row = self._connection.execute(select(api_keys).where(api_keys.c.prefix == prefix)).one_or_none()
        return row and (_key(row), row.secret_hash)

    def keys(self, workspace: str | None) -> list[ApiKey]:
        """The keys of one workspace, or of all, oldest first."""
        statement = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.prefix)
        if workspace is not None:
            statement = statement.where(api_keys.c.workspace == workspace)
        return [_key(row) for row in self._connection.execute(statement)]

    def revoke_key(self, prefix: str, *, now: datetime) -> bool:
        """End a key; False when no key in force has that prefix."""
        statement = update(api_keys).where(api_keys.c.prefix == prefix, api_keys.c.revoked_at.is_(None))
        return self._connection.execute(statement.values(revoked_at=now)).rowcount == 1


def _key(row: Row[Any]) -> ApiKey:
    scopes = frozenset(Scope(scope) for scope in row.scopes)
    return ApiKey(row.prefix, row.workspace, scopes, row.created_at, row.revoked_at)
