"""The Gatekeeper: API keys are made, known again and revoked; without any, only loopback clients are served."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from memsvc.clock import Clock
from memsvc.domain import ApiKey, Caller, Scope
from memsvc.errors import BadSetting, KeyNotFound, Unauthorized, UnsafeAddress
from memsvc.intervals import is_zone
from memsvc.store.database import Store
from memsvc.store.workspaces import Extraction

DEFAULT_WORKSPACE = "default"
_MARK = "mem"


class Gatekeeper:
    """Knows callers by their keys. A key is `mem_<prefix>_<secret>`: the prefix is shown, the secret kept as a hash."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def create_key(self, workspace: str, scopes: Iterable[Scope]) -> tuple[str, ApiKey]:
        """Make a key, and its workspace if it is new; the key's text is given here and never again."""
        secret, now = secrets.token_urlsafe(32), self._clock.now()
        key = ApiKey(secrets.token_hex(6), workspace, frozenset(scopes), created_at=now)
        with self._store.begin() as tx:
            tx.workspaces.ensure(workspace, now=now)
            tx.workspaces.add_key(key, secret_hash=_hash(secret))
        return f"{_MARK}_{key.prefix}_{secret}", key

    def keys(self, workspace: str | None = None) -> list[ApiKey]:
        """The keys of a workspace, or of all."""
        with self._store.read() as tx:
            return tx.workspaces.keys(workspace)

    def revoke_key(self, prefix: str) -> None:
        """End a key at once; raises KeyNotFound."""
        with self._store.begin() as tx:
            if not tx.workspaces.revoke_key(prefix, now=self._clock.now()):
                raise KeyNotFound(prefix)

    def workspaces(self) -> list[str]:
        """Every workspace, by name."""
        with self._store.read() as tx:
            return tx.workspaces.names()

    def extraction(self, workspace: str) -> Extraction:
        """How a workspace wants facts to be extracted."""
        with self._store.read() as tx:
            return tx.workspaces.extraction(workspace)

    def change_extraction(self, workspace: str, given: Mapping[str, Any]) -> Extraction:
        """Change how a workspace wants facts to be extracted, making it if it is new."""
        with self._store.begin() as tx:
            tx.workspaces.ensure(workspace, now=self._clock.now())
            wanted = replace(tx.workspaces.extraction(workspace), **given)
            tx.workspaces.set_extraction(workspace, wanted)
            return wanted

    def set_time_zone(self, workspace: str, time_zone: str | None) -> None:
        """Set the zone that a workspace's times without one are read in; raises BadSetting for an unknown zone."""
        if time_zone and not is_zone(time_zone):
            raise BadSetting(f"{time_zone!r} is not a time zone; give one like Europe/Berlin.")
        with self._store.begin() as tx:
            tx.workspaces.ensure(workspace, now=self._clock.now())
            tx.workspaces.set_time_zone(workspace, time_zone)

    def caller(self, authorization: str | None, *, is_local: bool) -> Caller:
        """Who asks, by the Authorization header; `is_local` says whether the client is on this machine itself.

        Raises Unauthorized.
        """
        with self._store.read() as tx:
            if authorization is None:
                if tx.workspaces.any_key():
                    raise Unauthorized("Send an API key: Authorization: Bearer <key>.")
                if not is_local:
                    raise Unauthorized("Without any API key the service answers clients of its own machine only.")
                return Caller(DEFAULT_WORKSPACE, frozenset(Scope), tx.workspaces.time_zone(DEFAULT_WORKSPACE))
            prefix, secret = _parts(authorization)
            known = tx.workspaces.key(prefix)
            key, secret_hash = known or (None, _hash(""))
            # The comparison runs for unknown keys too, so that time does not tell which prefixes exist.
            is_right = hmac.compare_digest(secret_hash, _hash(secret))
            if key is None or not is_right or key.revoked_at is not None:
                raise Unauthorized("This API key is not known, or was revoked.")
            return Caller(key.workspace, key.scopes, tx.workspaces.time_zone(key.workspace))

    def require_safe(self, host: str) -> None:
        """Raises UnsafeAddress when the service would listen beyond this machine without any key."""
        if is_loopback(host):
            return
        with self._store.read() as tx:
            if not tx.workspaces.any_key():
                raise UnsafeAddress(host)


def is_loopback(host: str | None) -> bool:
    """Whether an address or host name means this machine itself."""
    if host is None:
        return False
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _parts(authorization: str) -> tuple[str, str]:
    kind, _, text = authorization.partition(" ")
    mark, _, rest = text.strip().partition("_")
    prefix, _, secret = rest.partition("_")
    if kind.lower() != "bearer" or mark != _MARK or not prefix or not secret:
        raise Unauthorized("The Authorization header is not of the form: Bearer mem_<prefix>_<secret>.")
    return prefix, secret


def _hash(secret: str) -> str:
    # The secret has 256 random bits: a plain hash cannot be searched, and costs a request nothing.
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
