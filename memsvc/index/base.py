"""What an index does, whichever engine holds it."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import numpy as np
import numpy.typing as npt

from memsvc.domain import Found, Hit, Key, KeyKind, Owner, Role, Shape
from memsvc.index.lexical import SparseVector
from memsvc.intervals import AsOf, Interval, Window

DENSE = "dense"
BM25 = "bm25"
LATE = "late"
LEGS = (DENSE, BM25, LATE)

# The vectors that the late-interaction leg compares, one a token.
TOKENS = "tokens"

# Fields of a point's payload that filters use.
KEYWORD_FIELDS = ("workspace", "session", "kind")
TENANT_FIELD = "user"
TIME_FIELDS = ("said_at", "recorded_at")
# Half-open intervals in whole seconds since 1970, for each time that a turn names.
EVENTS = "events"
EVENT_FIELDS = ("from", "to")

# Fields of a point's payload that a hit is made of.
_ASKING = ("?", "？", "؟")  # noqa: RUF001 (of other scripts)
HIT_FIELDS = [
    "round",
    "session",
    "turn",
    "position",
    "role",
    "speaker",
    "said_at",
    "length",
    "asks",
    "fact",
    "fact_kind",
    EVENTS,
]

# A token is some 2.7 kB in a request to a Qdrant server, which refuses one of more than 32 MB.
TOKENS_A_CHUNK = 5000

_EPOCH, _SECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(seconds=1)

Vector = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float32]
Legs = dict[str, list[Hit]]


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A key with its vectors.

    `dense`: shape (dimension,); `tokens`: shape (n, token_dimension), n may be 0; `sparse` in BM25's hashed vocabulary;
    `events`: the closed intervals of what its turn tells of.
    """

    key: Key
    owner: Owner
    dense: Vector
    sparse: SparseVector
    tokens: Matrix
    events: tuple[Interval, ...] = ()


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a search is bounded by besides its owner: the kind of keys, a window, the two clocks, and certain sessions.

    None for `sessions` means any; an empty set means none.
    """

    window: Window | None = None
    as_of: AsOf = field(default_factory=AsOf)
    sessions: frozenset[UUID] | None = None
    kind: KeyKind = KeyKind.TURN


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """An encoded query: what each leg searches for, how deep, and within which bounds.

    A leg whose vector is None or empty does not run. `tokens`: shape (n, token_dimension), scaled by the weight of
    each token, so that the leg's score is the weighted sum of each one's best likeness (MaxSim; Khattab and Zaharia,
    SIGIR 2020). It scores what the other legs found; alone, it searches by itself.
    """

    depth: int
    dense: Vector | None = None
    sparse: SparseVector | None = None
    tokens: Matrix | None = None
    bounds: Bounds = field(default_factory=Bounds)

    @property
    def compared(self) -> Matrix | None:
        """The token vectors, if there are any to compare."""
        return self.tokens if self.tokens is not None and len(self.tokens) else None


class Index(Protocol):
    """A collection of points. Every search and every deletion is bounded by an owner; all calls may be repeated."""

    def put(self, points: Sequence[Point]) -> None:
        """Write points, replacing those of the same ids; on return they survive a crash and are found."""
        ...

    def drop(self, owner: Owner, session_row: UUID) -> None:
        """Remove the points of one session."""
        ...

    def remove(self, owner: Owner, point_ids: Sequence[UUID]) -> None:
        """Remove single points."""
        ...

    def search(self, owner: Owner, probe: Probe) -> Legs:
        """The hits of each leg, best first, among the owner's points of one kind alone.

        The late leg scores whatever the others found, so that it has up to twice as many hits.
        """
        ...

    def count(self, owner: Owner | None = None, session_row: UUID | None = None) -> int:
        """How many points there are: of everybody, of an owner, or of one session of an owner."""
        ...

    def rebuilt(self) -> "Rebuild":
        """Start an empty collection beside this one."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class Rebuild(Protocol):
    """A collection being filled beside the live one."""

    def put(self, points: Sequence[Point]) -> None:
        """Write points into the new collection."""
        ...

    def swap(self, *, replaced: Shape | None = None) -> None:
        """Make the new collection the live one and remove the old one, and that of a replaced shape."""
        ...

    def discard(self) -> None:
        """Remove the new collection."""
        ...


