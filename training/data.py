"""The training data: two-person chats of the project's own, and questions over LongMemEval's filler sessions (MIT).

`training/data/README.md` says what is what.
"""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from evals import chats
from evals.cases import Case, Haystack, HaystackSession, HaystackTurn, Place

DATA = Path(__file__).parent / "data"
CHATS = ("chats_train.jsonl", "chats_more.jsonl", "chats_effusive.jsonl", "chats_texted.jsonl")
# No encoder is trained on these: the fusion learns from what the encoder finds in them.
FUSION_CHATS = ("chats_fusion.jsonl", "assistant_fusion.jsonl")
QUESTIONS = "longmemeval_questions.jsonl"
SESSIONS = "longmemeval_sessions.json.gz"
MORE_QUESTIONS = "more_questions.jsonl"


def load(folder: Path) -> Iterator[Haystack]:
    """Every haystack of both kinds that the encoder is trained on, with its questions; raises DataUnreadable."""
    more = {entry["id"]: entry["questions"] for entry in _lines(folder / MORE_QUESTIONS)}
    for name in CHATS:
        for chat in _lines(folder / name):
            yield chats.haystack_of(_with_more(chat, more))
    with gzip.open(folder / SESSIONS, "rt", encoding="utf-8") as file:
        sessions = json.load(file)
    for batch in _lines(folder / QUESTIONS):
        yield _batch(_with_more(batch, more), sessions)


def load_for_fusion(folder: Path) -> Iterator[Haystack]:
    """Every haystack that the fusion learns from, with its questions; raises DataUnreadable."""
    for name in FUSION_CHATS:
        yield from chats.load(folder / name)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _with_more(entry: dict[str, Any], more: dict[str, list[Any]]) -> dict[str, Any]:
    """A haystack with the questions that were written later."""
    return entry | {"questions": [*entry["questions"], *more.get(entry["id"], [])]}


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
