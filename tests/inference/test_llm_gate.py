"""An endpoint that is down is left alone for a while, and one that is up is not overrun."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from starlette.responses import Response

from memsvc.errors import LlmUnavailable
from memsvc.inference.llm import ChatLlm, LlmAccess
from tests.doubles import together
from tests.inference.asking import GOOD, Asking, asked, refused
from tests.llm import Body, PausedTime, ScriptedLlm, said, scripted_llm, status


@pytest.fixture
def llm() -> Iterator[ScriptedLlm]:
    with scripted_llm() as scripted:
        yield scripted


@pytest.fixture
def time() -> PausedTime:
    return PausedTime()


@pytest.fixture
def asking(llm: ScriptedLlm, time: PausedTime) -> Iterator[Asking]:
    with closing(Asking(llm, time)) as clients:
        yield clients


def test_breaker_opens_after_outages_in_a_row(llm: ScriptedLlm, asking: Asking) -> None:
    llm.answers = lambda _body: status(503)
    chat = asking.chat(attempts=2, breaker_failures=4)

    told = [refused(chat) for _ in range(4)]

    assert len(llm.requests) == 4
    assert told[2:] == ["The language model did not answer 4 times in a row; it is not asked for a while."] * 2


def test_breaker_that_opens_ends_the_attempts(llm: ScriptedLlm, asking: Asking) -> None:
    llm.answers = lambda _body: status(503)

    refused(asking.chat(attempts=10, breaker_failures=3))

    assert len(llm.requests) == 3


def test_breaker_lets_a_request_pass_after_a_while_and_closes_when_it_is_answered(
    llm: ScriptedLlm, asking: Asking, time: PausedTime
) -> None:
    llm.then(*[status(503)] * 2)
    llm.answers = lambda _body: said(GOOD)
    chat = asking.chat(attempts=2, breaker_failures=2, breaker_s=30)
    refused(chat)
    time.pass_time(30)

    contents = [asked(chat), asked(chat)]

    assert contents == [GOOD, GOOD]


def test_breaker_opens_again_when_the_one_request_fails(llm: ScriptedLlm, asking: Asking, time: PausedTime) -> None:
    llm.answers = lambda _body: status(503)
    chat = asking.chat(attempts=2, breaker_failures=2, breaker_s=30)
    refused(chat)
    time.pass_time(30)

    refused(chat)
    refused(chat)

    assert len(llm.requests) == 3


def test_half_open_breaker_lets_one_request_pass_at_a_time(llm: ScriptedLlm, asking: Asking, time: PausedTime) -> None:
    arrived, may_answer = threading.Event(), threading.Event()
    llm.then(*[status(503)] * 2)

    def answer(_body: Body) -> Response:
        arrived.set()
        may_answer.wait(30)
        return said(GOOD)

    llm.answers = answer
    chat = asking.chat(attempts=2, breaker_failures=2, breaker_s=30)
    refused(chat)
    time.pass_time(30)
    probe = threading.Thread(target=asked, args=(chat,))
    probe.start()
    arrived.wait(30)

    told = refused(chat)

    may_answer.set()
    probe.join()
    assert "not asked for a while" in told
    assert asked(chat) == GOOD


@pytest.mark.parametrize(
    "answer", [status(429), status(400, "too long a context"), said(GOOD)], ids=["429", "400", "good"]
)
def test_endpoint_that_answers_between_outages_is_not_down(llm: ScriptedLlm, asking: Asking, answer: Response) -> None:
    llm.then(status(503), answer, status(503), said(GOOD))
    chat = asking.chat(attempts=1, breaker_failures=2)

    for _ in range(3):
        try:
            asked(chat)
        except LlmUnavailable:
            continue

    assert asked(chat) == GOOD


def test_requests_at_a_time_are_limited(llm: ScriptedLlm, asking: Asking) -> None:
    lock, counts = threading.Lock(), {"now": 0, "most": 0}
    both = threading.Barrier(2)

    def answer(_body: Body) -> Response:
        with lock:
            counts["now"] += 1
            counts["most"] = max(counts["most"], counts["now"])
        both.wait(30)
        with lock:
            counts["now"] -= 1
        return said(GOOD)

    llm.answers = answer
    chat = asking.chat(concurrency=2)

    raised = together(*[lambda: asked(chat)] * 6)

    assert (raised, counts["most"], len(llm.requests)) == ([], 2, 6)


def test_request_does_not_wait_for_others_past_its_deadline(llm: ScriptedLlm) -> None:
    arrived, may_answer = threading.Event(), threading.Event()

    def answer(_body: Body) -> Response:
        arrived.set()
        may_answer.wait(30)
        return said(GOOD)

    llm.answers = answer
    chat = ChatLlm(LlmAccess(llm.url, "a-model", concurrency=1, deadline_s=0.3, attempts=1))
    first = threading.Thread(target=together, args=(lambda: asked(chat),))
    first.start()
    arrived.wait(30)

    told = refused(chat)

    may_answer.set()
    first.join()
    chat.close()
    assert told in {
        "The language model is busy with other requests, and the time for this one is over.",
        # The first request ran out of its time too, and left its place to this one at the last moment.
        "The language model does not answer: ReadTimeout.",
        "The language model does not answer in the time it is given.",
    }
