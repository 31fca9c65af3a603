"""The times that turns name, the filters over turns that time makes, and how users tell it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, insert, or_, select, update

from memsvc.domain import Owner, Turn
from memsvc.intervals import AsOf, Expression, Locale, Precision
from memsvc.plans import Placed, Spot, TurnFilter
from memsvc.store.dialects import owned
from memsvc.store.rows import at_seconds, offset_seconds, turn_of
from memsvc.store.tables import sessions, turn_times, turns, users


@dataclass(frozen=True, slots=True)
class Dated:
    """An expression with the turn that it stands in: an item of a timeline. `sorts_at` is where it stands there."""

    sorts_at: datetime
    row_id: UUID
    session_id: str
    turn: Turn
    expression: Expression


class Times:
    """Statements about time. Each names its owner."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def locale(self, owner: Owner) -> Locale:
        """How the user tells time; the usual way for a user nobody knows."""
        columns = users.c.time_zone, users.c.week_start, users.c.language
        row = self._connection.execute(select(*columns).where(*owned(users, owner))).one_or_none()
        return Locale(*row) if row else Locale()

    def set_locale(self, owner: Owner, locale: Locale) -> None:
        """Say how a known user tells time."""
        values = {"time_zone": locale.time_zone, "week_start": locale.week_start, "language": locale.language}
        self._connection.execute(update(users).where(*owned(users, owner)).values(values))

    def write(
        self, owner: Owner, session_row: UUID, round_row: UUID, said: Sequence[tuple[UUID, Turn, datetime]]
    ) -> None:
        """Replace what a round's turns name, and note when they were said on the user's wall clock.

        `said` has for each turn its row and that wall-clock time.
        """
        self._connection.execute(
            delete(turn_times).where(*owned(turn_times, owner), turn_times.c.round_row == round_row)
        )
        ours = {
            "workspace": owner.workspace,
            "user_id": owner.user_id,
            "session_row": session_row,
            "round_row": round_row,
        }
        rows = [
            {**ours, "turn_row": turn_row, **_columns(turn_row, turn, expression)}
            for turn_row, turn, _ in said
            for expression in turn.times
        ]
        if rows:
            self._connection.execute(insert(turn_times), rows)
        clocks = [
            {"row": row, "day": local.weekday(), "minute": local.hour * 60 + local.minute} for row, _, local in said
        ]
        if clocks:
            noted = update(turns).where(*owned(turns, owner), turns.c.id == bindparam("row"))
            values: dict[str, Any] = {"said_weekday": bindparam("day"), "said_minute": bindparam("minute")}
            self._connection.execute(noted.values(values), clocks)

    def of_rounds(self, owner: Owner, round_rows: Sequence[UUID]) -> Mapping[UUID, list[Expression]]:
        """What the turns of these rounds name, by the turn's row, in the order of the text."""
        return self._by_turn(owner, turn_times.c.round_row.in_(round_rows))

    def of_session(self, owner: Owner, session_row: UUID) -> Mapping[UUID, list[Expression]]:
        """What the turns of a session name, by the turn's row, in the order of the text."""
        return self._by_turn(owner, turn_times.c.session_row == session_row)

    def placed(self, owner: Owner, wanted: TurnFilter, *, limit: int) -> list[Placed]:
        """The indexed turns that a filter lets through, as they were said; no more than `limit`."""
        conditions = [*owned(turns, owner), turns.c.said_weekday.is_not(None), *_conditions(wanted)]
        if wanted.speaker is not None:
            conditions.append(turns.c.speaker.in_(self._spelled(owner, wanted.speaker)))
        if wanted.sessions is not None:
            conditions.append(turns.c.session_row.in_(self.sessions(owner, wanted)))
        order = turns.c.said_at, turns.c.session_row, turns.c.position
        columns = turns.c.round_row, turns.c.turn_id, *order
        statement = select(*columns).where(*conditions).order_by(*order).limit(limit)
        return [
            Placed(row.round_row, row.turn_id, Spot(row.said_at, row.session_row, row.position))
            for row in self._connection.execute(statement)
        ]

    def sessions(self, owner: Owner, wanted: TurnFilter) -> list[UUID]:
        """The user's conversations of the ordinals asked for, as they began; of those begun when it was asked."""
        first, last = wanted.sessions or (1, -1)
        spoken = select(turns.c.session_row).where(*owned(turns, owner), *_visible(wanted.as_of))
        statement = select(sessions.c.id).where(*owned(sessions, owner), sessions.c.id.in_(spoken))
        if wanted.asked_at is not None:
            statement = statement.where(sessions.c.started_at <= wanted.asked_at)
        if first < 0:
            newest = statement.order_by(sessions.c.started_at.desc(), sessions.c.session_id.desc())
            chosen = newest.limit(last - first + 1).offset(-last - 1)
            return list(reversed(list(self._connection.execute(chosen).scalars())))
        oldest = statement.order_by(sessions.c.started_at, sessions.c.session_id).offset(first - 1)
        return list(self._connection.execute(oldest if last < 0 else oldest.limit(last - first + 1)).scalars())

    def timeline(
        self,
        owner: Owner,
        *,
        start: datetime | None,
        end: datetime | None,
        speaker: str | None,
        as_of: AsOf,
        after: tuple[datetime, UUID] | None,
        limit: int,
    ) -> list[Dated]:
        """Expressions by the time they name, those that overlap [start, end), after a (sorts_at, row) of a cursor."""
        conditions = [*owned(turn_times, owner), *owned(turns, owner), *owned(sessions, owner), *_visible(as_of)]
        if start is not None:
            conditions.append(or_(turn_times.c.event_to.is_(None), turn_times.c.event_to > start))
        if end is not None:
            conditions.append(or_(turn_times.c.event_from.is_(None), turn_times.c.event_from < end))
        if speaker is not None:
            conditions.append(turns.c.speaker == speaker)
        if after is not None:
            at, row_id = after
            later = and_(turn_times.c.sorts_at == at, turn_times.c.id > row_id)
            conditions.append(or_(turn_times.c.sorts_at > at, later))
        # Both tables have ids and sessions: those of the expressions are named apart.
        columns = [column.label(f"time_{column.name}") for column in turn_times.c]
        statement = (
            select(*columns, turns, sessions.c.session_id)
            .join(turns, turns.c.id == turn_times.c.turn_row)
            .join(sessions, sessions.c.id == turns.c.session_row)
            .where(*conditions)
            .order_by(turn_times.c.sorts_at, turn_times.c.id)
            .limit(limit)
        )
        return [_dated(row) for row in self._connection.execute(statement)]

    def _spelled(self, owner: Owner, speaker: str) -> list[str]:
        """A speaker's name as the user's turns have it, in any case; SQLite itself folds that of ASCII alone."""
        names = self._connection.execute(select(turns.c.speaker).where(*owned(turns, owner)).distinct()).scalars()
        return [name for name in names if name.casefold() == speaker.casefold()]

    def _by_turn(self, owner: Owner, condition: ColumnElement[bool]) -> Mapping[UUID, list[Expression]]:
        columns = [column.label(f"time_{column.name}") for column in turn_times.c]
        statement = (
            select(*columns, turns.c.text)
            .join(turns, turns.c.id == turn_times.c.turn_row)
            .where(*owned(turn_times, owner), *owned(turns, owner), condition)
            .order_by(turn_times.c.turn_row, turn_times.c.first)
        )
        found: dict[UUID, list[Expression]] = {}
        for row in self._connection.execute(statement):
            found.setdefault(row.time_turn_row, []).append(_expression(row))
        return found


