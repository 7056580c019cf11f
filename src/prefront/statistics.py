"""Statistics over runs: robust means with intervals, profiles, and tests that pair runs by their seed.

Scores are either a NumPy array of shape (runs, tasks) or (runs,), or a list with one sequence of runs per task, whose
lengths may differ. The aggregates are those of Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the
Statistical Precipice".
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import scipy
from numpy.typing import ArrayLike

Alternative = Literal["two-sided", "greater", "less"]
Scores: TypeAlias = ArrayLike | Sequence[ArrayLike]
Statistic: TypeAlias = Callable[..., Any]
# Up to this many relabellings a permutation test enumerates them all; beyond, it draws this many.
RELABELLINGS = 2**14
# Up to this many untied differences the distribution of the signed-rank sum is computed exactly.
LARGEST_TABULATED = 50


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap percentile interval.

    Attributes:
        estimate: The statistic of the scores themselves.
        low: Lower end.
        high: Upper end.
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


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Paired scores compared both ways.

    Attributes:
        gain: Mean of what ours are ahead.
        interval: Its 95 % bootstrap interval.
        p_greater: p-value of Wilcoxon's one-sided test that ours are larger.
        p_less: The same that ours are smaller.
        pairs: Number of pairs.
    """

    gain: float
    interval: tuple[float, float]
    p_greater: float
    p_less: float
    pairs: int


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
    """Computes a statistic of pooled runs and its percentile interval, resampling runs within each task.

    Args:
        scores: Scores, an array of shape (runs, tasks) or (runs,), or a list with the runs of each task.
        statistic: A function of pooled scores with an `axis` argument, such as `iqm` or `numpy.mean`.
        confidence: Confidence of the interval, in (0, 1).
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: The scores are empty or not finite, or the confidence lies outside (0, 1).
    """
    tasks = _by_task(scores)
    rng = np.random.default_rng(seed)
    drawn = statistic(np.concatenate([_resample(task, resamples, rng) for task in tasks], axis=1), axis=1)
    low, high = np.quantile(drawn, _tails(confidence))
    estimate = float(statistic(np.concatenate(tasks), axis=0))
    return Interval(estimate, float(low), float(high), confidence, tuple(map(len, tasks)), resamples, seed)


