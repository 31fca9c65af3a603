"""LongMemEval (Wu et al., ICLR 2025; MIT): one history a question, read from `longmemeval_s`, `_m` or `_oracle`."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evals.cases import Case, Haystack, HaystackSession, HaystackTurn, Place, read_array

SOURCE = "LongMemEval is at github.com/xiaowu0162/LongMemEval (its README says where the files are), licensed MIT."


def load(path: Path) -> Iterator[Haystack]:
    """Each question with its own history."""
    for entry in read_array(path):
        yield _haystack(entry)


def _haystack(entry: dict[str, Any]) -> Haystack:
    left_out: Counter[str] = Counter()
    dated = sorted(
        zip(
            map(_date, entry["haystack_dates"]), entry["haystack_session_ids"], entry["haystack_sessions"], strict=True
        ),
        key=lambda found: found[0],
    )
    sessions, evidence_turns, evidence_sessions = [], set[Place](), set[int]()
    for number, (started_at, session_id, told) in enumerate(dated):
        turns: list[HaystackTurn] = []
        for said in told:
            if not said["content"].strip():
                left_out["turns that say nothing"] += 1
                continue
            if said.get("has_answer"):
                evidence_turns.add((number, len(turns)))
            turns.append(HaystackTurn(said["role"], said["content"]))
        if session_id in entry["answer_session_ids"]:
            evidence_sessions.add(number)
        sessions.append(HaystackSession(started_at, tuple(turns)))
    case = Case(
        case_id=entry["question_id"],
        category=entry["question_type"],
        question=entry["question"],
        answer=str(entry["answer"]),
        asked_at=_date(entry["question_date"]),
        evidence_turns=frozenset(evidence_turns),
        evidence_sessions=frozenset(evidence_sessions),
        is_abstention=entry["question_id"].endswith("_abs"),
    )
    return Haystack(entry["question_id"], tuple(sessions), (case,), dict(left_out))


def _date(text: str) -> datetime:
    return datetime.strptime(text, "%Y/%m/%d (%a) %H:%M").replace(tzinfo=UTC)
