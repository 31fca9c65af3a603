"""The language models that the settings name, if any: asked at once, in haste, or by a batch that answers later."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from memsvc.errors import BadSetting
from memsvc.inference.llm import ChatLlm, LlmAccess
from memsvc.inference.llm_batch import BatchLlm, read_responses
from memsvc.inference.llm_cache import ResponseCache
from memsvc.settings import Settings


def has_language_model(settings: Settings) -> bool:
    """Whether the settings name a language model; raises BadSetting when they name half of one."""
    if bool(settings.llm_base_url) != bool(settings.llm_model):
        raise BadSetting("A language model needs both MEMSVC_LLM_BASE_URL and MEMSVC_LLM_MODEL, or neither.")
    return bool(settings.llm_base_url)


def language_model(settings: Settings) -> ChatLlm | BatchLlm | None:
    """The language model that the settings name, if any; with a batch file, one that answers later."""
    if not has_language_model(settings):
        return None
    cache = ResponseCache(settings.llm_cache) if settings.llm_cache is not None else None
    if settings.llm_requests is None:
        return ChatLlm(_access(settings), cache=cache)
    if cache is None:
        raise BadSetting("MEMSVC_LLM_REQUESTS needs MEMSVC_LLM_CACHE: the answers of the batch are kept there.")
    return BatchLlm(_access(settings), cache, settings.llm_requests)


def hasty_model(settings: Settings) -> ChatLlm | None:
    """The model that reads questions' windows, if it is to: a recall waits for it, so it has one short attempt."""
    if not settings.time_llm:
        return None
    if not has_language_model(settings):
        raise BadSetting("MEMSVC_TIME_LLM needs a language model: set MEMSVC_LLM_BASE_URL and MEMSVC_LLM_MODEL.")
    seconds = settings.time_llm_timeout_s
    return ChatLlm(replace(_access(settings), timeout_s=seconds, deadline_s=seconds, attempts=1))


def read_answers(settings: Settings, responses: Path) -> tuple[int, Sequence[str]]:
    """Read a batch's answers into the cache; how many, and why others were left out. Raises BadSetting."""
    if settings.llm_cache is None or settings.llm_requests is None:
        raise BadSetting("Answers of a batch need MEMSVC_LLM_CACHE and the file of its questions.")
    try:
        taken, skipped = read_responses(responses, ResponseCache(settings.llm_cache), settings.llm_requests)
    except OSError as exc:
        raise BadSetting(f"The answers of the batch cannot be read: {exc}.") from exc
    return taken, skipped


def _access(settings: Settings) -> LlmAccess:
    pairs = (pair.partition("=") for pair in settings.llm_task_models.split(",") if pair)
    return LlmAccess(
        settings.llm_base_url,
        settings.llm_model,
        api_key=settings.llm_api_key.get_secret_value(),
        models={task.strip(): model.strip() for task, _, model in pairs},
        timeout_s=settings.llm_timeout_s,
        deadline_s=settings.llm_deadline_s,
        attempts=settings.llm_attempts,
        concurrency=settings.llm_concurrency,
    )
