"""A population of learners as data: what it carries from update to update, and what it is trained towards."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prefront.learning.normalisation import RunningStatistics
from prefront.learning.ppo import Goal, Learner
from prefront.learning.rollouts import Array


class Population(NamedTuple):
    """All that a population carries from update to update.

    Attributes:
        learners: Learners, stacked along the first axis.
        env_state: Running environments, leading axes (learners, num_envs); None where the host holds them.
        rewards: Statistics of the discounted sum of rewards, pooled over the population.
        features: Statistics of the observation features, pooled over the population; None where they are not
            normalised.
        iteration: Number of updates so far, from which random keys follow with the seed.
        seed: Seed of all random numbers; an array, so that one compiled program serves all seeds.
        failure: 0, or 1 + the index of what was not finite in `prefront.learning.trainer.WATCHED`, shape (learners,).
    """

    learners: Learner
    env_state: Any
    rewards: RunningStatistics
    features: RunningStatistics | None
    iteration: jax.Array
    seed: Array
    failure: jax.Array

    def keys(self) -> jax.Array:
        """Returns one random key per learner for this iteration."""
        return learner_keys(self.seed, self.iteration, self.failure.shape[0])


class Schedule(NamedTuple):
    """What the next updates are towards and how they are made; arrays, so that no change compiles anything anew.

    Attributes:
        goal: Goals, stacked along the first axis.
        learning_rate: Step size; at 0 learners measure their expected return and do not change.
        adapt: Whether the pooled statistics that scale rewards and features are updated.
        updates: Number of updates.
        progress: How much of the training from scratch is done, in [0, 1].
        course: How much of the extension is done, in [0, 1].
    """

    goal: Goal
    learning_rate: Array
    adapt: Array
    updates: Array
    progress: Array = np.float32(0.0)
    course: Array = np.float32(0.0)


def learner_keys(seed: Array, iteration: Array, number: int) -> jax.Array:
    """Returns one random key per learner for an iteration."""
    key = jax.random.fold_in(jax.random.key(seed), iteration)
    return jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(number))
