"""The Recaller: a query becomes evidence, re-read from the store and packed into a context."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from time import perf_counter
from uuid import UUID

import numpy as np

from memsvc.domain import Evidence, Owner, Query, Recollection, Round, Said, Timing, Turn, Unit, Window
from memsvc.index.base import BM25, DENSE, LATE, LEGS, Index, Legs, Probe
from memsvc.index.lexical import Lexicon
from memsvc.inference.encoders import Encoded, Encoder, Matrix
from memsvc.inference.rerankers import Reranker
from memsvc.memory import ranking
from memsvc.memory.folding import Signature, signature_of
from memsvc.memory.packing import Passage, pack
from memsvc.memory.ranking import Boost, Fusion, Ranked, RankFusion
from memsvc.memory.rarity import Rarity
from memsvc.store.database import Store

ROUNDS_A_SESSION = 3
# Of a longer question, the rarest tokens are compared: the others cost time and tell little.
QUERY_TOKENS = 64
_NEXT_PORTION = 32


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a recall searches and ranks: which legs run, how deep, how they are fused, and what is boosted.

    A speaker's boost is for turns of those whom the query names, and for those of the others. Without a half-life,
    age changes nothing. A reranker reads the first `reranked` items.
    """

    legs: frozenset[str] = frozenset(LEGS)
    depth: int = 100
    fusion: Fusion = field(default_factory=RankFusion)
    speaker_named: float = 1.2
    speaker_other: float = 0.8
    recency_half_life: timedelta | None = None
    reranked: int = 20


