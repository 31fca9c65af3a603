"""Everything memsvc refuses, as one tree; `api/errors.py` gives each branch its HTTP status.

MemsvcError
├── Invalid               the request is malformed
│   └── InvalidCursor
├── TooLarge              the request is over a limit
│   ├── TooManyTurns · TurnTooLong · BodyTooLarge
├── NotFound              nothing of that name belongs to the caller
│   ├── SessionNotFound · UserNotFound · TaskNotFound · KeyNotFound · FactNotFound · WorkspaceNotFound
├── Conflict              the request contradicts what is on disk
│   ├── SessionConflict · IdempotencyConflict · TaskNotFailed · FactNotSuperseded
├── Unauthorized          no key, or none that is known
├── Forbidden             a key without the scope
├── Unavailable           something below is down or busy; nothing was accepted
│   ├── StoreUnavailable · StoreBusy · StoreReadOnly · IndexUnavailable
│   └── LlmUnavailable    the language model does not answer: LlmRefused · LlmPending
├── LlmAnswerInvalid      the language model answers with something else than it was asked for
│   └── LlmAnswerCutOff
├── BudgetUsedUp          the workspace's tokens of the day are used up
├── StorageFull           the disk is full; nothing was accepted
└── Misconfigured         the process cannot start as it is set up
    ├── SchemaMismatch · EncoderMismatch · EncoderNotFound · RerankerNotFound · DataDirUnusable · BadSetting
    └── IndexMissing · IndexDamaged · IndexLocked · IndexReplaced · UnsafeAddress
"""

import re


class MemsvcError(Exception):
    """The root. `str(error)` is a sentence a user can act on; `name` stands in the wire's `error`."""

    @property
    def name(self) -> str:
        """The class's name in snake_case."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()


class Invalid(MemsvcError):
    """The request is malformed; `fields` says where, as (path, message) pairs."""

    def __init__(self, detail: str, fields: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(detail)
        self.fields = fields

    @property
    def name(self) -> str:
        """`invalid_request` for the class itself."""
        return "invalid_request" if type(self) is Invalid else super().name


class InvalidCursor(Invalid):
    """The cursor was not made by this service."""

    def __init__(self) -> None:
        super().__init__("The cursor is not one this service gave; leave it out to start from the beginning.")


class TooLarge(MemsvcError):
    """The request is over a limit."""


class TooManyTurns(TooLarge):
    """More turns in one request than the limit."""

    def __init__(self, turns: int, limit: int) -> None:
        super().__init__(
            f"The request has {turns} turns; the limit is {limit} (MEMSVC_MAX_TURNS). "
            "Send the rest with POST to the session's turns."
        )


class TurnTooLong(TooLarge):
    """A turn with more characters than the limit."""

    def __init__(self, turn_id: str, characters: int, limit: int) -> None:
        super().__init__(
            f"Turn {turn_id!r} has {characters} characters; the limit is {limit} (MEMSVC_MAX_TURN_CHARS). "
            "Nothing of the request was recorded."
        )


class BodyTooLarge(TooLarge):
    """A request body with more bytes than the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request body is over {limit} bytes (MEMSVC_MAX_BODY_BYTES).")


class NotFound(MemsvcError):
    """Nothing of that name belongs to the caller."""


class SessionNotFound(NotFound):
    """The user has no such session."""

    def __init__(self, user_id: str, session_id: str) -> None:
        super().__init__(f"User {user_id!r} has no session {session_id!r}.")


class UserNotFound(NotFound):
    """The workspace has no such user."""

    def __init__(self, user_id: str) -> None:
        super().__init__(f"There is no user {user_id!r}.")


class TaskNotFound(NotFound):
    """The workspace has no such task."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"There is no task {task_id!r}.")


class KeyNotFound(NotFound):
    """The workspace has no such API key."""

    def __init__(self, prefix: str) -> None:
        super().__init__(f"There is no key with the prefix {prefix!r}.")


class FactNotFound(NotFound):
    """The user has no such fact."""

    def __init__(self, fact_id: str) -> None:
        super().__init__(f"There is no fact {fact_id!r}.")


class WorkspaceNotFound(NotFound):
    """The caller has no such workspace."""

    def __init__(self, workspace: str) -> None:
        super().__init__(f"There is no workspace {workspace!r}.")


class Conflict(MemsvcError):
    """The request contradicts what is on disk."""


class SessionConflict(Conflict):
    """A turn that is on disk came again with other content."""

    def __init__(self, session_id: str, what: str) -> None:
        super().__init__(
            f"Session {session_id!r} is on disk with other content: {what}. What was recorded is never changed; "
            "record a new session, or delete this one first."
        )


class IdempotencyConflict(Conflict):
    """An Idempotency-Key came again with another request."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used for another request; use a new key for a new request.")


