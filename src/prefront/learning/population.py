"""A population of learners trained side by side: `jax.vmap` over learners, one compiled program for any goals."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prefront.learning import rollouts
from prefront.learning.exact_evaluation import TransitionTable, exact_returns
from prefront.learning.networks import Parameters
from prefront.learning.normalisation import Moments, no_moments, update_moments
from prefront.learning.ppo import ActorCritic, Goal, Learner
from prefront.learning.rollouts import Array, Outcome, Trajectory
from prefront.system.compilation import jit
from prefront.system.failures import TrainingFailure, first_failure, not_finite
from prefront.tasks.environment import Environment

# What is watched for numbers that are not finite, causes before what follows from them.
WATCHED = ("observation", "reward", "reward scale", "multiplier", "parameter")


class Population(NamedTuple):
    """All that a population carries from update to update.

    Attributes:
        learners: Learners, stacked along the first axis.
        copies: Running copies of the environment, leading axes (learners, copies); None where the host holds them.
        rewards: Moments of the discounted sum of rewards, pooled over the population.
        features: Moments of the observation features, pooled over the population; None where they are not normalised.
        iteration: Number of updates so far, from which random keys follow with the seed.
        seed: Seed of all random numbers; an array, so that one compiled program serves all seeds.
        failure: 0, or 1 + the index in `WATCHED` of what was not finite, shape (learners,).
    """

    learners: Learner
    copies: Any
    rewards: Moments
    features: Moments | None
    iteration: jax.Array
    seed: Array
    failure: jax.Array


class Order(NamedTuple):
    """What a population is told to do next; arrays, so that no change of orders compiles anything anew.

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


def learner_keys(seed: Array, iteration: jax.Array, number: int) -> jax.Array:
    """Returns one random key per learner for an iteration."""
    key = jax.random.fold_in(jax.random.key(seed), iteration)
    return jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(number))


def fresh_learners(network: ActorCritic, seed: Array, iteration: jax.Array, number: int) -> Population:
    """Draws a population of new learners, without copies of the environment."""
    learners = jax.vmap(network.init)(learner_keys(seed, iteration, number))
    rescaled = network.policy.encoder.kind == "mlp" and network.config.normalise_observations
    features = no_moments((network.policy.encoder.components,)) if rescaled else None
    healthy = jnp.zeros(number, jnp.int32)
    return Population(learners, None, no_moments((network.critic.outputs,)), features, iteration, seed, healthy)


def learn_all(
    network: ActorCritic,
    population: Population,
    trajectories: Trajectory,
    order: Order,
    keys: jax.Array,
    known: jax.Array | None = None,
) -> Population:
    """Updates the pooled statistics and then each learner by its own trajectory.

    Args:
        network: The networks and settings, the same for all learners.
        population: The population.
        trajectories: Leading axes (learners, T, copies).
        order: What it is told to do.
        keys: One key per learner.
        known: Expected returns of the learners' policies, where they need not be estimated.
    """
    learners, rewards = population.learners, population.rewards
    if network.config.scale_rewards:
        rewards = _where(order.adapt, update_moments(rewards, trajectories.accumulated), rewards)
        scale = jnp.broadcast_to(rewards.scale, learners.scale.shape)
        learners = learners._replace(scale=jnp.where(order.adapt, scale, learners.scale))
    learned = jax.vmap(network.learn, in_axes=(0, 0, 0, 0, None, None if known is None else 0, None, None))(
        learners, trajectories, order.goal, keys, order.learning_rate, known, order.progress, order.course
    )
    # At rate 0 the weights stay by themselves, but Adam's moments would not.
    idle = order.learning_rate == 0.0
    learners = learned._replace(optimiser=_where(idle, learners.optimiser, learned.optimiser))
    features = population.features
    if features is not None:
        features = _where(order.adapt, update_moments(features, trajectories.encoded), features)
        statistics = {"mean": features.mean, "scale": features.scale}
        learners = learners._replace(
            policy=_with_statistics(learners.policy, statistics, order.adapt),
            critic=_with_statistics(learners.critic, statistics, order.adapt),
        )
    return population._replace(
        learners=learners,
        rewards=rewards,
        features=features,
        iteration=population.iteration + 1,
        failure=jax.vmap(_noticed)(population.failure, trajectories, learners),
    )


def _noticed(before: jax.Array, trajectory: Trajectory, learner: Learner) -> jax.Array:
    """Returns what failed first for one learner; its estimate may be NaN, which stands for unknown."""
    observations = (trajectory.encoded, trajectory.next_encoded)
    parameters = (learner.policy, learner.critic, learner.optimiser)
    return first_failure(before, (observations, trajectory.reward, learner.scale, learner.multipliers, parameters))


