"""Facts on the wire."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from memsvc.api.cursors import cursor_of, row_place_of
from memsvc.api.deps import Cases, ReadingCaller, ReadingOwner
from memsvc.api.schemas import Instant, in_zone
from memsvc.api.times import FactOut, FactsOut
from memsvc.intervals import AsOf

router = APIRouter(prefix="/v1/users/{user_id}/facts", tags=["facts"])

_Name = Annotated[str | None, Query(max_length=255, pattern="^[^\\x00]*$")]


@router.get("")
def facts(
    cases: Cases,
    owner: ReadingOwner,
    caller: ReadingCaller,
    kind: _Name = None,
    speaker: _Name = None,
    valid_at: Instant | None = None,
    recorded_at: Instant | None = None,
    from_: Annotated[Instant | None, Query(alias="from")] = None,
    to: Instant | None = None,
    include: Literal["superseded"] | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
) -> FactsOut:
    """The facts that hold at `valid_at`, as far as they were on record at `recorded_at`; both are now if not given."""
    zone = caller.time_zone
    found = cases.reader.facts(
        owner,
        AsOf(in_zone(valid_at, "valid_at", zone), in_zone(recorded_at, "recorded_at", zone)),
        kind=kind,
        speaker=speaker,
        start=in_zone(from_, "from", zone),
        end=in_zone(to, "to", zone),
        superseded=include == "superseded",
        after=row_place_of(cursor),
        limit=limit + 1,
    )
    page = found[:limit]
    next_cursor = cursor_of(page[-1].valid_at, str(page[-1].fact_id)) if len(found) > limit else None
    return FactsOut(facts=[FactOut.of(fact) for fact in page], next_cursor=next_cursor)
