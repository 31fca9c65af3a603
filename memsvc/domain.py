"""The vocabulary: the values that pass between the rooms."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from memsvc.facts import Fact
from memsvc.intervals import AsOf, Expression, Interval, Locale, Window
from memsvc.plans import Plan

NAMESPACE = uuid5(NAMESPACE_URL, "https://memsvc.invalid/")

Metadata = dict[str, Any]

# What keys are made of; an index filled with keys of another form is rebuilt.
KEY_FORM = 4


class Role(StrEnum):
    """Who speaks, as chat interfaces name it."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL = "tool"


class Unit(StrEnum):
    """What a recall counts and gives back."""

    TURN = "turn"
    ROUND = "round"
    SESSION = "session"
    FACT = "fact"


class Scope(StrEnum):
    """What a key may do."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose memory it is. It stands in every statement and every filter."""

    workspace: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a workspace, and what its key may do there."""

    workspace: str
    scopes: frozenset[Scope]
    time_zone: str | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as it may be shown: its prefix, never the secret."""

    prefix: str
    workspace: str
    scopes: frozenset[Scope]
    created_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance. `said_at` is aware and keeps the zone offset it came with; `captions` describe images.

    `times` are the expressions of time in its text, once it is indexed; `recorded_at` is known of one from the store.
    """

    turn_id: str
    role: Role
    speaker: str
    text: str
    said_at: datetime
    captions: tuple[str, ...] = ()
    times: tuple[Expression, ...] = field(default=(), compare=False)
    recorded_at: datetime | None = field(default=None, compare=False)

    @property
    def said(self) -> str:
        """All that the turn says: its text and its images' captions."""
        return "\n".join([self.text, *(f"[image: {caption}]" for caption in self.captions)]).strip()


@dataclass(frozen=True, slots=True)
class Draft:
    """A turn as it arrives, with what the caller left out still open."""

    role: Role
    text: str
    turn_id: str | None = None
    speaker: str | None = None
    said_at: datetime | None = None
    captions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """How far a session has come.

    `extracted` is `off` without a language model, whatever the rules have drawn; `is_drawing` says whether something is
    still to be drawn, and `degraded` why the rules took the model's place.
    """

    indexed: bool
    extracted: str = "off"
    error: str | None = None
    is_drawing: bool = False
    degraded: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """One chat as it is on disk. `row_id` is this incarnation's: a session deleted and recorded again has another."""

    row_id: UUID
    session_id: str
    started_at: datetime
    recorded_at: datetime
    turn_count: int
    round_count: int
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Recorded:
    """What recording a session came to."""

    session_id: str
    turns: int
    rounds: int
    created: bool


@dataclass(frozen=True, slots=True)
class Round:
    """A user's turn with the replies to it; between two people, a turn and its reply.

    `revision` counts its turns: a round that gains a reply is indexed anew. `first_position` is where it starts in
    the session; `before` is the turn that stands before it there, where it was asked for, and `locale` its user's.
    """

    row_id: UUID
    session_row: UUID
    session_id: str
    session_started_at: datetime
    first_position: int
    turns: tuple[Turn, ...]
    before: Turn | None = field(default=None, compare=False)
    locale: Locale = field(default=Locale(), compare=False)

    @property
    def revision(self) -> int:
        """How many turns the round has."""
        return len(self.turns)

    @property
    def said_at(self) -> datetime:
        """When its first turn was said."""
        return self.turns[0].said_at


class KeyKind(StrEnum):
    """What an indexed text is: a window of a turn, or a fact that was drawn from one."""

    TURN = "turn"
    FACT = "fact"


@dataclass(frozen=True, slots=True)
class Key:
    """An indexed text that leads to a round: a window of a turn, read behind a context that is not its own, or a fact.

    `point_id` is derived from the round's row, or is the fact's; `position` is the turn's place in its session.
    """

    point_id: UUID
    round: Round
    kind: KeyKind
    text: str
    turn: Turn
    position: int
    context: str = ""
    fact: Fact | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What an index is filled with: whose vectors, how long, which form of keys, and which variant of the encoder.

    Without `token_dimension` there are no token vectors.
    """

    encoder: str
    dimension: int
    token_dimension: int = 0
    form: int = KEY_FORM
    variant: str = ""

    def __str__(self) -> str:
        """As it stands in messages."""
        tokens = f"{self.token_dimension} a token" if self.token_dimension else "no token vectors"
        variant = f", {self.variant}" if self.variant else ""
        return f"{self.encoder} ({self.dimension} dimensions, {tokens}, keys of form {self.form}{variant})"


@dataclass(frozen=True, slots=True)
class Query:
    """A question and what is wanted of the answer."""

    text: str
    asked_at: datetime
    limit: int = 10
    unit: Unit = Unit.ROUND
    token_budget: int = 2000
    order: str = "time"
    window: Window | None = None
    as_of: AsOf = field(default_factory=AsOf)
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The turn that a key was made of, as the index knows it: enough to rank it without reading it.

    `length` counts the characters it says; `asks` is 2 when it ends with a question mark, 1 when it holds one;
    `events` are the closed intervals that its expressions of time name. `fact` is the fact that the key was, if any.
    """

    round_row: UUID
    session_row: UUID
    turn_id: str
    position: int
    role: Role
    speaker: str
    said_at: datetime
    length: int
    asks: int
    events: tuple[Interval, ...] = ()
    fact: UUID | None = None
    fact_kind: str | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One key found by one leg. `rank` counts from 1; `score` is the leg's own."""

    found: Found
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Trace:
    """Why an item stands where it stands: by leg, the best rank and score of the keys that led to it."""

    legs: dict[str, tuple[int, float]]
    boosts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Said:
    """Where something was said: a turn of a session."""

    session_id: str
    turn_id: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """One item that recall gives back, re-read from the store. `also` is where the same was said again."""

    unit: Unit
    session_id: str
    session_started_at: datetime
    rank: int
    score: float
    turns: tuple[Turn, ...]
    matched: frozenset[str]
    trace: Trace
    also: tuple[Said, ...] = ()
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds a recall spent, by stage."""

    encode: float
    search: float
    load: float
    total: float


@dataclass(frozen=True, slots=True)
class Recollection:
    """All that one recall gives back. `context` has `context_tokens` tokens of the encoder's own tokenizer.

    `count` is the number of conversations, where the question's plan asks for it; `instructions` are the user's
    standing instructions, and preferences that bear on the question.
    """

    evidence: tuple[Evidence, ...]
    context: str
    context_tokens: int
    took_ms: Timing
    window: Window | None = None
    plan: Plan | None = None
    count: int | None = None
    instructions: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """The proof of a deletion. `points_left` is None while the index could not be asked."""

    user_id: str
    session_id: str | None
    forgotten_at: datetime
    sessions: int
    turns: int
    rounds: int
    points_left: int | None


class TaskKind(StrEnum):
    """What the outbox can owe."""

    INDEX = "index"
    EXTRACT = "extract"


@dataclass(frozen=True, slots=True)
class Task:
    """Something owed: `subject` is the session's row. `version` grows each time it is owed again."""

    task_id: UUID
    kind: TaskKind
    owner: Owner
    subject: UUID
    version: int
    attempts: int
    lease: UUID | None = None


@dataclass(frozen=True, slots=True)
class FailedTask:
    """A task that was given up, with its last error."""

    task_id: UUID
    kind: TaskKind
    user_id: str
    session_id: str | None
    attempts: int
    error: str
    failed_at: datetime


@dataclass(frozen=True, slots=True)
class Backlog:
    """What the outbox still owes."""

    due: int
    failed: int
    oldest_s: float
