"""Search without derivatives over few numbers whose evaluation costs much: Nelder and Mead (1965) on a budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy

CACHE_DIGITS = 6
# SciPy counts the evaluation of the simplex as the first iteration.
ONE_MOVE = 2


class BudgetSpentError(Exception):
    """Raised by an objective that can evaluate no more; the search ends with what it knows."""


@dataclasses.dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        best: The best point, shape (K,).
        value: Its value, as the search saw it: that of the best of many noisy ones flatters, so report a fresh one.
        points: All evaluated points in order, shape (N, K).
        values: Their values, shape (N,).
    """

    best: np.ndarray
    value: float
    points: np.ndarray
    values: np.ndarray


def nelder_mead(
    objective: Callable[[np.ndarray], float], simplex: Any, evaluations: int, tolerance: float = 1e-3
) -> Search:
    """Maximises a function, by SciPy's moves of the simplex.

    Args:
        objective: What is maximised; -inf marks points that are not feasible. No point is evaluated twice.
        simplex: K + 1 starting points, shape (K + 1, K).
        evaluations: Largest number of different points.
        tolerance: The search ends when the simplex is not larger in any coordinate.

    Returns:
        The best point and everything that was evaluated.

    Raises:
        ValueError: The simplex has the wrong shape or is flat.
    """
    points = np.asarray(simplex, np.float64)
    if points.ndim != 2 or points.shape[0] != points.shape[1] + 1:
        raise ValueError(f"A simplex of K + 1 points in K dimensions is needed, got shape {points.shape}.")
    if np.linalg.matrix_rank(points[1:] - points[0]) < points.shape[1]:
        raise ValueError(f"The starting simplex is flat: {points.tolist()}.")
    found: dict[tuple[float, ...], float] = {}

    def loss(point: np.ndarray) -> float:
        name = tuple(np.round(point, CACHE_DIGITS).tolist())
        if name not in found:
            if len(found) >= evaluations:
                raise BudgetSpentError
            found[name] = float(objective(np.array(name)))
        return -found[name]

    try:
        for point in points:
            loss(point)
        # Move by move: SciPy's own tolerance is relative to the best point and asks for equal values, too.
        while np.ptp(points, axis=0).max() > tolerance:
            options = {"initial_simplex": points, "maxiter": ONE_MOVE, "xatol": 0.0}
            moved = scipy.optimize.minimize(loss, points[0], method="Nelder-Mead", options=options)
            points = moved.final_simplex[0]
    except BudgetSpentError:
        pass
    if not found:
        raise ValueError("The budget does not pay for a single evaluation.")
    names, values = np.array(list(found)), np.array(list(found.values()))
    best = int(np.argmax(values))
    return Search(names[best], float(values[best]), names, values)
