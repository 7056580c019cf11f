"""How a population meets its environment: what collects its trajectories and measures its policies.

Our environments are stepped inside compiled programs (`CompiledCollector`), all others on the host
(`prefront.learning.host_collector`). All learning is the trainer's and the same for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from prefront.learning import rollouts
from prefront.learning.exact_evaluation import exact_returns, transition_table
from prefront.learning.networks import Parameters
from prefront.learning.population import Population, learner_keys
from prefront.learning.ppo import ActorCritic
from prefront.learning.rollouts import Array, EnvState, Evaluation, Trajectory
from prefront.system.compilation import jit
from prefront.tasks.environment import Environment

# Measures one policy, given its parameters and a random key.
Measurement = Callable[[Parameters, jax.Array], Evaluation]


class Collector(Protocol):
    """What `prefront.learning.trainer.Trainer` asks of an environment.

    Attributes:
        name: Id of the environment.
        number: Size of the population.
        compiled: Whether all methods but `begin` can be parts of a compiled program.
        known: Measures the expected return of a stochastic policy; None where the critic has to estimate it.
    """

    name: str
    number: int
    compiled: bool
    known: Measurement | None

    def begin(self, population: Population) -> Any:
        """Starts episodes in all environments; returns their state, or None where it cannot be stored."""

    def collect(self, population: Population, update: Any) -> tuple[Any, Trajectory]:
        """Steps the environments by the stochastic policies.

        Args:
            population: The population.
            update: Which of the updates in a row this is.

        Returns:
            The environments' state afterwards, and trajectories with leading axes (learners, T, num_envs).
        """

    def measure(self, population: Population) -> Evaluation:
        """Measures the deterministic policies: returns of shape (learners, ...) and steps of shape (learners,)."""


class CompiledCollector:
    """Collects in a functional environment, inside the trainer's compiled program.

    Args:
        environment: The functional environment.
        network: The networks and settings of the learners.
        number: Size of the population.
        measurement: Measures deterministic policies; the returns may have any shape.
        known: Measures stochastic policies, where constraints are not held against the critic's estimates.
    """

    compiled = True

    def __init__(
        self,
        environment: Environment,
        network: ActorCritic,
        number: int,
        measurement: Measurement,
        known: Measurement | None = None,
    ) -> None:
        self.environment, self.network, self.number = environment, network, number
        self.name = environment.id or type(environment).__name__
        self.measurement, self.known = measurement, known
        self._start = jit(self._started, level=0)

    @classmethod
    def of(
        cls,
        environment: Environment,
        network: ActorCritic,
        number: int,
        discount: float,
        episodes: int = 1,
        exact: bool = False,
    ) -> CompiledCollector:
        """Makes a collector that measures by `episodes`, or by the transition table of a finite environment.

        Raises:
            ValueError: The environment is not finite, but is to be evaluated exactly.
        """
        policy, sampled = network.policy, network.config.return_episodes
        if exact:
            table, horizon = transition_table(environment, policy), environment.max_episode_steps

            def by_table(gamma: float, stochastic: bool) -> Measurement:
                return lambda parameters, key: Evaluation(
                    exact_returns(table, policy, parameters, gamma, horizon, stochastic), jnp.int32(0)
                )

            return cls(environment, network, number, by_table(discount, False), by_table(network.gamma, True))

        def by_episodes(episodes: int, gamma: float, stochastic: bool) -> Measurement:
            return lambda parameters, key: rollouts.evaluate(
                environment, policy, parameters, key, episodes, gamma, stochastic
            )

        known = by_episodes(sampled, network.gamma, True) if sampled else None
        return cls(environment, network, number, by_episodes(episodes, discount, False), known)

    def begin(self, population: Population) -> Any:
        """Starts episodes in all environments."""
        return self._start(population.seed, population.iteration)

    def collect(self, population: Population, update: Any) -> tuple[EnvState, Trajectory]:
        """Steps the environments inside the program that this is traced for."""
        environment, policy, steps = self.environment, self.network.policy, self.network.config.steps

        def one(parameters: Parameters, state: EnvState, key: jax.Array) -> tuple[EnvState, Trajectory]:
            return rollouts.collect(environment, policy, parameters, state, key, steps, self.network.gamma)

        keys = jax.vmap(jax.random.split)(population.keys())[:, 0]
        return jax.vmap(one)(population.learners.policy, population.env_state, keys)

    def measure(self, population: Population) -> Evaluation:
        """Measures each policy by its own random key."""
        return jax.vmap(self.measurement)(population.learners.policy, population.keys())

    def _started(self, seed: Array, iteration: Array) -> EnvState:
        keys = learner_keys(seed, iteration, 2 * self.number)[self.number :]
        num_envs = self.network.config.num_envs
        return jax.vmap(lambda key: rollouts.start(self.environment, self.network.policy, key, num_envs))(keys)
