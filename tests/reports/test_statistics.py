"""Statistics against scipy, closed forms and exhaustive enumeration."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import stats

from prefront.reports import statistics

relaxed = settings(max_examples=40)
values = st.integers(-4, 4).map(float) | st.floats(-4, 4).map(lambda x: round(x, 2))
alternatives = st.sampled_from(["two-sided", "greater", "less"])


def enumerated_p_value(observed, null, alternative):
    above = np.mean([value >= observed - 1e-9 for value in null])
    below = np.mean([value <= observed + 1e-9 for value in null])
    return {"greater": above, "less": below, "two-sided": min(1, 2 * min(above, below))}[alternative]


def test_iqm_is_the_mean_of_the_middle_half():
    assert statistics.iqm([100.0, 1, 2, 3, 4, 5, 6, -50]) == (2 + 3 + 4 + 5) / 4
    table = np.arange(24.0).reshape(8, 3)
    assert statistics.iqm(table) == stats.trim_mean(table.ravel(), 0.25)
    assert np.allclose(statistics.iqm(table, axis=0), table[2:6].mean(0))


def test_bootstrap_of_one_task_agrees_with_scipy():
    scores = np.random.default_rng(0).exponential(size=20)
    ours = statistics.stratified_bootstrap(scores, np.mean, resamples=20_000)
    theirs = stats.bootstrap((scores,), np.mean, n_resamples=20_000, method="BCa", rng=1).confidence_interval
    assert ours.estimate == pytest.approx(scores.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.high, abs=0.02)
    assert ours == statistics.stratified_bootstrap(scores, np.mean, resamples=20_000)
    assert ours.runs == (20,)


def test_one_run_says_nothing_of_its_spread():
    for scores in ([0.7], [[0.7], [0.2]], [[0.7], [0.2, 0.4]]):
        found = statistics.stratified_bootstrap(scores)
        assert math.isnan(found.low) and math.isnan(found.high)
        assert found.estimate == pytest.approx(np.mean(np.concatenate([np.atleast_1d(one) for one in scores])), abs=0.1)
    profile = statistics.performance_profile([[0.7], [0.2]], [0.5])
    assert math.isnan(profile.low[0]) and math.isnan(profile.high[0])
    assert math.isnan(statistics.probability_of_improvement([1.0], [0.0, 2.0]).low)


def test_arrays_of_every_library_are_read_by_axes():
    jnp, torch = pytest.importorskip("jax.numpy"), pytest.importorskip("torch")
    table = np.array([[0.0, 10], [1, 11], [2, 12], [3, 13], [4, 14]])
    expected = statistics.stratified_bootstrap(table, np.mean, resamples=200)
    for same in (jnp.asarray(table), torch.tensor(table), [table[:, 0], jnp.asarray(table[:, 1])]):
        assert statistics.stratified_bootstrap(same, np.mean, resamples=200) == expected


def test_bootstrap_keeps_every_task_in_every_resample():
    # Tasks that differ but whose runs agree leave nothing to resample.
    flat = statistics.stratified_bootstrap([[1.0, 1.0, 1.0], [5.0, 5.0]], np.mean)
    assert (flat.low, flat.estimate, flat.high) == (13 / 5,) * 3
    assert flat.runs == (3, 2)
    # A table is read as (runs, tasks).
    table = np.array([[0.0, 7.0], [1.0, 7.0]])
    by_table = statistics.stratified_bootstrap(table, np.mean)
    assert by_table == statistics.stratified_bootstrap([table[:, 0], table[:, 1]], np.mean)
    assert 3.5 <= by_table.low <= by_table.estimate <= by_table.high <= 4.0


def test_bootstrap_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for repetition in range(300):
        scores = rng.normal(loc=[0.0, 3.0], size=(15, 2))
        interval = statistics.stratified_bootstrap(scores, np.mean, confidence=0.9, resamples=400, seed=repetition)
        covered += interval.low <= 1.5 <= interval.high
    # Bootstrap intervals of small samples cover a little less than they say.
    assert 0.82 < covered / 300 < 0.95


def test_performance_profile_by_hand():
    scores = [[1.0, 2.0, 3.0, 4.0], [10.0, 10.0]]
    profile = statistics.performance_profile(scores, [0.0, 2.0, 9.0, 10.0])
    assert profile.share.tolist() == [1.0, 0.75, 0.5, 0.0]
    assert profile.low[0] == profile.high[0] == 1.0
    # Above 2 lie two of four runs: the pooled share of a resample is (Binomial(4, 1/2) / 4 + 1) / 2.
    assert profile.low[1] == (stats.binom.ppf(0.025, 4, 0.5) / 4 + 1) / 2
    assert profile.high[1] == (stats.binom.ppf(0.975, 4, 0.5) / 4 + 1) / 2


@relaxed
@given(first=st.lists(values, min_size=1, max_size=6), second=st.lists(values, min_size=1, max_size=6))
def test_probability_of_improvement_is_the_mann_whitney_statistic(first, second):
    found = statistics.probability_of_improvement(first, second, resamples=50)
    expected = stats.mannwhitneyu(first, second, method="asymptotic").statistic / (len(first) * len(second))
    assert found.estimate == pytest.approx(expected if np.ptp([*first, *second]) else 0.5)
    reverse = statistics.probability_of_improvement(second, first, resamples=50)
    assert found.estimate + reverse.estimate == pytest.approx(1)
    if min(len(first), len(second)) > 1:
        assert 0 <= found.low <= found.high <= 1


def test_probability_of_improvement_averages_over_tasks():
    ours, theirs = [[2.0, 3.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]]
    assert statistics.probability_of_improvement(ours, theirs).estimate == (1 + 0.25) / 2


@relaxed
@given(differences=npst.arrays(np.float64, st.integers(1, 8), elements=values), alternative=alternatives)
def test_paired_tests_equal_enumeration(differences, alternative):
    theirs = np.linspace(0, 1, len(differences))
    flips = list(itertools.product([1, -1], repeat=len(differences)))
    found = statistics.permutation_test(theirs + differences, theirs, alternative)
    rounded = theirs + differences - theirs
    null = [np.mean(rounded * flip) for flip in flips]
    assert found.exact
    assert found.statistic == pytest.approx(differences.mean())
    assert found.p_value == pytest.approx(enumerated_p_value(np.mean(rounded), null, alternative))

    ranked = statistics.wilcoxon_test(differences, np.zeros(len(differences)), alternative)
    kept = differences[differences != 0]
    ranks = stats.rankdata(np.abs(kept))
    null = [ranks[kept * flip > 0].sum() for flip in itertools.product([1, -1], repeat=len(kept))]
    assert ranked.exact
    assert ranked.number == len(kept)
    assert ranked.p_value == pytest.approx(enumerated_p_value(ranks[kept > 0].sum(), null, alternative))


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("pairs", [5, 12, 20, 70])
def test_paired_tests_agree_with_scipy(pairs, alternative):
    rng = np.random.default_rng(pairs)
    ours, theirs = rng.normal(0.3, 1, pairs), rng.normal(0, 1, pairs)
    ranked = statistics.wilcoxon_test(ours, theirs, alternative)
    method = "exact" if pairs <= 50 else "asymptotic"
    expected = stats.wilcoxon(ours, theirs, alternative=alternative, method=method).pvalue
    assert ranked.p_value == pytest.approx(expected)
    assert ranked.exact == (pairs <= 50)
    found = statistics.permutation_test(ours, theirs, alternative)
    reference = stats.permutation_test(
        (ours, theirs),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        alternative=alternative,
        n_resamples=2**14,
        rng=5,
    )
    assert found.p_value == pytest.approx(reference.pvalue, abs=1e-9 if pairs <= 12 else 0.02)
    assert found.exact == (pairs <= 12)


def test_five_seeds_that_all_agree_reach_one_in_thirty_two():
    ours, theirs = [2.0, 3, 4, 5, 6], [1.0, 1, 1, 1, 1]
    for test in (statistics.wilcoxon_test, statistics.permutation_test):
        assert test(ours, theirs, "greater").p_value == 1 / 32
        assert test(ours, theirs, "two-sided").p_value == 1 / 16
        assert test(ours, theirs, "less").p_value == 1
        assert test(ours, ours).p_value == 1


def test_rounding_is_no_difference_and_breaks_no_tie():
    ours, theirs = [0.1 + 0.2] * 8, [0.3] * 8
    for test in (statistics.wilcoxon_test, statistics.permutation_test):
        assert test(ours, theirs, "greater").p_value == 1
    # 0.3 - 0.2 and 0.2 - 0.1 differ in the last digit only, so their sizes share a rank.
    tied = statistics.wilcoxon_test([0.3, 0.1, 5.0], [0.2, 0.2, 0.0], "greater")
    assert tied.statistic == 3 + 1.5
    assert statistics.wilcoxon_test([1e300, -1e-300], [0.0, 0.0]).number == 2
    levels = np.arange(3)
    assert statistics.rank_correlations([[0.1 + 0.2, 0.3, 0.3], [0.0, 1.0, 2.0]], levels).tolist() == [0.0, 1.0]
    assert statistics.trend_test([[0.3, 0.1 + 0.2, 0.3]], alternative="greater").p_value == 1


@pytest.mark.parametrize("test", [statistics.wilcoxon_test, statistics.permutation_test])
def test_paired_tests_reject_a_true_hypothesis_as_seldom_as_they_say(test):
    rng = np.random.default_rng(1)
    rejected = [test(*rng.normal(size=(2, 8)), "greater").p_value <= 0.05 for _ in range(800)]
    # 12 of the 256 sign patterns lie below 0.05; the bound is four standard errors above.
    assert np.mean(rejected) < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 800)
    assert np.mean(rejected) > 0.02


@relaxed
@example(table=np.array([[-2.0, -1.0, -3.0, 0.0], [1.0, -2.0, 0.0, -1.0]]), how="greater")  # ties at correlation 0
@given(
    table=npst.arrays(np.float64, st.tuples(st.integers(1, 2), st.integers(2, 4)), elements=values), how=alternatives
)
def test_trend_equals_enumeration(table, how):
    def correlation(row, levels):
        return stats.spearmanr(row, levels).statistic if np.ptp(row) else 0.0

    levels = np.arange(table.shape[1]) ** 2
    of_each_run = [[correlation(row, order) for order in itertools.permutations(levels)] for row in table]
    null = [np.mean(chosen) for chosen in itertools.product(*of_each_run)]
    found = statistics.trend_test(table, levels, how)
    assert found.exact
    assert found.statistic == pytest.approx(np.mean([correlation(row, levels) for row in table]))
    assert found.p_value == pytest.approx(enumerated_p_value(found.statistic, null, how))


def test_trend_agrees_with_page_and_spearman():
    rng = np.random.default_rng(3)
    table = rng.normal(size=(6, 5)) + 0.2 * np.arange(5)
    ours = statistics.trend_test(table, alternative="greater")
    page = stats.page_trend_test(table, method="exact")
    assert not ours.exact
    assert ours.p_value == pytest.approx(page.pvalue, abs=4 * math.sqrt(page.pvalue / statistics.RELABELLINGS))
    assert statistics.trend_test(table[0]).statistic == pytest.approx(stats.spearmanr(table[0], np.arange(5)).statistic)
    assert statistics.trend_test(table, alternative="greater") == ours
    # The order of the levels decides, not their place.
    assert statistics.trend_test(table[:, ::-1], np.arange(5)[::-1]).statistic == pytest.approx(ours.statistic)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.wilcoxon_test([1, 2], [1, 2, 3]), r"\(2,\) and \(3,\)"),
        (lambda: statistics.permutation_test([1, np.nan], [1, 2]), "finite"),
        (lambda: statistics.permutation_test([1, 2], [1, 2], "larger"), "two-sided.*'larger'"),
        (lambda: statistics.trend_test([1.0]), "two different levels"),
        (lambda: statistics.trend_test([[1.0, 2.0]], [3, 3]), "two different levels"),
        (lambda: statistics.trend_test([[1.0, 2.0]], [3, 4, 5]), r"values of shape \(1, 2\)"),
        (lambda: statistics.stratified_bootstrap([]), "at least one run"),
        (lambda: statistics.stratified_bootstrap([[1.0], []]), "at least one run"),
        (lambda: statistics.stratified_bootstrap([1.0, np.inf]), "finite"),
        (lambda: statistics.stratified_bootstrap([1.0], confidence=95), r"\(0, 1\), got 95"),
        (lambda: statistics.stratified_bootstrap(np.ones((2, 2, 2))), r"\(2, 2, 2\)"),
        (lambda: statistics.probability_of_improvement([[1.0], [2.0]], [1.0]), "same tasks, got 2 and 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
