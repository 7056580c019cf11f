"""Statistics over runs: robust means with intervals, profiles, and tests that pair runs by their seed.

Scores are either an array (of NumPy, JAX or PyTorch) of shape (runs, tasks) or (runs,), or a list with one sequence of
runs per task, whose lengths may differ. The aggregates are those of Agarwal et al. (2021), "Deep Reinforcement Learning
at the Edge of the Statistical Precipice". Claims are decided by `prefront.reports.evidence`.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import scipy
from numpy.typing import ArrayLike

from prefront.reports.evidence import Mean
from prefront.reports.score_arrays import ROUNDING, Scores, by_task, check_confidence, paired_differences, ranks
from prefront.reports.share_evidence import Share

Alternative = Literal["two-sided", "greater", "less"]
Statistic: TypeAlias = Callable[..., Any]
# Up to this many relabellings a permutation test enumerates them all; beyond, it draws this many.
RELABELLINGS = 2**14
# Up to this many untied differences the distribution of the signed-rank sum is computed exactly.
LARGEST_TABULATED = 50


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval.

    Attributes:
        estimate: The statistic of the scores themselves.
        low: Lower end; NaN where a task has a single run, which says nothing of its spread.
        high: Upper end; NaN likewise.
        confidence: Share of repetitions whose interval is meant to hold the true value.
        runs: Number of runs of each task.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    runs: tuple[int, ...]
    resamples: int
    seed: int


@dataclasses.dataclass(frozen=True)
class Profile:
    """A performance profile: the share of runs whose score exceeds each threshold, with a pointwise interval.

    Attributes:
        thresholds: Thresholds, shape (thresholds,).
        share: Share of runs above each, shape (thresholds,).
        low: Lower end of the interval, shape (thresholds,).
        high: Upper end of the interval, shape (thresholds,).
        confidence: Confidence of the interval.
    """

    thresholds: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    confidence: float


@dataclasses.dataclass(frozen=True)
class Significance:
    """The outcome of a hypothesis test.

    Attributes:
        test: Which test it was.
        statistic: Its statistic.
        p_value: Its p-value.
        alternative: "two-sided", "greater" or "less".
        number: Number of pairs or of runs.
        exact: Whether the p-value counts all relabellings; otherwise it is asymptotic or from drawn ones.
    """

    test: str
    statistic: float
    p_value: float
    alternative: Alternative
    number: int
    exact: bool


def iqm(scores: ArrayLike, axis: int | None = None) -> Any:
    """Computes the interquartile mean: the mean of the middle half (a quarter is cut off at each end, rounded down)."""
    return scipy.stats.trim_mean(np.asarray(scores, np.float64), 0.25, axis=axis)


def stratified_bootstrap(
    scores: Scores,
    statistic: Statistic = iqm,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Computes a statistic of pooled runs and its BCa interval (Efron, 1987), resampling runs within each task.

    For plain means `prefront.reports.evidence.Mean` has bounds that cover better. Runs that all agree leave nothing to
    resample: their interval is the estimate.

    Args:
        scores: Scores, an array of shape (runs, tasks) or (runs,), or a list with the runs of each task.
        statistic: A function of pooled scores with an `axis` argument, such as `iqm` or `numpy.median`.
        confidence: Confidence of the interval, in (0, 1).
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: The scores are empty or not finite, or the confidence lies outside (0, 1).
    """
    tasks = by_task(scores)
    tails = check_confidence(confidence)
    estimate = float(statistic(np.concatenate(tasks), axis=0))
    low, high = math.nan, math.nan
    if min(map(len, tasks)) > 1:
        with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
            warnings.simplefilter("ignore", scipy.stats.DegenerateDataWarning)
            found = scipy.stats.bootstrap(
                tasks,
                lambda *drawn, axis: statistic(np.concatenate(drawn, axis=axis), axis=axis),
                n_resamples=resamples,
                confidence_level=confidence,
                method="BCa",
                vectorized=True,
                rng=np.random.default_rng(seed),
            )
        low, high = found.confidence_interval
        if not math.isfinite(low + high):  # Too many ties for BCa; the percentiles are there all the same.
            low, high = np.quantile(found.bootstrap_distribution, tails)
    return Interval(estimate, float(low), float(high), confidence, tuple(map(len, tasks)), resamples, seed)


