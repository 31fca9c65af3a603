"""Rounds: what recall gives back and what the index is filled from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, and_, case, func, or_, select, update
from sqlalchemy.sql.dml import Update

from memsvc.domain import Owner, Round, Shape
from memsvc.intervals import Expression, Locale
from memsvc.store.dialects import insert_unless_known, owned
from memsvc.store.rows import at_offset, turn_of
from memsvc.store.sessions import turn_row_id
from memsvc.store.tables import live_index, rounds, sessions, turns, users
from memsvc.store.times import Times


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a round in the index: how many keys, and the distinct token ids of each turn, as bytes."""

    owner: Owner
    round: Round
    key_count: int
    terms: bytes = b""


class Rounds:
    """Statements about rounds, and about the index that is live."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def load(self, owner: Owner, row_ids: Sequence[UUID]) -> dict[UUID, Round]:
        """The user's own rounds among these ids, whole, with the times that their turns name."""
        statement = _whole_rounds().where(*owned(rounds, owner), *owned(turns, owner), rounds.c.id.in_(row_ids))
        times = Times(self._connection).of_rounds(owner, row_ids)
        return {loaded.row_id: loaded for _, loaded in self._fetch(statement, times)}

    def unindexed(self, session_rows: Sequence[UUID], *, limit: int) -> list[tuple[Owner, Round]]:
        """Up to `limit` rounds of these sessions that wait for the index, each with its owner."""
        waiting = (
            select(rounds.c.id)
            .where(rounds.c.session_row.in_(session_rows), rounds.c.indexed_at.is_(None))
            .order_by(rounds.c.session_row, rounds.c.first_position)
            .limit(limit)
        )
        return self._with_before(list(self._fetch(_whole_rounds().where(rounds.c.id.in_(waiting)))))

    def page(self, *, after: UUID | None, limit: int) -> list[tuple[Owner, Round]]:
        """Rounds of every owner by id, after an id: what a rebuild walks through."""
        ids = select(rounds.c.id).order_by(rounds.c.id).limit(limit)
        ids = ids if after is None else ids.where(rounds.c.id > after)
        found = self._fetch(_whole_rounds().where(rounds.c.id.in_(ids)))
        return sorted(self._with_before(list(found)), key=lambda pair: pair[1].row_id.hex)

    def mark_indexed(self, made: Iterable[Made], *, now: datetime) -> None:
        """Mark rounds as indexed, unless they have grown since they were read, and keep the times they name."""
        for entry in made:
            self._write(entry, indexed_at=now)

    def set_made(self, made: Iterable[Made]) -> None:
        """Correct what was made of rounds (another encoder cuts other windows, another version reads other times)."""
        for entry in made:
            self._write(entry)

    def unmark(self, owner: Owner) -> list[UUID]:
        """Make every round of a user wait for the index again; their sessions."""
        mine = owned(rounds, owner)
        self._connection.execute(update(rounds).where(*mine).values(indexed_at=None))
        return list(self._connection.execute(select(rounds.c.session_row).where(*mine).distinct()).scalars())

    def undrawn(self, owner: Owner, session_row: UUID, *, by: str) -> list[tuple[Round, int]]:
        """The rounds of a session that hold turns not yet extracted, or not by the model, with how many are.

        `by` is who is to extract: what the rules have drawn counts for nothing to the model.
        """
        of_session = select(rounds.c.id, rounds.c.drawn, rounds.c.drawn_by, rounds.c.revision).where(
            *owned(rounds, owner), rounds.c.session_row == session_row
        )
        done = {
            row.id: row.drawn if by == "rules" or row.drawn_by in (by, "api") else 0
            for row in self._connection.execute(of_session)
            if row.drawn < row.revision or (by != "rules" and row.drawn_by not in (by, "api"))
        }
        statement = _whole_rounds().where(*owned(rounds, owner), *owned(turns, owner), rounds.c.id.in_(done))
        found = self._with_before(list(self._fetch(statement)))
        return [(round_, done[round_.row_id]) for _, round_ in sorted(found, key=lambda pair: pair[1].first_position)]

    def are_drawn(self, owner: Owner, turns: Mapping[UUID, int], *, by: str) -> bool:
        """Whether so many turns of these rounds, of each at least, were extracted by the same."""
        statement = select(rounds.c.id, rounds.c.drawn).where(
            *owned(rounds, owner), rounds.c.id.in_(turns), rounds.c.drawn_by == by
        )
        drawn = {row.id: row.drawn for row in self._connection.execute(statement)}
        return all(drawn.get(row_id, -1) >= count for row_id, count in turns.items())

    def mark_drawn(self, owner: Owner, round_row: UUID, *, turns: int, by: str) -> None:
        """Note that so many turns of a round were extracted, and by whom."""
        mine = update(rounds).where(*owned(rounds, owner), rounds.c.id == round_row)
        self._connection.execute(mine.values(drawn=turns, drawn_by=by))

    def sessions_to_draw(self, workspace: str | None, *, by: str) -> list[tuple[Owner, UUID]]:
        """The sessions, of one workspace or of all, that hold what is not yet extracted, or not by the model."""
        waiting = rounds.c.drawn < rounds.c.revision
        if by != "rules":
            waiting = or_(waiting, rounds.c.drawn_by.is_(None), rounds.c.drawn_by.not_in([by, "api"]))
        statement = (
            select(rounds.c.workspace, rounds.c.user_id, rounds.c.session_row, sessions.c.started_at)
            .join(sessions, sessions.c.id == rounds.c.session_row)
            .where(waiting)
            .distinct()
            .order_by(sessions.c.started_at, rounds.c.session_row)
        )
        if workspace is not None:
            statement = statement.where(rounds.c.workspace == workspace)
        return [(Owner(row.workspace, row.user_id), row.session_row) for row in self._connection.execute(statement)]

    def indexed_turns(self, owner: Owner) -> int:
        """How many turns the user's indexed rounds have."""
        statement = select(func.coalesce(func.sum(rounds.c.revision), 0)).where(*owned(rounds, owner))
        return int(self._connection.execute(statement.where(rounds.c.terms.is_not(None))).scalar_one())

    def terms(self, owner: Owner) -> tuple[int, bytes]:
        """How many turns the user's indexed rounds have, and the distinct token ids of each, one after the other."""
        statement = select(rounds.c.revision, rounds.c.terms).where(*owned(rounds, owner), rounds.c.terms.is_not(None))
        found = self._connection.execute(statement).all()
        return sum(row.revision for row in found), b"".join(row.terms for row in found)

    def counts(self) -> tuple[int, int, int]:
        """Rounds, rounds that are indexed, and keys those were indexed with, over all workspaces."""
        keys = func.coalesce(func.sum(case((rounds.c.indexed_at.is_not(None), rounds.c.key_count))), 0)
        statement = select(func.count(), func.count(rounds.c.indexed_at), keys)
        total, indexed, held = self._connection.execute(statement.select_from(rounds)).one()
        return int(total), int(indexed), int(held)

    def owed_since(self, since: datetime) -> list[tuple[Owner, UUID]]:
        """Unmark the rounds indexed at or after an instant; the sessions with unmarked rounds, with their owners."""
        self._connection.execute(update(rounds).where(rounds.c.indexed_at >= since).values(indexed_at=None))
        statement = select(rounds.c.workspace, rounds.c.user_id, rounds.c.session_row).distinct()
        unmarked = statement.where(rounds.c.indexed_at.is_(None))
        return [(Owner(row[0], row[1]), row[2]) for row in self._connection.execute(unmarked)]

    def live_index(self) -> Shape | None:
        """What the live index was filled with."""
        row = self._connection.execute(select(live_index)).one_or_none()
        return None if row is None else Shape(row.encoder, row.dimension, row.token_dimension, row.form, row.variant)

    def swapped_at(self) -> datetime | None:
        """When the live index became that."""
        return self._connection.execute(select(live_index.c.swapped_at)).scalar()

    def set_live_index(self, shape: Shape, *, now: datetime) -> None:
        """Say what the live index is filled with."""
        values = {**asdict(shape), "swapped_at": now}
        if not insert_unless_known(self._connection, live_index, {"id": 1, **values}):
            self._connection.execute(update(live_index).values(values))

    def _write(self, made: Made, **more: Any) -> None:
        values = {"key_count": made.key_count, "terms": made.terms, **more}
        if not self._connection.execute(_as_read(made).values(values)).rowcount:
            return  # It has grown, or is gone: whoever reads it next writes it.
        session_row, locale = made.round.session_row, made.round.locale
        said = [(turn_row_id(session_row, turn.turn_id), turn, locale.at(turn.said_at)) for turn in made.round.turns]
        Times(self._connection).write(made.owner, session_row, made.round.row_id, said)

    def _with_before(self, found: list[tuple[Owner, Round]]) -> list[tuple[Owner, Round]]:
        """The same rounds, each with the turn that stands before it in its session."""
        same = [turns.c[name] == rounds.c[name] for name in ("workspace", "user_id", "session_row")]
        statement = (
            select(rounds.c.id.label("round_id"), turns)
            .join(turns, and_(*same, turns.c.position == rounds.c.first_position - 1))
            .where(rounds.c.id.in_([loaded.row_id for _, loaded in found]))
        )
        before = {row.round_id: turn_of(row) for row in self._connection.execute(statement)}
        return [(owner, replace(loaded, before=before.get(loaded.row_id))) for owner, loaded in found]

    def _fetch(
        self, statement: Select[Any], times: Mapping[UUID, Sequence[Expression]] | None = None
    ) -> Iterator[tuple[Owner, Round]]:
        rows = self._connection.execute(statement.order_by(rounds.c.id, turns.c.position))
        for row_id, group in groupby(rows, key=lambda row: row.round_id):
            yield _round(row_id, list(group), times or {})


