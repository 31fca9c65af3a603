"""Sessions and their turns, and the answers kept for Idempotency-Keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection, Row, and_, delete, exists, func, insert, or_, select, tuple_, update

from memsvc.domain import Metadata, Owner, Session, Status, Turn
from memsvc.store.dialects import insert_unless_known, owned
from memsvc.store.rows import at_offset, offset_minutes, turn_of
from memsvc.store.tables import facts, idempotency_keys, outbox, rounds, sessions, turns
from memsvc.store.times import Times

_BY_RULES = "drawn by rules: there was no language model, or the budget of the day was used up"


@dataclass(frozen=True, slots=True)
class NewTurn:
    """A turn to be written: where it stands and the position of the first turn of its round."""

    turn: Turn
    position: int
    round_position: int


class Sessions:
    """Statements about one user's sessions."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, owner: Owner, session_id: str, *, lock: bool = False) -> Session | None:
        """The user's session of that id; `lock` keeps others from locking or deleting it meanwhile (PostgreSQL)."""
        statement = select(sessions).where(*owned(sessions, owner), sessions.c.session_id == session_id)
        row = self._connection.execute(statement.with_for_update(key_share=True) if lock else statement).one_or_none()
        return _session(row) if row else None

    def insert(self, owner: Owner, session: Session) -> bool:
        """Write a new session; False when another writer was first."""
        row = {
            "id": session.row_id,
            "workspace": owner.workspace,
            "user_id": owner.user_id,
            "session_id": session.session_id,
            "started_at": session.started_at,
            "started_offset": offset_minutes(session.started_at),
            "recorded_at": session.recorded_at,
            "turn_count": 0,
            "round_count": 0,
            "metadata": session.metadata,
        }
        return insert_unless_known(self._connection, sessions, row)

    def set_metadata(self, owner: Owner, row_id: UUID, metadata: Metadata) -> None:
        """Replace the session's metadata."""
        self._connection.execute(
            update(sessions).where(*owned(sessions, owner), sessions.c.id == row_id).values(metadata=metadata)
        )

    def add_turns(self, owner: Owner, session_row: UUID, new: Sequence[NewTurn], *, now: datetime) -> None:
        """Write turns at the session's end, with the rounds they open or lengthen, and count both."""
        self._lengthen_rounds(owner, session_row, new, now=now)
        self._connection.execute(insert(turns), [_turn_row(owner, session_row, turn, now=now) for turn in new])
        opened = sum(turn.position == turn.round_position for turn in new)
        self._connection.execute(
            update(sessions)
            .where(*owned(sessions, owner), sessions.c.id == session_row)
            .values(turn_count=sessions.c.turn_count + len(new), round_count=sessions.c.round_count + opened)
        )

    def turns(self, owner: Owner, session_row: UUID) -> list[Turn]:
        """All turns of a session, in order."""
        statement = select(turns).where(*owned(turns, owner), turns.c.session_row == session_row)
        times = Times(self._connection).of_session(owner, session_row)
        found = self._connection.execute(statement.order_by(turns.c.position))
        return [turn_of(row, times.get(row.id, ())) for row in found]

    def turns_with_ids(self, owner: Owner, session_row: UUID, turn_ids: Sequence[str]) -> dict[str, Turn]:
        """Those of the session's turns that have one of these ids."""
        statement = select(turns).where(
            *owned(turns, owner), turns.c.session_row == session_row, turns.c.turn_id.in_(turn_ids)
        )
        return {row.turn_id: turn_of(row) for row in self._connection.execute(statement)}

    def turn(self, owner: Owner, session_row: UUID, turn_id: str) -> tuple[Turn, UUID] | None:
        """A turn of a session with the row of its round."""
        statement = select(turns).where(
            *owned(turns, owner), turns.c.session_row == session_row, turns.c.turn_id == turn_id
        )
        row = self._connection.execute(statement).one_or_none()
        return (turn_of(row), row.round_row) if row else None

    def last_round(self, owner: Owner, session_row: UUID) -> tuple[int, list[Turn]]:
        """The position of the first turn of the session's last round, and that round's turns."""
        first = (
            select(func.max(rounds.c.first_position))
            .where(*owned(rounds, owner), rounds.c.session_row == session_row)
            .scalar_subquery()
        )
        statement = select(turns).where(
            *owned(turns, owner), turns.c.session_row == session_row, turns.c.position >= first
        )
        rows = self._connection.execute(statement.order_by(turns.c.position)).all()
        return (rows[0].position, [turn_of(row) for row in rows]) if rows else (0, [])

    def newest(self, owner: Owner, *, before: tuple[datetime, str] | None, limit: int) -> list[tuple[Session, Status]]:
        """Sessions by `started_at`, newest first, after the (started_at, session_id) of a cursor."""
        statement = select(sessions).where(*owned(sessions, owner))
        if before is not None:
            started_at, session_id = before
            statement = statement.where(
                or_(
                    sessions.c.started_at < started_at,
                    and_(sessions.c.started_at == started_at, sessions.c.session_id < session_id),
                )
            )
        statement = statement.order_by(sessions.c.started_at.desc(), sessions.c.session_id.desc()).limit(limit)
        found = [_session(row) for row in self._connection.execute(statement)]
        return [(session, self.status(owner, session.row_id)) for session in found]

    def status(self, owner: Owner, row_id: UUID) -> Status:
        """How far the session has come; `extracted` as if there were a language model."""
        mine = (*owned(rounds, owner), rounds.c.session_row == row_id)
        waiting = exists().where(*mine, rounds.c.indexed_at.is_(None))
        by_rules = exists().where(*mine, rounds.c.drawn_by == "rules")
        undrawn = exists().where(*mine, rounds.c.drawn < rounds.c.revision)
        unindexed = exists().where(*owned(facts, owner), facts.c.session_row == row_id, facts.c.indexed_at.is_(None))
        found = self._connection.execute(select(waiting, by_rules, undrawn, unindexed)).one()
        is_waiting, is_by_rules, is_undrawn, has_unindexed = found
        owed = select(outbox.c.kind, outbox.c.failed_at, outbox.c.error, outbox.c.due_at).where(
            *owned(outbox, owner), outbox.c.subject == row_id
        )
        tasks = {row.kind: row for row in self._connection.execute(owed)}
        drawing = tasks.get("extract")
        has_failed = drawing is not None and drawing.failed_at is not None
        # Facts that cannot be found yet are not there yet.
        is_drawing = (drawing is not None and not has_failed) or has_unindexed
        return Status(
            indexed=not is_waiting,
            extracted="failed" if has_failed else "pending" if is_drawing or is_undrawn else "done",
            error=next((task.error for task in tasks.values() if task.failed_at is not None), None),
            is_drawing=is_drawing,
            degraded=_BY_RULES if is_by_rules else None,
        )

    def delete(self, owner: Owner, row_id: UUID) -> None:
        """Delete a session and, by cascade, its rounds, turns and facts."""
        self._connection.execute(delete(sessions).where(*owned(sessions, owner), sessions.c.id == row_id))

    def all_rows(self, owner: Owner) -> list[Session]:
        """Every session of a user."""
        return [_session(row) for row in self._connection.execute(select(sessions).where(*owned(sessions, owner)))]

    def alive(self, row_ids: Sequence[UUID]) -> set[UUID]:
        """Which of these sessions are still there (asked by workers, who were handed the ids with their owners)."""
        return set(self._connection.execute(select(sessions.c.id).where(sessions.c.id.in_(row_ids))).scalars())

    def kept_answer(self, owner: Owner, key: str) -> tuple[str, dict[str, Any]] | None:
        """The fingerprint and answer kept for an Idempotency-Key."""
        row = self._connection.execute(
            select(idempotency_keys).where(*owned(idempotency_keys, owner), idempotency_keys.c.key == key)
        ).one_or_none()
        return row and (row.fingerprint, row.answer)

    def keep_answer(self, owner: Owner, key: str, *, fingerprint: str, answer: dict[str, Any], now: datetime) -> None:
        """Keep the answer to a request under its Idempotency-Key."""
        row = {
            "workspace": owner.workspace,
            "user_id": owner.user_id,
            "key": key,
            "fingerprint": fingerprint,
            "answer": answer,
            "created_at": now,
        }
        self._connection.execute(insert(idempotency_keys).values(row))

    def forget_answer(self, owner: Owner, key: str) -> None:
        """Delete the answer kept under a key: its session is gone."""
        self._connection.execute(
            delete(idempotency_keys).where(*owned(idempotency_keys, owner), idempotency_keys.c.key == key)
        )

    def forget_answers(self, *, before: datetime) -> int:
        """Delete the answers kept before an instant; how many there were."""
        columns = list(idempotency_keys.primary_key)
        # Those that somebody deletes or writes at this moment are left to the next time.
        old = select(*columns).where(idempotency_keys.c.created_at < before).with_for_update(skip_locked=True)
        return self._connection.execute(delete(idempotency_keys).where(tuple_(*columns).in_(old))).rowcount

    def _lengthen_rounds(self, owner: Owner, session_row: UUID, new: Sequence[NewTurn], *, now: datetime) -> None:
        opened: dict[int, dict[str, Any]] = {}
        longer: dict[int, int] = {}
        for entry in new:
            if entry.position == entry.round_position:
                opened[entry.position] = _round_row(owner, session_row, entry, now=now)
            elif entry.round_position in opened:
                opened[entry.round_position]["revision"] += 1
            else:
                longer[entry.round_position] = longer.get(entry.round_position, 0) + 1
        for position, more in longer.items():
            self._connection.execute(
                update(rounds)
                .where(*owned(rounds, owner), rounds.c.id == round_row_id(session_row, position))
                .values(revision=rounds.c.revision + more, indexed_at=None)
            )
        if opened:
            self._connection.execute(insert(rounds), list(opened.values()))


