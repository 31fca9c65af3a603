"""Pure: facts: statements that stand by themselves, where they were said, and what became of them."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from memsvc.intervals import Interval, Precision

# What a statement can be; a workspace may add kinds of its own.
FACT, EVENT, PREFERENCE, PLAN, INSTRUCTION, ASSISTANT = KINDS = (
    "fact",
    "event",
    "preference",
    "plan",
    "instruction",
    "assistant",
)


class Origin(StrEnum):
    """Who drew a statement: a language model, the rules, or the caller."""

    LLM = "llm"
    RULES = "rules"
    API = "api"


class Trust(StrEnum):
    """Whose words a statement rests on. What tools and assistants say never ends what a user said."""

    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Statement:
    """What was drawn from one turn, before it is known what becomes of it.

    `start` and `end` are the offsets of the quote in the turn's text, the lines of its images' captions behind it.
    `when` are the words that tell its time, as said; `reading` tells whether rules or the model read them. Of a state
    that has one value at a time, `slot` names it ("home city") and `value` is that value.
    """

    turn_id: str
    text: str
    kind: str
    subject: str
    quote: str
    start: int
    end: int
    when: str | None = None
    event: Interval | None = None
    precision: Precision = Precision.UNKNOWN
    reading: Origin | None = None
    slot: str | None = None
    value: str | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A statement that was not taken, and why."""

    text: str
    reason: str
    turn_id: str | None = None


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a fact was said, word for word."""

    session_id: str
    turn_id: str
    quote: str
    start: int
    end: int
    said_at: datetime


@dataclass(frozen=True, slots=True)
class Fact:
    """A statement that stands by itself, drawn from a round. An event time that is not known is None.

    `valid_at` and `invalid_at` are of the world, `recorded_at` and `expired_at` of the record. `sources` are the first
    mention and those that say the same.
    """

    fact_id: UUID
    round_row: UUID
    text: str
    kind: str
    subject: str
    speaker: str
    event: Interval | None
    precision: Precision
    valid_at: datetime
    invalid_at: datetime | None
    recorded_at: datetime
    expired_at: datetime | None
    superseded_by: UUID | None
    confidence: float | None
    source: str
    trust: str
    when: str | None = None
    reading: str | None = None
    slot: str | None = None
    value: str | None = None
    sources: tuple[Citation, ...] = field(default=(), compare=False)


class Bond(StrEnum):
    """How two statements bear on each other.

    They say the same; they cannot hold at once, so that the later ends the earlier; or the one said later takes the
    other back, which never was true.
    """

    SAME = "same"
    EXCLUDES = "excludes"
    CORRECTS = "corrects"


class Action(StrEnum):
    """What reconciling did with a statement."""

    ADD = "add"
    MERGE = "merge"
    UPDATE = "update"
    INVALIDATE = "invalidate"
    NONE = "none"
    REJECT = "reject"
