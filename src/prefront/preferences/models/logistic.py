"""Logistic regression of choices on differences of features: full batch, without bias, in any units of the features."""

from __future__ import annotations

import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from scipy.special import expit

from prefront.preferences.models.fitting import PUBLISHED, Descent, Fit, choice_losses, descend, padded_size, padded_to

NEWTON_STEPS = 200
# Half of Newton's decrement is what the mean loss lies above its optimum, nats.
DECREMENT = 1e-16
# A loss this close to its infimum, in nats per answer, is as good as it.
NEGLIGIBLE = 1e-9
# Combinations of features that vary by less than this share of the largest are dependent; margins below it are none.
ROUNDING = 1e-9


def fit_logistic(features: np.ndarray, labels: np.ndarray, descent: Descent = PUBLISHED, l2: float = 0.0) -> Fit:
    """Maximises the likelihood of P(first) = sigmoid(features @ w), in float64.

    Newton's method, damped, in combinations of features that are uncorrelated and of unit size: units do not matter,
    and what no answer informs about stays 0. Where the optimum lies at infinity, because answers are separable
    (`separating_direction`), as those of a noiseless person are up to ties, weights are those of the lowest loss that
    Adam meets from w = 0, in units of each feature's root mean square. All weights of such a loss separate the answers,
    but their direction, and with it the reward, depends on how one gets there: on the optimiser, its learning rate and
    its number of steps. Where Adam ends more than 1e-9 nats above the infimum, weights are those of Newton's method.

    Args:
        features: First minus second, shape (n, d).
        labels: Shape (n,), in [0, 1].
        descent: How Adam descends where answers are separable.
        l2: Penalty l2/2 |w|^2 beside the mean loss, in the units of the features as they are given.

    Returns:
        NumPy arrays; the loss is without the penalty, steps are Newton's or Adam's.

    Raises:
        ValueError: The penalty is negative or not finite.

    Warns:
        RuntimeWarning: It did not converge; the message names the gradient's norm.
    """
    if not 0 <= l2 < np.inf:
        raise ValueError(f"l2 must be at least 0 and finite, got {l2!r}.")
    features, labels = np.asarray(features, np.float64), np.asarray(labels, np.float64)
    largest = np.abs(features).max(0)
    largest = np.where(largest > 0, largest, 1.0)
    unit = largest * np.sqrt(np.mean((features / largest) ** 2, axis=0))
    unit = np.where(unit > 0, unit, 1.0)
    scaled, penalty = features / unit, l2 / unit**2
    basis = _whitening(scaled) if l2 == 0 else np.diag(1 / np.sqrt(1 + penalty))
    found, slope, converged = _newton(scaled @ basis, labels, basis.T @ (penalty[:, None] * basis))
    polished = basis @ found.weights
    if (
        l2 == 0
        and not _is_bounded(scaled @ polished, labels, slope)
        and separating_direction(scaled, labels) is not None
    ):
        by_adam = _adam(scaled, labels, descent)
        if by_adam.loss <= found.loss + NEGLIGIBLE:
            return by_adam._replace(weights=by_adam.weights / unit)
    elif not converged:
        warnings.warn(
            f"The logistic regression did not converge in {found.steps} steps of Newton's method: the gradient's norm "
            f"is {np.linalg.norm(slope):.3g} nats per answer, in features of unit size.",
            RuntimeWarning,
            stacklevel=2,
        )
    return found._replace(weights=polished / unit)


