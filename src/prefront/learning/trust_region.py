"""Constrained policy optimisation (Achiam et al. 2017) for vector returns: one natural-gradient step per rollout.

To first order the step maximises the weighted objective subject to the constraints and a bound on the mean
Kullback-Leibler divergence; a backtracking line search then holds the surrogates and the divergence to it. What is
guaranteed is thus the surrogate of the rollout's data, not the true return, and a learner that has left the feasible
set steps back towards it. The surrogates' slope is the return's where steps are weighted by the discount
(`prefront.learning.advantages.visit_weights`) and rollouts show what episodes are like from their start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

CONJUGATE_GRADIENT_STEPS = 10
DAMPING = 0.01
DUAL_STEPS = 100
LARGEST_DUAL = 1e3
BACKTRACKS = 10
SHRINKAGE = 0.7


def trust_region_step(
    surrogates: Callable[[Any], jax.Array],
    divergence: Callable[[Any], jax.Array],
    parameters: Any,
    weights: jax.Array,
    slack: jax.Array,
    bound: float | jax.Array,
) -> Any:
    """Takes one step of constrained policy optimisation.

    Args:
        surrogates: Estimated change of each objective's return at new parameters, shape (objectives,); 0 at the old.
        divergence: Mean Kullback-Leibler divergence of the policy at new parameters from that at the old.
        parameters: The policy's parameters.
        weights: Weights of the objective that is maximised, shape (objectives,).
        slack: By how much each return may fall, negative where it must rise; inf where it is not constrained.
        bound: Largest divergence.

    Returns:
        The new parameters, or the old ones where no shortened step satisfies the constraints.
    """
    flat, restore = ravel_pytree(parameters)
    gradients = jax.jacrev(lambda point: surrogates(restore(point)))(flat)

    def curvature(direction: jax.Array) -> jax.Array:
        slope = jax.grad(lambda point: divergence(restore(point)))
        return jax.jvp(slope, (flat,), (direction,))[1] + DAMPING * direction

    natural = jax.vmap(lambda gradient: conjugate_gradient(curvature, gradient))(gradients)
    products = gradients @ natural.T
    step = step_weights((products + products.T) / 2, weights, slack, bound) @ natural

    def shorten(_: int, found: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        size, best, done = found
        candidate = restore(flat + size * step)
        change = surrogates(candidate)
        limited = jnp.isfinite(slack)
        # Where a constraint is violated it must not get worse; the step may take several rollouts to satisfy it.
        kept = jnp.all(jnp.where(limited, change + jnp.maximum(slack, 0.0) >= -1e-6, True))
        recovering = jnp.any(limited & (slack < 0))
        fits = kept & (divergence(candidate) <= 1.5 * bound) & (recovering | (change @ weights >= 0))
        return size * SHRINKAGE, jnp.where(fits & ~done, size, best), done | fits

    _, size, _ = jax.lax.fori_loop(0, BACKTRACKS, shorten, (jnp.float32(1.0), jnp.float32(0.0), jnp.bool_(False)))
    return restore(flat + size * step)


def step_weights(products: jax.Array, weights: jax.Array, slack: jax.Array, bound: float | jax.Array) -> jax.Array:
    """Solves the step's dual problem (Eq. 12): how much of each objective's natural gradient to take.

    Maximises w' G u subject to (G u)_j + slack_j >= 0 and u' G u / 2 <= bound, by coordinate ascent in the multipliers.

    Args:
        products: G, the inner products of the objectives' gradients under the inverse curvature.
        weights: w, shape (objectives,).
        slack: Shape (objectives,); inf where there is no constraint.
        bound: Bound of the trust region.

    Returns:
        u, shape (objectives,).
    """
    limited = jnp.isfinite(slack)
    room = jnp.where(limited, slack, 0.0)
    objectives = weights.shape[0]

    def length(multipliers: jax.Array) -> jax.Array:
        mixed = weights + multipliers
        return jnp.sqrt(jnp.maximum(mixed @ products @ mixed, 1e-12) / (2.0 * bound))

    def ascend(step: int, multipliers: jax.Array) -> jax.Array:
        j = step % objectives
        excess = length(multipliers) * room[j] + products[j] @ (weights + multipliers)
        better = jnp.clip(multipliers[j] - excess / (products[j, j] + 1e-12), 0.0, LARGEST_DUAL)
        return multipliers.at[j].set(jnp.where(limited[j], better, 0.0))

    multipliers = jax.lax.fori_loop(0, DUAL_STEPS * objectives, ascend, jnp.zeros_like(weights))
    return (weights + multipliers) / length(multipliers)


def conjugate_gradient(product: Callable[[jax.Array], jax.Array], target: jax.Array) -> jax.Array:
    """Solves product(x) = target approximately, for a symmetric positive definite product."""

    def iterate(_: int, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        x, residual, direction, squared = state
        image = product(direction)
        size = squared / (direction @ image + 1e-20)
        residual = residual - size * image
        following = residual @ residual
        return x + size * direction, residual, residual + following / (squared + 1e-20) * direction, following

    start = (jnp.zeros_like(target), target, target, target @ target)
    return jax.lax.fori_loop(0, CONJUGATE_GRADIENT_STEPS, iterate, start)[0]
