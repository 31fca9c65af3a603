"""Questions to a language model that are answered later and for half the price, as files of OpenAI's batch format."""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from memsvc.errors import LlmAnswerInvalid, LlmPending
from memsvc.inference.llm import Llm, LlmAccess, Message, Reply, stored_reply
from memsvc.inference.llm_cache import ResponseCache
from memsvc.inference.llm_reading import Check
from memsvc.inference.llm_requests import Dialect, Question, body_of

_URL = "/v1/chat/completions"


class Taken(NamedTuple):
    """How many answers of a batch were taken, and of each line that was not, why."""

    taken: int
    skipped: list[str]


@dataclass(frozen=True, slots=True)
class _Task:
    name: str
    model: str


class BatchLlm(Llm):
    """Answers from the cache; what is not there is written to a file of requests, once."""

    def __init__(self, access: LlmAccess, cache: ResponseCache, requests: Path) -> None:
        self._access = access
        self._cache = cache
        self._requests = requests
        self._lock = threading.Lock()
        self._written: set[str] | None = None

    def ask(
        self,
        messages: Sequence[Message],
        *,
        name: str,
        schema: Mapping[str, Any],
        check: Check | None = None,
        max_tokens: int = 4096,
    ) -> Reply:
        """Raises LlmPending where the batch has yet to answer, and LlmAnswerInvalid where its answer will not do."""
        question = Question(self._access.model_of(name), tuple(messages), name, schema, max_tokens)
        if (stored := self._cache.find(question.key)) is not None:
            try:
                return stored_reply(question, stored, check)
            except LlmAnswerInvalid:
                # A batch's answer that will not do would come back the same. Any other was taken by another check.
                if stored.content is None:
                    raise
        self._request(question)
        raise LlmPending

    def _request(self, question: Question) -> None:
        line = {"custom_id": question.key, "method": "POST", "url": _URL, "body": body_of(question, Dialect())}
        with self._lock:
            if self._written is None:
                self._requests.parent.mkdir(parents=True, exist_ok=True)
                _drop_broken_end(self._requests)
                self._written = set(_asked(self._requests))
            if question.key in self._written:
                return
            with self._requests.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(line)}\n")
            self._written.add(question.key)


def read_responses(path: Path, cache: ResponseCache, requests: Path) -> Taken:
    """Take a batch's output into the cache. Whether an answer will do is found when it is asked for."""
    asked = _asked(requests)
    taken, skipped = 0, []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                key, completion = _completion(line)
                task = asked[key]
            except ValueError as exc:
                skipped.append(f"line {number}: {exc}")
            except KeyError:
                skipped.append(f"line {number}: no request has its custom_id")
            else:
                cache.keep_completion(key, name=task.name, model=task.model, completion=completion)
                taken += 1
    return Taken(taken, skipped)


def _asked(requests: Path) -> dict[str, _Task]:
    """What has been asked for in a file of requests, by key."""
    if not requests.is_file():
        return {}
    with requests.open("rb") as lines:
        return dict(_task(json.loads(line)) for line in lines if line.strip())


def _task(request: Mapping[str, Any]) -> tuple[str, _Task]:
    body = request["body"]
    form = body.get("response_format", {}).get("json_schema", {})
    return request["custom_id"], _Task(form.get("name", ""), body["model"])


def _completion(line: bytes) -> tuple[str, dict[str, Any]]:
    """The key and the completion in a line of a batch's output; raises ValueError with why there is none."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise ValueError("it is no JSON") from exc
    response = told.get("response") if isinstance(told, dict) else None
    if not isinstance(response, dict):
        raise ValueError("it has no response")
    if response.get("status_code") != 200:
        raise ValueError(f"the endpoint answered {response.get('status_code')}")
    if told.get("error"):
        raise ValueError("the endpoint answered 200 with an error")
    if not isinstance(response.get("body"), dict):
        raise ValueError("its response has no completion")
    return str(told.get("custom_id")), response["body"]


def _drop_broken_end(path: Path) -> None:
    """Remove a last line that a crash has left without its end: the endpoint would refuse the whole file."""
    if not path.is_file():
        return
    with path.open("r+b") as file:
        file.truncate(file.read().rfind(b"\n") + 1)
