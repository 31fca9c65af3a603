"""Facts on the wire: as they are told, as they are shown, and what became of the statements they are made of."""

import re
import unicodedata
from calendar import monthrange
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, TypeAdapter

from memsvc.api.schemas import Id, Instant, Request, Speaker, SpokenText, in_zone
from memsvc.api.times import EventOut, Moment
from memsvc.domain import Role, Turn
from memsvc.errors import Invalid
from memsvc.facts import Citation, Fact
from memsvc.intervals import Interval, Locale, Precision
from memsvc.memory import quoting
from memsvc.memory.curating import OnRecord, Place, Told
from memsvc.memory.reconciling import Outcome
from memsvc.store.ledger import Change, Decision

_KIND = "^[a-z][a-z0-9_-]{0,31}$"


class SourceOut(BaseModel):
    """Where a fact was said: `start` and `end` are the offsets of the quote in what its turn says."""

    session_id: str
    turn_id: str
    quote: str
    start: int
    end: int

    @classmethod
    def of(cls, source: Citation) -> "SourceOut":
        """From the value."""
        return cls.model_validate(source, from_attributes=True)


class FactOut(BaseModel):
    """A fact; `event` is null when its time is not known. `trust` says whose words it rests on.

    `when` are the words that tell its time, `event_source` who read them: the rules, the model, or the caller.
    """

    fact_id: str
    text: str
    kind: str
    subject: str
    speaker: str
    slot: str | None
    value: str | None
    event: EventOut | None
    when: str | None
    event_source: Literal["rules", "llm", "api"] | None
    valid_at: Moment
    invalid_at: Moment | None
    recorded_at: Moment
    expired_at: Moment | None
    superseded_by: str | None
    confidence: float | None
    source: Literal["llm", "rules", "api"]
    trust: Literal["user", "assistant", "tool"]
    sources: list[SourceOut]

    @classmethod
    def of(cls, fact: Fact) -> "FactOut":
        """From the value."""
        return cls(**fact_fields(fact))


class FactsOut(BaseModel):
    """A page of facts, by when they became valid."""

    facts: list[FactOut]
    next_cursor: str | None


class ChangeOut(BaseModel):
    """What was believed of a fact from `at` on, and why."""

    at: Moment
    valid_at: Moment
    invalid_at: Moment | None
    superseded_by: str | None
    merged_into: str | None
    reason: str
    decided_by: str

    @classmethod
    def of(cls, change: Change) -> "ChangeOut":
        """From the value."""
        return cls(
            at=change.at,
            valid_at=change.valid_at,
            invalid_at=change.invalid_at,
            superseded_by=_id(change.superseded_by),
            merged_into=_id(change.merged_into),
            reason=change.reason,
            decided_by=change.decided_by,
        )


class SourceTurnOut(BaseModel):
    """A turn that a fact was drawn from, whole."""

    session_id: str
    turn_id: str
    role: Role
    speaker: str
    text: str
    said_at: Moment

    @classmethod
    def of(cls, session_id: str, turn: Turn) -> "SourceTurnOut":
        """From the value."""
        names = ("turn_id", "role", "speaker", "text", "said_at")
        return cls(session_id=session_id, **{name: getattr(turn, name) for name in names})


class FactWithHistoryOut(FactOut):
    """A fact with the turns that it was drawn from, and all that was ever believed of it."""

    turns: list[SourceTurnOut]
    history: list[ChangeOut]

    @classmethod
    def of_record(cls, found: OnRecord) -> "FactWithHistoryOut":
        """From the value."""
        return cls(
            **fact_fields(found.fact),
            turns=[SourceTurnOut.of(session_id, turn) for session_id, turn in found.turns],
            history=[ChangeOut.of(change) for change in found.history],
        )


class ForgottenOut(BaseModel):
    """The proof that a fact, and what said the same, is gone; its points follow as soon as the index is reached."""

    fact_id: str
    deleted: Literal[True] = True


