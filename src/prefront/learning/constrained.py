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
LARGEST_MULTIPLIER = 10.0


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


def updated_multipliers(
    multipliers: jax.Array, values: jax.Array, thresholds: jax.Array, step_size: float
) -> jax.Array:
    """Takes a step of dual ascent on the Lagrangian's multipliers, which stay in [0, 10]; without a constraint 0."""
    violation = jnp.where(jnp.isfinite(thresholds), thresholds - values, -jnp.inf)
    return jnp.clip(multipliers + step_size * violation, 0.0, LARGEST_MULTIPLIER)
