"""Rows as values: instants with the offset they came with, and turns."""

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import Row

from memsvc.domain import Role, Turn
from memsvc.intervals import Expression


def at_offset(instant: datetime, minutes: int) -> datetime:
    """The instant in the zone offset it was given in."""
    return instant.astimezone(timezone(timedelta(minutes=minutes))) if minutes else instant


def offset_minutes(instant: datetime) -> int:
    """Minutes east of UTC of an aware instant."""
    offset = instant.utcoffset()
    return int(offset.total_seconds() // 60) if offset else 0


def turn_of(row: Row[Any], times: Sequence[Expression] = ()) -> Turn:
    """A row of `turns` as a value, with the times that it names."""
    said_at = at_offset(row.said_at, row.said_offset)
    captions = tuple(row.captions)
    return Turn(row.turn_id, Role(row.role), row.speaker, row.text, said_at, captions, tuple(times), row.recorded_at)


def offset_seconds(instant: datetime | None) -> int:
    """Seconds east of UTC: a city's own time, before there were zones, is told to the second."""
    offset = instant.utcoffset() if instant is not None else None
    return int(offset.total_seconds()) if offset else 0


def at_seconds(instant: datetime | None, seconds: int) -> datetime | None:
    """The instant in the zone it was given in."""
    return instant.astimezone(timezone(timedelta(seconds=seconds))) if instant is not None and seconds else instant
