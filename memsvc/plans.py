"""What a question asks of order and place in time: a closed set of filters over turns, and nothing else."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from memsvc.intervals import AsOf, Window


@dataclass(frozen=True, slots=True)
class Plan:
    """What a question's words say of where in time its answer lies.

    `sessions` are the first and last ordinal of the conversations it speaks of, from 1, or from -1 backwards;
    `weekdays` count from Monday, 0; `minutes` are those of the day, from and up to, over midnight where the second is
    smaller; `role` or `speaker` say who spoke. `after` and `before` are the words of the event that it is placed by,
    `alternatives` those of the events whose order is asked for; `picks` is "first" or "last" where one mention of
    several is asked for; `counts`, whether a number of conversations is. `about` is what else it asks; when that is
    empty, time alone decides.
    """

    sessions: tuple[int, int] | None = None
    weekdays: frozenset[int] = frozenset()
    minutes: tuple[int, int] | None = None
    window: Window | None = None
    role: str | None = None
    speaker: str | None = None
    after: str | None = None
    before: str | None = None
    alternatives: tuple[str, ...] = ()
    picks: str | None = None
    counts: bool = False
    about: str = ""

    @property
    def is_filter(self) -> bool:
        """Whether it says which turns there can be at all."""
        return any(
            (self.sessions, self.weekdays, self.minutes, self.window, self.role, self.speaker, self.after, self.before)
        )


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a turn stands: when it was said, and its place among those of its session."""

    said_at: datetime
    session_row: UUID
    position: int


@dataclass(frozen=True, slots=True)
class TurnFilter:
    """A plan whose events were found: what the store is asked for. An empty set of sessions means none."""

    sessions: tuple[int, int] | None = None
    asked_at: datetime | None = None
    weekdays: frozenset[int] = frozenset()
    minutes: tuple[int, int] | None = None
    window: Window | None = None
    role: str | None = None
    speaker: str | None = None
    after: Spot | None = None
    before: Spot | None = None
    as_of: AsOf = field(default_factory=AsOf)


@dataclass(frozen=True, slots=True)
class Placed:
    """A turn that a filter lets through, with the round it belongs to."""

    round_row: UUID
    turn_id: str
    spot: Spot
