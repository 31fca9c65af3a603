"""Pure: what holds when: the ledger of a user's statements follows from them and the bonds between them alone.

It is the same in whichever order, and however often, the statements came to be known; taking a bond away undoes what it
did. Nothing is deleted: a statement that no longer holds has an end.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memsvc.facts import Bond


@dataclass(frozen=True, slots=True)
class Entry:
    """A statement as the ledger sees it: when it became valid, was said, and, if that was told, ended."""

    fact_id: UUID
    valid_at: datetime
    said_at: datetime
    ends_at: datetime | None = None
    mark: tuple[int, int] = (0, 0)

    @property
    def place(self) -> tuple[datetime, datetime, tuple[int, int], UUID]:
        """Where it stands in time; of those of one instant, where it stands in its session, and at last the id."""
        return self.valid_at, self.said_at, self.mark, self.fact_id


@dataclass(frozen=True, slots=True)
class Tie:
    """A bond between two statements."""

    one: UUID
    other: UUID
    bond: Bond


@dataclass(frozen=True, slots=True)
class Standing:
    """What a statement is worth: from when to when it holds, what ended it, or which one it only says again."""

    valid_at: datetime
    invalid_at: datetime | None = None
    superseded_by: UUID | None = None
    merged_into: UUID | None = None


def settled(entries: Iterable[Entry], ties: Sequence[Tie]) -> dict[UUID, Standing]:
    """The standing of each statement. Ties to statements that are not among the entries count for nothing.

    Those taken back fall out first. The others are walked through in time: one that says what still holds is merged
    into it; any other ends what it excludes. A state that comes back after it had ended is a statement of its own.
    """
    known = {entry.fact_id: entry for entry in entries}
    bonds = _Bonds(known, ties)
    standings = {
        taken: Standing(known[taken].valid_at, known[taken].valid_at, by) for taken, by in bonds.corrected().items()
    }
    corrected = set(standings)
    for entry in sorted((entry for entry in known.values() if entry.fact_id not in corrected), key=lambda e: e.place):
        _walk(entry, bonds, standings)
    return {
        fact_id: _with_root(standing, standings) if fact_id in corrected else standing
        for fact_id, standing in standings.items()
    }


def _walk(entry: Entry, bonds: "_Bonds", standings: dict[UUID, Standing]) -> None:
    """Give one statement its standing, all earlier ones having theirs, and end what it excludes."""
    roots = [_root(other, standings) for other in bonds.of(entry.fact_id, Bond.SAME) if other in standings]
    alive = [root for root in dict.fromkeys(roots) if _holds(standings[root], entry.valid_at)]
    if alive:
        root = min(alive, key=lambda fact_id: bonds.known[fact_id].place)
        standings[entry.fact_id] = Standing(standings[root].valid_at, merged_into=root)
    else:
        root = entry.fact_id
        standings[root] = Standing(entry.valid_at, entry.ends_at)
    for other in bonds.of(entry.fact_id, Bond.EXCLUDES):
        if other not in standings:
            continue
        ended = _root(other, standings)
        if ended != root and _holds(standings[ended], entry.valid_at):
            standings[ended] = Standing(standings[ended].valid_at, entry.valid_at, root)


class _Bonds:
    """Who is bound to whom."""

    def __init__(self, known: dict[UUID, Entry], ties: Sequence[Tie]) -> None:
        self.known = known
        self._partners: dict[tuple[UUID, Bond], list[UUID]] = {}
        for tie in ties:
            if tie.one in known and tie.other in known and tie.one != tie.other:
                self._partners.setdefault((tie.one, tie.bond), []).append(tie.other)
                self._partners.setdefault((tie.other, tie.bond), []).append(tie.one)

    def of(self, fact_id: UUID, bond: Bond) -> list[UUID]:
        """Its partners, by their place in time."""
        return sorted(self._partners.get((fact_id, bond), ()), key=lambda other: self.known[other].place)

    def corrected(self) -> dict[UUID, UUID]:
        """Those that were taken back, each with what took it back: the last word counts, so it is looked at first."""
        taken: dict[UUID, UUID] = {}
        said = {fact_id: (entry.said_at, entry.mark, entry.valid_at, fact_id) for fact_id, entry in self.known.items()}
        for fact_id in sorted(self.known, key=lambda one: said[one], reverse=True):
            correctors = [
                other for other in self.of(fact_id, Bond.CORRECTS) if said[other] > said[fact_id] and other not in taken
            ]
            if correctors:
                taken[fact_id] = min(correctors, key=lambda one: said[one])
        return taken


def _root(fact_id: UUID, standings: dict[UUID, Standing]) -> UUID:
    return standings[fact_id].merged_into or fact_id


def _with_root(standing: Standing, standings: dict[UUID, Standing]) -> Standing:
    """What was taken back was so by the statement that its corrector is merged into."""
    by = standing.superseded_by
    if by is None or by not in standings:
        return standing
    return Standing(standing.valid_at, standing.invalid_at, _root(by, standings))


def _holds(standing: Standing, at: datetime) -> bool:
    """Whether it has begun and not yet ended at an instant. What begins and ends at once never held."""
    return standing.valid_at <= at and (standing.invalid_at is None or at < standing.invalid_at)