def performance_profile(
    scores: Scores, thresholds: ArrayLike, *, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> Profile:
    """Computes the share of runs, averaged over tasks, whose score exceeds each threshold (Agarwal et al., 4.2).

    Args:
        scores: Scores, an array of shape (runs, tasks) or a list with the runs of each task.
        thresholds: Thresholds, shape (thresholds,).
        confidence: Confidence of the pointwise bootstrap interval, in (0, 1).
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.
    """
    tasks = _by_task(scores)
    levels = np.atleast_1d(np.asarray(thresholds, np.float64))
    rng = np.random.default_rng(seed)
    share = np.mean([_share_above(task[None], levels)[0] for task in tasks], axis=0)
    drawn = np.mean([_share_above(_resample(task, resamples, rng), levels) for task in tasks], axis=0)
    low, high = np.quantile(drawn, _tails(confidence), axis=0)
    return Profile(levels, share, low, high, confidence)


def probability_of_improvement(
    ours: Scores, theirs: Scores, *, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> Interval:
    """Computes how probably a run of ours beats a run of theirs on a random task (Agarwal et al., 4.3).

    The mean over tasks of the Mann-Whitney statistic divided by the number of pairs; a tie counts one half.

    Args:
        ours: Scores, an array of shape (runs, tasks) or a list with the runs of each task.
        theirs: Scores on the same tasks; numbers of runs may differ.
        confidence: Confidence of the bootstrap interval, in (0, 1).
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.
    """
    first, second = _by_task(ours), _by_task(theirs)
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
    low, high = np.quantile(drawn, _tails(confidence))
    return Interval(float(estimate), float(low), float(high), confidence, tuple(map(len, first)), resamples, seed)


def share_interval(successes: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """Computes a share of successes and its Wilson score interval, which is sensible at 0 and 1 too.

    Args:
        successes: Truth values of independent trials, shape (trials,).
        confidence: Confidence of the interval, in (0, 1).

    Returns:
        The share, and the lower and upper end.
    """
    trials = np.asarray(successes, bool).ravel()
    if len(trials) == 0:
        raise ValueError("A share needs at least one trial.")
    _tails(confidence)
    found = scipy.stats.binomtest(int(trials.sum()), len(trials)).proportion_ci(confidence, method="wilson")
    return float(trials.mean()), float(found.low), float(found.high)


def wilcoxon_test(ours: ArrayLike, theirs: ArrayLike, alternative: Alternative = "two-sided") -> Significance:
    """Tests paired scores by Wilcoxon's signed ranks; "greater" says that ours are larger.

    The statistic is the sum of the ranks of positive differences; pairs without a difference are left out. The p-value
    is exact up to 14 differences and, without ties, up to 50; beyond it is asymptotic, with ties from drawn signs.

    Args:
        ours: Scores, shape (pairs,), paired with `theirs` by seed.
        theirs: Scores, shape (pairs,).
        alternative: "two-sided", "greater" or "less".
    """
    differences = _differences(ours, theirs, alternative)
    kept = differences[differences != 0]
    if len(kept) == 0:
        return Significance("Wilcoxon signed-rank", 0.0, 1.0, alternative, 0, True)
    ranks = scipy.stats.rankdata(np.abs(kept))

    def positive_ranks(signed: np.ndarray, axis: int) -> Any:
        return np.where(signed > 0, ranks, 0.0).sum(axis=axis)

    statistic, p_value, exact = _sign_flips(kept, positive_ranks, alternative, seed=0)
    if not exact and len(np.unique(ranks)) == len(ranks):
        exact = len(ranks) <= LARGEST_TABULATED
        method = "exact" if exact else "asymptotic"
        p_value = float(scipy.stats.wilcoxon(kept, alternative=alternative, method=method).pvalue)
    return Significance("Wilcoxon signed-rank", statistic, p_value, alternative, len(kept), exact)


def compare_pairs(ours: ArrayLike, theirs: ArrayLike, gains: ArrayLike | None = None) -> Comparison:
    """Compares paired scores: the mean gain with its interval, and signed-rank tests on both sides.

    Args:
        ours: Scores, shape (pairs,).
        theirs: Scores, shape (pairs,).
        gains: What ours are ahead where that is told in another unit than the tests look at, shape (pairs,); by
            default `ours - theirs`.
    """
    greater, less = (wilcoxon_test(ours, theirs, side).p_value for side in ("greater", "less"))
    ahead = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64) if gains is None else gains
    found = stratified_bootstrap(ahead, np.mean)
    return Comparison(found.estimate, (found.low, found.high), greater, less, found.runs[0])


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
    differences = _differences(ours, theirs, alternative)
    statistic, p_value, exact = _sign_flips(differences, np.mean, alternative, seed)
    return Significance("paired permutation of means", statistic, p_value, alternative, len(differences), exact)


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
    table = np.atleast_2d(np.asarray(values, np.float64))
    given = np.arange(table.shape[-1], dtype=np.float64) if levels is None else np.asarray(levels, np.float64)
    if table.ndim != 2 or given.shape != table.shape[1:] or len(given) < 2 or np.ptp(given) == 0:
        raise ValueError(
            f"A trend needs values of shape (runs, levels) and at least two different levels, got values of shape "
            f"{table.shape} and levels {given.tolist()}."
        )
    if not (np.isfinite(table).all() and np.isfinite(given).all()):
        raise ValueError("Values and levels must be finite.")
    ranks = _standardised(scipy.stats.rankdata(table, axis=1))
    level_ranks = _standardised(scipy.stats.rankdata(given))

    def mean_correlation(*runs: np.ndarray, axis: int = -1) -> Any:
        # Rounded, so that relabellings that tie with the observation count as ties.
        return np.round(np.mean([(run * level_ranks).sum(axis=axis) for run in runs], axis=0), 12)

    found = scipy.stats.permutation_test(
        tuple(ranks),
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


def _tails(confidence: float) -> tuple[float, float]:
    if not 0 < confidence < 1:
        raise ValueError(f"The confidence must lie in (0, 1), got {confidence!r}.")
    return (1 - confidence) / 2, (1 + confidence) / 2


def _by_task(scores: Scores) -> list[np.ndarray]:
    """Splits scores into one float64 array of runs per task."""
    if isinstance(scores, np.ndarray) or all(np.ndim(row) == 0 for row in scores):  # type: ignore[union-attr]
        table = np.asarray(scores, np.float64)
        if table.ndim not in (1, 2):
            raise ValueError(f"Scores must have shape (runs,) or (runs, tasks), got {table.shape}.")
        tasks = list(np.atleast_2d(table.T))
    else:
        tasks = [np.asarray(task, np.float64).ravel() for task in scores]  # type: ignore[union-attr]
    if not tasks or any(len(task) == 0 for task in tasks):
        raise ValueError("Every task needs at least one run.")
    if not all(np.isfinite(task).all() for task in tasks):
        raise ValueError("Scores must be finite.")
    return tasks


def _differences(ours: ArrayLike, theirs: ArrayLike, alternative: Alternative) -> np.ndarray:
    _check_alternative(alternative)
    first, second = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if first.ndim != 1 or first.shape != second.shape or len(first) == 0:
        raise ValueError(f"Paired scores must have the same shape (pairs,), got {first.shape} and {second.shape}.")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("Scores must be finite.")
    return first - second


def _check_alternative(alternative: str) -> None:
    if alternative not in get_args(Alternative):
        raise ValueError(f"The alternative must be one of {get_args(Alternative)}, got {alternative!r}.")
