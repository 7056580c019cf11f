"""Advantages and lambda-returns of vector rewards (Schulman et al. 2016, Eq. 16), one column per objective."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Estimates(NamedTuple):
    """Generalised advantage estimates and the lambda-returns they belong to, each of shape (T, ..., objectives)."""

    advantages: jax.Array
    returns: jax.Array


def generalised_advantages(
    rewards: jax.Array,
    values: jax.Array,
    next_values: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: float | jax.Array,
    lambda_: float,
) -> Estimates:
    """Estimates advantages along trajectories that may hold several episodes.

    A terminated episode is worth nothing from there on; a truncated one goes on to be worth `next_values`.

    Args:
        rewards: Vector rewards, shape (T, ..., objectives).
        values: Value of the observation before each step, same shape.
        next_values: Value of the observation that each step led to, before any reset, same shape.
        terminated: Whether the step ended the episode for good, shape (T, ...).
        truncated: Whether a time limit cut the episode after the step, shape (T, ...).
        gamma: Discount.
        lambda_: 0 gives one-step temporal differences, 1 Monte Carlo returns.

    Returns:
        Advantages and lambda-returns.
    """
    goes_on = 1.0 - (terminated | truncated)[..., None]
    errors = rewards + gamma * (1.0 - terminated[..., None]) * next_values - values

    def backward(later: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        error, keep = step
        advantage = error + gamma * lambda_ * keep * later
        return advantage, advantage

    _, advantages = jax.lax.scan(backward, jnp.zeros_like(errors[0]), (errors, goes_on), reverse=True)
    return Estimates(advantages, advantages + values)


def visit_weights(elapsed: jax.Array, gamma: float) -> jax.Array:
    """Returns weights by which a mean over steps is one over the discounted state distribution, same shape, sum 1.

    A step that an episode takes after t others counts gamma^t (Sutton et al. 2000, Theorem 1). The weights say nothing
    of steps that are not among the given ones.

    Args:
        elapsed: Steps that the episode had taken before, any shape.
        gamma: Discount.
    """
    # Counted from the earliest, as powers of late steps would vanish.
    weights = gamma ** (elapsed - elapsed.min()).astype(jnp.float32)
    return weights / weights.sum()
