"""A language model asked in a workspace's name: within its tokens of the day, and counted."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from memsvc.errors import BudgetUsedUp, LlmAnswerCutOff, LlmAnswerInvalid, LlmUnavailable
from memsvc.inference.llm import ChatLlm, LlmAccess
from memsvc.inference.llm_cache import ResponseCache
from memsvc.memory.metering import Meter
from memsvc.store.database import Store
from memsvc.store.usage import Used
from memsvc.store.workspaces import Extraction
from tests.doubles import FixedClock
from tests.inference.asking import ASKED, SCHEMA
from tests.llm import PausedTime, ScriptedLlm, cut_off, said, scripted_llm, status

DAY = date(2024, 2, 29)
EVENING = datetime(2024, 2, 29, 23, 30, tzinfo=UTC)
GOOD = {"ok": True}


@pytest.fixture
def llm() -> Iterator[ScriptedLlm]:
    """A model whose answers take 100 and 10 tokens."""
    with scripted_llm() as scripted:
        scripted.answers = lambda _body: said(GOOD)
        yield scripted


@pytest.fixture
def chat(llm: ScriptedLlm) -> Iterator[ChatLlm]:
    with closing(client(llm)) as made:
        yield made


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(EVENING)


def client(llm: ScriptedLlm, cache: ResponseCache | None = None) -> ChatLlm:
    time = PausedTime()
    access = LlmAccess(llm.url, "a-model", models={"answer": "a-better-one"}, attempts=1)
    return ChatLlm(access, cache=cache, monotonic=time.monotonic, sleep=time.sleep)


def asked(meter: Meter, workspace: str = "default", name: str = "extract") -> dict[str, Any]:
    return meter.ask(workspace, ASKED, name=name, schema=SCHEMA).content


def used(meter: Meter, workspace: str = "default") -> list[Used]:
    return meter.used(workspace, date(2024, 1, 1), date(2024, 12, 31))


def allow(store: Store, tokens: int | None, workspace: str = "default") -> None:
    """Give a workspace its own budget."""
    with store.begin() as tx:
        tx.workspaces.ensure(workspace, now=EVENING)
        tx.workspaces.set_extraction(workspace, Extraction(daily_tokens=tokens))


def test_answer_is_the_models_and_is_counted(store: Store, chat: ChatLlm, clock: FixedClock) -> None:
    meter = Meter(store, chat, clock)

    assert asked(meter) == GOOD
    assert used(meter) == [Used(DAY, "extract", "a-model", 1, 100, 10)]


def test_operations_and_models_are_counted_apart(store: Store, chat: ChatLlm, clock: FixedClock) -> None:
    meter = Meter(store, chat, clock)

    for name in ("extract", "answer", "extract"):
        asked(meter, name=name)

    assert used(meter) == [Used(DAY, "answer", "a-better-one", 1, 100, 10), Used(DAY, "extract", "a-model", 2, 200, 20)]


def test_repaired_answer_is_counted_with_what_was_wrong(
    store: Store, llm: ScriptedLlm, chat: ChatLlm, clock: FixedClock
) -> None:
    llm.then(said("prose", usage=(7, 1)))
    meter = Meter(store, chat, clock)

    assert asked(meter) == GOOD
    assert used(meter) == [Used(DAY, "extract", "a-model", 2, 107, 11)]


def test_answers_that_will_not_do_are_counted_too(
    store: Store, llm: ScriptedLlm, chat: ChatLlm, clock: FixedClock
) -> None:
    llm.answers = lambda _body: said("prose")
    meter = Meter(store, chat, clock)

    with pytest.raises(LlmAnswerInvalid):
        asked(meter)

    assert used(meter) == [Used(DAY, "extract", "a-model", 2, 200, 20)]


def test_answer_that_is_cut_off_is_counted_too(
    store: Store, llm: ScriptedLlm, chat: ChatLlm, clock: FixedClock
) -> None:
    llm.answers = lambda _body: cut_off('{"ok"')
    meter = Meter(store, chat, clock)

    with pytest.raises(LlmAnswerCutOff):
        asked(meter)

    assert used(meter) == [Used(DAY, "extract", "a-model", 1, 100, 10)]


def test_what_is_not_counted_by_the_endpoint_is_marked_as_estimated(
    store: Store, llm: ScriptedLlm, chat: ChatLlm, clock: FixedClock
) -> None:
    llm.answers = lambda _body: said(GOOD, usage=None)
    meter = Meter(store, chat, clock)

    asked(meter)

    (counted,) = used(meter)
    assert (counted.calls, counted.estimated_calls) == (1, 1)
    assert counted.prompt_tokens > 0
    assert counted.completion_tokens > 0


def test_cached_answers_are_counted_apart_and_cost_nothing(
    store: Store, llm: ScriptedLlm, clock: FixedClock, tmp_path: Path
) -> None:
    with closing(client(llm, ResponseCache(tmp_path / "cache"))) as chat:
        meter = Meter(store, chat, clock)

        for _ in range(3):
            asked(meter)

    assert used(meter) == [Used(DAY, "extract", "a-model", 1, 100, 10, cached_calls=2)]


def test_call_that_fails_costs_nothing(store: Store, llm: ScriptedLlm, chat: ChatLlm, clock: FixedClock) -> None:
    llm.answers = lambda _body: status(500)
    meter = Meter(store, chat, clock)

    with pytest.raises(LlmUnavailable):
        asked(meter)

    assert used(meter) == []


@pytest.mark.parametrize(
    ("service", "own", "limit"),
    [(0, None, None), (500, None, 500), (500, 50, 50), (500, 0, 0), (0, 0, 0), (0, 50, 50)],
    ids=["none", "the service's", "an own one", "nothing at all", "nothing where others have all", "a first limit"],
)
def test_budget_is_the_workspaces_own_or_the_services(
    store: Store, chat: ChatLlm, clock: FixedClock, service: int, own: int | None, limit: int | None
) -> None:
    allow(store, own)

    assert Meter(store, chat, clock, daily_tokens=service).budget("default") == (limit, 0)


def test_without_a_budget_there_is_no_end(store: Store, chat: ChatLlm, clock: FixedClock) -> None:
    meter = Meter(store, chat, clock)

    for _ in range(3):
        asked(meter)

    assert meter.budget("default") == (None, 330)


@pytest.mark.parametrize(("tokens", "calls"), [(0, 0), (1, 1), (110, 1), (111, 2)])
def test_nobody_is_asked_when_the_budget_is_used_up(
    store: Store, llm: ScriptedLlm, chat: ChatLlm, clock: FixedClock, tokens: int, calls: int
) -> None:
    allow(store, tokens)
    meter = Meter(store, chat, clock)
    for _ in range(calls):
        asked(meter)

    with pytest.raises(BudgetUsedUp, match=f"'default' has used up its {tokens} tokens"):
        asked(meter)

    assert len(llm.requests) == calls
    assert meter.budget("default") == (tokens, 110 * calls)


def test_tokens_of_answers_that_will_not_do_use_the_budget_up(
    store: Store, llm: ScriptedLlm, chat: ChatLlm, clock: FixedClock
) -> None:
    allow(store, 200)
    llm.answers = lambda _body: said("prose")
    meter = Meter(store, chat, clock)
    with pytest.raises(LlmAnswerInvalid):
        asked(meter)

    with pytest.raises(BudgetUsedUp):
        asked(meter)


def test_another_day_begins_at_midnight_in_utc(store: Store, chat: ChatLlm, clock: FixedClock) -> None:
    allow(store, 100)
    meter = Meter(store, chat, clock)
    asked(meter)
    with pytest.raises(BudgetUsedUp):
        asked(meter)

    clock.pass_time(minutes=30)
    asked(meter)

    assert used(meter) == [
        Used(DAY, "extract", "a-model", 1, 100, 10),
        Used(date(2024, 3, 1), "extract", "a-model", 1, 100, 10),
    ]


def test_workspaces_use_up_their_own_budgets(store: Store, chat: ChatLlm, clock: FixedClock) -> None:
    meter = Meter(store, chat, clock, daily_tokens=100)
    asked(meter)

    assert asked(meter, "other") == GOOD
    with pytest.raises(BudgetUsedUp):
        asked(meter)


def test_without_a_model_nobody_can_be_asked(store: Store, clock: FixedClock) -> None:
    meter = Meter(store, None, clock)

    with pytest.raises(LlmUnavailable, match="MEMSVC_LLM_BASE_URL"):
        asked(meter)

    assert (meter.has_llm, used(meter)) == (False, [])
