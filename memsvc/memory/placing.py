"""Pure: a query is placed in time: its window, its plan, and what lies within them."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from memsvc.domain import Found, Hit, Query, Round, Trace, Turn, Unit
from memsvc.intervals import AsOf, Locale, Mode, On, Window
from memsvc.memory.dating import overlaps_any
from memsvc.memory.ranking import Ranked
from memsvc.plans import Placed, Plan, Spot, TurnFilter
from memsvc.temporal.questions import plan_of, searched
from memsvc.temporal.windows import window_of


@dataclass(slots=True)
class Asked:
    """A query as it was understood. `words` are what it is searched by: its text without those that only say when.

    `sessions` and `survivors` bound where a plan lets it search at all; `told` is what was found among facts.
    """

    query: Query
    words: str
    window: Window | None = None
    plan: Plan | None = None
    sessions: frozenset[UUID] | None = None
    survivors: frozenset[tuple[UUID, int]] | None = None
    count: int | None = None
    told: Mapping[str, Sequence[Hit]] = field(default_factory=dict)

    @property
    def filter(self) -> Window | None:
        """The window, where it filters."""
        return self.window if self.window is not None and self.window.mode is Mode.FILTER else None

    @property
    def is_open(self) -> bool:
        """Whether the caller left it to the query's words which time is meant."""
        given = self.query.window
        return given is None or (given.mode is not Mode.OFF and given.start is None and given.end is None)

    def about(self, words: str) -> "Asked":
        """The same query about other words, within the same bounds."""
        return replace(self, query=replace(self.query, text=words), words=words)


def understood(query: Query, locale: Locale | None = None, *, mode: Mode = Mode.BOOST) -> Asked:
    """A query with the window and the plan that its words ask for; `mode` is what becomes of a window that they name.

    A caller's own window with an end takes the place of any that the words name, and then there is no plan.
    """
    given = query.window
    if given is not None and given.mode is not Mode.OFF and (given.start is not None or given.end is not None):
        return Asked(query, query.text, given)
    if given is not None:
        mode = given.mode
    if mode is Mode.OFF:
        return Asked(query, query.text)
    window = window_of(query.text, asked_at=query.asked_at, locale=locale)
    if window is not None:
        window = replace(window, mode=mode, on=given.on if given is not None else window.on)
    plan = plan_of(query.text, asked_at=query.asked_at, locale=locale)
    return Asked(query, searched(query.text, window), window, plan)


def turn_filter(plan: Plan, query: Query, *, after: Spot | None = None, before: Spot | None = None) -> TurnFilter:
    """What the store is asked for, once the events that a plan names were found."""
    return TurnFilter(
        sessions=plan.sessions,
        asked_at=query.asked_at if plan.sessions else None,
        weekdays=plan.weekdays,
        minutes=plan.minutes,
        window=plan.window,
        role=plan.role,
        speaker=plan.speaker,
        after=after,
        before=before,
        as_of=query.as_of,
    )


def ranked(placed: Sequence[Placed], unit: Unit) -> list[Ranked]:
    """Turns that a filter let through, by unit, as they were said; all score 1."""
    items: dict[Hashable, list[Placed]] = {}
    for one in placed:
        items.setdefault(_label(one, unit), []).append(one)
    return [
        Ranked(
            session_row=turns[0].spot.session_row,
            round_rows=tuple(dict.fromkeys(one.round_row for one in turns)),
            matched={one.turn_id: 1.0 for one in turns},
            score=1.0,
            trace=Trace({}),
            turn_id=turns[0].turn_id if unit is Unit.TURN else None,
            position=turns[0].spot.position,
            label=label,
        )
        for label, turns in items.items()
    ]


def _label(one: Placed, unit: Unit) -> Hashable:
    if unit is Unit.TURN:
        return one.spot.session_row, one.spot.position
    return one.round_row if unit is Unit.ROUND else one.spot.session_row


def surviving(legs: Mapping[str, Sequence[Hit]], survivors: frozenset[tuple[UUID, int]]) -> dict[str, list[Hit]]:
    """The hits whose turns a filter let through."""

    def survives(found: Found) -> bool:
        return (found.session_row, found.position) in survivors

    return {leg: [hit for hit in hits if survives(hit.found)] for leg, hits in legs.items()}


def as_known(round_: Round, as_of: AsOf) -> Round:
    """The round without the turns that were said after the one clock, or recorded after the other."""
    if as_of == AsOf():
        return round_
    return replace(round_, turns=tuple(turn for turn in round_.turns if _is_known(turn, as_of)))


def is_within(turn: Turn, window: Window) -> bool:
    """Whether a turn lies in a window, by when it was said, by what it tells of, or by either."""
    interval = window.interval
    if window.on is not On.EVENT and interval.holds(turn.said_at):
        return True
    return window.on is not On.SAID and overlaps_any(turn, interval)


def _is_known(turn: Turn, as_of: AsOf) -> bool:
    if as_of.valid is not None and turn.said_at > as_of.valid:
        return False
    return as_of.recorded is None or turn.recorded_at is None or turn.recorded_at <= as_of.recorded
