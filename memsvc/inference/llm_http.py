"""The wire to a language model: an OpenAI-compatible endpoint, with retries, a deadline, and the dialect it speaks."""

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from memsvc.clock import utc_now
from memsvc.errors import LlmRefused, LlmUnavailable
from memsvc.inference.llm_gate import Gate, Outage, Passing
from memsvc.inference.llm_reading import Completion, completion_of
from memsvc.inference.llm_requests import Dialect, Question, body_of, milder

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

_MOST_BYTES = 16 * 2**20
_QUOTED_CHARACTERS = 200
_ADVICE = {
    401: "The language model refuses the API key (401): check MEMSVC_LLM_API_KEY.",
    402: "The language model's account has no credit left (402).",
    403: "The API key may not use the language model (403): check MEMSVC_LLM_API_KEY and MEMSVC_LLM_MODEL.",
    404: "The language model or its path is not there (404): check MEMSVC_LLM_MODEL and MEMSVC_LLM_BASE_URL.",
    405: "There is no language model at that path (405): check MEMSVC_LLM_BASE_URL.",
}
_ABOUT_THE_REQUEST = {400, 413, 422}


@dataclass(frozen=True, slots=True)
class LlmAccess:
    """How to reach a language model. `models` names, by task, those that do it instead of `model`.

    `timeout_s` is for one request, `deadline_s` for one ask with all its attempts and pauses. After `breaker_failures`
    outages in a row nothing is sent for `breaker_s`.
    """

    url: str
    model: str
    api_key: str = field(default="", repr=False)
    models: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 60.0
    deadline_s: float = 180.0
    attempts: int = 4
    concurrency: int = 4
    breaker_failures: int = 5
    breaker_s: float = 30.0
    first_pause_s: float = 1.0

    def model_of(self, name: str) -> str:
        """The model that does a task."""
        return self.models.get(name, self.model)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    content: bytes
    retry_after: str | None


class Endpoint:
    """Completes questions, over all threads through one client, which is made at the first question."""

    def __init__(
        self,
        access: LlmAccess,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._access = access
        self._url = f"{access.url.rstrip('/')}/chat/completions"
        self._monotonic = monotonic
        self._closed = threading.Event()
        # A pause ends when the endpoint is closed: a process that stops does not wait for it.
        self._sleep = sleep or self._closed.wait
        self._lock = threading.Lock()
        self._made: httpx.Client | None = None
        self._dialects: dict[str, Dialect] = {}
        self._gate = Gate(
            concurrency=access.concurrency,
            failures=access.breaker_failures,
            pause_s=access.breaker_s,
            monotonic=monotonic,
        )

    def complete(self, question: Question, *, until: float) -> Completion:
        """The completion of a question, in the dialect that the endpoint is found to speak; raises LlmUnavailable."""
        dialect = self._dialects.get(question.model, Dialect())
        answer = self._answer(question, dialect, until)
        while not 200 <= answer.status < 300:
            said = _said(answer.content)
            simpler = milder(dialect, answer.status, said)
            if simpler is None:
                raise _refusal(answer.status, self._quotable(said))
            dialect = simpler
            answer = self._answer(question, dialect, until)
        # Only what was answered is known to be spoken; requests are refused for other reasons too.
        self._dialects[question.model] = dialect
        return completion_of(json.loads(answer.content))

    def close(self) -> None:
        """Close the connections; whoever still asks gets LlmUnavailable."""
        with self._lock:
            self._closed.set()
            if self._made is not None:
                self._made.close()

    def _answer(self, question: Question, dialect: Dialect, until: float) -> _Answer:
        """What came at last: an answer, or a refusal that another attempt would not change."""
        body = json.dumps(body_of(question, dialect)).encode()
        attempt = 1
        while True:
            try:
                return self._attempted(body, until)
            except Passing as exc:
                if attempt >= self._access.attempts:
                    raise LlmUnavailable(f"The language model does not answer: {exc.reason}.") from exc
                log.info(
                    "the language model is asked again",
                    extra={"task": question.name, "model": question.model, "attempt": attempt, "status": exc.status},
                )
                self._wait(exc, attempt, until)
            attempt += 1

    def _attempted(self, body: bytes, until: float) -> _Answer:
        with self._gate.passed(until=until):
            answer = self._sent(body, until)
        if answer.status in {409, 429}:
            # It is there, but busy: no outage.
            raise self._failure(answer, Passing)
        return answer

    def _wait(self, failure: Passing, attempt: int, until: float) -> None:
        pause_s = failure.pause_s
        if pause_s is None:
            # Jitter is no secret; without it, those who failed together would come back together.
            pause_s = self._access.first_pause_s * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.0)  # noqa: S311
        if self._monotonic() + pause_s >= until:
            raise LlmUnavailable(
                f"The language model does not answer in the time it is given: {failure.reason}."
            ) from failure
        self._sleep(pause_s)

    def _sent(self, body: bytes, until: float) -> _Answer:
        # Most services have no model; those alone that do pay for the import.
        import httpx

        now = self._monotonic()
        if now >= until:
            raise LlmUnavailable("The language model does not answer in the time it is given.")
        ends = min(until, now + self._access.timeout_s)
        try:
            with self._client().stream("POST", self._url, content=body, timeout=ends - now) as came:
                answer = _Answer(came.status_code, self._content(came, ends), came.headers.get("Retry-After"))
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as exc:
            raise LlmUnavailable("The language model's URL is none: check MEMSVC_LLM_BASE_URL.") from exc
        except httpx.HTTPError as exc:
            raise Outage(type(exc).__name__) from exc
        except RuntimeError as exc:
            if not self._closed.is_set():
                raise
            raise _closed() from exc
        if _is_outage(answer):
            raise self._failure(answer, Outage)
        return answer

    def _content(self, came: "httpx.Response", ends: float) -> bytes:
        """The body; the client's own time out is for each part of it, so that a trickle would never end."""
        held = bytearray()
        for part in came.iter_bytes():
            held += part
            if self._monotonic() >= ends:
                raise Outage("its answer takes too long")
            if len(held) > _MOST_BYTES:
                raise Outage("its answer is too large")
        return bytes(held)

    def _client(self) -> "httpx.Client":
        import httpx

        with self._lock:
            if self._closed.is_set():
                raise _closed()
            if self._made is None:
                self._made = httpx.Client(headers=_headers(self._access.api_key))
            return self._made

    def _failure(self, answer: _Answer, kind: type[Passing]) -> Passing:
        said = self._quotable(_said(answer.content))
        told = f"it answers {answer.status}" + (f' and says "{said}"' if said else "")
        return kind(told, status=answer.status, pause_s=_seconds(answer.retry_after))

    def _quotable(self, said: str) -> str:
        """What an endpoint said, short, on one line, and without the key that it may have quoted."""
        key = self._access.api_key.strip()
        shown = said.replace(key, "***") if key else said
        return " ".join(shown.split())[:_QUOTED_CHARACTERS]


