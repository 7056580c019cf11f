"""The environment contract: pure JAX functions with a vector reward, and beside them what makes results comparable.

An environment follows Gymnasium's functional form (`gymnasium.experimental.functional.FuncEnv`). Its functions take the
state, random keys and a pytree of parameters, and return arrays, so that `jax.jit` and `jax.vmap` compose with them;
`prefront.tasks.gymnasium_api` turns the same functions into `gym.Env` and `gym.vector.VectorEnv`.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.experimental.functional import FuncEnv
from gymnasium.spaces import Box

from prefront.pareto.dominance import convex_hull_vertices
from prefront.pareto.indicators import hypervolume

FrontKind = Literal["exact", "best known", "unknown"]


class Environment(FuncEnv[Any, Any, Any, Any, Any, Any, Any], abc.ABC):
    """A multi-objective Markov decision process as pure functions on JAX arrays.

    A subclass sets the attributes below and implements `initial`, `transition`, `observation`, `reward` and `terminal`.
    All functions accept `params=None` for the environment's own `default_params`; a batch of different tasks is one
    `jax.vmap` over `params`.

    Attributes:
        id: Gymnasium id by which the environment was made; empty where its class was called.
        kwargs: Arguments given with that id.
        observation_space: Space of one observation.
        action_space: Space of one action.
        reward_space: Box of shape (number of objectives,), float32.
        objective_names: One name per objective, in the order of the reward.
        discount: The evaluation discount, in (0, 1].
        reference_point: Reference point of the hypervolume, shape (number of objectives,), float64.
        max_episode_steps: Episode limit; reaching it truncates and never terminates.
        front_kind: Whether `pareto_front` is "exact", "best known" (attained, but perhaps incomplete or
            improvable: a lower bound) or "unknown".
    """

    id: str = ""
    kwargs: Mapping[str, Any] = MappingProxyType({})
    reward_space: Box
    objective_names: tuple[str, ...]
    discount: float
    reference_point: np.ndarray
    max_episode_steps: int
    default_params: Any
    front_kind: FrontKind = "unknown"

    @property
    def reward_dim(self) -> int:
        """Number of objectives."""
        return len(self.objective_names)

    def resolve(self, params: Any) -> Any:
        """Returns `params`, or the environment's own where None is given."""
        return self.default_params if params is None else params

    @abc.abstractmethod
    def initial(self, rng: jax.Array, params: Any = None) -> Any:
        """Draws the state in which an episode starts."""

    @abc.abstractmethod
    def transition(self, state: Any, action: jax.Array, rng: jax.Array, params: Any = None) -> Any:
        """Draws the state that follows `action` in `state`."""

    @abc.abstractmethod
    def observation(self, state: Any, rng: jax.Array, params: Any = None) -> Any:
        """Returns what the agent sees in `state`, an element of `observation_space`."""

    @abc.abstractmethod
    def reward(self, state: Any, action: jax.Array, next_state: Any, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns the vector reward of a transition, shape (number of objectives,), float32."""

    @abc.abstractmethod
    def terminal(self, state: Any, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns whether the episode ends in `state`, a boolean scalar."""

    def render_image(self, state: Any, render_state: Any, params: Any = None) -> tuple[Any, np.ndarray]:
        """Draws `state`; returns the render state and an RGB picture of shape (height, width, 3), uint8."""
        raise NotImplementedError(f"{type(self).__name__} cannot be rendered.")

    def pareto_front(self, gamma: float | None = None) -> np.ndarray:
        """Returns the return vectors of all Pareto-optimal deterministic policies, see `front_kind`.

        Args:
            gamma: Discount in (0, 1]; the evaluation discount by default.

        Returns:
            Mutually non-dominated return vectors, shape (points, objectives), float64, in lexicographic order.
        """
        raise NotImplementedError(f"{type(self).__name__} has no known Pareto front.")

    def coverage_set(self, gamma: float | None = None) -> np.ndarray:
        """Returns the convex coverage set: the return vectors that are best for some linear weights.

        Args:
            gamma: Discount in (0, 1]; the evaluation discount by default.

        Returns:
            Return vectors, shape (points, objectives), float64, in lexicographic order.
        """
        return convex_hull_vertices(self.pareto_front(gamma))

    def max_hypervolume(self, gamma: float | None = None) -> float:
        """Returns the hypervolume of `pareto_front(gamma)` against `reference_point`."""
        return float(hypervolume(self.pareto_front(gamma), self.reference_point))


AnyEnvironment: TypeAlias = Environment | gym.Env[Any, Any]


class Transition(NamedTuple):
    """What one step of an environment yields."""

    state: Any
    observation: Any
    reward: jax.Array
    terminated: jax.Array


def step(environment: Environment, state: Any, action: jax.Array, rng: jax.Array, params: Any = None) -> Transition:
    """Takes one step, without any reset: a pure function to be jitted and vmapped.

    Args:
        environment: The environment.
        state: Its state.
        action: An element of its action space.
        rng: One random key; transition, reward and observation draw from independent parts of it.
        params: The environment's parameters.

    Returns:
        The next state, its observation, the vector reward and whether the episode terminated.
    """
    for_transition, for_reward, for_observation = jax.random.split(rng, 3)
    next_state = environment.transition(state, action, for_transition, params)
    return Transition(
        next_state,
        environment.observation(next_state, for_observation, params),
        environment.reward(state, action, next_state, for_reward, params),
        environment.terminal(next_state, for_reward, params),
    )


def reset(environment: Environment, rng: jax.Array, params: Any = None) -> tuple[Any, Any]:
    """Starts an episode; returns the state and its observation."""
    for_state, for_observation = jax.random.split(rng)
    state = environment.initial(for_state, params)
    return state, environment.observation(state, for_observation, params)


def select(condition: jax.Array, if_true: Any, if_false: Any) -> Any:
    """Chooses between two pytrees of the same structure by a boolean scalar."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)
