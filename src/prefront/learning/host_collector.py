"""Collects in environments that the host steps: any Gymnasium id with a vector reward."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prefront.learning.collectors import Measurement
from prefront.learning.population import Population, learner_keys
from prefront.learning.ppo import ActorCritic
from prefront.learning.rollouts import Evaluation, Trajectory
from prefront.system.compilation import jit
from prefront.system.failures import TrainingFailure, not_finite
from prefront.tasks.host import HostEnvironments, mean_returns


class HostCollector:
    """A `prefront.learning.collectors.Collector` whose environments live on the host, where nothing can be stored.

    Args:
        id: Gymnasium id of an environment with a vector reward.
        network: The networks and settings of the learners.
        number: Size of the population.
        discount: Discount of evaluations.
        episodes: Episodes of each evaluation.
        **kwargs: Arguments with which the environment is made.

    Raises:
        ValueError: The settings ask for extra episodes by which returns are known.
    """

    compiled = False
    known: Measurement | None = None

    def __init__(
        self, id: str, network: ActorCritic, number: int, discount: float, episodes: int = 1, **kwargs: Any
    ) -> None:
        if network.config.return_episodes:
            raise ValueError(
                f"return_episodes={network.config.return_episodes} needs one of our environments, but {id} is stepped "
                "on the host: set 0, which takes the returns of training's own episodes."
            )
        self.name, self.network, self.number, self.discount, self.episodes = id, network, number, discount, episodes
        self.training = HostEnvironments(id, number * network.config.num_envs, **kwargs)
        self.evaluation = HostEnvironments(id, number, **kwargs)
        self._noise, self._encode = jit(self._drawn), jit(self._encoded)
        self._act, self._mode = jit(self._acted), jit(jax.vmap(network.policy.action))
        self._observation: Any = None
        self._elapsed, self._accumulated = np.zeros(0, np.int64), np.zeros((0, 0), np.float32)

    def begin(self, population: Population) -> None:
        """Starts new episodes in all environments, seeded by the iteration, so that a stored run can go on."""
        self._observation = self.training.reset(_episode_seed(population))
        self._elapsed = np.zeros(self.training.num_envs, np.int64)
        self._accumulated = np.zeros((self.training.num_envs, self.network.critic.outputs), np.float32)

    def collect(self, population: Population, update: int) -> tuple[None, Trajectory]:
        """Steps all environments, batch by batch."""
        policies, gamma = population.learners.policy, self.network.gamma
        noise = self._noise(population.seed, population.iteration)
        steps: list[tuple[np.ndarray, ...]] = []
        for t in range(self.network.config.steps):
            moment = f"step {t + 1} of update {update + 1}"
            self._check(population, moment, observation=self._observation)
            encoded, raw, actions = self._act(policies, self._observation, noise[t])
            step = self.training.step(np.asarray(actions))
            self._check(population, moment, observation=step.final, reward=step.reward)
            self._accumulated = gamma * self._accumulated + step.reward
            final = self._encode(step.final)
            by_env = (step.reward, step.terminated, step.truncated, self._elapsed, self._accumulated)
            reward, terminated, truncated, elapsed, accumulated = (self._by_learner(part) for part in by_env)
            parts = (encoded, raw, reward, terminated, truncated, final, elapsed, accumulated)
            steps.append(tuple(np.asarray(part) for part in parts))
            ended = step.terminated | step.truncated
            self._observation = step.observation
            self._elapsed = np.where(ended, 0, self._elapsed + 1)
            self._accumulated = np.where(ended[:, None], 0, self._accumulated).astype(np.float32)
        return None, Trajectory(*(jnp.asarray(np.stack(parts, axis=1)) for parts in zip(*steps, strict=True)))

    def measure(self, population: Population) -> Evaluation:
        """Runs episodes of the distributions' modes, one environment for each policy."""

        def act(observation: Any) -> np.ndarray:
            return np.asarray(self._mode(population.learners.policy, observation))

        seed, watch = _episode_seed(population), partial(self._check, population)
        return Evaluation(*mean_returns(self.evaluation, act, seed, self.episodes, self.discount, watch))

    def _check(self, population: Population, moment: str, **yielded: Any) -> None:
        """Refuses what the environments yield before anybody acts on it or learns from it."""
        for quantity, values in yielded.items():
            if (bad := not_finite(values)).any():
                learner = int(np.flatnonzero(bad)[0]) * self.number // len(bad)
                raise TrainingFailure(quantity, learner, self.name, int(population.iteration), moment)

    def _drawn(self, seed: jax.Array, iteration: jax.Array) -> jax.Array:
        """Draws the noise that `rollouts.collect` draws from the first half of a learner's key."""
        shape = (self.network.config.steps, self.network.config.num_envs)
        keys = learner_keys(seed, iteration, self.number)
        first = jax.vmap(lambda key: jax.random.split(jax.random.split(key)[0])[0])(keys)
        return jnp.swapaxes(jax.vmap(lambda key: self.network.policy.noise(key, shape))(first), 0, 1)

    def _by_learner(self, observations: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.reshape(self.number, -1, *leaf.shape[1:]), observations)

    def _encoded(self, observations: Any) -> jax.Array:
        return jax.vmap(jax.vmap(self.network.policy.encoder))(self._by_learner(observations))

    def _acted(self, policies: Any, observations: Any, noise: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        policy = self.network.policy

        def one(parameters: Any, encoded: jax.Array, disturbance: jax.Array) -> tuple[jax.Array, jax.Array]:
            raw = policy.distribution_of(parameters, encoded).perturbed(disturbance)
            return raw, policy.to_space(raw)

        encoded = self._encoded(observations)
        raw, actions = jax.vmap(jax.vmap(one, (None, 0, 0)))(policies, encoded, noise)
        return encoded, raw, actions.reshape(-1, *actions.shape[2:])


def _episode_seed(population: Population) -> int:
    words = (int(population.seed), int(population.iteration))
    return int(np.random.SeedSequence(words).generate_state(1)[0] // 2)
