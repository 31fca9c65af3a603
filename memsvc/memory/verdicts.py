"""The verdicts over pairs of statements: the bonds that they make, also for what says the same."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from memsvc.facts import Bond
from memsvc.memory.comparing import Pair, Verdict
from memsvc.store.ledger import Bound


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdicts over pairs of statements."""

    verdicts: Mapping[Pair, Verdict]
    mates: Mapping[UUID, frozenset[UUID]] = field(default_factory=dict)

    def is_undone(self, bound: Bound, undone: Set[tuple[frozenset[UUID], Bond]]) -> bool:
        """Whether the caller has undone such a bond between the two, or between what says the same as they do."""
        ones, others = (self.mates.get(one, frozenset([one])) for one in (bound.one, bound.other))
        return any((frozenset((one, other)), bound.bond) in undone for one in ones for other in others)

    def carried(self, bonds: Iterable[Bound]) -> "Judged":
        """With what is on record of a statement, also for those that were found to say the same."""
        verdicts = dict(self.verdicts)
        for bound in bonds:
            told = Verdict(bound.bond, bound.decided_by, bound.reason)
            for mine, theirs in ((bound.one, bound.other), (bound.other, bound.one)):
                for mate in self.mates.get(mine, ()):
                    if mate not in (mine, theirs) and (theirs, mate) not in verdicts:
                        verdicts.setdefault((mate, theirs), told)
        return replace(self, verdicts=verdicts)

    def bonds(self, now: datetime) -> list[Bound]:
        """Those that bind, as they are written."""
        return [
            Bound(one, other, verdict.bond, verdict.decided_by, verdict.reason, now)
            for (one, other), verdict in self.verdicts.items()
            if verdict.bond is not None
        ]

    def between(self, fact_id: UUID, others: Iterable[UUID]) -> Verdict | None:
        """The first verdict that binds a statement to one of the others."""
        for other in others:
            verdict = self.verdicts.get((fact_id, other)) or self.verdicts.get((other, fact_id))
            if verdict is not None and verdict.bond is not None:
                return verdict
        return None


def spread(verdicts: Mapping[Pair, Verdict], mates: Mapping[UUID, frozenset[UUID]]) -> dict[Pair, Verdict]:
    """What holds for a statement holds for those that say the same; between two that do, only what was judged."""
    spread = dict(verdicts)
    for (one, other), verdict in verdicts.items():
        ones, others = (mates.get(each, frozenset([each])) for each in (one, other))
        if verdict.bond is None or ones & others:
            continue
        for first in sorted(ones):
            for second in sorted(others):
                if (second, first) not in spread:
                    spread.setdefault((first, second), verdict)
    return spread


def mates_of(verdicts: Mapping[Pair, Verdict], merged: Mapping[UUID, UUID]) -> dict[UUID, frozenset[UUID]]:
    """By statement, all that are known to say the same, itself included."""
    groups: dict[UUID, set[UUID]] = {}
    pairs = [*merged.items(), *(pair for pair, verdict in verdicts.items() if verdict.bond is Bond.SAME)]
    for one, other in pairs:
        joined = groups.get(one, {one}) | groups.get(other, {other})
        groups.update(dict.fromkeys(joined, joined))
    return {fact_id: frozenset(group) for fact_id, group in groups.items()}
