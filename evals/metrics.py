"""Pure: how much of the evidence a ranking holds, and how sure the mean over questions is."""

import math
from collections.abc import Collection, Hashable, Sequence

import numpy as np
import numpy.typing as npt

DRAWS = 2000


def recall(ranking: Sequence[Hashable], evidence: Collection[Hashable], *, k: int) -> float:
    """The share of the evidence among the first k: |evidence ∩ top k| / |evidence|."""
    return len(set(ranking[:k]) & set(evidence)) / len(set(evidence))


def recall_any(ranking: Sequence[Hashable], evidence: Collection[Hashable], *, k: int) -> float:
    """1 if any of the evidence is among the first k."""
    return float(bool(set(ranking[:k]) & set(evidence)))


def recall_all(ranking: Sequence[Hashable], evidence: Collection[Hashable], *, k: int) -> float:
    """1 only if all of the evidence is among the first k."""
    return float(set(evidence) <= set(ranking[:k]))


def ndcg(ranking: Sequence[Hashable], evidence: Collection[Hashable], *, k: int) -> float:
    """Normalised discounted cumulative gain, gains 0 and 1, as in textbooks: rank r is discounted by log2(r + 1)."""
    return _ndcg(ranking, evidence, k, [math.log2(rank + 1) for rank in range(1, k + 1)])


def ndcg_official(ranking: Sequence[Hashable], evidence: Collection[Hashable], *, k: int) -> float:
    """As LongMemEval's own script has it: ranks 1 and 2 are not discounted, rank r > 2 by log2(r)."""
    return _ndcg(ranking, evidence, k, [1.0, *(math.log2(rank) for rank in range(2, k + 1))])


def interval(values: Sequence[float], *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean over questions."""
    return bounds(drawn_means(values, draws=draws, seed=seed)) if values else (math.nan, math.nan)


def difference(
    before: Sequence[float], after: Sequence[float], *, is_paired: bool, draws: int = DRAWS
) -> tuple[float, float]:
    """The 95 % bootstrap interval of how much the mean rose; paired, both hold the same questions in the same order."""
    if not before or not after:
        return (math.nan, math.nan)
    if is_paired:
        rises = [later - earlier for earlier, later in zip(before, after, strict=True)]
        return bounds(drawn_means(rises, draws=draws, seed=0))
    return bounds(drawn_means(after, draws=draws, seed=1) - drawn_means(before, draws=draws, seed=0))


def drawn_means(values: Sequence[float], *, draws: int, seed: int) -> npt.NDArray[np.float64]:
    """The means of as many values drawn with replacement, `draws` times."""
    drawn = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    means: npt.NDArray[np.float64] = np.asarray(values, dtype=np.float64)[drawn].mean(axis=1)
    return means


def bounds(means: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The means that 2.5 % lie below and above."""
    ordered = np.sort(means)
    last = len(ordered) - 1
    return float(ordered[round(0.025 * last)]), float(ordered[round(0.975 * last)])


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan


def _ndcg(ranking: Sequence[Hashable], evidence: Collection[Hashable], k: int, discounts: Sequence[float]) -> float:
    wanted = set(evidence)
    gained = sum(1 / discounts[place] for place, item in enumerate(ranking[:k]) if item in wanted)
    ideal = sum(1 / discount for discount in discounts[: min(k, len(wanted))])
    return gained / ideal
