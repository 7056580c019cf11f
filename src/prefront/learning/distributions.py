"""Distributions over actions: a softmax over discrete ones, a normal over real vectors."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp


class Categorical(NamedTuple):
    """Distribution over `len(logits)` discrete actions."""

    logits: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draws an action index."""
        return self.perturbed(jax.random.gumbel(key, self.logits.shape))

    def perturbed(self, noise: jax.Array) -> jax.Array:
        """Returns the action index that standard Gumbel noise of the logits' shape selects."""
        return jnp.argmax(self.logits + noise, axis=-1).astype(jnp.int32)

    def mode(self) -> jax.Array:
        """Returns the most probable action index, the first of equals."""
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)

    def log_probability(self, action: jax.Array) -> jax.Array:
        """Returns the log-probability of an action index."""
        chosen = jnp.arange(self.logits.shape[-1]) == action[..., None]
        # A masked sum, because gathers along the last axis are slow on CPUs; -inf logits must not meet a zero.
        return jnp.sum(jnp.where(chosen, jax.nn.log_softmax(self.logits), 0.0), axis=-1)

    def entropy(self) -> jax.Array:
        """Returns the entropy in nats; what has probability 0 adds nothing."""
        log = jax.nn.log_softmax(self.logits)
        return -_mean(log, log)

    def divergence(self, other: Categorical) -> jax.Array:
        """Returns the Kullback-Leibler divergence KL(self || other) in nats; infinity where the other lacks support."""
        log = jax.nn.log_softmax(self.logits)
        return _mean(log, log - jax.nn.log_softmax(other.logits))


class Gaussian(NamedTuple):
    """Normal distribution over real vectors with independent components, before clipping to the action bounds."""

    mean: jax.Array
    log_std: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draws an action."""
        return self.perturbed(jax.random.normal(key, self.mean.shape))

    def perturbed(self, noise: jax.Array) -> jax.Array:
        """Returns the action that standard normal noise of the mean's shape selects."""
        return self.mean + jnp.exp(self.log_std) * noise

    def mode(self) -> jax.Array:
        """Returns the mean."""
        return self.mean

    def log_probability(self, action: jax.Array) -> jax.Array:
        """Returns the log-density of an action."""
        standardised = (action - self.mean) * jnp.exp(-self.log_std)
        return jnp.sum(-0.5 * standardised**2 - self.log_std - 0.5 * math.log(2 * math.pi), axis=-1)

    def entropy(self) -> jax.Array:
        """Returns the differential entropy in nats."""
        return jnp.sum(self.log_std + 0.5 * math.log(2 * math.pi * math.e), axis=-1)

    def divergence(self, other: Gaussian) -> jax.Array:
        """Returns the Kullback-Leibler divergence KL(self || other) in nats."""
        ratio = jnp.exp(2 * (self.log_std - other.log_std))
        shift = (self.mean - other.mean) ** 2 * jnp.exp(-2 * other.log_std)
        return jnp.sum(other.log_std - self.log_std + 0.5 * (ratio + shift - 1), axis=-1)


def _mean(log_probabilities: jax.Array, values: jax.Array) -> jax.Array:
    # Without the condition, 0 times the infinite value of what never happens would be NaN.
    probabilities = jnp.exp(log_probabilities)
    return jnp.sum(probabilities * jnp.where(probabilities > 0, values, 0.0), axis=-1)


Distribution: TypeAlias = Categorical | Gaussian
