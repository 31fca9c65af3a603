"""The FactFinder: facts are searched like turns; they lift the turns they were drawn from, or are themselves found."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from memsvc.domain import Evidence, Hit, KeyKind, Owner, Query, Unit
from memsvc.facts import INSTRUCTION, PREFERENCE, Fact, Trust
from memsvc.index.base import DENSE, Index, Legs, Probe
from memsvc.memory.ranking import Boost, Ranked, RankFusion, fuse
from memsvc.store.database import Store, Transaction
from memsvc.store.facts import FactFilter

FACTS = "facts"
Found = Mapping[str, Sequence[Hit]]
MOST_INSTRUCTIONS = 20
MOST_PREFERENCES = 5
# A preference less like the query than this (cosine of their sentence vectors) does not bear on it.
LEAST_LIKENESS = 0.3


class FactFinder:
    """Finds facts. Which of them hold is asked of the store."""

    def __init__(self, store: Store, index: Index) -> None:
        self._store = store
        self._index = index

    def search(self, owner: Owner, probe: Probe, *, whole: bool) -> Legs:
        """What the legs find among the keys of facts; unless `whole`, the dense leg alone."""
        bounds = replace(probe.bounds, kind=KeyKind.FACT)
        if whole:
            return self._index.search(owner, replace(probe, bounds=bounds))
        return self._index.search(owner, replace(probe, sparse=None, tokens=None, bounds=bounds))

    def evidence(self, owner: Owner, query: Query, ranked: Sequence[Ranked]) -> list[Evidence]:
        """The facts of a ranking that hold at the query's clocks, each with the turn that it was drawn from."""
        ids = [item.label for item in ranked if isinstance(item.label, UUID)]
        found: dict[UUID, Evidence] = {}
        with self._store.read() as tx:
            roots = tx.facts.roots(owner, ids)
            held = tx.facts.load(owner, [roots.get(one, one) for one in ids], filter_of(query))
            rounds = tx.rounds.load(owner, [fact.round_row for fact in held.values()])
        for item, one in zip(ranked, ids, strict=True):
            fact = held.get(roots.get(one, one))
            if fact is None or fact.fact_id in found or len(found) == query.limit:
                continue
            round_ = rounds[fact.round_row]
            source = fact.sources[0]
            turns = tuple(turn for turn in round_.turns if turn.turn_id == source.turn_id)
            found[fact.fact_id] = Evidence(
                unit=Unit.FACT,
                session_id=round_.session_id,
                session_started_at=round_.session_started_at,
                rank=len(found) + 1,
                score=item.score,
                turns=turns,
                matched=frozenset(turn.turn_id for turn in turns),
                trace=item.trace,
                facts=(fact,),
            )
        return list(found.values())

    def instructions(self, tx: Transaction, owner: Owner, query: Query, told: Found) -> tuple[Fact, ...]:
        """The user's standing instructions, and the preferences that bear on a query, also without a word in common."""
        near = [
            hit.found.fact
            for hit in told.get(DENSE, ())
            if hit.found.fact is not None and hit.found.fact_kind == PREFERENCE and hit.score >= LEAST_LIKENESS
        ]
        wanted = filter_of(query)
        # An instruction is the user's alone: what tools and assistants say is no such thing.
        mine = replace(wanted, kind=INSTRUCTION, trust=Trust.USER)
        standing = tx.facts.newest(owner, mine, limit=MOST_INSTRUCTIONS)
        roots = tx.facts.roots(owner, near) if near else {}
        near = list(dict.fromkeys(roots.get(one, one) for one in near))
        preferences = tx.facts.load(owner, near, wanted) if near else {}
        liked = [preferences[one] for one in near if one in preferences and preferences[one].trust == Trust.USER]
        return (*standing, *liked[:MOST_PREFERENCES])


def filter_of(query: Query) -> FactFilter:
    """The facts that hold when a query is asked, or at its clocks."""
    return FactFilter(query.as_of.valid or query.asked_at, query.as_of.recorded)


def ranked(told: Found, *, query: str, boosts: Mapping[str, Boost]) -> list[Ranked]:
    """The facts that were found, best first."""
    return fuse(told, unit=Unit.FACT, query=query, fusion=RankFusion(), boosts=boosts)


def leg_of(told: Found) -> list[Hit]:
    """The turns that facts lead to, by their best fact, as a leg of its own."""
    hits: dict[tuple[UUID, int], Hit] = {}
    places = {hit.found.fact: hit.found for found in told.values() for hit in found}
    for item in fuse(told, unit=Unit.FACT, fusion=RankFusion()):
        found = places[item.label]  # type: ignore[index]
        place = found.session_row, found.position
        if place not in hits:
            turn = replace(found, fact=None, fact_kind=None)
            hits[place] = Hit(turn, len(hits) + 1, item.score)
    return list(hits.values())


def boost_of(leg: Sequence[Hit], *, peak: float) -> Boost:
    """A boost of `peak` for the turn of the best matching fact, and less for others, by their scores."""
    best = max((hit.score for hit in leg), default=0.0)
    shares = {(hit.found.session_row, hit.found.position): hit.score / best for hit in leg if best > 0}
    return lambda found: 1 + (peak - 1) * shares.get((found.session_row, found.position), 0.0)
