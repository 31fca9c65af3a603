"""Statements about tenants, their users and their keys."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from memsvc.domain import ApiKey, Owner, Scope
from memsvc.store import tables
from memsvc.store.database import Store
from memsvc.store.workspaces import Extraction
from tests.factories import OWNER, STARTED, draft, recorder

NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def key(prefix: str, *, workspace: str = "default", created_at: datetime = NOW) -> ApiKey:
    return ApiKey(prefix, workspace, frozenset({Scope.READ, Scope.ADMIN}), created_at)


def add(store: Store, *keys: ApiKey) -> None:
    with store.begin() as tx:
        for new in keys:
            tx.workspaces.ensure(new.workspace, now=NOW)
            tx.workspaces.add_key(new, secret_hash=f"hash of {new.prefix}")


def test_workspace_is_made_once(store: Store) -> None:
    with store.begin() as tx:
        for name in ("b", "a", "b"):
            tx.workspaces.ensure(name, now=NOW)

        assert tx.workspaces.names() == ["a", "b"]


def test_time_zone_is_kept_and_taken_away(store: Store) -> None:
    seen = []
    with store.begin() as tx:
        tx.workspaces.ensure("default", now=NOW)
        for zone in ("Europe/Berlin", None):
            seen.append(tx.workspaces.time_zone("default"))
            tx.workspaces.set_time_zone("default", zone)
            seen.append(tx.workspaces.time_zone("default"))
        seen.append(tx.workspaces.time_zone("nobody's"))

    assert seen == [None, "Europe/Berlin", "Europe/Berlin", None, None]


def test_wishes_for_extraction_are_kept_and_taken_away(store: Store) -> None:
    wanted = Extraction("Leave out the weather.", {"allergy": "what somebody must not eat"}, 0)
    seen = []
    with store.begin() as tx:
        for name in ("default", "theirs"):
            tx.workspaces.ensure(name, now=NOW)
        for wishes in (wanted, Extraction()):
            seen.append(tx.workspaces.extraction("default"))
            tx.workspaces.set_extraction("default", wishes)
            seen.append(tx.workspaces.extraction("default"))
            seen.append(tx.workspaces.extraction("theirs"))
        seen.append(tx.workspaces.extraction("nobody's"))

    usual = Extraction()
    assert seen == [usual, wanted, usual, wanted, usual, usual, usual]


def test_user_keeps_the_time_it_was_first_seen(store: Store) -> None:
    with store.begin() as tx:
        tx.workspaces.ensure_user(OWNER, now=NOW)
        tx.workspaces.ensure_user(OWNER, now=LATER)

        assert tx.workspaces.users("default", after=None, limit=9) == [("ana", NOW)]
        assert tx.workspaces.has_user(OWNER)
        assert not tx.workspaces.has_user(Owner("theirs", "ana"))


def test_users_are_listed_by_id_in_pages_for_their_workspace_alone(store: Store) -> None:
    names = ["ana", "Zoe", "ben", "élise", "10", "9"]
    with store.begin() as tx:
        for name in names:
            tx.workspaces.ensure_user(Owner("default", name), now=NOW)
        tx.workspaces.ensure_user(Owner("theirs", "carl"), now=NOW)

        listed: list[str] = []
        while page := tx.workspaces.users("default", after=listed[-1] if listed else None, limit=2):
            listed += [user_id for user_id, _ in page]

    assert sorted(listed) == sorted(names)
    assert len(listed) == len(names)


def test_deleted_user_takes_everything_along(store: Store) -> None:
    for owner in (OWNER, Owner("theirs", "ana")):
        recorder(store).record(owner, "s1", [draft("hello")], started_at=STARTED, idempotency_key="key")

    with store.begin() as tx:
        tx.workspaces.delete_user(OWNER)

    with store.engine.connect() as connection:
        left = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (tables.users, tables.sessions, tables.rounds, tables.turns, tables.idempotency_keys)
        }
    assert left == {"users": 1, "sessions": 1, "rounds": 1, "turns": 1, "idempotency_keys": 1}


def test_key_is_found_by_its_prefix_with_the_hash_of_its_secret(store: Store) -> None:
    add(store, key("abc"))

    with store.read() as tx:
        found = [tx.workspaces.key("abc"), tx.workspaces.key("abd")]

    assert found == [(key("abc"), "hash of abc"), None]


def test_keys_are_listed_oldest_first(store: Store) -> None:
    keys = [key("new", created_at=LATER), key("old"), key("theirs", workspace="theirs")]
    add(store, *keys)

    with store.read() as tx:
        listed = [tx.workspaces.keys("default"), tx.workspaces.keys(None), tx.workspaces.keys("nobody's")]

    new, old, theirs = keys
    assert listed == [[old, new], [old, theirs, new], []]


def test_revoked_key_is_no_longer_in_force(store: Store) -> None:
    add(store, key("abc"))

    with store.begin() as tx:
        before = tx.workspaces.any_key()
        revoked = [tx.workspaces.revoke_key("abc", now=LATER), tx.workspaces.revoke_key("abc", now=LATER)]
        after = tx.workspaces.any_key()
        (listed,) = tx.workspaces.keys("default")

    # A workspace that had keys does not open its door to everybody when the last one is revoked.
    assert (before, revoked, after) == (True, [True, False], True)
    assert listed.revoked_at == LATER
