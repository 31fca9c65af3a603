"""Facts as they are known, by the world's clock and by the record's, and the statements they are made of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, insert, or_, select, update

from memsvc.domain import Owner
from memsvc.facts import Citation, Fact
from memsvc.intervals import Interval, Precision
from memsvc.store.dialects import owned
from memsvc.store.rows import at_seconds, offset_seconds
from memsvc.store.tables import fact_changes, facts, sessions

# What says when a fact holds, and may change as more is learned.
_BELIEVED = ("valid_at", "invalid_at", "superseded_by", "merged_into")
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class FactFilter:
    """Which facts are asked for: those that hold at `valid`, as far as it was on record at `recorded` (None is now).

    `start` and `end` bound their event time, half-open; `superseded` adds those that no longer hold.
    """

    valid: datetime
    recorded: datetime | None = None
    kind: str | None = None
    speaker: str | None = None
    subject: str | None = None
    trust: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class NewFact:
    """A statement to be written. `told_at` is when it became valid by its own words; `vector` is in float16."""

    fact: Fact
    session_row: UUID
    turn_id: str
    plain: str
    quote: str
    span: tuple[int, int]
    said_at: datetime
    extractor: str
    vector: bytes | None = None
    position: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """A statement that is on record, as it is compared with others.

    `mark` is where it stands in its session: the position of its turn, and the offset of its quote.
    """

    fact: Fact
    plain: str
    told_at: datetime
    said_at: datetime
    merged_into: UUID | None
    vector: bytes | None
    ends_at: datetime | None = None
    mark: tuple[int, int] = (0, 0)


class Facts:
    """Statements about one user's facts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def page(
        self, owner: Owner, wanted: FactFilter, *, after: tuple[datetime, UUID] | None = None, limit: int
    ) -> list[Fact]:
        """Facts by when they became valid, after a (valid_at, id), with all their sources."""
        believed = _believed(wanted)
        statement = _facts(owner, wanted)
        if after is not None:
            at, fact_id = after
            later = and_(believed.c.valid_at == at, facts.c.id > fact_id)
            statement = statement.where(or_(believed.c.valid_at > at, later))
        found = self._connection.execute(statement.order_by(believed.c.valid_at, facts.c.id).limit(limit))
        return self._with_sources(owner, [_fact(row) for row in found], wanted)

    def newest(self, owner: Owner, wanted: FactFilter, *, limit: int) -> list[Fact]:
        """The facts that became valid last, in that order, with all their sources."""
        believed = _believed(wanted)
        last = _facts(owner, wanted).order_by(believed.c.valid_at.desc(), facts.c.id.desc()).limit(limit)
        return self._with_sources(owner, [_fact(row) for row in self._connection.execute(last)][::-1], wanted)

    def of_rounds(self, owner: Owner, round_rows: Sequence[UUID], wanted: FactFilter) -> Mapping[UUID, list[Fact]]:
        """The facts drawn from these rounds, by round, as they became valid."""
        believed = _believed(wanted)
        statement = _facts(owner, wanted).where(facts.c.round_row.in_(round_rows))
        found: dict[UUID, list[Fact]] = {}
        for row in self._connection.execute(statement.order_by(believed.c.valid_at, facts.c.id)):
            found.setdefault(row.round_row, []).append(_fact(row))
        return found

    def load(self, owner: Owner, fact_ids: Sequence[UUID], wanted: FactFilter | None = None) -> dict[UUID, Fact]:
        """The user's facts of these ids with their sources: those that the filter lets through, or any on record."""
        statement = _facts(owner, wanted) if wanted else _any(owner)
        found = self._connection.execute(statement.where(facts.c.id.in_(fact_ids)))
        return {fact.fact_id: fact for fact in self._with_sources(owner, [_fact(row) for row in found], wanted)}

    def of_session(self, owner: Owner, session_row: UUID, *, merged: bool = False) -> list[Fact]:
        """Every fact drawn from a session, also those that no longer hold, in the order of the chat.

        `merged` adds the statements that only say again what another one says.
        """
        statement = _any(owner).where(facts.c.session_row == session_row)
        if not merged:
            statement = statement.where(facts.c.merged_into.is_(None))
        found = self._connection.execute(statement.order_by(facts.c.position, facts.c.first, facts.c.id))
        return self._with_sources(owner, [_fact(row) for row in found])

    def roots(self, owner: Owner, fact_ids: Sequence[UUID]) -> dict[UUID, UUID]:
        """By statement, the fact that it only says again."""
        statement = select(facts.c.id, facts.c.merged_into).where(
            *owned(facts, owner), facts.c.id.in_(fact_ids), facts.c.merged_into.is_not(None)
        )
        return {row.id: row.merged_into for row in self._connection.execute(statement)}

    def members(self, owner: Owner, fact_id: UUID) -> list[UUID]:
        """The statements that only say again what a fact says."""
        statement = select(facts.c.id).where(*owned(facts, owner), facts.c.merged_into == fact_id)
        return list(self._connection.execute(statement).scalars())

    def sessions_to_index(self, owner: Owner) -> list[UUID]:
        """The sessions of which a fact waits for the index."""
        statement = select(facts.c.session_row).where(*owned(facts, owner), facts.c.indexed_at.is_(None))
        return list(self._connection.execute(statement.distinct()).scalars())

    def known(self, owner: Owner, *, subjects: Iterable[str], plains: Iterable[str]) -> list[Known]:
        """What is on record about these subjects, or says word for word the same."""
        subject = facts.c.subject_key.in_({subject.casefold() for subject in subjects})
        statement = _any(owner).where(or_(subject, facts.c.plain.in_(set(plains))))
        found = self._connection.execute(statement.order_by(facts.c.told_at, facts.c.said_at, facts.c.id))
        return [_known(row) for row in found]

    def statements(self, owner: Owner, fact_ids: Iterable[UUID]) -> list[Known]:
        """These statements, as far as they are on record."""
        found = self._connection.execute(_any(owner).where(facts.c.id.in_(set(fact_ids))))
        return [_known(row) for row in found]

    def taken(self, owner: Owner, fact_ids: Iterable[UUID]) -> set[UUID]:
        """Which of these ids are in use, also by what was forgotten."""
        statement = select(facts.c.id).where(*owned(facts, owner), facts.c.id.in_(set(fact_ids)))
        return set(self._connection.execute(statement).scalars())

    def insert(self, owner: Owner, new: Sequence[NewFact]) -> None:
        """Write statements."""
        if new:
            self._connection.execute(insert(facts), [_row(owner, one) for one in new])

    def change(self, owner: Owner, fact: Fact, *, plain: str, told_at: datetime, ends_at: datetime | None) -> None:
        """Change what a fact says; it waits for the index again, and for another vector."""
        event = fact.event or Interval(None, None)
        values = {
            "text": fact.text, "plain": plain, "kind": fact.kind, "subject": fact.subject,
            "subject_key": fact.subject.casefold(), "slot": fact.slot,
            "value": fact.value, "confidence": fact.confidence, "source": fact.source,
            "event_from": event.start, "event_to": event.end,
            "from_offset": offset_seconds(event.start), "to_offset": offset_seconds(event.end),
            "event_precision": fact.precision.value if fact.event else None, "reading": fact.reading,
            "told_at": told_at, "ends_at": ends_at, "vector": None, "indexed_at": None,
        }  # fmt: skip
        self._connection.execute(update(facts).where(*owned(facts, owner), facts.c.id == fact.fact_id).values(values))

    def forget(self, owner: Owner, fact_ids: Iterable[UUID], *, now: datetime) -> None:
        """Take the words of facts away for good; their ids stay, so that the same is not drawn again."""
        values = {
            "gone_at": now, "indexed_at": None, "text": "", "plain": "", "quote": "", "subject": "", "subject_key": "",
            "slot": None, "value": None, "when_said": None, "vector": None, "merged_into": None,
        }  # fmt: skip
        self._connection.execute(
            update(facts).where(*owned(facts, owner), facts.c.id.in_(set(fact_ids))).values(values)
        )

    def bury(self, owner: Owner, fact_ids: Iterable[UUID]) -> None:
        """Let go of the ids of facts that were forgotten: they may be used again."""
        gone = *owned(facts, owner), facts.c.id.in_(set(fact_ids)), facts.c.gone_at.is_not(None)
        self._connection.execute(delete(facts).where(*gone))

    def by_rules(self, owner: Owner, round_rows: Sequence[UUID]) -> list[UUID]:
        """The statements that the rules have drawn from these rounds."""
        statement = select(facts.c.id).where(
            *owned(facts, owner),
            facts.c.round_row.in_(round_rows),
            facts.c.source == "rules",
            facts.c.gone_at.is_(None),
        )
        return list(self._connection.execute(statement).scalars())

    def unindexed(
        self, session_rows: Sequence[UUID], *, limit: int
    ) -> tuple[list[tuple[Owner, Fact, str]], list[tuple[Owner, UUID]]]:
        """Up to `limit` statements of these sessions that wait for the index, with their turns; and those to remove."""
        waiting = facts.c.session_row.in_(session_rows), facts.c.indexed_at.is_(None)
        statement = _select().where(*waiting).order_by(facts.c.id).limit(limit)
        kept: list[tuple[Owner, Fact, str]] = []
        gone: list[tuple[Owner, UUID]] = []
        for row in self._connection.execute(statement):
            owner = Owner(row.workspace, row.user_id)
            if row.gone_at is None:
                kept.append((owner, _fact(row), row.turn_id))
            else:
                gone.append((owner, row.id))
        return kept, gone

    def with_rounds(self, round_rows: Sequence[UUID]) -> list[tuple[Owner, Fact, str]]:
        """Every statement that was drawn from these rounds, for a rebuild, with its owner and its turn."""
        statement = _select().where(facts.c.round_row.in_(round_rows), facts.c.gone_at.is_(None))
        found = self._connection.execute(statement.order_by(facts.c.id))
        return [(Owner(row.workspace, row.user_id), _fact(row), row.turn_id) for row in found]

    def mark_indexed(self, made: Iterable[tuple[UUID, str, bytes | None]], *, now: datetime) -> None:
        """Mark statements as indexed, unless their text has changed since it was read.

        Their vectors are kept where they have none: what they were compared by stays as it was.
        """
        for fact_id, text, vector in made:
            same = update(facts).where(facts.c.id == fact_id, facts.c.text == text)
            self._connection.execute(same.values(indexed_at=now, vector=func.coalesce(facts.c.vector, vector)))

    def set_vectors(self, made: Iterable[tuple[UUID, str, bytes | None]]) -> None:
        """Replace the vectors of statements: another encoder makes others."""
        for fact_id, text, vector in made:
            same = update(facts).where(facts.c.id == fact_id, facts.c.text == text)
            self._connection.execute(same.values(vector=vector))

    def owed_since(self, since: datetime) -> list[tuple[Owner, UUID]]:
        """Unmark the facts indexed at or after an instant; the sessions with unmarked facts, with their owners."""
        self._connection.execute(update(facts).where(facts.c.indexed_at >= since).values(indexed_at=None))
        statement = select(facts.c.workspace, facts.c.user_id, facts.c.session_row).distinct()
        unmarked = statement.where(facts.c.indexed_at.is_(None))
        return [(Owner(row[0], row[1]), row[2]) for row in self._connection.execute(unmarked)]

    def indexed(self) -> int:
        """How many points facts have in the index, over all workspaces."""
        statement = select(func.count()).where(facts.c.indexed_at.is_not(None), facts.c.gone_at.is_(None))
        return int(self._connection.execute(statement).scalar_one())

    def _with_sources(self, owner: Owner, found: list[Fact], wanted: FactFilter | None = None) -> list[Fact]:
        """The same facts, each with where it was said again, as far as that was on record."""
        again: dict[UUID, list[Citation]] = {}
        ids = [fact.fact_id for fact in found]
        for start in range(0, len(ids), _AT_ONCE):
            statement = _of_then(owner, wanted)
            believed = facts if wanted is None else _believed(wanted)
            statement = statement.where(believed.c.merged_into.in_(ids[start : start + _AT_ONCE]))
            for row in self._connection.execute(statement.order_by(facts.c.said_at, facts.c.id)):
                again.setdefault(row.merged_into, []).append(_citation(row))
        return [
            replace(fact, sources=(*fact.sources, *again[fact.fact_id])) if fact.fact_id in again else fact
            for fact in found
        ]


