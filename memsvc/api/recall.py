"""Recall on the wire."""

from fastapi import APIRouter

from memsvc.api.answers import RecallOut
from memsvc.api.deps import Cases, ReadingCaller, ReadingOwner
from memsvc.api.schemas import RecallIn, in_zone
from memsvc.clock import utc_now
from memsvc.domain import Query
from memsvc.intervals import AsOf

router = APIRouter(prefix="/v1/users/{user_id}/recall", tags=["recall"])


@router.post("", response_model_exclude_none=False)
def recall(cases: Cases, owner: ReadingOwner, caller: ReadingCaller, body: RecallIn) -> RecallOut:
    """What is known about this user that matters for a question: evidence by rank, and a context to put in a prompt."""
    found = cases.recaller.recall(owner, query_of(body, caller.time_zone))
    return RecallOut.of(found, explain=body.explain)


def query_of(body: RecallIn, zone: str | None) -> Query:
    """A request as a value; raises Invalid for a time without a zone where the workspace has none."""
    return Query(
        text=body.query,
        asked_at=in_zone(body.asked_at, "asked_at", zone) or utc_now(),
        limit=body.limit,
        unit=body.unit,
        token_budget=body.token_budget,
        order=body.order,
        window=body.window.window(zone) if body.window else None,
        as_of=body.as_of.as_of(zone) if body.as_of else AsOf(),
        explain=body.explain,
    )
