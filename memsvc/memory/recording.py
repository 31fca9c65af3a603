"""The Recorder: a session goes to disk, whole or by its newest turns, and what follows is owed in the same commit."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid5

from memsvc.clock import Clock
from memsvc.domain import NAMESPACE, Draft, Metadata, Owner, Recorded, Session, TaskKind, Turn
from memsvc.errors import IdempotencyConflict, Invalid, SessionConflict, TooManyTurns, TurnTooLong
from memsvc.memory.dividing import joins
from memsvc.store.database import Store, Transaction
from memsvc.store.sessions import NewTurn

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may hold, and how long a session has to be quiet before it is extracted."""

    turns: int = 10_000
    turn_chars: int = 200_000
    extract_after: timedelta = timedelta()


class Recorder:
    """Writes sessions. When a method returns, its session is on disk; indexing and extraction are owed."""

    def __init__(self, store: Store, clock: Clock, limits: Limits, *, owed: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._owed = owed

    def record(
        self,
        owner: Owner,
        session_id: str,
        drafts: Sequence[Draft],
        *,
        started_at: datetime | None = None,
        metadata: Metadata | None = None,
        idempotency_key: str | None = None,
    ) -> Recorded:
        """Record a whole session, or the same one grown longer. A shorter one that agrees changes nothing.

        Raises SessionConflict when a known turn or the start differs, TooManyTurns, TurnTooLong, and Invalid when
        nothing says when the session began or two turns have the same id.
        """
        self.check(drafts)
        start = started_at or drafts[0].said_at
        if start is None:
            raise Invalid(
                "Nothing says when the session began: give started_at, or said_at of the first turn.",
                (("started_at", "is missing"),),
            )
        turns = filled_in(drafts, first_position=0, since=start)
        request = _Request("record", session_id, (start, turns, metadata), idempotency_key)
        return self._once(
            owner, request, lambda tx, now: self._record(tx, owner, session_id, start, turns, metadata, now)
        )

    def append(
        self,
        owner: Owner,
        session_id: str,
        drafts: Sequence[Draft],
        *,
        metadata: Metadata | None = None,
        idempotency_key: str | None = None,
    ) -> Recorded:
        """Add turns to a session's end, making the session if it is new; a turn that is known by its id is not added.

        Raises as `record` does.
        """
        self.check(drafts)
        request = _Request("append", session_id, (tuple(drafts), metadata), idempotency_key)
        return self._once(owner, request, lambda tx, now: self._append(tx, owner, session_id, drafts, metadata, now))

    def _once(self, owner: Owner, request: "_Request", write: Callable[[Transaction, datetime], Recorded]) -> Recorded:
        """Write in one transaction, at one time, or repeat the answer kept under the request's Idempotency-Key."""
        with self._store.begin() as tx:
            now = self._clock.now()
            tx.workspaces.ensure_user(owner, now=now)
            recorded = self._repeated(tx, owner, request)
            if recorded is not None:
                return recorded
            recorded = write(tx, now)
            if request.key:
                kept = asdict(recorded)
                tx.sessions.keep_answer(owner, request.key, fingerprint=request.fingerprint, answer=kept, now=now)
        self._owed()
        log.info("session recorded", extra={"turns": recorded.turns, "rounds": recorded.rounds})
        return recorded

    def _repeated(self, tx: Transaction, owner: Owner, request: "_Request") -> Recorded | None:
        """The answer kept under the request's key; raises IdempotencyConflict when it was another request's."""
        if request.key is None:
            return None
        tx.workspaces.lock_user(owner)
        kept = tx.sessions.kept_answer(owner, request.key)
        if kept is None:
            return None
        fingerprint, answer = kept
        if fingerprint != request.fingerprint:
            raise IdempotencyConflict
        if tx.sessions.find(owner, request.session_id) is None:
            tx.sessions.forget_answer(owner, request.key)
            return None
        return Recorded(**answer)

    def _record(
        self,
        tx: Transaction,
        owner: Owner,
        session_id: str,
        start: datetime,
        turns: Sequence[Turn],
        metadata: Metadata | None,
        now: datetime,
    ) -> Recorded:
        session, created = self._find_or_make(tx, owner, session_id, start, metadata, now)
        if session.started_at != start:
            raise SessionConflict(session_id, f"it began at {session.started_at.isoformat()}")
        known = [] if created else tx.sessions.turns(owner, session.row_id)
        for before, given in zip(known, turns, strict=False):
            _require_same(session_id, before, given)
        return self._add(tx, owner, session, turns[len(known) :], metadata, now, created=created)

    def _append(
        self,
        tx: Transaction,
        owner: Owner,
        session_id: str,
        drafts: Sequence[Draft],
        metadata: Metadata | None,
        now: datetime,
    ) -> Recorded:
        start = drafts[0].said_at or now
        session, created = self._find_or_make(tx, owner, session_id, start, metadata, now)
        _, last = tx.sessions.last_round(owner, session.row_id)
        since = last[-1].said_at if last else session.started_at
        turns = filled_in(drafts, first_position=session.turn_count, since=since)
        known = tx.sessions.turns_with_ids(owner, session.row_id, [turn.turn_id for turn in turns])
        for draft, turn in zip(drafts, turns, strict=True):
            if turn.turn_id in known:
                if draft.turn_id is None:
                    raise SessionConflict(session_id, f"the next position, {turn.turn_id}, is the id of another turn")
                before = known[turn.turn_id]
                _require_same(session_id, before, turn if draft.said_at else replace(turn, said_at=before.said_at))
        new = [turn for turn in turns if turn.turn_id not in known]
        return self._add(tx, owner, session, new, metadata, now, created=created)

    def _find_or_make(
        self,
        tx: Transaction,
        owner: Owner,
        session_id: str,
        start: datetime,
        metadata: Metadata | None,
        now: datetime,
    ) -> tuple[Session, bool]:
        """The session, locked, and whether it was made just now."""
        found = tx.sessions.find(owner, session_id, lock=True)
        if found:
            return found, False
        # The id is of this incarnation: points of one that was deleted can never be taken for this one's.
        row_id = uuid5(NAMESPACE, "\0".join([owner.workspace, owner.user_id, session_id, now.isoformat()]))
        made = Session(row_id, session_id, start, now, turn_count=0, round_count=0, metadata=metadata or {})
        if tx.sessions.insert(owner, made):
            return made, True
        found = tx.sessions.find(owner, session_id, lock=True)
        return (found, False) if found else self._find_or_make(tx, owner, session_id, start, metadata, now)

    def _add(
        self,
        tx: Transaction,
        owner: Owner,
        session: Session,
        turns: Sequence[Turn],
        metadata: Metadata | None,
        now: datetime,
        *,
        created: bool,
    ) -> Recorded:
        opened = 0
        if turns:
            new = self._placed(tx, owner, session, turns)
            opened = sum(entry.position == entry.round_position for entry in new)
            tx.sessions.add_turns(owner, session.row_id, new, now=now)
            tx.outbox.owe(TaskKind.INDEX, owner, session.row_id, now=now)
            tx.outbox.owe(TaskKind.EXTRACT, owner, session.row_id, now=now, after=self._limits.extract_after)
        if metadata is not None and metadata != session.metadata:
            tx.sessions.set_metadata(owner, session.row_id, metadata)
        return Recorded(
            session.session_id, session.turn_count + len(turns), session.round_count + opened, created=created
        )

    def _placed(self, tx: Transaction, owner: Owner, session: Session, turns: Sequence[Turn]) -> list[NewTurn]:
        """Each new turn with its position and the position its round starts at."""
        start, current = tx.sessions.last_round(owner, session.row_id) if session.turn_count else (0, [])
        placed = []
        for position, turn in enumerate(turns, session.turn_count):
            if not joins(current, turn):
                start, current = position, []
            current.append(turn)
            placed.append(NewTurn(turn, position, start))
        return placed

    def check(self, drafts: Sequence[Draft]) -> None:
        """Raise TooManyTurns or TurnTooLong for what one request may not hold."""
        if len(drafts) > self._limits.turns:
            raise TooManyTurns(len(drafts), self._limits.turns)
        for position, draft in enumerate(drafts):
            length = len(draft.text) + sum(len(caption) for caption in draft.captions)
            if length > self._limits.turn_chars:
                raise TurnTooLong(draft.turn_id or str(position), length, self._limits.turn_chars)


@dataclass(frozen=True, slots=True)
class _Request:
    """What an Idempotency-Key stands for."""

    verb: str
    session_id: str
    content: tuple[object, ...]
    key: str | None

    @property
    def fingerprint(self) -> str:
        """A hash that differs when anything of the request does."""
        return hashlib.sha256(repr((self.verb, self.session_id, self.content)).encode(errors="replace")).hexdigest()


def filled_in(drafts: Sequence[Draft], *, first_position: int, since: datetime) -> tuple[Turn, ...]:
    """Drafts with what was left out: the id is the position, the speaker the role, the time that of the turn before."""
    turns = []
    for position, draft in enumerate(drafts, first_position):
        since = draft.said_at or since
        turn_id = str(position) if draft.turn_id is None else draft.turn_id
        turns.append(Turn(turn_id, draft.role, draft.speaker or draft.role.value, draft.text, since, draft.captions))
    seen: set[str] = set()
    for turn in turns:
        if turn.turn_id in seen:
            raise Invalid(f"Two turns have the id {turn.turn_id!r}.", (("turns", f"two have id {turn.turn_id!r}"),))
        seen.add(turn.turn_id)
    return tuple(turns)


def _require_same(session_id: str, before: Turn, now: Turn) -> None:
    for name in ("turn_id", "role", "speaker", "text", "captions", "said_at"):
        if getattr(before, name) != getattr(now, name):
            raise SessionConflict(session_id, f"{name} of turn {before.turn_id!r} differs")
