"""Statistics against scipy and closed forms."""

import math

import numpy as np
import pytest
from scipy import stats

from prefront.reports import statistics


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


def test_rank_correlations_are_spearmans_and_rounding_is_no_difference():
    rng = np.random.default_rng(3)
    table = rng.integers(0, 4, size=(6, 5)) + 0.1 * np.arange(5)
    expected = [stats.spearmanr(row, np.arange(5)).statistic for row in table]
    assert statistics.rank_correlations(table) == pytest.approx(expected)
    assert statistics.rank_correlations([[0.1 + 0.2, 0.3, 0.3], [0.0, 1.0, 2.0]]).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.rank_correlations([1.0]), "at least two levels"),
        (lambda: statistics.rank_correlations([1.0, np.nan]), "finite"),
        (lambda: statistics.stratified_bootstrap([]), "at least one run"),
        (lambda: statistics.stratified_bootstrap([[1.0], []]), "at least one run"),
        (lambda: statistics.stratified_bootstrap([1.0, np.inf]), "finite"),
        (lambda: statistics.stratified_bootstrap([1.0], confidence=95), r"\(0, 1\), got 95"),
        (lambda: statistics.stratified_bootstrap(np.ones((2, 2, 2))), r"\(2, 2, 2\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
