"""The client of the wire, against a small service that misbehaves as the test has it."""

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
INDEXED = {"status": {"indexed": True, "error": None}}
PENDING = {"status": {"indexed": False, "error": None}}


class Service:
    """Answers with a script: a status with a body each."""

    def __init__(self) -> None:
        self.script: list[tuple[int, Any]] = []
        self.asked: list[tuple[str, str]] = []
        self.app = FastAPI()

        @self.app.api_route("/{path:path}", methods=["PUT", "POST", "DELETE"])
        async def answer(request: Request) -> JSONResponse:
            self.asked.append((request.method, request.url.query))
            status, body = self.script.pop(0)
            return JSONResponse(body, status_code=status)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def memory(service: Service) -> Iterator[Memory]:
    with listening(service.app) as url, Memory(url, Names("salt")) as opened:
        yield opened


def test_session_is_waited_for_until_it_is_indexed(service: Service, memory: Memory) -> None:
    service.script = [(201, PENDING), (200, PENDING), (200, INDEXED)]
    turns: list[int] = []

    memory.record([SESSION], advance=turns.append)

    waiting = ("PUT", "wait=indexed&wait_s=60")
    assert service.asked == [("PUT", ""), waiting, waiting]
    assert turns == [2]


def test_session_that_cannot_be_indexed_ends_the_run(service: Service, memory: Memory) -> None:
    service.script = [(201, PENDING), (200, {"status": {"indexed": False, "error": "the disk is full"}})]

    with pytest.raises(EvaluationFailed, match="the disk is full"):
        memory.record([SESSION], advance=lambda _turns: None)


def test_session_that_is_never_indexed_ends_the_run(service: Service, memory: Memory) -> None:
    service.script = [(201, PENDING)] + [(200, PENDING)] * 10

    with pytest.raises(EvaluationFailed, match="Does a worker run"):
        memory.record([SESSION], advance=lambda _turns: None)


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