def _believed(wanted: FactFilter) -> Any:
    """The table that says what was believed: the facts' own columns now, or their history at an earlier time."""
    return facts if wanted.recorded is None else fact_changes


def _select(believed: Any = facts) -> Select[Any]:
    own = [column for column in facts.c if column.name not in _BELIEVED]
    learned = facts.c.expired_at if believed is facts else believed.c.at
    columns = [*own, *(believed.c[name] for name in _BELIEVED), learned.label("learned_at"), sessions.c.session_id]
    return select(*columns).join(sessions, sessions.c.id == facts.c.session_row)


def _any(owner: Owner) -> Select[Any]:
    """Every statement on record, also what is merged or no longer holds."""
    return _select().where(*owned(facts, owner), facts.c.gone_at.is_(None))


def _facts(owner: Owner, wanted: FactFilter) -> Select[Any]:
    return _of_then(owner, wanted).where(*_conditions(wanted))


def _of_then(owner: Owner, wanted: FactFilter | None) -> Select[Any]:
    """Every statement on record, with what is believed of it, or was at the time asked for."""
    if wanted is None or wanted.recorded is None:
        return _any(owner)
    statement = _select(fact_changes).where(*owned(facts, owner), facts.c.gone_at.is_(None))
    is_of_then = and_(
        fact_changes.c.at <= wanted.recorded,
        or_(fact_changes.c.until.is_(None), fact_changes.c.until > wanted.recorded),
    )
    joined = and_(fact_changes.c.fact_id == facts.c.id, *owned(fact_changes, owner), is_of_then)
    return statement.join(fact_changes, joined)


