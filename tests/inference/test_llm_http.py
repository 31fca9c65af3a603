"""The wire to a language model with the failures that real endpoints show."""

import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from memsvc.clock import utc_now
from memsvc.errors import LlmRefused, LlmUnavailable
from memsvc.inference.llm import ChatLlm, LlmAccess
from tests.inference.asking import GOOD, KEY, SCHEMA, Asking, asked, refused
from tests.llm import Body, PausedTime, ScriptedLlm, hang, raw, reset, said, scripted_llm, status, trickle


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


PASSING: dict[str, Response] = {
    "a reset": reset(),
    "a server's error": status(500),
    "a bad gateway": raw("<html>Bad Gateway</html>", 502),
    "unavailable": status(503),
    "too many requests": status(429),
    "a conflict": status(409),
    "the server's time out": status(408),
    "a page in place of an answer": raw("<html>Sign in</html>"),
    "a list in place of an answer": JSONResponse([]),
    "nothing in place of an answer": raw(""),
    "an error under a 200": JSONResponse({"error": {"message": "upstream failed", "code": 502}}),
}


@pytest.mark.parametrize("failure", PASSING.values(), ids=PASSING)
def test_what_may_pass_is_tried_again(llm: ScriptedLlm, asking: Asking, time: PausedTime, failure: Response) -> None:
    llm.then(failure, said(GOOD))

    content = asking.ask()

    assert (content, len(llm.requests), len(time.pauses)) == (GOOD, 2, 1)


@pytest.mark.parametrize("failure", PASSING.values(), ids=PASSING)
def test_what_does_not_pass_is_unavailable_after_all_attempts(
    llm: ScriptedLlm, asking: Asking, failure: Response
) -> None:
    llm.answers = lambda _body: failure

    told = refused(asking.chat(attempts=3))

    assert told.startswith("The language model does not answer: ")
    assert len(llm.requests) == 3


@pytest.mark.parametrize("failure", [hang, trickle])
def test_endpoint_that_never_ends_its_answer_is_timed_out(llm: ScriptedLlm, failure: Any) -> None:
    llm.answers = lambda _body: failure()
    chat = ChatLlm(LlmAccess(llm.url, "a-model", timeout_s=1, attempts=2, first_pause_s=0.01))

    told = refused(chat)

    chat.close()
    assert len(llm.requests) == 2
    assert told in {
        "The language model does not answer: ReadTimeout.",
        "The language model does not answer: its answer takes too long.",
    }


def test_endpoint_that_is_not_there_is_unavailable(asking: Asking, time: PausedTime) -> None:
    told = refused(asking.chat(url="http://127.0.0.1:9/v1"))

    assert told == "The language model does not answer: ConnectError."
    assert len(time.pauses) == 3


def test_pauses_double_and_differ_by_chance(llm: ScriptedLlm, asking: Asking, time: PausedTime) -> None:
    llm.answers = lambda _body: status(429)

    refused(asking.chat(attempts=5, first_pause_s=2.0))

    assert [2.0 * 2**n / 2 <= pause <= 2.0 * 2**n for n, pause in enumerate(time.pauses)] == [True] * 4
    assert len({pause / 2**n for n, pause in enumerate(time.pauses)}) > 1


@pytest.mark.parametrize("code", [429, 503])
def test_pause_is_as_long_as_the_endpoint_asks_for(
    llm: ScriptedLlm, asking: Asking, time: PausedTime, code: int
) -> None:
    llm.then(status(code, retry_after=17), said(GOOD))

    asking.ask()

    assert time.pauses == [17.0]


def test_pause_may_be_asked_for_as_a_date(llm: ScriptedLlm, asking: Asking, time: PausedTime) -> None:
    later = format_datetime(utc_now() + timedelta(hours=1), usegmt=True)
    llm.then(status(429, retry_after=later), said(GOOD))

    asking.ask(deadline_s=7200)

    (pause,) = time.pauses
    assert 3000 < pause <= 3600


