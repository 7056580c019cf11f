"""Scores of runs as arrays, and what of them is rounding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import scipy
from numpy.typing import ArrayLike

Scores: TypeAlias = ArrayLike | Sequence[ArrayLike]
# Differences below this share of the scores' size are rounding: the same sum in another order differs by less.
ROUNDING = 1e-12


def by_task(scores: Scores) -> list[np.ndarray]:
    """Splits scores into one float64 array of runs per task.

    Args:
        scores: An array (of NumPy, JAX or PyTorch) of shape (runs, tasks) or (runs,), or a list with the runs of each
            task.

    Raises:
        ValueError: A task has no run, an array has other axes, or scores are not finite.
    """
    if hasattr(scores, "__array__") or all(np.ndim(row) == 0 for row in scores):  # type: ignore[union-attr]
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


def paired_differences(ours: ArrayLike, theirs: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Returns what ours are ahead of theirs, where differences by rounding are 0, and how large rounding is.

    Args:
        ours: Scores, shape (pairs,).
        theirs: Scores, shape (pairs,).

    Returns:
        Differences, and the size up to which they count as rounding, each of shape (pairs,).

    Raises:
        ValueError: The shapes differ or are not (pairs,), or scores are not finite.
    """
    first, second = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if first.ndim != 1 or first.shape != second.shape or len(first) == 0:
        raise ValueError(f"Paired scores must have the same shape (pairs,), got {first.shape} and {second.shape}.")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("Scores must be finite.")
    rounding = ROUNDING * np.maximum(np.abs(first), np.abs(second))
    ahead = first - second
    return np.where(np.abs(ahead) <= rounding, 0.0, ahead), rounding


def finite_runs(values: ArrayLike) -> np.ndarray:
    """Returns values as an array of shape (runs,).

    Raises:
        ValueError: There are none, they have another shape, or they are not finite.
    """
    runs = np.asarray(values, np.float64)
    if runs.ndim != 1 or len(runs) == 0:
        raise ValueError(f"Values must have shape (runs,) with at least one run, got {runs.shape}.")
    if not np.isfinite(runs).all():
        raise ValueError("Scores must be finite.")
    return runs


def check_confidence(confidence: float) -> tuple[float, float]:
    """Returns the two tails of a confidence.

    Raises:
        ValueError: It lies outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"The confidence must lie in (0, 1), got {confidence!r}.")
    return (1 - confidence) / 2, (1 + confidence) / 2


def ranks(values: np.ndarray, rounding: ArrayLike) -> np.ndarray:
    """Ranks values from 1; neighbours that differ by no more than their rounding share a rank.

    Args:
        values: Shape (n,).
        rounding: The size up to which differences count as rounding, one number or one per value.
    """
    order = np.argsort(values, kind="stable")
    size = np.broadcast_to(np.asarray(rounding, np.float64), values.shape)[order]
    apart = np.diff(values[order]) > np.maximum(size[1:], size[:-1])
    group = np.empty(len(values), np.int64)
    group[order] = np.concatenate([[0], np.cumsum(apart)])
    return np.asarray(scipy.stats.rankdata(group))
