"""Values and request bodies for tests, with what a test does not care about filled in."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from memsvc.domain import NAMESPACE, Draft, Owner, Role, Round, Turn

OWNER = Owner("default", "ana")
STARTED = datetime(2024, 3, 1, 10, tzinfo=UTC)


def draft(text: str, role: str = "user", **more: Any) -> Draft:
    """A turn as it arrives."""
    return Draft(role=Role(role), text=text, **more)


def turn(text: str, role: str = "user", *, turn_id: str = "0", speaker: str | None = None, **more: Any) -> Turn:
    """A turn."""
    return Turn(turn_id, Role(role), speaker or role, text, more.pop("said_at", STARTED), **more)


def round_of(*turns: Turn, session: str = "s1", position: int = 0) -> Round:
    """A round of these turns."""
    session_row = uuid5(NAMESPACE, session)
    return Round(uuid5(session_row, f"round:{position}"), session_row, session, STARTED, position, turns)


def row_id(name: str) -> UUID:
    """An id for a name."""
    return uuid5(NAMESPACE, name)


def session_body(*texts: str, started_at: str = "2024-03-01T10:00:00Z", **more: Any) -> dict[str, Any]:
    """A request that records a session: user and assistant by turns."""
    roles = ("user", "assistant")
    turns = [{"role": roles[position % 2], "text": text} for position, text in enumerate(texts)]
    return {"started_at": started_at, "turns": turns, **more}
