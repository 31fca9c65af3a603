"""A language model behind an OpenAI-compatible endpoint, asked once, in JSON; no answer is better than a late one."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from memsvc.errors import LlmUnavailable

_OBJECT = re.compile(r"\{.*\}", re.DOTALL)


class Llm(Protocol):
    """Answers in JSON."""

    def ask(self, messages: Sequence[Mapping[str, str]], *, name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        """The object that the model answers with, which may not keep to the schema; raises LlmUnavailable."""
        ...


class ChatLlm(Llm):
    """A model at `url`, as Ollama, vLLM, llama.cpp and OpenAI serve it."""

    def __init__(self, url: str, model: str, *, api_key: str = "", timeout_s: float = 5.0) -> None:
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout_s = timeout_s
        self._url = f"{url.rstrip('/')}/chat/completions"
        self._model = model

    def ask(self, messages: Sequence[Mapping[str, str]], *, name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        """One request at temperature 0, with the schema for those endpoints that keep to one."""
        # Most services have no model; those alone that do pay for the import.
        import httpx

        form = {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}
        body = {"model": self._model, "messages": list(messages), "temperature": 0, "response_format": form}
        try:
            answer = httpx.post(self._url, json=body, headers=self._headers, timeout=self._timeout_s)
            answer.raise_for_status()
            return _object(answer.json()["choices"][0]["message"]["content"])
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise LlmUnavailable(f"The language model does not answer: {type(exc).__name__}.") from exc
        except (ValueError, LookupError, TypeError, AttributeError) as exc:
            raise LlmUnavailable("The language model answers with something else than JSON.") from exc


def _object(text: str) -> dict[str, Any]:
    """The object in a text, also one with prose or a fence around it; raises ValueError."""
    found = _OBJECT.search(text)
    held = json.loads(found[0] if found else text)
    if not isinstance(held, dict):
        raise ValueError("no object")
    return held
