"""Pure: how much of the evidence a ranking holds, and how sure the mean over questions is."""

import math
import random
from collections.abc import Collection, Hashable, Sequence
from statistics import mean


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


def interval(values: Sequence[float], *, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean over questions."""
    if not values:
        return (math.nan, math.nan)
    drawn = random.Random(seed)  # noqa: S311 (no secret)
    means = sorted(mean(drawn.choices(values, k=len(values))) for _ in range(draws))
    return means[round(0.025 * (draws - 1))], means[round(0.975 * (draws - 1))]


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan


def _ndcg(ranking: Sequence[Hashable], evidence: Collection[Hashable], k: int, discounts: Sequence[float]) -> float:
    wanted = set(evidence)
    gained = sum(1 / discounts[place] for place, item in enumerate(ranking[:k]) if item in wanted)
    ideal = sum(1 / discount for discount in discounts[: min(k, len(wanted))])
    return gained / ideal
