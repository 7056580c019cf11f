"""Trains populations of learners: `jax.vmap` over learners, any collector, one compiled program for any goals."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prefront.learning.collectors import Collector
from prefront.learning.networks import Parameters
from prefront.learning.normalisation import RunningStatistics
from prefront.learning.population import Population, Schedule, learner_keys
from prefront.learning.ppo import ActorCritic, Learner
from prefront.learning.rollouts import Array, Evaluation, Trajectory
from prefront.system.compilation import compiler_options, jit
from prefront.system.failures import TrainingFailure, first_failure, not_finite
from prefront.system.runtime import check_process

# What is watched for numbers that are not finite, causes before what follows from them.
WATCHED = ("observation", "reward", "reward scale", "multiplier", "parameter")


class Trainer:
    """Trains populations: where the collector is compiled in one program, else in a loop around compiled learning.

    Args:
        collector: Collects trajectories and measures policies.
        network: The networks and settings of the learners.
        seed: Seed of all random numbers.
        devices: Devices over which the population is spread; its size must be a multiple of it.

    Raises:
        ValueError: There are fewer devices, or the host steps the environment.
    """

    def __init__(self, collector: Collector, network: ActorCritic, seed: int, devices: int = 1) -> None:
        if devices > len(jax.devices()):
            raise ValueError(f"devices={devices} were asked for, but jax sees {len(jax.devices())}: {jax.devices()}.")
        if devices > 1 and not collector.compiled:
            raise ValueError(f"{collector.name} is stepped on the host: set devices=1, got {devices}.")
        self.collector, self.network, self.number = collector, network, collector.number
        self.seed, self.devices = np.uint32(seed % 2**32), devices
        # Levels round differently: each draws what it always drew.
        self._draw = jit(self._drawn, level=0 if collector.compiled else 1)
        self._restart = jit(jax.vmap(network.restarted), level=0)
        self._loop: Callable[..., Any] = jax.lax.fori_loop if collector.compiled else _loop
        self._learn = self._learned if collector.compiled else jit(self._learned)
        whole = jax.jit(self._advanced, compiler_options=compiler_options())
        self._advance = whole if collector.compiled else self._advanced

    @property
    def steps_per_update(self) -> int:
        """Environment steps that one update of the whole population takes."""
        return self.number * self.network.config.num_envs * self.network.config.steps

    def fresh(self, iteration: int) -> Population:
        """Draws a population of new learners at the start of episodes."""
        return self._begun(self._draw(self.seed, np.int32(iteration)))

    def resumed(self, population: Population, learners: dict[str, Any]) -> Population:
        """Returns a population that goes on from stored learners with fresh optimisers and new episodes.

        Args:
            population: The population whose statistics and iteration are kept.
            learners: "policy", "critic" and "scale" of each learner, stacked along the first axis.
        """
        again = self._restart(learners["policy"], learners["critic"], learners["scale"])
        return self._begun(population._replace(learners=again))

    def storable(self, population: Population) -> Population:
        """Returns a population that can be stored: with new episodes where those of now cannot be."""
        return population if self.collector.compiled else self._begun(population)

    def continued(self, population: Population) -> Population:
        """Returns a population that was stored in the form in which it is trained, see `storable`."""
        if self.collector.compiled:
            return self._spread(population)
        return self._begun(population._replace(iteration=population.iteration - 1))

    def advance(self, population: Population, schedule: Schedule) -> tuple[Population, Evaluation]:
        """Updates a population several times and measures its deterministic policies.

        Returns:
            The population, and each learner's mean return with the steps that measuring it took, those of the episodes
            for constraints among them.

        Raises:
            TrainingFailure: Something is not finite; of several things, the first in the order of causes.
        """
        check_process()
        after, evaluation = self._advance(population, schedule)
        failures, iteration = np.asarray(after.failure), int(after.iteration)
        if failures.any():
            code = failures[failures > 0].min()
            learner = int(np.flatnonzero(failures == code)[0])
            raise TrainingFailure(WATCHED[code - 1], learner, self.collector.name, iteration, "one of the updates")
        if (bad := not_finite(evaluation.returns)).any():
            learner, moment = int(np.flatnonzero(bad)[0]), "the episodes that measure"
            raise TrainingFailure("return", learner, self.collector.name, iteration, moment)
        return after, evaluation

    def _drawn(self, seed: Array, iteration: Array) -> Population:
        network, encoder = self.network, self.network.policy.encoder
        learners = jax.vmap(network.init)(learner_keys(seed, iteration, self.number))
        rescaled = encoder.kind == "mlp" and network.config.normalise_observations
        features = RunningStatistics.empty((encoder.components,)) if rescaled else None
        rewards, healthy = RunningStatistics.empty((network.critic.outputs,)), jnp.zeros(self.number, jnp.int32)
        return Population(learners, None, rewards, features, jnp.asarray(iteration), seed, healthy)

    def _begun(self, population: Population) -> Population:
        env_state = self.collector.begin(population)
        return self._spread(population._replace(env_state=env_state, iteration=population.iteration + 1))

    def _spread(self, population: Population) -> Population:
        if self.devices == 1:
            return population
        devices, automatic = jax.devices()[: self.devices], (jax.sharding.AxisType.Auto,)
        mesh = jax.make_mesh((self.devices,), ("learners",), automatic, devices=devices)
        along = jax.NamedSharding(mesh, jax.sharding.PartitionSpec("learners"))
        whole = jax.NamedSharding(mesh, jax.sharding.PartitionSpec())
        each: Any = (along, along, whole, whole, whole, whole, along)
        return Population(*jax.device_put(tuple(population), each))

    def _advanced(self, population: Population, schedule: Schedule) -> tuple[Population, Evaluation]:
        def update(number: Any, carry: tuple[Population, jax.Array]) -> tuple[Population, jax.Array]:
            population, steps = carry
            env_state, trajectories = self.collector.collect(population, number)
            return self._learn(population._replace(env_state=env_state), steps, trajectories, schedule)

        begin = population, jnp.zeros(self.number, jnp.int32)
        population, steps = self._loop(0, schedule.updates, update, begin)
        evaluation = self.collector.measure(population)
        after = population._replace(iteration=population.iteration + 1)
        return after, evaluation._replace(steps=evaluation.steps + steps)

    def _learned(
        self, population: Population, steps: jax.Array, trajectories: Trajectory, schedule: Schedule
    ) -> tuple[Population, jax.Array]:
        """Updates the pooled statistics and then each learner by its own trajectory; adds the steps of `known`."""
        network, adapt = self.network, schedule.adapt
        keys = jax.vmap(jax.random.split)(population.keys())[:, 1]
        known = self._known(population, schedule, keys)
        learners, rewards, features = population.learners, population.rewards, population.features
        if network.config.scale_rewards:
            rewards = _where(adapt, rewards.updated(trajectories.accumulated), rewards)
            scale = jnp.broadcast_to(rewards.scale, learners.scale.shape)
            learners = learners._replace(scale=jnp.where(adapt, scale, learners.scale))
        returns, rate = None if known is None else known.returns, schedule.learning_rate
        learned = jax.vmap(network.learn, in_axes=(0, 0, 0, 0, None, 0, None, None))(
            learners, trajectories, schedule.goal, keys, rate, returns, schedule.progress, schedule.course
        )
        # At rate 0 the weights stay by themselves, but Adam's moments would not.
        learners = learned._replace(optimiser=_where(rate == 0.0, learners.optimiser, learned.optimiser))
        if features is not None:
            features = _where(adapt, features.updated(trajectories.encoded), features)
            statistics = {"mean": features.mean, "scale": features.scale}

            def adapted(parameters: Parameters) -> Parameters:
                before = parameters["statistics"]
                spread = jax.tree.map(lambda new, old: jnp.broadcast_to(new, old.shape), statistics, before)
                return {**parameters, "statistics": _where(adapt, spread, before)}

            learners = learners._replace(policy=adapted(learners.policy), critic=adapted(learners.critic))
        failure = jax.vmap(_noticed)(population.failure, trajectories, learners)
        after = population._replace(
            learners=learners, rewards=rewards, features=features, iteration=population.iteration + 1, failure=failure
        )
        return after, steps if known is None else steps + known.steps

    def _known(self, population: Population, schedule: Schedule, keys: jax.Array) -> Evaluation | None:
        """Measures the stochastic policies; NaN while no constraint needs their returns."""
        if (measurement := self.collector.known) is None:
            return None
        unknown = jnp.full((self.number, self.network.critic.outputs), jnp.nan, jnp.float32)
        needed = (schedule.learning_rate == 0.0) | jnp.isfinite(schedule.goal.thresholds).any()
        own = jax.vmap(partial(jax.random.fold_in, data=1))(keys)
        found: Evaluation = jax.lax.cond(
            needed,
            lambda: jax.vmap(measurement)(population.learners.policy, own),
            lambda: Evaluation(unknown, jnp.zeros(self.number, jnp.int32)),
        )
        return found


def _loop(begin: int, end: Any, body: Callable[[int, Any], Any], carry: Any) -> Any:
    """Does what `jax.lax.fori_loop` does, on the host."""
    for i in range(begin, int(end)):
        carry = body(i, carry)
    return carry


def _noticed(before: jax.Array, trajectory: Trajectory, learner: Learner) -> jax.Array:
    """Returns what failed first for one learner; its estimate may be NaN, which stands for unknown."""
    observations = (trajectory.encoded, trajectory.next_encoded)
    parameters = (learner.policy, learner.critic, learner.optimiser)
    return first_failure(before, (observations, trajectory.reward, learner.scale, learner.multipliers, parameters))


def _where(condition: jax.Array, if_true: Any, if_false: Any) -> Any:
    return jax.tree.map(partial(jnp.where, condition), if_true, if_false)
