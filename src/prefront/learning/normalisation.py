"""Running means and variances of batches that are seen once."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class RunningStatistics(NamedTuple):
    """Mean and variance of all that was seen, and how much that was; the variance starts at 1."""

    mean: jax.Array
    variance: jax.Array
    number: jax.Array

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> RunningStatistics:
        """Returns the statistics of nothing: mean 0, variance 1, number 0."""
        return cls(jnp.zeros(shape), jnp.ones(shape), jnp.zeros(()))

    @property
    def scale(self) -> jax.Array:
        """Standard deviation, never below 1e-4."""
        return jnp.sqrt(jnp.maximum(self.variance, 1e-8))

    def updated(self, batch: jax.Array) -> RunningStatistics:
        """Merges a batch, whose leading axes are all batch axes (Chan et al. 1983, Eq. 2.1)."""
        samples = batch.reshape(-1, *self.mean.shape)
        number = samples.shape[0]
        mean, variance = samples.mean(0), samples.var(0)
        total = self.number + number
        shift = mean - self.mean
        merged = self.variance * self.number + variance * number + shift**2 * (self.number * number / total)
        return RunningStatistics(self.mean + shift * (number / total), merged / total, total)
