"""Indicators of how good a front is: one facade over moocore, in float64, always maximising every objective.

Points are arrays of shape (points, objectives). A hypervolume means something only beside its reference point,
discount and number of environment steps; an indicator against a reference front, only beside that front.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import moocore
import numpy as np
import scipy
from numpy.typing import ArrayLike

from prefront.pareto.weights import check_weights, dirichlet_weights, riesz_weights, simplex_lattice
from prefront.system.checks import check_unmasked

__all__ = [
    "Hypervolume",
    "additive_epsilon",
    "attainment_surfaces",
    "beats_reference",
    "cardinality",
    "check_points",
    "crowding_distance",
    "dirichlet_weights",
    "exact_hypervolume_seconds",
    "expected_utility",
    "hypervolume",
    "igd_plus",
    "maximum_utility_loss",
    "non_dominated",
    "points_found",
    "riesz_weights",
    "simplex_lattice",
    "sparsity",
]

# Non-dominated points whose exact hypervolume takes about one second on one core, by number of objectives: measured on
# points drawn uniformly from the positive part of the sphere, from its mirror image and from the simplex, whichever is
# slowest. Beyond twelve objectives the exact hypervolume is cheap only for what inclusion-exclusion handles.
POINTS_PER_SECOND = {4: 40_000, 5: 8_000, 6: 700, 7: 200, 8: 100, 9: 62, 10: 45, 11: 33, 12: 25}
POINTS_BEYOND = 15
LARGEST_LISTING = 5
# Measured cost of one Monte Carlo sample per point, in seconds, and the bounds on the number of samples.
SECONDS_PER_SAMPLE = 5e-9
FEWEST_SAMPLES, MOST_SAMPLES = 2**16, 2**20


class Hypervolume(float):
    """A hypervolume that says whether it is exact.

    Attributes:
        exact: Whether it was computed exactly, up to float64 rounding.
        seed: Seed of the Monte Carlo estimate; None for an exact one.
        samples: Number of Monte Carlo samples; None for an exact one.
    """

    exact: bool
    seed: int | None
    samples: int | None

    def __new__(cls, value: float, seed: int | None = None, samples: int | None = None) -> Hypervolume:
        """Makes an exact hypervolume, or an estimated one where a seed is given."""
        made = super().__new__(cls, value)
        made.exact, made.seed, made.samples = seed is None, seed, samples
        return made

    def __repr__(self) -> str:
        how = "exact" if self.exact else f"estimated from {self.samples} samples, seed={self.seed}"
        return f"Hypervolume({float(self)!r}, {how})"


def check_points(points: ArrayLike, name: str = "points", *, allow_empty: bool = True) -> np.ndarray:
    """Returns points as a float64 array of shape (points, objectives).

    Raises:
        ValueError: The array has another number of axes, no objectives, no points where some are needed, or entries
            that are masked or not finite; the message names them.
    """
    check_unmasked(points, name)
    checked = np.asarray(points, np.float64)
    if checked.ndim != 2 or checked.shape[1] == 0:
        raise ValueError(f"{name} must have shape (points, objectives), got {checked.shape}.")
    if not allow_empty and len(checked) == 0:
        raise ValueError(f"{name} must contain at least one point, got shape {checked.shape}.")
    bad = np.logical_not(np.isfinite(checked).all(axis=1))
    if bad.any():
        raise ValueError(f"{name} must be finite, got {_listing(checked, bad)}.")
    return checked


def hypervolume(
    points: ArrayLike, reference_point: ArrayLike, *, seed: int = 0, time_limit: float = 1.0
) -> Hypervolume:
    """Computes the volume that the points dominate above the reference point (Zitzler and Thiele, 1998).

    It is exact where that takes at most about `time_limit` seconds by `exact_hypervolume_seconds`; otherwise it is the
    Monte Carlo estimate of Deng and Zhang (2019, "Approximating Hypervolume and Hypervolume Contributions Using Polar
    Coordinate"), whose relative error is about 1e-3 to 3e-3. Which of the two it is follows from the numbers of points
    and objectives alone, never from a clock.

    Args:
        points: Points, shape (points, objectives); dominated ones and duplicates add nothing.
        reference_point: Shape (objectives,).
        seed: Seed of the estimate.
        time_limit: Seconds that may be spent on an exact answer; `math.inf` for an exact answer at any cost.

    Returns:
        The hypervolume, a float that says whether it is exact.

    Raises:
        ValueError: Wrong shapes, entries that are not finite, or a reference point of another length.

    Warns:
        UserWarning: Some points do not strictly beat the reference point; the message names them.
    """
    given = check_points(points)
    beating = beats_reference(given, reference_point)
    reference = np.asarray(reference_point, np.float64)
    if not beating.all():
        warnings.warn(
            f"{(~beating).sum()} of {len(given)} points do not strictly beat the reference point {reference.tolist()} "
            f"in every objective and add nothing to the hypervolume: {_listing(given, ~beating)}.",
            UserWarning,
            stacklevel=2,
        )
    front = given[beating]
    front = front[non_dominated(front)]
    if len(front) == 0:
        return Hypervolume(0.0)
    if exact_hypervolume_seconds(*front.shape) <= time_limit:
        return Hypervolume(moocore.hypervolume(front, ref=reference, maximise=True))
    affordable = int(time_limit / (SECONDS_PER_SAMPLE * len(front)))
    samples = min(max(affordable, FEWEST_SAMPLES), MOST_SAMPLES)
    value = moocore.hv_approx(front, ref=reference, maximise=True, nsamples=samples, seed=seed, method="DZ2019-MC")
    return Hypervolume(value, seed, samples)


def exact_hypervolume_seconds(points: int, objectives: int) -> float:
    """Estimates how long the exact hypervolume of mutually non-dominated points takes on one core, in seconds.

    Near one second the cost grows like points ** (objectives - 3), with an exponent of at least 2; the model is within
    a factor of about two there, and too high for much smaller sets.
    """
    if objectives <= 3 or points <= POINTS_BEYOND:
        return 1e-6 * points
    per_second = POINTS_PER_SECOND.get(objectives, POINTS_BEYOND)
    return float((points / per_second) ** max(2, objectives - 3))


def beats_reference(points: ArrayLike, reference_point: ArrayLike) -> np.ndarray:
    """Returns which points are strictly better than the reference point in every objective, shape (points,)."""
    points = check_points(points)
    check_unmasked(reference_point, "The reference point")
    reference = np.asarray(reference_point, np.float64)
    if reference.shape != (points.shape[1],):
        raise ValueError(
            f"The reference point has length {reference.size} (shape {reference.shape}), "
            f"but the points have {points.shape[1]} objectives."
        )
    if not np.isfinite(reference).all():
        raise ValueError(f"The reference point must be finite, got {reference.tolist()}.")
    return np.asarray((points > reference).all(1))


def non_dominated(points: ArrayLike) -> np.ndarray:
    """Returns which points no other point dominates, keeping the first of exact duplicates, shape (points,)."""
    points = check_points(points)
    return np.asarray(moocore.is_nondominated(points, maximise=True), bool)


def cardinality(points: ArrayLike) -> int:
    """Counts the distinct non-dominated points."""
    return int(non_dominated(points).sum())


def points_found(points: ArrayLike, reference_front: ArrayLike, tolerance: float = 1e-4) -> np.ndarray:
    """Returns which points of a reference front are weakly dominated, up to a tolerance, by one of the points.

    Args:
        points: Points, shape (points, objectives).
        reference_front: The reference front, shape (reference points, objectives).
        tolerance: What a point may lack in each objective, as a share of the reference front's range in it; where
            that range is 0, of the largest absolute value.

    Returns:
        Booleans of shape (reference points,).
    """
    found, reference = _check_pair(points, reference_front, allow_empty=True)
    extent = np.ptp(reference, axis=0)
    slack = tolerance * np.where(extent > 0, extent, np.abs(reference).max(0))
    reached = np.all(found[None] >= reference[:, None] - slack, axis=2)
    return np.any(reached, axis=1)


def sparsity(points: ArrayLike) -> float:
    """Computes the mean squared gap between neighbours, summed over objectives (Xu et al., 2020).

    Sum over objectives of the squared gaps of the sorted values, divided by the number of points less one, on the
    de-duplicated non-dominated points. It does not order fronts by quality: report it beside the number of points.

    Returns:
        The sparsity; 0 for fewer than two points.
    """
    points = check_points(points)
    front = points[non_dominated(points)]
    if len(front) < 2:
        return 0.0
    return float((np.diff(np.sort(front, axis=0), axis=0) ** 2).sum() / (len(front) - 1))


def crowding_distance(points: ArrayLike) -> np.ndarray:
    """Computes how far each point's neighbours lie apart (Deb et al., 2002, NSGA-II, section III.B).

    The sum over objectives of the gap between the two neighbours in it, divided by the objective's range. The first and
    last point in an objective are infinite; ties are broken by the other objectives, so that the order in which
    distinct points are listed does not matter.

    Args:
        points: Mutually non-dominated points, shape (points, objectives).

    Returns:
        Distances of shape (points,).
    """
    points = check_points(points)
    distances = np.zeros(len(points))
    for objective in range(points.shape[1]):
        order = np.lexsort(np.roll(points, -objective - 1, axis=1).T)
        values = points[order, objective]
        extent = values[-1] - values[0] if len(values) else 0.0
        if extent > 0:
            distances[order[1:-1]] += (values[2:] - values[:-2]) / extent
            distances[order[[0, -1]]] = np.inf
    if len(points) and not np.ptp(points, axis=0).any():
        distances[:] = np.inf
    return distances


def igd_plus(points: ArrayLike, reference_front: ArrayLike) -> float:
    """Computes the modified inverted generational distance IGD+ (Ishibuchi et al., 2015).

    The mean over the reference front of how far, in Euclidean distance, the nearest point falls short of it. It is zero
    if and only if the points weakly dominate the reference front.
    """
    points, reference = _check_pair(points, reference_front)
    return float(moocore.igd_plus(points, ref=reference, maximise=True))


def additive_epsilon(points: ArrayLike, reference_front: ArrayLike) -> float:
    """Computes the additive epsilon indicator (Zitzler et al., 2003).

    The least amount that, added to every objective of the points, makes them weakly dominate the reference front. It is
    at most zero if and only if they do already.
    """
    points, reference = _check_pair(points, reference_front)
    return float(moocore.epsilon_additive(points, ref=reference, maximise=True))


def expected_utility(points: ArrayLike, weights: ArrayLike) -> float:
    """Computes the mean over weights of the best scalarised value, max over points of w . p (Zintgraf et al., 2015).

    Args:
        points: Points, shape (points, objectives).
        weights: Weights, shape (number, objectives), for example a `simplex_lattice`.
    """
    points = check_points(points, allow_empty=False)
    weights = np.atleast_2d(check_weights(weights, points.shape[1]))
    return float((weights @ points.T).max(1).mean())


def maximum_utility_loss(points: ArrayLike, reference_front: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Computes the largest loss of scalarised value against a reference front (Zintgraf et al., 2015).

    The maximum over weights w of (max over the reference front of w . r) - (max over points of w . p).

    Args:
        points: Points, shape (points, objectives).
        reference_front: The reference front, shape (reference points, objectives).
        weights: Weights, shape (number, objectives); None for the exact maximum over the whole simplex, by one linear
            programme for each reference point.
    """
    front, reference = _check_pair(points, reference_front)
    if weights is not None:
        weights = np.atleast_2d(check_weights(weights, front.shape[1]))
        return float(((weights @ reference.T).max(1) - (weights @ front.T).max(1)).max())
    front = front[non_dominated(front)]
    return max(_largest_loss(front, one) for one in reference[non_dominated(reference)])


def attainment_surfaces(fronts: Sequence[ArrayLike], levels: Sequence[float]) -> list[np.ndarray]:
    """Computes empirical attainment surfaces over several runs (Grunert da Fonseca et al., 2001).

    A run attains a point if one of its own points weakly dominates it. The surface of a level bounds what at least that
    share of the runs attain; level 0.5 is the median front.

    Args:
        fronts: One array of shape (points, objectives) per run, with 2 or 3 objectives.
        levels: Shares of the runs, each in (0, 1].

    Returns:
        For each level the maximal points of what is attained, in lexicographic order.

    Raises:
        ValueError: No fronts, an empty front, differing or other numbers of objectives, or a level outside (0, 1].
    """
    if len(fronts) == 0:
        raise ValueError("At least one front is needed.")
    checked = [check_points(front, f"fronts[{i}]", allow_empty=False) for i, front in enumerate(fronts)]
    objectives = {front.shape[1] for front in checked}
    if len(objectives) > 1 or not objectives <= {2, 3}:
        raise ValueError(f"All fronts must have 2, or all 3, objectives, got {sorted(objectives)}.")
    runs = np.repeat(np.arange(len(checked)), [len(front) for front in checked])
    costs = -np.vstack(checked)
    surfaces = []
    for level in levels:
        if not 0 < level <= 1:
            raise ValueError(f"Levels must lie in (0, 1], got {level!r}.")
        # Whole numbers of runs, with room for the rounding of shares such as 0.1 * 30.
        attaining = max(1, int(np.ceil(level * len(checked) - 1e-9)))
        surface = -moocore.eaf(costs, runs, percentiles=[100 * attaining / len(checked)])[:, :-1]
        surfaces.append(surface[np.lexsort(surface.T[::-1])])
    return surfaces


def _largest_loss(points: np.ndarray, one: np.ndarray) -> float:
    """Maximises over the simplex the least of w . (one - p) over points p."""
    number, objectives = points.shape
    # Tolerances of the linear programme are absolute.
    unit = np.abs(points - one).max()
    if unit == 0:
        return 0.0
    found = scipy.optimize.linprog(
        np.append(np.zeros(objectives), -1.0),
        A_ub=np.column_stack([(points - one) / unit, np.ones(number)]),
        b_ub=np.zeros(number),
        A_eq=np.append(np.ones(objectives), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * objectives + [(None, None)],
    )
    if not found.success:
        raise ArithmeticError(f"The linear programme of the maximum utility loss failed: {found.message}")
    return float(-found.fun * unit)


def _check_pair(
    points: ArrayLike, reference_front: ArrayLike, *, allow_empty: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    checked = check_points(points, allow_empty=allow_empty)
    reference = check_points(reference_front, "reference_front", allow_empty=False)
    if checked.shape[1] != reference.shape[1]:
        raise ValueError(
            f"The points have {checked.shape[1]} objectives, but the reference front has {reference.shape[1]}."
        )
    return checked, reference


def _listing(points: np.ndarray, chosen: np.ndarray) -> str:
    numbers = np.flatnonzero(chosen)
    shown = ", ".join(f"number {i} {points[i].tolist()}" for i in numbers[:LARGEST_LISTING])
    rest = len(numbers) - LARGEST_LISTING
    return f"{shown} and {rest} more" if rest > 0 else shown
