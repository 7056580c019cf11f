"""Whether a known front holds up against what random policies reach."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from prefront.tasks.environment import Environment, reset, step
from prefront.tasks.finite import FiniteEnvironment
from prefront.tasks.vector_rewards import checked_reward, stated_reward_space

# Random policies are fixed sequences of actions; each plays one episode where nothing is random, otherwise many.
POLICIES, POLICIES_OF_MANY, EPISODES = 2048, 16, 256
HOST_POLICIES, HOST_POLICIES_OF_MANY, HOST_EPISODES, HOST_STEPS = 64, 4, 64, 1000
NEGLIGIBLE = 1e-5
DEVIATIONS = 5.0


def check_reference_point(front: np.ndarray, point: np.ndarray) -> tuple[str, str] | None:
    """Returns what was found and what is expected where a point of the front does not dominate the reference point."""
    wrong = ~((front >= point).all(axis=1) & (front > point).any(axis=1))
    if wrong.any():
        return (
            f"reference point {point} beside the front's {front[wrong][0]}",
            "a point that all of the front dominates",
        )
    return None


def check_front(
    env: Environment | gym.Env[Any, Any], front: np.ndarray, gamma: float, seed: int, exact: bool
) -> tuple[int, tuple[str, str] | None]:
    """Plays random policies and compares their discounted returns with the known front.

    A policy is a random sequence of actions, a deterministic policy that may change with time. Where anything is
    random, its return is the mean over many episodes, less five standard errors and less the share that as many
    episodes may miss. An episode that does not end counts where the discount makes the rest negligible.

    Args:
        env: A functional environment, or a `gym.Env`.
        front: The known front at this discount, shape (points, objectives).
        gamma: The discount.
        seed: Seed of actions and episodes.
        exact: Whether every return must be weakly dominated by a point of the front; otherwise none may dominate one.

    Returns:
        The number of policies compared, and where one lies beyond the front what was found and what is expected.
    """
    sampled = _sample_functional(env, gamma, seed) if isinstance(env, Environment) else _sample_host(env, gamma, seed)
    returns, weight_left = sampled
    counted = np.isfinite(weight_left)
    if not counted.any():
        return 0, None
    returns, weight_left = returns[counted], weight_left[counted]
    means, episodes = returns.mean(axis=1), returns.shape[1]
    slack = NEGLIGIBLE * (1 + np.abs(returns).max(axis=(0, 1))) + weight_left[:, None] * _largest_reward(env)
    if episodes > 1:
        spread = np.ptp(returns, axis=(0, 1))
        slack = slack + DEVIATIONS * (returns.std(axis=1) / np.sqrt(episodes) + spread / episodes)
    for bound, mean in zip(means - slack, means, strict=True):
        if exact and not (front >= bound).all(axis=1).any():
            return len(means), (f"a random policy with return {mean}", "one that a point of the front dominates")
        beaten = (bound > front).all(axis=1)
        if beaten.any():
            return len(means), (f"the front's point {front[beaten][0]}", f"one that {mean} does not dominate")
    return len(means), None


def _largest_reward(env: Any) -> np.ndarray:
    space = env.reward_space if isinstance(env, Environment) else env.get_wrapper_attr("reward_space")
    return np.maximum(np.abs(space.low), np.abs(space.high)).astype(np.float64)


def _random_actions(space: gym.Space[Any], policies: int, steps: int, seed: int) -> np.ndarray:
    """Draws sequences of actions, shape (policies, steps, ...); discrete ones each with their own preferences."""
    if not isinstance(space, gym.spaces.Discrete):
        space.seed(seed)
        return np.array([[space.sample() for _ in range(steps)] for _ in range(policies)])
    rng = np.random.default_rng(seed)
    preferences = rng.dirichlet(np.full(int(space.n), 0.5), policies)
    levels = np.cumsum(preferences, axis=1)[:, None, :]
    drawn = (rng.random((policies, steps, 1)) > levels).sum(axis=2)
    return (space.start + np.minimum(drawn, space.n - 1)).astype(space.dtype)


def _sample_functional(env: Environment, gamma: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns discounted returns, shape (policies, episodes, objectives), and per policy the weight of what was cut."""
    limit = env.max_episode_steps
    steps = limit if gamma == 1 else max(limit, int(np.log(NEGLIGIBLE) / np.log(gamma)))
    policies, episodes = (POLICIES, 1) if _is_deterministic(env) else (POLICIES_OF_MANY, EPISODES)
    if not isinstance(env.action_space, gym.spaces.Discrete):
        policies = min(policies, 64)
    actions = jnp.asarray(_random_actions(env.action_space, policies, steps, seed))
    keys = jax.random.split(jax.random.key(seed), (policies, episodes))
    play = jax.vmap(jax.vmap(partial(_play, env, gamma), in_axes=(None, 0)), in_axes=(0, 0))
    returns, ended = jax.device_get(jax.jit(play)(actions, keys))
    weight_left = gamma**steps / (1 - gamma) if gamma < 1 else np.inf
    return returns.astype(np.float64), np.where(ended.all(axis=1), 0.0, weight_left)


def _play(env: Environment, gamma: float, actions: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    def going(carry: Any) -> jax.Array:
        time, _, ended, _, _ = carry
        return ~ended & (time < len(actions))

    def advance(carry: Any) -> Any:
        time, state, _, total, weight = carry
        taken = step(env, state, actions[time], jax.random.fold_in(key, time + 1))
        return time + 1, taken.state, taken.terminated, total + weight * taken.reward, weight * gamma

    start, _ = reset(env, key)
    carry = (0, start, jnp.bool_(False), jnp.zeros(env.reward_dim), jnp.float32(1.0))
    _, _, ended, total, _ = jax.lax.while_loop(going, advance, carry)
    return total, ended


def _is_deterministic(env: Environment) -> bool:
    if not isinstance(env, FiniteEnvironment):
        return False
    # Shapes alone tell, and cost no compilation.
    starts, states = jax.eval_shape(env.initial_outcomes)
    state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), states)
    probabilities, _ = jax.eval_shape(env.outcomes, state, jax.ShapeDtypeStruct((), jnp.int32))
    return starts.shape == probabilities.shape == (1,)


def _sample_host(env: gym.Env[Any, Any], gamma: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the same; an episode that was cut has infinite weight left, so that its policy does not count."""
    space = stated_reward_space(env)

    def play(actions: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
        env.reset(seed=seed)
        total: Any = 0.0
        for time, action in enumerate(actions):
            _, reward, terminated, truncated, _ = env.step(action)
            total = total + gamma**time * checked_reward(reward, env, space)
            if terminated or truncated:
                return total, (0.0 if terminated else np.inf)
        return total, np.inf

    sequences = _random_actions(env.action_space, HOST_POLICIES, HOST_STEPS, seed)
    same = all(np.array_equal(play(one, seed)[0], play(one, seed + 1)[0]) for one in sequences[:8])
    episodes = 1 if same else HOST_EPISODES
    played = [
        [play(one, seed + episode) for episode in range(episodes)]
        for one in sequences[: HOST_POLICIES if same else HOST_POLICIES_OF_MANY]
    ]
    returns = np.array([[total for total, _ in row] for row in played])
    return returns, np.array([max(rest for _, rest in row) for row in played])
