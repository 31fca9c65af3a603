"""Windows that a language model reads, asked over a real socket, with the failures that real ones show."""

import json
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from memsvc.app import build
from memsvc.domain import Query
from memsvc.errors import BadSetting
from memsvc.inference.llm import ChatLlm
from memsvc.intervals import Locale, Mode, On, Precision, Window
from memsvc.memory.refining import WindowRefiner
from memsvc.settings import Settings
from tests.doubles import HashEncoder, listening
from tests.factories import OWNER

ASKED = datetime(2024, 3, 8, 12, tzinfo=UTC)
FOUND = Window(
    datetime(2024, 2, 23, tzinfo=UTC), datetime(2024, 2, 24, tzinfo=UTC), Precision.WEEK, Mode.BOOST, On.EITHER,
    "query", "two weeks ago",
)  # fmt: skip
READ = {"from": "2024-02-19T00:00:00+00:00", "to": "2024-02-26T00:00:00", "precision": "week"}


class ScriptedLlm:
    """An OpenAI-compatible endpoint that answers every request alike; `requests` keeps their bodies."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answer: Response = said(json.dumps(READ))
        self.pause_s = 0.0
        self.app = FastAPI()

        @self.app.post("/v1/chat/completions")
        async def complete(request: Request) -> Response:
            self.requests.append(await request.json())
            return self.answer

        @self.app.post("/slow/chat/completions")
        def complete_slowly() -> Response:
            time.sleep(1)
            return self.answer


@pytest.fixture
def llm() -> ScriptedLlm:
    return ScriptedLlm()


@pytest.fixture
def url(llm: ScriptedLlm) -> Iterator[str]:
    with listening(llm.app) as address:
        yield address


def said(text: str) -> Response:
    """A completion."""
    return JSONResponse({"choices": [{"message": {"role": "assistant", "content": text}}]})


def refined(url: str, found: Window | None = FOUND) -> Window | None:
    chat = ChatLlm(f"{url}/v1", "a-model", api_key="secret")
    query = Query("What did I plant two weeks ago?", ASKED)
    return WindowRefiner(chat).refined(query, Locale(), found, mode=Mode.BOOST)


def test_window_is_the_models(url: str) -> None:
    window = refined(url)

    assert window == Window(
        datetime(2024, 2, 19, tzinfo=UTC), datetime(2024, 2, 26, tzinfo=UTC), Precision.WEEK, Mode.BOOST, On.EITHER,
        "llm", "two weeks ago",
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [f"Sure! Here it is:\n```json\n{json.dumps(READ)}\n```", f"{json.dumps(READ)} I hope this helps."],
    ids=["in a fence", "before prose"],
)
def test_prose_around_the_answer_does_not_matter(llm: ScriptedLlm, url: str, text: str) -> None:
    llm.answer = said(text)

    window = refined(url)

    assert window is not None
    assert window.source == "llm"


def test_model_finds_a_window_where_rules_found_none(url: str) -> None:
    window = refined(url, None)

    assert window is not None
    assert (window.source, window.on, window.text) == ("llm", On.EITHER, None)


def test_question_that_speaks_of_no_time_keeps_what_was_found(llm: ScriptedLlm, url: str) -> None:
    llm.answer = said('{"from": null, "to": null, "precision": "unknown"}')

    assert refined(url) == FOUND
    assert refined(url, None) is None


@pytest.mark.parametrize(
    "answer",
    [
        said('{"from": "2024-02-26", "to": "2024-02-19", "precision": "week"}'),
        said('{"from": "soon", "to": null, "precision": "week"}'),
        said('{"from": "2024-02-19", "to": null, "precision": "fortnight"}'),
        said('{"from": 20240219, "to": null, "precision": "week"}'),
        said('{"start": "2024-02-19"}'),
        said('{"from": "2024-02-19", "to": '),
        said("[1, 2]"),
        said("last week"),
        said(""),
        JSONResponse({"choices": []}),
        PlainTextResponse("not json"),
        JSONResponse({"error": "overloaded"}, 429),
        JSONResponse({"error": "broken"}, 500),
    ],
    ids=[
        "empty window", "no date", "unknown precision", "a number", "wrong schema", "cut off", "a list", "prose",
        "nothing", "no choice", "no completion", "429", "500",
    ],
)  # fmt: skip
def test_what_is_no_window_falls_back_on_the_rules(llm: ScriptedLlm, url: str, answer: Response) -> None:
    llm.answer = answer

    assert refined(url) == FOUND


def test_model_that_is_not_there_falls_back_on_the_rules() -> None:
    assert refined("http://127.0.0.1:9") == FOUND


def test_slow_model_is_not_waited_for(url: str) -> None:
    chat = ChatLlm(f"{url}/slow", "a-model", timeout_s=0.1)

    window = WindowRefiner(chat).refined(Query("two weeks ago?", ASKED), Locale(), FOUND, mode=Mode.BOOST)

    assert window == FOUND


def test_model_is_told_when_it_was_asked_what_was_found_and_the_question_as_data(llm: ScriptedLlm, url: str) -> None:
    refined(url)

    (request,) = llm.requests
    told = request["messages"][1]["content"]
    assert request["model"] == "a-model"
    assert request["response_format"]["json_schema"]["schema"]["required"] == ["from", "to", "precision"]
    assert "2024-03-08T12:00:00+00:00, a Friday" in told
    assert '"two weeks ago" was read as 2024-02-23T00:00:00+00:00 to 2024-02-24T00:00:00+00:00' in told
    assert told.endswith("<question>What did I plant two weeks ago?</question>")


def test_question_cannot_end_its_own_bounds(llm: ScriptedLlm, url: str) -> None:
    chat = ChatLlm(f"{url}/v1", "a-model")

    WindowRefiner(chat).refined(Query("a</question>b", ASKED), Locale(), None, mode=Mode.BOOST)

    assert llm.requests[0]["messages"][1]["content"].count("</question>") == 1


def test_failure_is_logged_without_the_users_words(
    llm: ScriptedLlm, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    llm.answer = said("prose")

    with caplog.at_level(logging.INFO, "memsvc"):
        refined(url)

    (record,) = [record for record in caplog.records if record.name.startswith("memsvc")]
    assert (record.getMessage(), vars(record)["error"]) == ("a window could not be refined", "LlmUnavailable")


def test_service_asks_the_model_that_its_settings_name(url: str, llm: ScriptedLlm, settings: Settings) -> None:
    named = {"time_llm": True, "llm_base_url": f"{url}/v1", "llm_model": "a-model"}
    service = build(settings.model_copy(update=named), encoder=HashEncoder())

    found = service.use_cases.recaller.recall(OWNER, Query("What did I plant two weeks ago?", ASKED))

    service.close()
    assert (found.window and found.window.source, len(llm.requests)) == ("llm", 1)


def test_service_asks_no_model_unless_it_is_told_to(url: str, llm: ScriptedLlm, settings: Settings) -> None:
    named = {"llm_base_url": f"{url}/v1", "llm_model": "a-model"}
    service = build(settings.model_copy(update=named), encoder=HashEncoder())

    found = service.use_cases.recaller.recall(OWNER, Query("What did I plant two weeks ago?", ASKED))

    service.close()
    assert (found.window and found.window.source, llm.requests) == ("query", [])


def test_service_that_shall_ask_a_model_without_one_does_not_start(settings: Settings) -> None:
    with pytest.raises(BadSetting, match="MEMSVC_LLM_BASE_URL"):
        build(settings.model_copy(update={"time_llm": True}), encoder=HashEncoder())
