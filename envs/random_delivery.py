"""Random delivery tasks: the random MDPs of the study of regret preferences, hundreds of them in one batch."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from prefront.envs.delivery import (
    COIN,
    GOAL,
    HOUSE,
    MOVES,
    ROAD,
    ROADBLOCK,
    SHEEP,
    Delivery,
    drive,
    features_of_step,
    grid_table,
    kinds_at,
)
from prefront.exact.mdp import expected_rewards, optimal_policy, solve
from prefront.exact.tables import TabularMDP
from prefront.system.checks import nearest_names
from prefront.system.compilation import jit

FAMILIES = ("deterministic", "risky", "lottery")
HEIGHTS, WIDTHS = (3, 6, 10, 15), (5, 6, 10)
SHAPE = (max(HEIGHTS), max(WIDTHS))
GOAL_REWARDS, SHEEP_REWARDS, ROADBLOCK_REWARDS = (0, 1, 5, 10, 50), (-5, -10, -50, -100), (-2, -5, -10)
# Shares in tenths: roadblocks are redrawn until they fit beside the sheep, then coins until they fit beside both.
SHEEP_TENTHS, ROADBLOCK_TENTHS, COIN_TENTHS = (0, 1, 3), (0, 1, 5, 8), (0, 1, 2)
# Probability of a risky outcome where there is one, and that a pair which could have one is proposed for it.
RISK, PROPOSED = 0.1, 0.5
LOTTERY_SIZE, LOTTERY_SHEEP_TENTHS = 5, (1, 3)
# On both sides of 150, from which on a lottery is worth more than the goal.
LOTTERY_WINS = (1, 10, 50, 100, 200, 500, 1000)
HALVINGS = 6


class Params(NamedTuple):
    """One map in the corner of a 15 x 10 array, and the second outcome that moves have in the stochastic families.

    Attributes:
        cells: Kinds of cells, HOUSE outside the map, shape (15, 10), int32.
        width: Columns of the map, int32.
        chance: Probability of the second outcome, shape (15, 10, 4); None in the deterministic family, as the next two.
        target: Where the second outcome leads to, shape (15, 10, 4, 2), int32.
        features: What the second outcome yields, shape (15, 10, 4, 6).
    """

    cells: jax.Array
    width: jax.Array
    chance: Any = None
    target: Any = None
    features: Any = None


class RandomDelivery(Delivery):
    """A delivery map drawn at random: its size, what lies on it, and for evaluation what that is worth.

    ## Description
    The random MDPs of "Models of human preference for learning reward functions" (Knox et al., 2024, arXiv 2206.02231):
    3, 6, 10 or 15 rows, 5, 6 or 10 columns, shares of sheep {0, .1, .3}, roadblocks {0, .1, .5, .8} and coins
    {0, .1, .2} that add up to less than 1, one goal. All maps are padded to 15 x 10, so that a batch of different tasks
    is one `jax.vmap` over params.

    ## Observation Space
    `Box(0, (14, 9), (2,), int32)`: row and column.

    ## Action Space
    `Discrete(4)`: 0 up, 1 down, 2 left, 3 right. A move off the map leaves the driver in place.

    ## Rewards
    The six features of `prefront/Delivery-v0`: gas, goal, sheep, coin, roadblock, mud (there is none). `generate` also
    draws the weights of the true reward, which the environment does not keep: gas -1, goal {0, 1, 5, 10, 50}, sheep
    {-5, -10, -50, -100}, coin 1, roadblock {-2, -5, -10}.

    ## Starting State
    Uniform over the cells that are no sheep or goal.

    ## Episode End
    Terminates at the goal or a sheep. Truncates after 1000 steps.

    ## Arguments
    `family`: "deterministic" (default). "risky": with probability 0.1 some moves that no optimal policy makes
    reach the goal, some moves onto coins meet two roadblocks instead, and some moves to the goal end in the worst cell;
    the optimal actions are those of the deterministic map in every state, which is enforced. "lottery": 5 x 5, a move
    onto a sheep yields the feature coin instead of sheep with probability 0.5; weights -1, 50, -50, r_win, 0, 0 with
    r_win {1, 10, 50, 100, 200, 500, 1000}.
    `seed`: draws the default map, 0 by default.

    ## Exact Answer
    `optimal_return(weights)`, and with `table()` all of `prefront.exact.mdp`, for one map or a batch.

    ## Version History
    v0: first version. The published generator does not check that the risky family keeps the optimal policy.
    """

    def __init__(self, family: str = "deterministic", seed: int = 0) -> None:
        if family not in FAMILIES:
            raise ValueError(f"No family {family!r} of random delivery tasks. {nearest_names(family, list(FAMILIES))}")
        self.family, self.seed = family, seed
        super().__init__()
        self.reward_space = gym.spaces.Box(np.zeros(6, np.float32), np.array([1, 1, 1, 1, 2, 1], np.float32))

    def get_default_params(self, **kwargs: Any) -> Params:
        """Returns the map of this seed."""
        return jax.tree.map(lambda leaf: leaf[0], generate(jax.random.key(self.seed), 1, self.family)[0])

    def initial_outcomes(self, params: Any = None) -> tuple[jax.Array, jax.Array]:
        """Returns all cells, those where an episode can go on equally likely."""
        probabilities, places = super().initial_outcomes(params)
        return probabilities, jnp.pad(places, ((0, 0), (0, 1)))

    def outcomes(self, state: jax.Array, action: jax.Array, params: Any = None) -> tuple[jax.Array, jax.Array]:
        """Returns the move as meant and, where there is one, the second outcome; a state's last entry says which."""
        params = self.resolve(params)
        meant = jnp.append(drive(params.cells, state[:2], action), 0)
        if params.chance is None:
            return jnp.ones(1), meant[None]
        chance = params.chance[state[0], state[1], action]
        other = jnp.append(params.target[state[0], state[1], action], 1)
        return jnp.stack([1 - chance, chance]), jnp.stack([meant, other])

    def reward(
        self,
        state: jax.Array,
        action: jax.Array,
        next_state: jax.Array,
        rng: jax.Array,
        params: Any = None,
    ) -> jax.Array:
        """Returns the six features of a step."""
        params = self.resolve(params)
        meant = features_of_step(params.cells, state[:2], next_state[:2])
        if params.chance is None:
            return meant
        return jnp.where(next_state[2] == 1, params.features[state[0], state[1], action], meant)

    def table(self, params: Any = None) -> TabularMDP:
        """Writes the dynamics out; state number = row * own width + column.

        Args:
            params: One map, or a batch of maps on a leading axis.

        Returns:
            S = 150 states of which those beyond rows * columns are padding, A = 4, K = 1 or for stochastic families 2,
            d = 6, float64.
        """
        return _table(self.resolve(params))


