"""Learned rewards back in the gym: environments that pay what was learned, for any agent.

A reward is a function of what anybody can see, `(observation, action, vector reward) -> (k,)`: of JAX arrays for
`learned_reward`, and of NumPy arrays where it serves `LearnedRewardWrapper`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from prefront.preferences.models.network import NeuralReward
from prefront.tasks.environment import Environment
from prefront.tasks.finite import FiniteEnvironment
from prefront.tasks.vector_rewards import checked_reward, stated_reward_space

RewardFunction = Callable[[Any, Any, Any], Any]


def linear_reward(weights: Any) -> RewardFunction:
    """Returns the reward of linear models: weights of shape (d,), or (P, d) for one objective a person."""
    rows = np.atleast_2d(np.asarray(weights, np.float64))
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise ValueError(f"Weights must be finite, of shape (d,) or (P, d), got {weights!r}.")
    return lambda observation, action, vector: rows.astype(np.float32) @ vector


def table_reward(table: Any, number: Callable[[Any], Any]) -> RewardFunction:
    """Returns the reward that a table (S, A) holds; `number` gives the state number of an observation, in pure JAX."""
    entries = jnp.asarray(table, jnp.float32)
    if entries.ndim != 2:
        raise ValueError(f"A table of rewards must have shape (S, A), got {entries.shape}.")
    return lambda observation, action, vector: entries[number(observation), action][None]


def network_reward(model: NeuralReward) -> RewardFunction:
    """Returns the reward of a fitted network or ensemble."""
    model.learned()
    return lambda observation, action, vector: model.reward(observation, action)[None]


def stack_rewards(functions: Sequence[RewardFunction]) -> RewardFunction:
    """Returns all rewards of several functions as one vector, such as those of persons with a network each.

    Raises:
        ValueError: There are no functions.
    """
    parts = tuple(functions)
    if not parts:
        raise ValueError("There are no rewards to stack.")
    return lambda observation, action, vector: jnp.concatenate([part(observation, action, vector) for part in parts])


class LearnedReward(Environment):
    """An environment that pays a learned reward in place of its own, with one objective a reward function gives.

    Everything else is the environment's. Evaluate what was trained on it in the environment itself, or exactly by
    `prefront.preferences.evaluation`.

    Attributes:
        base: The environment.
        reward_function: What is paid.
    """

    def __init__(
        self,
        base: Environment,
        reward_function: RewardFunction,
        names: Sequence[str] = ("learned",),
        reference_point: Any = None,
    ) -> None:
        self.base, self.reward_function = base, reward_function
        self.objective_names = tuple(names)
        self.default_params = base.default_params
        super().__init__()
        # FuncEnv's own constructor may reset parameters.
        self.default_params = base.default_params
        self.observation_space, self.action_space = base.observation_space, base.action_space
        count = len(self.objective_names)
        self.reward_space = gym.spaces.Box(-np.inf, np.inf, (count,), np.float32)
        self.discount, self.max_episode_steps = base.discount, base.max_episode_steps
        self.front_kind = "unknown"
        self.reference_point = _reference_point(reference_point, count)
        paid = jax.eval_shape(self._first_reward).shape
        if paid != (count,):
            raise ValueError(_wrong_number(paid, self.objective_names))

    def _first_reward(self) -> jax.Array:
        key = jax.random.key(0)
        state = self.base.initial(key, self.default_params)
        action = jnp.asarray(self.action_space.sample())
        return self.reward(state, action, self.base.transition(state, action, key, self.default_params), key)

    def get_default_params(self, **kwargs: Any) -> Any:
        """Returns the environment's own parameters."""
        return self.base.default_params

    def initial(self, rng: jax.Array, params: Any = None) -> Any:
        """Draws the state in which an episode starts."""
        return self.base.initial(rng, self.resolve(params))

    def transition(self, state: Any, action: jax.Array, rng: jax.Array, params: Any = None) -> Any:
        """Draws the state that follows an action."""
        return self.base.transition(state, action, rng, self.resolve(params))

    def observation(self, state: Any, rng: jax.Array, params: Any = None) -> Any:
        """Returns what the agent sees."""
        return self.base.observation(state, rng, self.resolve(params))

    def terminal(self, state: Any, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns whether the episode ends."""
        return self.base.terminal(state, rng, self.resolve(params))

    def reward(self, state: Any, action: jax.Array, next_state: Any, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns the learned reward of a transition, shape (k,), float32."""
        params = self.resolve(params)
        vector = self.base.reward(state, action, next_state, rng, params)
        observation = self.base.observation(state, rng, params)
        return jnp.asarray(self.reward_function(observation, action, vector), jnp.float32)

    def render_image(self, state: Any, render_state: Any, params: Any = None) -> tuple[Any, np.ndarray]:
        """Draws the environment."""
        return self.base.render_image(state, render_state, self.resolve(params))


class FiniteLearnedReward(LearnedReward, FiniteEnvironment):
    """The same for environments with finitely many states, which can be solved exactly for the learned reward too."""

    base: FiniteEnvironment

    def outcomes(self, state: Any, action: jax.Array, params: Any = None) -> tuple[jax.Array, Any]:
        """Returns the environment's own outcomes."""
        return self.base.outcomes(state, action, self.resolve(params))

    def initial_outcomes(self, params: Any = None) -> tuple[jax.Array, Any]:
        """Returns the environment's own starting states."""
        return self.base.initial_outcomes(self.resolve(params))


def learned_reward(
    environment: Environment,
    reward_function: RewardFunction,
    names: Sequence[str] = ("learned",),
    reference_point: Any = None,
) -> LearnedReward:
    """Wraps an environment so that it pays a learned reward.

    Args:
        environment: One of ours; use `LearnedRewardWrapper` for any other.
        reward_function: `linear_reward`, `table_reward`, `network_reward` of a fitted model, or a function of your own.
        names: Names of the rewards it gives, such as those of persons.
        reference_point: For hypervolumes; zeros by default, below which nothing counts.

    Returns:
        An environment for compiled agents and for Gymnasium
        (`prefront.tasks.gymnasium_api.SingleEnvironment(learned_reward(...))`).

    Raises:
        ValueError: The function does not give one number a name.
    """
    kind = FiniteLearnedReward if isinstance(environment, FiniteEnvironment) else LearnedReward
    return kind(environment, reward_function, names, reference_point)


class LearnedRewardWrapper(gym.Wrapper[Any, Any, Any, Any]):
    """Pays a learned reward in any Gymnasium environment: one float, or a vector with an entry for each person.

    Without names the reward is a float, for single-objective algorithms. With names it is a vector, as that of our own
    environments is by `learned_reward`, for algorithms that serve all persons at once. The environment's own reward
    stays in `info["true_reward"]`, for evaluation only.

    Args:
        env: Any environment, with a vector reward or a number.
        reward_function: Gives one number, or one for each name.
        names: Names of the rewards it gives, such as those of persons.
        reference_point: For hypervolumes of vectors; zeros by default, below which nothing counts.

    Attributes:
        reward_space: Box of shape (number of names,), float32, where there are names; so are `objective_names` and
            `reference_point`.

    Raises:
        ValueError: Names are empty or the reference point has another length; by `step`, where the function gives
            another number of rewards.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        reward_function: RewardFunction,
        names: Sequence[str] | None = None,
        reference_point: Any = None,
    ) -> None:
        super().__init__(env)
        self.reward_function = reward_function
        self._space = stated_reward_space(env)
        self._observation: Any = None
        self._names = None if names is None else tuple(names)
        if self._names is None:
            return
        if not self._names:
            raise ValueError("names must hold at least one name, or be None for a reward that is a float.")
        # As for learned_reward, what the environment itself says of its objectives is about another reward.
        self.objective_names = self._names
        self.reward_space = gym.spaces.Box(-np.inf, np.inf, (len(self._names),), np.float32)
        self.reference_point = _reference_point(reference_point, len(self._names))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        self._observation, info = self.env.reset(seed=seed, options=options)
        return self._observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Takes one step; the reward is the learned one, a float, or float32 of shape (number of names,)."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        stated = self._space is not None
        vector = checked_reward(reward, self.env, self._space) if stated else np.atleast_1d(np.asarray(reward))
        vector = vector.astype(np.float32)
        paid = np.asarray(self.reward_function(self._observation, action, vector), np.float32)
        self._observation = observation
        return observation, self._paid(paid), terminated, truncated, {**info, "true_reward": reward}

    def _paid(self, paid: np.ndarray) -> Any:
        if self._names is None:
            if paid.size != 1:
                raise ValueError(f"The reward function must give one number, or be named, got shape {paid.shape}.")
            return float(paid.ravel()[0])
        if paid.shape != (len(self._names),):
            raise ValueError(_wrong_number(paid.shape, self._names))
        return paid


def _reference_point(given: Any, count: int) -> np.ndarray:
    point = np.zeros(count) if given is None else np.asarray(given, np.float64)
    if point.shape != (count,):
        raise ValueError(f"reference_point must have shape ({count},), got {point.shape}.")
    return point


def _wrong_number(shape: tuple[int, ...], names: tuple[str, ...]) -> str:
    return f"The reward function gives {shape}, but {len(names)} objectives are named: {names}."
