"""The training data: two-person chats of the project's own, and questions over LongMemEval's filler sessions (MIT)."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from evals import chats
from evals.cases import Case, Haystack, HaystackSession, HaystackTurn, Place

CHATS = "chats_train.jsonl"
QUESTIONS = "longmemeval_questions.jsonl"
SESSIONS = "longmemeval_sessions.json.gz"


def load(folder: Path) -> Iterator[Haystack]:
    """Every haystack of both kinds with its questions."""
    yield from chats.load(folder / CHATS)
    with gzip.open(folder / SESSIONS, "rt", encoding="utf-8") as file:
        sessions = json.load(file)
    with (folder / QUESTIONS).open(encoding="utf-8") as lines:
        for line in lines:
            yield _batch(json.loads(line), sessions)


def _batch(batch: dict[str, Any], sessions: dict[str, Any]) -> Haystack:
    """Twenty filler sessions with the questions to them; any turn that tells a fact counts as its evidence."""
    dated = sorted((_date(sessions[ref][0]), ref) for ref in batch["refs"])
    told: list[HaystackSession] = []
    places: dict[tuple[str, int], Place] = {}
    left_out: Counter[str] = Counter()
    for number, (started_at, ref) in enumerate(dated):
        turns: list[HaystackTurn] = []
        for index, said in enumerate(sessions[ref][1], 1):
            if said["content"].strip():
                places[(ref, index)] = (number, len(turns))
                turns.append(HaystackTurn(said["role"], said["content"]))
        told.append(HaystackSession(started_at, tuple(turns)))
    cases = []
    for number, entry in enumerate(batch["questions"]):
        evidence = frozenset(places[(ref, index)] for ref, index in entry["evidence"] if (ref, index) in places)
        if not evidence:
            left_out["questions without evidence in the conversation"] += 1
            continue
        cases.append(
            Case(
                case_id=f"{batch['id']}:{number}",
                category=entry["type"],
                question=entry["q"],
                answer="",
                asked_at=dated[-1][0] + timedelta(days=1),
                evidence_turns=evidence,
                evidence_sessions=frozenset(session for session, _ in evidence),
            )
        )
    return Haystack(batch["id"], tuple(told), tuple(cases), dict(left_out))


def _date(text: str) -> datetime:
    return datetime.strptime(text, "%Y/%m/%d (%a) %H:%M").replace(tzinfo=UTC)