def _conditions(wanted: FactFilter) -> Iterable[ColumnElement[bool]]:
    believed = _believed(wanted)
    yield believed.c.merged_into.is_(None)
    yield believed.c.valid_at <= wanted.valid
    if not wanted.superseded:
        yield or_(believed.c.invalid_at.is_(None), believed.c.invalid_at > wanted.valid)
    if wanted.kind is not None:
        yield facts.c.kind == wanted.kind
    if wanted.speaker is not None:
        yield facts.c.speaker == wanted.speaker
    if wanted.subject is not None:
        yield facts.c.subject_key == wanted.subject.casefold()
    if wanted.trust is not None:
        yield facts.c.trust == wanted.trust
    if wanted.start is not None:
        yield or_(facts.c.event_to > wanted.start, and_(facts.c.event_to.is_(None), facts.c.event_from.is_not(None)))
    if wanted.end is not None:
        yield or_(facts.c.event_from < wanted.end, and_(facts.c.event_from.is_(None), facts.c.event_to.is_not(None)))


def _row(owner: Owner, new: NewFact) -> dict[str, Any]:
    fact = new.fact
    event = fact.event or Interval(None, None)
    return {
        "id": fact.fact_id, "workspace": owner.workspace, "user_id": owner.user_id,
        "session_row": new.session_row, "round_row": fact.round_row, "turn_id": new.turn_id, "position": new.position,
        "text": fact.text, "plain": new.plain, "kind": fact.kind,
        "subject": fact.subject, "subject_key": fact.subject.casefold(), "speaker": fact.speaker,
        "slot": fact.slot, "value": fact.value,
        "quote": new.quote, "first": new.span[0], "last": new.span[1], "said_at": new.said_at, "when_said": fact.when,
        "event_from": event.start, "event_to": event.end,
        "from_offset": offset_seconds(event.start), "to_offset": offset_seconds(event.end),
        "event_precision": fact.precision.value if fact.event else None, "reading": fact.reading,
        "told_at": fact.valid_at, "valid_at": fact.valid_at, "recorded_at": fact.recorded_at,
        "ends_at": fact.invalid_at,
        "confidence": fact.confidence, "source": fact.source, "trust": fact.trust,
        "extractor": new.extractor, "vector": new.vector,
    }  # fmt: skip


