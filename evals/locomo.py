"""LoCoMo (Maharana et al., ACL 2024; CC BY-NC 4.0): ten long chats of two people, read from `locomo10.json`."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from evals.cases import Case, Haystack, HaystackSession, HaystackTurn, Place, read_array
from evals.errors import DataUnreadable

SOURCE = "LoCoMo is at github.com/snap-research/locomo (data/locomo10.json), licensed CC BY-NC 4.0."
CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
_TURN_ID = re.compile(r"D\d+:\d+")


def load(path: Path) -> Iterator[Haystack]:
    """Each conversation with its questions; raises DataUnreadable."""
    for number, sample in enumerate(read_array(path)):
        try:
            yield _haystack(sample, number)
        except (LookupError, TypeError, ValueError, AttributeError) as exc:
            raise DataUnreadable(f"{path}: conversation {number} is not of LoCoMo's shape: {exc!r}") from exc


def _haystack(sample: dict[str, Any], number: int) -> Haystack:
    conversation, left_out = sample["conversation"], Counter[str]()
    sessions, places = _sessions(conversation, left_out)
    asked_at = sessions[-1].started_at + timedelta(days=1)
    cases = []
    for index, entry in enumerate(sample["qa"]):
        evidence = {places[found] for found in _evidence(entry) if found in places}
        if not evidence:
            left_out["questions without evidence in the conversation"] += 1
            continue
        cases.append(_case(entry, f"{number}:{index}", asked_at, frozenset(evidence)))
    return Haystack(str(sample.get("sample_id", number)), tuple(sessions), tuple(cases), dict(left_out))


def _sessions(conversation: dict[str, Any], left_out: "Counter[str]") -> tuple[list[HaystackSession], dict[str, Place]]:
    """The sessions in order of time, and where each turn's id stands in them."""
    names = [name for name in conversation if re.fullmatch(r"session_\d+", name) and conversation[name]]
    dated = sorted((_date(conversation[f"{name}_date_time"]), int(name.split("_")[1]), name) for name in names)
    sessions: list[HaystackSession] = []
    places: dict[str, Place] = {}
    for started_at, _, name in dated:
        turns: list[HaystackTurn] = []
        for entry in conversation[name]:
            turn = _turn(entry)
            if not turn.text.strip() and not turn.captions:
                left_out["turns that say nothing"] += 1
                continue
            places[entry["dia_id"]] = (len(sessions), len(turns))
            turns.append(turn)
        if turns:
            sessions.append(HaystackSession(started_at, tuple(turns)))
        else:
            left_out["sessions that say nothing"] += 1
    return sessions, places


def _turn(entry: dict[str, Any]) -> HaystackTurn:
    caption = entry.get("blip_caption")
    return HaystackTurn("user", entry.get("text") or "", entry["speaker"], (caption,) if caption else ())


def _evidence(entry: dict[str, Any]) -> list[str]:
    """The turn ids in the evidence strings; some strings hold several, or none."""
    told = entry.get("evidence") or []
    return [found for text in told for found in _TURN_ID.findall(text)]


def _case(entry: dict[str, Any], case_id: str, asked_at: datetime, evidence: frozenset[Place]) -> Case:
    category = int(entry["category"])
    return Case(
        case_id=case_id,
        category=CATEGORIES[category],
        question=entry["question"],
        answer=str(entry.get("answer", entry.get("adversarial_answer", ""))),
        asked_at=asked_at,
        evidence_turns=evidence,
        evidence_sessions=frozenset(session for session, _ in evidence),
    )


def _date(text: str) -> datetime:
    return datetime.strptime(text, "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