def generate(key: jax.Array, count: int, family: str = "deterministic") -> tuple[Params, np.ndarray]:
    """Draws random delivery tasks.

    Args:
        key: A random key; the same key draws the same maps for the deterministic and the risky family.
        count: How many, M.
        family: "deterministic", "risky" or "lottery".

    Returns:
        Params with a leading axis M, and the weights of the true rewards, shape (M, 6), float64.
    """
    if family not in FAMILIES:
        raise ValueError(f"No family {family!r} of random delivery tasks. {nearest_names(family, list(FAMILIES))}")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}.")
    # Drawn in powers of two, since every new number costs a compilation.
    keys = jax.random.split(key, 1 << (count - 1).bit_length())
    drawn = (_draw_lotteries if family == "lottery" else _draw_maps)(keys)
    params, numbers = jax.tree.map(lambda leaf: leaf[:count], drawn)
    weights = np.asarray(numbers, np.float64)
    if family == "risky":
        params = _add_risks(params, weights, np.asarray(_draw_proposals(keys))[:count])
    return params, weights


def draw_map(key: jax.Array) -> tuple[Params, jax.Array]:
    """Draws one deterministic task; pure, so `jax.jit(jax.vmap(draw_map))` draws many.

    Returns:
        Params and the weights of the true reward, shape (6,), float32.
    """
    keys = jax.random.split(key, 10)
    height, width = (_choose(keys[i], options) for i, options in enumerate((HEIGHTS, WIDTHS)))
    sheep = _choose(keys[2], SHEEP_TENTHS)
    blocks = _choose_below(keys[3], ROADBLOCK_TENTHS, 10 - sheep)
    coins = _choose_below(keys[4], COIN_TENTHS, 10 - sheep - blocks)
    cells = _lay(keys[5], height, width, ((SHEEP, sheep), (ROADBLOCK, blocks), (COIN, coins)))
    goal, hit, block = (
        _choose(keys[6 + i], options) for i, options in enumerate((GOAL_REWARDS, SHEEP_REWARDS, ROADBLOCK_REWARDS))
    )
    zero = jnp.int32(0)
    return Params(cells, width), jnp.stack([zero - 1, goal, hit, zero + 1, block, zero]).astype(jnp.float32)


