"""Fruit tree: which leaf of a binary tree to walk to, each with its own mix of nutrients."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from prefront.tasks.finite import FiniteEnvironment
from prefront.tasks.rendering import AGENT, FLOOR, GOLD, WALL, draw_grid

NUTRIENTS = ("protein", "carbs", "fats", "vitamins", "minerals", "water", "fibre", "sugar", "salt")
PUBLISHED_DEPTHS = (5, 6, 7)
PUBLISHED_OBJECTIVES = 6
DEEPEST = 20
RADIUS = 10.0
PICTURE_COLUMNS = 256


class Params(NamedTuple):
    """The value of every leaf from left to right, shape (2**depth, objectives)."""

    leaves: jax.Array


class State(NamedTuple):
    """Row of the node and its position within the row, int32 scalars."""

    row: jax.Array
    position: jax.Array


class FruitTree(FiniteEnvironment):
    """A walk from the root of a full binary tree to one of its leaves, each a fruit with its own nutrients.

    ## Description
    From Yang et al. (2019), "A Generalized Algorithm for Multi-Objective Reinforcement Learning and Policy Adaptation".
    Every leaf lies on the sphere of radius 10 in the positive orthant, so no leaf dominates another and each is the
    best one for some linear weights: an agent has to learn as many policies as there are leaves.

    ## Observation Space
    `Box(0, (depth, 2**depth - 1), (2,), int32)`: row and position within the row, counted from the left.

    ## Action Space
    `Discrete(2)`: 0 left, 1 right.

    ## Rewards
    The nutrients of the leaf on arrival, otherwise 0. Six objectives: `protein`, `carbs`, `fats`, `vitamins`,
    `minerals`, `water`; generated trees with more add `fibre`, `sugar` and `salt`.

    ## Starting State
    The root, (0, 0).

    ## Episode End
    Terminates at a leaf, after `depth` steps. Never truncates.

    ## Arguments
    `depth`: 5, 6 (default) or 7 for the published leaf values; 1 to 20 for generated ones.
    `objectives`: 6 (default) for the published leaf values; 2 to 9 for generated ones.
    `seed`: None (default) for the published leaf values. A number in [0, 2**32) draws the leaves uniformly from the
    sphere of radius 10 in the positive orthant: absolute normal numbers of `numpy.random.RandomState(seed)`, whose
    stream NumPy keeps frozen, scaled to length 10 and rounded to 8 decimals.

    ## Exact Answer
    Every leaf times `gamma ** (depth - 1)`, for the Pareto set and the coverage set alike; at depth 6 and discount 0.99
    64 points of hypervolume 46034.8017 against -1 in every objective.

    ## Version History
    v0: transitions equal MO-Gymnasium 1.3.2's `fruit-tree-v0`. Known differences: the observation space ends at the
    last row and leaf, where MO-Gymnasium's ends at 2**depth - 1 for both; generated trees are our own.
    """

    discount = 0.99

    def __init__(self, depth: int = 6, objectives: int = PUBLISHED_OBJECTIVES, seed: int | None = None) -> None:
        if seed is None and (depth not in PUBLISHED_DEPTHS or objectives != PUBLISHED_OBJECTIVES):
            raise ValueError(
                f"Leaf values are published for depth 5, 6 or 7 and 6 objectives, got depth={depth!r} and "
                f"objectives={objectives!r}; give a seed to generate others."
            )
        if not 1 <= depth <= DEEPEST:
            raise ValueError(f"depth must lie between 1 and {DEEPEST}, got {depth!r}.")
        if not 2 <= objectives <= len(NUTRIENTS):
            raise ValueError(f"objectives must lie between 2 and {len(NUTRIENTS)}, got {objectives!r}.")
        self.depth = depth
        self.objective_names = NUTRIENTS[:objectives]
        self.seed = seed
        self.exact_rewards = self._leaves()
        super().__init__()
        self.max_episode_steps = depth
        last = np.array([depth, 2**depth - 1], np.int32)
        self.observation_space = gym.spaces.Box(np.zeros(2, np.int32), last, dtype=np.int32)
        self.action_space = gym.spaces.Discrete(2)
        self.reward_space = gym.spaces.Box(0.0, RADIUS, (objectives,), np.float32)
        self.reference_point = np.full(objectives, -1.0)

    def get_default_params(self, **kwargs: Any) -> Params:
        """Returns the published or the generated leaf values."""
        return Params(jnp.asarray(self._leaves(), jnp.float32))

    def _leaves(self) -> np.ndarray:
        if self.seed is None:
            return published_leaves(self.depth)
        return generated_leaves(self.depth, len(self.objective_names), self.seed)

    def initial_outcomes(self, params: Any = None) -> tuple[jax.Array, State]:
        """Returns the root."""
        return jnp.ones(1), State(jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32))

    def outcomes(self, state: State, action: jax.Array, params: Any = None) -> tuple[jax.Array, State]:
        """Returns the one child that a move leads to."""
        position = (2 * state.position + action).astype(jnp.int32)
        return jnp.ones(1), State((state.row + 1)[None], position[None])

    def observation(self, state: State, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns row and position within the row."""
        return jnp.stack(state)

    def reward(
        self, state: State, action: jax.Array, next_state: State, rng: jax.Array, params: Any = None
    ) -> jax.Array:
        """Returns the nutrients of the leaf that was reached."""
        at_leaf = next_state.row == self.depth
        # For a batch of trees a gather per nutrient becomes vector instructions; one of whole rows does not.
        nutrients = [jnp.take(one, next_state.position, mode="clip") for one in self.resolve(params).leaves.T]
        return jnp.stack([jnp.where(at_leaf, one, 0.0) for one in nutrients])

    def terminal(self, state: State, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns whether the state is a leaf."""
        return state.row == self.depth

    def render_image(self, state: Any, render_state: Any, params: Any = None) -> tuple[Any, np.ndarray]:
        """Draws one bar per row: the walk so far, the node (red), what it can still reach (gold) and what is lost."""
        row, position = (int(part) for part in state)
        columns = min(2**self.depth, PICTURE_COLUMNS)
        colours = np.empty((self.depth + 1, columns, 3))
        colours[:] = WALL
        for level in range(self.depth + 1):
            node = min(level, row)
            index = position >> (row - node)
            first = index * columns // 2**node
            end = max(first + 1, (index + 1) * columns // 2**node)
            colours[level, first:end] = AGENT if level == row else GOLD if level > row else FLOOR
        return render_state, draw_grid(colours, None, cell_pixels=max(4, min(48, 1024 // columns)))


def published_leaves(depth: int) -> np.ndarray:
    """Returns the leaf values that Yang et al. (2019) published, shape (2**depth, 6), for depth 5, 6 or 7."""
    with (files("prefront.envs") / "data" / "fruit_tree.csv").open() as table:
        rows = np.loadtxt(table, delimiter=",", skiprows=1)
    leaves: np.ndarray = rows[rows[:, 0] == depth, 1:]
    return leaves


def generated_leaves(depth: int, objectives: int, seed: int) -> np.ndarray:
    """Draws leaves uniformly from the sphere of radius 10 in the positive orthant, shape (2**depth, objectives)."""
    # The legacy generator is the one whose stream NumPy promises never to change.
    normal = np.random.RandomState(seed).standard_normal((2**depth, objectives))
    leaves: np.ndarray = np.round(RADIUS * np.abs(normal) / np.linalg.norm(normal, axis=1, keepdims=True), 8)
    return leaves
