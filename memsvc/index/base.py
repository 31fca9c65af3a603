"""What an index does, whichever engine holds it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import numpy as np
import numpy.typing as npt

from memsvc.domain import Hit, Key, KeyKind, Owner, Window
from memsvc.index.lexical import SparseVector

DENSE = "dense"
BM25 = "bm25"

# Fields of a point's payload that filters use.
KEYWORD_FIELDS = ("workspace", "session")
TENANT_FIELD = "user"
TIME_FIELD = "said_at"

# Fields of a point's payload that a hit is made of.
HIT_FIELDS = ["round", "session", "turns", "kind"]

Vector = npt.NDArray[np.float32]
Legs = dict[str, list[Hit]]


@dataclass(frozen=True, slots=True)
class Point:
    """A key with its vectors: `dense` of shape (dimension,), `sparse` in BM25's hashed vocabulary."""

    key: Key
    owner: Owner
    dense: Vector
    sparse: SparseVector


@dataclass(frozen=True, slots=True)
class Probe:
    """An encoded query: what each leg searches for, how deep, and in which interval of `said_at`."""

    dense: Vector
    sparse: SparseVector
    depth: int
    window: Window | None = None


class Index(Protocol):
    """A collection of points. Every search and every deletion is bounded by an owner; all calls may be repeated."""

    def put(self, points: Sequence[Point]) -> None:
        """Write points, replacing those of the same ids; on return they survive a crash and are found."""
        ...

    def drop(self, owner: Owner, session_row: UUID) -> None:
        """Remove the points of one session."""
        ...

    def search(self, owner: Owner, probe: Probe) -> Legs:
        """The hits of each leg, best first, among the owner's points alone."""
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

    def swap(self, *, replaced: tuple[str, int] | None = None) -> None:
        """Make the new collection the live one and remove the old one, and that of a replaced (encoder, dimension)."""
        ...

    def discard(self) -> None:
        """Remove the new collection."""
        ...


def collection_name(encoder: str, dimension: int, *, prefix: str = "memsvc") -> str:
    """The collection's name: model and dimension, in characters that paths and URLs allow."""
    plain = "".join(char if char.isascii() and char.isalnum() else "-" for char in encoder.lower()).strip("-")
    return f"{prefix}-{plain[-80:]}-{dimension}"


def payload_of(point: Point) -> dict[str, Any]:
    """What is kept beside a point's vectors."""
    key = point.key
    return {
        "workspace": point.owner.workspace,
        "user": point.owner.user_id,
        "session": str(key.round.session_row),
        "round": str(key.round.row_id),
        "turns": list(key.turn_ids),
        "kind": key.kind.value,
        "said_at": sorted({turn.said_at.isoformat() for turn in key.round.turns if turn.turn_id in key.turn_ids}),
    }


def hit_of(payload: dict[str, Any], *, rank: int, score: float) -> Hit:
    """A found point as a value."""
    return Hit(
        round_row=UUID(payload["round"]),
        session_row=UUID(payload["session"]),
        kind=KeyKind(payload["kind"]),
        turn_ids=tuple(payload["turns"]),
        rank=rank,
        score=score,
    )
