"""The Gatekeeper: who asks, by an API key, or from this very machine while there is none."""

from collections.abc import Iterable

import pytest
from sqlalchemy import select

from memsvc.domain import ApiKey, Caller, Scope
from memsvc.errors import BadSetting, KeyNotFound, Unauthorized, UnsafeAddress
from memsvc.memory.access import Gatekeeper, is_loopback
from memsvc.store import tables
from memsvc.store.database import Store
from tests.doubles import FixedClock


@pytest.fixture
def gatekeeper(store: Store) -> Gatekeeper:
    return Gatekeeper(store, FixedClock())


def create(gatekeeper: Gatekeeper, workspace: str = "default", scopes: Iterable[Scope] = (Scope.READ,)) -> str:
    text, _ = gatekeeper.create_key(workspace, scopes)
    return text


def test_key_is_shown_once_and_never_kept(store: Store, gatekeeper: Gatekeeper) -> None:
    text, key = gatekeeper.create_key("default", [Scope.READ, Scope.WRITE])

    mark, prefix, secret = text.split("_", 2)
    assert key == ApiKey(prefix, "default", frozenset({Scope.READ, Scope.WRITE}), FixedClock().now())
    assert (mark, len(prefix)) == ("mem", 12)
    assert len(secret) >= 43
    with store.engine.connect() as connection:
        (row,) = connection.execute(select(tables.api_keys)).all()
    assert secret not in str(row)


def test_keys_differ(gatekeeper: Gatekeeper) -> None:
    assert create(gatekeeper) != create(gatekeeper)


@pytest.mark.parametrize("is_local", [True, False])
def test_caller_is_known_by_the_key(gatekeeper: Gatekeeper, is_local: bool) -> None:
    gatekeeper.set_time_zone("theirs", "Europe/Berlin")
    text = create(gatekeeper, "theirs", [Scope.READ, Scope.WRITE])

    caller = gatekeeper.caller(f"Bearer {text}", is_local=is_local)

    assert caller == Caller("theirs", frozenset({Scope.READ, Scope.WRITE}), "Europe/Berlin")


@pytest.mark.parametrize("kind", ["bearer", "BEARER", "Bearer"])
def test_word_before_the_key_may_be_written_anyhow(gatekeeper: Gatekeeper, kind: str) -> None:
    text = create(gatekeeper)

    assert gatekeeper.caller(f"{kind}  {text} ", is_local=False).workspace == "default"


def test_secret_may_hold_the_separator(gatekeeper: Gatekeeper) -> None:
    texts = [create(gatekeeper) for _ in range(20)]

    assert {gatekeeper.caller(f"Bearer {text}", is_local=False).workspace for text in texts} == {"default"}


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("", id="empty"),
        pytest.param("Bearer", id="no-key"),
        pytest.param("Bearer mem_", id="no-prefix"),
        pytest.param("Bearer mem_abc", id="no-secret"),
        pytest.param("Bearer mem_abc_", id="empty-secret"),
        pytest.param("Bearer key_abc_def", id="other-mark"),
        pytest.param("Basic mem_abc_def", id="other-kind"),
        pytest.param("mem_abc_def", id="no-kind"),
    ],
)
def test_header_of_another_form_is_refused(gatekeeper: Gatekeeper, header: str) -> None:
    with pytest.raises(Unauthorized, match="is not of the form: Bearer mem_<prefix>_<secret>"):
        gatekeeper.caller(header, is_local=True)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text[:-1], id="shorter"),
        pytest.param(lambda text: text + "x", id="longer"),
        pytest.param(lambda text: text.swapcase().replace("MEM", "mem", 1), id="other-case"),
        pytest.param(lambda text: "mem_" + "0" * 12 + "_" + text.split("_", 2)[2], id="unknown-prefix"),
        pytest.param(lambda text: text + "\udc80", id="surrogate"),
    ],
)
def test_wrong_key_is_refused(gatekeeper: Gatekeeper, change: object) -> None:
    assert callable(change)
    wrong = change(create(gatekeeper))

    with pytest.raises(Unauthorized, match="is not known, or was revoked"):
        gatekeeper.caller(f"Bearer {wrong}", is_local=True)


