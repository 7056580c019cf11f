"""Running means and variances of batches that are seen once."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Moments(NamedTuple):
    """Mean and variance of all that was seen, and how much that was; the variance starts at 1."""

    mean: jax.Array
    variance: jax.Array
    number: jax.Array

    @property
    def scale(self) -> jax.Array:
        """Standard deviation, never below 1e-4."""
        return jnp.sqrt(jnp.maximum(self.variance, 1e-8))


def no_moments(shape: tuple[int, ...]) -> Moments:
    """Returns the moments of nothing: mean 0, variance 1, number 0."""
    return Moments(jnp.zeros(shape), jnp.ones(shape), jnp.zeros(()))


def update_moments(moments: Moments, batch: jax.Array) -> Moments:
    """Merges a batch into the moments (Chan et al. 1983, Eq. 2.1).

    Args:
        moments: Moments of shape `batch.shape[-k:]`.
        batch: Samples; the leading axes are all batch axes.
    """
    samples = batch.reshape(-1, *moments.mean.shape)
    number = samples.shape[0]
    mean, variance = samples.mean(0), samples.var(0)
    total = moments.number + number
    shift = mean - moments.mean
    merged = moments.variance * moments.number + variance * number + shift**2 * (moments.number * number / total)
    return Moments(moments.mean + shift * (number / total), merged / total, total)
