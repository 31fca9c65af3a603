"""The metrics, by hand."""

import math

import pytest

from evals import metrics


@pytest.mark.parametrize(
    ("ranking", "evidence", "k", "share", "some", "every"),
    [
        pytest.param("abcd", "a", 1, 1.0, 1.0, 1.0, id="first"),
        pytest.param("abcd", "d", 3, 0.0, 0.0, 0.0, id="behind k"),
        pytest.param("abcd", "ad", 3, 0.5, 1.0, 0.0, id="one of two"),
        pytest.param("abcd", "ad", 4, 1.0, 1.0, 1.0, id="both"),
        pytest.param("", "a", 5, 0.0, 0.0, 0.0, id="nothing found"),
        pytest.param("ab", "bz", 5, 0.5, 1.0, 0.0, id="one is nowhere"),
    ],
)
def test_recall_counts_the_evidence_among_the_first(
    ranking: str, evidence: str, k: int, share: float, some: float, every: float
) -> None:
    got = [measure(ranking, evidence, k=k) for measure in (metrics.recall, metrics.recall_any, metrics.recall_all)]

    assert got == [share, some, every]


def test_ndcg_discounts_from_the_second_rank_and_the_official_one_from_the_third() -> None:
    # Evidence at ranks 2 and 3 of three; the ideal has it at ranks 1 and 2.
    textbook = (1 / math.log2(3) + 1 / math.log2(4)) / (1 + 1 / math.log2(3))
    official = (1 / 1 + 1 / math.log2(3)) / (1 + 1)

    assert metrics.ndcg("xab", "ab", k=10) == pytest.approx(textbook)
    assert metrics.ndcg_official("xab", "ab", k=10) == pytest.approx(official)


def test_ndcg_takes_its_ideal_over_the_whole_corpus() -> None:
    # Three pieces of evidence, one found: the two that are nowhere count in the ideal.
    assert metrics.ndcg_official("a", "abc", k=10) == pytest.approx(1 / (1 + 1 + 1 / math.log2(3)))


def test_second_rank_is_not_discounted_officially() -> None:
    assert metrics.ndcg_official("xa", "a", k=10) == 1.0
    assert metrics.ndcg("xa", "a", k=10) == pytest.approx(1 / math.log2(3))


def test_interval_holds_the_mean_and_is_the_same_each_time() -> None:
    values = [0.0, 1.0] * 50

    low, high = metrics.interval(values)

    assert low < 0.5 < high
    assert (low, high) == metrics.interval(values)
    assert metrics.interval([1.0] * 10) == (1.0, 1.0)
    assert all(math.isnan(bound) for bound in metrics.interval([]))


def test_paired_difference_is_surer_than_an_unpaired_one() -> None:
    # Every question rises by a tenth, and the questions differ by far more than that.
    before = [number / 10 for number in range(9)] * 5
    after = [value + 0.1 for value in before]

    low, high = metrics.difference(before, after, is_paired=True)
    assert [low, high] == pytest.approx([0.1, 0.1])
    low, high = metrics.difference(before, after, is_paired=False)
    assert low < 0 < 0.1 < high


def test_interval_is_about_two_standard_errors_to_either_side() -> None:
    # A coin thrown 400 times: the standard error of the mean is 0.5 / 20.
    low, high = metrics.interval([0.0, 1.0] * 200)

    assert [low, high] == pytest.approx([0.5 - 1.96 * 0.025, 0.5 + 1.96 * 0.025], abs=0.006)


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 5), (0.95, 10), (1.0, 10)])
def test_quantile_is_a_value_that_occurred(share: float, value: float) -> None:
    assert metrics.quantile([float(number) for number in range(10, 0, -1)], share) == value
