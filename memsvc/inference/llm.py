"""A language model behind an OpenAI-compatible endpoint, asked in JSON; what it took is told with the answer."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from memsvc.errors import LlmAnswerCutOff, LlmAnswerInvalid
from memsvc.inference.llm_cache import ResponseCache, Stored
from memsvc.inference.llm_http import Endpoint, LlmAccess
from memsvc.inference.llm_reading import Check, Completion, completion_of, read
from memsvc.inference.llm_requests import Message, Question, repaired

__all__ = ["ChatLlm", "Llm", "LlmAccess", "Message", "Reply", "Spent"]

_CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Spent:
    """What one ask took: the answers that came, with their tokens; attempts that nothing came of are not counted.

    Tokens are estimated where an endpoint counts none. An answer from the cache took nothing now.
    """

    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    is_estimated: bool
    is_cached: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """An object that fits the schema it was asked for, and what it took."""

    content: dict[str, Any]
    spent: Spent


class Llm(Protocol):
    """Answers in JSON."""

    def ask(
        self,
        messages: Sequence[Message],
        *,
        name: str,
        schema: Mapping[str, Any],
        check: Check | None = None,
        max_tokens: int = 4096,
    ) -> Reply:
        """The answer to a task of that name, without keys that the schema does not know.

        `check` raises ValueError, with words that quote no user, for what fits the schema and still will not do.
        Raises LlmUnavailable where nothing came, LlmRefused where the same request would be refused again, LlmPending
        where a batch has yet to answer, LlmAnswerInvalid where an answer will not do also after one repair, and
        LlmAnswerCutOff where it needs more tokens.
        """
        ...


class ChatLlm(Llm):
    """A model as Ollama, vLLM, llama.cpp and OpenAI serve it; may be asked by several threads, and is to be closed."""

    def __init__(
        self,
        access: LlmAccess,
        *,
        cache: ResponseCache | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._access = access
        self._cache = cache
        self._monotonic = monotonic
        self._endpoint = Endpoint(access, monotonic=monotonic, sleep=sleep)

    def ask(
        self,
        messages: Sequence[Message],
        *,
        name: str,
        schema: Mapping[str, Any],
        check: Check | None = None,
        max_tokens: int = 4096,
    ) -> Reply:
        """From the cache where there is one that has it, else from the model."""
        question = Question(self._access.model_of(name), tuple(messages), name, schema, max_tokens)
        if self._cache is None:
            return self._asked(question, check)
        if (reply := _kept(self._cache, question, check)) is not None:
            return reply
        reply = self._asked(question, check)
        usage = {
            "prompt_tokens": reply.spent.prompt_tokens,
            "completion_tokens": reply.spent.completion_tokens,
            "is_estimated": reply.spent.is_estimated,
        }
        self._cache.keep(question.key, name=name, model=question.model, content=reply.content, usage=usage)
        return reply

    def close(self) -> None:
        """Close the connections; whoever still asks gets LlmUnavailable."""
        self._endpoint.close()

    def _asked(self, question: Question, check: Check | None) -> Reply:
        until = self._monotonic() + self._access.deadline_s
        first = self._endpoint.complete(question, until=until)
        spent = spent_on(question, first)
        try:
            return reply_of(question, first, check, spent)
        except LlmAnswerCutOff:
            raise
        except LlmAnswerInvalid as exc:
            again = repaired(question, first.text, exc.reason)
        second = self._endpoint.complete(again, until=until)
        return reply_of(question, second, check, _sum(spent, spent_on(again, second)))


def reply_of(question: Question, completion: Completion, check: Check | None, spent: Spent) -> Reply:
    """The completion, read; raises LlmAnswerInvalid and LlmAnswerCutOff."""
    if completion.is_cut_off:
        raise LlmAnswerCutOff(f"it ends at {question.max_tokens} tokens", spent)
    try:
        return Reply(read(completion, question.schema, check), spent)
    except ValueError as exc:
        raise LlmAnswerInvalid(str(exc), spent) from exc


def stored_reply(question: Question, stored: Stored, check: Check | None) -> Reply:
    """What the cache has for a question; raises LlmAnswerInvalid where it will not do."""
    spent = Spent(question.model, 0, 0, 0, is_estimated=False, is_cached=True)
    if stored.content is None:
        return reply_of(question, completion_of(stored.completion or {}), check, spent)
    try:
        if check is not None:
            check(stored.content)
    except ValueError as exc:
        raise LlmAnswerInvalid(str(exc), spent) from exc
    return Reply(stored.content, spent)


def spent_on(question: Question, completion: Completion) -> Spent:
    """What one completion took, as the endpoint counted or, without that, by the length of the texts."""
    if completion.usage is not None:
        counted = completion.usage
        return Spent(question.model, 1, counted.prompt_tokens, counted.completion_tokens, is_estimated=False)
    return Spent(question.model, 1, _tokens(question.characters), _tokens(len(completion.text)), is_estimated=True)


def _tokens(characters: int) -> int:
    return -(-characters // _CHARACTERS_A_TOKEN)


def _kept(cache: ResponseCache, question: Question, check: Check | None) -> Reply | None:
    stored = cache.find(question.key)
    if stored is None:
        return None
    try:
        return stored_reply(question, stored, check)
    except LlmAnswerInvalid:
        return None


def _sum(one: Spent, other: Spent) -> Spent:
    return Spent(
        one.model,
        one.calls + other.calls,
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
        is_estimated=one.is_estimated or other.is_estimated,
    )
