"""Trains populations on environments that the host steps; all learning is that of `prefront.learning.population`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prefront.learning.population import Order, Population, check_finite, fresh_learners, learn_all, learner_keys
from prefront.learning.ppo import ActorCritic
from prefront.learning.rollouts import Outcome, Trajectory
from prefront.system.compilation import jit
from prefront.system.failures import TrainingFailure, not_finite
from prefront.tasks.host import LONGEST_EPISODE, HostEnvironments


class HostTrainer:
    """The counterpart of `prefront.learning.population.CompiledTrainer` for any Gymnasium id.

    Args:
        id: Gymnasium id of an environment with a vector reward.
        kwargs: Arguments with which it is made.
        network: The networks and settings of the learners.
        number: Size of the population.
        episodes: Episodes of each evaluation.
        discount: Discount of evaluations.
        seed: Seed of all random numbers.
    """

    def __init__(
        self,
        id: str,
        kwargs: Mapping[str, Any],
        network: ActorCritic,
        number: int,
        episodes: int,
        discount: float,
        seed: int,
    ) -> None:
        if network.config.return_episodes:
            raise ValueError(
                f"return_episodes={network.config.return_episodes} needs one of our environments, but {id} is stepped "
                "on the host: set 0, which takes the returns of training's own episodes."
            )
        self.id, self.network, self.number, self.episodes, self.discount = id, network, number, episodes, discount
        self.seed = np.uint32(seed % 2**32)
        self.training = HostEnvironments(id, number * network.config.copies, **kwargs)
        self.evaluation = HostEnvironments(id, number, **kwargs)
        self._fresh = jit(lambda seed, iteration: fresh_learners(network, seed, iteration, number))
        self._again = jit(lambda all_: jax.vmap(network.restarted)(all_["policy"], all_["critic"], all_["scale"]))
        self._noise = jit(self._draw_noise)
        self._encode = jit(self._encoded)
        self._act = jit(self._acted)
        self._mode = jit(self._modes)
        self._learn = jit(self._learned)
        self._observation: Any = None
        self._elapsed = np.zeros(0, np.int64)
        self._accumulated = np.zeros(0)

    @property
    def steps_per_update(self) -> int:
        """Environment steps that one update of the whole population takes."""
        return self.number * self.network.config.copies * self.network.config.steps

    def fresh(self, iteration: int) -> Population:
        """Draws a population of new learners at the start of episodes."""
        return self.begin_episodes(self._fresh(self.seed, np.int32(iteration)))

    def resumed(self, population: Population, learners: dict[str, Any]) -> Population:
        """Returns a population that goes on from stored learners with fresh optimisers and new episodes."""
        return self.begin_episodes(population._replace(learners=self._again(learners)))

    def continued(self, population: Population) -> Population:
        """Takes up a population that was stored right after `begin_episodes`."""
        before = population._replace(iteration=population.iteration - 1)
        return self.begin_episodes(before)

    def begin_episodes(self, population: Population) -> Population:
        """Starts new episodes in all environments, seeded by the iteration, so that a stored run can go on."""
        self._observation = self.training.reset(self._episode_seed(population))
        self._elapsed = np.zeros(self.training.copies, np.int64)
        self._accumulated = np.zeros((self.training.copies, self.training.reward_dim), np.float32)
        return population._replace(iteration=population.iteration + 1)

    def advance(self, population: Population, order: Order) -> tuple[Population, Outcome]:
        """Updates a population several times and evaluates its deterministic policies.

        Raises:
            TrainingFailure: Something is not finite.
        """
        after = population
        for update in range(int(order.updates)):
            after = self._learn(after, self._collect(after, update), order)
        outcome = self._evaluated(after)
        after = after._replace(iteration=after.iteration + 1)
        check_finite(self.id, after, outcome)
        return after, outcome

    def _collect(self, population: Population, update: int) -> Trajectory:
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
            by_copy = (step.reward, step.terminated, step.truncated, self._elapsed, self._accumulated)
            reward, terminated, truncated, elapsed, accumulated = (self._by_learner(part) for part in by_copy)
            parts = (encoded, raw, reward, terminated, truncated, final, elapsed, accumulated)
            steps.append(tuple(np.asarray(part) for part in parts))
            ended = step.terminated | step.truncated
            self._observation = step.observation
            self._elapsed = np.where(ended, 0, self._elapsed + 1)
            self._accumulated = np.where(ended[:, None], 0, self._accumulated).astype(np.float32)
        return Trajectory(*(jnp.asarray(np.stack(parts, axis=1)) for parts in zip(*steps, strict=True)))

    def _evaluated(self, population: Population) -> Outcome:
        """Runs episodes of the distributions' modes; the copies of a policy that has ended are stepped in vain."""
        policies, envs = population.learners.policy, self.evaluation
        total, steps = np.zeros((self.number, envs.reward_dim)), np.zeros(self.number, np.int64)
        for episode in range(self.episodes):
            observation = envs.reset(self._episode_seed(population) + episode * self.number)
            running, weight = np.ones(self.number, bool), 1.0
            for t in range(LONGEST_EPISODE):
                moment = f"step {t + 1} of episode {episode + 1} that measures"
                self._check(population, moment, observation=observation)
                step = envs.step(np.asarray(self._mode(policies, observation)))
                self._check(population, moment, observation=step.final, reward=step.reward)
                total += np.where(running[:, None], weight * step.reward, 0.0)
                steps += running
                running &= ~(step.terminated | step.truncated)
                if not running.any():
                    break
                weight *= self.discount
                observation = step.observation
        return Outcome(total / self.episodes, steps)

    def _check(self, population: Population, moment: str, **yielded: Any) -> None:
        """Refuses what the environments yield before anybody acts on it or learns from it."""
        for quantity, values in yielded.items():
            if (bad := not_finite(values)).any():
                learner = int(np.flatnonzero(bad)[0]) * self.number // len(bad)
                raise TrainingFailure(quantity, learner, self.id, int(population.iteration), moment)

    def _episode_seed(self, population: Population) -> int:
        return int(np.random.SeedSequence((int(self.seed), int(population.iteration))).generate_state(1)[0] // 2)

    def _draw_noise(self, seed: jax.Array, iteration: jax.Array) -> jax.Array:
        config = self.network.config
        keys = learner_keys(seed, iteration, self.number)
        # The same noise as `rollouts.collect` draws from the first half of a learner's key.
        first = jax.vmap(lambda key: jax.random.split(jax.random.split(key)[0])[0])(keys)
        noise = jax.vmap(lambda key: self.network.policy.noise(key, (config.steps, config.copies)))(first)
        return jnp.swapaxes(noise, 0, 1)

    def _learned(self, population: Population, trajectories: Trajectory, order: Order) -> Population:
        keys = jax.vmap(lambda key: jax.random.split(key)[1])(
            learner_keys(population.seed, population.iteration, self.number)
        )
        return learn_all(self.network, population, trajectories, order, keys)

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

    def _modes(self, policies: Any, observations: Any) -> jax.Array:
        return jax.vmap(self.network.policy.action)(policies, observations)
