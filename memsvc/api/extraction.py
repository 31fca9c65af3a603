"""Extraction on the wire: what would come of a chat, and a session extracted anew."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from memsvc.api.deps import Cases, SessionId, WritingCaller, WritingOwner
from memsvc.api.fact_schemas import DecisionOut, SourceOut
from memsvc.api.schemas import SessionIn
from memsvc.api.times import EventOut
from memsvc.clock import utc_now
from memsvc.errors import Invalid
from memsvc.memory.extracting import Foreseen
from memsvc.memory.reconciling import Sourced
from memsvc.memory.recording import filled_in

router = APIRouter(prefix="/v1/users/{user_id}", tags=["facts"])


class StatementOut(BaseModel):
    """A statement that would be drawn."""

    text: str
    kind: str
    subject: str
    slot: str | None
    value: str | None
    when: str | None
    event: EventOut | None
    event_source: Literal["rules", "llm", "api"] | None
    confidence: float | None
    sources: list[SourceOut]

    @classmethod
    def of(cls, sourced: Sourced) -> "StatementOut":
        """From the value."""
        made = sourced.statement
        source = SourceOut(
            session_id=sourced.session_id, turn_id=made.turn_id, quote=made.quote, start=made.start, end=made.end
        )
        return cls(
            text=made.text,
            kind=made.kind,
            subject=made.subject,
            slot=made.slot,
            value=made.value,
            when=made.when,
            event=made.event and EventOut.between(made.event.start, made.event.end, made.precision),
            event_source=made.reading.value if made.reading is not None else None,
            confidence=made.confidence,
            sources=[source],
        )


class RejectionOut(BaseModel):
    """A statement that would be refused, and why."""

    text: str
    reason: str


class ForeseenOut(BaseModel):
    """What would come of a chat; nothing of it was written."""

    source: Literal["llm", "rules", "api"]
    statements: list[StatementOut]
    rejected: list[RejectionOut]
    outcome: list[DecisionOut] = Field(description="as it would be decided against what is known")

    @classmethod
    def of(cls, foreseen: Foreseen) -> "ForeseenOut":
        """From the value."""
        batch = foreseen.batch
        return cls(
            source=batch.origin.value,
            statements=[StatementOut.of(sourced) for sourced in batch.sourced],
            rejected=[RejectionOut(text=one.text, reason=one.reason) for one in batch.rejections],
            outcome=[DecisionOut.of(outcome) for outcome in foreseen.outcomes],
        )


@router.post("/extract")
def foresee(
    cases: Cases,
    owner: WritingOwner,
    caller: WritingCaller,
    body: SessionIn,
    dry_run: Annotated[bool, Query(description="only true: what is to be kept is recorded with PUT")] = False,
) -> ForeseenOut:
    """What would come of a chat, and how it would be decided against what is known; nothing is written."""
    if not dry_run:
        raise Invalid(
            "Only dry_run=true is answered here: record a session with PUT, and it is extracted.",
            (("dry_run", "must be true"),),
        )
    drafts = body.drafts(caller.time_zone)
    cases.recorder.check(drafts)
    since = body.start(caller.time_zone) or drafts[0].said_at or utc_now()
    return ForeseenOut.of(cases.extractor.foresee(owner, filled_in(drafts, first_position=0, since=since)))


@router.post("/sessions/{session_id}/extract", status_code=202)
def extract(cases: Cases, owner: WritingOwner, session_id: SessionId) -> dict[str, str]:
    """Extract what of a session was not extracted yet, or by rules only."""
    cases.extractor.owe_session(owner, session_id)
    return {"session_id": session_id, "status": "due"}
