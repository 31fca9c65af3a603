"""The Recaller: a query becomes evidence, re-read from the store and packed into a context."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

import numpy as np

from memsvc.domain import Owner, Query, Recollection, Round, Unit
from memsvc.index.base import BM25, DENSE, LATE, LEGS, Bounds, Index, Legs, Probe
from memsvc.index.lexical import Lexicon, SparseVector
from memsvc.inference.encoders import Encoded, Encoder, Matrix
from memsvc.inference.rerankers import Reranker
from memsvc.intervals import Mode
from memsvc.memory import fact_finding, items, placing, ranking
from memsvc.memory.fact_finding import FACTS, FactFinder
from memsvc.memory.packing import pack, pack_facts
from memsvc.memory.placing import Asked
from memsvc.memory.ranking import Boost, Fusion, Ranked, RankFusion
from memsvc.memory.rarity import Rarity
from memsvc.memory.refining import WindowRefiner
from memsvc.memory.stopwatch import StopWatch
from memsvc.plans import Plan, Spot
from memsvc.store.database import Store, Transaction

# Of a longer question, the rarest tokens are compared: the others cost time and tell little.
QUERY_TOKENS = 64
_NEXT_PORTION = 32
# What a plan lets through is taken whole, up to so many turns; a set that large is hardly what was asked for.
MOST_PLACED = 10_000


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a recall searches and ranks: which legs run, how deep, how they are fused, and what is boosted.

    A speaker's boost is for turns of those whom the query names, and for those of the others. `time_mode` is what
    becomes of the window that a query speaks of; turns in it, give or take the tolerance, have `time_boost` times the
    odds. The turn of the best matching fact has `facts_boost` times the odds. Without a half-life, age changes
    nothing. A reranker reads the first `reranked` items.
    """

    legs: frozenset[str] = frozenset(LEGS)
    depth: int = 100
    fusion: Fusion = field(default_factory=RankFusion)
    speaker_named: float = 1.2
    speaker_other: float = 0.8
    time_mode: Mode = Mode.BOOST
    time_boost: float = 4.0
    time_tolerance: timedelta = timedelta(days=2)
    facts_boost: float = 1.0
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
        refiner: WindowRefiner | None = None,
    ) -> None:
        self._store = store
        self._index = index
        self._encoder = encoder
        self._lexicon = lexicon
        self._rarity = rarity
        self._recipe = recipe
        self._reranker = reranker
        self._refiner = refiner
        self._finder = FactFinder(store, index)

    def recall(self, owner: Owner, query: Query) -> Recollection:
        """The evidence for a query; raises IndexUnavailable rather than searching with fewer legs."""
        clock = StopWatch()
        with self._store.read() as tx:
            locale = tx.times.locale(owner)
        asked = placing.understood(query, locale, mode=self._recipe.time_mode)
        if self._refiner is not None and asked.is_open:
            mode = asked.window.mode if asked.window is not None else self._recipe.time_mode
            asked = replace(asked, window=self._refiner.refined(query, locale, asked.window, mode=mode))
        if query.unit is Unit.FACT:
            return self._of_facts(owner, replace(asked, plan=None), clock)
        found = self._planned(owner, asked, clock) if asked.plan else None
        if found is None:
            asked = replace(asked, plan=None)
            found = self._reranked(query, self._load(owner, asked, self._searched(owner, asked, clock)))
        with self._store.read() as tx:
            rows = [round_.row_id for item in found for round_ in item.held]
            facts = tx.facts.of_rounds(owner, rows, fact_finding.filter_of(query))
            instructions = self._finder.instructions(tx, owner, query, asked.told)
        evidence = [items.evidence_of(item, rank, query.unit, facts) for rank, item in enumerate(found, 1)]
        clock.loaded()
        context = pack(
            [passage for item in found for passage in items.passages_of(item, query.unit)],
            budget=query.token_budget,
            order=query.order,
            count_tokens=self._encoder.count_tokens,
        )
        return Recollection(
            tuple(evidence),
            context.text,
            context.tokens,
            clock.timing(),
            asked.window,
            asked.plan,
            asked.count,
            instructions,
        )

    def _of_facts(self, owner: Owner, asked: Asked, clock: StopWatch) -> Recollection:
        """Facts as the evidence, each with the turn that it was drawn from."""
        query, probe = asked.query, self._probe(owner, asked)
        clock.encoded()
        told = self._finder.search(owner, probe, whole=True)
        clock.searched()
        ranked = fact_finding.ranked(told, query=query.text, boosts=self._boosts(asked, told))
        evidence = self._finder.evidence(owner, query, ranked)
        with self._store.read() as tx:
            instructions = self._finder.instructions(tx, owner, query, told)
        clock.loaded()
        context = pack_facts(
            [(fact, item.score) for item in evidence for fact in item.facts],
            budget=query.token_budget,
            order=query.order,
            count_tokens=self._encoder.count_tokens,
        )
        window = asked.window
        return Recollection(
            tuple(evidence), context.text, context.tokens, clock.timing(), window, instructions=instructions
        )

    def search(self, owner: Owner, query: Query) -> Legs:
        """What the legs find, before any ranking."""
        asked = placing.understood(query, mode=self._recipe.time_mode)
        return self._index.search(owner, self._probe(owner, asked))

    def _searched(self, owner: Owner, asked: Asked, clock: StopWatch) -> list[Ranked]:
        """The ranking of what the legs find."""
        probe = self._probe(owner, asked)
        clock.encoded()
        legs = self._index.search(owner, probe)
        asked.told = self._finder.search(owner, probe, whole=self._recipe.facts_boost > 1)
        clock.searched()
        return self._ranked(asked, legs)

    def _planned(self, owner: Owner, asked: Asked, clock: StopWatch) -> list[items.Item] | None:
        """What a plan leads to; None where it leads nowhere, because what it is placed by was never said."""
        plan = asked.plan
        if plan is None:
            return None
        if plan.alternatives:
            return self._of_alternatives(owner, asked, plan, clock)
        if plan.picks:
            words = self._lexicon.query(plan.about)
            found = self._alike(owner, asked.about(plan.about), clock)
            # A reply is alike without a mention of it.
            found = [item for item in found if items.is_by(item, plan)]
            found = [item for item in found if self._says(item, words)] or found
            return (found if plan.picks == "first" else found[::-1])[: asked.query.limit]
        return self._placed(owner, asked, plan, clock)

    def _of_alternatives(self, owner: Owner, asked: Asked, plan: Plan, clock: StopWatch) -> list[items.Item]:
        """The best item of each event whose order is asked for, in time order; then the others, by rank."""
        ranked = self._searched(owner, asked, clock)
        bests: dict[object, Ranked] = {}
        for words in plan.alternatives:
            for item in self._searched(owner, asked.about(words), clock):
                if item.label not in bests:
                    bests[item.label] = item
                    break
        loaded = self._load(owner, asked, [*bests.values(), *(item for item in ranked if item.label not in bests)])
        first = [item for item in loaded if item.ranked.label in bests]
        rest = [item for item in loaded if item.ranked.label not in bests]
        return [*sorted(first, key=items.place_in_time), *rest]

    def _alike(self, owner: Owner, asked: Asked, clock: StopWatch) -> list[items.Item]:
        """All items that match about as well as the best one, or say every word of it; in time order."""
        ranked = self._searched(owner, asked, clock)
        least = ranking.MATCHED_SHARE * max((item.score for item in ranked), default=0.0)
        words = self._lexicon.query(asked.query.text)
        found = self._load(owner, replace(asked, query=replace(asked.query, limit=len(ranked))), ranked)
        alike = [item for item in found if item.ranked.score >= least or self._says(item, words)]
        return sorted(alike, key=items.place_in_time)

    def _says(self, item: items.Item, words: SparseVector) -> bool:
        return bool(words) and set(words.indices) <= set(self._lexicon.document(item.text).indices)

    def _placed(self, owner: Owner, asked: Asked, plan: Plan, clock: StopWatch) -> list[items.Item] | None:
        """The complete set of what a plan lets through, in time order, up to the limit."""
        after, before = (self._spot(owner, asked, words, clock) for words in (plan.after, plan.before))
        if (plan.after and after is None) or (plan.before and before is None):
            return None
        wanted = placing.turn_filter(plan, asked.query, after=after, before=before)
        with self._store.read() as tx:
            placed = tx.times.placed(owner, wanted, limit=MOST_PLACED)
        rows = frozenset(one.spot.session_row for one in placed)
        if not plan.about:
            asked.count = len(rows) if plan.counts else None
            return self._load(owner, asked, placing.ranked(placed, asked.query.unit))
        within = replace(asked, sessions=rows, survivors=items.places_of(placed))
        found = self._alike(owner, within.about(plan.about), clock) if rows else []
        asked.count = len({item.ranked.session_row for item in found}) if plan.counts else None
        return found[: asked.query.limit]

    def _spot(self, owner: Owner, asked: Asked, words: str | None, clock: StopWatch) -> Spot | None:
        """Where the event of these words is told of."""
        if words is None:
            return None
        event = asked.about(words)
        one = replace(event, query=replace(event.query, unit=Unit.TURN, limit=1))
        found = self._load(owner, one, self._searched(owner, one, clock))
        if not found:
            return None
        ranked = found[0].ranked
        return Spot(found[0].turns[0].said_at, ranked.session_row, ranked.position)

    def _probe(self, owner: Owner, asked: Asked) -> Probe:
        legs = self._recipe.legs
        encoded = self._encoder.encode([asked.words])[0]
        return Probe(
            depth=max(self._recipe.depth, 2 * asked.query.limit),
            dense=encoded.dense if DENSE in legs else None,
            sparse=self._lexicon.query(asked.words) if BM25 in legs else None,
            tokens=self._weighted(owner, encoded) if LATE in legs and len(encoded.tokens) else None,
            bounds=Bounds(asked.filter, asked.query.as_of, asked.sessions),
        )

    def _weighted(self, owner: Owner, encoded: Encoded) -> Matrix:
        """The query's token vectors, each as long as its weight; of a long query, the rarest tokens."""
        weights = self._rarity.weights(owner, encoded.token_ids)
        kept = np.sort(np.argsort(-weights, kind="stable")[:QUERY_TOKENS])
        weights = weights[kept] / weights[kept].sum()
        return np.asarray(encoded.tokens[kept] * weights[:, None])

    def _ranked(self, asked: Asked, legs: Legs) -> list[Ranked]:
        boosts = self._boosts(asked, legs)
        if self._recipe.facts_boost > 1 and any(asked.told.values()):
            leg = fact_finding.leg_of(asked.told)
            boosts[FACTS] = fact_finding.boost_of(leg, peak=self._recipe.facts_boost)
            legs = {**legs, FACTS: leg}
        if asked.survivors is not None:
            legs = placing.surviving(legs, asked.survivors)
        query = asked.query
        return ranking.fuse(legs, unit=query.unit, query=query.text, fusion=self._recipe.fusion, boosts=boosts)

    def _boosts(self, asked: Asked, legs: Legs) -> dict[str, Boost]:
        """What the odds of what was found are multiplied by."""
        recipe, query = self._recipe, asked.query
        boosts: dict[str, Boost] = {}
        speaker = ranking.speaker_boost(query.text, legs, named=recipe.speaker_named, other=recipe.speaker_other)
        if speaker is not None:
            boosts["speaker"] = speaker
        if asked.window is not None and asked.window.mode is Mode.BOOST:
            boosts["time"] = ranking.time_boost(asked.window, peak=recipe.time_boost, tolerance=recipe.time_tolerance)
        if recipe.recency_half_life is not None:
            boosts["recency"] = ranking.recency_boost(query.asked_at, half_life=recipe.recency_half_life)
        return boosts

    def _load(self, owner: Owner, asked: Asked, ranked: Sequence[Ranked]) -> list[items.Item]:
        """The first items that the store still holds, up to what is wanted; what says the same is folded into one.

        Points outlive their rows for a moment: what stands behind the stale ones takes their place.
        """
        query = asked.query
        wanted = max(query.limit, self._recipe.reranked if self._reranker and asked.plan is None else 0)
        found: list[items.Item] = []
        rest = list(ranked)
        portion = wanted
        with self._store.read() as tx:
            while rest and len(found) < wanted:
                taken, rest = rest[:portion], rest[portion:]
                rounds = _rounds(tx, owner, asked, taken)
                for item in taken:
                    if not (held := items.held_by(item, rounds, asked)):
                        continue
                    if asked.plan is None:
                        items.fold(items.item_of(item, held, query.unit), found)
                    else:  # A complete set is whole.
                        found.append(items.item_of(item, held, query.unit))
                portion = max(_NEXT_PORTION, wanted - len(found))
        return found[:wanted]

    def _reranked(self, query: Query, found: list[items.Item]) -> list[items.Item]:
        """The head of the list as the reranker orders it, if there is one; up to the limit."""
        if self._reranker is None:
            return found
        head, rest = found[: self._recipe.reranked], found[self._recipe.reranked :]
        scores = self._reranker.scores(query.text, [item.text for item in head])
        order = sorted(range(len(head)), key=lambda place: -scores[place])
        again = [items.with_leg(head[place], "reranker", rank, scores[place]) for rank, place in enumerate(order, 1)]
        return [*again, *rest][: query.limit]


def _rounds(tx: Transaction, owner: Owner, asked: Asked, taken: Sequence[Ranked]) -> Mapping[UUID, Round]:
    """The rounds of these items as they were known at the query's clocks."""
    loaded = tx.rounds.load(owner, [row for item in taken for row in item.round_rows[: items.ROUNDS_A_SESSION]])
    known = {row: placing.as_known(round_, asked.query.as_of) for row, round_ in loaded.items()}
    return {row: round_ for row, round_ in known.items() if round_.turns}
