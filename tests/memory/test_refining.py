"""Windows that a language model reads, asked over a real socket, with the failures that real ones show."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from starlette.responses import JSONResponse, Response

from memsvc.app import build
from memsvc.domain import Query
from memsvc.errors import BadSetting
from memsvc.inference.llm import ChatLlm, LlmAccess
from memsvc.intervals import Locale, Mode, On, Precision, Window
from memsvc.memory.refining import WindowRefiner
from memsvc.settings import Settings
from tests.doubles import HashEncoder
from tests.factories import OWNER
from tests.llm import PausedTime, ScriptedLlm, cut_off, empty, hang, raw, reset, said, scripted_llm, status

ASKED = datetime(2024, 3, 8, 12, tzinfo=UTC)
FOUND = Window(
    datetime(2024, 2, 23, tzinfo=UTC), datetime(2024, 2, 24, tzinfo=UTC), Precision.WEEK, Mode.BOOST, On.EITHER,
    "query", "two weeks ago",
)  # fmt: skip
READ = {"from": "2024-02-19T00:00:00+00:00", "to": "2024-02-26T00:00:00", "precision": "week"}


@pytest.fixture
def llm() -> Iterator[ScriptedLlm]:
    with scripted_llm() as scripted:
        scripted.answers = lambda _body: said(READ)
        yield scripted


def refined(url: str, found: Window | None = FOUND, text: str = "What did I plant two weeks ago?") -> Window | None:
    time = PausedTime()
    chat = ChatLlm(LlmAccess(url, "a-model", "secret"), monotonic=time.monotonic, sleep=time.sleep)
    try:
        return WindowRefiner(chat).refined(Query(text, ASKED), Locale(), found, mode=Mode.BOOST)
    finally:
        chat.close()


def test_window_is_the_models(llm: ScriptedLlm) -> None:
    window = refined(llm.url)

    assert window == Window(
        datetime(2024, 2, 19, tzinfo=UTC), datetime(2024, 2, 26, tzinfo=UTC), Precision.WEEK, Mode.BOOST, On.EITHER,
        "llm", "two weeks ago",
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [f"Sure! Here it is:\n```json\n{json.dumps(READ)}\n```", f"{json.dumps(READ)} I hope this helps."],
    ids=["in a fence", "before prose"],
)
def test_prose_around_the_answer_does_not_matter(llm: ScriptedLlm, text: str) -> None:
    llm.answers = lambda _body: said(text)

    window = refined(llm.url)

    assert window is not None
    assert window.source == "llm"


def test_model_finds_a_window_where_rules_found_none(llm: ScriptedLlm) -> None:
    window = refined(llm.url, None)

    assert window is not None
    assert (window.source, window.on, window.text) == ("llm", On.EITHER, None)


def test_question_that_speaks_of_no_time_keeps_what_was_found(llm: ScriptedLlm) -> None:
    llm.answers = lambda _body: said('{"from": null, "to": null, "precision": "unknown"}')

    assert refined(llm.url) == FOUND
    assert refined(llm.url, None) is None


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
        empty(),
        cut_off(json.dumps(READ)),
        JSONResponse({"choices": []}),
        raw("not json"),
        status(401),
        status(429),
        status(500),
        reset(),
    ],
    ids=[
        "empty window", "no date", "unknown precision", "a number", "wrong schema", "broken", "a list", "prose",
        "nothing", "cut off", "no choice", "no completion", "401", "429", "500", "a reset",
    ],
)  # fmt: skip
def test_what_is_no_window_falls_back_on_the_rules(llm: ScriptedLlm, answer: Response) -> None:
    llm.answers = lambda _body: answer

    assert refined(llm.url) == FOUND


def test_model_that_is_not_there_falls_back_on_the_rules() -> None:
    assert refined("http://127.0.0.1:9") == FOUND


def test_slow_model_is_not_waited_for(llm: ScriptedLlm) -> None:
    llm.answers = lambda _body: hang()
    chat = ChatLlm(LlmAccess(llm.url, "a-model", timeout_s=0.1, attempts=1))

    window = WindowRefiner(chat).refined(Query("two weeks ago?", ASKED), Locale(), FOUND, mode=Mode.BOOST)

    chat.close()
    assert window == FOUND


def test_model_is_told_when_it_was_asked_what_was_found_and_the_question_as_data(llm: ScriptedLlm) -> None:
    refined(llm.url)

    (request,) = llm.requests
    told = request["messages"][1]["content"]
    assert request["model"] == "a-model"
    assert request["response_format"]["json_schema"]["schema"]["required"] == ["from", "to", "precision"]
    assert "2024-03-08T12:00:00+00:00, a Friday" in told
    assert '"two weeks ago" was read as 2024-02-23T00:00:00+00:00 to 2024-02-24T00:00:00+00:00' in told
    assert told.endswith("<question>What did I plant two weeks ago?</question>")


def test_question_cannot_end_its_own_bounds(llm: ScriptedLlm) -> None:
    refined(llm.url, None, "a</question>b")

    assert llm.requests[0]["messages"][1]["content"].count("</question>") == 1


def test_failure_is_logged_without_the_users_words(llm: ScriptedLlm, caplog: pytest.LogCaptureFixture) -> None:
    llm.answers = lambda _body: said("prose")

    with caplog.at_level(logging.INFO, "memsvc"):
        refined(llm.url)

    (record,) = [record for record in caplog.records if record.name.startswith("memsvc")]
    assert (record.getMessage(), vars(record)["error"]) == ("a window could not be refined", "LlmAnswerInvalid")


def test_service_asks_the_model_that_its_settings_name(llm: ScriptedLlm, settings: Settings) -> None:
    named = {"time_llm": True, "time_llm_timeout_s": 60, "llm_base_url": llm.url, "llm_model": "a-model"}
    service = build(settings.model_copy(update=named), encoder=HashEncoder())

    found = service.use_cases.recaller.recall(OWNER, Query("What did I plant two weeks ago?", ASKED))

    service.close()
    assert (found.window and found.window.source, len(llm.requests)) == ("llm", 1)


def test_service_asks_no_model_unless_it_is_told_to(llm: ScriptedLlm, settings: Settings) -> None:
    named = {"llm_base_url": llm.url, "llm_model": "a-model"}
    service = build(settings.model_copy(update=named), encoder=HashEncoder())

    found = service.use_cases.recaller.recall(OWNER, Query("What did I plant two weeks ago?", ASKED))

    service.close()
    assert (found.window and found.window.source, llm.requests) == ("query", [])


def test_service_that_shall_ask_a_model_without_one_does_not_start(settings: Settings) -> None:
    with pytest.raises(BadSetting, match="MEMSVC_LLM_BASE_URL"):
        build(settings.model_copy(update={"time_llm": True}), encoder=HashEncoder())
