"""Answers that are kept: what they are kept under, what is never kept, and files that broke."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memsvc.errors import LlmAnswerCutOff, LlmAnswerInvalid
from memsvc.inference.llm import ChatLlm, LlmAccess, Message, Spent
from memsvc.inference.llm_cache import ResponseCache
from memsvc.inference.llm_requests import request_key
from tests.doubles import together
from tests.llm import Body, PausedTime, ScriptedLlm, completion, cut_off, said, scripted_llm

ASKED: list[Message] = [{"role": "user", "content": "I live in Bonn."}]
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
GOOD: Body = {"ok": True}
OTHER: Body = {"ok": False}


@pytest.fixture
def llm() -> Iterator[ScriptedLlm]:
    with scripted_llm() as scripted:
        scripted.answers = lambda _body: said(GOOD, usage=(20, 3))
        yield scripted


@pytest.fixture
def cache(tmp_path: Path) -> ResponseCache:
    return ResponseCache(tmp_path / "answers")


@pytest.fixture
def chat(llm: ScriptedLlm, cache: ResponseCache) -> Iterator[ChatLlm]:
    time = PausedTime()
    chat = ChatLlm(LlmAccess(llm.url, "a-model"), cache=cache, monotonic=time.monotonic, sleep=time.sleep)
    yield chat
    chat.close()


def key_of(**other: Any) -> str:
    asked = {"name": "extract", "schema": SCHEMA, "max_tokens": 4096, **other}
    return request_key(asked.pop("model", "a-model"), asked.pop("messages", ASKED), **asked)


def ask(chat: ChatLlm, **options: Any) -> Body:
    return chat.ask(ASKED, name="extract", schema=SCHEMA, **options).content


def refuse(_content: Body) -> None:
    raise ValueError("a quote is not in the text")


def files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "answers").rglob("*") if path.is_file()]


def test_same_question_is_asked_once_and_costs_nothing_then(llm: ScriptedLlm, chat: ChatLlm) -> None:
    first, second = (chat.ask(ASKED, name="extract", schema=SCHEMA) for _ in range(2))

    assert (first.content, second.content, len(llm.requests)) == (GOOD, GOOD, 1)
    assert first.spent == Spent("a-model", 1, 20, 3, is_estimated=False)
    assert second.spent == Spent("a-model", 0, 0, 0, is_estimated=False, is_cached=True)


def test_answer_is_one_file_under_its_key(chat: ChatLlm, tmp_path: Path) -> None:
    ask(chat)

    (path,) = files(tmp_path)
    key = key_of()
    assert path == tmp_path / "answers" / key[:2] / f"{key}.json"
    assert json.loads(path.read_text()) == {
        "key": key,
        "name": "extract",
        "model": "a-model",
        "content": GOOD,
        "usage": {"prompt_tokens": 20, "completion_tokens": 3, "is_estimated": False},
    }


@pytest.mark.parametrize(
    "other",
    [
        {"model": "another"},
        {"messages": [{"role": "system", "content": "I live in Bonn."}]},
        {"messages": ASKED * 2},
        {"name": "answer"},
        {"schema": {}},
        {"max_tokens": 64},
    ],
    ids=["model", "role", "messages", "name", "schema", "limit"],
)
def test_key_is_another_for_another_question(other: dict[str, Any]) -> None:
    assert key_of(**other) != key_of()


def test_key_does_not_hang_on_the_order_in_an_object() -> None:
    reordered = [{"content": "I live in Bonn.", "role": "user"}]

    assert key_of(messages=reordered, schema=dict(reversed(SCHEMA.items()))) == key_of()


def test_key_is_the_same_from_release_to_release() -> None:
    told = '["a-model",[{"content":"hi","role":"user"}],"extract",{},64]'

    key = request_key("a-model", [{"role": "user", "content": "hi"}], name="extract", schema={}, max_tokens=64)

    # What is paid for is lost when this changes: printf '%s' … | sha256sum
    assert key == "6d3ac54684d5bd574a251ebbc41809bffd2fea1241a123175baf6fb7545ef8cf", told


def test_key_does_not_hang_on_the_form_that_was_found(llm: ScriptedLlm, chat: ChatLlm) -> None:
    llm.refuses_schema = True

    contents = [ask(chat), ask(chat)]

    assert (contents, len(llm.requests)) == ([GOOD, GOOD], 2)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"key": "another", "content": {"ok": true}}', '{"content": {"ok": true}}', "[" * 200_000],
    ids=["empty", "cut", "a list", "null", "another key", "no key", "nested"],
)
def test_file_that_broke_counts_as_missing(llm: ScriptedLlm, chat: ChatLlm, tmp_path: Path, text: str) -> None:
    ask(chat)
    (path,) = files(tmp_path)
    path.write_text(text)

    contents = [ask(chat), ask(chat)]

    assert (contents, len(llm.requests)) == ([GOOD, GOOD], 2)


@pytest.mark.parametrize("content", [None, [], "ok"], ids=["null", "a list", "a text"])
def test_file_without_an_object_counts_as_missing(
    llm: ScriptedLlm, chat: ChatLlm, tmp_path: Path, content: object
) -> None:
    ask(chat)
    (path,) = files(tmp_path)
    path.write_text(json.dumps({"key": key_of(), "content": content}))

    ask(chat)

    assert len(llm.requests) == 2


def test_file_that_is_no_text_counts_as_missing(chat: ChatLlm, tmp_path: Path) -> None:
    ask(chat)
    (path,) = files(tmp_path)
    path.write_bytes(b"\xff\xfe\xff")

    assert ask(chat) == GOOD


def test_answer_that_is_not_accepted_any_more_is_asked_for_again(llm: ScriptedLlm, chat: ChatLlm) -> None:
    ask(chat)
    llm.then(said(OTHER))

    def check(content: Body) -> None:
        if content == GOOD:
            raise ValueError("no")

    contents = [ask(chat, check=check), ask(chat)]

    assert contents == [OTHER, OTHER]


def test_answers_that_will_not_do_are_not_kept(llm: ScriptedLlm, chat: ChatLlm, tmp_path: Path) -> None:
    llm.then(said("prose"), said("prose"), cut_off("{"))

    for kind in (LlmAnswerInvalid, LlmAnswerCutOff):
        with pytest.raises(kind):
            ask(chat)
    with pytest.raises(LlmAnswerInvalid):
        ask(chat, check=refuse)

    assert files(tmp_path) == []


def test_completion_of_a_batch_is_read_when_it_is_asked_for(
    llm: ScriptedLlm, chat: ChatLlm, cache: ResponseCache
) -> None:
    cache.keep_completion(
        key_of(), name="extract", model="a-model", completion=completion(f"Sure: {json.dumps(OTHER)}")
    )

    reply = chat.ask(ASKED, name="extract", schema=SCHEMA)

    assert (reply.content, reply.spent.is_cached, llm.requests) == (OTHER, True, [])


@pytest.mark.parametrize(
    "held", [completion("prose"), completion('{"ok": true}', finish_reason="length"), {}], ids=["prose", "cut", "none"]
)
def test_completion_of_a_batch_that_will_not_do_is_asked_for_now(
    llm: ScriptedLlm, chat: ChatLlm, cache: ResponseCache, held: Body
) -> None:
    cache.keep_completion(key_of(), name="extract", model="a-model", completion=held)

    contents = [ask(chat), ask(chat)]

    assert (contents, len(llm.requests)) == ([GOOD, GOOD], 1)


def test_answer_is_given_also_where_it_cannot_be_kept(
    llm: ScriptedLlm, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "answers").write_text("a file stands in the folder's place")
    chat = ChatLlm(LlmAccess(llm.url, "a-model"), cache=ResponseCache(tmp_path / "answers"))

    with caplog.at_level(logging.WARNING, "memsvc"):
        content = ask(chat)

    chat.close()
    assert content == GOOD
    assert caplog.records[-1].getMessage() == "an answer cannot be cached"


def test_nothing_but_whole_answers_is_left_by_many_threads(chat: ChatLlm, tmp_path: Path) -> None:
    raised = together(*[lambda: ask(chat)] * 8)

    assert raised == []
    assert [json.loads(path.read_text())["content"] for path in files(tmp_path)] == [GOOD]
