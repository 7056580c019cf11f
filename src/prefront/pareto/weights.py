"""Weights on the simplex: checked, enumerated, spread evenly or drawn at random."""

from __future__ import annotations

import itertools

import numpy as np
import scipy
from numpy.typing import ArrayLike

from prefront.system.checks import check_unmasked

SUM_TOLERANCE = 1e-5
CANDIDATES_PER_POINT = 100
# Where z = 0 the gradient by z vanishes, so a start must not lie on the boundary.
OFF_BOUNDARY = 1e-4


def check_weights(weights: ArrayLike, objectives: int) -> np.ndarray:
    """Returns weights as float64, after checking that each vector lies on the simplex.

    Args:
        weights: One weight vector, shape (objectives,), or several, shape (number, objectives).
        objectives: How many objectives there are.

    Raises:
        ValueError: The length is wrong, an entry is negative, masked or not finite, or a vector does not sum to 1.
    """
    check_unmasked(weights, "Weights")
    checked = np.asarray(weights, np.float64)
    if checked.ndim not in (1, 2) or checked.shape[-1] != objectives:
        raise ValueError(
            f"Weights must have length {objectives}, one entry per objective, got an array of shape {checked.shape}."
        )
    if not np.isfinite(checked).all():
        raise ValueError(f"Weights must be finite, got {weights!r}.")
    vectors = np.atleast_2d(checked)
    if (vectors < 0).any():
        raise ValueError(f"Weights must not be negative, got {vectors[(vectors < 0).any(1)][0]}.")
    sums = vectors.sum(1)
    off = np.abs(sums - 1.0) > SUM_TOLERANCE
    if off.any():
        raise ValueError(f"Weights must sum to 1, got {vectors[off][0]}, which sum to {sums[off][0]:.6g}.")
    return checked


def simplex_lattice(objectives: int, divisions: int) -> np.ndarray:
    """Enumerates all weights whose entries are multiples of 1 / divisions (Das and Dennis, 1998).

    The lattice is enumerated in integers, so none of its points is lost to rounding.

    Args:
        objectives: Number of objectives, at least 1.
        divisions: Number of steps along each edge of the simplex, at least 1.

    Returns:
        Weights of shape (binomial(divisions + objectives - 1, objectives - 1), objectives), in lexicographic order.
    """
    _check_positive(objectives=objectives, divisions=divisions)
    slots = divisions + objectives - 1
    bars = np.array(list(itertools.combinations(range(slots), objectives - 1)), np.int64)
    fences = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, slots)))
    return (np.diff(fences, axis=1) - 1) / divisions


def dirichlet_weights(objectives: int, number: int, seed: int) -> np.ndarray:
    """Draws weights uniformly from the simplex, shape (number, objectives)."""
    _check_positive(objectives=objectives, number=number)
    return np.random.default_rng(seed).dirichlet(np.ones(objectives), number)


def riesz_weights(objectives: int, number: int, seed: int = 0, iterations: int = 200) -> np.ndarray:
    """Spreads any number of weights evenly over the simplex, by minimising their Riesz s-energy.

    The energy is the sum over pairs of distance ** -s with s = objectives ** 2 (Blank, Deb, Dhebar, Bandaru and Seada,
    "Generating Well-Spaced Points on a Unit Simplex for Evolutionary Many-Objective Optimization", IEEE Transactions on
    Evolutionary Computation 2021). Weights are written as z ** 2 / sum(z ** 2), which makes the problem unconstrained
    and lets points reach the simplex's boundary. L-BFGS minimises the energy's logarithm, from corners and random
    points that lie far apart; what is found is a local minimum.

    Args:
        objectives: Number of objectives, at least 1.
        number: Number of weights.
        seed: Seed of the random start.
        iterations: Upper bound on the iterations.

    Returns:
        Weights of shape (number, objectives), in lexicographic order.
    """
    _check_positive(objectives=objectives, number=number)
    if number == 1 or objectives == 1:
        return np.full((number, objectives), 1.0 / objectives)
    start = np.sqrt(_far_apart(objectives, number, seed) + OFF_BOUNDARY)
    found = scipy.optimize.minimize(
        _log_riesz_energy, start.ravel(), (start.shape,), "L-BFGS-B", True, options={"maxiter": iterations}
    )
    squares = found.x.reshape(start.shape) ** 2
    weights = squares / squares.sum(1, keepdims=True)
    return weights[np.lexsort(weights.T[::-1])]


def _far_apart(objectives: int, number: int, seed: int) -> np.ndarray:
    """Picks, one after the other, the candidate farthest from those picked; the candidates contain all corners."""
    drawn = np.random.default_rng(seed).dirichlet(np.full(objectives, 0.5), CANDIDATES_PER_POINT * number)
    candidates = np.vstack([np.eye(objectives), drawn])
    picked = [0]
    squared = ((candidates - candidates[0]) ** 2).sum(1)
    for _ in range(number - 1):
        picked.append(int(squared.argmax()))
        squared = np.minimum(squared, ((candidates - candidates[picked[-1]]) ** 2).sum(1))
    return candidates[picked]


def _log_riesz_energy(z: np.ndarray, shape: tuple[int, int]) -> tuple[float, np.ndarray]:
    """Returns the logarithm of the s-energy and its gradient by z."""
    number, objectives = shape
    z = z.reshape(shape)
    sums = (z**2).sum(1, keepdims=True)
    weights = z**2 / sums
    power = objectives**2 / 2
    first, second = np.triu_indices(number, 1)
    gaps = weights[first] - weights[second]
    squared = np.maximum((gaps**2).sum(1), np.finfo(np.float64).tiny)
    exponents = -power * np.log(squared)
    largest = exponents.max()
    shares = np.exp(exponents - largest)
    total = shares.sum()
    pulls = (-2 * power * shares / (total * squared))[:, None] * gaps
    by_weights = np.stack(
        [np.bincount(first, pulls[:, j], number) - np.bincount(second, pulls[:, j], number) for j in range(objectives)],
        axis=1,
    )
    by_z = 2 * z / sums * (by_weights - (by_weights * weights).sum(1, keepdims=True))
    return float(largest + np.log(total)), by_z.ravel()


def _check_positive(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