class Recaller:
    """Finds what matters for a query. Nothing becomes evidence that the store does not hold for this very user."""

    def __init__(
        self,
        store: Store,
        index: Index,
        encoder: Encoder,
        lexicon: Lexicon,
        rarity: Rarity,
        recipe: Recipe,
        reranker: Reranker | None = None,
    ) -> None:
        self._store = store
        self._index = index
        self._encoder = encoder
        self._lexicon = lexicon
        self._rarity = rarity
        self._recipe = recipe
        self._reranker = reranker

    def recall(self, owner: Owner, query: Query) -> Recollection:
        """The evidence for a query; raises IndexUnavailable rather than searching with fewer legs."""
        begun = perf_counter()
        probe = self._probe(owner, query)
        encoded = perf_counter()
        legs = self._index.search(owner, probe)
        searched = perf_counter()
        found = self._reranked(query, self._load(owner, query, self._ranked(query, legs)))
        evidence = [_evidence(item, rank, query.unit) for rank, item in enumerate(found, 1)]
        loaded = perf_counter()
        context = pack(
            [passage for item in found for passage in _passages(item, query.unit)],
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

    def search(self, owner: Owner, query: Query) -> Legs:
        """What the legs find, before any ranking."""
        return self._index.search(owner, self._probe(owner, query))

    def _probe(self, owner: Owner, query: Query) -> Probe:
        legs = self._recipe.legs
        encoded = self._encoder.encode([query.text])[0]
        return Probe(
            depth=max(self._recipe.depth, 2 * query.limit),
            dense=encoded.dense if DENSE in legs else None,
            sparse=self._lexicon.query(query.text) if BM25 in legs else None,
            tokens=self._weighted(owner, encoded) if LATE in legs and len(encoded.tokens) else None,
            window=query.window,
        )

    def _weighted(self, owner: Owner, encoded: Encoded) -> Matrix:
        """The query's token vectors, each as long as its weight; of a long query, the rarest tokens."""
        weights = self._rarity.weights(owner, encoded.token_ids)
        kept = np.sort(np.argsort(-weights, kind="stable")[:QUERY_TOKENS])
        weights = weights[kept] / weights[kept].sum()
        return np.asarray(encoded.tokens[kept] * weights[:, None])

    def _ranked(self, query: Query, legs: Legs) -> list[Ranked]:
        recipe = self._recipe
        boosts: dict[str, Boost] = {}
        speaker = ranking.speaker_boost(query.text, legs, named=recipe.speaker_named, other=recipe.speaker_other)
        if speaker is not None:
            boosts["speaker"] = speaker
        if recipe.recency_half_life is not None:
            boosts["recency"] = ranking.recency_boost(query.asked_at, half_life=recipe.recency_half_life)
        return ranking.fuse(legs, unit=query.unit, query=query.text, fusion=recipe.fusion, boosts=boosts)

    def _load(self, owner: Owner, query: Query, ranked: Sequence[Ranked]) -> "list[_Item]":
        """The first items that the store still holds, up to what is wanted; what says the same is folded into one.

        Points outlive their rows for a moment: what stands behind the stale ones takes their place.
        """
        wanted = max(query.limit, self._recipe.reranked if self._reranker else 0)
        found: list[_Item] = []
        rest = list(ranked)
        portion = wanted
        with self._store.read() as tx:
            while rest and len(found) < wanted:
                taken, rest = rest[:portion], rest[portion:]
                rounds = tx.rounds.load(owner, [row for item in taken for row in item.round_rows[:ROUNDS_A_SESSION]])
                for item in taken:
                    if held := _held(item, rounds, query.window):
                        _fold(_item(item, held, query.unit), found)
                portion = max(_NEXT_PORTION, wanted - len(found))
        return found[:wanted]

    def _reranked(self, query: Query, found: "list[_Item]") -> "list[_Item]":
        """The head of the list as the reranker orders it, if there is one; up to the limit."""
        if self._reranker is None:
            return found
        head, rest = found[: self._recipe.reranked], found[self._recipe.reranked :]
        scores = self._reranker.scores(query.text, [item.text for item in head])
        order = sorted(range(len(head)), key=lambda place: -scores[place])
        again = [_with_leg(head[place], "reranker", rank, scores[place]) for rank, place in enumerate(order, 1)]
        return [*again, *rest][: query.limit]


@dataclass(frozen=True, slots=True)
class _Item:
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


def _item(ranked: Ranked, held: list[Round], unit: Unit) -> _Item:
    turns = tuple(turn for round_ in _in_order(held) for turn in round_.turns if turn.turn_id in ranked.matched)
    # A question that is asked again may be answered otherwise; a session is more than the rounds that were found of it.
    said = {Unit.TURN: turns, Unit.ROUND: held[0].turns, Unit.SESSION: ()}[unit]
    return _Item(ranked, held, turns, signature_of(said), [])


def _fold(item: _Item, found: list[_Item]) -> None:
    """Add the item, or, when one that is there says the same, note there where it is said again."""
    for known in found:
        if known.signature is not None and known.signature == item.signature:
            known.also.extend(Said(item.held[0].session_id, turn.turn_id) for turn in item.turns)
            return
    found.append(item)


def _with_leg(item: _Item, leg: str, rank: int, score: float) -> _Item:
    """The item as it stands in the reranker's order, which is the order that its turns go into the context by."""
    trace = replace(item.ranked.trace, legs=item.ranked.trace.legs | {leg: (rank, score)})
    return replace(item, ranked=replace(item.ranked, trace=trace, matched=dict.fromkeys(item.ranked.matched, 1 / rank)))


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


def _evidence(item: _Item, rank: int, unit: Unit) -> Evidence:
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
    )


def _passages(item: _Item, unit: Unit) -> list[Passage]:
    return [
        Passage(round_.session_row, round_.first_position, _wanted(item, round_, unit), item.ranked.matched)
        for round_ in item.held
    ]


def _wanted(item: _Item, round_: Round, unit: Unit) -> tuple[Turn, ...]:
    if unit is not Unit.TURN:
        return round_.turns
    return tuple(turn for turn in round_.turns if turn.turn_id == item.ranked.turn_id)


def _in_order(held: Sequence[Round]) -> list[Round]:
    return sorted(held, key=lambda round_: round_.first_position)


def _ms(begun: float, ended: float) -> float:
    return round((ended - begun) * 1000, 3)