def _fact(row: Any) -> Fact:
    has_event = row.event_from is not None or row.event_to is not None
    event = Interval(at_seconds(row.event_from, row.from_offset), at_seconds(row.event_to, row.to_offset))
    return Fact(
        fact_id=row.id,
        round_row=row.round_row,
        text=row.text,
        kind=row.kind,
        subject=row.subject,
        speaker=row.speaker,
        event=event if has_event else None,
        precision=Precision(row.event_precision or Precision.UNKNOWN),
        valid_at=row.valid_at,
        invalid_at=row.invalid_at,
        recorded_at=row.recorded_at,
        expired_at=row.learned_at if row.invalid_at is not None else None,
        superseded_by=row.superseded_by,
        confidence=row.confidence,
        source=row.source,
        trust=row.trust,
        when=row.when_said,
        reading=row.reading,
        slot=row.slot,
        value=row.value,
        sources=(_citation(row),),
    )


def _citation(row: Any) -> Citation:
    return Citation(row.session_id, row.turn_id, row.quote, row.first, row.last, row.said_at)


def _known(row: Any) -> Known:
    return Known(
        _fact(row),
        row.plain,
        row.told_at,
        row.said_at,
        row.merged_into,
        row.vector,
        row.ends_at,
        (row.position, row.first),
    )
