"""The Recaller: a query becomes evidence, re-read from the store and packed into a context."""

from collections.abc import Mapping, Sequence
from time import perf_counter
from uuid import UUID

from memsvc.domain import Evidence, Owner, Query, Recollection, Round, Timing, Turn, Unit
from memsvc.index.base import Index, Probe
from memsvc.index.lexical import Lexicon
from memsvc.inference.encoders import Encoder
from memsvc.memory import ranking
from memsvc.memory.packing import Passage, pack
from memsvc.memory.ranking import Ranked
from memsvc.store.database import Store

ROUNDS_A_SESSION = 3
# Points may outlive their rows for a moment; so many more candidates are read than are wanted.
_SPARE = 10


class Recaller:
    """Finds what matters for a query. Nothing becomes evidence that the store does not hold for this very user."""

    def __init__(self, store: Store, index: Index, encoder: Encoder, lexicon: Lexicon, *, depth: int = 100) -> None:
        self._store = store
        self._index = index
        self._encoder = encoder
        self._lexicon = lexicon
        self._depth = depth

    def recall(self, owner: Owner, query: Query) -> Recollection:
        """The evidence for a query; raises IndexUnavailable rather than searching with fewer legs."""
        begun = perf_counter()
        probe = self._probe(query)
        encoded = perf_counter()
        legs = self._index.search(owner, probe)
        ranked = ranking.fuse(legs, unit=query.unit, limit=query.limit + _SPARE)
        searched = perf_counter()
        found = self._load(owner, ranked, query.limit)
        evidence = [_evidence(item, held, rank, query.unit) for rank, (item, held) in enumerate(found, 1)]
        loaded = perf_counter()
        context = pack(
            [passage for item, held in found for passage in _passages(item, held, query.unit)],
            budget=query.token_budget,
            order=query.order,
            count_tokens=self._encoder.count_tokens,
        )
        took = Timing(
            encode=_ms(begun, encoded),
            search=_ms(encoded, searched),
            load=_ms(searched, loaded),
            total=_ms(begun, perf_counter()),
        )
        return Recollection(tuple(evidence), context.text, context.tokens, took, query.window)

    def _probe(self, query: Query) -> Probe:
        depth = max(self._depth, 5 * query.limit)
        vector = self._encoder.encode([query.text])[0]
        return Probe(vector, self._lexicon.query(query.text), depth, query.window)

    def _load(self, owner: Owner, ranked: Sequence[Ranked], limit: int) -> list[tuple[Ranked, list[Round]]]:
        """The first `limit` items that the store still holds, each with its rounds; spare ones are read if needed."""
        found: list[tuple[Ranked, list[Round]]] = []
        rest = list(ranked)
        while rest and len(found) < limit:
            missing = limit - len(found)
            taken, rest = rest[:missing], rest[missing:]
            with self._store.read() as tx:
                rounds = tx.rounds.load(owner, [row for item in taken for row in item.round_rows[:ROUNDS_A_SESSION]])
            found += [(item, held) for item in taken if (held := _held(item, rounds))]
        return found


def _held(item: Ranked, rounds: Mapping[UUID, Round]) -> list[Round]:
    """The rounds of a ranked item that the store still holds, best first."""
    held = [rounds[row] for row in item.round_rows[:ROUNDS_A_SESSION] if row in rounds]
    if item.turn_id is None:
        return held
    return [round_ for round_ in held if any(turn.turn_id == item.turn_id for turn in round_.turns)]


def _evidence(item: Ranked, held: Sequence[Round], rank: int, unit: Unit) -> Evidence:
    in_order = sorted(held, key=lambda round_: round_.first_position)
    turns = [turn for round_ in in_order for turn in _wanted(item, round_, unit)]
    return Evidence(
        unit=unit,
        session_id=held[0].session_id,
        session_started_at=held[0].session_started_at,
        rank=rank,
        score=item.score,
        turns=tuple(turns),
        matched=item.matched if item.turn_id is None else frozenset({item.turn_id}),
        trace=item.trace,
    )


def _passages(item: Ranked, held: Sequence[Round], unit: Unit) -> list[Passage]:
    return [
        Passage(round_.session_row, round_.first_position, _wanted(item, round_, unit), item.matched) for round_ in held
    ]


def _wanted(item: Ranked, round_: Round, unit: Unit) -> tuple[Turn, ...]:
    if unit is not Unit.TURN:
        return round_.turns
    return tuple(turn for turn in round_.turns if turn.turn_id == item.turn_id)


def _ms(begun: float, ended: float) -> float:
    return round((ended - begun) * 1000, 3)
