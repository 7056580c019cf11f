"""Constraints J_j >= c_j on vector returns, as the weights that scalarise the vector advantage.

The gradient of log(J_j - c_j) / t is the gradient of J_j times 1 / (t (J_j - c_j)), and that of the Lagrangian's
lambda_j (J_j - c_j) is lambda_j times the gradient of J_j. Either method is therefore a policy gradient whose advantage
is weighted anew before each update, and unconstrained learning is the case of thresholds at minus infinity.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

# A barrier's weight grows without bound towards the threshold; from here on, and beyond the threshold, it is constant
# (a clamped logarithm would have no gradient there, and the learner could not come back).
RECOVERY_WEIGHT = 10.0
# Multipliers are in ranges of the maximised objective for a range of the constrained one: where the front is a straight
# line between its ends, 1 is right, and they start there.
FIRST_MULTIPLIER, LARGEST_MULTIPLIER = 1.0, 10.0
# The integral heeds violations up to here, so that the way from afar to the threshold does not wind it up or down.
LARGEST_ERROR = 0.05
# Returns are known up to noise: what a trust region holds lies this share of a range inside, and what multipliers hold,
# which swing about their answer, this one.
MARGIN, SWINGING_MARGIN = 0.005, 0.015


def barrier_weights(weights: jax.Array, values: jax.Array, thresholds: jax.Array, sharpness: float) -> jax.Array:
    """Weights of interior-point policy optimisation (Liu et al. 2020, Eq. 6).

    Args:
        weights: Weights of the objective itself, shape (objectives,).
        values: The policy's expected returns J, in units in which 1 is a large difference, shape (objectives,).
        thresholds: The constraints' c in the same units, -inf where there is none.
        sharpness: The barrier's t; larger means closer to the threshold.

    Returns:
        Weights of the vector advantage, shape (objectives,).
    """
    slack = values - thresholds
    barrier = jnp.minimum(1.0 / (sharpness * jnp.maximum(slack, 1e-6)), RECOVERY_WEIGHT)
    return weights + jnp.where(jnp.isfinite(thresholds), barrier, 0.0)


def controlled_multipliers(
    integral: jax.Array, values: jax.Array, thresholds: jax.Array, proportional: float, rate: float
) -> tuple[jax.Array, jax.Array]:
    """Takes a step of a proportional-integral controller of the Lagrangian's multipliers (Stooke et al. 2020, Alg. 2).

    Dual ascent alone is the integral: it goes on to rise until a violation is over, and so swings about the threshold.
    The proportional part is at once large where a constraint is violated and small where there is room.

    Args:
        integral: Integral parts, shape (objectives,).
        values: The policy's expected returns J, in units in which 1 is a large difference, shape (objectives,).
        thresholds: The constraints' c in the same units, -inf where there is none.
        proportional: Multiplier per violation.
        rate: Step size of the integral.

    Returns:
        The integral parts and the multipliers, both in [0, 10]; multipliers are 0 where there is no constraint.
    """
    limited = jnp.isfinite(thresholds)
    violation = jnp.where(limited, thresholds - values, 0.0)
    step = rate * jnp.clip(violation, -LARGEST_ERROR, LARGEST_ERROR)
    integral = jnp.clip(integral + step, 0.0, LARGEST_MULTIPLIER)
    multipliers = jnp.clip(integral + proportional * violation, 0.0, LARGEST_MULTIPLIER)
    return integral, jnp.where(limited, multipliers, 0.0)
