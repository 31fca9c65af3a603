"""Facts as they are known: by the world's clock and by the record's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from memsvc.domain import Fact, Owner
from memsvc.intervals import Interval, Precision
from memsvc.store.dialects import owned
from memsvc.store.tables import facts


@dataclass(frozen=True, slots=True)
class FactFilter:
    """Which facts are asked for: those that hold at `valid`, as far as it was on record at `recorded`.

    `start` and `end` bound their event time, half-open; `superseded` adds those that no longer hold.
    """

    valid: datetime
    recorded: datetime
    kind: str | None = None
    speaker: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    superseded: bool = False


class Facts:
    """Statements about one user's facts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def page(self, owner: Owner, wanted: FactFilter, *, after: tuple[datetime, UUID] | None, limit: int) -> list[Fact]:
        """Facts by when they became valid, after a (valid_at, id)."""
        statement = select(facts).where(*owned(facts, owner), *_conditions(wanted))
        if after is not None:
            at, fact_id = after
            later = and_(facts.c.valid_at == at, facts.c.id > fact_id)
            statement = statement.where(or_(facts.c.valid_at > at, later))
        found = self._connection.execute(statement.order_by(facts.c.valid_at, facts.c.id).limit(limit))
        return [_fact(row) for row in found]

    def of_rounds(self, owner: Owner, round_rows: Sequence[UUID], wanted: FactFilter) -> Mapping[UUID, list[Fact]]:
        """The facts drawn from these rounds, by round, as they became valid."""
        conditions = [*owned(facts, owner), facts.c.round_row.in_(round_rows), *_conditions(wanted)]
        statement = select(facts).where(*conditions).order_by(facts.c.valid_at, facts.c.id)
        found: dict[UUID, list[Fact]] = {}
        for row in self._connection.execute(statement):
            found.setdefault(row.round_row, []).append(_fact(row))
        return found


def _conditions(wanted: FactFilter) -> Iterable[ColumnElement[bool]]:
    yield facts.c.valid_at <= wanted.valid
    yield facts.c.recorded_at <= wanted.recorded
    if not wanted.superseded:
        lasts = or_(facts.c.invalid_at.is_(None), facts.c.invalid_at > wanted.valid)
        # What ended it was learned later: then it was still believed, whatever is known of its end now.
        is_still_believed = facts.c.expired_at > wanted.recorded
        # What has expired without an end in the world was never true: it was merged, or taken back.
        has_ended = and_(facts.c.expired_at <= wanted.recorded, facts.c.invalid_at > wanted.valid)
        yield or_(and_(facts.c.expired_at.is_(None), lasts), is_still_believed, has_ended)
    if wanted.kind is not None:
        yield facts.c.kind == wanted.kind
    if wanted.speaker is not None:
        yield facts.c.speaker == wanted.speaker
    if wanted.start is not None:
        yield facts.c.event_to > wanted.start
    if wanted.end is not None:
        yield facts.c.event_from < wanted.end


def _fact(row: Any) -> Fact:
    return Fact(
        fact_id=row.id,
        round_row=row.round_row,
        text=row.text,
        kind=row.kind,
        speaker=row.speaker,
        event=Interval(row.event_from, row.event_to) if row.event_from or row.event_to else None,
        precision=Precision(row.event_precision or Precision.UNKNOWN),
        valid_at=row.valid_at,
        invalid_at=row.invalid_at,
        recorded_at=row.recorded_at,
        expired_at=row.expired_at,
        superseded_by=row.superseded_by,
        confidence=row.confidence,
        source=row.source,
        trust=row.trust,
    )