def _as_read(made: Made) -> Update:
    return update(rounds).where(rounds.c.id == made.round.row_id, rounds.c.revision == made.round.revision)


def _whole_rounds() -> Select[Any]:
    return (
        select(
            rounds.c.id.label("round_id"),
            rounds.c.first_position,
            sessions.c.session_id,
            sessions.c.started_at,
            sessions.c.started_offset,
            turns.c.workspace,
            turns.c.user_id,
            turns.c.session_row,
            turns.c.turn_id,
            turns.c.role,
            turns.c.speaker,
            turns.c.text,
            turns.c.captions,
            turns.c.said_at,
            turns.c.said_offset,
            turns.c.recorded_at,
            turns.c.id.label("turn_row"),
            users.c.time_zone,
            users.c.week_start,
            users.c.language,
        )
        .join(turns, turns.c.round_row == rounds.c.id)
        .join(sessions, sessions.c.id == rounds.c.session_row)
        .join(users, and_(users.c.workspace == rounds.c.workspace, users.c.user_id == rounds.c.user_id))
    )


def _round(row_id: UUID, rows: list[Row[Any]], times: Mapping[UUID, Sequence[Expression]]) -> tuple[Owner, Round]:
    first = rows[0]
    return Owner(first.workspace, first.user_id), Round(
        row_id=row_id,
        session_row=first.session_row,
        session_id=first.session_id,
        session_started_at=at_offset(first.started_at, first.started_offset),
        first_position=first.first_position,
        turns=tuple(turn_of(row, times.get(row.turn_row, ())) for row in rows),
        locale=Locale(first.time_zone, first.week_start, first.language),
    )
