"""Pure: the hits of all legs become one ranking of turns, rounds or sessions."""

import json
import re
import unicodedata
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import fsum
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import numpy as np

from memsvc.domain import Found, Hit, Role, Trace, Unit
from memsvc.intervals import Interval, Window
from memsvc.memory.features import NAMES, Candidate, Numbers, candidates, features

# Cormack, Clarke and Büttcher (2009) fused long lists with 60. Here the first places decide: on LoCoMo's development
# conversations, evidence turns in the top 10 rose from .62 with 60 to .70 with 5.
RRF_K = 5
# A turn of an item counts as matched when it has at least this share of the item's score.
MATCHED_SHARE = 0.5
_WORD = re.compile(r"[^\W_]+")
_NO_NAMES = frozenset({"the", "my", "a", "an", "our", "mr", "mrs", "ms", "dr"})
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")

Legs = Mapping[str, Sequence[Hit]]
# What a candidate's odds are multiplied by; 1 changes nothing. A boost never filters.
Boost = Callable[[Found], float]


@dataclass(frozen=True, slots=True)
class Ranked:
    """An item of a ranking: the rounds it stands for, best first, the turns that matched with their scores, and why.

    `label` is the same for the same item in another ranking; `position` is that of its best turn.
    """

    session_row: UUID
    round_rows: tuple[UUID, ...]
    matched: dict[str, float]
    score: float
    trace: Trace
    turn_id: str | None = None
    position: int = 0
    label: Hashable = None


class Fusion(Protocol):
    """A way to make one number of what the legs say."""

    def odds(self, of: Sequence[Candidate], *, query: str) -> Numbers:
        """The odds, from 0 up, that each candidate is evidence; shape (candidates,)."""
        ...


class RankFusion(Fusion):
    """Reciprocal rank fusion (Cormack et al., SIGIR 2009). A candidate that is first in all legs has odds of one."""

    def odds(self, of: Sequence[Candidate], *, query: str) -> Numbers:  # noqa: ARG002 (the ranks alone count)
        """The share of the highest sum there can be."""
        legs = {leg for found in of for leg in found.legs}
        most = max(1, len(legs)) / (RRF_K + 1)
        return np.array([fsum(1 / (RRF_K + rank) for rank, _ in found.legs.values()) / most for found in of])


class LearnedFusion(Fusion):
    """A network with one hidden layer over `features`, made by `python -m training.fusion`."""

    def __init__(self, path: Path, *, late: bool = True) -> None:
        held: dict[str, Any] = json.loads(path.read_text())["late" if late else "plain"]
        if tuple(held["features"]) != NAMES:
            raise ValueError(f"{path} was trained on other features than {NAMES}")
        self._hidden_weight, self._hidden_bias, self._out_weight = (
            np.array(held[name]) for name in ("hidden_weight", "hidden_bias", "out_weight")
        )
        self._slope, self._bias = held["slope"], held["bias"]

    def odds(self, of: Sequence[Candidate], *, query: str) -> Numbers:
        """Calibrated: over the training questions, odds of one were evidence half the time."""
        return self.odds_of(features(of, query=query))

    def odds_of(self, numbers: Numbers) -> Numbers:
        """The odds of candidates whose features, of shape (candidates, features), are known."""
        inner = numbers @ self._hidden_weight + self._hidden_bias
        # GELU in its tanh form (Hendrycks and Gimpel, 2016), as trained.
        inner = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        return np.asarray(np.exp(np.clip(self._slope * (inner @ self._out_weight) + self._bias, -50, 50)))


def fuse(
    legs: Legs,
    *,
    unit: Unit,
    query: str = "",
    fusion: Fusion | None = None,
    boosts: Mapping[str, Boost] | None = None,
    limit: int | None = None,
) -> list[Ranked]:
    """The turns behind the legs' hits, by unit, best first.

    Scores lie between 0 and 1: odds / (1 + odds). An item has the score of its best turn; equal scores stand in the
    order of their best ranks in any leg.
    """
    found = candidates(legs)
    if not found:
        return []
    odds = (fusion or RankFusion()).odds(found, query=query)
    scored = [_scored(candidate, float(odd), boosts or {}) for candidate, odd in zip(found, odds, strict=True)]
    items: dict[Hashable, _Item] = {}
    label = _LABELS[unit]
    for turn in sorted(scored, key=lambda turn: (-turn.odds, turn.best_rank)):
        items.setdefault(label(turn.candidate.found), _Item([])).turns.append(turn)
    # Items stand in the order of their first, which is their best, turns.
    return [item.ranked(unit) for item in list(items.values())[:limit]]