class TaskNotFailed(Conflict):
    """Only failed tasks can be retried."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"Task {task_id!r} has not failed; it will be done without a retry.")


class FactNotSuperseded(Conflict):
    """Only what was superseded can be restored."""

    def __init__(self, fact_id: str) -> None:
        super().__init__(f"Fact {fact_id!r} is not superseded; there is nothing to restore.")


class Unauthorized(MemsvcError):
    """No key, or none that is known."""


class Forbidden(MemsvcError):
    """A key without the scope."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"This key does not have the scope '{scope}'.")


class Unavailable(MemsvcError):
    """Something below is down or busy; nothing of the request was accepted."""


class StoreUnavailable(Unavailable):
    """The database does not answer."""


class StoreBusy(Unavailable):
    """The database is locked by another process, or all its connections are in use."""


class StoreReadOnly(Unavailable):
    """The database cannot be written."""


class IndexUnavailable(Unavailable):
    """The index does not answer."""


class LlmUnavailable(Unavailable):
    """The language model does not answer."""


class LlmRefused(LlmUnavailable):
    """The language model's endpoint refuses this very request: the same one will be refused again."""


class LlmPending(LlmUnavailable):
    """The request is written for a batch, and the language model has not answered it yet."""

    def __init__(self) -> None:
        super().__init__("The request is written for a batch; its answer has not been read yet.")


class LlmAnswerInvalid(MemsvcError):
    """The language model answers with something else than it was asked for; `spent` is what that took."""

    def __init__(self, reason: str, spent: object = None) -> None:
        super().__init__(f"The language model's answer is not what was asked for: {reason}.")
        self.reason = reason
        self.spent = spent


class LlmAnswerCutOff(LlmAnswerInvalid):
    """The language model's answer ends before it is complete: it needs more tokens than it was given."""


class BudgetUsedUp(MemsvcError):
    """The workspace's tokens of the day are used up."""

    def __init__(self, workspace: str, tokens: int) -> None:
        super().__init__(
            f"Workspace {workspace!r} has used up its {tokens} tokens of language models for today (UTC). Recording "
            "and recall go on; facts are drawn by rules until tomorrow."
        )


class StorageFull(MemsvcError):
    """The disk is full; nothing of the request was accepted."""


class Misconfigured(MemsvcError):
    """The process cannot start as it is set up."""


class SchemaMismatch(Misconfigured):
    """The database's schema is not the one this version knows."""


class EncoderMismatch(Misconfigured):
    """The index was filled by another encoder, or with keys of another form."""

    def __init__(self, filled_by: str, configured: str, *, keep: str | None = None) -> None:
        advice = f", or set MEMSVC_ENCODER={keep}" if keep else ""
        super().__init__(
            f"The index was filled with the encoder {filled_by}, but this process would fill it with {configured}. "
            f"Run `memsvc rebuild` to fill a new collection with {configured}{advice}."
        )


class EncoderNotFound(Misconfigured):
    """The encoder's model is not on this machine."""


class RerankerNotFound(Misconfigured):
    """The reranker's model is not on this machine."""


class IndexMissing(Misconfigured):
    """The database says rounds are indexed, but the index is empty or gone."""

    def __init__(self, indexed_rounds: int) -> None:
        super().__init__(
            f"The database holds {indexed_rounds} indexed rounds, but the index is empty or gone. "
            "Run `memsvc rebuild` to fill it again from the database."
        )


class IndexDamaged(Misconfigured):
    """The embedded index cannot be read."""

    def __init__(self, folder: str, reason: str) -> None:
        super().__init__(
            f"The embedded index in {folder} cannot be read ({reason}). Run `memsvc rebuild` to fill it again from "
            "the database."
        )


class IndexLocked(Misconfigured):
    """Another process has the embedded index open."""

    def __init__(self, folder: str) -> None:
        super().__init__(
            f"The embedded index in {folder} is open in another process, and admits one only. Stop that "
            "process, or set MEMSVC_QDRANT_URL to share a Qdrant server."
        )


class IndexReplaced(Misconfigured):
    """A rebuild with another encoder, or by another version, has replaced the index under this process."""

    def __init__(self, filled_by: str) -> None:
        super().__init__(f"The index is now filled with {filled_by}; restart with the same encoder and version.")


class UnsafeAddress(Misconfigured):
    """Without any API key the service answers loopback clients only."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"There is no API key yet, so the service may only listen on a loopback address, not on {host!r}. "
            "Create one with `memsvc keys create --workspace default --scope admin`."
        )


class BadSetting(Misconfigured):
    """A setting has a value that cannot be used."""


class DataDirUnusable(Misconfigured):
    """The data folder cannot be made or written."""
