"""The Recaller: a query becomes evidence, re-read from the store and packed into a context."""

from collections.abc import Mapping, Sequence
from time import perf_counter
from uuid import UUID

from memsvc.domain import Evidence, Owner, Query, Recollection, Round, Timing, Turn, Unit, Window
from memsvc.index.base import Index, Probe
from memsvc.index.lexical import Lexicon
from memsvc.inference.encoders import Encoder
from memsvc.memory import ranking
from memsvc.memory.packing import Passage, pack
from memsvc.memory.ranking import Ranked
from memsvc.store.database import Store

ROUNDS_A_SESSION = 3


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
        ranked = ranking.fuse(legs, unit=query.unit, limit=query.limit)
        searched = perf_counter()
        found = self._load(owner, query, ranked)
        if len(found) < query.limit == len(ranked):
            # Points outlive their rows for a moment: what stands behind the stale ones takes their place.
            found = self._load(owner, query, ranking.fuse(legs, unit=query.unit))
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

    def _load(self, owner: Owner, query: Query, ranked: Sequence[Ranked]) -> list[tuple[Ranked, list[Round]]]:
        """The first items, up to the limit, that the store still holds, each with its rounds."""
        found: list[tuple[Ranked, list[Round]]] = []
        rest = list(ranked)
        while rest and len(found) < query.limit:
            missing = query.limit - len(found)
            taken, rest = rest[:missing], rest[missing:]
            with self._store.read() as tx:
                rounds = tx.rounds.load(owner, [row for item in taken for row in item.round_rows[:ROUNDS_A_SESSION]])
            found += [(item, held) for item in taken if (held := _held(item, rounds, query.window))]
        return found


def _held(item: Ranked, rounds: Mapping[UUID, Round], window: Window | None) -> list[Round]:
    """The rounds of a ranked item that the store still holds, best first; a turn must lie in the window itself."""
    held = [rounds[row] for row in item.round_rows[:ROUNDS_A_SESSION] if row in rounds]
    if item.turn_id is None:
        return held
    return [
        round_
        for round_ in held
        if any(turn.turn_id == item.turn_id and _is_within(turn, window) for turn in round_.turns)
    ]


def _is_within(turn: Turn, window: Window | None) -> bool:
    if window is None:
        return True
    return (window.start is None or window.start <= turn.said_at) and (window.end is None or turn.said_at < window.end)


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
