"""The loaders, on small files of the published shapes with the traps that the published ones hold."""

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from evals import chats, locomo, longmemeval
from evals.cases import Case, Haystack, HaystackSession, HaystackTurn, read_array
from evals.data_sets import DATA_SETS, Plan, Selection, checksum
from evals.errors import DataUnreadable, WrongUse
from tests.evals.small import chat, written

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
        "session_5_date_time": "1:00 pm on 11 May, 2023",
        "session_5": [{"speaker": "Ana", "dia_id": "D5:1", "text": ""}],
    },
    "qa": [
        {"question": "Which pet?", "answer": 7, "evidence": ["D2:3; D10:1", "D2:99"], "category": 1},
        {"question": "Nothing?", "answer": "no", "evidence": ["D", "D:2:1"], "category": 4},
        {"question": "No list?", "answer": "no", "category": 3},
        {"question": "Whose?", "adversarial_answer": "Ana's", "evidence": ["D2:1"], "category": 5},
    ],
}


def test_locomo_conversation_is_read_in_order_of_time(tmp_path: Path) -> None:
    haystacks = list(locomo.load(written(tmp_path / "locomo.json", [CONVERSATION])))

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
                _case("0:3", "adversarial", "Whose?", "Ana's", asked_at, {(0, 0)}, {0}),
            ),
            {
                "turns that say nothing": 2,
                "sessions that say nothing": 1,
                "questions without evidence in the conversation": 2,
            },
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
    haystacks = list(longmemeval.load(written(tmp_path / name, [QUESTION])))

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


def test_longmemeval_evidence_later_on_the_questions_own_day_counts(tmp_path: Path) -> None:
    later = {**QUESTION, "question_id": "q2", "question_date": "2023/05/20 (Sat) 01:00"}

    (haystack,) = longmemeval.load(written(tmp_path / "s.json", [later]))

    assert haystack.cases[0].asked_at < haystack.sessions[1].started_at
    assert haystack.cases[0].evidence_turns == {(1, 0)}
    assert haystack.cases[0].evidence_sessions == {1}


def test_longmemeval_question_without_a_marked_turn_keeps_its_sessions(tmp_path: Path) -> None:
    told = [[{"role": "user", "content": "Five now."}], [{"role": "user", "content": "Hello."}]]

    (haystack,) = longmemeval.load(written(tmp_path / "s.json", [{**QUESTION, "haystack_sessions": told}]))

    assert haystack.cases[0].evidence_turns == frozenset()
    assert haystack.cases[0].evidence_sessions == {1}


def test_longmemeval_session_that_is_there_twice_is_evidence_once(tmp_path: Path) -> None:
    answer = [{"role": "user", "content": "Five now.", "has_answer": True}]
    other = [{"role": "user", "content": "Six, in other words.", "has_answer": True}]
    dates = [f"2023/04/1{day} (Mon) 17:50" for day in range(4)]
    twice = {
        **QUESTION,
        "haystack_dates": dates,
        "haystack_session_ids": ["answer_b", "a", "answer_b", "answer_b"],
        "haystack_sessions": [answer, [{"role": "user", "content": "Hello."}], answer, other],
    }

    (haystack,) = longmemeval.load(written(tmp_path / "s.json", [twice]))

    # All four are recorded, as the history has them; the last tells something else under the same id.
    assert len(haystack.sessions) == 4
    assert haystack.copies == {2: 0}
    assert haystack.first_copy((2, 0)) == (0, 0)
    assert haystack.cases[0].evidence_sessions == {0, 3}
    assert haystack.cases[0].evidence_turns == {(0, 0), (3, 0)}


def test_longmemeval_sessions_that_say_nothing_are_left_out_and_counted(tmp_path: Path) -> None:
    told = [[], [{"role": "user", "content": "Hello."}]]

    (haystack,) = longmemeval.load(written(tmp_path / "s.json", [{**QUESTION, "haystack_sessions": told}]))

    assert [session.turns for session in haystack.sessions] == [(HaystackTurn("user", "Hello."),)]
    assert haystack.left_out == {"sessions that say nothing": 1}
    assert haystack.cases[0].evidence_sessions == frozenset()


