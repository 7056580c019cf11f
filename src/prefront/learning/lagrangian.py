"""Lagrange multipliers on the values of reward models, and the controller of the KL coefficient.

Constrained RLHF (Moskovitz et al., 2024, arXiv 2310.04373) maximises a value v_0 subject to constraints on the values
v_i of K reward models, by gradient ascent on the policy and descent on multipliers, here in two forms:

* "paper": the policy follows (K - sum_i s(mu_i)) A_0 + sum_i s(mu_i) A_i, each advantage normalised, with s the sigmoid
  for inequalities and tanh for equalities; the multipliers' loss is (v_i - theta_i) s(mu_i) (Section 4, Algorithm 1).
* "exact": the policy follows A_0 + sum_i lambda_i A_i, mixed raw and normalised once, so that multipliers keep their
  meaning and are unbounded; the loss is lambda_i (v_i - theta_i) with the violation clipped to +-1, and multipliers of
  inequalities are projected onto lambda_i >= 0. Its fixed point is the constrained optimum itself.

The gradient of (v_i - theta_i) is that of v_i >= theta_i; constraints v_i <= theta_i have the opposite sign throughout.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

VIOLATION_CLIP = 1.0
CONTROLLER_CLIP, CONTROLLER_GAIN = 0.2, 0.1


class Multipliers(NamedTuple):
    """K multipliers, before any squashing, and the momentum of their optimiser, each of shape (K,)."""

    raw: jax.Array
    momentum: jax.Array


def effective(raw: jax.Array, form: str, equality: bool) -> jax.Array:
    """Returns the multipliers that weigh advantages: s(mu) in the paper's form, lambda itself in the exact one."""
    if form == "exact":
        return raw
    return jnp.tanh(raw) if equality else jax.nn.sigmoid(raw)


def multiplier_gradient(raw: jax.Array, excess: jax.Array, form: str, equality: bool) -> jax.Array:
    """Returns the gradient of the multipliers' loss.

    Args:
        raw: Multipliers before squashing, shape (K,).
        excess: v_i - theta_i for v_i >= theta_i and v_i = theta_i, theta_i - v_i for v_i <= theta_i, shape (K,).
        form: "paper" or "exact".
        equality: Whether the constraints are equalities.
    """
    if form == "exact":
        return jnp.clip(excess, -VIOLATION_CLIP, VIOLATION_CLIP)
    squashed = effective(raw, form, equality)
    return excess * ((1 - squashed**2) if equality else squashed * (1 - squashed))


def multiplier_step(
    multipliers: Multipliers,
    excess: jax.Array,
    rate: jax.Array | float,
    momentum: jax.Array | float,
    form: str,
    equality: bool,
) -> Multipliers:
    """Takes a step of stochastic gradient descent with momentum (buffer = momentum * buffer + gradient).

    Args:
        multipliers: K multipliers and their buffers.
        excess: See `multiplier_gradient`.
        rate: Step size.
        momentum: Share of the buffer that is kept.
        form: "paper" or "exact".
        equality: Whether the constraints are equalities.

    Returns:
        The new multipliers; those of inequalities in the exact form are not negative.
    """
    buffer = momentum * multipliers.momentum + multiplier_gradient(multipliers.raw, excess, form, equality)
    raw = multipliers.raw - rate * buffer
    if form == "exact" and not equality:
        raw = jnp.maximum(raw, 0.0)
    return Multipliers(raw, buffer)


def controlled_coefficient(coefficient: jax.Array, divergence: jax.Array, target: jax.Array | float) -> jax.Array:
    """Moves the KL coefficient towards a target KL: times 1 + 0.1 clip((KL - target) / target, -0.2, 0.2).

    Source: Ziegler et al. (2019), "Fine-Tuning Language Models from Human Preferences", Section 2.2, with the constants
    of Moskovitz et al. (2024).
    """
    error = jnp.clip((divergence - target) / target, -CONTROLLER_CLIP, CONTROLLER_CLIP)
    return coefficient * (1 + CONTROLLER_GAIN * error)


def annealed_coefficient(start: jax.Array | float, end: jax.Array | float, fraction: jax.Array | float) -> jax.Array:
    """Returns the KL coefficient after a fraction of training: geometric from start to end, both positive."""
    return start * (end / start) ** jnp.clip(fraction, 0.0, 1.0)
