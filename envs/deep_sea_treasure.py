"""Deep sea treasure: how far to dive for how much treasure."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from prefront.system.checks import nearest_names
from prefront.tasks.finite import FiniteEnvironment
from prefront.tasks.rendering import GOLD, ROCK, WATER, draw_grid

ROCK_VALUE = -10.0
MOVES = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]], np.int32)
CONVEX_TREASURES = {
    (1, 0): 0.7, (2, 1): 8.2, (3, 2): 11.5, (4, 3): 14.0, (4, 4): 15.1, (4, 5): 16.1,
    (7, 6): 19.6, (7, 7): 20.3, (9, 8): 22.4, (10, 9): 23.7,
}  # fmt: skip
CONCAVE_TREASURES = {
    (1, 0): 1.0, (2, 1): 2.0, (3, 2): 3.0, (4, 3): 5.0, (4, 4): 8.0, (4, 5): 16.0,
    (7, 6): 24.0, (7, 7): 50.0, (9, 8): 74.0, (10, 9): 124.0,
}  # fmt: skip
# First column of rock in each row of the mirrored map's left half, which slopes down away from the start.
MIRRORED_LEFT_ROCK = {2: 9, 3: 8, 4: 7, 5: 4, 6: 4, 7: 4, 8: 2, 9: 2, 10: 1}
MIRROR_COLUMN = 10


class Params(NamedTuple):
    """The map, shape (rows, columns): treasure values, -10 for rock, 0 for water; and the starting cell, shape (2,)."""

    sea_map: jax.Array
    start: jax.Array


class DeepSeaTreasure(FiniteEnvironment):
    """A submarine dives for treasure: the deeper it lies, the more it is worth and the longer it takes.

    ## Description
    The oldest benchmark of multi-objective reinforcement learning (Vamplew et al., 2011), on the map of Yang et al.
    (2019), whose front is convex, on that of Vamplew et al. (2018), whose front is concave, so that linear weights
    reach its two ends only, and on the mirrored map of Felten et al. (2022), where half of the sea holds nothing.

    ## Observation Space
    `Box(0, (rows - 1, columns - 1), (2,), int32)`: row and column of the submarine.

    ## Action Space
    `Discrete(4)`: 0 up, 1 down, 2 left, 3 right. A move into rock or out of the sea leaves the submarine where it is.

    ## Rewards
    `treasure`: the value of the treasure reached, otherwise 0. `time`: -1 per step.

    ## Starting State
    The cell (0, 0); on the mirrored map (0, 10).

    ## Episode End
    Terminates at a treasure. Truncates after 100 steps.

    ## Arguments
    `map`: "convex" (default), "concave" or "mirrored".

    ## Exact Answer
    Set-valued dynamic programming; at discount 0.99 the convex map has 10 Pareto points of hypervolume 854.8504 against
    (0, -50). At discount 1 its coverage set lacks one of the 10, which lies inside the hull.

    ## Version History
    v0: transitions equal MO-Gymnasium 1.3.2's `deep-sea-treasure-v0`, `-concave-v0` and `-mirrored-v0`. Known
    difference: the observation space ends at the last cell, where MO-Gymnasium's ends one beyond it.
    """

    objective_names = ("treasure", "time")
    discount = 0.99
    max_episode_steps = 100

    def __init__(self, map: str = "convex") -> None:
        if map not in MAPS:
            raise ValueError(f"No deep-sea-treasure map {map!r}. {nearest_names(map, list(MAPS))}")
        self.map = map
        super().__init__()
        rows, columns = self.default_params.sea_map.shape
        last = np.array([rows - 1, columns - 1], np.int32)
        largest = float(self.default_params.sea_map.max())
        self.observation_space = gym.spaces.Box(np.zeros(2, np.int32), last, dtype=np.int32)
        self.action_space = gym.spaces.Discrete(4)
        self.reward_space = gym.spaces.Box(np.array([0, -1], np.float32), np.array([largest, -1], np.float32))
        self.reference_point = np.array([0.0, -50.0])

    def get_default_params(self, **kwargs: Any) -> Params:
        """Returns the map of this variant."""
        sea_map, start = MAPS[self.map]()
        return Params(jnp.asarray(sea_map), jnp.asarray(start))

    def initial_outcomes(self, params: Any = None) -> tuple[jax.Array, jax.Array]:
        """Returns the one starting cell."""
        return jnp.ones(1), self.resolve(params).start[None]

    def outcomes(self, state: jax.Array, action: jax.Array, params: Any = None) -> tuple[jax.Array, jax.Array]:
        """Returns the one cell that a move leads to."""
        sea_map = self.resolve(params).sea_map
        target = state + jnp.asarray(MOVES)[action]
        inside = jnp.all((target >= 0) & (target < jnp.array(sea_map.shape)))
        free = inside & (sea_map[target[0], target[1]] != ROCK_VALUE)
        return jnp.ones(1), jnp.where(free, target, state)[None]

    def observation(self, state: jax.Array, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns row and column."""
        return state

    def reward(
        self,
        state: jax.Array,
        action: jax.Array,
        next_state: jax.Array,
        rng: jax.Array,
        params: Any = None,
    ) -> jax.Array:
        """Returns (treasure, -1)."""
        return jnp.stack([self.resolve(params).sea_map[next_state[0], next_state[1]], -1.0]).astype(jnp.float32)

    def terminal(self, state: jax.Array, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns whether the submarine is at a treasure."""
        return self.resolve(params).sea_map[state[0], state[1]] > 0

    def render_image(self, state: Any, render_state: Any, params: Any = None) -> tuple[Any, np.ndarray]:
        """Draws the sea, its rock and treasures, and the submarine."""
        sea_map = np.asarray(self.resolve(params).sea_map)
        colours = np.empty((*sea_map.shape, 3))
        colours[:] = WATER
        colours[sea_map == ROCK_VALUE] = ROCK
        colours[sea_map > 0] = GOLD
        labels = {(int(r), int(c)): f"{sea_map[r, c]:.4g}" for r, c in np.argwhere(sea_map > 0)}
        return render_state, draw_grid(colours, (int(state[0]), int(state[1])), labels)


def _sloping_map(treasures: dict[tuple[int, int], float], rows: int = 11, columns: int = 11) -> np.ndarray:
    sea_map = np.zeros((rows, columns), np.float32)
    for (row, column), value in treasures.items():
        sea_map[row, column] = value
        sea_map[row + 1 :, column] = ROCK_VALUE
    return sea_map


def _mirrored_map() -> np.ndarray:
    shifted = {(row, column + MIRROR_COLUMN): value for (row, column), value in CONCAVE_TREASURES.items()}
    sea_map = _sloping_map(shifted, columns=20)
    for row, first in MIRRORED_LEFT_ROCK.items():
        sea_map[row, first:MIRROR_COLUMN] = ROCK_VALUE
    return sea_map


MAPS = {
    "convex": lambda: (_sloping_map(CONVEX_TREASURES), np.array([0, 0], np.int32)),
    "concave": lambda: (_sloping_map(CONCAVE_TREASURES), np.array([0, 0], np.int32)),
    "mirrored": lambda: (_mirrored_map(), np.array([0, MIRROR_COLUMN], np.int32)),
}
