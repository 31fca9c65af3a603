"""Pure: the hits of all legs become one ranking of turns, rounds or sessions."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from uuid import UUID

from memsvc.domain import Hit, KeyKind, Trace, Unit

# Cormack, Clarke and Büttcher (2009) fused long lists with 60. Here the first places decide: on LoCoMo's development
# conversations, evidence turns in the top 10 rose from .62 with 60 to .70 with 5, and a turn's own words find it.
RRF_K = 5
# A window across turns leads to each of them; it says less about one than the turn's own window does.
ROUND_WEIGHT = 0.5
_ROUND = "_round"

Legs = Mapping[str, Sequence[Hit]]


@dataclass(frozen=True, slots=True)
class Ranked:
    """An item of a ranking: the rounds it stands for, best first, the turns that matched, and why."""

    session_row: UUID
    round_rows: tuple[UUID, ...]
    matched: frozenset[str]
    score: float
    trace: Trace
    turn_id: str | None = None


def fuse(legs: Legs, *, unit: Unit, limit: int | None = None) -> list[Ranked]:
    """Reciprocal rank fusion of the legs, by unit, best first.

    A leg's keys of a kind form a list of their own (`dense`, `dense_round`, …), since the windows of a round and those
    of a turn answer different questions. An item takes its best key's rank in each list. Scores are shares of the
    score of an item that is first everywhere, from 0 to 1. Equal scores stand in the order of their best ranks.
    """
    lists = _by_kind(legs)
    labels = _LABELS[unit]
    items: dict[Hashable, _Item] = {}
    for name, hits in lists.items():
        for place, hit in enumerate(hits, 1):
            for label in labels(hit):
                item = items.get(label)
                if item is None:
                    item = items[label] = _Item(label, hit.session_row, {}, {}, {})
                item.meet(name, place, hit)
    best = sorted(items.values(), key=lambda item: (-item.sum(), item.best()))[:limit]
    most = fsum(_weight(name) for name in lists) / (RRF_K + 1)
    return [item.ranked(most) for item in best]


@dataclass(slots=True)
class _Item:
    """An item while it is being fused: by list, its best place and score; by round and by turn, the best place."""

    label: Hashable
    session_row: UUID
    places: dict[str, tuple[int, float]]
    rounds: dict[UUID, int]
    turns: dict[str, int]

    def meet(self, name: str, place: int, hit: Hit) -> None:
        self.places.setdefault(name, (place, hit.score))
        self.rounds[hit.round_row] = min(place, self.rounds.get(hit.round_row, place))
        for turn_id in hit.turn_ids:
            self.turns[turn_id] = min(place, self.turns.get(turn_id, place))

    def sum(self) -> float:
        return fsum(_weight(name) / (RRF_K + place) for name, (place, _) in self.places.items())

    def best(self) -> int:
        return min(place for place, _ in self.places.values())

    def ranked(self, most: float) -> Ranked:
        return Ranked(
            session_row=self.session_row,
            round_rows=tuple(sorted(self.rounds, key=self.rounds.__getitem__)),
            matched=frozenset(self.turns),
            score=round(self.sum() / most, 9),
            trace=Trace(self.places),
            turn_id=self.label[1] if isinstance(self.label, tuple) else None,
        )


def _weight(name: str) -> float:
    return ROUND_WEIGHT if name.endswith(_ROUND) else 1.0


def _by_kind(legs: Legs) -> dict[str, list[Hit]]:
    lists: dict[str, list[Hit]] = {}
    for leg, hits in legs.items():
        for hit in hits:
            name = leg if hit.kind is KeyKind.TURN else leg + _ROUND
            lists.setdefault(name, []).append(hit)
    return lists


_LABELS: dict[Unit, Callable[[Hit], Iterable[Hashable]]] = {
    Unit.TURN: lambda hit: [(hit.session_row, turn_id) for turn_id in hit.turn_ids],
    Unit.ROUND: lambda hit: [hit.round_row],
    Unit.SESSION: lambda hit: [hit.session_row],
}
