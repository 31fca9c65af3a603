"""Sessions on the wire: record, append, list, read, forget."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Query, Request, Response

from memsvc.api.answers import (
    DigestOut,
    ReceiptOut,
    RecordedOut,
    SessionOut,
    SessionsOut,
    SessionSummaryOut,
    StatusOut,
    TurnOut,
)
from memsvc.api.cursors import cursor_of, place_of
from memsvc.api.deps import Cases, ReadingOwner, SessionId, UseCases, WritingCaller, WritingOwner
from memsvc.api.fact_schemas import DecisionOut, FactOut, OutcomeOut
from memsvc.api.schemas import SessionIn, TurnsIn, check_id
from memsvc.api.waiting import Waiting
from memsvc.domain import Owner, Receipt, Recorded, Status
from memsvc.errors import InvalidCursor, Unavailable
from memsvc.memory.digesting import digest_of

router = APIRouter(prefix="/v1/users/{user_id}/sessions", tags=["sessions"])

Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]


class Wait:
    """How long the answer may wait for the session to come further."""

    def __init__(
        self,
        wait: Annotated[Literal["indexed", "extracted"] | None, Query()] = None,
        wait_s: Annotated[float, Query(ge=0, le=60)] = 30.0,
    ) -> None:
        self.state = wait
        self.seconds = wait_s if wait else 0.0

    def reached(self, status: Status) -> bool:
        """Whether the state is reached, or can no longer be."""
        if self.state is None or status.error is not None:
            return True
        return status.indexed and not (self.state == "extracted" and status.is_drawing)


@router.put("/{session_id}", responses={201: {"model": RecordedOut, "description": "Recorded as a new session"}})
async def record(
    request: Request,
    response: Response,
    cases: Cases,
    owner: WritingOwner,
    caller: WritingCaller,
    session_id: SessionId,
    body: SessionIn,
    wait: Annotated[Wait, Depends()],
    key: Key = None,
) -> RecordedOut:
    """Record a whole session, or the same session grown longer. The answer means: on disk."""

    def write() -> Recorded:
        return cases.recorder.record(
            owner,
            session_id,
            body.drafts(caller.time_zone),
            started_at=body.start(caller.time_zone),
            metadata=body.metadata,
            idempotency_key=key,
        )

    return await _answer(request, response, cases, owner, write, wait)


@router.post("/{session_id}/turns", responses={201: {"model": RecordedOut, "description": "Recorded as a new session"}})
async def append(
    request: Request,
    response: Response,
    cases: Cases,
    owner: WritingOwner,
    caller: WritingCaller,
    session_id: SessionId,
    body: TurnsIn,
    wait: Annotated[Wait, Depends()],
    key: Key = None,
) -> RecordedOut:
    """Add turns to a session's end; the session is made if it is new. The answer means: on disk."""

    def write() -> Recorded:
        return cases.recorder.append(
            owner,
            session_id,
            body.drafts(caller.time_zone),
            metadata=body.metadata,
            idempotency_key=key,
        )

    return await _answer(request, response, cases, owner, write, wait)


@router.get("")
def sessions(
    cases: Cases,
    owner: ReadingOwner,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
) -> SessionsOut:
    """The user's sessions, newest first."""
    found = cases.reader.sessions(owner, before=_position(cursor), limit=limit + 1)
    page = found[:limit]
    return SessionsOut(
        sessions=[SessionSummaryOut.of(session, status) for session, status in page],
        next_cursor=cursor_of(page[-1][0].started_at, page[-1][0].session_id) if len(found) > limit else None,
    )


@router.get("/{session_id}")
def session(cases: Cases, owner: ReadingOwner, session_id: SessionId) -> SessionOut:
    """A whole session: its turns and how far it has come."""
    found = cases.reader.session(owner, session_id)
    return SessionOut(
        session_id=found.session.session_id,
        started_at=found.session.started_at,
        recorded_at=found.session.recorded_at,
        metadata=found.session.metadata,
        turns=[TurnOut.of(turn) for turn in found.turns],
        facts=[FactOut.of(fact) for fact in found.facts],
        digest=[DigestOut(turn_id=line.turn_id, text=line.text) for line in digest_of(found.turns, found.facts)],
        status=StatusOut.of(found.status),
    )


@router.get("/{session_id}/outcome")
def outcome(cases: Cases, owner: ReadingOwner, session_id: SessionId) -> OutcomeOut:
    """What became of each statement that was drawn from a session, and why."""
    found = cases.curator.outcome(owner, session_id)
    return OutcomeOut(session_id=session_id, statements=[DecisionOut.of(one) for one in found])


@router.delete("/{session_id}")
def forget(cases: Cases, owner: WritingOwner, session_id: SessionId) -> ReceiptOut:
    """Delete a session, its turns and its points; the receipt says what went."""
    return receipt_out(cases.forgetter.forget_session(owner, session_id))


def receipt_out(receipt: Receipt) -> ReceiptOut:
    """A receipt as the wire shows it."""
    return ReceiptOut(
        user_id=receipt.user_id,
        session_id=receipt.session_id,
        forgotten_at=receipt.forgotten_at,
        deleted={"sessions": receipt.sessions, "turns": receipt.turns, "rounds": receipt.rounds},
        points_left=receipt.points_left,
    )


async def _answer(
    request: Request, response: Response, cases: UseCases, owner: Owner, write: Callable[[], Recorded], wait: Wait
) -> RecordedOut:
    recorded = await to_thread.run_sync(write)
    try:
        status = await _waiting(request).until(
            wait.reached, lambda: cases.reader.status(owner, recorded.session_id), seconds=wait.seconds
        )
    except Unavailable:
        # The session is on disk, whatever else: only how far it has come cannot be told now.
        status = Status(indexed=False)
    response.status_code = 201 if recorded.created else 200
    return RecordedOut(
        session_id=recorded.session_id,
        turns=recorded.turns,
        rounds=recorded.rounds,
        status=StatusOut.of(status),
    )


def _waiting(request: Request) -> Waiting:
    found: Waiting = request.app.state.waiting
    return found


def _position(cursor: str | None) -> tuple[datetime, str] | None:
    """The place a cursor stands for; raises InvalidCursor."""
    place = place_of(cursor)
    try:
        return place and (place[0], check_id(place[1]))
    except ValueError as exc:
        raise InvalidCursor from exc
