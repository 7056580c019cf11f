"""Evidence: intervals cover what they say, agree with known tests, and are the same test as their p-values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from prefront.reports.evidence import Least, Mean, Median
from prefront.reports.share_evidence import Share, SharesApart

relaxed = settings(max_examples=60)
numbers = st.lists(st.integers(-20, 20).map(float) | st.floats(-4, 4), min_size=2, max_size=12)
counts = st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda pair: sum(pair) > 1)
evidence = st.one_of(
    numbers.map(Mean.of),
    numbers.map(Median.of),
    counts.map(lambda pair: Share(pair[0], sum(pair))),
    counts.map(lambda pair: SharesApart(*pair, sum(pair) + 3)),
    st.lists(numbers.map(Mean.of), min_size=1, max_size=3).map(Least.of),
)


@pytest.mark.parametrize(
    ("runs", "of_exponential"), [(5, 0.87), (10, 0.90)], ids=["5 runs", "10 runs"]
)  # Percentiles of a bootstrap have .79 and .86 of exponential data.
def test_intervals_of_means_cover_what_they_say(runs, of_exponential):
    rng = np.random.default_rng(runs)
    normal = coverage_of_many(rng.normal(3.0, 2.0, (200_000, runs)), 3.0)
    assert 0.94 < normal < 0.96
    # Simulation is right to .0007.
    assert coverage_of_many(rng.exponential(1.0, (200_000, runs)), 1.0) > of_exponential + 0.0021


def coverage_of_many(draws, mean):
    """The same interval for all rows at once; that it is the same is asserted for some."""
    count = draws.shape[1]
    middle, variance = draws.mean(1), draws.var(1, ddof=1)
    cumulant = stats.kstat(draws, 3, axis=1)
    centre = middle + cumulant / (6 * count * variance)
    reach = stats.t.ppf(0.975, count - 1) * np.sqrt(variance / count)
    for row in range(20):
        assert Mean.of(draws[row]).interval() == pytest.approx((centre[row] - reach[row], centre[row] + reach[row]))
    return np.mean(np.abs(centre - mean) <= reach)


def test_symmetric_runs_are_judged_by_student():
    runs = np.array([-2.0, -1.0, 0.0, 1.0, 2.0]) + 0.7
    found, known = Mean.of(runs), stats.ttest_1samp(runs, 0.0)
    assert found.interval(0.9) == pytest.approx(tuple(known.confidence_interval(0.9)))
    assert found.p_value(0.0, "greater") == pytest.approx(stats.ttest_1samp(runs, 0.0, alternative="greater").pvalue)


@relaxed
@given(found=evidence, bound=st.floats(-3, 3), confidence=st.sampled_from([0.9, 0.95, 0.99]))
def test_the_interval_is_the_test(found, bound, confidence):
    low, high = found.interval(confidence)
    level = (1 - confidence) / 2
    for beyond, p_value in (
        (low > bound, found.p_value(bound, "greater")),
        (high < bound, found.p_value(bound, "less")),
    ):
        if abs(p_value - level) > 1e-9 and isinstance(found, Share) <= (0 < bound < 1):
            assert beyond == (p_value < level)


def test_shares_have_exact_bounds():
    found = Share.of([True] * 9 + [False])
    known = stats.binomtest(9, 10, 0.5, alternative="greater")
    assert found.interval() == pytest.approx(tuple(stats.binomtest(9, 10).proportion_ci(method="exact")))
    assert found.p_value(0.5, "greater") == pytest.approx(known.pvalue)
    assert Share.of([True] * 10).interval() == pytest.approx((0.025**0.1, 1.0))


def test_medians_have_the_bounds_of_order_statistics():
    found = Median.of([5.0, 1, 3, 2, 4, 6, 10, 7, 9, 8])
    assert found.estimate == 5.5
    # P(Binomial(10, 1/2) <= 1) = .0107.
    assert found.interval(0.95) == (2.0, 9.0)
    assert found.p_value(1.5, "greater") == pytest.approx(stats.binom.sf(8, 10, 0.5))
    assert all(map(math.isnan, Median.of([1.0, 2.0, 3.0]).interval()))


@pytest.mark.parametrize("ahead", [1, 3, 10, 20])
def test_paired_shares_beside_zero_agree_with_mcnemar(ahead):
    exact = 0.5**ahead
    assert SharesApart(ahead, 0, 200).p_value(0.0, "greater") == pytest.approx(exact, rel=2.0)
    assert SharesApart(ahead, 0, 200).p_value(0.0, "greater") > 0.4 * exact


def test_paired_shares_cover_what_they_say():
    rng = np.random.default_rng(0)
    for ours, both, number in ((0.05, 0.02, 100), (0.3, 0.1, 100), (0.4, 0.2, 20)):
        drawn = rng.multinomial(number, [ours, both, 1 - ours - both], 4000)
        ends = np.array([SharesApart(int(a), int(b), number).interval() for a, b, _ in drawn])
        assert 0.94 < np.mean((ends[:, 0] <= ours - both) & (ours - both <= ends[:, 1])) < 0.985


def test_the_least_of_levels_is_covered():
    rng = np.random.default_rng(1)
    held = 0
    for draws in rng.normal([0.0, 0.1, 3.0], 1.0, (2000, 12, 3)):
        low, high = Least.of([Mean.of(level) for level in draws.T]).interval()
        held += low <= 0.0 <= high
    assert held / 2000 > 0.94


def test_one_run_is_no_evidence():
    for found in (Mean.of([0.7]), Share.of([True]), SharesApart.of([True], [False]), Median.of([0.7])):
        assert all(map(math.isnan, (*found.interval(), found.p_value(0.0, "greater"), found.p_value(0.0, "less"))))
    assert math.isnan(Least.of([Mean.of([1.0, 2.0]), Mean.of([1.0])]).p_value(0.0, "greater"))


def test_runs_that_all_agree_are_as_many_signs():
    same = Mean.of([3.0] * 8)
    assert same.interval() == (3.0, 3.0)
    assert (same.p_value(2.0, "greater"), same.p_value(3.0, "greater")) == (1 / 256, 1.0)
    assert all(map(math.isnan, Mean.of([3.0] * 5).interval()))
    rounded = Mean.of_pairs([0.1 + 0.2] * 8, [0.3] * 8)
    assert rounded.values == (0.0,) * 8
    assert Mean.of([0.1 + 0.2] * 4 + [0.3] * 4).p_value(0.2, "greater") == 1 / 256


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Mean.of([]), "at least one run"),
        (lambda: Mean.of([[1.0]]), r"\(1, 1\)"),
        (lambda: Mean.of([1.0, math.nan]), "finite"),
        (lambda: Mean.of([1.0, 2.0]).interval(95), r"\(0, 1\), got 95"),
        (lambda: Mean.of_pairs([1.0], [1.0, 2.0]), r"\(1,\) and \(2,\)"),
        (lambda: Share.of([]), "at least one trial"),
        (lambda: SharesApart.of([True], [True, False]), r"\(1,\) and \(2,\)"),
        (lambda: Least.of([]), "no figures"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("found", "bound", "expected"),
    [
        (Share(7, 10), 0.5, 0.5**10),
        (Share(7, 10), 0.8, 0.8**10),
        (Median.of([1.0, 2.0, 3.0]), 0.0, 1 / 8),
        (Mean.of([1.0, 2.0, 3.0]), 0.0, 0.0),
        (Mean.of([1.0, 1.0, 1.0]), 0.0, 1 / 8),
        (Least.of([Share(7, 10), Share(7, 8)]), 0.5, 0.5**8),
    ],
)
def test_the_smallest_p_value_is_that_of_runs_that_all_agree(found, bound, expected):
    assert found.least_p(bound, "greater") == pytest.approx(expected)
    if isinstance(found, Share):
        assert Share(10, 10).p_value(bound, "greater") == pytest.approx(expected)
