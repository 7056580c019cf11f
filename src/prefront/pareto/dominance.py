"""Sets of vectors under Pareto dominance: pruning, sums, hulls, always maximising, in float64.

Values that were added up in a different order differ in their last digits. Everywhere here two values of an objective
count as equal where they differ by at most a tolerance, given per objective.
"""

from __future__ import annotations

import numpy as np
import scipy
from moocore import is_nondominated

# Below this many points comparing all pairs is faster than a call of the library.
FEW_POINTS = 48
# Random weights which show that most vertices are vertices, without a linear programme.
PROBES = 2048
RELATIVE_TOLERANCE = 1e-10


def non_dominated_rows(points: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """Finds the points that no other point dominates, one of each group of equal ones.

    Args:
        points: Vectors, shape (N, d).
        tolerance: Difference up to which two values are equal, shape (d,).

    Returns:
        Their rows in ascending order, int.
    """
    if len(points) <= 1:
        return np.arange(len(points))
    if len(points) <= FEW_POINTS:
        differences = points[:, None, :] - points[None, :, :]
        no_worse = (differences >= -tolerance).all(-1)
        mutual = no_worse & no_worse.T
        earlier = np.tri(len(points), k=-1, dtype=bool).T
        return np.flatnonzero(~(no_worse & (~mutual | earlier)).any(0))
    return np.flatnonzero(is_nondominated(_ranks(points, tolerance), maximise=True))


def prune(points: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """Keeps the points that `non_dominated_rows` finds."""
    return points[non_dominated_rows(points, tolerance)]


def cross_sum(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Adds every vector of one set to every vector of another, shape (N * M, d), the second set varying fastest."""
    return (first[:, None, :] + second[None, :, :]).reshape(-1, first.shape[1])


def in_order(points: np.ndarray) -> np.ndarray:
    """Sorts vectors lexicographically, by the first objective first."""
    return points[np.lexsort(points.T[::-1])]


def same_set(first: np.ndarray, second: np.ndarray, tolerance: np.ndarray) -> bool:
    """Tells whether two pruned sets hold equal vectors, whatever their order."""
    if first.shape != second.shape:
        return False
    if bool((np.abs(first - second) <= tolerance).all()):
        return True
    return bool((np.abs(in_order(first) - in_order(second)) <= tolerance).all())


def convex_hull_vertices(points: np.ndarray, relative_tolerance: float = RELATIVE_TOLERANCE) -> np.ndarray:
    """Returns the points that some non-negative linear weights make the single best.

    These are the vertices of the convex hull that face the non-negative orthant: the smallest set that holds an optimum
    for every weights. Two objectives are solved by a sweep; more by one linear programme per point that random weights
    leave undecided, which asks for weights under which the point beats all others (Roijers et al., "A survey of
    multi-objective sequential decision-making", JAIR 48, 2013, section 4).

    Args:
        points: Vectors, shape (N, d).
        relative_tolerance: Difference up to which values of an objective are equal, in units of its range.

    Returns:
        The vertices, shape (M, d), in lexicographic order.

    Raises:
        ValueError: `points` is no table of finite numbers.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or not np.isfinite(points).all():
        raise ValueError(f"Points must be a table of finite numbers of shape (N, d), got shape {points.shape}.")
    if len(points) == 0:
        return points
    span = np.ptp(points, axis=0)
    magnitude = np.maximum(np.abs(points).max(axis=0), 1e-300)
    points = in_order(prune(points, np.maximum(relative_tolerance * span, 1e-14 * magnitude)))
    if len(points) <= 2 or points.shape[1] == 1:
        return points
    span = np.ptp(points, axis=0)
    scaled = (points - points.min(axis=0)) / np.where(span > 0, span, 1.0)
    if points.shape[1] == 2:
        return points[_upper_chain(scaled, max(relative_tolerance, 1e-12))]
    return points[_exposed(scaled)]


def _upper_chain(points: np.ndarray, tolerance: float) -> list[int]:
    """Sweeps a two-objective front in ascending order of the first objective and keeps the strictly convex turns."""
    chain: list[int] = []
    for row, (x, y) in enumerate(points.tolist()):
        while len(chain) >= 2:
            (ax, ay), (bx, by) = points[chain[-2]].tolist(), points[chain[-1]].tolist()
            if (bx - ax) * (y - ay) - (by - ay) * (x - ax) < -tolerance:
                break
            chain.pop()
        chain.append(row)
    return chain


def _exposed(points: np.ndarray, margin: float = 1e-8) -> np.ndarray:
    """Finds the rows that beat all others by some margin under some weights on the simplex."""
    count, d = points.shape
    weights = np.random.default_rng(0).dirichlet(np.full(d, 0.5), PROBES)
    utilities = weights @ points.T
    top = np.partition(utilities, -2, axis=1)[:, -2:]
    vertex = np.zeros(count, bool)
    vertex[utilities.argmax(axis=1)[top[:, 1] - top[:, 0] > 1e-6]] = True
    candidate = np.ones(count, bool)
    for row in np.flatnonzero(~vertex):
        candidate[row] = False
        vertex[row] = _best_margin(points[row], points[candidate]) > margin
        # A point that is no vertex can be left out of all later comparisons.
        candidate[row] = vertex[row]
    return np.flatnonzero(vertex)


def _best_margin(point: np.ndarray, others: np.ndarray) -> float:
    """Returns the largest margin in utility by which weights on the simplex can prefer one point to all others."""
    d = len(point)
    result = scipy.optimize.linprog(
        np.append(np.zeros(d), -1.0),
        A_ub=np.column_stack([others - point, np.ones(len(others))]),
        b_ub=np.zeros(len(others)),
        A_eq=np.append(np.ones(d), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0.0, None)] * d + [(None, None)],
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if not result.success:
        raise RuntimeError(f"The linear programme for a vertex of the hull failed: {result.message}")
    return float(-result.fun)


def _ranks(points: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """Replaces each value by its rank within its objective; values nearer than the tolerance share a rank."""
    order = np.argsort(points, axis=0, kind="stable")
    steps = np.diff(np.take_along_axis(points, order, 0), axis=0) > tolerance
    ranks = np.zeros(points.shape)
    np.put_along_axis(ranks, order[1:], np.cumsum(steps, axis=0).astype(float), 0)
    return ranks
