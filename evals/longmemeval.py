"""LongMemEval (Wu et al., ICLR 2025; MIT): one history a question, read from `longmemeval_s`, `_m` or `_oracle`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evals.cases import Case, Haystack, HaystackSession, HaystackTurn, Place, read_array
from evals.errors import DataUnreadable

SOURCE = "LongMemEval is at github.com/xiaowu0162/LongMemEval (its README says where the files are), licensed MIT."


def load(path: Path) -> Iterator[Haystack]:
    """Each question with its own history; raises DataUnreadable."""
    for number, entry in enumerate(read_array(path)):
        try:
            yield _haystack(entry)
        except (LookupError, TypeError, ValueError, AttributeError) as exc:
            raise DataUnreadable(f"{path}: question {number} is not of LongMemEval's shape: {exc!r}") from exc


def _haystack(entry: dict[str, Any]) -> Haystack:
    left_out: Counter[str] = Counter()
    dated = sorted(
        zip(
            map(_date, entry["haystack_dates"]), entry["haystack_session_ids"], entry["haystack_sessions"], strict=True
        ),
        key=lambda found: found[0],
    )
    sessions: list[HaystackSession] = []
    ids: list[str] = []
    answering: set[Place] = set()
    for started_at, session_id, told in dated:
        turns: list[HaystackTurn] = []
        for said in told:
            if not said["content"].strip():
                left_out["turns that say nothing"] += 1
                continue
            if said.get("has_answer"):
                answering.add((len(sessions), len(turns)))
            turns.append(HaystackTurn(said["role"], said["content"]))
        if not turns:
            left_out["sessions that say nothing"] += 1
            continue
        ids.append(session_id)
        sessions.append(HaystackSession(started_at, tuple(turns)))
    copies = _copies(ids, sessions)
    evidence = {number for number, session_id in enumerate(ids) if session_id in entry["answer_session_ids"]}
    case = Case(
        case_id=entry["question_id"],
        category=entry["question_type"],
        question=entry["question"],
        answer=str(entry["answer"]),
        asked_at=_date(entry["question_date"]),
        evidence_turns=frozenset((copies.get(number, number), turn) for number, turn in answering),
        evidence_sessions=frozenset(copies.get(number, number) for number in evidence),
        is_abstention=entry["question_id"].endswith("_abs"),
    )
    return Haystack(entry["question_id"], tuple(sessions), (case,), dict(left_out), copies)


def _copies(ids: Sequence[str], sessions: Sequence[HaystackSession]) -> dict[int, int]:
    """From each session that was told before, under the same id and in the same words, to its first telling."""
    first: dict[tuple[str, tuple[HaystackTurn, ...]], int] = {}
    found = {}
    for number, (session_id, session) in enumerate(zip(ids, sessions, strict=True)):
        original = first.setdefault((session_id, session.turns), number)
        if original != number:
            found[number] = original
    return found


def _date(text: str) -> datetime:
    return datetime.strptime(text, "%Y/%m/%d (%a) %H:%M").replace(tzinfo=UTC)
