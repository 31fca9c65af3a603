"""Pure: the items of a ranking with what the store holds of them, and the evidence that they become."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from memsvc.domain import Evidence, Round, Said, Turn, Unit
from memsvc.facts import Fact
from memsvc.memory import placing
from memsvc.memory.folding import Signature, signature_of
from memsvc.memory.packing import Passage
from memsvc.memory.placing import Asked
from memsvc.memory.ranking import Ranked
from memsvc.plans import Placed, Plan

ROUNDS_A_SESSION = 3


@dataclass(frozen=True, slots=True)
class Item:
    """A ranked item with its rounds, best first; `turns` are what it is known by, and `also` where it is said again."""

    ranked: Ranked
    held: list[Round]
    turns: tuple[Turn, ...]
    signature: Signature | None
    also: list[Said]

    @property
    def text(self) -> str:
        """What a reranker reads."""
        return "\n".join(f"{turn.speaker}: {turn.said}" for turn in self.turns)


def item_of(ranked: Ranked, held: list[Round], unit: Unit) -> Item:
    """A ranked item with the rounds that are held of it."""
    turns = tuple(turn for round_ in _in_order(held) for turn in round_.turns if turn.turn_id in ranked.matched)
    # A question that is asked again may be answered otherwise; a session is more than the rounds that were found of it.
    said = {Unit.TURN: turns, Unit.ROUND: held[0].turns, Unit.SESSION: ()}[unit]
    return Item(ranked, held, turns, signature_of(said), [])


def fold(item: Item, found: list[Item]) -> None:
    """Add the item, or, when one that is there says the same, note there where it is said again."""
    for known in found:
        if known.signature is not None and known.signature == item.signature:
            known.also.extend(Said(item.held[0].session_id, turn.turn_id) for turn in item.turns)
            return
    found.append(item)


def with_leg(item: Item, leg: str, rank: int, score: float) -> Item:
    """The item as it stands in the reranker's order, which is the order that its turns go into the context by."""
    trace = replace(item.ranked.trace, legs=item.ranked.trace.legs | {leg: (rank, score)})
    return replace(item, ranked=replace(item.ranked, trace=trace, matched=dict.fromkeys(item.ranked.matched, 1 / rank)))


def held_by(item: Ranked, rounds: Mapping[UUID, Round], asked: Asked) -> list[Round]:
    """The rounds of a ranked item that the store still holds, best first; some turn of each must lie in the window."""
    return [
        rounds[row]
        for row in item.round_rows[:ROUNDS_A_SESSION]
        if row in rounds and any(_is_meant(item, turn, asked) for turn in rounds[row].turns)
    ]


def _is_meant(item: Ranked, turn: Turn, asked: Asked) -> bool:
    if item.turn_id is not None and turn.turn_id != item.turn_id:
        return False
    return asked.filter is None or placing.is_within(turn, asked.filter)


def place_in_time(item: Item) -> tuple[object, ...]:
    """Where an item stands in time: its first turn that is known to match."""
    first = item.held[0] if len(item.held) == 1 else min(item.held, key=lambda round_: round_.first_position)
    turn = item.turns[0] if item.turns else first.turns[0]
    return turn.said_at, item.ranked.session_row, first.first_position, item.ranked.position


def is_by(item: Item, plan: Plan) -> bool:
    """Whether those whom a plan names said what matched."""
    return any(
        (plan.role is None or turn.role == plan.role)
        and (plan.speaker is None or turn.speaker.casefold() == plan.speaker.casefold())
        for turn in item.turns
    )


def places_of(placed: Sequence[Placed]) -> frozenset[tuple[UUID, int]]:
    """Where the turns stand that a filter let through."""
    return frozenset((one.spot.session_row, one.spot.position) for one in placed)


def evidence_of(item: Item, rank: int, unit: Unit, facts: Mapping[UUID, list[Fact]]) -> Evidence:
    """An item as evidence, with the facts of its rounds."""
    turns = [turn for round_ in _in_order(item.held) for turn in _wanted(item, round_, unit)]
    return Evidence(
        unit=unit,
        session_id=item.held[0].session_id,
        session_started_at=item.held[0].session_started_at,
        rank=rank,
        score=item.ranked.score,
        turns=tuple(turns),
        matched=frozenset(item.ranked.matched),
        trace=item.ranked.trace,
        also=tuple(item.also),
        facts=tuple(fact for round_ in item.held for fact in facts.get(round_.row_id, ())),
    )


def passages_of(item: Item, unit: Unit) -> list[Passage]:
    """What of an item goes into a context."""
    return [
        Passage(round_.session_row, round_.first_position, _wanted(item, round_, unit), item.ranked.matched)
        for round_ in item.held
    ]


def _wanted(item: Item, round_: Round, unit: Unit) -> tuple[Turn, ...]:
    if unit is not Unit.TURN:
        return round_.turns
    return tuple(turn for turn in round_.turns if turn.turn_id == item.ranked.turn_id)


def _in_order(held: Sequence[Round]) -> list[Round]:
    return sorted(held, key=lambda round_: round_.first_position)