def round_row_id(session_row: UUID, first_position: int) -> UUID:
    """The id of the round that starts at a position of a session."""
    return uuid5(session_row, f"round:{first_position}")


def _session(row: Row[Any]) -> Session:
    return Session(
        row_id=row.id,
        session_id=row.session_id,
        started_at=at_offset(row.started_at, row.started_offset),
        recorded_at=row.recorded_at,
        turn_count=row.turn_count,
        round_count=row.round_count,
        metadata=row.metadata,
    )


def _round_row(owner: Owner, session_row: UUID, first: NewTurn, *, now: datetime) -> dict[str, Any]:
    return {
        "id": round_row_id(session_row, first.position),
        "workspace": owner.workspace,
        "user_id": owner.user_id,
        "session_row": session_row,
        "first_position": first.position,
        "revision": 1,
        "said_at": first.turn.said_at,
        "recorded_at": now,
        "key_count": 0,
    }


def turn_row_id(session_row: UUID, turn_id: str) -> UUID:
    """The id of a turn's row."""
    return uuid5(session_row, f"turn:{turn_id}")


def _turn_row(owner: Owner, session_row: UUID, new: NewTurn, *, now: datetime) -> dict[str, Any]:
    turn = new.turn
    return {
        "id": turn_row_id(session_row, turn.turn_id),
        "workspace": owner.workspace,
        "user_id": owner.user_id,
        "session_row": session_row,
        "round_row": round_row_id(session_row, new.round_position),
        "position": new.position,
        "turn_id": turn.turn_id,
        "role": turn.role.value,
        "speaker": turn.speaker,
        "text": turn.text,
        "captions": list(turn.captions),
        "said_at": turn.said_at,
        "said_offset": offset_minutes(turn.said_at),
        "recorded_at": now,
    }