def _conditions(wanted: TurnFilter) -> Iterable[ColumnElement[bool]]:
    yield from _visible(wanted.as_of)
    if wanted.weekdays:
        yield turns.c.said_weekday.in_(wanted.weekdays)
    if wanted.minutes is not None:
        first, last = wanted.minutes
        both = turns.c.said_minute >= first, turns.c.said_minute < last
        yield and_(*both) if first < last else or_(*both)
    if wanted.window is not None and wanted.window.start is not None:
        yield turns.c.said_at >= wanted.window.start
    if wanted.window is not None and wanted.window.end is not None:
        yield turns.c.said_at < wanted.window.end
    if wanted.role is not None:
        yield turns.c.role == wanted.role
    if wanted.after is not None:
        yield _beyond(wanted.after, is_after=True)
    if wanted.before is not None:
        yield _beyond(wanted.before, is_after=False)


def _visible(as_of: AsOf) -> Iterable[ColumnElement[bool]]:
    """What had been said at the one clock, and was on record at the other."""
    if as_of.valid is not None:
        yield turns.c.said_at <= as_of.valid
    if as_of.recorded is not None:
        yield turns.c.recorded_at <= as_of.recorded


def _beyond(spot: Spot, *, is_after: bool) -> ColumnElement[bool]:
    """Said after a spot, or before it; within its session, by position: its turns may share one time."""
    here = turns.c.session_row == spot.session_row
    elsewhere = turns.c.session_row != spot.session_row
    if is_after:
        return or_(and_(here, turns.c.position > spot.position), and_(elsewhere, turns.c.said_at > spot.said_at))
    return or_(and_(here, turns.c.position < spot.position), and_(elsewhere, turns.c.said_at < spot.said_at))


def _columns(turn_row: UUID, turn: Turn, expression: Expression) -> dict[str, Any]:
    first, last = expression.span
    return {
        "id": uuid5(turn_row, f"time:{first}:{last}"),
        "first": first,
        "last": last,
        "event_from": expression.start,
        "event_to": expression.end,
        "from_offset": offset_seconds(expression.start),
        "to_offset": offset_seconds(expression.end),
        "precision": expression.precision.value,
        "is_relative": expression.is_relative,
        # What has no start stands where it ends.
        "sorts_at": expression.start or expression.end or turn.said_at,
    }


def _expression(row: Any) -> Expression:
    return Expression(
        text=row.text[row.time_first : row.time_last],
        span=(row.time_first, row.time_last),
        start=at_seconds(row.time_event_from, row.time_from_offset),
        end=at_seconds(row.time_event_to, row.time_to_offset),
        precision=Precision(row.time_precision),
        is_relative=row.time_is_relative,
    )


def _dated(row: Any) -> Dated:
    return Dated(row.time_sorts_at.astimezone(UTC), row.time_id, row.session_id, turn_of(row), _expression(row))
