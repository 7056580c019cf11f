"""The losses of proximal policy optimisation (Schulman et al. 2017) for one learner; lower is better."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def clipped_surrogate(
    log_probability: jax.Array, old_log_probability: jax.Array, advantages: jax.Array, clip: float
) -> jax.Array:
    """Returns the negated clipped surrogate objective (Eq. 7), a scalar.

    Args:
        log_probability: Under the policy that is learned, shape (N,).
        old_log_probability: Under the policy that acted, shape (N,).
        advantages: Scalar advantages, shape (N,).
        clip: Probability ratios beyond 1 +- clip gain nothing.
    """
    ratio = jnp.exp(log_probability - old_log_probability)
    clipped = jnp.clip(ratio, 1.0 - clip, 1.0 + clip)
    return -jnp.mean(jnp.minimum(ratio * advantages, clipped * advantages))


def value_loss(values: jax.Array, returns: jax.Array) -> jax.Array:
    """Returns half the mean squared error of vector values, shape (N, objectives), summed over objectives."""
    return 0.5 * jnp.mean(jnp.sum((values - returns) ** 2, axis=-1))


def standardise(advantages: jax.Array) -> jax.Array:
    """Shifts and scales advantages of shape (N,) to mean 0 and standard deviation 1."""
    return (advantages - advantages.mean()) / (advantages.std() + 1e-8)
