"""Answers that are kept: found again, pending where nothing may be sent, and stood in for towards a service."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from evals.kept import AnswerPending, KeptModel, StandIn
from evals.llm import LLMFailed, Said
from memsvc.errors import LlmUnavailable
from memsvc.inference.llm import ChatLlm, LlmAccess, Reply
from memsvc.inference.llm_cache import ResponseCache
from memsvc.memory import comparing, extraction
from memsvc.memory.extraction import Guidance
from tests.doubles import listening
from tests.llm import completion

MESSAGES = [{"role": "user", "content": "Where does the zebra live?"}]
OTHERS = [{"role": "user", "content": "Where does the yak live?"}]
EXTRACT = extraction.schema_of(Guidance())


class Parrot:
    """Says the same to everything; `asked` counts."""

    def __init__(self, text: str) -> None:
        self.asked = 0
        self._text = text

    def complete(self, messages: Sequence[Any], *, max_tokens: int) -> Said:
        self.asked += 1
        return Said(self._text, 12)


@pytest.fixture
def cache(tmp_path: Path) -> ResponseCache:
    return ResponseCache(tmp_path / "cache")


def test_answer_is_asked_for_once_and_costs_nothing_then(cache: ResponseCache) -> None:
    parrot = Parrot("In Oslo.")
    model = KeptModel(cache, "m", "read", live=parrot)

    said = [model.complete(MESSAGES, max_tokens=512) for _ in range(2)]

    assert said == [Said("In Oslo.", 12), Said("In Oslo.", 0, is_kept=True)]
    assert parrot.asked == 1


@pytest.mark.parametrize(
    ("model", "task", "messages", "max_tokens"),
    [
        pytest.param("other", "read", MESSAGES, 512, id="model"),
        pytest.param("m", "judge", MESSAGES, 512, id="task"),
        pytest.param("m", "read", OTHERS, 512, id="question"),
        pytest.param("m", "read", MESSAGES, 16, id="length"),
    ],
)
def test_answer_to_something_else_is_not_taken(
    cache: ResponseCache, model: str, task: str, messages: list[dict[str, str]], max_tokens: int
) -> None:
    KeptModel(cache, "m", "read", live=Parrot("In Oslo.")).complete(MESSAGES, max_tokens=512)

    said = KeptModel(cache, model, task, live=Parrot("Elsewhere.")).complete(messages, max_tokens=max_tokens)

    assert said == Said("Elsewhere.", 12)


def test_request_that_may_not_be_sent_is_pending_until_a_batch_brings_it(cache: ResponseCache) -> None:
    model = KeptModel(cache, "m", "read", live=None)

    with pytest.raises(AnswerPending) as raised:
        model.complete(MESSAGES, max_tokens=512)

    line = raised.value.request
    assert line == {
        "custom_id": line["custom_id"],
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "m", "messages": MESSAGES, "temperature": 0, "max_tokens": 512},
    }
    cache.keep_completion(line["custom_id"], name="read", model="m", completion=completion(" In Oslo. "))
    assert model.complete(MESSAGES, max_tokens=512) == Said("In Oslo.", 0, is_kept=True)


def test_empty_answer_of_a_batch_fails_unless_there_is_somebody_to_ask(cache: ResponseCache) -> None:
    model = KeptModel(cache, "m", "read", live=None)
    with pytest.raises(AnswerPending) as raised:
        model.complete(MESSAGES, max_tokens=512)
    cache.keep_completion(raised.value.request["custom_id"], name="read", model="m", completion=completion(""))

    with pytest.raises(LLMFailed, match="no text"):
        model.complete(MESSAGES, max_tokens=512)

    assert KeptModel(cache, "m", "read", live=Parrot("In Oslo.")).complete(MESSAGES, max_tokens=512).text == "In Oslo."


def test_failed_call_is_not_kept(cache: ResponseCache) -> None:
    class Broken:
        def complete(self, messages: Sequence[Any], *, max_tokens: int) -> Said:
            raise LLMFailed("timed out")

    with pytest.raises(LLMFailed):
        KeptModel(cache, "m", "read", live=Broken()).complete(MESSAGES, max_tokens=512)

    with pytest.raises(AnswerPending):
        KeptModel(cache, "m", "read", live=None).complete(MESSAGES, max_tokens=512)


def test_stand_in_notes_what_a_service_asks_under_the_key_that_the_service_keeps_it_by(cache: ResponseCache) -> None:
    stand_in = StandIn(cache)

    drawn = _ask(stand_in, "extract", EXTRACT, MESSAGES)

    ((task, line),) = stand_in.pending()
    assert (drawn.content, task) == ({"statements": []}, "extract")
    assert stand_in.pending() == [], "each is told once"
    cache.keep_completion(line["custom_id"], name="extract", model="m", completion=completion({"statements": []}))
    # A service with the same cache finds it by itself.
    assert _ask(None, "extract", EXTRACT, MESSAGES, cache=cache).spent.is_cached


def test_stand_in_says_what_a_batch_brought_and_what_a_model_said_before(cache: ResponseCache) -> None:
    stand_in = StandIn(cache)
    _ask(stand_in, "reconcile", comparing.SCHEMA, MESSAGES)
    _ask(stand_in, "reconcile", comparing.SCHEMA, OTHERS)
    (_, first), (_, second) = stand_in.pending()
    same = {"pairs": [{"pair": 1, "relation": "same", "reason": "it is"}]}
    cache.keep_completion(first["custom_id"], name="reconcile", model="m", completion=completion(same, usage=(70, 7)))
    cache.keep(second["custom_id"], name="reconcile", model="m", content=same, usage={})

    replies = [_ask(stand_in, "reconcile", comparing.SCHEMA, messages) for messages in (MESSAGES, OTHERS)]

    assert [reply.content for reply in replies] == [same, same]
    assert [reply.spent.prompt_tokens for reply in replies] == [70, 0]
    assert stand_in.pending() == []


def test_comparisons_after_a_session_that_nothing_could_be_drawn_of_are_not_asked_for(cache: ResponseCache) -> None:
    stand_in = StandIn(cache)
    _ask(stand_in, "reconcile", comparing.SCHEMA, MESSAGES)
    _ask(stand_in, "extract", EXTRACT, MESSAGES)

    late = _ask(stand_in, "reconcile", comparing.SCHEMA, OTHERS)

    assert [task for task, _ in stand_in.pending()] == ["reconcile", "extract"]
    assert {pair["relation"] for pair in late.content["pairs"]} == {"independent"}
    assert [pair["pair"] for pair in late.content["pairs"]] == list(range(1, comparing.MOST_PAIRS + 1))


def test_stand_in_has_no_answer_to_anything_else(cache: ResponseCache) -> None:
    stand_in = StandIn(cache)

    with pytest.raises(LlmUnavailable, match="There is no answer on record"):
        _ask(stand_in, "window", {"type": "object"}, MESSAGES)

    assert [task for task, _ in stand_in.pending()] == ["window"]


def test_stand_in_may_be_asked_by_several_at_once(cache: ResponseCache) -> None:
    stand_in = StandIn(cache)
    with listening(stand_in.app) as url:

        def ask(number: int) -> None:
            form = {"type": "json_schema", "json_schema": {"name": "extract", "schema": EXTRACT}}
            messages = [{"role": "user", "content": str(number)}]
            body = {"model": "m", "messages": messages, "max_tokens": 5, "response_format": form}
            httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).raise_for_status()

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len({line["custom_id"] for _, line in stand_in.pending()}) == 8


def _ask(
    stand_in: StandIn | None,
    task: str,
    schema: dict[str, Any],
    messages: list[dict[str, str]],
    *,
    cache: ResponseCache | None = None,
) -> Reply:
    """A question as a service asks it, of the stand-in or of its cache alone."""
    if stand_in is None:
        return _asked("http://127.0.0.1:9/v1", task, schema, messages, cache)
    with listening(stand_in.app) as url:
        return _asked(f"{url}/v1", task, schema, messages, cache)


def _asked(
    url: str, task: str, schema: dict[str, Any], messages: list[dict[str, str]], cache: ResponseCache | None
) -> Reply:
    llm = ChatLlm(LlmAccess(url, "m", attempts=1), cache=cache)
    try:
        return llm.ask(messages, name=task, schema=schema)
    finally:
        llm.close()
