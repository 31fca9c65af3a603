"""A language model behind an OpenAI-compatible endpoint, asked patiently: failures have names, and no call is lost."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx

_ATTEMPTS = 4
_LONGEST_PAUSE_S = 60.0


class LLMFailed(Exception):
    """A call that brought no text, whatever was tried; its text is the reason, fit to be counted."""


@dataclass(frozen=True, slots=True)
class LLMAccess:
    """Where a model is, its name there, and where its answers are kept; without a URL, those are all it gives."""

    url: str | None
    model: str
    api_key: str | None = field(default=None, repr=False)
    cache: Path | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """A model's text, and the tokens of question and answer; one that was kept takes none."""

    text: str
    tokens: int
    is_kept: bool = False


class Model(Protocol):
    """Completes a chat with a text."""

    def complete(self, messages: Sequence[Mapping[str, str]], *, max_tokens: int) -> Said:
        """The model's answer; raises LLMFailed."""
        ...


def body_of(model: str, messages: Sequence[Mapping[str, str]], *, max_tokens: int) -> dict[str, Any]:
    """The body of a request for a text."""
    return {"model": model, "messages": list(messages), "temperature": 0, "max_tokens": max_tokens}


class ChatModel(Model):
    """Asks for one completion at a time, at temperature 0.

    Timeouts, lost connections, 429 and 5xx are tried again at growing intervals, or when the server says.
    """

    def __init__(self, access: LLMAccess, *, timeout_s: float = 120.0, first_pause_s: float = 1.0) -> None:
        self._headers = {"Authorization": f"Bearer {access.api_key}"} if access.api_key else {}
        self._timeout_s = timeout_s
        self._url = f"{(access.url or '').rstrip('/')}/chat/completions"
        self._model = access.model
        self._first_pause_s = first_pause_s

    def complete(self, messages: Sequence[Mapping[str, str]], *, max_tokens: int) -> Said:
        """The model's answer; raises LLMFailed."""
        body = body_of(self._model, messages, max_tokens=max_tokens)
        for attempt in range(_ATTEMPTS):
            is_last = attempt == _ATTEMPTS - 1
            pause = self._first_pause_s * 2**attempt
            try:
                answer = httpx.post(self._url, json=body, headers=self._headers, timeout=self._timeout_s)
            except httpx.TimeoutException as exc:
                if is_last:
                    raise LLMFailed("timed out") from exc
            except (httpx.HTTPError, httpx.InvalidURL) as exc:
                if is_last:
                    raise LLMFailed("cannot be reached") from exc
            else:
                if answer.status_code == 200:
                    return _said(answer)
                if is_last or not (answer.status_code == 429 or answer.status_code >= 500):
                    raise LLMFailed(f"HTTP {answer.status_code}")
                pause = _asked_pause(answer, otherwise=pause)
            time.sleep(min(pause, _LONGEST_PAUSE_S))
        raise AssertionError("the last attempt returns or raises")


def _said(answer: httpx.Response) -> Said:
    try:
        found: dict[str, Any] = answer.json()
        text = found["choices"][0]["message"]["content"]
        usage = found.get("usage") or {}
        tokens = int(usage.get("total_tokens") or 0)
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise LLMFailed("answered with something else than a completion") from exc
    if not isinstance(text, str) or not text.strip():
        raise LLMFailed("answered with no text")
    return Said(text.strip(), tokens)


def _asked_pause(answer: httpx.Response, *, otherwise: float) -> float:
    try:
        return max(0.0, float(answer.headers["Retry-After"]))
    except (KeyError, ValueError):
        return otherwise
