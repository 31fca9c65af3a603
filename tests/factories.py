"""Values and request bodies for tests, with what a test does not care about filled in."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import numpy as np

from memsvc.app import Service
from memsvc.clock import Clock, SystemClock
from memsvc.domain import NAMESPACE, Draft, KeyKind, Owner, Role, Round, Turn
from memsvc.facts import Fact
from memsvc.index.base import Bounds, Matrix, Point, Probe
from memsvc.index.lexical import Lexicon
from memsvc.intervals import Precision, Window
from memsvc.memory.duties import Patience
from memsvc.memory.indexing import Indexer, Projector
from memsvc.memory.recording import Limits, Recorder
from memsvc.store.database import Store
from tests.doubles import HashEncoder

OWNER = Owner("default", "ana")
STARTED = datetime(2024, 3, 1, 10, tzinfo=UTC)


def draft(text: str, role: str = "user", **more: Any) -> Draft:
    """A turn as it arrives."""
    return Draft(role=Role(role), text=text, **more)


def turn(text: str, role: str = "user", *, turn_id: str = "0", speaker: str | None = None, **more: Any) -> Turn:
    """A turn."""
    return Turn(turn_id, Role(role), speaker or role, text, more.pop("said_at", STARTED), **more)


def round_of(*turns: Turn, session: str = "s1", position: int = 0, before: Turn | None = None) -> Round:
    """A round of these turns."""
    session_row = uuid5(NAMESPACE, session)
    return Round(uuid5(session_row, f"round:{position}"), session_row, session, STARTED, position, turns, before)


def row_id(name: str) -> UUID:
    """An id for a name."""
    return uuid5(NAMESPACE, name)


def session_body(*texts: str, started_at: str = "2024-03-01T10:00:00Z", **more: Any) -> dict[str, Any]:
    """A request that records a session: user and assistant by turns."""
    roles = ("user", "assistant")
    turns = [{"role": roles[position % 2], "text": text} for position, text in enumerate(texts)]
    return {"started_at": started_at, "turns": turns, **more}


def points_of(owner: Owner, *rounds: Round) -> list[Point]:
    """The points of these rounds, with the hashing encoder's vectors."""
    points, _ = Projector(HashEncoder(), Lexicon()).project([(owner, round_) for round_ in rounds])
    return points


def fact_of(round_: Round, text: str, **more: Any) -> Fact:
    """A fact that was drawn from the first turn of a round."""
    first = round_.turns[0]
    known: dict[str, Any] = {
        "fact_id": uuid5(round_.row_id, f"fact:{text}"),
        "kind": "fact",
        "subject": "user",
        "speaker": first.speaker,
        "event": None,
        "precision": Precision.UNKNOWN,
        "valid_at": first.said_at,
        "invalid_at": None,
        "recorded_at": first.said_at,
        "expired_at": None,
        "superseded_by": None,
        "confidence": None,
        "source": "llm",
        "trust": "user",
    }
    return Fact(round_row=round_.row_id, text=text, **(known | more))


def fact_points_of(owner: Owner, round_: Round, *facts: Fact) -> list[Point]:
    """The points of facts that were drawn from the first turn of a round."""
    placed = [(owner, fact, round_, round_.turns[0], round_.first_position) for fact in facts]
    return Projector(HashEncoder(), Lexicon()).project_facts(placed)


def probe_of(text: str, *, depth: int = 10, window: Window | None = None, kind: KeyKind = KeyKind.TURN) -> Probe:
    """A query as the hashing encoder and the lexicon see it."""
    encoded = HashEncoder().encode([text])[0]
    return Probe(depth, encoded.dense, Lexicon().query(text), weighted(encoded.tokens), Bounds(window, kind=kind))


def weighted(tokens: Matrix) -> Matrix | None:
    """A query's token vectors, all of the same weight, so that a late score is the mean of their best likenesses."""
    return np.asarray(tokens / len(tokens), dtype=np.float32) if len(tokens) else None


def recorder(store: Store, clock: Clock | None = None, *, limits: Limits | None = None) -> Recorder:
    """A recorder whose tasks nobody is woken for."""
    return Recorder(store, clock or SystemClock(), limits or Limits(), owed=lambda: None)


def indexer_of(service: Service) -> Indexer:
    """An indexer over the service's own parts, for a test that drains by itself."""
    projector = Projector(service.encoder, Lexicon())
    return Indexer(service.store, service.index, projector, SystemClock(), Patience())