def test_longmemeval_is_read_while_the_rest_of_the_file_is_not_there_yet(tmp_path: Path) -> None:
    whole = json.dumps([QUESTION, {**QUESTION, "question_id": "q2"}, {**QUESTION, "question_id": "q3"}])
    path = tmp_path / "m.json"
    path.write_text(whole[: len(whole) // 2] + " " * (2 << 20))

    haystacks = longmemeval.load(path)

    assert next(haystacks).haystack_id == "q1_abs"
    with pytest.raises(DataUnreadable):
        list(haystacks)


def test_chat_is_read_in_order_of_time_with_evidence_by_place(tmp_path: Path) -> None:
    told = chat(sessions=2)
    told["questions"].append({"q": "Nothing?", "a": "no", "evidence": ["9:1"], "type": "time"})
    told["questions"].append({"q": "Both?", "a": "harbour", "evidence": ["1:2", "2:2"], "type": "multi"})

    (haystack,) = chats.load(written(tmp_path / "chats.jsonl.gz", [told]))

    asked_at = datetime(2024, 2, 6, 10, tzinfo=UTC)
    sessions = [
        (
            HaystackTurn("user", f"Morning, it is day {day} of rain again.", "Ana"),
            HaystackTurn("user", f"My {animal} lives at the harbour now.", "Ben", (f"a {animal} at the sea",)),
            HaystackTurn("user", "Fancy that!", "Ana"),
        )
        for day, animal in [(1, "zebra"), (2, "yak")]
    ]
    assert haystack == Haystack(
        "c1",
        (
            HaystackSession(datetime(2024, 1, 5, 10, tzinfo=UTC), sessions[0]),
            HaystackSession(datetime(2024, 2, 5, 10, tzinfo=UTC), sessions[1]),
        ),
        (
            _case("c1:0", "single", "Where does the zebra live?", "at the harbour", asked_at, {(0, 1)}, {0}),
            _case("c1:1", "single", "Where does the yak live?", "at the harbour", asked_at, {(1, 1)}, {1}),
            _case("c1:3", "multi", "Both?", "harbour", asked_at, {(0, 1), (1, 1)}, {0, 1}),
        ),
        {"questions without evidence in the conversation": 1},
    )


def test_shipped_chats_are_whole() -> None:
    haystacks = list(chats.load(chats.SHIPPED))

    assert len(haystacks) == 8
    assert sum(len(haystack.cases) for haystack in haystacks) == 240
    assert [haystack.left_out for haystack in haystacks] == [{}] * 8


@pytest.mark.parametrize(
    ("load", "found"),
    [
        pytest.param(locomo.load, [{"qa": []}], id="no conversation"),
        pytest.param(locomo.load, [{"conversation": {}, "qa": []}], id="no sessions"),
        pytest.param(locomo.load, [{**CONVERSATION, "qa": [{"question": "?", "evidence": ["D2:1"]}]}], id="category"),
        pytest.param(longmemeval.load, [{"question_id": "q"}], id="no history"),
        pytest.param(longmemeval.load, [{**QUESTION, "haystack_dates": ["2023/05/20 (Sat) 02:21"]}], id="a date short"),
        pytest.param(longmemeval.load, [{**QUESTION, "question_date": "yesterday"}], id="no date"),
        pytest.param(longmemeval.load, ["text"], id="no object"),
        pytest.param(chats.load, {"id": "c", "sessions": []}, id="lines of something else"),
    ],
)
def test_data_of_another_shape_are_refused_in_a_sentence(
    tmp_path: Path, load: Callable[[Path], Iterator[Haystack]], found: Any
) -> None:
    path = written(tmp_path / ("data.jsonl" if load is chats.load else "data.json"), found)

    with pytest.raises(DataUnreadable, match=r"data\.json"):
        list(load(path))


@pytest.mark.parametrize("load", [longmemeval.load, chats.load])
def test_packed_file_that_is_cut_off_is_refused_in_a_sentence(
    tmp_path: Path, load: Callable[[Path], Iterator[Haystack]]
) -> None:
    path = tmp_path / "cut.json.gz"
    path.write_bytes(gzip.compress(json.dumps([QUESTION] * 50).encode())[:-20])

    with pytest.raises(DataUnreadable, match="cut off"):
        list(load(path))


def test_file_that_is_not_there_is_told_with_its_source_and_licence(tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable, match=r"locomo10\.json.*CC BY-NC 4\.0"):
        checksum(tmp_path / "none.json", locomo.SOURCE)


def test_groups_keep_adversarial_questions_and_abstentions_apart() -> None:
    asked_at = datetime(2023, 1, 1, tzinfo=UTC)
    plain = _case("1", "temporal", "?", "!", asked_at, set(), set())
    adversarial = _case("2", "adversarial", "?", "!", asked_at, set(), set())
    abstention = _case("3_abs", "multi-session", "?", "!", asked_at, set(), set(), is_abstention=True)

    locomo_groups, longmemeval_groups = DATA_SETS["locomo"].groups_of, DATA_SETS["longmemeval"].groups_of
    assert locomo_groups(plain) == ("1–4", "all", "temporal")  # noqa: RUF001
    assert locomo_groups(adversarial) == ("all", "adversarial")
    assert longmemeval_groups(plain) == ("without abstention", "temporal")
    assert longmemeval_groups(abstention) == ("abstention",)


@pytest.mark.parametrize(
    ("selection", "ids"),
    [
        pytest.param(Selection(), ["a:0", "a:1", "a:2", "b:0", "b:1", "b:2"], id="all"),
        pytest.param(Selection(limit=2), ["a:0", "a:1"], id="inside the first"),
        pytest.param(Selection(limit=4), ["a:0", "a:1", "a:2", "b:0"], id="into the second"),
        pytest.param(Selection(ids=("b:1",)), ["b:1"], id="one by its id"),
        pytest.param(Selection(limit=1, ids=("b:1", "a:2")), ["a:2"], id="the first of two"),
    ],
)
def test_selection_takes_the_first_questions_or_those_named(
    tmp_path: Path, selection: Selection, ids: list[str]
) -> None:
    path = written(tmp_path / "chats.jsonl", [chat("a"), chat("b")])

    assert Plan.of(selection.of(chats.load(path))).case_ids() == ids


def test_question_that_is_nowhere_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "chats.jsonl", [chat("a")])

    with pytest.raises(WrongUse, match="id a:9"):
        list(Selection(ids=("a:0", "a:9")).of(chats.load(path)))


def test_two_histories_of_one_id_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "chats.jsonl", [chat("a"), chat("a")])

    with pytest.raises(DataUnreadable, match="'a'"):
        Plan.of(chats.load(path))


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

    with pytest.raises(DataUnreadable, match=r"array\.json"):
        list(read_array(path))


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