def performance_profile(
    scores: Scores, thresholds: ArrayLike, *, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> Profile:
    """Computes the share of runs, averaged over tasks, whose score exceeds each threshold (Agarwal et al., 4.2).

    Args:
        scores: Scores, an array of shape (runs, tasks) or a list with the runs of each task.
        thresholds: Thresholds, shape (thresholds,).
        confidence: Confidence of the pointwise interval, in (0, 1): bootstrap percentiles, as in the paper; NaN where a
            task has a single run.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.
    """
    tasks = by_task(scores)
    levels = np.atleast_1d(np.asarray(thresholds, np.float64))
    rng = np.random.default_rng(seed)
    share = np.mean([_share_above(task[None], levels)[0] for task in tasks], axis=0)
    drawn = np.mean([_share_above(_resample(task, resamples, rng), levels) for task in tasks], axis=0)
    tails = check_confidence(confidence)
    unknown = np.full((2, len(levels)), math.nan)
    low, high = np.quantile(drawn, tails, axis=0) if min(map(len, tasks)) > 1 else unknown
    return Profile(levels, share, low, high, confidence)


def probability_of_improvement(
    ours: Scores, theirs: Scores, *, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> Interval:
    """Computes how probably a run of ours beats a run of theirs on a random task (Agarwal et al., 4.3).

    The mean over tasks of the Mann-Whitney statistic divided by the number of pairs; a tie counts one half.

    Args:
        ours: Scores, an array of shape (runs, tasks) or a list with the runs of each task.
        theirs: Scores on the same tasks; numbers of runs may differ.
        confidence: Confidence of the interval, in (0, 1): bootstrap percentiles, as in the paper; NaN where a task has
            a single run.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.
    """
    first, second = by_task(ours), by_task(theirs)
    if len(first) != len(second):
        raise ValueError(f"Both sides must have the same tasks, got {len(first)} and {len(second)}.")
    rng = np.random.default_rng(seed)
    estimate, drawn = 0.0, np.zeros(resamples)
    for a, b in zip(first, second, strict=True):
        wins = (np.sign(a[:, None] - b[None]) + 1) / 2
        rows = rng.integers(len(a), size=(resamples, len(a)))
        columns = rng.integers(len(b), size=(resamples, len(b)))
        estimate += wins.mean() / len(first)
        drawn += wins[rows[:, :, None], columns[:, None, :]].mean(axis=(1, 2)) / len(first)
    tails = check_confidence(confidence)
    enough = min(map(len, [*first, *second])) > 1
    low, high = np.quantile(drawn, tails) if enough else (math.nan, math.nan)
    return Interval(float(estimate), float(low), float(high), confidence, tuple(map(len, first)), resamples, seed)


def compare_pairs(ours: ArrayLike, theirs: ArrayLike, scale: float = 1.0) -> Mean:
    """Compares paired scores by the mean of what ours are ahead.

    Args:
        ours: Scores, shape (pairs,).
        theirs: Scores, shape (pairs,).
        scale: What differences are multiplied by, such as 100 for per cent.

    Raises:
        ValueError: The shapes differ or are not (pairs,), or scores are not finite.
    """
    return Mean.of_pairs(ours, theirs, scale)


def wilcoxon_test(ours: ArrayLike, theirs: ArrayLike, alternative: Alternative = "two-sided") -> Significance:
    """Tests paired scores by Wilcoxon's signed ranks; "greater" says that ours are larger.

    The statistic is the sum of the ranks of positive differences; pairs that differ by rounding only are left out, and
    sizes that do share a rank. The p-value is exact up to 14 differences and, without ties, up to 50; beyond it is
    asymptotic, with ties from drawn signs.

    Args:
        ours: Scores, shape (pairs,), paired with `theirs` by seed.
        theirs: Scores, shape (pairs,).
        alternative: "two-sided", "greater" or "less".
    """
    _check_alternative(alternative)
    ahead, rounding = paired_differences(ours, theirs)
    some = ahead != 0
    kept = ahead[some]
    if len(kept) == 0:
        return Significance("Wilcoxon signed-rank", 0.0, 1.0, alternative, 0, True)
    sizes = ranks(np.abs(kept), rounding[some])

    def positive_ranks(signed: np.ndarray, axis: int) -> Any:
        return np.where(signed > 0, sizes, 0.0).sum(axis=axis)

    statistic, p_value, exact = _sign_flips(kept, positive_ranks, alternative, seed=0)
    if not exact and len(np.unique(sizes)) == len(sizes):
        exact = len(sizes) <= LARGEST_TABULATED
        method = "exact" if exact else "asymptotic"
        p_value = float(scipy.stats.wilcoxon(kept, alternative=alternative, method=method).pvalue)
    return Significance("Wilcoxon signed-rank", statistic, p_value, alternative, len(kept), exact)


def permutation_test(
    ours: ArrayLike, theirs: ArrayLike, alternative: Alternative = "two-sided", *, seed: int = 0
) -> Significance:
    """Tests the mean difference of paired scores by exchanging the scores within pairs; "greater": ours are larger.

    Args:
        ours: Scores, shape (pairs,), paired with `theirs` by seed.
        theirs: Scores, shape (pairs,).
        alternative: "two-sided", "greater" or "less".
        seed: Seed of the drawn relabellings, where more than 14 pairs make enumeration too long.
    """
    _check_alternative(alternative)
    ahead, _ = paired_differences(ours, theirs)
    statistic, p_value, exact = _sign_flips(ahead, np.mean, alternative, seed)
    return Significance("paired permutation of means", statistic, p_value, alternative, len(ahead), exact)


def trend_test(
    values: ArrayLike, levels: ArrayLike | None = None, alternative: Alternative = "two-sided", *, seed: int = 0
) -> Significance:
    """Tests whether values rise ("greater") or fall ("less") along ordered levels, with runs as blocks.

    The statistic is Spearman's rank correlation between levels and values, within each run, averaged over runs; its
    null distribution permutes the levels within each run independently (without ties this is Page's test, 1963).

    Args:
        values: Values, shape (runs, levels); or (levels,) for one run.
        levels: The levels, shape (levels,); 0, 1, ... by default.
        alternative: "two-sided", "greater" or "less".
        seed: Seed of the drawn relabellings, where there are too many to enumerate.

    Returns:
        The significance; a run whose values are all equal counts as correlation 0.

    Raises:
        ValueError: Wrong shapes, fewer than two levels, equal levels only, or entries that are not finite.
    """
    _check_alternative(alternative)
    table, given = _levels(values, levels)
    of_runs, level_ranks = _value_ranks(table), _standardised(ranks(given, 0.0))

    def mean_correlation(*runs: np.ndarray, axis: int = -1) -> Any:
        # Rounded, so that relabellings that tie with the observation count as ties.
        return np.round(np.mean([(run * level_ranks).sum(axis=axis) for run in runs], axis=0), 12)

    found = scipy.stats.permutation_test(
        tuple(of_runs),
        mean_correlation,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=RELABELLINGS,
        batch=1024,
        alternative=alternative,
        rng=np.random.default_rng(seed),
    )
    exact = math.factorial(len(given)) ** len(table) <= RELABELLINGS
    return Significance(
        "Spearman trend within runs", float(found.statistic), float(found.pvalue), alternative, len(table), exact
    )


def rank_correlations(values: ArrayLike, levels: ArrayLike | None = None) -> np.ndarray:
    """Computes Spearman's rank correlation between levels and values within each run.

    Args:
        values: Values, shape (runs, levels); or (levels,) for one run.
        levels: The levels, shape (levels,); 0, 1, ... by default.

    Returns:
        Correlations, shape (runs,); 0 for a run whose values are all equal to rounding.

    Raises:
        ValueError: Wrong shapes, fewer than two levels, equal levels only, or entries that are not finite.
    """
    table, given = _levels(values, levels)
    # Rounded, so that a perfect trend is 1 in every run.
    return np.asarray(np.round((_value_ranks(table) * _standardised(ranks(given, 0.0))).sum(-1), 12))


def share_interval(successes: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """Computes a share of successes and its exact bounds (Clopper and Pearson, 1934).

    Args:
        successes: Truth values of independent trials, shape (trials,).
        confidence: Confidence of the interval, in (0, 1).

    Returns:
        The share, and the lower and upper end; NaN ends of a single trial.
    """
    share = Share.of(successes)
    return share.estimate, *share.interval(confidence)


def _levels(values: ArrayLike, levels: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    table = np.atleast_2d(np.asarray(values, np.float64))
    given = np.arange(table.shape[-1], dtype=np.float64) if levels is None else np.asarray(levels, np.float64)
    if table.ndim != 2 or given.shape != table.shape[1:] or len(given) < 2 or np.ptp(given) == 0:
        raise ValueError(
            f"A trend needs values of shape (runs, levels) and at least two different levels, got values of shape "
            f"{table.shape} and levels {given.tolist()}."
        )
    if not (np.isfinite(table).all() and np.isfinite(given).all()):
        raise ValueError("Values and levels must be finite.")
    return table, given


def _value_ranks(table: np.ndarray) -> np.ndarray:
    """Returns standardised ranks within each run; values that differ by rounding share a rank."""
    return _standardised(np.stack([ranks(row, ROUNDING * np.abs(row).max()) for row in table]))


def _sign_flips(
    differences: np.ndarray, statistic: Statistic, alternative: Alternative, seed: int
) -> tuple[float, float, bool]:
    """Returns the statistic, its p-value when every difference may as well have the other sign, and whether exact."""
    number = len(differences)
    exact = 2**number <= RELABELLINGS
    if exact:
        flipped = (np.arange(2**number)[:, None] >> np.arange(number)) & 1
    else:
        flipped = np.random.default_rng(seed).integers(2, size=(RELABELLINGS, number))
        # The observed labelling belongs to its own null distribution; without it a p-value could be 0.
        flipped[0] = 0
    null = statistic(np.where(flipped == 1, -differences, differences), axis=1)
    observed = float(statistic(differences, axis=0))
    # Relabellings that tie with the observation must not be lost to rounding.
    slack = 1e-12 * np.abs(null).max()
    above, below = (null >= observed - slack).mean(), (null <= observed + slack).mean()
    p_values = {"greater": above, "less": below, "two-sided": min(1.0, 2 * min(above, below))}
    return observed, float(p_values[alternative]), exact


def _standardised(ranks: np.ndarray) -> np.ndarray:
    """Centres along the last axis and scales to length one; rows without variation become zero."""
    centred = ranks - ranks.mean(axis=-1, keepdims=True)
    length = np.linalg.norm(centred, axis=-1, keepdims=True)
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)


def _share_above(samples: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Returns the share of each row above each threshold, shape (rows, thresholds)."""
    return np.stack([(samples > threshold).mean(axis=1) for threshold in thresholds], axis=1)


def _resample(task: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    return task[rng.integers(len(task), size=(resamples, len(task)))]


def _check_alternative(alternative: str) -> None:
    if alternative not in get_args(Alternative):
        raise ValueError(f"The alternative must be one of {get_args(Alternative)}, got {alternative!r}.")
