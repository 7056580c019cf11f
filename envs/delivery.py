"""Delivery: drive to the goal past coins, roadblocks, mud and sheep; the task behind published human preferences."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from prefront.exact.mdp import expected_rewards, mean_return, solve
from prefront.exact.tables import TabularMDP
from prefront.tasks.finite import FiniteEnvironment
from prefront.tasks.rendering import FLOOR, GOLD, WALL, draw_grid

FEATURES = ("gas", "goal", "sheep", "coin", "roadblock", "mud")
MOVES = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]], np.int32)
ROAD, ROADBLOCK, COIN, MUD, MUD_COIN, SHEEP, GOAL, HOUSE = range(8)
SYMBOLS = ".RCMmSGH"
# What entering a cell of each kind yields: mud in place of gas, and at the end of an episode nothing else.
LANDING = np.array(
    [
        [1, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 1, 0],
        [1, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 1],
        [0, 0, 0, 1, 0, 1],
        [0, 0, 1, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ],
    np.float32,
)
# What bumping yields depends on the ground one stands on.
BUMPING = np.where(LANDING[:, 5:] > 0, np.eye(6)[5], np.eye(6)[0]).astype(np.float32)
TERMINAL_KINDS = np.isin(np.arange(8), (SHEEP, GOAL))
COLOURS = np.array(
    [FLOOR, (214, 120, 90), GOLD, (170, 130, 95), (205, 165, 70), (250, 250, 250), (120, 190, 110), WALL]
)
TEXTS = ("", "block", "coin", "mud", "mud+coin", "sheep", "goal", "")

PUBLISHED_MAP = """
..R.......
....C....M
..S....MMM
C.R.HSSMM.
MM........
M.C.......
MH.SRH....
.C.....mMM
..R....MMG
......R..C
"""
# The reward of the people in the published study. Environments yield features; weights are for teachers and evaluation.
PUBLISHED_WEIGHTS = np.array([-1.0, 50.0, -50.0, 1.0, -1.0, -2.0])


class Params(NamedTuple):
    """The map, shape (rows, columns): kinds of cells, one of the constants ROAD to HOUSE."""

    cells: jax.Array


class Delivery(FiniteEnvironment):
    """A driver delivers to the goal. Coins, roadblocks and mud lie on the way, and hitting a sheep ends it all.

    ## Description
    The delivery task of "Models of human preference for learning reward functions" (Knox et al., 2024, arXiv
    2206.02231), on the map that people saw whose preferences were published with "Influencing humans to conform to
    preference models for RLHF" (Hatgis-Kessell et al., 2025, arXiv 2501.06416). The reward vector holds features, not
    goals to be maximised each: a person's reward is linear in them, with weights of any sign that the environment does
    not know.

    ## Observation Space
    `Box(0, (9, 9), (2,), int32)`: row and column.

    ## Action Space
    `Discrete(4)`: 0 up, 1 down, 2 left, 3 right. A move into a house or off the map leaves the driver in place.

    ## Rewards
    `gas`: 1 for a step that ends on road, coin or roadblock, or that bumps there. `goal`, `sheep`: 1 for the step
    that reaches one, which yields nothing else. `coin`, `roadblock`: 1 for a step onto one; both stay where they are.
    `mud`: 1 in place of gas for a step that ends on mud, or that bumps there. The published weights are
    -1, 50, -50, 1, -1, -2.

    ## Starting State
    Uniform over the 92 cells that are no house, sheep or goal.

    ## Episode End
    Terminates at the goal or a sheep. Truncates after 1000 steps.

    ## Exact Answer
    `optimal_return(weights)`, and with `table()` all of `prefront.exact.mdp`. At discount 0.999 and the published
    weights the optimal mean return is 41.208, that of the uniformly random policy -71.26. Over features with signs of
    their own there is no Pareto front to report.

    ## Version History
    v0: reproduces the differences of return that were published beside the human preferences.
    """

    objective_names = FEATURES
    discount = 0.999
    max_episode_steps = 1000
    front_kind = "unknown"

    def __init__(self) -> None:
        super().__init__()
        rows, columns = self.default_params.cells.shape[-2:]
        last = np.array([rows - 1, columns - 1], np.int32)
        self.observation_space = gym.spaces.Box(np.zeros(2, np.int32), last, dtype=np.int32)
        self.action_space = gym.spaces.Discrete(4)
        self.reward_space = gym.spaces.Box(np.zeros(6, np.float32), np.ones(6, np.float32))
        self.reference_point = np.zeros(6)

    def get_default_params(self, **kwargs: Any) -> Any:
        """Returns the published map."""
        kinds = [[SYMBOLS.index(symbol) for symbol in row] for row in PUBLISHED_MAP.split()]
        return Params(jnp.asarray(kinds, jnp.int32))

    def initial_outcomes(self, params: Any = None) -> tuple[jax.Array, jax.Array]:
        """Returns all cells, those where an episode can go on equally likely."""
        cells = self.resolve(params).cells
        live = ~jnp.asarray(TERMINAL_KINDS | (np.arange(8) == HOUSE))[cells.ravel()]
        places = jnp.stack(jnp.unravel_index(jnp.arange(cells.size), cells.shape), 1).astype(jnp.int32)
        return live / live.sum(), places

    def outcomes(self, state: jax.Array, action: jax.Array, params: Any = None) -> tuple[jax.Array, jax.Array]:
        """Returns the one cell that a move leads to."""
        return jnp.ones(1), drive(self.resolve(params).cells, state, action)[None]

    def observation(self, state: jax.Array, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns row and column."""
        return state[:2]

    def reward(
        self,
        state: jax.Array,
        action: jax.Array,
        next_state: jax.Array,
        rng: jax.Array,
        params: Any = None,
    ) -> jax.Array:
        """Returns the six features of a step."""
        return features_of_step(self.resolve(params).cells, state, next_state)

    def terminal(self, state: jax.Array, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns whether the driver is at the goal or has hit a sheep."""
        return jnp.asarray(TERMINAL_KINDS)[self.resolve(params).cells[state[0], state[1]]]

    def table(self, params: Any = None) -> TabularMDP:
        """Writes the dynamics out; state number = row * columns + column.

        Args:
            params: One map, or a batch of maps on a leading axis.

        Returns:
            S = 100 states, A = 4, K = 1, d = 6, float64. Houses are terminal states that nothing reaches.
        """
        return grid_table(np.asarray(self.resolve(params).cells))

    def optimal_return(self, weights: Any, gamma: float | None = None, params: Any = None) -> Any:
        """Returns the exact mean return of an optimal policy over the initial states.

        Args:
            weights: Reward weights, shape (6,), or (M, 6) for a batch of M maps.
            gamma: Discount in (0, 1); the evaluation discount by default.
            params: The map or maps.
        """
        table = self.table(params)
        solution = solve(table, expected_rewards(table, weights), self.discount if gamma is None else gamma)
        return mean_return(table, solution.values)

    def pareto_front(self, gamma: float | None = None) -> np.ndarray:
        """Raises NotImplementedError: features have no common direction of improvement; see `optimal_return`."""
        raise NotImplementedError(
            f"{type(self).__name__} yields features, which are no objectives to be maximised, so it has no front. "
            "Use optimal_return(weights)."
        )

    def coverage_set(self, gamma: float | None = None) -> np.ndarray:
        """Raises NotImplementedError, as `pareto_front` does."""
        return self.pareto_front(gamma)

    def render_image(self, state: Any, render_state: Any, params: Any = None) -> tuple[Any, np.ndarray]:
        """Draws the map and the driver."""
        cells = np.asarray(self.resolve(params).cells)
        labels = {(int(r), int(c)): TEXTS[cells[r, c]] for r, c in np.ndindex(cells.shape) if TEXTS[cells[r, c]]}
        return render_state, draw_grid(COLOURS[cells], (int(state[0]), int(state[1])), labels)


def drive(cells: jax.Array, place: jax.Array, action: jax.Array) -> jax.Array:
    """Returns row and column after a move; houses and the edge of the map stop it."""
    target = place + jnp.asarray(MOVES)[action]
    inside = jnp.all((target >= 0) & (target < jnp.array(cells.shape)))
    return jnp.where(inside & (cells[target[0], target[1]] != HOUSE), target, place)


def features_of_step(cells: jax.Array, place: jax.Array, next_place: jax.Array) -> jax.Array:
    """Returns the features of a step from one cell to a neighbour or, bumping, to itself; shape (6,)."""
    kind = cells[next_place[0], next_place[1]]
    stays = jnp.all(place == next_place)
    return jnp.where(stays, jnp.asarray(BUMPING)[kind], jnp.asarray(LANDING)[kind])


def grid_table(cells: np.ndarray, widths: Any = None) -> TabularMDP:
    """Writes deterministic maps out as tables.

    Args:
        cells: Kinds, shape (..., rows, columns); cells outside a smaller map are houses.
        widths: Columns of each map, shape (...), all by default.

    Returns:
        One table or a batch; state number = row * own width + column, and what is left over is padding.
    """
    rows, columns = cells.shape[-2:]
    widths = np.broadcast_to(columns if widths is None else np.asarray(widths), cells.shape[:-2])[..., None]
    states = np.arange(rows * columns)
    row, column = np.broadcast_arrays(states // widths, states % widths)
    kinds = kinds_at(cells, row, column)
    successors, features = [], []
    for down, right in MOVES:
        target_row, target_column = row + down, column + right
        inside = (target_row >= 0) & (target_row < rows) & (target_column >= 0) & (target_column < widths)
        reached = kinds_at(cells, np.clip(target_row, 0, rows - 1), np.clip(target_column, 0, columns - 1))
        free = inside & (reached != HOUSE)
        successors.append(np.where(free, target_row * widths + target_column, states))
        features.append(np.where(free[..., None], LANDING[reached], BUMPING[kinds]).astype(np.float64))
    ends = TERMINAL_KINDS[kinds] | (kinds == HOUSE)
    moves = np.stack(successors, -1)[..., None]
    return TabularMDP(
        np.where(ends[..., None, None], states[:, None, None], moves),
        np.ones(moves.shape),
        np.where(ends[..., None, None, None], 0.0, np.stack(features, -2)[..., None, :]),
        ends,
        ~ends / (~ends).sum(-1, keepdims=True),
    )


def kinds_at(cells: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Returns the kinds of cells at the rows and columns of states, shape (..., S); beyond the last row lie houses."""
    rows, columns = cells.shape[-2:]
    flat = np.where(row < rows, row, 0) * columns + column
    kinds = np.take_along_axis(cells.reshape(*cells.shape[:-2], rows * columns), flat, -1)
    return np.where(row < rows, kinds, HOUSE)
