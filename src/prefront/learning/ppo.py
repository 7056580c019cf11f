"""One actor-critic learner with a vector critic: proximal policy optimisation of a weighted sum of objectives.

Everything here is for one learner; a population is `jax.vmap` over learners, trajectories, goals and keys.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import optax

from prefront.learning.advantages import generalised_advantages, visit_weights
from prefront.learning.constrained import (
    FIRST_MULTIPLIER,
    MARGIN,
    SWINGING_MARGIN,
    barrier_weights,
    controlled_multipliers,
)
from prefront.learning.learner_config import LearnerConfig
from prefront.learning.networks import Parameters, PolicyNetwork, ValueNetwork
from prefront.learning.policy_gradient import clipped_surrogate, standardise, value_loss
from prefront.learning.rollouts import Array, Trajectory
from prefront.learning.trust_region import trust_region_step

# Share of its weight that an episode keeps in the estimate of a policy's return when the policy changes.
MEMORY = 0.5
# The same for the discounted length of episodes, whose starts may lie many updates apart.
LENGTH_MEMORY = 0.9
# Share of its trust region's radius that is lost over the course of an extension, so that it comes to rest.
SHRINKAGE = 0.8

Constraint = Literal["ipo", "lagrangian", "cpo"]


class Goal(NamedTuple):
    """What a learner is asked for: the weighted sum of objectives, subject to constraints on expected returns.

    Attributes:
        weights: Weights of the objectives, shape (objectives,).
        thresholds: Least expected discounted return of each objective, -inf where there is none.
        units: What counts as a large difference of returns in each objective; inf stands for the reward scale.
    """

    weights: Array
    thresholds: Array
    units: Array


class Learner(NamedTuple):
    """All that a learner carries from update to update.

    Attributes:
        policy: Parameters of the policy network.
        critic: Parameters of the value network, whose values are in units of `scale`.
        optimiser: State of Adam.
        scale: What rewards are divided by, shape (objectives,).
        estimate: Running estimate of the stochastic policy's expected discounted return; NaN before the first.
        episodes: Number of episodes that it stands on; those of earlier policies count ever less.
        visits: Running sums, shape (2,): of discounted steps, and of the episodes that took them.
        multipliers: Integral parts of the Lagrangian's multipliers, shape (objectives,).
    """

    policy: Parameters
    critic: Parameters
    optimiser: Any
    scale: jax.Array
    estimate: jax.Array
    episodes: jax.Array
    visits: jax.Array
    multipliers: jax.Array


@dataclasses.dataclass(frozen=True)
class ActorCritic:
    """The two networks of a learner with its settings, and what is done with them."""

    config: LearnerConfig
    policy: PolicyNetwork
    critic: ValueNetwork
    gamma: float
    constraint: Constraint = "ipo"
    sharpness: float = 20.0
    sharpening: float = 1.0
    multiplier_gain: float = 20.0
    multiplier_rate: float = 2.0
    trust_region: float = 0.01

    @classmethod
    def build(
        cls,
        config: LearnerConfig,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        objectives: int,
        discount: float,
        **kwargs: Any,
    ) -> ActorCritic:
        """Builds the networks for an environment's spaces; `kwargs` are the remaining attributes."""
        policy = PolicyNetwork.for_spaces(observation_space, action_space, config.network, config.hidden)
        critic = ValueNetwork(policy.encoder, objectives, tuple(config.hidden))
        return cls(config, policy, critic, discount if config.gamma is None else config.gamma, **kwargs)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Gradient clipping and Adam, without the step size."""
        return optax.chain(optax.clip_by_global_norm(self.config.max_gradient_norm), optax.scale_by_adam(eps=1e-5))

    def init(self, key: jax.Array) -> Learner:
        """Draws a new learner."""
        for_policy, for_critic = jax.random.split(key)
        policy, critic = self.policy.init(for_policy, self.config.action_bias), self.critic.init(for_critic)
        return self.restarted(policy, critic, jnp.ones(self.critic.outputs))

    def restarted(self, policy: Parameters, critic: Parameters, scale: jax.Array) -> Learner:
        """Returns a learner with these parameters and a fresh optimiser."""
        optimiser = self.optimiser.init((policy["weights"], critic["weights"]))
        unknown = jnp.full(self.critic.outputs, jnp.nan, jnp.float32)
        multipliers = jnp.full(self.critic.outputs, FIRST_MULTIPLIER, jnp.float32)
        return Learner(policy, critic, optimiser, scale, unknown, jnp.zeros(()), jnp.zeros(2), multipliers)

    def learn(
        self,
        learner: Learner,
        trajectory: Trajectory,
        goal: Goal,
        key: jax.Array,
        learning_rate: jax.Array,
        known: jax.Array | None = None,
        progress: Array = 0.0,
        course: Array = 0.0,
    ) -> Learner:
        """Improves a learner by one trajectory; a learning rate of 0 only measures its expected return.

        Args:
            learner: The learner whose policy acted.
            trajectory: What it met, leading axes (T, num_envs).
            goal: What it is asked for.
            key: Random key, for shuffling.
            learning_rate: Step size.
            known: The policy's expected discounted return, where it need not be estimated, shape (objectives,).
            progress: How much of its training is done, in [0, 1], by which the entropy bonus decays.
            course: How much of its extension is done, in [0, 1], by which constraints are held ever more sharply.
        """
        config = self.config
        rewards = trajectory.reward / learner.scale
        if config.reward_clip is not None:
            rewards = jnp.clip(rewards, -config.reward_clip, config.reward_clip)
        over_steps = lambda one: jax.vmap(jax.vmap(one))  # noqa: E731
        values = over_steps(lambda encoded: self.critic.apply(learner.critic, encoded))
        estimates = generalised_advantages(
            rewards,
            values(trajectory.encoded),
            values(trajectory.next_encoded),
            trajectory.terminated,
            trajectory.truncated,
            self.gamma,
            config.lambda_,
        )
        if known is None:
            learner = self._measured(learner, trajectory, estimates.returns, learning_rate)
        else:
            learner = learner._replace(estimate=known)
        learner, weights = self._weighted(learner, goal, course)
        # Steps count alike here, early or late: each state's part of the gradient is right up to a positive factor, so
        # a table comes to rest where it should. A trust region asks for the size of the change, and weighs them.
        advantages = standardise((estimates.advantages @ weights).ravel())

        old = over_steps(lambda encoded: self.policy.distribution_of(learner.policy, encoded))(trajectory.encoded)
        flat = lambda leaf: leaf.reshape(-1, *leaf.shape[2:])  # noqa: E731
        # A constant where nothing decays, as arithmetic on arrays rounds differently.
        entropy = config.entropy * (1.0 - config.entropy_decay * progress) if config.entropy_decay else config.entropy
        data = (
            flat(trajectory.encoded),
            flat(trajectory.action),
            flat(old.log_probability(trajectory.action)),
            advantages,
            flat(estimates.returns),
        )

        def loss(weights: tuple[Any, Any], batch: tuple[jax.Array, ...]) -> jax.Array:
            encoded, action, old_log, advantage, returns = batch
            policy = {**learner.policy, "weights": weights[0]}
            critic = {**learner.critic, "weights": weights[1]}
            distribution = jax.vmap(lambda one: self.policy.distribution_of(policy, one))(encoded)
            values = jax.vmap(lambda one: self.critic.apply(critic, one))(encoded)
            critic_loss = config.value_coefficient * value_loss(values, returns)
            if self.constraint == "cpo":
                return critic_loss
            surrogate = clipped_surrogate(distribution.log_probability(action), old_log, advantage, config.clip)
            return surrogate - entropy * distribution.entropy().mean() + critic_loss

        def step(carry: tuple[Any, Any], rows: jax.Array | None) -> tuple[tuple[Any, Any], None]:
            weights, optimiser = carry
            batch = data if rows is None else jax.tree.map(lambda x: x[rows], data)
            updates, optimiser = self.optimiser.update(jax.grad(loss)(weights, batch), optimiser)
            return (jax.tree.map(lambda w, u: w - learning_rate * u, weights, updates), optimiser), None

        before, steps, rows = (learner.policy["weights"], learner.critic["weights"]), config.epochs, None
        if config.minibatches > 1:
            steps *= config.minibatches
            shuffle = partial(jax.random.permutation, x=advantages.shape[0])
            rows = jax.vmap(shuffle)(jax.random.split(key, config.epochs)).reshape(steps, -1)
        (after, optimiser), _ = jax.lax.scan(step, (before, learner.optimiser), rows, length=steps)
        if self.constraint == "cpo":
            learner = self._visited(learner, trajectory, learning_rate, endless=known is None)
            moved = self._trust_region_step(learner, trajectory, estimates.advantages, goal, course)
            after = (jax.tree.map(lambda new, old: jnp.where(learning_rate > 0, new, old), moved, after[0]), after[1])
        return learner._replace(
            policy={**learner.policy, "weights": after[0]},
            critic={**learner.critic, "weights": after[1]},
            optimiser=optimiser,
        )

    def _trust_region_step(
        self, learner: Learner, trajectory: Trajectory, advantages: jax.Array, goal: Goal, course: Array
    ) -> Parameters:
        """Moves the policy by one constrained step; all returns are in the goal's units."""
        units = jnp.where(jnp.isfinite(goal.units), goal.units, learner.scale)
        # A return is the mean over the discounted state distribution times an episode's discounted number of steps.
        chances = visit_weights(trajectory.elapsed, self.gamma)
        horizon = learner.visits[0] / jnp.maximum(learner.visits[1], 1e-6)
        mean = lambda steps: jnp.tensordot(chances, steps)  # noqa: E731
        centred = (advantages - mean(advantages)) * learner.scale / units * horizon
        distributions = jax.vmap(jax.vmap(self.policy.distribution_of, (None, 0)), (None, 0))
        old = distributions(learner.policy, trajectory.encoded)
        old_log = old.log_probability(trajectory.action)

        def new(weights: Parameters) -> Any:
            return distributions({**learner.policy, "weights": weights}, trajectory.encoded)

        def surrogates(weights: Parameters) -> jax.Array:
            ratio = jnp.exp(new(weights).log_probability(trajectory.action) - old_log)
            return mean((ratio[..., None] - 1.0) * centred)

        def divergence(weights: Parameters) -> jax.Array:
            return mean(old.divergence(new(weights)))

        slack = (learner.estimate - goal.thresholds) / units - MARGIN
        slack = jnp.where(jnp.isfinite(goal.thresholds), slack, jnp.inf)
        weights = learner.policy["weights"]
        bound = self.trust_region * (1.0 - SHRINKAGE * course) ** 2
        return trust_region_step(surrogates, divergence, weights, goal.weights, slack, bound)

    def _measured(
        self, learner: Learner, trajectory: Trajectory, returns: jax.Array, learning_rate: jax.Array
    ) -> Learner:
        """Updates the estimate of the expected return: the mean lambda-return where episodes start.

        All episodes of a policy that stands still count alike, so that the estimate sharpens with their number.
        """
        before = learner.episodes * jnp.where(learning_rate == 0.0, 1.0, MEMORY)
        starts = trajectory.started.sum()
        total = jnp.sum(returns * trajectory.started[..., None], (0, 1)) * learner.scale
        total += jnp.where(before > 0, before * learner.estimate, 0.0)
        episodes = before + starts
        estimate = jnp.where(episodes > 0, total / jnp.maximum(episodes, 1e-6), learner.estimate)
        return learner._replace(estimate=estimate, episodes=episodes)

    def _visited(self, learner: Learner, trajectory: Trajectory, learning_rate: jax.Array, endless: bool) -> Learner:
        """Updates the discounted length of episodes; where returns go on beyond a time limit, so does the length."""
        steps = jnp.sum(self.gamma ** trajectory.elapsed.astype(jnp.float32))
        if endless and self.gamma < 1.0:
            beyond = trajectory.truncated * self.gamma ** (trajectory.elapsed + 1.0) / (1.0 - self.gamma)
            steps += beyond.sum()
        kept = learner.visits * jnp.where(learning_rate == 0.0, 1.0, LENGTH_MEMORY)
        return learner._replace(visits=kept + jnp.stack([steps, trajectory.started.sum().astype(jnp.float32)]))

    def _weighted(self, learner: Learner, goal: Goal, course: Array) -> tuple[Learner, jax.Array]:
        """Returns the weights of the scaled vector advantage, and the learner with its multipliers updated."""
        units = jnp.where(jnp.isfinite(goal.units), goal.units, learner.scale)
        estimate = jnp.where(jnp.isnan(learner.estimate), jnp.inf, learner.estimate) / units
        thresholds = goal.thresholds / units
        if self.constraint != "lagrangian":
            sharpness = self.sharpness * self.sharpening**course
            weights = barrier_weights(goal.weights, estimate, thresholds, sharpness)
        else:
            gain, rate = self.multiplier_gain, self.multiplier_rate
            integral, multipliers = controlled_multipliers(
                learner.multipliers, estimate, thresholds + SWINGING_MARGIN, gain, rate
            )
            learner = learner._replace(multipliers=integral)
            weights = goal.weights + multipliers
        return learner, weights * learner.scale / units
