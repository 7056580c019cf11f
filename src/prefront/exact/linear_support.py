"""Optimistic linear support: the convex coverage set from exact solutions at one weight vector after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.spatial import HalfspaceIntersection

from prefront.exact.lexicographic import StationaryPolicy, lexicographic_optimum
from prefront.exact.tables import TabularMDP
from prefront.pareto.dominance import convex_hull_vertices

# Gain in utility, in units of the largest value of an objective, that counts as an improvement.
IMPROVEMENT = 1e-9


class Support(NamedTuple):
    """A coverage set, shape (points, objectives), and for each of its points a stationary policy that attains it."""

    points: np.ndarray
    policies: list[StationaryPolicy]


def linear_support(momdp: TabularMDP, gamma: float) -> Support:
    """Computes the exact convex coverage set by optimistic linear support.

    The returns found so far bound the best utility from below by a convex piecewise linear function of the weights. If
    some policy improves on it anywhere, it improves most at one of the function's corners; so where no corner can be
    improved, the set is complete (Roijers, Whiteson, Oliehoek, "Computing convex coverage sets for faster
    multi-objective coordination", JAIR 52, 2015). Corners are enumerated exactly, which suits few objectives: their
    number grows fast beyond five.

    Args:
        momdp: The problem.
        gamma: Discount in (0, 1].

    Returns:
        The coverage set, float64, in lexicographic order, and the policies.

    Raises:
        RuntimeError: A policy gains without end at discount 1, or none has a finite return.
    """
    d = momdp.num_objectives
    scale = np.abs(momdp.rewards).max(axis=(0, 1, 2))
    scale = np.where(scale > 0, scale, 1.0)
    policies: dict[bytes, StationaryPolicy] = {}

    def best(weights: np.ndarray) -> np.ndarray:
        policy = scalarised_optimum(momdp, gamma, weights / scale)
        point = policy.expected_return(momdp)
        policies[point.tobytes()] = policy
        return point

    points = supported_points(best, d, scale)
    return Support(points, [policies[point.tobytes()] for point in points])


def supported_points(
    best: Callable[[np.ndarray], np.ndarray], objectives: int, scale: np.ndarray | float = 1.0
) -> np.ndarray:
    """Finds the convex coverage set behind any exact solver for single weights, see `linear_support`.

    Args:
        best: Maps weights on the simplex, shape (objectives,), to a vector that is best under them, and among those
            that are is undominated.
        objectives: Number of objectives.
        scale: Unit of each objective in which weights are meant.

    Returns:
        Shape (points, objectives), float64, in lexicographic order.
    """
    solved: dict[bytes, np.ndarray] = {}

    def solve(weights: np.ndarray) -> np.ndarray:
        key = np.round(weights, 10).tobytes()
        if key not in solved:
            solved[key] = best(weights)
        return solved[key]

    first = np.vstack([np.eye(objectives), np.ones(objectives) / objectives])
    found = convex_hull_vertices(np.array([solve(weights) for weights in first]))
    while True:
        fresh = []
        for weights in corner_weights(found / scale):
            candidate = solve(weights)
            known = ((found / scale) @ weights).max()
            largest = max(np.abs(found / scale).max(), np.abs(candidate / scale).max())
            if candidate / scale @ weights > known + IMPROVEMENT * largest:
                fresh.append(candidate)
        if not fresh:
            return found
        found = convex_hull_vertices(np.vstack([found, fresh]))


def scalarised_optimum(momdp: TabularMDP, gamma: float, weights: np.ndarray) -> StationaryPolicy:
    """Returns a policy that is optimal for linear weights, and whose return is an extreme point of the coverage set.

    Among equal utilities it takes the largest sum of the objectives, each in units of its largest reward, and then the
    largest value of one objective after the other. A vector that is best in this order is unique, is not even weakly
    dominated, and is a vertex of the returns' convex hull: what `weights` neglects is not left to chance.

    Args:
        momdp: The problem.
        gamma: Discount in (0, 1].
        weights: Non-negative weights, shape (d,).

    Raises:
        RuntimeError: See `prefront.exact.lexicographic.lexicographic_optimum`.
    """
    scale = np.abs(momdp.rewards).max(axis=(0, 1, 2))
    total = 1.0 / np.where(scale > 0, scale, 1.0)
    return lexicographic_optimum(momdp, gamma, np.vstack([weights, total, np.diag(total)]))


def corner_weights(points: np.ndarray) -> np.ndarray:
    """Returns the weights on the simplex at which the upper envelope of the points' utilities has its corners.

    Args:
        points: Return vectors, shape (N, d).

    Returns:
        Weights, shape (corners, d), the simplex's own corners among them.
    """
    count, d = points.shape
    if d == 1:
        return np.ones((1, 1))
    # Corners stay where they are when all values are shifted or stretched alike.
    points = (points - points.min()) / max(float(np.ptp(points)), np.finfo(np.float64).tiny)
    # Unknowns: the first d - 1 weights and the utility u; the last weight is 1 minus their sum. Each row says <= 0.
    rows = [np.append(points[i, :-1] - points[i, -1], [-1.0, points[i, -1]]) for i in range(count)]
    rows += [np.append(-np.eye(d)[j][: d - 1], [0.0, 0.0]) for j in range(d - 1)]
    rows.append(np.append(np.ones(d - 1), [0.0, -1.0]))
    centre = np.full(d - 1, 1.0 / d)
    highest = float((points @ np.full(d, 1.0 / d)).max())
    ceiling = float(points.max()) + 1.0
    rows.append(np.append(np.zeros(d - 1), [1.0, -ceiling - 1.0]))
    inside = np.append(centre, 0.5 * (max(highest, ceiling - 1.0) + ceiling + 1.0))
    vertices = HalfspaceIntersection(np.array(rows), inside).intersections
    vertices = vertices[np.isfinite(vertices).all(axis=1) & (vertices[:, -1] < ceiling + 0.5)]
    weights = np.clip(np.column_stack([vertices[:, :-1], 1.0 - vertices[:, :-1].sum(axis=1)]), 0.0, None)
    return np.unique(np.round(weights / weights.sum(axis=1, keepdims=True), 12), axis=0)
