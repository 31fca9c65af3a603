"""Settling: after a writing, a restoring or a forgetting, each statement gets the standing that follows from it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from memsvc.domain import Owner
from memsvc.facts import Origin
from memsvc.memory import ledger
from memsvc.store.database import Transaction
from memsvc.store.facts import Known
from memsvc.store.ledger import Bound, Change


def settle(
    tx: Transaction,
    owner: Owner,
    fact_ids: Iterable[UUID],
    *,
    now: datetime,
    by: str = Origin.RULES,
    reason: str = "",
    touched: UUID | None = None,
    fresh: frozenset[UUID] = frozenset(),
) -> None:
    """Give every statement that these are bound to the standing that follows from the bonds, and note what changed.

    `by` and `reason` say who acted where no bond explains a change; `touched` is noted although its standing may not
    have changed. `fresh` were written in this very transaction.
    """
    wanted = set(fact_ids)
    bonds = tx.ledger.bonds(owner, wanted)
    wanted |= {one for bound in bonds for one in (bound.one, bound.other)}
    known = {one.fact.fact_id: one for one in tx.facts.statements(owner, wanted)}
    entries = [entry_of(one) for one in known.values()]
    settled = ledger.settled(entries, [ledger.Tie(bound.one, bound.other, bound.bond) for bound in bonds])
    reasons = {frozenset((bound.one, bound.other)): bound for bound in bonds}
    plain: dict[UUID, Change] = {}
    for fact_id, standing in settled.items():
        was, is_new = standing_of(known[fact_id]), known[fact_id].fact.recorded_at == now
        if standing == was and not is_new and fact_id != touched:
            continue
        bound = None if fact_id == touched else _reason(fact_id, standing, reasons)
        change = Change(
            at=now,
            valid_at=standing.valid_at,
            invalid_at=standing.invalid_at,
            superseded_by=standing.superseded_by,
            merged_into=standing.merged_into,
            reason=bound.reason if bound else reason or ("it is new" if is_new else "what ended it is gone"),
            decided_by=bound.decided_by if bound else by,
        )
        if is_new and standing == was and fact_id in fresh:
            plain[fact_id] = change
        else:
            tx.ledger.note(owner, fact_id, change)
    tx.ledger.note_new(owner, plain)


def forget(tx: Transaction, owner: Owner, fact_ids: Sequence[UUID], *, now: datetime) -> None:
    """Take the words of statements away, and with them what they did to others."""
    if not fact_ids:
        return
    bonds = tx.ledger.bonds(owner, fact_ids)
    others = {one for bound in bonds for one in (bound.one, bound.other)} - set(fact_ids)
    tx.ledger.forget(owner, fact_ids)
    tx.facts.forget(owner, fact_ids, now=now)
    settle(tx, owner, others, now=now)


def standings(tx: Transaction, owner: Owner, fact_ids: Iterable[UUID]) -> dict[UUID, ledger.Standing]:
    """The standings on record: of these, and of all that they are bound to."""
    wanted = set(fact_ids)
    wanted |= {one for bound in tx.ledger.bonds(owner, wanted) for one in (bound.one, bound.other)}
    return {one.fact.fact_id: standing_of(one) for one in tx.facts.statements(owner, wanted)}


def entry_of(known: Known) -> ledger.Entry:
    """A statement on record as the ledger sees it."""
    return ledger.Entry(known.fact.fact_id, known.told_at, known.said_at, known.ends_at, known.mark)


def standing_of(known: Known) -> ledger.Standing:
    """The standing of a statement on record."""
    fact = known.fact
    return ledger.Standing(fact.valid_at, fact.invalid_at, fact.superseded_by, known.merged_into)


def _reason(fact_id: UUID, standing: ledger.Standing, reasons: Mapping[frozenset[UUID], Bound]) -> Bound | None:
    other = standing.merged_into or standing.superseded_by
    return reasons.get(frozenset((fact_id, other))) if other is not None else None
