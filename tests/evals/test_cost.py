"""The cost of extraction: what is counted is what a service would send, each session once."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from evals import cost
from evals.__main__ import main
from evals.cases import Haystack, HaystackSession, HaystackTurn
from evals.configs import Config
from evals.cost import Counted, SessionCost
from evals.histories import Historian, Target
from evals.llm import LLMAccess
from evals.services import Workshop
from tests.doubles import HashEncoder
from tests.evals.small import chat, written
from tests.llm import Body

STARTED = datetime(2024, 1, 5, 10, tzinfo=UTC)
HELLO = HaystackTurn("user", "Hello from the harbour.")
HI = HaystackTurn("assistant", "Hi.")
TALE = HaystackTurn("assistant", "A long tale. " * 200)
LOOK = HaystackTurn("user", "Look.", "Ana", ("a yak",))


@pytest.mark.parametrize(
    ("turns", "own"),
    [
        pytest.param((HELLO, HI), 5, id="short"),
        pytest.param((HELLO, HI) * 60, 300, id="several rounds a chunk"),
        pytest.param((HELLO, TALE, HELLO, HI), 609, id="a turn in parts"),
        pytest.param((HaystackTurn("system", "Be kind."), HELLO, HI), 7, id="a system's turn"),
        pytest.param((LOOK, HaystackTurn("user", "Oh!", "Ben")), 5, id="two people"),
    ],
)
def test_what_is_counted_is_what_a_service_sends(turns: tuple[HaystackTurn, ...], own: int, tmp_path: Path) -> None:
    session = HaystackSession(STARTED, turns)

    counted = cost.cost_of(session, count_tokens=HashEncoder().count_tokens, chunk_tokens=200)

    bodies = _sent(session, tmp_path)
    prompt = _words([message["content"] for body in bodies for message in body["messages"]])
    schema = _words([json.dumps(body["response_format"]) for body in bodies])
    assert counted == SessionCost(calls=len(bodies), prompt=prompt, schema=schema, own=own)


def test_each_session_is_counted_once_and_what_is_left_out_is_told() -> None:
    told, again = HaystackSession(STARTED, (HELLO, HI)), HaystackSession(STARTED.replace(day=6), (HELLO, HI))
    silent = HaystackSession(STARTED, (HaystackTurn("system", "Be kind."),))
    haystacks = [Haystack("a", (told, again), (), {"turns that say nothing": 2}), Haystack("b", (silent, told), ())]

    counted = cost.count(haystacks, count_tokens=HashEncoder().count_tokens, chunk_tokens=200)

    assert [(each.calls, each.own) for each in counted.sessions] == [(1, 5)]
    assert counted.left_out == {
        "turns that say nothing": 2,
        "sessions that were told before": 2,
        "sessions of which nothing would be asked": 1,
    }


def test_figures_are_those_of_a_session_and_of_all() -> None:
    sessions = [SessionCost(calls=1, prompt=120, schema=30, own=100) for _ in range(19)]

    found = cost.figures(Counted((*sessions, SessionCost(calls=3, prompt=900, schema=90, own=300)), {"of no use": 1}))

    assert found == {
        "sessions": 20,
        "a_session": {
            "calls": {"mean": 1.1, "median": 1, "p95": 1},
            "own_tokens": {"mean": 110, "median": 100, "p95": 100},
            "prompt_tokens": {"mean": 159, "median": 120, "p95": 120},
            "ratio": {"mean": 1.29, "median": 1.2, "p95": 1.2},
            "ratio_with_schema": {"mean": 1.59, "median": 1.5, "p95": 1.5},
        },
        "total": {
            "calls": 22,
            "own_tokens": 2200,
            "prompt_tokens": 3180,
            "schema_tokens": 660,
            "ratio": 1.4455,
            "ratio_with_schema": 1.7455,
        },
        "left_out": {"of no use": 1},
    }


def test_command_counts_prints_and_keeps_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = written(tmp_path / "chats.jsonl", [chat("a"), chat("b", sessions=4)])
    arguments = ["cost", "--data-set", "chats", "--data", str(data), "--out", str(tmp_path / "out")]

    assert main(arguments, encoder=HashEncoder()) == 0

    told = capsys.readouterr().out
    assert "# cost: 4 distinct sessions of chats, nothing sent" in told
    assert "| prompt tokens / own (aim: < 1.3) |" in told
    assert "- 3 sessions that were told before" in told
    (path,) = (tmp_path / "out").glob("cost-chats-*.json")
    found = json.loads(path.read_text("utf-8"))
    assert (found["sessions"], found["total"]["calls"], found["aim"]) == (4, 4, 1.3)
    assert found["config"] == {"name": "chats", "extract_tokens": 4000, "limit": None}
    assert set(found["memsvc"]) == {"version", "commit", "is_dirty", "code"}


def test_command_counts_the_histories_of_the_first_questions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = written(tmp_path / "chats.jsonl", [chat("a"), chat("b", sessions=4)])
    arguments = ["cost", "--data-set", "chats", "--data", str(data), "--limit", "2", "--out", str(tmp_path / "out")]

    assert main(arguments, encoder=HashEncoder()) == 0

    assert "# cost: 3 distinct sessions of chats, nothing sent" in capsys.readouterr().out


def test_data_of_which_nothing_would_be_asked_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = written(tmp_path / "chats.jsonl", [])

    arguments = ["cost", "--data-set", "chats", "--data", str(data), "--out", str(tmp_path / "out")]
    assert main(arguments, encoder=HashEncoder()) == 2

    assert "holds no session that anything would be asked about" in capsys.readouterr().err


def _sent(session: HaystackSession, folder: Path) -> list[Body]:
    """The requests by which a service extracts a session, nothing of which is ever answered."""
    config = Config("mine", "A.", None, {"extract_tokens": 200}, llm=True)
    workshop = Workshop(encoder=HashEncoder(), llm=LLMAccess(None, "m", cache=folder))
    haystack = Haystack("h", (session,), ())
    with Historian(Target(), workshop).recorded(config, haystack, lambda _turns: None) as recorded:
        return [line["body"] for _, line in recorded.pending()]


def _words(texts: Sequence[str]) -> int:
    return sum(len(text.split()) for text in texts)
