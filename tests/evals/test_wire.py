"""The client of the wire, against a small service that misbehaves as the test has it."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse

from evals.cases import Haystack, HaystackSession, HaystackTurn
from evals.errors import EvaluationFailed
from evals.wire import Memory, Names
from tests.doubles import listening

STARTED = datetime(2024, 1, 5, 10, tzinfo=UTC)
SESSION = HaystackSession(STARTED, (HaystackTurn("user", "Hello."), HaystackTurn("assistant", "Hi.")))
INDEXED = {"status": {"indexed": True, "extracted": "off", "error": None}}
PENDING = {"status": {"indexed": False, "extracted": "off", "error": None}}
DRAWING = {"status": {"indexed": True, "extracted": "pending", "error": None}}
DRAWN = {"status": {"indexed": True, "extracted": "done", "error": None}}
UNDRAWN = {"status": {"indexed": True, "extracted": "failed", "error": "the answer is not what was asked for"}}


class Service:
    """Answers with a script: a status with a body each."""

    def __init__(self) -> None:
        self.script: list[tuple[int, Any]] = []
        self.asked: list[tuple[str, str]] = []
        self.repeats = False
        self.takes_its_time = False
        self.app = FastAPI()

        @self.app.api_route("/{path:path}", methods=["GET", "PUT", "POST", "DELETE"])
        async def answer(request: Request) -> JSONResponse:
            self.asked.append((request.method, request.url.query))
            # What stands last is said from then on.
            status, body = self.script.pop(0) if len(self.script) > 1 or not self.repeats else self.script[0]
            if self.takes_its_time:
                await asyncio.sleep(float(request.query_params.get("wait_s", 0)))
            return JSONResponse(body, status_code=status)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def memory(service: Service) -> Iterator[Memory]:
    with listening(service.app) as url, Memory(url, Names("salt")) as opened:
        yield opened


@pytest.fixture
def hasty(service: Service) -> Iterator[Memory]:
    """A client that waits for a fifth of a second."""
    with listening(service.app) as url, Memory(url, Names("salt"), patience_s=0.2) as opened:
        yield opened


def test_session_is_waited_for_until_it_is_indexed_and_drawn_from(service: Service, memory: Memory) -> None:
    service.script = [(201, PENDING), (200, PENDING), (200, DRAWING), (200, DRAWING), (200, DRAWN)]
    turns: list[int] = []

    assert memory.record([SESSION], advance=turns.append) == 0

    extracted, indexed = ("PUT", "wait=extracted&wait_s=60"), ("PUT", "wait=indexed&wait_s=60")
    assert service.asked == [("PUT", ""), extracted, indexed, extracted, extracted]
    assert turns == [2]


def test_without_a_model_an_early_answer_says_that_facts_are_drawn(service: Service, memory: Memory) -> None:
    service.script = [(201, INDEXED), (200, INDEXED)]

    assert memory.record([SESSION], advance=lambda _turns: None) == 0

    assert service.asked == [("PUT", ""), ("PUT", "wait=extracted&wait_s=60")]


def test_without_a_model_an_answer_when_the_time_is_over_says_nothing(service: Service, hasty: Memory) -> None:
    service.script = [(201, INDEXED), (200, INDEXED)]
    service.repeats = service.takes_its_time = True

    with pytest.raises(EvaluationFailed, match=r"not extracted within 0\.2 s"):
        hasty.record([SESSION], advance=lambda _turns: None)


def test_sessions_are_sent_together_or_one_by_one(service: Service, memory: Memory) -> None:
    service.script = [(201, DRAWN)]
    service.repeats = True

    memory.record([SESSION, SESSION], advance=lambda _turns: None)
    memory.record([SESSION, SESSION], advance=lambda _turns: None, one_by_one=True)

    waits = ["wait" in query for _, query in service.asked]
    assert waits == [False, False, True, True, False, True, False, True]


def test_session_that_cannot_be_indexed_ends_the_run(service: Service, memory: Memory) -> None:
    status = {"indexed": False, "extracted": "off", "error": "the disk is full"}
    service.script = [(201, PENDING), (200, {"status": status})]

    with pytest.raises(EvaluationFailed, match="the disk is full"):
        memory.record([SESSION], advance=lambda _turns: None)


def test_session_that_cannot_be_extracted_is_counted(service: Service, memory: Memory) -> None:
    unindexed = {"status": {**UNDRAWN["status"], "indexed": False}}
    service.script = [(201, PENDING), (201, PENDING), (200, unindexed), (200, UNDRAWN), (200, DRAWN)]

    assert memory.record([SESSION, SESSION], advance=lambda _turns: None) == 1

    assert service.script == []


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        pytest.param(PENDING, "Does a worker run", id="index"),
        pytest.param(DRAWING, "Does the language model answer", id="facts"),
    ],
)
def test_session_that_is_never_there_ends_the_run(
    service: Service, hasty: Memory, status: dict[str, Any], reason: str
) -> None:
    service.script = [(201, PENDING), (200, status)]
    service.repeats = True

    with pytest.raises(EvaluationFailed, match=reason):
        hasty.record([SESSION], advance=lambda _turns: None)


def test_facts_are_counted_over_all_pages(service: Service, memory: Memory) -> None:
    by_rules, by_llm = {"source": "rules"}, {"source": "llm"}
    service.script = [
        (200, {"facts": [by_rules, by_llm], "next_cursor": "on"}),
        (200, {"facts": [by_rules], "next_cursor": None}),
    ]

    assert memory.facts() == {"llm": 1, "rules": 2}

    first = "include=superseded&limit=200"
    assert service.asked == [("GET", first), ("GET", f"{first}&cursor=on")]


def test_what_extraction_took_leaves_out_other_operations(service: Service, memory: Memory) -> None:
    counts = {
        "calls": 1,
        "cached_calls": 2,
        "prompt_tokens": 30,
        "completion_tokens": 4,
        "estimated_calls": 0,
    }
    used = [{"operation": operation, **counts} for operation in ("extract", "reconcile", "answer")]
    service.script = [(200, {"usage": used})]

    assert memory.spent() == {name: 2 * count for name, count in counts.items()}


@pytest.mark.parametrize("trouble", [429, 502, 503, 504])
def test_overloaded_service_is_asked_again(service: Service, memory: Memory, trouble: int) -> None:
    service.script = [(trouble, {}), (201, INDEXED), (200, INDEXED)]

    memory.record([SESSION], advance=lambda _turns: None)

    assert service.script == []


def test_refusal_is_told_in_the_services_words(service: Service, memory: Memory) -> None:
    service.script = [(422, {"error": "invalid", "detail": "turns.0.text is empty."})]

    with pytest.raises(EvaluationFailed, match=r"refuses \(422\): turns\.0\.text is empty\."):
        memory.record([SESSION], advance=lambda _turns: None)


def test_answer_of_another_shape_is_told(service: Service, memory: Memory) -> None:
    service.script = [(200, {"evidence": []})]

    with pytest.raises(EvaluationFailed, match="has no 'context'"):
        memory.recall("?", asked_at=STARTED, unit="turn", limit=1, token_budget=0)


def test_key_that_may_not_delete_the_user_deletes_the_sessions(service: Service, memory: Memory) -> None:
    service.script = [(403, {"detail": "needs the scope admin"}), (200, {}), (200, {})]

    memory.forget(Haystack("h1", (SESSION, SESSION), ()))

    assert [method for method, _ in service.asked] == ["DELETE"] * 3


def test_names_tell_nothing_and_lead_back() -> None:
    names, others = Names("salt"), Names("other")
    haystack = Haystack("h1", (SESSION, SESSION), ())

    places = names.places(haystack)

    assert sorted(places.values()) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert places[names.session(1), names.turn((1, 0))] == (1, 0)
    assert names.user != others.user
    assert len({names.user, names.session(0), names.session(1), names.turn((0, 0)), names.turn((0, 1))}) == 5
