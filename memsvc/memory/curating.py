"""The Curator: facts as their owner mends them: told, changed, restored, forgotten; and what became of each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID, uuid5

from memsvc.clock import Clock
from memsvc.domain import NAMESPACE, Draft, Owner, Role, TaskKind, Turn
from memsvc.errors import FactNotFound, FactNotSuperseded, Invalid, SessionConflict, SessionNotFound
from memsvc.facts import Action, Fact, Origin, Statement
from memsvc.intervals import Interval, Precision
from memsvc.memory import quoting, settling
from memsvc.memory.extracting import TOLD_SESSION
from memsvc.memory.reconciling import Batch, Outcome, Reconciler, Sourced, fact_id_of, outcome_of
from memsvc.memory.recording import Recorder
from memsvc.store.database import Store, Transaction
from memsvc.store.ledger import Change

# Of a fact that was said again and again, so many turns are shown whole.
MOST_TURNS = 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was said: a turn, and the words of it."""

    session_id: str
    turn_id: str
    quote: str


@dataclass(frozen=True, slots=True)
class Told:
    """A fact as a caller tells it. Without a place, it is recorded as a turn of its own."""

    text: str
    kind: str = "fact"
    speaker: str = "user"
    subject: str | None = None
    slot: str | None = None
    value: str | None = None
    event: Interval | None = None
    precision: Precision = Precision.UNKNOWN
    valid_at: datetime | None = None
    confidence: float | None = None
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class OnRecord:
    """A fact, the turns that it was drawn from (each with its session's id), and all that was ever believed of it."""

    fact: Fact
    turns: tuple[tuple[str, Turn], ...]
    history: tuple[Change, ...]
    is_new: bool = False


