"""Answers that are kept on disk: of reader and judge, and, where nothing may be sent, of the service under test too."""

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.responses import JSONResponse

from evals.llm import LLMFailed, Model, Said, body_of
from memsvc.inference.llm_cache import ResponseCache, Stored
from memsvc.inference.llm_reading import completion_of
from memsvc.inference.llm_requests import Question
from memsvc.memory import comparing, extracting, reconciling

# A line of a batch's input, as OpenAI's format has it.
RequestLine = dict[str, Any]

READ, JUDGE = "read", "judge"
# What each task's requests are called in reports.
TASKS = {extracting.TASK: "extraction", reconciling.TASK: "comparison", READ: "reading", JUDGE: "judging"}


class AnswerPending(Exception):
    """Nothing may be sent, and the answer is not there: `request` would bring it."""

    def __init__(self, task: str, request: RequestLine) -> None:
        super().__init__(task)
        self.task = task
        self.request = request


class KeptModel(Model):
    """A model for one task whose answers are kept; without a `live` one, what is not there is pending."""

    def __init__(self, cache: ResponseCache, model: str, task: str, *, live: Model | None) -> None:
        self._cache = cache
        self._model = model
        self._task = task
        self._live = live

    def complete(self, messages: Sequence[Mapping[str, str]], *, max_tokens: int) -> Said:
        """The answer that is kept, or the model's; raises LLMFailed and AnswerPending."""
        question = Question(self._model, tuple(messages), self._task, {}, max_tokens)
        stored = self._cache.find(question.key)
        if stored is not None and ((text := _text(stored)) or self._live is None):
            if not text:
                raise LLMFailed("answered with no text")
            return Said(text, 0, is_kept=True)
        if self._live is None:
            body = body_of(self._model, messages, max_tokens=max_tokens)
            raise AnswerPending(self._task, request_line(question.key, body))
        said = self._live.complete(messages, max_tokens=max_tokens)
        usage = {"total_tokens": said.tokens}
        self._cache.keep(question.key, name=self._task, model=self._model, content={"text": said.text}, usage=usage)
        return said


class StandIn:
    """An endpoint for a service under test that says what is kept and sends nothing on.

    What is not there is noted as pending, and answered so that the service goes on and everything else that it will ask
    is noted too: nothing is drawn, and no two statements bear on each other. Which statements are compared depends on
    what is drawn alone, so that comparisons are the very ones of a run with a model; after a session of which nothing
    could be drawn they would not be, and are not noted.
    """

    def __init__(self, cache: ResponseCache) -> None:
        self._cache = cache
        self._lock = threading.Lock()
        self._pending: list[tuple[str, RequestLine]] = []
        self._has_gaps = False
        self.app = FastAPI()
        self.app.add_api_route("/v1/chat/completions", self._answer, methods=["POST"], response_model=None)

    def pending(self) -> list[tuple[str, RequestLine]]:
        """The task and the request of each answer that was missing since this was last asked for."""
        with self._lock:
            noted, self._pending = self._pending, []
        return noted

    def _answer(self, body: dict[str, Any]) -> dict[str, Any] | JSONResponse:
        question = question_of(body)
        stored = self._cache.find(question.key)
        if stored is not None:
            return stored.completion or _completion(stored.content or {})
        with self._lock:
            is_moot = question.name == reconciling.TASK and self._has_gaps
            self._has_gaps |= question.name == extracting.TASK
            if not is_moot:
                self._pending.append((question.name, request_line(question.key, body)))
        if question.name == extracting.TASK:
            return _completion({"statements": []})
        if question.name == reconciling.TASK:
            return _completion({"pairs": _INDEPENDENT})
        return JSONResponse({"error": {"message": "There is no answer on record."}}, 503)


_INDEPENDENT = [
    {"pair": number, "relation": "independent", "reason": "not asked yet"}
    for number in range(1, comparing.MOST_PAIRS + 1)
]


def question_of(body: Mapping[str, Any]) -> Question:
    """The question that a request's body asks; what it is kept under follows from it."""
    form = body["response_format"]["json_schema"]
    return Question(body["model"], tuple(body["messages"]), form["name"], form["schema"], body["max_tokens"])


def request_line(key: str, body: Mapping[str, Any]) -> RequestLine:
    """A request as a line of a batch's input."""
    return {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body}


def _text(stored: Stored) -> str:
    if stored.content is not None:
        return str(stored.content.get("text", "")).strip()
    return completion_of(stored.completion or {}).text.strip()


def _completion(content: Mapping[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": json.dumps(content)}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
