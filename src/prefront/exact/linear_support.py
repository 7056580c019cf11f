"""Optimistic linear support: the convex coverage set from exact solutions at one weight vector after the other."""

from __future__ import annotations

import numpy as np
from scipy.spatial import HalfspaceIntersection

from prefront.exact.tabulation import TabularMOMDP
from prefront.exact.vector_sets import convex_hull_vertices

# Gain in utility, in units of the largest one, that counts as an improvement.
IMPROVEMENT = 1e-9


def linear_support(momdp: TabularMOMDP, gamma: float, max_sweeps: int = 100_000) -> np.ndarray:
    """Returns the exact convex coverage set by optimistic linear support.

    The returns found so far bound the best utility from below by a convex piecewise linear function of the weights. If
    some policy improves on it anywhere, it improves most at one of the function's corners; so where no corner can be
    improved, the set is complete (Roijers, Whiteson, Oliehoek, "Computing convex coverage sets for faster
    multi-objective coordination", JAIR 52, 2015). Corners are enumerated exactly, which suits few objectives: their
    number grows fast beyond five.

    Args:
        momdp: The problem.
        gamma: Discount in (0, 1].
        max_sweeps: Limit on the sweeps of value iteration for one weight vector.

    Returns:
        The coverage set, shape (points, objectives), float64, in lexicographic order.

    Raises:
        RuntimeError: Value iteration does not converge, as where a policy gains without end at discount 1.
    """
    d = momdp.num_objectives
    scale = np.abs(momdp.rewards).max(axis=(0, 1, 2))
    scale = np.where(scale > 0, scale, 1.0)
    solved: dict[bytes, np.ndarray] = {}

    def best(weights: np.ndarray) -> np.ndarray:
        key = np.round(weights, 10).tobytes()
        if key not in solved:
            solved[key] = scalarised_optimum(momdp, gamma, weights / scale, max_sweeps)
        return solved[key]

    found = convex_hull_vertices(np.array([best(weights) for weights in np.vstack([np.eye(d), np.ones(d) / d])]))
    while True:
        fresh = []
        for weights in corner_weights(found / scale):
            candidate = best(weights)
            known = (found / scale) @ weights
            if candidate / scale @ weights > known.max() + IMPROVEMENT * max(1.0, float(np.abs(known).max())):
                fresh.append(candidate)
        if not fresh:
            return found
        found = convex_hull_vertices(np.vstack([found, fresh]))


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


def scalarised_optimum(momdp: TabularMOMDP, gamma: float, weights: np.ndarray, max_sweeps: int = 100_000) -> np.ndarray:
    """Returns the expected return vector of a policy that is optimal for linear weights.

    Value iteration that carries the vector of the action chosen by its utility, from 0 until nothing changes by more
    than 1e-13 of the largest reward. Equal utilities are decided by the sum of the objectives, so that objectives of
    weight 0 are not neglected; should actions still alternate among equals, the last choice is kept and evaluated.

    Args:
        momdp: The problem.
        gamma: Discount in (0, 1].
        weights: Non-negative weights, shape (d,).
        max_sweeps: Limit on the sweeps.

    Returns:
        The return vector, shape (d,), float64.

    Raises:
        RuntimeError: No convergence within `max_sweeps`.
    """
    states = np.arange(len(momdp.terminal))
    expected = np.einsum("sak,sakd->sad", momdp.probabilities, momdp.rewards)
    scale = np.abs(momdp.rewards).max(axis=(0, 1, 2))
    scale = np.where(scale > 0, scale, 1.0)
    values = np.zeros((len(states), momdp.num_objectives))
    largest = max(float(np.abs(expected @ weights).max()), 1e-300)
    chosen, settled = np.zeros(len(states), int), 0
    for _ in range(max_sweeps):
        following = np.einsum("sak,sakd->sad", momdp.probabilities, values[momdp.successors])
        candidates = expected + gamma * following
        if settled < 2 * len(states) + 100:
            utilities = candidates @ weights
            equal = utilities >= utilities.max(axis=1, keepdims=True) - 1e-11 * largest
            chosen = np.where(equal, (candidates / scale).sum(axis=2), -np.inf).argmax(axis=1)
        previous, values = values, np.where(momdp.terminal[:, None], 0.0, candidates[states, chosen])
        if (np.abs(values - previous) <= 1e-13 * scale).all():
            return np.asarray(momdp.initial_probabilities @ values[momdp.initial_states])
        settled += bool((np.abs((values - previous) @ weights) <= 1e-13 * largest).all())
    raise RuntimeError(f"Value iteration for weights {weights} did not converge in {max_sweeps:,} sweeps.")
