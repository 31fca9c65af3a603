"""The project's own small suite: eight chats of two people with thirty questions each, read from JSON Lines."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from evals.cases import Case, Haystack, HaystackSession, HaystackTurn, Place, read_lines
from evals.errors import DataUnreadable

SOURCE = "The project's own chats are in its repository (evals/data/chats_eval.jsonl), under the project's licence."
SHIPPED = Path(__file__).parent / "data" / "chats_eval.jsonl"


def load(path: Path) -> Iterator[Haystack]:
    """Each chat with its questions; raises DataUnreadable."""
    for number, chat in enumerate(read_lines(path)):
        try:
            yield haystack_of(chat)
        except (LookupError, TypeError, ValueError, AttributeError) as exc:
            raise DataUnreadable(f"{path}: chat {number} is not of the chats' shape: {exc!r}") from exc


def haystack_of(chat: dict[str, Any]) -> Haystack:
    """A chat with its questions; raises LookupError, TypeError or ValueError for one of another shape."""
    left_out: Counter[str] = Counter()
    dated = sorted(enumerate(chat["sessions"], 1), key=lambda found: (_date(found[1]["date"]), found[0]))
    sessions: list[HaystackSession] = []
    places: dict[str, Place] = {}
    for told, session in dated:
        turns: list[HaystackTurn] = []
        for number, entry in enumerate(session["turns"], 1):
            caption = entry.get("img")
            if not entry["t"].strip() and not caption:
                left_out["turns that say nothing"] += 1
                continue
            places[f"{told}:{number}"] = (len(sessions), len(turns))
            turns.append(_turn(entry["s"], entry["t"], caption))
        if turns:
            sessions.append(HaystackSession(_date(session["date"]), tuple(turns)))
        else:
            left_out["sessions that say nothing"] += 1
    asked_at = sessions[-1].started_at + timedelta(days=1)
    cases = []
    for number, entry in enumerate(chat["questions"]):
        evidence = frozenset(places[found] for found in entry["evidence"] if found in places)
        if not evidence:
            left_out["questions without evidence in the conversation"] += 1
            continue
        cases.append(_case(entry, f"{chat['id']}:{number}", asked_at, evidence))
    return Haystack(chat["id"], tuple(sessions), tuple(cases), dict(left_out))


def _turn(speaker: str, text: str, caption: str | None) -> HaystackTurn:
    """A turn of a person with a name, or of the user or the assistant in a chat of these two."""
    if speaker in ("user", "assistant"):
        return HaystackTurn(speaker, text)
    return HaystackTurn("user", text, speaker, (caption,) if caption else ())


def _case(entry: dict[str, Any], case_id: str, asked_at: datetime, evidence: frozenset[Place]) -> Case:
    return Case(
        case_id=case_id,
        category=entry["type"],
        question=entry["q"],
        answer=str(entry["a"]),
        asked_at=asked_at,
        evidence_turns=evidence,
        evidence_sessions=frozenset(session for session, _ in evidence),
    )


def _date(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M").replace(tzinfo=UTC)
