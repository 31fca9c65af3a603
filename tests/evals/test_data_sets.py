"""The loaders, on small files of the published shapes with the traps that the published ones hold."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from evals import locomo, longmemeval
from evals.cases import Case, Haystack, HaystackSession, HaystackTurn, read_array

CONVERSATION: dict[str, Any] = {
    "sample_id": "conv-1",
    "conversation": {
        "speaker_a": "Ana",
        "speaker_b": "Ben",
        "session_10_date_time": "9:05 am on 2 June, 2023",
        "session_10": [{"speaker": "Ben", "dia_id": "D10:1", "text": "A later day."}],
        "session_2_date_time": "1:56 pm on 8 May, 2023",
        "session_2": [
            {"speaker": "Ana", "dia_id": "D2:1", "text": "Hi!"},
            {"speaker": "Ben", "dia_id": "D2:2", "text": " "},
            {"speaker": "Ben", "dia_id": "D2:3", "text": "", "blip_caption": "a photo of a dog"},
        ],
        "session_3_date_time": "1:00 pm on 9 May, 2023",
        "session_3": [],
        "session_4_date_time": "1:00 pm on 10 May, 2023",
    },
    "qa": [
        {"question": "Which pet?", "answer": 7, "evidence": ["D2:3; D10:1", "D2:99"], "category": 1},
        {"question": "Nothing?", "answer": "no", "evidence": ["D", "D:2:1"], "category": 4},
        {"question": "Whose?", "adversarial_answer": "Ana's", "evidence": ["D2:1"], "category": 5},
    ],
}


def test_locomo_conversation_is_read_in_order_of_time(tmp_path: Path) -> None:
    haystacks = list(locomo.load(_written(tmp_path / "locomo.json", [CONVERSATION])))

    asked_at = datetime(2023, 6, 3, 9, 5, tzinfo=UTC)
    first = (HaystackTurn("user", "Hi!", "Ana"), HaystackTurn("user", "", "Ben", ("a photo of a dog",)))
    assert haystacks == [
        Haystack(
            "conv-1",
            (
                HaystackSession(datetime(2023, 5, 8, 13, 56, tzinfo=UTC), first),
                HaystackSession(datetime(2023, 6, 2, 9, 5, tzinfo=UTC), (HaystackTurn("user", "A later day.", "Ben"),)),
            ),
            (
                # One string holds two ids; an id that is in no session is left out of the evidence.
                _case("0:0", "multi-hop", "Which pet?", "7", asked_at, {(0, 1), (1, 0)}, {0, 1}),
                _case("0:2", "adversarial", "Whose?", "Ana's", asked_at, {(0, 0)}, {0}),
            ),
            {"turns that say nothing": 1, "questions without evidence in the conversation": 1},
        )
    ]


QUESTION: dict[str, Any] = {
    "question_id": "q1_abs",
    "question_type": "knowledge-update",
    "question": "How many?",
    "answer": 5,
    "question_date": "2023/05/30 (Tue) 23:40",
    "answer_session_ids": ["answer_b"],
    "haystack_dates": ["2023/05/20 (Sat) 02:21", "2023/04/10 (Mon) 17:50"],
    "haystack_session_ids": ["answer_b", "a"],
    "haystack_sessions": [
        [
            {"role": "user", "content": ""},
            {"role": "user", "content": "Five now.", "has_answer": True},
            {"role": "assistant", "content": "Noted.", "has_answer": False},
        ],
        [{"role": "user", "content": "Hello."}],
    ],
}


@pytest.mark.parametrize("name", ["s.json", "s.json.gz"])
def test_longmemeval_question_is_read_with_its_history_in_order_of_time(tmp_path: Path, name: str) -> None:
    haystacks = list(longmemeval.load(_written(tmp_path / name, [QUESTION])))

    asked_at = datetime(2023, 5, 30, 23, 40, tzinfo=UTC)
    later = (HaystackTurn("user", "Five now."), HaystackTurn("assistant", "Noted."))
    assert haystacks == [
        Haystack(
            "q1_abs",
            (
                HaystackSession(datetime(2023, 4, 10, 17, 50, tzinfo=UTC), (HaystackTurn("user", "Hello."),)),
                HaystackSession(datetime(2023, 5, 20, 2, 21, tzinfo=UTC), later),
            ),
            (_case("q1_abs", "knowledge-update", "How many?", "5", asked_at, {(1, 0)}, {1}, is_abstention=True),),
            {"turns that say nothing": 1},
        )
    ]


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_array_is_read_object_by_object_whatever_the_chunks(tmp_path: Path, chunk: int) -> None:
    objects: list[dict[str, object]] = [{"a": '[}, \\" é'}, {}, {"b": [1, {"c": 2}]}]
    path = tmp_path / "array.json"
    path.write_text(" " + json.dumps(objects, indent=1, ensure_ascii=False) + "\n", "utf-8")

    assert list(read_array(path, chunk=chunk)) == objects


@pytest.mark.parametrize("text", ['[{"a": 1}, {"b"', '[{"a": 1}', '{"a": 1}', ""])
def test_file_that_is_cut_off_or_no_array_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "array.json"
    path.write_text(text, "utf-8")

    with pytest.raises(ValueError, match=r"array\.json"):
        list(read_array(path))


def _written(path: Path, found: list[dict[str, Any]]) -> Path:
    content = json.dumps(found).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def _case(
    case_id: str,
    category: str,
    question: str,
    answer: str,
    asked_at: datetime,
    turns: set[tuple[int, int]],
    sessions: set[int],
    *,
    is_abstention: bool = False,
) -> Case:
    evidence = frozenset(turns), frozenset(sessions)
    return Case(case_id, category, question, answer, asked_at, *evidence, is_abstention=is_abstention)
