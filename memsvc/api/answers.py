"""The wire's answers, with their names."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from memsvc.domain import Evidence, Recollection, Role, Session, Status, Turn, Unit


def _rfc3339(value: datetime) -> str:
    return value.isoformat().removesuffix("+00:00") + ("Z" if value.utcoffset() == UTC.utcoffset(None) else "")


Moment = Annotated[datetime, PlainSerializer(_rfc3339, return_type=str)]


class StatusOut(BaseModel):
    """How far a session has come."""

    indexed: bool
    extracted: Literal["pending", "done", "off", "failed"]
    error: str | None

    @classmethod
    def of(cls, status: Status) -> "StatusOut":
        """From the value."""
        return cls.model_validate(status, from_attributes=True)


class RecordedOut(BaseModel):
    """The answer to a recorded session: it is on disk."""

    session_id: str
    turns: int
    rounds: int
    status: StatusOut


class ImageOut(BaseModel):
    """An image's caption."""

    caption: str


class TurnOut(BaseModel):
    """A turn as it was recorded."""

    turn_id: str
    role: Role
    speaker: str
    text: str
    said_at: Moment
    images: list[ImageOut]

    @classmethod
    def of(cls, turn: Turn) -> "TurnOut":
        """From the value."""
        return cls(**_turn_fields(turn))


class MatchedTurnOut(TurnOut):
    """A turn in evidence; `matched` says whether it was found itself or stands beside one that was."""

    matched: bool


class SessionSummaryOut(BaseModel):
    """A session in a list."""

    session_id: str
    started_at: Moment
    recorded_at: Moment
    turns: int
    rounds: int
    metadata: dict[str, Any]
    status: StatusOut

    @classmethod
    def of(cls, session: Session, status: Status) -> "SessionSummaryOut":
        """From the values."""
        return cls(
            session_id=session.session_id,
            started_at=session.started_at,
            recorded_at=session.recorded_at,
            turns=session.turn_count,
            rounds=session.round_count,
            metadata=session.metadata,
            status=StatusOut.of(status),
        )


class SessionsOut(BaseModel):
    """A page of sessions, newest first."""

    sessions: list[SessionSummaryOut]
    next_cursor: str | None


class SessionOut(BaseModel):
    """A whole session."""

    session_id: str
    started_at: Moment
    recorded_at: Moment
    metadata: dict[str, Any]
    turns: list[TurnOut]
    facts: list[Any]
    status: StatusOut


class ReceiptOut(BaseModel):
    """The proof of a deletion; `points_left` is null while the index could not be asked, and its removal is owed."""

    user_id: str
    session_id: str | None
    forgotten_at: Moment
    deleted: dict[str, int]
    points_left: int | None


class LegOut(BaseModel):
    """An item's best place and score in one leg."""

    rank: int
    score: float


class TraceOut(BaseModel):
    """Why an item stands where it stands."""

    legs: dict[str, LegOut]
    boosts: dict[str, float]


class SaidOut(BaseModel):
    """Where something was said."""

    session_id: str
    turn_id: str


class EvidenceOut(BaseModel):
    """One item of evidence; `also` names turns that say the same, word for word."""

    unit: Unit
    session_id: str
    session_started_at: Moment
    score: float
    rank: int
    turns: list[MatchedTurnOut]
    facts: list[Any]
    also: list[SaidOut]
    trace: TraceOut | None = None

    @classmethod
    def of(cls, item: Evidence, *, explain: bool) -> "EvidenceOut":
        """From the value."""
        legs = {leg: LegOut(rank=rank, score=score) for leg, (rank, score) in item.trace.legs.items()}
        return cls(
            unit=item.unit,
            session_id=item.session_id,
            session_started_at=item.session_started_at,
            score=item.score,
            rank=item.rank,
            turns=[MatchedTurnOut(**_turn_fields(turn), matched=turn.turn_id in item.matched) for turn in item.turns],
            facts=[],
            also=[SaidOut(session_id=said.session_id, turn_id=said.turn_id) for said in item.also],
            trace=TraceOut(legs=legs, boosts=item.trace.boosts) if explain else None,
        )


class WindowOut(BaseModel):
    """The interval that was used."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: Moment | None = Field(serialization_alias="from")
    to: Moment | None
    precision: str = "second"
    source: str = "caller"
    mode: str = "filter"
    text: str | None = None


class TookOut(BaseModel):
    """Milliseconds, by stage."""

    encode: float
    search: float
    load: float
    total: float


class RecallOut(BaseModel):
    """The answer to a question to memory."""

    evidence: list[EvidenceOut]
    instructions: list[Any]
    context: str
    context_tokens: int
    window: WindowOut | None
    took_ms: TookOut

    @classmethod
    def of(cls, found: Recollection, *, explain: bool) -> "RecallOut":
        """From the value."""
        window = found.window and WindowOut(from_=found.window.start, to=found.window.end)
        return cls(
            evidence=[EvidenceOut.of(item, explain=explain) for item in found.evidence],
            instructions=[],
            context=found.context,
            context_tokens=found.context_tokens,
            window=window,
            took_ms=TookOut.model_validate(found.took_ms, from_attributes=True),
        )


class UserOut(BaseModel):
    """A user in a list."""

    user_id: str
    created_at: Moment


class UsersOut(BaseModel):
    """A page of users, by id."""

    users: list[UserOut]
    next_cursor: str | None


class TaskOut(BaseModel):
    """A task that was given up."""

    task_id: str
    kind: str
    user_id: str
    session_id: str | None
    attempts: int
    error: str
    failed_at: Moment


class TasksOut(BaseModel):
    """The failed tasks, newest first."""

    tasks: list[TaskOut]


class ProblemField(BaseModel):
    """A place in the request, and what is wrong there."""

    field: str
    message: str


class Problem(BaseModel):
    """Every error."""

    error: str
    detail: str
    fields: list[ProblemField] | None = None


def _turn_fields(turn: Turn) -> dict[str, Any]:
    return {
        "turn_id": turn.turn_id,
        "role": turn.role,
        "speaker": turn.speaker,
        "text": turn.text,
        "said_at": turn.said_at,
        "images": [ImageOut(caption=caption) for caption in turn.captions],
    }
