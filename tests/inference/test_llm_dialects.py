"""What an endpoint takes in a request: found out by asking, and remembered."""

import json
from collections.abc import Iterator
from contextlib import closing

import pytest
from starlette.responses import JSONResponse, Response

from tests.doubles import together
from tests.inference.asking import ASKED, GOOD, SCHEMA, Asking, asked, refused
from tests.llm import PausedTime, ScriptedLlm, raw, said, scripted_llm, status


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


def test_endpoint_without_schemas_is_asked_for_json_and_told_the_schema(llm: ScriptedLlm, asking: Asking) -> None:
    llm.refuses_schema = True
    llm.answers = lambda _body: said(GOOD)
    chat = asking.chat()

    asked(chat)
    asked(chat)

    assert llm.forms == ["json_schema", "json_object", "json_object"]
    told, *rest = llm.requests[1]["messages"]
    assert (told["role"], rest) == ("system", ASKED)
    assert json.dumps(SCHEMA["properties"], separators=(",", ":")) in told["content"]


def test_endpoint_without_json_mode_is_asked_plainly(llm: ScriptedLlm, asking: Asking) -> None:
    llm.refuses_schema = llm.refuses_json_mode = True
    llm.answers = lambda _body: said(f"```json\n{json.dumps(GOOD)}\n```")
    chat = asking.chat()

    contents = [asked(chat), asked(chat)]

    assert contents == [GOOD, GOOD]
    assert llm.forms == ["json_schema", "json_object", "plain", "plain"]


def test_schema_is_put_behind_what_the_system_says(llm: ScriptedLlm, asking: Asking) -> None:
    llm.refuses_schema = True
    llm.answers = lambda _body: said(GOOD)
    system = {"role": "system", "content": "You draw facts."}

    asking.chat().ask([system, *ASKED], name="extract", schema=SCHEMA)

    told, *rest = llm.requests[1]["messages"]
    assert told["content"].startswith("You draw facts.\nAnswer with one JSON object")
    assert rest == ASKED


@pytest.mark.parametrize(
    "refusal",
    [
        status(400, "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."),
        status(404, "No endpoints found that can handle the requested parameters."),
        status(422, "response_format: extra fields not permitted"),
        status(501, "structured output is not implemented"),
        raw("Bad Request", 400),
        JSONResponse({"detail": [{"loc": ["body", "response_format"], "msg": "unexpected"}]}, 422),
    ],
    ids=["openai", "a router", "a field", "not implemented", "no word", "a list of words"],
)
def test_form_is_given_up_in_all_the_ways_it_is_refused(llm: ScriptedLlm, asking: Asking, refusal: Response) -> None:
    llm.then(refusal, said(GOOD))

    assert asking.ask() == GOOD
    assert llm.forms == ["json_schema", "json_object"]


def test_form_is_remembered_by_model(llm: ScriptedLlm, asking: Asking) -> None:
    llm.then(status(400, "response_format"), said(GOOD), said(GOOD), said(GOOD))
    chat = asking.chat(models={"answer": "another"})

    for task in ("extract", "answer", "extract"):
        asked(chat, task)

    assert llm.forms == ["json_schema", "json_object", "json_schema", "json_object"]


def test_form_is_not_given_up_for_one_request_that_is_refused_in_all(llm: ScriptedLlm, asking: Asking) -> None:
    llm.then(*[raw("Bad Request", 400)] * 3, said(GOOD))
    chat = asking.chat()

    refused(chat)
    asked(chat)

    assert llm.forms == ["json_schema", "json_object", "plain", "json_schema"]


def test_form_is_found_by_threads_together(llm: ScriptedLlm, asking: Asking) -> None:
    llm.refuses_schema = True
    llm.answers = lambda _body: said(GOOD)
    chat = asking.chat()

    raised = together(*[lambda: asked(chat)] * 8)
    asked(chat)

    assert raised == []
    assert llm.forms[-1] == "json_object"


def test_model_that_refuses_max_tokens_and_temperature_is_asked_without(llm: ScriptedLlm, asking: Asking) -> None:
    llm.then(
        status(400, "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."),
        status(400, "Unsupported value: 'temperature' does not support 0 with this model."),
    )
    llm.answers = lambda _body: said(GOOD)
    chat = asking.chat()

    asked(chat)
    asked(chat)

    assert len(llm.requests) == 4
    for body in llm.requests[2:]:
        assert (body["max_completion_tokens"], "max_tokens" in body, "temperature" in body) == (4096, False, False)
        assert body["response_format"]["type"] == "json_schema"