class Curator:
    """Every act is on record, and can be undone; only forgetting is for good."""

    def __init__(
        self, store: Store, recorder: Recorder, reconciler: Reconciler, clock: Clock, *, owed: Callable[[], None]
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._reconciler = reconciler
        self._clock = clock
        self._owed = owed

    def fact(self, owner: Owner, fact_id: UUID) -> OnRecord:
        """A fact and its history; raises FactNotFound."""
        with self._store.read() as tx:
            return _on_record(tx, owner, fact_id)

    def tell(self, owner: Owner, told: Told) -> OnRecord:
        """Add a fact; one that says what is known is merged into that, which then comes back.

        Raises SessionNotFound, and Invalid for a quote that is not where it is said to be.
        """
        sourced = self._recorded(owner, told) if told.place is None else self._cited(owner, told, told.place)
        drawn = {sourced.round_row: self._turns_of(owner, sourced.round_row)} if told.place is None else {}
        batch = Batch(sourced.session_row, (sourced,), (), Origin.API, "api", drawn)
        made = self._reconciler.reconcile(owner, batch)
        self._owed()
        is_new = any(decision.action not in (Action.MERGE, Action.NONE) for decision in made)
        with self._store.read() as tx:
            fact_id = fact_id_of(sourced)
            found = _on_record(tx, owner, tx.facts.roots(owner, [fact_id]).get(fact_id, fact_id))
        return replace(found, is_new=is_new)

    def change(self, owner: Owner, fact_id: UUID, change: Callable[[Fact], Fact]) -> OnRecord:
        """Change what a fact says, or when it holds; from then on the caller is its source. Raises FactNotFound."""
        with self._store.begin() as tx:
            now = self._clock.now()
            tx.workspaces.lock_user(owner)
            found = _on_record(tx, owner, fact_id)
            before = found.fact
            after = change(before)
            if after == before:
                return found
            after = replace(after, source=Origin.API)
            known = tx.facts.statements(owner, [fact_id])[0]
            told_at = after.valid_at if after.valid_at != before.valid_at else known.told_at
            ends_at = after.invalid_at if after.invalid_at != before.invalid_at else known.ends_at
            tx.facts.change(owner, after, plain=quoting.plain(after.text), told_at=told_at, ends_at=ends_at)
            tx.ledger.advance(owner, since=tx.ledger.version(owner))
            said = "" if after.text == before.text else f"; it said: {before.text}"
            reason = f"changed by the caller{said}"
            settling.settle(tx, owner, [fact_id], now=now, by=Origin.API, reason=reason, touched=fact_id)
            changed = _on_record(tx, owner, fact_id)
            _owe(tx, owner, before.round_row, now)
        self._owed()
        return changed

    def restore(self, owner: Owner, fact_id: UUID) -> OnRecord:
        """Undo what ended a fact, or what merged it into another; raises FactNotFound, FactNotSuperseded."""
        with self._store.begin() as tx:
            now = self._clock.now()
            tx.workspaces.lock_user(owner)
            known = {one.fact.fact_id: one for one in tx.facts.statements(owner, [fact_id])}
            if fact_id not in known:
                raise FactNotFound(str(fact_id))
            ended_by = known[fact_id].merged_into or known[fact_id].fact.superseded_by
            if ended_by is None:
                raise FactNotSuperseded(str(fact_id))
            while ended_by is not None:
                bonds = [
                    bound
                    for bound in tx.ledger.bonds(owner, [fact_id])
                    if _joins(tx, owner, {bound.one, bound.other}, fact_id, ended_by)
                ]
                if not bonds:
                    break
                tx.ledger.undo(owner, bonds, now=now)
                others = {one for bound in bonds for one in (bound.one, bound.other)}
                settling.settle(tx, owner, {fact_id, *others}, now=now, by=Origin.API, reason="restored by the caller")
                again = tx.facts.statements(owner, [fact_id])[0]
                ended_by = again.merged_into or again.fact.superseded_by
            tx.ledger.advance(owner, since=tx.ledger.version(owner))
            return _on_record(tx, owner, fact_id)

    def forget(self, owner: Owner, fact_id: UUID) -> Fact:
        """Delete a fact for good, with what says the same; what it had ended holds again. Raises FactNotFound."""
        with self._store.begin() as tx:
            now = self._clock.now()
            tx.workspaces.lock_user(owner)
            fact = _on_record(tx, owner, fact_id).fact
            settling.forget(tx, owner, [fact_id, *tx.facts.members(owner, fact_id)], now=now)
            tx.ledger.advance(owner, since=tx.ledger.version(owner))
            owed = [(owner, session_row) for session_row in tx.facts.sessions_to_index(owner)]
            tx.outbox.owe_all(TaskKind.INDEX, owed, now=now)
        self._owed()
        return fact

    def outcome(self, owner: Owner, session_id: str) -> list[Outcome]:
        """What became of each statement of a session; raises SessionNotFound."""
        with self._store.read() as tx:
            session = tx.sessions.find(owner, session_id)
            if session is None:
                raise SessionNotFound(owner.user_id, session_id)
            made = tx.ledger.decisions(owner, session.row_id)
            ids = {decision.fact_id for decision in made if decision.fact_id is not None}
            now = {one.fact.fact_id: settling.standing_of(one) for one in tx.facts.statements(owner, ids)}
        return [outcome_of(decision, now) for decision in made]

    def _recorded(self, owner: Owner, told: Told) -> Sourced:
        """The fact as a turn of its own, recorded like any other."""
        # The turn's id follows from what is told: told again, also after a crash, it is the same turn.
        valid_at = told.valid_at and told.valid_at.astimezone(UTC)
        turn_id = uuid5(NAMESPACE, repr((told.text, told.speaker, valid_at))).hex
        while True:
            self._record(owner, told, turn_id)
            with self._store.read() as tx:
                sourced = _sourced(tx, owner, told, TOLD_SESSION, turn_id, told.text)
                ended_by = _ended_by(tx, owner, fact_id_of(sourced)) if told.valid_at is None else None
            if ended_by is None:
                return sourced
            # What has ended since and is told again has come back: that is a statement of its own.
            turn_id = uuid5(NAMESPACE, f"{turn_id}:{ended_by}").hex

    def _record(self, owner: Owner, told: Told, turn_id: str) -> None:
        if self._has_turn(owner, turn_id):
            return
        draft = Draft(Role.USER, told.text, turn_id, told.speaker, self._clock.now())
        try:
            self._recorder.append(owner, TOLD_SESSION, [draft])
        except SessionConflict:
            # The same request was faster elsewhere; what else conflicts is told.
            if not self._has_turn(owner, turn_id):
                raise

    def _has_turn(self, owner: Owner, turn_id: str) -> bool:
        with self._store.read() as tx:
            session = tx.sessions.find(owner, TOLD_SESSION)
            return session is not None and tx.sessions.turn(owner, session.row_id, turn_id) is not None

    def _cited(self, owner: Owner, told: Told, place: Place) -> Sourced:
        with self._store.read() as tx:
            return _sourced(tx, owner, told, place.session_id, place.turn_id, place.quote)

    def _turns_of(self, owner: Owner, round_row: UUID) -> int:
        with self._store.read() as tx:
            return tx.rounds.load(owner, [round_row])[round_row].revision


def _on_record(tx: Transaction, owner: Owner, fact_id: UUID) -> OnRecord:
    found = tx.facts.load(owner, [fact_id]).get(fact_id)
    if found is None:
        raise FactNotFound(str(fact_id))
    turns: dict[tuple[str, str], tuple[str, Turn]] = {}
    for source in found.sources[:MOST_TURNS]:
        session = tx.sessions.find(owner, source.session_id)
        if session is not None and (turn := tx.sessions.turn(owner, session.row_id, source.turn_id)) is not None:
            turns[source.session_id, source.turn_id] = source.session_id, turn[0]
    return OnRecord(found, tuple(turns.values()), tuple(tx.ledger.history(owner, fact_id)))


def _ended_by(tx: Transaction, owner: Owner, fact_id: UUID) -> UUID | None:
    known = tx.facts.statements(owner, [tx.facts.roots(owner, [fact_id]).get(fact_id, fact_id)])
    return known[0].fact.superseded_by if known else None


def _sourced(tx: Transaction, owner: Owner, told: Told, session_id: str, turn_id: str, quote: str) -> Sourced:
    session = tx.sessions.find(owner, session_id)
    if session is None:
        raise SessionNotFound(owner.user_id, session_id)
    found = tx.sessions.turn(owner, session.row_id, turn_id)
    if found is None:
        raise Invalid(f"Session {session_id!r} has no turn {turn_id!r}.", (("sources.0.turn_id", "is not known"),))
    turn, round_row = found
    span = quoting.located(quote, quoting.whole(turn))
    if span is None:
        raise Invalid(f"The quote is not in turn {turn_id!r}.", (("sources.0.quote", "is not in the turn"),))
    statement = Statement(
        turn_id=turn_id,
        text=told.text,
        kind=told.kind,
        subject=told.subject or turn.speaker,
        quote=quoting.whole(turn)[slice(*span)],
        start=span[0],
        end=span[1],
        event=told.event,
        precision=told.precision,
        reading=Origin.API if told.event is not None else None,
        slot=told.slot,
        value=told.value,
        confidence=told.confidence,
    )
    return Sourced(statement, turn, round_row, session.row_id, session_id, told.valid_at)


def _joins(tx: Transaction, owner: Owner, ends: set[UUID], fact_id: UUID, other: UUID) -> bool:
    """Whether a bond joins a fact, or what says it again, to another, or to what says that again."""
    mine = {fact_id, *tx.facts.members(owner, fact_id)}
    theirs = {other, *tx.facts.members(owner, other)} - mine
    return bool(ends & mine) and bool(ends & theirs)


def _owe(tx: Transaction, owner: Owner, round_row: UUID, now: datetime) -> None:
    round_ = tx.rounds.load(owner, [round_row])[round_row]
    tx.outbox.owe(TaskKind.INDEX, owner, round_.session_row, now=now)