def draw_lottery(key: jax.Array) -> tuple[Params, jax.Array]:
    """Draws one task of the lottery family; returns what `draw_map` does."""
    for_sheep, for_cells, for_win = jax.random.split(key, 3)
    size = jnp.int32(LOTTERY_SIZE)
    cells = _lay(for_cells, size, size, ((SHEEP, _choose(for_sheep, LOTTERY_SHEEP_TENTHS)),))
    rows, columns = (part.astype(jnp.int32) for part in jnp.indices(SHAPE))
    moves = jax.vmap(partial(drive, cells), (None, 0))
    target = jax.vmap(jax.vmap(moves, (0, None)), (0, None))(jnp.stack([rows, columns], -1), jnp.arange(len(MOVES)))
    is_lottery = cells[target[..., 0], target[..., 1]] == SHEEP
    win = jnp.broadcast_to(jnp.eye(6)[3], (*SHAPE, 4, 6))
    weights = jnp.array([-1.0, 50.0, -50.0, 0.0, 0.0, 0.0]).at[3].set(_choose(for_win, LOTTERY_WINS))
    return Params(cells, size, jnp.where(is_lottery, 0.5, 0.0), target, win), weights


def _choose(key: jax.Array, options: tuple[int, ...]) -> jax.Array:
    return jax.random.choice(key, jnp.array(options, jnp.int32))


def _choose_below(key: jax.Array, options: tuple[int, ...], bound: jax.Array) -> jax.Array:
    """Draws uniformly among the options below a bound, which is what redrawing until one fits amounts to."""
    fitting = jnp.array(options) < bound
    return jnp.array(options, jnp.int32)[jax.random.categorical(key, jnp.where(fitting, 0.0, -jnp.inf))]


def _lay(key: jax.Array, height: jax.Array, width: jax.Array, tenths: tuple[tuple[int, jax.Array], ...]) -> jax.Array:
    """Lays kinds of cells, by their rounded-down shares, on random cells of a map, and the goal on any one."""
    for_order, for_goal = jax.random.split(key)
    rows, columns = jnp.indices(SHAPE)
    inside = ((rows < height) & (columns < width)).ravel()
    size = height * width
    order = jnp.argsort(jnp.where(inside, jax.random.uniform(for_order, inside.shape), 2.0))
    rank = jnp.arange(inside.size)
    laid, begin = jnp.where(rank < size, ROAD, HOUSE), jnp.int32(0)
    for kind, share in tenths:
        end = begin + share * size // 10
        laid, begin = jnp.where((rank >= begin) & (rank < end), kind, laid), end
    laid = laid.at[jax.random.randint(for_goal, (), 0, size)].set(GOAL)
    return jnp.zeros(inside.size, jnp.int32).at[order].set(laid.astype(jnp.int32)).reshape(SHAPE)


# Compiles in under half the time, draws the same and as fast.
_draw_maps = jit(jax.vmap(draw_map), fusion_emitters=False)
_draw_lotteries = jit(jax.vmap(draw_lottery), fusion_emitters=False)


@partial(jit, fusion_emitters=False)
@jax.vmap
def _draw_proposals(key: jax.Array) -> jax.Array:
    """Returns numbers in [0, 1) by which risks are proposed, shape (states, actions)."""
    return jax.random.uniform(jax.random.fold_in(key, 1), (SHAPE[0] * SHAPE[1], len(MOVES)))