def separating_direction(features: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
    """Returns weights along which the likelihood never falls and somewhere rises, or None where there are none.

    The likelihood of choices has a maximum at finite weights if and only if no direction separates them, completely or
    in part (Albert and Anderson, "On the existence of maximum likelihood estimates in logistic regression models",
    Biometrika 71, 1984). A linear programme looks for one: no strict answer may be contradicted, no tie be broken, and
    at least one answer must be explained better.

    Args:
        features: First minus second, shape (n, d), of about unit size.
        labels: Shape (n,); what is neither 0 nor 1 counts as a tie.

    Returns:
        Shape (d,), entries in [-1, 1].
    """
    strict = (labels == 0) | (labels == 1)
    toward = np.unique(features[strict] * np.where(labels[strict] == 1, 1.0, -1.0)[:, None], axis=0)
    ties = np.unique(features[~strict], axis=0)
    found = scipy.optimize.linprog(
        -toward.sum(0) / max(len(toward), 1),
        A_ub=-toward if len(toward) else None,
        b_ub=np.zeros(len(toward)) if len(toward) else None,
        A_eq=ties if len(ties) else None,
        b_eq=np.zeros(len(ties)) if len(ties) else None,
        bounds=(-1.0, 1.0),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if not found.success:
        raise ArithmeticError(f"The linear programme that looks for a separating direction failed: {found.message}")
    gained, broken = toward @ found.x, np.abs(ties @ found.x).max(initial=0.0)
    most = gained.max(initial=0.0)
    return found.x if most > ROUNDING and min(gained.min(), -broken) >= -ROUNDING * most else None


def _whitening(features: np.ndarray) -> np.ndarray:
    """Combinations of features whose second moments are the identity, shape (d, rank)."""
    _, sizes, axes = np.linalg.svd(features, full_matrices=False)
    kept = sizes > ROUNDING * sizes.max(initial=1e-300)
    return np.asarray(axes[kept].T / sizes[kept] * np.sqrt(len(features)))


def _newton(features: np.ndarray, labels: np.ndarray, penalty: np.ndarray) -> tuple[Fit, np.ndarray, bool]:
    """Damped Newton from zero, with Armijo's rule: the fit, the gradient there, and whether it converged."""
    count, d = features.shape

    def losses(w: np.ndarray) -> tuple[float, float]:
        score = features @ w
        plain = float(np.mean(np.logaddexp(0.0, score) - labels * score))
        return plain, plain + 0.5 * float(w @ penalty @ w)

    w = np.zeros(d)
    for step in range(NEWTON_STEPS + 1):
        chance = expit(features @ w)
        slope = (chance - labels) @ features / count + penalty @ w
        # Written with the smaller of the two chances, the product keeps its digits at certainty.
        spread = chance * expit(-(features @ w))
        move = np.linalg.lstsq((features * spread[:, None]).T @ features / count + penalty, slope, rcond=None)[0]
        decrement = float(slope @ move)
        if decrement <= DECREMENT or step == NEWTON_STEPS:
            break
        here, fraction = losses(w)[1], 1.0
        while losses(w - fraction * move)[1] > here - 1e-4 * fraction * decrement + 1e-15 and fraction > 1e-10:
            fraction /= 2
        w = w - fraction * move
    return Fit(w, losses(w)[0], step), slope, decrement <= DECREMENT


def _is_bounded(scores: np.ndarray, labels: np.ndarray, slope: np.ndarray) -> bool:
    """Whether a gradient this small proves that no direction separates the answers.

    Along a separating direction u, with features of unit second moments, the slope is at least min |chance - label| *
    |u| / sqrt(n) in size.
    """
    residuals = np.where(labels == 1, expit(-scores), np.where(labels == 0, expit(scores), 1.0))
    return bool(np.linalg.norm(slope) < 0.5 * residuals.min() / np.sqrt(len(labels)))


def _adam(features: np.ndarray, labels: np.ndarray, descent: Descent) -> Fit:
    shares = np.full(len(labels), 1 / len(labels))
    rows = (padded_to(one, padded_size(len(labels))) for one in (features, labels, shares))
    with jax.enable_x64(True):
        found = _compiled(*rows, descent=descent)
        return Fit(*(np.asarray(leaf) for leaf in found))


@partial(jax.jit, static_argnames="descent")
def _compiled(features: jax.Array, labels: jax.Array, shares: jax.Array, descent: Descent) -> Fit:
    def loss(w: jax.Array) -> jax.Array:
        return shares @ choice_losses(features @ w, labels)

    return descend(loss, jnp.zeros(features.shape[1], features.dtype), descent)
