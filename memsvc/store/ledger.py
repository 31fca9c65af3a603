"""The ledger: the bonds between a user's statements, what was believed when, and what became of each statement."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection, delete, insert, or_, select, update

from memsvc.domain import Owner
from memsvc.facts import Action, Bond
from memsvc.store.dialects import owned, upsert
from memsvc.store.tables import decisions, fact_bonds, fact_changes, facts, users

_FORGOTTEN = "what it was decided by is forgotten"


@dataclass(frozen=True, slots=True)
class Bound:
    """A bond between two statements, and who decided it why."""

    one: UUID
    other: UUID
    bond: Bond
    decided_by: str
    reason: str
    recorded_at: datetime
    undone_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What was believed of a fact from `at` on, and why."""

    at: datetime
    valid_at: datetime
    invalid_at: datetime | None
    superseded_by: UUID | None
    merged_into: UUID | None
    reason: str
    decided_by: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What reconciling did with one statement; `others` are the facts that it was merged into or ended."""

    text: str
    action: Action
    reason: str
    decided_by: str
    decided_at: datetime
    turn_id: str | None = None
    kind: str | None = None
    fact_id: UUID | None = None
    others: tuple[UUID, ...] = ()


class Ledger:
    """Statements about what a user's facts are worth."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def version(self, owner: Owner) -> int:
        """How often the user's facts have been written; 0 for a user nobody knows."""
        statement = select(users.c.ledger).where(*owned(users, owner))
        return self._connection.execute(statement).scalar() or 0

    def advance(self, owner: Owner, *, since: int) -> bool:
        """Count one more writing; False when somebody else wrote since that version."""
        same = update(users).where(*owned(users, owner), users.c.ledger == since)
        return self._connection.execute(same.values(ledger=since + 1)).rowcount == 1

    def bonds(self, owner: Owner, fact_ids: Iterable[UUID]) -> list[Bound]:
        """The bonds in force within everything that these statements are bound to, directly or through others."""
        met, fresh = set[UUID](), set(fact_ids)
        found: dict[UUID, Bound] = {}
        while fresh:
            met |= fresh
            touching = or_(fact_bonds.c.one.in_(fresh), fact_bonds.c.other.in_(fresh))
            statement = select(fact_bonds).where(*owned(fact_bonds, owner), touching, fact_bonds.c.undone_at.is_(None))
            fresh = set()
            for row in self._connection.execute(statement):
                found[row.id] = _bound(row)
                fresh |= {row.one, row.other}
            fresh -= met
        return list(found.values())

    def bind(self, owner: Owner, bonds: Iterable[Bound]) -> None:
        """Write bonds, unless the two statements are bound so already; one that was undone stays undone."""
        for bound in bonds:
            row = {
                "id": _bond_id(bound),
                "workspace": owner.workspace,
                "user_id": owner.user_id,
                "one": bound.one,
                "other": bound.other,
                "bond": bound.bond.value,
                "decided_by": bound.decided_by,
                "reason": bound.reason,
                "recorded_at": bound.recorded_at,
            }
            statement = upsert(self._connection, fact_bonds).values(row)
            self._connection.execute(statement.on_conflict_do_nothing(index_elements=["id"]))

    def undone(self, owner: Owner, fact_ids: Iterable[UUID]) -> set[tuple[frozenset[UUID], Bond]]:
        """The bonds of these statements that were undone."""
        ids = set(fact_ids)
        touching = or_(fact_bonds.c.one.in_(ids), fact_bonds.c.other.in_(ids))
        statement = select(fact_bonds).where(*owned(fact_bonds, owner), touching, fact_bonds.c.undone_at.is_not(None))
        return {(frozenset((row.one, row.other)), Bond(row.bond)) for row in self._connection.execute(statement)}

    def undo(self, owner: Owner, bonds: Iterable[Bound], *, now: datetime) -> None:
        """Take bonds out of force, for good."""
        ids = [_bond_id(bound) for bound in bonds]
        mine = update(fact_bonds).where(*owned(fact_bonds, owner), fact_bonds.c.id.in_(ids))
        self._connection.execute(mine.values(undone_at=now))

    def _silence(self, owner: Owner, ids: set[UUID]) -> None:
        """Take the reasons away that others' histories and decisions owe to these facts: they may tell their words."""
        owed = or_(fact_changes.c.superseded_by.in_(ids), fact_changes.c.merged_into.in_(ids))
        self._connection.execute(
            update(fact_changes).where(*owned(fact_changes, owner), owed).values(reason=_FORGOTTEN)
        )
        touching = or_(fact_bonds.c.one.in_(ids), fact_bonds.c.other.in_(ids))
        bound = select(fact_bonds.c.one, fact_bonds.c.other).where(*owned(fact_bonds, owner), touching)
        others = {one for row in self._connection.execute(bound) for one in row} - ids
        made = select(decisions.c.id, decisions.c.others).where(
            *owned(decisions, owner), decisions.c.fact_id.in_(others)
        )
        told = [row.id for row in self._connection.execute(made) if ids & {UUID(other) for other in row.others}]
        self._connection.execute(
            update(decisions).where(*owned(decisions, owner), decisions.c.id.in_(told)).values(reason=_FORGOTTEN)
        )

    def note(self, owner: Owner, fact_id: UUID, change: Change) -> None:
        """What is believed of a fact from now on."""
        same = fact_changes.c.fact_id == fact_id
        # What was believed for no time at all was never believed; also where a clock has gone back since.
        self._connection.execute(
            delete(fact_changes).where(*owned(fact_changes, owner), same, fact_changes.c.at >= change.at)
        )
        lasts = or_(fact_changes.c.until.is_(None), fact_changes.c.until > change.at)
        last = *owned(fact_changes, owner), same, lasts
        self._connection.execute(update(fact_changes).where(*last).values(until=change.at))
        self._connection.execute(insert(fact_changes).values(_change_row(owner, fact_id, change)))
        learned = change.at if change.invalid_at is not None else None
        mine = update(facts).where(*owned(facts, owner), facts.c.id == fact_id)
        self._connection.execute(mine.values({**_standing(change), "expired_at": learned}))

    def note_new(self, owner: Owner, changes: Mapping[UUID, Change]) -> None:
        """What is believed of facts that were written in this transaction, and hold as they were written."""
        if changes:
            rows = [_change_row(owner, fact_id, change) for fact_id, change in changes.items()]
            self._connection.execute(insert(fact_changes), rows)

    def history(self, owner: Owner, fact_id: UUID) -> list[Change]:
        """What was believed of a fact, from first to last."""
        statement = select(fact_changes).where(*owned(fact_changes, owner), fact_changes.c.fact_id == fact_id)
        names = Change.__slots__
        return [
            Change(**{name: getattr(row, name) for name in names})
            for row in self._connection.execute(statement.order_by(fact_changes.c.at))
        ]

    def decide(self, owner: Owner, session_row: UUID, made: Sequence[Decision]) -> None:
        """Keep what became of statements; one that is told again keeps its first decision."""
        rows = [
            {
                "id": uuid5(session_row, f"decision:{decision.turn_id}:{decision.fact_id}:{decision.text}"),
                "workspace": owner.workspace,
                "user_id": owner.user_id,
                "session_row": session_row,
                "turn_id": decision.turn_id,
                "fact_id": decision.fact_id,
                "text": decision.text,
                "kind": decision.kind,
                "action": decision.action.value,
                "reason": decision.reason,
                "decided_by": decision.decided_by,
                "others": [str(other) for other in decision.others],
                "decided_at": decision.decided_at,
                "position": position,
            }
            for position, decision in enumerate(made)
        ]
        if rows:
            statement = upsert(self._connection, decisions).on_conflict_do_nothing(index_elements=["id"])
            self._connection.execute(statement, rows)

    def decisions(self, owner: Owner, session_row: UUID) -> list[Decision]:
        """What became of the statements of a session, as they were drawn."""
        statement = select(decisions).where(*owned(decisions, owner), decisions.c.session_row == session_row)
        found = self._connection.execute(
            statement.order_by(decisions.c.decided_at, decisions.c.position, decisions.c.id)
        )
        return [_decision(row) for row in found]

    def forget(self, owner: Owner, fact_ids: Iterable[UUID]) -> None:
        """Delete the bonds of facts whose words are forgotten, what was believed of them, and what was decided."""
        ids = set(fact_ids)
        touching = or_(fact_bonds.c.one.in_(ids), fact_bonds.c.other.in_(ids))
        self._silence(owner, ids)
        self._connection.execute(delete(fact_bonds).where(*owned(fact_bonds, owner), touching))
        changes = *owned(fact_changes, owner), fact_changes.c.fact_id.in_(ids)
        self._connection.execute(delete(fact_changes).where(*changes))
        self._connection.execute(delete(decisions).where(*owned(decisions, owner), decisions.c.fact_id.in_(ids)))