def _add_risks(params: Params, weights: np.ndarray, proposals: np.ndarray) -> Params:
    """Adds second outcomes to deterministic maps, as many as leave the optimal actions of every state unchanged.

    Risks of moves that no optimal policy makes matter to no value, so each is decided by itself. The others are tested
    together: a map whose optimal actions change keeps a random half of them, again and again, and at last none.
    """
    width = np.asarray(params.width)
    cells, base = np.asarray(params.cells), grid_table(np.asarray(params.cells), width)
    solution = solve(base, expected_rewards(base, weights), Delivery.discount)
    successor, live = base.successors[..., 0], ~base.terminal
    gain = base.rewards[..., 0, :]
    optimal = _optimal_actions(solution.action_values)
    goal = np.argmax(kinds_at(cells, *_places(width)) == GOAL, 1)
    worst = np.argmin(np.where(live, solution.values, np.inf), 1)
    onto_coin, onto_goal = gain[..., 3] > 0, gain[..., 1] > 0

    lucky = (1 - RISK) * solution.action_values + RISK * weights[:, None, None, 1]
    harmless = lucky < solution.values[..., None] - 1e-6 * (1 + np.abs(solution.values[..., None]))
    proposed = (proposals < PROPOSED) & live[..., None]
    teleports = proposed & ~onto_coin & ~onto_goal & ~optimal & harmless
    losses = proposed & (onto_coin | onto_goal)
    target = np.where(onto_coin, successor, np.where(onto_goal, worst[:, None, None], goal[:, None, None]))
    yields = np.where(
        onto_coin[..., None], [1, 0, 0, 0, 2, 0], np.where(onto_goal[..., None], np.eye(6)[0], np.eye(6)[1])
    )

    for halving in range(HALVINGS + 1):
        risky = _with_second_outcome(base, np.where(teleports | losses, RISK, 0.0), target, yields)
        found = _optimal_actions(solve(risky, expected_rewards(risky, weights), Delivery.discount).action_values)
        changed = ((found != optimal) & live[..., None]).any((1, 2))
        if not changed.any():
            break
        share = PROPOSED * 0.5 ** (halving + 1) if halving < HALVINGS - 1 else 0.0
        losses[changed] &= proposals[changed] < share
    return _as_params(params, np.where(teleports | losses, RISK, 0.0), target, yields)


def _optimal_actions(action_values: np.ndarray) -> np.ndarray:
    return optimal_policy(action_values) > 0


def _places(width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns row and column of every state number, which for padding lie beyond the map."""
    states = np.arange(SHAPE[0] * SHAPE[1])
    return states // width[..., None], states % width[..., None]


def _with_second_outcome(base: TabularMDP, chance: np.ndarray, target: np.ndarray, features: np.ndarray) -> TabularMDP:
    """Adds the second outcome to tables of shape (..., S, A, 1)."""
    chance = np.where(base.terminal[..., None], 0.0, chance)
    return base._replace(
        successors=np.stack([base.successors[..., 0], np.where(chance > 0, target, base.successors[..., 0])], -1),
        probabilities=np.stack([1 - chance, chance], -1),
        rewards=np.stack([base.rewards[..., 0, :], np.where(chance[..., None] > 0, features, 0.0)], -2),
    )


def _as_params(params: Params, chance: np.ndarray, target: np.ndarray, features: np.ndarray) -> Params:
    """Lays second outcomes out by row and column instead of state number."""
    width = np.asarray(params.width)[:, None, None]
    row, column = np.indices(SHAPE)
    state = np.where(column < width, row * width + column, SHAPE[0] * SHAPE[1] - 1)
    batch = np.arange(len(width))[:, None, None]
    where = np.asarray(params.cells) != HOUSE
    target = target[batch, state]
    places = np.stack([target // width[..., None], target % width[..., None]], -1)
    return params._replace(
        chance=jnp.asarray(np.where(where[..., None], chance[batch, state], 0.0), jnp.float32),
        target=jnp.asarray(np.where(where[..., None, None], places, 0), jnp.int32),
        features=jnp.asarray(features[batch, state], jnp.float32),
    )


def _table(params: Params) -> TabularMDP:
    cells, width = np.asarray(params.cells), np.asarray(params.width)
    base = grid_table(cells, width)
    if params.chance is None:
        return base
    row, column = _places(width)
    row = np.minimum(row, SHAPE[0] - 1)
    at = (row, column) if cells.ndim == 2 else (np.arange(len(cells))[:, None], row, column)
    target = np.asarray(params.target)[at]
    # Probabilities are stored as float32; the tables hold the decimals that were meant.
    chance = np.round(np.asarray(params.chance, np.float64)[at], 6)
    number = target[..., 0] * width[..., None, None] + target[..., 1]
    return _with_second_outcome(base, chance, number, np.asarray(params.features, np.float64)[at])
