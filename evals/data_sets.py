"""The data sets by name: how each is read, where it comes from, and how its questions are grouped."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evals import chats, locomo, longmemeval
from evals.cases import Case, Haystack
from evals.errors import DataUnreadable, WrongUse

ABSTENTION = "abstention"
ALL = "all"
ADVERSARIAL = locomo.CATEGORIES[5]
LOCOMO_ANSWERABLE = "1–4"  # noqa: RUF001 (as the metrics page writes it)
WITHOUT_ABSTENTION = "without abstention"


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set: its loader, its source and licence in a sentence, and the groups of a case.

    `together` are the groups of several categories, the one that stands for the whole first; `default` is the file that
    is shipped.
    """

    name: str
    load: Callable[[Path], Iterator[Haystack]]
    source: str
    groups_of: Callable[[Case], tuple[str, ...]]
    together: tuple[str, ...]
    default: Path | None = None


def _locomo_groups(case: Case) -> tuple[str, ...]:
    if case.category == ADVERSARIAL:
        return (ALL, ADVERSARIAL)
    return (LOCOMO_ANSWERABLE, ALL, case.category)


def _longmemeval_groups(case: Case) -> tuple[str, ...]:
    return (ABSTENTION,) if case.is_abstention else (WITHOUT_ABSTENTION, case.category)


DATA_SETS = {
    "locomo": DataSet("locomo", locomo.load, locomo.SOURCE, _locomo_groups, (LOCOMO_ANSWERABLE, ADVERSARIAL, ALL)),
    "longmemeval": DataSet(
        "longmemeval", longmemeval.load, longmemeval.SOURCE, _longmemeval_groups, (WITHOUT_ABSTENTION, ABSTENTION)
    ),
    "chats": DataSet("chats", chats.load, chats.SOURCE, lambda case: (ALL, case.category), (ALL,), chats.SHIPPED),
}


def checksum(path: Path, source: str) -> str:
    """The SHA-256 of a data file; raises DataUnreadable with where to get it."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise DataUnreadable(f"There is no readable data at {path} ({exc.strerror}). {source}") from exc


@dataclass(frozen=True, slots=True)
class Selection:
    """Which questions are asked: the first `limit`, or those with these ids."""

    limit: int | None = None
    ids: tuple[str, ...] = ()

    def of(self, haystacks: Iterator[Haystack]) -> Iterator[Haystack]:
        """The haystacks with questions that are asked, in order; raises WrongUse for an id that is nowhere."""
        left, missing = self.limit, set(self.ids)
        for haystack in haystacks:
            cases = tuple(case for case in haystack.cases if not self.ids or case.case_id in self.ids)[:left]
            missing -= {case.case_id for case in cases}
            left = None if left is None else left - len(cases)
            if cases or self._is_everything:
                yield replace(haystack, cases=cases)
            if left == 0 or (self.ids and not missing):
                return
        if missing and left != 0:
            raise WrongUse(f"No question of the data has the id {', '.join(sorted(missing))}.")

    @property
    def _is_everything(self) -> bool:
        # Then a haystack without a single question still has left-out ones to count.
        return self.limit is None and not self.ids


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do: ids of haystacks and cases in order, and the number of turns of each haystack."""

    cases: dict[str, tuple[str, ...]]
    turns: dict[str, int]
    left_out: dict[str, int]

    @classmethod
    def of(cls, haystacks: Iterator[Haystack]) -> "Plan":
        """Read through all haystacks once, keeping their sizes only; raises WrongUse when no case is among them."""
        cases: dict[str, tuple[str, ...]] = {}
        turns: dict[str, int] = {}
        left_out: dict[str, int] = {}
        for haystack in haystacks:
            for reason, count in haystack.left_out.items():
                left_out[reason] = left_out.get(reason, 0) + count
            if haystack.haystack_id in cases:
                raise DataUnreadable(f"Two histories of the data have the id {haystack.haystack_id!r}.")
            if haystack.cases:
                cases[haystack.haystack_id] = tuple(case.case_id for case in haystack.cases)
                turns[haystack.haystack_id] = haystack.turn_count
        if not cases:
            raise WrongUse("The data hold no question that could be asked.")
        return cls(cases, turns, left_out)

    def case_ids(self) -> Sequence[str]:
        """The ids of all cases, in order."""
        return [case_id for ids in self.cases.values() for case_id in ids]
