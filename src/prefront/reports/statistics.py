"""Statistics over runs: robust means with intervals, profiles, and rank correlations.

Scores are either an array (of NumPy, JAX or PyTorch) of shape (runs, tasks) or (runs,), or a list with one sequence of
runs per task, whose lengths may differ. The aggregates are those of Agarwal et al. (2021), "Deep Reinforcement Learning
at the Edge of the Statistical Precipice". Claims are decided by `prefront.reports.evidence`.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import ArrayLike

from prefront.reports.score_arrays import ROUNDING, Scores, by_task, check_confidence, ranks

Statistic: TypeAlias = Callable[..., Any]


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


def rank_correlations(values: ArrayLike) -> np.ndarray:
    """Computes Spearman's rank correlation between ordered levels and values within each run.

    Args:
        values: Values, shape (runs, levels); or (levels,) for one run.

    Returns:
        Correlations, shape (runs,); 0 for a run whose values are all equal to rounding.

    Raises:
        ValueError: Wrong shapes, fewer than two levels, or entries that are not finite.
    """
    table = np.atleast_2d(np.asarray(values, np.float64))
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"A trend needs values of shape (runs, levels) and at least two levels, got {table.shape}.")
    if not np.isfinite(table).all():
        raise ValueError("Values must be finite.")
    of_values = _standardised(np.stack([ranks(row, ROUNDING * np.abs(row).max()) for row in table]))
    # Rounded, so that a perfect trend is 1 in every run.
    return np.asarray(np.round((of_values * _standardised(np.arange(table.shape[1]))).sum(-1), 12))


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
