"""Timelines on the wire."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from memsvc.api.cursors import cursor_of, row_place_of
from memsvc.api.deps import Cases, ReadingCaller, ReadingOwner
from memsvc.api.schemas import Instant, in_zone
from memsvc.api.times import EventOut, Moment
from memsvc.domain import Role
from memsvc.errors import Invalid
from memsvc.intervals import AsOf
from memsvc.memory.timeline import Entry

router = APIRouter(prefix="/v1/users/{user_id}/timeline", tags=["timeline"])


class SourceOut(BaseModel):
    """Where a sentence stands: its turn, and its offsets in the turn's text."""

    session_id: str
    turn_id: str
    quote: str
    start: int
    end: int


class ItemOut(BaseModel):
    """Something dated: what was said of it, the words that date it, and how exactly."""

    kind: Literal["sentence"]
    text: str
    when: str
    event: EventOut
    speaker: str
    role: Role
    said_at: Moment
    sources: list[SourceOut]

    @classmethod
    def of(cls, entry: Entry) -> "ItemOut":
        """From the value."""
        start, end = entry.span
        source = SourceOut(
            session_id=entry.session_id, turn_id=entry.turn.turn_id, quote=entry.sentence, start=start, end=end
        )
        return cls(
            kind="sentence",
            text=entry.sentence,
            when=entry.expression.text,
            event=EventOut.between(entry.expression.start, entry.expression.end, entry.expression.precision),
            speaker=entry.turn.speaker,
            role=entry.turn.role,
            said_at=entry.turn.said_at,
            sources=[source],
        )


class TimelineOut(BaseModel):
    """A page of a timeline, the earliest first."""

    items: list[ItemOut]
    next_cursor: str | None


@router.get("")
def timeline(
    cases: Cases,
    owner: ReadingOwner,
    caller: ReadingCaller,
    from_: Annotated[Instant | None, Query(alias="from")] = None,
    to: Instant | None = None,
    speaker: Annotated[str | None, Query(max_length=255, pattern="^[^\\x00]*$")] = None,
    valid_at: Instant | None = None,
    recorded_at: Instant | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
) -> TimelineOut:
    """What was told, by the time it tells of: the sentences that name a time within [from, to), as exactly as it is."""
    zone = caller.time_zone
    start, end = in_zone(from_, "from", zone), in_zone(to, "to", zone)
    if start is not None and end is not None and start >= end:
        raise Invalid("The interval is empty: from is not before to.", (("to", "must be after from"),))
    found = cases.chronicler.timeline(
        owner,
        start=start,
        end=end,
        speaker=speaker,
        as_of=AsOf(in_zone(valid_at, "valid_at", zone), in_zone(recorded_at, "recorded_at", zone)),
        after=row_place_of(cursor),
        limit=limit + 1,
    )
    page = found[:limit]
    at, row_id = page[-1].place if page else (None, None)
    next_cursor = cursor_of(at, str(row_id)) if at is not None and len(found) > limit else None
    return TimelineOut(items=[ItemOut.of(entry) for entry in page], next_cursor=next_cursor)