def _is_outage(answer: _Answer) -> bool:
    """Whether an answer says that the endpoint is down; a 501 may refuse a part of the request."""
    if 200 <= answer.status < 300:
        # Proxies answer for an endpoint that is down with a page, or with an error under a 200.
        body = _json(answer.content)
        return not isinstance(body, dict) or ("choices" not in body and bool(body.get("error")))
    return answer.status == 408 or (answer.status >= 500 and answer.status != 501)


def _headers(api_key: str) -> dict[str, str]:
    key = api_key.strip()
    if not key.isascii() or not key.isprintable():
        raise LlmUnavailable("The language model's API key has characters that no key has: check MEMSVC_LLM_API_KEY.")
    told = {"Content-Type": "application/json"}
    return {**told, "Authorization": f"Bearer {key}"} if key else told


def _refusal(status: int, said: str) -> LlmUnavailable:
    kind = LlmRefused if status in _ABOUT_THE_REQUEST else LlmUnavailable
    advice = _ADVICE.get(status, f"The language model refuses the request ({status}).")
    if 300 <= status < 400:
        advice = f"The language model is at another address ({status}): check MEMSVC_LLM_BASE_URL."
    return kind(f'{advice} It says "{said}".' if said else advice)


def _said(content: bytes) -> str:
    """The message in an error's body, with the name of the parameter it is about.

    Where a body has another shape nothing is taken of it, since some endpoints send the request back.
    """
    body = _json(content)
    if body is None:
        return content.decode("utf-8", "replace")
    body = body[0] if isinstance(body, list) and body else body
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, str):
        return error
    parts = [error.get(name) for name in ("message", "detail", "param")] if isinstance(error, dict) else []
    return " ".join(part for part in parts if isinstance(part, str))


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _seconds(retry_after: str | None) -> float | None:
    """The pause that a Retry-After asks for, in seconds or as a date; None where it can be read as neither."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - utc_now()).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _closed() -> LlmUnavailable:
    return LlmUnavailable("The service is stopping; the language model is not asked any more.")
