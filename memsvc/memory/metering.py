"""The Meter: asks the language model in a workspace's name, within its tokens of the day, and counts them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from memsvc.clock import Clock
from memsvc.errors import BudgetUsedUp, LlmAnswerInvalid, LlmUnavailable
from memsvc.inference.llm import Llm, Message, Reply, Spent
from memsvc.store.database import Store
from memsvc.store.usage import Used


class Meter:
    """The only way to the language model. `daily_tokens` is the limit of workspaces without an own one; 0: none."""

    def __init__(self, store: Store, llm: Llm | None, clock: Clock, *, daily_tokens: int = 0) -> None:
        self._store = store
        self._llm = llm
        self._clock = clock
        self._daily_tokens = daily_tokens

    @property
    def has_llm(self) -> bool:
        """Whether there is a language model at all."""
        return self._llm is not None

    def ask(
        self,
        workspace: str,
        messages: Sequence[Message],
        *,
        name: str,
        schema: Mapping[str, Any],
        check: Callable[[dict[str, Any]], None] | None = None,
        max_tokens: int = 4096,
    ) -> Reply:
        """The model's answer and what it took; raises LlmUnavailable, LlmAnswerInvalid, and, unasked, BudgetUsedUp."""
        llm = self.require(workspace)
        try:
            reply = llm.ask(messages, name=name, schema=schema, check=check, max_tokens=max_tokens)
        except LlmAnswerInvalid as exc:
            if isinstance(exc.spent, Spent):
                self._count(workspace, name, exc.spent)
            raise
        self._count(workspace, name, reply.spent)
        return reply

    def require(self, workspace: str) -> Llm:
        """The language model; raises LlmUnavailable without one, BudgetUsedUp when no tokens are left today."""
        if self._llm is None:
            raise LlmUnavailable("No language model is configured: set MEMSVC_LLM_BASE_URL and MEMSVC_LLM_MODEL.")
        limit, used = self.budget(workspace)
        if limit is not None and used >= limit:
            raise BudgetUsedUp(workspace, limit)
        return self._llm

    def budget(self, workspace: str) -> tuple[int | None, int]:
        """The tokens that a workspace may use a day, None for any number, and those it has used today."""
        with self._store.read() as tx:
            own = tx.workspaces.extraction(workspace).daily_tokens
            used = tx.usage.tokens(workspace, self._today())
        return (self._daily_tokens or None) if own is None else own, used

    def used(self, workspace: str, first: date, last: date) -> list[Used]:
        """What a workspace used from one day to another, both included."""
        with self._store.read() as tx:
            return tx.usage.between(workspace, first, last)

    def _count(self, workspace: str, operation: str, spent: Spent) -> None:
        used = Used(
            day=self._today(),
            operation=operation,
            model=spent.model,
            calls=spent.calls,
            prompt_tokens=spent.prompt_tokens,
            completion_tokens=spent.completion_tokens,
            estimated_calls=spent.calls if spent.is_estimated else 0,
            cached_calls=int(spent.is_cached),
        )
        with self._store.begin() as tx:
            tx.workspaces.ensure(workspace, now=self._clock.now())
            tx.usage.add(workspace, used)

    def _today(self) -> date:
        return self._clock.now().date()
