"""Trajectories and whole episodes in functional environments, as parts of compiled programs."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from prefront.learning.networks import Parameters, PolicyNetwork
from prefront.tasks import environment as functional
from prefront.tasks.environment import Environment

# A JAX array inside compiled programs, a NumPy array on the host.
Array: TypeAlias = Any


class Trajectory(NamedTuple):
    """Steps of several environments, leading axes (T, num_envs).

    Attributes:
        encoded: Encoded observation before the step.
        action: Raw action (an index, or an unclipped vector).
        reward: Vector reward.
        terminated: Whether the episode ended for good.
        truncated: Whether the time limit cut it, and it did not terminate.
        next_encoded: Encoded observation after the step, before any reset.
        elapsed: Steps that the episode had taken before.
        accumulated: Discounted sum of the episode's rewards so far, newest undiscounted; for reward scaling.
    """

    encoded: jax.Array
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    next_encoded: jax.Array
    elapsed: jax.Array
    accumulated: jax.Array

    @property
    def started(self) -> jax.Array:
        """Whether the step was the first of its episode."""
        return self.elapsed == 0


class EnvState(NamedTuple):
    """Where running environments are: state, encoded observation, steps so far, accumulated reward."""

    state: Any
    encoded: jax.Array
    elapsed: jax.Array
    accumulated: jax.Array


def start(environment: Environment, policy: PolicyNetwork, key: jax.Array, num_envs: int) -> EnvState:
    """Starts an episode in each of `num_envs` environments."""
    state, observation = jax.vmap(lambda one: functional.reset(environment, one))(jax.random.split(key, num_envs))
    encoded = jax.vmap(policy.encoder)(observation)
    return EnvState(state, encoded, jnp.zeros(num_envs, jnp.int32), jnp.zeros((num_envs, environment.reward_dim)))


def collect(
    environment: Environment,
    policy: PolicyNetwork,
    parameters: Parameters,
    env_state: EnvState,
    key: jax.Array,
    steps: int,
    gamma: float,
) -> tuple[EnvState, Trajectory]:
    """Takes `steps` stochastic actions in each environment; an episode that ends is followed by the next one.

    Args:
        environment: The functional environment; its episode limit truncates.
        policy: Policy network.
        parameters: Its parameters.
        env_state: Running environments.
        key: Random key.
        steps: Steps T.
        gamma: Discount of `accumulated`.

    Returns:
        The environments afterwards, and the trajectory.
    """
    number = env_state.elapsed.shape[0]
    for_noise, for_steps = jax.random.split(key)
    noise = policy.noise(for_noise, (steps, number))
    limit = environment.max_episode_steps

    def one(env: EnvState, disturbance: jax.Array, step_key: jax.Array) -> tuple[EnvState, Trajectory]:
        raw = policy.distribution_of(parameters, env.encoded).perturbed(disturbance)
        for_step, for_reset = jax.random.split(step_key)
        taken = functional.step(environment, env.state, policy.to_space(raw), for_step)
        truncated = (env.elapsed + 1 >= limit) & ~taken.terminated
        ended = taken.terminated | truncated
        next_encoded = policy.encoder(taken.observation)
        accumulated = gamma * env.accumulated + taken.reward
        state, observation = functional.reset(environment, for_reset)
        following = EnvState(
            functional.select(ended, state, taken.state),
            jnp.where(ended, policy.encoder(observation), next_encoded),
            jnp.where(ended, 0, env.elapsed + 1),
            jnp.where(ended, 0.0, accumulated),
        )
        return following, Trajectory(
            env.encoded, raw, taken.reward, taken.terminated, truncated, next_encoded, env.elapsed, accumulated
        )

    def step(env_state: EnvState, at: tuple[jax.Array, jax.Array]) -> tuple[EnvState, Trajectory]:
        return jax.vmap(one)(env_state, *at)

    return jax.lax.scan(step, env_state, (noise, jax.random.split(for_steps, (steps, number))))


class Evaluation(NamedTuple):
    """Mean discounted return, shape (objectives,), and the number of environment steps that it took."""

    returns: Array
    steps: Array


def evaluate(
    environment: Environment,
    policy: PolicyNetwork,
    parameters: Parameters,
    key: jax.Array,
    episodes: int,
    gamma: float,
    stochastic: bool = False,
) -> Evaluation:
    """Runs whole episodes and averages their discounted returns.

    Args:
        environment: The functional environment.
        policy: Policy network.
        parameters: Its parameters.
        key: Random key.
        episodes: Number of episodes.
        gamma: Discount.
        stochastic: Whether actions are drawn, or the distribution's mode is taken.
    """
    for_start, for_steps = jax.random.split(key)

    def one_step(state: Any, encoded: jax.Array, step_key: jax.Array) -> tuple[functional.Transition, jax.Array]:
        distribution = policy.distribution_of(parameters, encoded)
        for_action, for_step = jax.random.split(step_key)
        raw = distribution.sample(for_action) if stochastic else distribution.mode()
        taken = functional.step(environment, state, policy.to_space(raw), for_step)
        # What follows from an observation that is not finite has no return.
        reward = jnp.where(jnp.isfinite(encoded).all(), taken.reward, jnp.nan)
        return taken._replace(reward=reward), policy.encoder(taken.observation)

    def going(carry: tuple[Any, ...]) -> jax.Array:
        return (carry[0] < environment.max_episode_steps) & ~jnp.all(carry[3])

    def advance(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        time, state, encoded, ended, weight, returns, steps = carry
        keys = jax.random.split(jax.random.fold_in(for_steps, time), episodes)
        taken, encoded = jax.vmap(one_step)(state, encoded, keys)
        running = ~ended
        returns = returns + jnp.where(running[:, None], weight * taken.reward, 0.0)
        return time + 1, taken.state, encoded, ended | taken.terminated, weight * gamma, returns, steps + running.sum()

    first = start(environment, policy, for_start, episodes)
    begin = (0, first.state, first.encoded, jnp.zeros(episodes, bool), 1.0, first.accumulated, 0)
    *_, returns, steps = jax.lax.while_loop(going, advance, begin)
    return Evaluation(returns.mean(0), steps)