def test_secret_of_another_key_is_refused(gatekeeper: Gatekeeper) -> None:
    mine, other = create(gatekeeper), create(gatekeeper)
    mixed = "_".join([*mine.split("_")[:2], other.split("_", 2)[2]])

    with pytest.raises(Unauthorized, match="is not known"):
        gatekeeper.caller(f"Bearer {mixed}", is_local=True)


def test_revoked_key_is_refused_at_once(gatekeeper: Gatekeeper) -> None:
    text, key = gatekeeper.create_key("default", [Scope.ADMIN])

    gatekeeper.revoke_key(key.prefix)

    with pytest.raises(Unauthorized, match="was revoked"):
        gatekeeper.caller(f"Bearer {text}", is_local=True)
    (listed,) = gatekeeper.keys("default")
    assert listed.revoked_at == FixedClock().now()


def test_key_that_is_not_in_force_cannot_be_revoked(gatekeeper: Gatekeeper) -> None:
    _, key = gatekeeper.create_key("default", [Scope.ADMIN])
    gatekeeper.revoke_key(key.prefix)

    with pytest.raises(KeyNotFound, match="no key with the prefix"):
        gatekeeper.revoke_key(key.prefix)
    with pytest.raises(KeyNotFound, match="'nobodys'"):
        gatekeeper.revoke_key("nobodys")


def test_local_caller_needs_no_key_while_there_is_none(gatekeeper: Gatekeeper) -> None:
    gatekeeper.set_time_zone("default", "Asia/Tokyo")

    caller = gatekeeper.caller(None, is_local=True)

    assert caller == Caller("default", frozenset(Scope), "Asia/Tokyo")


def test_remote_caller_needs_a_key_even_while_there_is_none(gatekeeper: Gatekeeper) -> None:
    with pytest.raises(Unauthorized, match="answers clients of its own machine only"):
        gatekeeper.caller(None, is_local=False)


def test_first_key_of_any_workspace_ends_the_keyless_time(gatekeeper: Gatekeeper) -> None:
    create(gatekeeper, "theirs")

    with pytest.raises(Unauthorized, match="Send an API key"):
        gatekeeper.caller(None, is_local=True)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "Europe", "\x00"])
def test_unknown_time_zone_is_refused(gatekeeper: Gatekeeper, zone: str) -> None:
    with pytest.raises(BadSetting, match="is not a time zone; give one like Europe/Berlin"):
        gatekeeper.set_time_zone("default", zone)


def test_keys_are_listed_by_workspace_or_all(gatekeeper: Gatekeeper) -> None:
    _, mine = gatekeeper.create_key("default", [Scope.READ])
    _, theirs = gatekeeper.create_key("theirs", [Scope.ADMIN])

    assert gatekeeper.keys("theirs") == [theirs]
    assert sorted(gatekeeper.keys(), key=lambda key: key.workspace) == [mine, theirs]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
def test_service_without_a_key_may_not_listen_beyond_its_machine(gatekeeper: Gatekeeper, host: str) -> None:
    with pytest.raises(UnsafeAddress, match="Create one with `memsvc keys create"):
        gatekeeper.require_safe(host)

    create(gatekeeper)
    gatekeeper.require_safe(host)


def test_service_without_a_key_may_listen_on_its_machine(gatekeeper: Gatekeeper) -> None:
    gatekeeper.require_safe("127.0.0.1")

    assert gatekeeper.keys() == []


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("", False),
        (None, False),
    ],
)
def test_loopback_is_this_machine_alone(host: str | None, expected: bool) -> None:
    assert is_loopback(host) is expected