class DecisionOut(BaseModel):
    """What became of a statement, and why; `fact_id` is null for one that was rejected."""

    text: str
    kind: str | None
    turn_id: str | None
    outcome: Literal["added", "merged", "superseded", "rejected"]
    action: Literal["add", "merge", "update", "invalidate", "none", "reject"]
    reason: str
    decided_by: str
    decided_at: Moment
    fact_id: str | None
    superseded_by: str | None
    others: list[str]

    @classmethod
    def of(cls, found: Outcome) -> "DecisionOut":
        """From the value."""
        return cls(**_decision_fields(found.decision), outcome=found.became, superseded_by=_id(found.superseded_by))


class OutcomeOut(BaseModel):
    """What became of each statement of a session, in the order they were drawn."""

    session_id: str
    statements: list[DecisionOut]


def _check_when(value: Any) -> Any:
    """A date as such, everything else as an instant."""
    if isinstance(value, str) and _DATE.fullmatch(value):
        return value
    return _INSTANT.validate_python(value).isoformat()


_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_INSTANT: TypeAdapter[datetime] = TypeAdapter(Instant)
When = Annotated[str, BeforeValidator(_check_when), Field(examples=["2024-03-01", "2024-03-01T18:30:00Z"])]


class EventIn(Request):
    """When something happened: half-open; dates are read on the user's wall clock."""

    from_: When = Field(alias="from")
    to: When | None = None
    precision: Precision = Precision.DAY

    def interval(self, locale: Locale, zone: str | None) -> Interval:
        """As a value; without an end, it is one unit long. Raises Invalid when it is empty."""
        start = _instant(self.from_, "event.from", locale, zone)
        end = _behind(start, self.precision) if self.to is None else _instant(self.to, "event.to", locale, zone)
        if start >= end:
            raise Invalid("The event is empty: from is not before to.", (("event.to", "must be after from"),))
        return Interval(start, end)


class PlaceIn(Request):
    """Where a fact was said, word for word."""

    session_id: Id
    turn_id: Id
    quote: SpokenText = Field(min_length=1, max_length=2000)


def _check_statement(value: str) -> str:
    """On one line; raises ValueError for one without a letter, a number or a sign."""
    if not quoting.tells(value):
        raise ValueError("must not be blank")
    return " ".join(value.split())


def _check_name(value: str) -> str:
    if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in value):
        raise ValueError("must not contain control characters or line breaks")
    return " ".join(value.split())


Statement = Annotated[SpokenText, Field(min_length=1, max_length=2000), AfterValidator(_check_statement)]
_Name = Annotated[SpokenText, Field(max_length=200), AfterValidator(_check_name)]


class FactIn(Request):
    """A fact as the caller tells it. Without a source it is recorded as a turn, in the session `memsvc:facts`."""

    text: Statement
    kind: str = Field("fact", pattern=_KIND)
    speaker: Speaker = "user"
    subject: _Name | None = None
    slot: _Name | None = None
    value: _Name | None = None
    event: EventIn | None = None
    valid_at: Instant | None = None
    confidence: float | None = Field(None, ge=0, le=1, strict=True)
    sources: list[PlaceIn] = Field(default_factory=list, max_length=1)

    def told(self, locale: Locale, zone: str | None) -> Told:
        """As a value."""
        place = self.sources[0] if self.sources else None
        return Told(
            text=self.text,
            kind=self.kind,
            speaker=self.speaker,
            subject=self.subject,
            slot=self.slot,
            value=self.value,
            event=self.event.interval(locale, zone) if self.event else None,
            precision=self.event.precision if self.event else Precision.UNKNOWN,
            valid_at=in_zone(self.valid_at, "valid_at", zone),
            confidence=self.confidence,
            place=Place(place.session_id, place.turn_id, place.quote) if place else None,
        )


