"""The demonstration: its history tells what it has to, and the command shows it, as a newcomer runs it."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from memsvc.api.schemas import SessionIn
from memsvc.app import Service, create_app
from memsvc.demo import SHOWN, history
from memsvc.domain import Scope
from tests.doubles import listening
from tests.processes import Process

KINDS = {"fact", "update", "date", "recommendation", "preference", "combined", "never_said", "order"}
WIDE = {"COLUMNS": "400"}

HISTORY = history()
SESSIONS: list[dict[str, Any]] = HISTORY["sessions"]
QUESTIONS: list[dict[str, Any]] = HISTORY["questions"]


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demonstration puts what is only for a while."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def shown(temporary: Path) -> str:
    """What `memsvc demo` prints, with a service of its own."""
    with Process.start("demo", env={**WIDE, "TMPDIR": str(temporary)}) as process:
        status = process.ended(within_s=300)
    assert (status, process.stderr_text) == (0, "")
    return process.stdout_text


@pytest.fixture
def url(service: Service) -> Iterator[str]:
    """The URL of a running service with the hashing encoder."""
    with listening(create_app(service)) as address:
        yield address


def test_history_has_sessions_over_several_months() -> None:
    starts = [datetime.fromisoformat(session["started_at"]) for session in SESSIONS]

    assert len(SESSIONS) == len({session["session_id"] for session in SESSIONS}) == 18
    assert all(start.tzinfo is not None for start in starts)
    assert starts == sorted(starts)
    assert starts[-1] - starts[0] > timedelta(days=180)


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session["session_id"])
def test_session_is_one_that_the_wire_takes(session: dict[str, Any]) -> None:
    body = SessionIn.model_validate({name: value for name, value in session.items() if name != "session_id"})

    drafts = body.drafts(None)
    times = [draft.said_at for draft in drafts if draft.said_at]
    assert len(times) == len(drafts) >= 8
    assert all(time.tzinfo is not None for time in times)
    assert times == sorted(times)
    assert times[0] == body.start(None)
    assert len({draft.turn_id for draft in drafts}) == len(drafts)


def test_history_has_a_second_speaker_and_images() -> None:
    turns = [turn for session in SESSIONS for turn in session["turns"]]

    assert {turn["speaker"] for turn in turns if turn["role"] == "user"} == {"Nora", "Tomas"}
    assert {turn["speaker"] for turn in turns if turn["role"] == "assistant"} == {"assistant"}
    assert sum(bool(turn.get("images")) for turn in turns) >= 3


def test_history_speaks_of_time_as_people_do() -> None:
    texts = " ".join(turn["text"].lower() for session in SESSIONS for turn in session["turns"])

    relative = re.findall(
        r"\b(?:last|next) (?:week|month|\w+day)|\byesterday|\btomorrow|\bweeks? ago|\bthe day before", texts
    )

    assert len(set(relative)) >= 5


def test_questions_are_of_eight_kinds() -> None:
    kinds = [question["kind"] for question in QUESTIONS]

    assert len(kinds) == 8
    assert set(kinds) == KINDS


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["kind"])
def test_evidence_of_a_question_is_in_the_history(question: dict[str, Any]) -> None:
    turns = {(session["session_id"], turn["turn_id"]) for session in SESSIONS for turn in session["turns"]}

    evidence = [(place["session_id"], place["turn_id"]) for place in question["evidence"]]

    assert set(evidence) <= turns
    assert bool(evidence) == (question["kind"] != "never_said")
    assert question["answer"]
    assert datetime.fromisoformat(question["asked_at"]) > datetime.fromisoformat(SESSIONS[-1]["started_at"])


def test_question_over_two_sessions_has_evidence_in_two() -> None:
    combined = next(question for question in QUESTIONS if question["kind"] == "combined")

    assert len({place["session_id"] for place in combined["evidence"]}) == 2


def test_demo_leaves_nothing_behind(shown: str, temporary: Path) -> None:
    assert "in a temporary folder" in shown
    assert list(temporary.glob("memsvc*")) == []


def test_demo_that_is_ended_ends_its_service(tmp_path: Path) -> None:
    with Process.start("demo", env={**WIDE, "TMPDIR": str(tmp_path)}) as process:
        process.line_with("Started in")
        started = psutil.Process(process.pid).children(recursive=True)
        status = process.stop()

    _, alive = psutil.wait_procs(started, timeout=30)
    assert (status, len(started), alive) == (128 + 15, 1, [])
    assert list(tmp_path.glob("memsvc*")) == []


def test_demo_records_every_session(shown: str) -> None:
    turns = sum(len(session["turns"]) for session in SESSIONS)

    assert re.search(rf"^18 sessions, {turns} turns: on disk after [\d.]+ s, indexed after [\d.]+ s$", shown, re.M)


@pytest.mark.parametrize("number", range(8), ids=[question["kind"] for question in QUESTIONS])
def test_demo_shows_each_question_with_dated_evidence(shown: str, number: int) -> None:
    block = _block(shown, number)

    assert re.search(r"evidence \(\d+ ms\)", block)
    assert len(re.findall(r"^\d{4}-\d\d-\d\d +│ (?:Nora|Tomas|assistant)\b", block, re.M)) == SHOWN
    assert QUESTIONS[number]["answer"] in block


@pytest.mark.parametrize(
    "number",
    [number for number, question in enumerate(QUESTIONS) if question["evidence"]],
    ids=[question["kind"] for question in QUESTIONS if question["evidence"]],
)
def test_demo_shows_the_evidence_that_answers(shown: str, number: int) -> None:
    assert "✓" in _block(shown, number)


def test_demo_marks_no_evidence_for_what_was_never_said(shown: str) -> None:
    number = next(number for number, question in enumerate(QUESTIONS) if question["kind"] == "never_said")

    assert "✓" not in _block(shown, number)


def test_demo_runs_against_a_service_and_may_be_repeated(url: str, service: Service) -> None:
    for _ in range(2):
        with Process.start("demo", "--url", url, env=WIDE) as process:
            status = process.ended(within_s=120)

        assert (status, process.stderr_text) == (0, "")
        assert all(
            f"{number}. {question['query']}" in process.stdout_text for number, question in enumerate(QUESTIONS, 1)
        )
    with service.store.read() as tx:
        assert tx.rounds.counts()[0] == tx.rounds.counts()[1] > 80


def test_demo_runs_with_an_api_key(url: str, service: Service) -> None:
    key, _ = service.use_cases.gatekeeper.create_key("acme", [Scope.READ, Scope.WRITE])

    with Process.start("demo", "--url", url, "--api-key", key, env=WIDE) as process:
        status = process.ended(within_s=120)

    assert (status, process.stderr_text) == (0, "")
    assert service.use_cases.reader.users("default", after=None, limit=5) == []
    assert [user_id for user_id, _ in service.use_cases.reader.users("acme", after=None, limit=5)] == ["nora"]


def test_demo_without_the_key_that_the_service_asks_for_says_so(url: str, service: Service) -> None:
    service.use_cases.gatekeeper.create_key("acme", [Scope.READ])

    said = _refused("--url", url)

    assert "401" in said


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "localhost:8000", "http://[::1"], ids=["nobody listens", "no scheme", "no address"]
)
def test_demo_at_a_dead_address_says_so_in_a_sentence(url: str) -> None:
    said = _refused("--url", url)

    assert said.startswith(f"memsvc: The service at {url} does not answer as it should: ")


def test_demo_at_something_else_says_so_in_a_sentence() -> None:
    async def welcome(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
            await send({"type": "http.response.body", "body": b"<h1>Welcome</h1>"})

    with listening(welcome) as url:
        said = _refused("--url", url)

    assert said.startswith(f"memsvc: The service at {url} does not answer as it should: ")


def _block(shown: str, number: int) -> str:
    """What stands under a question."""
    opening = f"{number + 1}. {QUESTIONS[number]['query']}"
    assert opening in shown
    return shown[shown.index(opening) :].split(f"\n{number + 2}. ")[0]


def _refused(*arguments: str) -> str:
    """The one line that a demonstration says which cannot be given."""
    with Process.start("demo", *arguments, env=WIDE) as process:
        status = process.ended(within_s=120)
    assert status == 1
    assert len(process.stderr_text.splitlines()) == 1
    return process.stderr_text