def test_pause_until_a_date_that_is_over_is_none(llm: ScriptedLlm, asking: Asking, time: PausedTime) -> None:
    llm.then(status(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"), said(GOOD))

    asking.ask()

    assert time.pauses == [0.0]


@pytest.mark.parametrize("told", ["soon", "-5", "nan", "Wed, 99 Oct 2015", "²"])
def test_pause_that_cannot_be_read_is_as_long_as_any(
    llm: ScriptedLlm, asking: Asking, time: PausedTime, told: str
) -> None:
    llm.answers = lambda body: said(GOOD) if len(llm.requests) > 1 else _with_retry_after(told)

    asking.ask()

    (pause,) = time.pauses
    assert 0.5 <= pause <= 1.0


def _with_retry_after(told: str) -> Response:
    return status(429, retry_after=told)


def test_pause_past_the_deadline_is_not_waited_for(llm: ScriptedLlm, asking: Asking, time: PausedTime) -> None:
    llm.then(status(429, retry_after=3600))

    told = refused(asking.chat(deadline_s=180))

    assert told == ('The language model does not answer in the time it is given: it answers 429 and says "scripted".')
    assert (time.pauses, len(llm.requests)) == ([], 1)


def test_deadline_is_for_the_repair_too(llm: ScriptedLlm, asking: Asking, time: PausedTime) -> None:
    def answer(_body: Body) -> Response:
        time.pass_time(20)
        return said("prose")

    llm.answers = answer

    told = refused(asking.chat(deadline_s=30, timeout_s=25))

    assert told == "The language model does not answer in the time it is given: its answer takes too long."
    assert len(llm.requests) == 2


def test_answer_without_end_is_not_held(llm: ScriptedLlm, asking: Asking) -> None:
    llm.answers = lambda _body: said("x" * (17 * 2**20))

    told = refused(asking.chat(attempts=1))

    assert told == "The language model does not answer: its answer is too large."


ADVISED: dict[str, tuple[Response, str]] = {
    "the key": (status(401), "check MEMSVC_LLM_API_KEY."),
    "the account": (status(402), "no credit left"),
    "the key's rights": (status(403), "check MEMSVC_LLM_API_KEY and MEMSVC_LLM_MODEL."),
    "the model or the path": (status(404), "check MEMSVC_LLM_MODEL and MEMSVC_LLM_BASE_URL."),
    "the path": (status(405), "check MEMSVC_LLM_BASE_URL."),
    "the address": (Response(status_code=308, headers={"Location": "/v2"}), "check MEMSVC_LLM_BASE_URL."),
    "any other": (status(418), "refuses the request (418)."),
}


@pytest.mark.parametrize(("refusal", "advice"), ADVISED.values(), ids=ADVISED)
def test_refusal_is_not_tried_again_and_says_what_to_do(
    llm: ScriptedLlm, asking: Asking, refusal: Response, advice: str
) -> None:
    llm.then(refusal)

    told = refused(asking.chat())

    assert advice in told
    assert len(llm.requests) == 1


@pytest.mark.parametrize("code", [400, 413, 422])
def test_request_that_would_be_refused_again_is_told_apart(llm: ScriptedLlm, asking: Asking, code: int) -> None:
    llm.answers = lambda _body: status(code, "the maximum context length is 8192 tokens")

    with pytest.raises(LlmRefused, match="the maximum context length is 8192 tokens"):
        asking.ask()

    assert len(llm.requests) == 1


@pytest.mark.parametrize("url", ["", "localhost:8080", "http://host:port/v1", "ftp://127.0.0.1/v1"])
def test_url_that_is_none_is_said_so(asking: Asking, url: str) -> None:
    assert refused(asking.chat(url=url)) == "The language model's URL is none: check MEMSVC_LLM_BASE_URL."


def test_slash_at_the_urls_end_does_not_matter(llm: ScriptedLlm, asking: Asking) -> None:
    llm.then(said(GOOD))

    assert asking.ask(url=f"{llm.url}/") == GOOD


def test_closed_client_asks_nothing(llm: ScriptedLlm, asking: Asking) -> None:
    llm.answers = lambda _body: said(GOOD)
    chat = asking.chat()
    asked(chat)
    chat.close()
    chat.close()

    told = refused(chat)

    assert told == "The service is stopping; the language model is not asked any more."
    assert len(llm.requests) == 1


def test_pause_ends_when_the_client_is_closed(llm: ScriptedLlm) -> None:
    arrived = threading.Event()

    def answer(_body: Body) -> Response:
        arrived.set()
        return status(429, retry_after=100)

    llm.answers = answer
    chat = ChatLlm(LlmAccess(llm.url, "a-model"))
    told: list[str] = []
    waiting = threading.Thread(target=lambda: told.append(refused(chat)))
    waiting.start()
    arrived.wait(30)

    chat.close()

    waiting.join(30)
    assert told == ["The service is stopping; the language model is not asked any more."]


def test_key_stands_in_no_representation() -> None:
    assert KEY not in repr(LlmAccess("http://host/v1", "a-model", KEY))


@pytest.mark.parametrize(
    "answer",
    [
        status(401, f"Incorrect API key provided: {KEY}."),
        status(400, f"{'x' * 195} {KEY}"),
        raw(f"Bearer {KEY} is not known", 403),
        status(500, f"{KEY} broke"),
        JSONResponse({"error": f"{KEY} is over"}, 429),
        JSONResponse([{"error": {"message": f"{KEY} is not valid"}}], 400),
    ],
    ids=["401", "400, where it would be cut", "403", "500", "429", "400 in a list"],
)
def test_key_stands_in_no_error_and_no_log(
    llm: ScriptedLlm, asking: Asking, answer: Response, caplog: pytest.LogCaptureFixture
) -> None:
    llm.answers = lambda _body: answer

    with caplog.at_level(logging.DEBUG, "memsvc"), pytest.raises(LlmUnavailable) as raised:
        asking.ask(attempts=2)

    links = [raised.value, raised.value.__cause__, raised.value.__context__]
    assert not any("sk-" in repr(link) for link in links)
    assert "sk-" not in "".join(str(vars(record)) for record in caplog.records if record.name.startswith("memsvc"))


@pytest.mark.parametrize("key", ["sk-one\nsk-two", "sk-schlüssel", "sk-\x00"])
def test_key_that_no_header_carries_is_refused_without_being_quoted(llm: ScriptedLlm, asking: Asking, key: str) -> None:
    with pytest.raises(LlmUnavailable, match="check MEMSVC_LLM_API_KEY") as raised:
        asking.ask(api_key=key)

    assert "sk-" not in f"{raised.value!r}{raised.value.__context__!r}"


def test_line_break_behind_a_key_does_not_matter(llm: ScriptedLlm, asking: Asking) -> None:
    llm.then(said(GOOD))

    asking.ask(api_key=f"{KEY}\n")

    assert llm.headers[0]["authorization"] == f"Bearer {KEY}"


def test_what_an_endpoint_says_is_quoted_short_and_on_one_line(llm: ScriptedLlm, asking: Asking) -> None:
    llm.then(status(401, "a\nb " * 200))

    told = refused(asking.chat())

    quote = told.partition('It says "')[2].removesuffix('".')
    assert (len(quote), quote[:7]) == (200, "a b a b")


def test_request_that_is_sent_back_in_an_error_is_not_quoted(llm: ScriptedLlm, asking: Asking) -> None:
    llm.answers = lambda body: JSONResponse({"detail": [{"msg": "no", "input": body["messages"]}]}, 422)

    told = refused(asking.chat())

    assert told == "The language model refuses the request (422)."


def test_text_that_utf8_cannot_carry_is_sent_all_the_same(llm: ScriptedLlm, asking: Asking) -> None:
    llm.then(said(GOOD))

    asking.chat().ask([{"role": "user", "content": "\ud800"}], name="extract", schema=SCHEMA)

    assert llm.requests[0]["messages"] == [{"role": "user", "content": "\ud800"}]
