"""Logistic regression of choices on differences of features: full batch, without bias or regulariser."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

# A loss counts as lower when it gains more than this share.
GAIN = 1e-4
NEWTON_STEPS = 12
# Newton's last step may change no log-odds by more, or the optimum is taken to lie at infinity.
CONVERGED = 1e-6
# Keeps directions that the data say nothing about where they are, as a share of the mean curvature.
DAMPING = 1e-12
# Numbers of pairs for which programs are compiled; padding of weight zero fills the rest.
SIZES = (32, 128, 320, 1024, 3072)


class Descent(NamedTuple):
    """How a model descends: full batch, by Adam.

    Attributes:
        learning_rate: Adam's.
        steps: Most steps.
        patience: It stops after so many steps in which the lowest loss fell by less than 1e-4 of itself.
    """

    learning_rate: float = 2.0
    steps: int = 1000
    patience: int = 1000


PUBLISHED = Descent()


class Fit(NamedTuple):
    """A fitted linear model, or a batch of them.

    Attributes:
        weights: Shape (..., d).
        loss: Mean cross-entropy at these weights, nats, shape (...).
        steps: Steps that were taken, shape (...).
    """

    weights: Any
    loss: Any
    steps: Any


def choice_losses(difference: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the cross-entropy of each choice, nats, given differences of scores (first minus second)."""
    return jax.nn.softplus(difference) - labels * difference


def descend(loss: Callable[[Any], jax.Array], initial: Any, descent: Descent) -> Fit:
    """Follows Adam and returns the parameters of the lowest loss that it met; pure JAX.

    Args:
        loss: What is minimised, a function of parameters of any structure.
        initial: Parameters to start from.
        descent: How.
    """
    optimizer = optax.adam(descent.learning_rate)
    slope = jax.value_and_grad(loss)

    def going(carry: Any) -> jax.Array:
        return jnp.asarray((carry[5] < descent.steps) & (carry[6] < descent.patience))

    def step(carry: Any) -> Any:
        w, state, lowest, best, bar, steps, idle = carry
        current, gradient = slope(w)
        updates, state = optimizer.update(gradient, state)
        gained = current < bar * (1 - GAIN)
        return (
            optax.apply_updates(w, updates),
            state,
            jnp.minimum(current, lowest),
            jax.tree.map(lambda new, old: jnp.where(current < lowest, new, old), w, best),
            jnp.where(gained, current, bar),
            steps + 1,
            jnp.where(gained, 0, idle + 1),
        )

    infinite = jnp.full_like(loss(initial), jnp.inf)
    start = (initial, optimizer.init(initial), infinite, initial, infinite, jnp.int32(0), jnp.int32(0))
    _, _, lowest, best, _, steps, _ = jax.lax.while_loop(going, step, start)
    return Fit(best, lowest, steps)


def logistic_regression(
    features: jax.Array, labels: jax.Array, weights: jax.Array, descent: Descent = PUBLISHED
) -> Fit:
    """Maximises the likelihood of P(first) = sigmoid(features @ w); pure JAX.

    Adam descends from w = 0, and Newton's method goes on from the lowest loss. Where it converges, the result is the
    maximum of the likelihood. Where it does not, answers are separable, as those of a noiseless person are up to ties,
    and the optimum lies at infinity: then the weights are those of Adam's lowest loss. All of these separate the
    answers, but their direction, and with it the reward, depends on how one gets there: on the optimiser, its learning
    rate and its number of steps.

    Args:
        features: First minus second, shape (n, d).
        labels: Shape (n,), in [0, 1].
        weights: Weight of each pair, shape (n,); 0 for padding.
        descent: How Adam descends.

    Returns:
        Weights of shape (d,).
    """
    share = weights / weights.sum()

    def loss(w: jax.Array) -> jax.Array:
        return share @ choice_losses(features @ w, labels)

    found = descend(loss, jnp.zeros(features.shape[1], features.dtype), descent)

    def newton(_: Any, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        w, _ = carry
        p = jax.nn.sigmoid(features @ w)
        gradient = (share * (p - labels)) @ features
        curvature = (features * (share * p * (1 - p))[:, None]).T @ features
        ridge = DAMPING * jnp.trace(curvature) + 1e-300
        step = jnp.linalg.solve(curvature + ridge * jnp.eye(len(w)), gradient)
        return w - step, jnp.abs(jnp.where(weights > 0, features @ step, 0.0)).max()

    polished, moved = jax.lax.fori_loop(0, NEWTON_STEPS, newton, (found.weights, jnp.asarray(jnp.inf, features.dtype)))
    exact = (moved <= CONVERGED) & (loss(polished) <= found.loss)
    return Fit(jnp.where(exact, polished, found.weights), jnp.where(exact, loss(polished), found.loss), found.steps)


def padded_size(count: int, sizes: tuple[int, ...] = SIZES) -> int:
    """Returns the smallest size that holds `count`; beyond the last one, a multiple of it."""
    fitting = [size for size in sizes if size >= count]
    return fitting[0] if fitting else -(-count // sizes[-1]) * sizes[-1]


def fit_logistic(features: np.ndarray, labels: np.ndarray, descent: Descent = PUBLISHED) -> Fit:
    """Fits one logistic regression in float64.

    Args:
        features: First minus second, shape (n, d).
        labels: Shape (n,).
        descent: How Adam descends.

    Returns:
        NumPy arrays.
    """
    count = len(labels)
    rest = padded_size(count) - count
    arrays = np.pad(features, ((0, rest), (0, 0))), np.pad(labels, (0, rest)), np.pad(np.ones(count), (0, rest))
    with jax.enable_x64(True):
        return Fit(*(np.asarray(leaf) for leaf in _compiled(*arrays, descent=descent)))


_compiled = partial(jax.jit, static_argnames="descent")(logistic_regression)
