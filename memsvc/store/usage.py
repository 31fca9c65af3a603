"""What language models were asked, by workspace, day, operation and model."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, func, select

from memsvc.store.dialects import upsert
from memsvc.store.tables import usage


@dataclass(frozen=True, slots=True)
class Used:
    """Calls and tokens of one operation with one model on one day (of UTC).

    `estimated_calls` are those whose tokens were counted here, `cached_calls` what the cache answered for nothing.
    """

    day: date
    operation: str
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    estimated_calls: int = 0
    cached_calls: int = 0


_COUNTED = ("calls", "prompt_tokens", "completion_tokens", "estimated_calls", "cached_calls")


class Usage:
    """Statements about one workspace's usage."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, workspace: str, used: Used) -> None:
        """Count in what was used."""
        counted: dict[str, Any] = {name: getattr(used, name) for name in _COUNTED}
        key = {"workspace": workspace, "day": used.day.isoformat(), "operation": used.operation, "model": used.model}
        statement = upsert(self._connection, usage).values({**key, **counted})
        sums = {name: usage.c[name] + counted[name] for name in _COUNTED}
        self._connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=sums))

    def tokens(self, workspace: str, day: date) -> int:
        """The tokens of a day, of questions and answers together."""
        total = func.coalesce(func.sum(usage.c.prompt_tokens + usage.c.completion_tokens), 0)
        statement = select(total).where(usage.c.workspace == workspace, usage.c.day == day.isoformat())
        return int(self._connection.execute(statement).scalar_one())

    def between(self, workspace: str, first: date, last: date) -> list[Used]:
        """What was used from the first day to the last, both included."""
        statement = (
            select(usage)
            .where(usage.c.workspace == workspace, usage.c.day.between(first.isoformat(), last.isoformat()))
            .order_by(usage.c.day, usage.c.operation, usage.c.model)
        )
        return [
            Used(
                date.fromisoformat(row.day), row.operation, row.model, **{name: getattr(row, name) for name in _COUNTED}
            )
            for row in self._connection.execute(statement)
        ]
