"""The wire's answers, with their names."""

from typing import Any, Literal

from pydantic import BaseModel

from memsvc.api.fact_schemas import FactOut
from memsvc.api.times import Moment, PlanOut, TimeOut, WindowOut
from memsvc.domain import Evidence, Recollection, Role, Session, Status, Turn, Unit
from memsvc.intervals import Locale


class StatusOut(BaseModel):
    """How far a session has come. `extracted` is off without a language model; `degraded` says why rules drew facts."""

    indexed: bool
    extracted: Literal["pending", "done", "off", "failed"]
    error: str | None
    degraded: str | None = None

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
    """A turn as it was recorded; `times` are the times that its text names, once it is indexed."""

    turn_id: str
    role: Role
    speaker: str
    text: str
    said_at: Moment
    images: list[ImageOut]
    times: list[TimeOut]

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


class DigestOut(BaseModel):
    """A sentence of a session that stands for it, word for word."""

    turn_id: str
    text: str


class SessionOut(BaseModel):
    """A whole session."""

    session_id: str
    started_at: Moment
    recorded_at: Moment
    metadata: dict[str, Any]
    turns: list[TurnOut]
    facts: list[FactOut]
    digest: list[DigestOut]
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
    facts: list[FactOut]
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
            facts=[FactOut.of(fact) for fact in item.facts],
            also=[SaidOut(session_id=said.session_id, turn_id=said.turn_id) for said in item.also],
            trace=TraceOut(legs=legs, boosts=item.trace.boosts) if explain else None,
        )


class TookOut(BaseModel):
    """Milliseconds, by stage."""

    encode: float
    search: float
    load: float
    total: float


class RecallOut(BaseModel):
    """The answer to a question to memory."""

    evidence: list[EvidenceOut]
    instructions: list[FactOut]
    context: str
    context_tokens: int
    window: WindowOut | None
    plan: PlanOut | None
    took_ms: TookOut

    @classmethod
    def of(cls, found: Recollection, *, explain: bool) -> "RecallOut":
        """From the value."""
        return cls(
            evidence=[EvidenceOut.of(item, explain=explain) for item in found.evidence],
            instructions=[FactOut.of(fact) for fact in found.instructions],
            context=found.context,
            context_tokens=found.context_tokens,
            window=found.window and WindowOut.of(found.window),
            plan=found.plan and PlanOut.of(found.plan, found.count),
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


class LocaleOut(BaseModel):
    """How a user tells time."""

    user_id: str
    time_zone: str | None
    week_start: Literal["monday", "saturday", "sunday"]
    language: str

    @classmethod
    def of(cls, user_id: str, locale: Locale) -> "LocaleOut":
        """From the value."""
        names: dict[int, Literal["monday", "saturday", "sunday"]] = {0: "monday", 5: "saturday", 6: "sunday"}
        return cls(
            user_id=user_id,
            time_zone=locale.time_zone,
            week_start=names[locale.week_start],
            language=locale.language,
        )


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
        "times": [TimeOut.of(expression) for expression in turn.times],
    }