def collection_name(shape: Shape, *, prefix: str = "memsvc") -> str:
    """A collection's name, in characters that paths and URLs allow: another shape is another collection."""
    plain = "".join(char if char.isascii() and char.isalnum() else "-" for char in shape.encoder.lower()).strip("-")
    name = f"{prefix}-{plain[-80:]}-{shape.dimension}"
    # The first form's collections bore no more than that.
    if shape.form == 1:
        return name
    variant = f"-{shape.variant}" if shape.variant else ""
    return f"{name}-t{shape.token_dimension}-k{shape.form}{variant}"


def payload_of(point: Point) -> dict[str, Any]:
    """What is kept beside a point's vectors."""
    key, turn = point.key, point.key.turn
    said = turn.said
    return {
        "workspace": point.owner.workspace,
        "user": point.owner.user_id,
        "session": str(key.round.session_row),
        "round": str(key.round.row_id),
        "turn": turn.turn_id,
        "position": key.position,
        "role": turn.role.value,
        "speaker": turn.speaker,
        "said_at": turn.said_at.isoformat(),
        "length": len(said),
        "recorded_at": (turn.recorded_at or turn.said_at).isoformat(),
        EVENTS: [dict(zip(EVENT_FIELDS, seconds_of(event), strict=True)) for event in point.events],
        "asks": 2 if said.rstrip().endswith(_ASKING) else int(any(sign in said for sign in _ASKING)),
        "kind": key.kind.value,
        **({"fact": str(key.fact.fact_id), "fact_kind": key.fact.kind} if key.fact is not None else {}),
    }


def found_of(payload: dict[str, Any]) -> Found:
    """A found point's payload as a value."""
    return Found(
        round_row=UUID(payload["round"]),
        session_row=UUID(payload["session"]),
        turn_id=payload["turn"],
        position=payload["position"],
        role=Role(payload["role"]),
        speaker=payload["speaker"],
        said_at=datetime.fromisoformat(payload["said_at"]),
        length=payload["length"],
        asks=payload["asks"],
        events=tuple(_interval(event) for event in payload[EVENTS]),
        fact=UUID(payload["fact"]) if payload.get("fact") else None,
        fact_kind=payload.get("fact_kind"),
    )


def seconds_of(interval: Interval) -> tuple[int | None, int | None]:
    """An interval in whole seconds since 1970, as the index holds and compares them: none is cut shorter."""
    start, end = interval.start, interval.end
    return (
        None if start is None else math.floor((start - _EPOCH) / _SECOND),
        None if end is None else math.ceil((end - _EPOCH) / _SECOND),
    )


def _interval(event: Mapping[str, int]) -> Interval:
    first, last = (_EPOCH + event[field] * _SECOND for field in EVENT_FIELDS)
    return Interval(first, last)


def chunks_of(points: Sequence[Point]) -> Iterator[Sequence[Point]]:
    """The points in portions of so many tokens: an engine takes each at once, in memory and in its log."""
    chunk: list[Point] = []
    tokens = 0
    for point in points:
        if chunk and tokens + len(point.tokens) > TOKENS_A_CHUNK:
            yield chunk
            chunk, tokens = [], 0
        chunk.append(point)
        tokens += len(point.tokens) + 1
    if chunk:
        yield chunk


def legs_of(answers: Mapping[str, Sequence[tuple[Hashable, float, dict[str, Any] | None]]]) -> Legs:
    """The legs' hits of what the engine answered: (point id, score, payload) each, best first."""
    known: dict[Hashable, Found] = {}
    for answer in answers.values():
        for point_id, _, payload in answer:
            if payload and point_id not in known:
                known[point_id] = found_of(payload)
    return {
        leg: [Hit(known[point_id], rank, score) for rank, (point_id, score, _) in enumerate(answer, 1)]
        for leg, answer in answers.items()
    }