def speaker_boost(query: str, legs: Legs, *, named: float, other: float) -> Boost | None:
    """A boost for what the speakers whom a query names said themselves; None when it names none of them."""
    asked = _plain(query)
    words = set(_WORD.findall(asked))
    speakers = {hit.found.speaker for hits in legs.values() for hit in hits}
    called = {speaker for speaker in speakers if _is_called(_plain(speaker), asked, words)}
    if not called:
        return None
    return lambda found: named if found.speaker in called else other


def recency_boost(asked_at: datetime, *, half_life: timedelta) -> Boost:
    """A boost that halves with each half-life between a turn and the question; nothing said later is boosted more."""

    def boost(found: Found) -> float:
        return float(0.5 ** (max(asked_at - found.said_at, timedelta()) / half_life))

    return boost


def time_boost(window: Window, *, peak: float, tolerance: timedelta) -> Boost:
    """A boost of `peak` for what was said, or tells of something, in the window, give or take the tolerance.

    Beyond, it fades towards 1: by half with each unit that the window is true to. Nothing is dropped.
    """
    interval, unit = window.interval, window.precision.length

    def boost(found: Found) -> float:
        times = [Interval(found.said_at, found.said_at), *found.events]
        beyond = max(min(interval.distance(time) for time in times) - tolerance, timedelta())
        return float(1 + (peak - 1) * 0.5 ** (beyond / unit))

    return boost


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _is_called(speaker: str, query: str, words: set[str]) -> bool:
    """Whether a query holds a speaker's name, or its first word; a role is no name."""
    if speaker in set(Role):
        return False
    parts = _WORD.findall(speaker)
    # Signs, and scripts without spaces, have no word borders to go by.
    if not parts or _UNSPACED.search(speaker):
        return speaker in query
    return words.issuperset(parts if parts[0] in _NO_NAMES else parts[:1])


@dataclass(frozen=True, slots=True)
class _Scored:
    candidate: Candidate
    odds: float
    boosts: dict[str, float]

    @property
    def best_rank(self) -> int:
        return min(rank for rank, _ in self.candidate.legs.values())

    @property
    def score(self) -> float:
        return round(self.odds / (1 + self.odds), 9)


@dataclass(frozen=True, slots=True)
class _Item:
    """An item while it is put together: its turns, best first."""

    turns: list[_Scored]

    def ranked(self, unit: Unit) -> Ranked:
        best = self.turns[0]
        legs: dict[str, tuple[int, float]] = {}
        for turn in self.turns:
            for leg, place in turn.candidate.legs.items():
                legs[leg] = min(place, legs.get(leg, place))
        least = MATCHED_SHARE * best.score
        return Ranked(
            session_row=best.candidate.found.session_row,
            round_rows=tuple(dict.fromkeys(turn.candidate.found.round_row for turn in self.turns)),
            matched={turn.candidate.found.turn_id: turn.score for turn in self.turns if turn.score >= least},
            score=best.score,
            trace=Trace(legs, best.boosts),
            turn_id=best.candidate.found.turn_id if unit is Unit.TURN else None,
            position=best.candidate.found.position,
            label=_LABELS[unit](best.candidate.found),
        )


def _scored(candidate: Candidate, odds: float, boosts: Mapping[str, Boost]) -> _Scored:
    applied = {name: boost(candidate.found) for name, boost in boosts.items()}
    for factor in applied.values():
        odds *= factor
    return _Scored(candidate, odds, {name: factor for name, factor in applied.items() if factor != 1})


_LABELS: dict[Unit, Callable[[Found], Hashable]] = {
    Unit.TURN: lambda found: (found.session_row, found.position),
    Unit.ROUND: lambda found: found.round_row,
    Unit.SESSION: lambda found: found.session_row,
    Unit.FACT: lambda found: found.fact,
}