def _check_subject(value: str) -> str:
    if not value:
        raise ValueError("must not be blank")
    return value


class FactChangeIn(Request):
    """What is to change of a fact; what is left out stays as it is, null takes it away where that is possible."""

    text: Statement | None = None
    kind: str | None = Field(None, pattern=_KIND)
    subject: Annotated[_Name, AfterValidator(_check_subject)] | None = None
    slot: _Name | None = None
    value: _Name | None = None
    event: EventIn | None = None
    valid_at: Instant | None = None
    invalid_at: Instant | None = None
    confidence: float | None = Field(None, ge=0, le=1, strict=True)

    def values(self, locale: Locale, zone: str | None) -> dict[str, Any]:
        """The fields that are given, as the fact's own values."""
        given: dict[str, Any] = {
            name: getattr(self, name)
            for name in self.model_fields_set
            if name in _NULLABLE or getattr(self, name) is not None
        }
        for name in ("valid_at", "invalid_at"):
            if name in given:
                given[name] = in_zone(given[name], name, zone)
        if "event" in given:
            event = self.event
            given["event"] = event and event.interval(locale, zone)
            given["precision"] = event.precision if event else Precision.UNKNOWN
            given["reading"] = "api" if event else None
        return given


_NULLABLE = frozenset({"slot", "value", "event", "invalid_at", "confidence"})


def fact_fields(fact: Fact) -> dict[str, Any]:
    """A fact's fields as the wire names them."""
    names = (
        "text",
        "kind",
        "subject",
        "speaker",
        "slot",
        "value",
        "when",
        "valid_at",
        "invalid_at",
        "recorded_at",
        "expired_at",
        "confidence",
        "source",
        "trust",
    )
    return {
        "fact_id": str(fact.fact_id),
        "event": fact.event and EventOut.between(fact.event.start, fact.event.end, fact.precision),
        "event_source": fact.reading,
        "superseded_by": _id(fact.superseded_by),
        "sources": [SourceOut.of(source) for source in fact.sources],
        **{name: getattr(fact, name) for name in names},
    }


def _decision_fields(decision: Decision) -> dict[str, Any]:
    return {
        "text": decision.text,
        "kind": decision.kind,
        "turn_id": decision.turn_id,
        "action": decision.action.value,
        "reason": decision.reason,
        "decided_by": decision.decided_by,
        "decided_at": decision.decided_at,
        "fact_id": _id(decision.fact_id),
        "others": [str(other) for other in decision.others],
    }


def _id(row: object) -> str | None:
    return None if row is None else str(row)


def _instant(value: str, field: str, locale: Locale, zone: str | None) -> datetime:
    """A date is the midnight that begins it, on the user's wall clock; raises Invalid for what is no time."""
    try:
        if _DATE.fullmatch(value):
            found = datetime.combine(date.fromisoformat(value), time(), ZoneInfo(locale.time_zone or zone or "UTC"))
        else:
            instant = datetime.fromisoformat(value)
            found = in_zone(instant, field, zone) or instant
        found.astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise Invalid(f"{field} is no time of the calendar.", ((field, "is no time of the calendar"),)) from exc
    return found


def _behind(start: datetime, unit: Precision) -> datetime:
    """One unit later, by the calendar where the unit is one of its own; raises Invalid beyond it."""
    months = {Precision.MONTH: 1, Precision.QUARTER: 3, Precision.SEASON: 3, Precision.YEAR: 12, Precision.DECADE: 120}
    try:
        if unit not in months:
            end = (start.replace(tzinfo=None) + unit.length).replace(tzinfo=start.tzinfo)
        else:
            year, month = divmod(start.year * 12 + start.month - 1 + months[unit], 12)
            day = min(start.day, monthrange(year, month + 1)[1])
            end = start.replace(year=year, month=month + 1, day=day)
        end.astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise Invalid("The event ends beyond the calendar.", (("event.from", "is too late"),)) from exc
    return end
