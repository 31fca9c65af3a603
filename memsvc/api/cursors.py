"""Places in lists, as strings that only this service reads."""

import base64
import binascii
import json
from datetime import UTC, datetime
from uuid import UUID

from memsvc.errors import InvalidCursor


def cursor_of(at: datetime, name: str) -> str:
    """The cursor of a place: an instant, and what is told apart by name at the same one."""
    return base64.urlsafe_b64encode(json.dumps([at.isoformat(), name]).encode()).decode()


def place_of(cursor: str | None) -> tuple[datetime, str] | None:
    """The place a cursor stands for, in UTC; raises InvalidCursor."""
    if cursor is None:
        return None
    try:
        at, name = json.loads(base64.urlsafe_b64decode(cursor))
        instant = datetime.fromisoformat(at)
        if instant.tzinfo is None or not isinstance(name, str):
            raise InvalidCursor
        return instant.astimezone(UTC), name
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error) as exc:
        raise InvalidCursor from exc


def row_place_of(cursor: str | None) -> tuple[datetime, UUID] | None:
    """The place of a row that a cursor stands for; raises InvalidCursor."""
    place = place_of(cursor)
    try:
        return place and (place[0], UUID(place[1]))
    except ValueError as exc:
        raise InvalidCursor from exc
