"""A language model that is asked: what it answers, what is asked again, and what that took."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from memsvc.errors import LlmAnswerCutOff, LlmAnswerInvalid, LlmUnavailable
from memsvc.inference.llm import ChatLlm, LlmAccess, Message, Reply, Spent
from tests.llm import Body, PausedTime, ScriptedLlm, cut_off, empty, said, scripted_llm, status

ASKED: list[Message] = [
    {"role": "system", "content": "You draw facts."},
    {"role": "user", "content": "I live in Bonn."},
]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"facts": {"type": "array", "items": {"type": "string"}}},
    "required": ["facts"],
    "additionalProperties": False,
}
GOOD: Body = {"facts": ["lives in Bonn"]}


@pytest.fixture
def llm() -> Iterator[ScriptedLlm]:
    with scripted_llm() as scripted:
        yield scripted


@pytest.fixture
def chat(llm: ScriptedLlm) -> Iterator[ChatLlm]:
    time = PausedTime()
    asking = ChatLlm(LlmAccess(llm.url, "a-model", "sk-secret"), monotonic=time.monotonic, sleep=time.sleep)
    yield asking
    asking.close()


def ask(chat: ChatLlm, **options: Any) -> Reply:
    return chat.ask(ASKED, name="extract", schema=SCHEMA, **options)


def refuse(_content: dict[str, Any]) -> None:
    raise ValueError("a quote is not in the text")


def test_answer_comes_with_what_it_took(llm: ScriptedLlm, chat: ChatLlm) -> None:
    llm.then(said(GOOD, usage=(120, 7)))

    reply = ask(chat)

    assert reply == Reply(GOOD, Spent("a-model", 1, 120, 7, is_estimated=False))


def test_request_has_the_schema_the_limit_no_chance_and_the_key(llm: ScriptedLlm, chat: ChatLlm) -> None:
    llm.then(said(GOOD))

    ask(chat, max_tokens=300)

    assert llm.requests == [
        {
            "model": "a-model",
            "messages": ASKED,
            "temperature": 0,
            "max_tokens": 300,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "extract", "schema": SCHEMA, "strict": True},
            },
        }
    ]
    assert llm.headers[0]["authorization"] == "Bearer sk-secret"


def test_endpoint_without_a_key_is_sent_none(llm: ScriptedLlm) -> None:
    llm.then(said(GOOD))
    chat = ChatLlm(LlmAccess(llm.url, "a-model"))

    ask(chat)

    chat.close()
    assert "authorization" not in llm.headers[0]


def test_task_is_done_by_the_model_that_is_named_for_it(llm: ScriptedLlm) -> None:
    llm.answers = lambda _body: said(GOOD)
    chat = ChatLlm(LlmAccess(llm.url, "a-model", models={"extract": "another"}))

    replies = [chat.ask(ASKED, name=name, schema=SCHEMA) for name in ("extract", "answer")]

    chat.close()
    assert [reply.spent.model for reply in replies] == ["another", "a-model"]
    assert [body["model"] for body in llm.requests] == ["another", "a-model"]


def test_tokens_that_the_endpoint_does_not_count_are_estimated(llm: ScriptedLlm, chat: ChatLlm) -> None:
    llm.then(said(GOOD, usage=None))

    spent = ask(chat).spent

    # About four characters a token, of the messages with the schema and of the answer.
    characters = 30 + len(json.dumps(SCHEMA, separators=(",", ":")))
    assert spent == Spent("a-model", 1, -(-characters // 4), -(-len(json.dumps(GOOD)) // 4), is_estimated=True)


@pytest.mark.parametrize(
    "usage",
    [None, [], {"prompt_tokens": 3}, {"prompt_tokens": "3", "completion_tokens": 1}, {"prompt_tokens": -1}],
    ids=["null", "a list", "half", "text", "negative"],
)
def test_usage_that_counts_nothing_is_estimated(llm: ScriptedLlm, chat: ChatLlm, usage: object) -> None:
    llm.then(JSONResponse({"choices": [{"message": {"content": json.dumps(GOOD)}}], "usage": usage}))

    assert ask(chat).spent.is_estimated


def message(**fields: object) -> Response:
    return JSONResponse({"choices": [{"message": {"role": "assistant", **fields}, "finish_reason": "stop"}]})


BAD: dict[str, tuple[Response, str]] = {
    "empty": (empty(), "it is empty"),
    "blank": (said(" \n"), "it is empty"),
    "no content": (said(None), "it is empty"),
    "content of another type": (message(content=["x"]), "its content is no text"),
    "a refusal": (said(None, refusal="I cannot help"), "it is a refusal"),
    "held back": (said("", finish_reason="content_filter"), "it is a refusal"),
    "no choices": (JSONResponse({"choices": []}), "it has no choice"),
    "no message": (JSONResponse({"choices": [{}]}), "it has no choice"),
    "nothing of a completion": (JSONResponse({}), "it has no choice"),
    "prose": (said("He lives in Bonn."), "it has no JSON object"),
    "broken": (said('{"facts": [], "x'), "it is broken JSON"),
    "another schema": (said({"statements": []}), "it lacks facts"),
    "a wrong type": (said({"facts": [1]}), "it.facts[0] is not of type string"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD)
def test_bad_answer_is_repaired_once(llm: ScriptedLlm, chat: ChatLlm, bad: Response, reason: str) -> None:
    llm.then(bad, said(GOOD))

    reply = ask(chat)

    *first, answered, wrong = llm.requests[1]["messages"]
    assert (reply.content, reply.spent.calls) == (GOOD, 2)
    assert first == ASKED
    assert (answered["role"], wrong["role"]) == ("assistant", "user")
    assert answered["content"]
    assert reason in wrong["content"]
    assert '"required":["facts"]' in wrong["content"]


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD)
def test_answer_that_is_bad_twice_is_invalid_and_its_cost_is_told(
    llm: ScriptedLlm, chat: ChatLlm, bad: Response, reason: str
) -> None:
    llm.then(bad, bad)

    with pytest.raises(LlmAnswerInvalid) as raised:
        ask(chat)

    assert reason in raised.value.reason
    assert isinstance(raised.value.spent, Spent)
    assert (raised.value.spent.calls, len(llm.requests)) == (2, 2)


def test_answer_that_the_caller_does_not_accept_is_repaired(llm: ScriptedLlm, chat: ChatLlm) -> None:
    llm.then(said({"facts": ["lives in Rome"]}), said(GOOD))

    def check(content: dict[str, Any]) -> None:
        if content != GOOD:
            raise ValueError("a quote is not in the text")

    reply = ask(chat, check=check)

    assert reply.content == GOOD
    assert llm.requests[1]["messages"][-2]["content"] == '{"facts": ["lives in Rome"]}'
    assert "a quote is not in the text" in llm.requests[1]["messages"][-1]["content"]


def test_answer_that_the_caller_never_accepts_is_invalid(llm: ScriptedLlm, chat: ChatLlm) -> None:
    llm.answers = lambda _body: said(GOOD)

    with pytest.raises(LlmAnswerInvalid, match="a quote is not in the text"):
        ask(chat, check=refuse)

    assert len(llm.requests) == 2


def test_usage_of_both_turns_is_added(llm: ScriptedLlm, chat: ChatLlm) -> None:
    llm.then(said("prose", usage=(100, 5)), said(GOOD, usage=(130, 8)))

    assert ask(chat).spent == Spent("a-model", 2, 230, 13, is_estimated=False)


def test_sum_is_estimated_where_one_turn_is(llm: ScriptedLlm, chat: ChatLlm) -> None:
    llm.then(said("prose", usage=None), said(GOOD, usage=(130, 8)))

    assert ask(chat).spent.is_estimated


@pytest.mark.parametrize("text", ['{"facts": []}', '{"facts": ["liv', ""], ids=["whole", "broken", "nothing"])
def test_answer_that_is_cut_off_is_not_repaired(llm: ScriptedLlm, chat: ChatLlm, text: str) -> None:
    llm.then(cut_off(text))

    with pytest.raises(LlmAnswerCutOff) as raised:
        ask(chat, max_tokens=64)

    assert raised.value.reason == "it ends at 64 tokens"
    assert raised.value.spent == Spent("a-model", 1, 100, 10, is_estimated=False)
    assert len(llm.requests) == 1


def test_repair_that_is_cut_off_is_cut_off(llm: ScriptedLlm, chat: ChatLlm) -> None:
    llm.then(said("prose"), cut_off('{"facts": ["'))

    with pytest.raises(LlmAnswerCutOff) as raised:
        ask(chat)

    assert raised.value.spent == Spent("a-model", 2, 200, 20, is_estimated=False)


def test_repair_that_nothing_comes_of_is_an_outage(llm: ScriptedLlm, chat: ChatLlm) -> None:
    llm.then(said("prose"))
    llm.answers = lambda _body: status(500)

    with pytest.raises(LlmUnavailable):
        ask(chat)


def test_keys_that_nobody_asked_for_are_dropped(llm: ScriptedLlm, chat: ChatLlm) -> None:
    llm.then(said({**GOOD, "comment": "I hope this helps."}))

    assert ask(chat).content == GOOD


def test_logs_hold_neither_words_nor_the_key(llm: ScriptedLlm, chat: ChatLlm, caplog: pytest.LogCaptureFixture) -> None:
    llm.then(status(500, "sk-secret lives in Bonn"), said("He lives in Bonn."), said("He lives in Bonn."))

    with caplog.at_level(logging.DEBUG, "memsvc"), pytest.raises(LlmAnswerInvalid):
        ask(chat)

    records = [record for record in caplog.records if record.name.startswith("memsvc")]
    assert [record.getMessage() for record in records] == ["the language model is asked again"]
    assert not any(word in str(vars(record)) for record in records for word in ("Bonn", "sk-secret"))