def check_finite(environment: str, population: Population, outcome: Outcome) -> None:
    """Stops training where an update or the evaluation after it met a number that is not finite.

    Args:
        environment: Id of the environment.
        population: The population after the updates.
        outcome: Its evaluation.

    Raises:
        TrainingFailure: Something is not finite; of several things, the first in the order of causes.
    """
    failures, iteration = np.asarray(population.failure), int(population.iteration)
    if failures.any():
        code = failures[failures > 0].min()
        learner = int(np.flatnonzero(failures == code)[0])
        raise TrainingFailure(WATCHED[code - 1], learner, environment, iteration, "one of the updates")
    if (bad := not_finite(outcome.returns)).any():
        raise TrainingFailure(
            "return", int(np.flatnonzero(bad)[0]), environment, iteration, "the episodes that measure"
        )


class CompiledTrainer:
    """Trains populations on a functional environment, entirely inside compiled programs.

    Args:
        environment: The functional environment.
        network: The networks and settings of the learners.
        number: Size of the population.
        episodes: Episodes of each evaluation.
        discount: Discount of evaluations.
        seed: Seed of all random numbers.
        devices: Devices over which the population is spread; `number` must be a multiple of it.
        table: Evaluates policies exactly by this table, without any episode; what constraints are held against is read
            off it too.
        evaluation: Evaluates one learner's policy, given its parameters and a random key, in place of episodes in the
            environment; its returns may have any shape.
    """

    def __init__(
        self,
        environment: Environment,
        network: ActorCritic,
        number: int,
        episodes: int,
        discount: float,
        seed: int,
        devices: int = 1,
        table: TransitionTable | None = None,
        evaluation: Callable[[Parameters, jax.Array], Outcome] | None = None,
    ) -> None:
        self.environment, self.network, self.number, self.table = environment, network, number, table
        self.episodes, self.discount, self.seed = episodes, discount, np.uint32(seed % 2**32)
        if devices > len(jax.devices()):
            raise ValueError(f"devices={devices} were asked for, but jax sees {len(jax.devices())}: {jax.devices()}.")
        self.devices, self.evaluation = devices, evaluation or self._evaluated
        self._start = jit(self._started, level=0)
        self._advance = jit(self._advanced)

    @property
    def steps_per_update(self) -> int:
        """Environment steps that one update of the whole population takes."""
        return self.number * self.network.config.copies * self.network.config.steps

    def fresh(self, iteration: int) -> Population:
        """Draws a population of new learners at the start of episodes."""
        return self._spread(self._start(self.seed, np.int32(iteration), None, None))

    def resumed(self, population: Population, learners: dict[str, Any]) -> Population:
        """Returns a population that goes on from stored learners with fresh optimisers and new episodes.

        Args:
            population: The population whose statistics and iteration are kept.
            learners: "policy", "critic" and "scale" of each learner, stacked along the first axis.
        """
        return self._spread(self._start(self.seed, population.iteration, learners, population))

    def continued(self, population: Population) -> Population:
        """Returns a stored population in the form in which it was trained."""
        return self._spread(population)

    def begin_episodes(self, population: Population) -> Population:
        """Returns the population as it is: its copies of the environment are stored with it."""
        return population

    def advance(self, population: Population, order: Order) -> tuple[Population, Outcome]:
        """Updates a population several times and evaluates its deterministic policies.

        Returns:
            The population, and each learner's mean return, shape (learners, objectives), with the steps of the
            evaluation and of the episodes by which returns were measured for constraints.

        Raises:
            TrainingFailure: Something is not finite.
        """
        after, outcome = self._advance(population, order)
        check_finite(self.environment.id or type(self.environment).__name__, after, outcome)
        return after, outcome

    def _started(
        self, seed: Array, iteration: jax.Array, learners: dict[str, Any] | None, before: Population | None
    ) -> Population:
        fresh = fresh_learners(self.network, seed, iteration, self.number)
        if learners is not None and before is not None:
            again = jax.vmap(self.network.restarted)(learners["policy"], learners["critic"], learners["scale"])
            fresh = before._replace(learners=again, iteration=iteration)
        keys = learner_keys(seed, iteration, 2 * self.number)[self.number :]
        copies = jax.vmap(
            lambda key: rollouts.start(self.environment, self.network.policy, key, self.network.config.copies)
        )(keys)
        return fresh._replace(copies=copies, iteration=iteration + 1)

    def _advanced(self, population: Population, order: Order) -> tuple[Population, Outcome]:
        begin = population, jnp.zeros(self.number, jnp.int32)
        update = lambda _, carry: self._updated(carry[0], carry[1], order)  # noqa: E731
        population, measured = jax.lax.fori_loop(0, order.updates, update, begin)
        keys = learner_keys(population.seed, population.iteration, self.number)
        policies = population.learners.policy
        outcome = jax.vmap(self.evaluation)(policies, keys)
        outcome = outcome._replace(steps=outcome.steps + measured)
        return population._replace(iteration=population.iteration + 1), outcome

    def _evaluated(self, parameters: Parameters, key: jax.Array) -> Outcome:
        environment, policy = self.environment, self.network.policy
        if self.table is None:
            return rollouts.evaluate(environment, policy, parameters, key, self.episodes, self.discount)
        horizon = environment.max_episode_steps
        return Outcome(exact_returns(self.table, policy, parameters, self.discount, horizon), jnp.int32(0))

    def _updated(self, population: Population, measured: jax.Array, order: Order) -> tuple[Population, jax.Array]:
        config = self.network.config
        keys = jax.vmap(jax.random.split)(learner_keys(population.seed, population.iteration, self.number))

        def collect(learner: Learner, copies: Any, key: jax.Array) -> tuple[Any, Trajectory]:
            return rollouts.collect(
                self.environment, self.network.policy, learner.policy, copies, key, config.steps, self.network.gamma
            )

        copies, trajectories = jax.vmap(collect)(population.learners, population.copies, keys[:, 0])
        population = population._replace(copies=copies)
        known = self._known(population, order, keys[:, 1])
        learned = learn_all(
            self.network, population, trajectories, order, keys[:, 1], None if known is None else known.returns
        )
        return learned, measured if known is None else measured + known.steps

    def _known(self, population: Population, order: Order, keys: jax.Array) -> Outcome | None:
        """Measures the stochastic policies by the table or by episodes; NaN while no constraint needs their returns."""
        network, table, episodes = self.network, self.table, self.network.config.return_episodes
        if table is None and not episodes:
            return None
        environment, unspent = self.environment, jnp.zeros(self.number, jnp.int32)
        nothing = Outcome(jnp.full((self.number, network.critic.outputs), jnp.nan, jnp.float32), unspent)

        def exact() -> Outcome:
            assert table is not None
            horizon = environment.max_episode_steps
            one = partial(exact_returns, table, network.policy, gamma=network.gamma, horizon=horizon, stochastic=True)
            return Outcome(jax.vmap(one)(population.learners.policy), unspent)

        def sampled() -> Outcome:
            def one(policy: Parameters, key: jax.Array) -> Outcome:
                own = jax.random.fold_in(key, 1)
                return rollouts.evaluate(environment, network.policy, policy, own, episodes, network.gamma, True)

            return jax.vmap(one)(population.learners.policy, keys)

        needed = (order.learning_rate == 0.0) | jnp.isfinite(order.goal.thresholds).any()
        found: Outcome = jax.lax.cond(needed, sampled if table is None else exact, lambda: nothing)
        return found

    def _spread(self, population: Population) -> Population:
        if self.devices == 1:
            return population
        devices, automatic = jax.devices()[: self.devices], (jax.sharding.AxisType.Auto,)
        mesh = jax.make_mesh((self.devices,), ("learners",), automatic, devices=devices)
        along = jax.NamedSharding(mesh, jax.sharding.PartitionSpec("learners"))
        whole = jax.NamedSharding(mesh, jax.sharding.PartitionSpec())
        return population._replace(
            learners=jax.device_put(population.learners, along),
            copies=jax.device_put(population.copies, along),
            rewards=jax.device_put(population.rewards, whole),
            features=jax.device_put(population.features, whole),
            iteration=jax.device_put(population.iteration, whole),
            seed=jax.device_put(population.seed, whole),
            failure=jax.device_put(population.failure, along),
        )


def _where(condition: jax.Array, if_true: Any, if_false: Any) -> Any:
    return jax.tree.map(partial(jnp.where, condition), if_true, if_false)


def _with_statistics(parameters: Any, statistics: dict[str, jax.Array], adapt: jax.Array) -> Any:
    spread = jax.tree.map(lambda new, old: jnp.broadcast_to(new, old.shape), statistics, parameters["statistics"])
    return {**parameters, "statistics": _where(adapt, spread, parameters["statistics"])}
