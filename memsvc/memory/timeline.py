"""The Chronicler: what a user has told, by the time it tells of."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memsvc.domain import Owner, Turn
from memsvc.intervals import AsOf, Expression
from memsvc.memory.quoting import sentence_around
from memsvc.store.database import Store
from memsvc.store.times import Dated


@dataclass(frozen=True, slots=True)
class Entry:
    """A sentence that names a time, with where it was said. `place` is where a cursor goes on."""

    place: tuple[datetime, UUID]
    session_id: str
    turn: Turn
    sentence: str
    span: tuple[int, int]
    expression: Expression


class Chronicler:
    """Reads timelines. Nothing is guessed: what names no time is on no timeline."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def timeline(
        self,
        owner: Owner,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        speaker: str | None = None,
        as_of: AsOf | None = None,
        after: tuple[datetime, UUID] | None = None,
        limit: int,
    ) -> list[Entry]:
        """The sentences that name a time which overlaps [start, end), by that time, after a place."""
        with self._store.read() as tx:
            found = tx.times.timeline(
                owner, start=start, end=end, speaker=speaker, as_of=as_of or AsOf(), after=after, limit=limit
            )
        return [_entry(item) for item in found]


def _entry(item: Dated) -> Entry:
    first, last = sentence_around(item.turn.text, *item.expression.span)
    return Entry(
        place=(item.sorts_at, item.row_id),
        session_id=item.session_id,
        turn=item.turn,
        sentence=item.turn.text[first:last],
        span=(first, last),
        expression=item.expression,
    )
