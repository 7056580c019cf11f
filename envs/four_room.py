"""Four rooms: which of three kinds of items to gather on the way to the goal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from prefront.tasks.finite import FiniteEnvironment
from prefront.tasks.rendering import FLOOR, GOLD, WALL, draw_grid

MOVES = np.array([[0, -1], [-1, 0], [0, 1], [1, 0]], np.int32)
START, GOAL, BARRIER, EMPTY, KINDS = "_", "G", "X", " ", "123"
MAZE = (
    "1    2X     G",
    "      X      ",
    "      1      ",
    "             ",
    "      X      ",
    "2    3X      ",
    "XX3 XXXXX 1XX",
    "      X2    3",
    "      X      ",
    "             ",
    "      2      ",
    "      X      ",
    "_     X3    1",
)
ITEM_COLOURS = {"1": (110, 150, 220), "2": (120, 190, 120), "3": (220, 120, 110)}


class Params(NamedTuple):
    """The maze.

    Attributes:
        blocked: Where barriers are, shape (rows, columns), bool.
        item: Number of the item in a cell, -1 where there is none, shape (rows, columns), int32.
        kind: One-hot kind of every item, shape (items, 3), float32.
        goal: The goal's cell, shape (2,), int32.
        starts: Starting cells, equally likely, shape (starts, 2), int32.
    """

    blocked: jax.Array
    item: jax.Array
    kind: jax.Array
    goal: jax.Array
    starts: jax.Array


class State(NamedTuple):
    """Cell, shape (2,), and which items were collected, shape (items,); int32."""

    cell: jax.Array
    collected: jax.Array


class FourRoom(FiniteEnvironment):
    """A walk through four rooms that gathers items of three kinds before it ends at the goal.

    ## Description
    From Barreto et al. (2017), "Successor Features for Transfer in Reinforcement Learning", in the form of Alegre et
    al. (2022), "Optimistic Linear Support and Successor Features as a Basis for Optimal Policy Transfer". Every detour
    to an item discounts all that comes after it.

    ## Observation Space
    `Box(0, (rows - 1, columns - 1, 1, ..., 1), (2 + items,), int32)`: row, column, and for each item whether it was
    collected. Items are numbered column by column, from the top; the published maze has 12.

    ## Action Space
    `Discrete(4)`: 0 left, 1 up, 2 right, 3 down. A move into a barrier or out of the maze leaves the walker in place.

    ## Rewards
    `squares`, `triangles`, `circles`: 1 on collecting an item of that kind, and 1 each at the goal; otherwise 0.

    ## Starting State
    The lower left corner, or with equal probability any `_` of a maze of your own; nothing is collected.

    ## Episode End
    Terminates at the goal. Truncates after 200 steps.

    ## Arguments
    `maze`: rows of characters: `_` start, `G` goal, `X` barrier, `1`, `2` and `3` items of the three kinds, space.

    ## Exact Answer
    Set-valued dynamic programming; at the field's discount 0.95 the published maze has 652 Pareto points.

    ## Version History
    v0: transitions equal MO-Gymnasium 1.3.2's `four-room-v0`. Known differences: the observation space is tight, where
    MO-Gymnasium's ends at 13 everywhere; several starting cells are drawn from the environment's own seed rather than
    from Python's global generator; characters without a meaning are refused rather than taken for empty cells.
    """

    objective_names = ("squares", "triangles", "circles")
    discount = 0.95
    max_episode_steps = 200

    def __init__(self, maze: Sequence[str] | Sequence[Sequence[str]] | np.ndarray = MAZE) -> None:
        self.maze = _checked(maze)
        super().__init__()
        rows, columns = self.maze.shape
        items = self.default_params.kind.shape[0]
        most = np.array([rows - 1, columns - 1] + [1] * items, np.int32)
        self.observation_space = gym.spaces.Box(np.zeros(2 + items, np.int32), most, dtype=np.int32)
        self.action_space = gym.spaces.Discrete(4)
        self.reward_space = gym.spaces.Box(0.0, 1.0, (3,), np.float32)
        self.reference_point = np.zeros(3)

    def get_default_params(self, **kwargs: Any) -> Params:
        """Returns the maze as arrays."""
        cells = np.argwhere(np.isin(self.maze.T, list(KINDS)))[:, ::-1]
        item = np.full(self.maze.shape, -1, np.int32)
        item[cells[:, 0], cells[:, 1]] = np.arange(len(cells))
        kind = self.maze[cells[:, 0], cells[:, 1]][:, None] == np.array(list(KINDS))
        return Params(
            jnp.asarray(self.maze == BARRIER),
            jnp.asarray(item),
            jnp.asarray(kind, jnp.float32),
            jnp.asarray(np.argwhere(self.maze == GOAL)[0], jnp.int32),
            jnp.asarray(np.argwhere(self.maze == START), jnp.int32),
        )

    def initial_outcomes(self, params: Any = None) -> tuple[jax.Array, State]:
        """Returns the starting cells, equally likely."""
        resolved = self.resolve(params)
        count = resolved.starts.shape[0]
        return jnp.full(count, 1 / count), State(resolved.starts, jnp.zeros((count, resolved.kind.shape[0]), jnp.int32))

    def outcomes(self, state: State, action: jax.Array, params: Any = None) -> tuple[jax.Array, State]:
        """Returns the one cell that a move leads to, its item collected."""
        resolved = self.resolve(params)
        limits = jnp.array(resolved.blocked.shape) - 1
        target = jnp.clip(state.cell + jnp.asarray(MOVES)[action], 0, limits)
        cell = jnp.where(resolved.blocked[target[0], target[1]], state.cell, target)
        here = resolved.item[cell[0], cell[1]] == jnp.arange(state.collected.shape[0])
        return jnp.ones(1), State(cell[None], (state.collected | here)[None])

    def observation(self, state: State, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns row, column and the collected items."""
        return jnp.concatenate([state.cell, state.collected])

    def reward(
        self, state: State, action: jax.Array, next_state: State, rng: jax.Array, params: Any = None
    ) -> jax.Array:
        """Returns the kind of item collected, or (1, 1, 1) at the goal."""
        resolved = self.resolve(params)
        gathered = (next_state.collected - state.collected).astype(jnp.float32)
        return (gathered @ resolved.kind + self.terminal(next_state, rng, params)).astype(jnp.float32)

    def terminal(self, state: State, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns whether the walker is at the goal."""
        return jnp.all(state.cell == self.resolve(params).goal)

    def render_image(self, state: Any, render_state: Any, params: Any = None) -> tuple[Any, np.ndarray]:
        """Draws barriers, goal, the items that are left, and the walker."""
        resolved = jax.device_get(self.resolve(params))
        colours = np.empty((*resolved.blocked.shape, 3))
        colours[:] = FLOOR
        colours[resolved.blocked] = WALL
        goal = (int(resolved.goal[0]), int(resolved.goal[1]))
        colours[goal] = GOLD
        labels = {goal: GOAL}
        for row, column in np.argwhere(resolved.item >= 0):
            number = resolved.item[row, column]
            if not state.collected[number]:
                labels[int(row), int(column)] = KINDS[int(resolved.kind[number].argmax())]
                colours[row, column] = ITEM_COLOURS[labels[int(row), int(column)]]
        return render_state, draw_grid(colours, (int(state.cell[0]), int(state.cell[1])), labels)


def _checked(maze: Sequence[str] | Sequence[Sequence[str]] | np.ndarray) -> np.ndarray:
    rows = [list(row) for row in maze]
    if len({len(row) for row in rows}) != 1 or not rows[0]:
        raise ValueError(f"The rows of a maze must be equally long, got lengths {[len(row) for row in rows]}.")
    characters = np.array(rows)
    unknown = sorted(set(characters.ravel().tolist()) - {START, GOAL, BARRIER, EMPTY, *KINDS})
    if unknown:
        raise ValueError(f"A maze is made of '_', 'G', 'X', '1', '2', '3' and spaces, got {unknown}.")
    if (characters == GOAL).sum() != 1 or not (characters == START).any():
        raise ValueError("A maze needs exactly one goal 'G' and at least one start '_'.")
    return characters