def _change_row(owner: Owner, fact_id: UUID, change: Change) -> dict[str, Any]:
    return {
        "id": uuid5(fact_id, f"change:{change.at.isoformat()}"),
        "workspace": owner.workspace,
        "user_id": owner.user_id,
        "fact_id": fact_id,
        "at": change.at,
        "reason": change.reason,
        "decided_by": change.decided_by,
        **_standing(change),
    }


def _standing(change: Change) -> dict[str, Any]:
    return {
        "valid_at": change.valid_at,
        "invalid_at": change.invalid_at,
        "superseded_by": change.superseded_by,
        "merged_into": change.merged_into,
    }


def _bond_id(bound: Bound) -> UUID:
    """The same for both directions."""
    first, second = sorted((bound.one, bound.other), key=str)
    return uuid5(first, f"{bound.bond}:{second}")


def _bound(row: Any) -> Bound:
    return Bound(row.one, row.other, Bond(row.bond), row.decided_by, row.reason, row.recorded_at, row.undone_at)


def _decision(row: Any) -> Decision:
    return Decision(
        text=row.text,
        action=Action(row.action),
        reason=row.reason,
        decided_by=row.decided_by,
        decided_at=row.decided_at,
        turn_id=row.turn_id,
        kind=row.kind,
        fact_id=row.fact_id,
        others=tuple(UUID(other) for other in row.others),
    )
