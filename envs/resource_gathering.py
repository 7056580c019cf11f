"""Resource gathering: bring gold and a diamond home past enemies who may strike."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from prefront.tasks.finite import FiniteEnvironment
from prefront.tasks.rendering import FLOOR, GOLD, WATER, draw_grid

SIZE = 5
MOVES = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]], np.int32)
HOME = (4, 2)
GOLD_CELL, DIAMOND_CELL = (0, 2), (1, 4)
ENEMIES = ((0, 3), (1, 2))
UNDERWAY, KILLED, RETURNED = 0, 1, 2
FOE = (205, 130, 120)


class Params(NamedTuple):
    """The probability that an enemy kills whoever enters its cell or stays there."""

    kill_probability: float | jax.Array


class State(NamedTuple):
    """Cell (2,), the two flags gold and diamond (2,), and the fate: 0 under way, 1 killed, 2 returned; all int32."""

    cell: jax.Array
    carried: jax.Array
    fate: jax.Array


class ResourceGathering(FiniteEnvironment):
    """A gatherer brings gold and a diamond home, past or around two enemies.

    ## Description
    From Barrett and Narayanan (2008), "Learning All Optimal Policies with Multiple Criteria", on a 5 x 5 map. Gold
    lies behind the enemies' cells; the way around them is longer, and so worth less under a discount.

    ## Observation Space
    `Box(0, (4, 4, 1, 1), (4,), int32)`: row, column, whether gold is carried, whether the diamond is.

    ## Action Space
    `Discrete(4)`: 0 up, 1 down, 2 left, 3 right. A move out of the map leaves the gatherer where it is.

    ## Rewards
    `safety`: -1 when killed, otherwise 0. `gold`, `diamond`: 1 on coming home with it, otherwise 0.

    ## Starting State
    Home, (4, 2), with nothing.

    ## Episode End
    Terminates on coming home, also when a first move out of the map leaves the gatherer at home, and when killed:
    each step that ends on an enemy's cell kills with probability 0.1. Truncates after 100 steps.

    ## Arguments
    None. `Params.kill_probability` varies the enemies.

    ## Exact Answer
    Set-valued dynamic programming. At discount 0.99 the front has 3 points of hypervolume 5.4147 against (-1, -1, -2),
    among them a walk of 18 steps that brings both home past no enemy and returns (0, 0.99**17, 0.99**17).

    ## Version History
    v0: transitions equal MO-Gymnasium 1.3.2's `resource-gathering-v0`. Known differences: the observation space is
    tight, where MO-Gymnasium's reaches 5 everywhere; its `pareto_front` discounts the reward of step T by gamma**T in
    place of gamma**(T - 1) and lacks the walk of 18 steps.
    """

    objective_names = ("safety", "gold", "diamond")
    discount = 0.99
    max_episode_steps = 100

    def __init__(self) -> None:
        super().__init__()
        most = np.array([SIZE - 1, SIZE - 1, 1, 1], np.int32)
        self.observation_space = gym.spaces.Box(np.zeros(4, np.int32), most, dtype=np.int32)
        self.action_space = gym.spaces.Discrete(4)
        self.reward_space = gym.spaces.Box(np.array([-1, 0, 0], np.float32), np.array([0, 1, 1], np.float32))
        self.reference_point = np.array([-1.0, -1.0, -2.0])

    def get_default_params(self, **kwargs: Any) -> Params:
        """Returns the published enemies, who kill with probability 0.1."""
        return Params(0.1)

    def initial_outcomes(self, params: Any = None) -> tuple[jax.Array, State]:
        """Returns the gatherer at home with nothing."""
        return jnp.ones(1), State(jnp.array([HOME], jnp.int32), jnp.zeros((1, 2), jnp.int32), jnp.zeros(1, jnp.int32))

    def outcomes(self, state: State, action: jax.Array, params: Any = None) -> tuple[jax.Array, State]:
        """Returns the cell reached, alive and killed."""
        cell = jnp.clip(state.cell + jnp.asarray(MOVES)[action], 0, SIZE - 1)
        carried = state.carried | jnp.stack([_is(cell, GOLD_CELL), _is(cell, DIAMOND_CELL)]).astype(jnp.int32)
        risk = jnp.where(_is(cell, ENEMIES[0]) | _is(cell, ENEMIES[1]), self.resolve(params).kill_probability, 0.0)
        fate = jnp.stack([jnp.where(_is(cell, HOME), RETURNED, UNDERWAY), KILLED]).astype(jnp.int32)
        return jnp.stack([1.0 - risk, risk]), State(jnp.stack([cell, cell]), jnp.stack([carried, carried]), fate)

    def observation(self, state: State, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns row, column and what is carried."""
        return jnp.concatenate([state.cell, state.carried])

    def reward(
        self, state: State, action: jax.Array, next_state: State, rng: jax.Array, params: Any = None
    ) -> jax.Array:
        """Returns (-1 when killed, gold brought home, diamond brought home)."""
        brought = (next_state.fate == RETURNED) * next_state.carried
        return jnp.stack([-1 * (next_state.fate == KILLED), brought[0], brought[1]]).astype(jnp.float32)

    def terminal(self, state: State, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns whether the gatherer was killed or came home."""
        return state.fate != UNDERWAY

    def render_image(self, state: Any, render_state: Any, params: Any = None) -> tuple[Any, np.ndarray]:
        """Draws home, the enemies, what is left to gather, and the gatherer."""
        colours = np.empty((SIZE, SIZE, 3))
        colours[:] = FLOOR
        labels = {HOME: "home"}
        for enemy in ENEMIES:
            colours[enemy] = FOE
            labels[enemy] = "enemy"
        for cell, name, colour, carried in zip(
            (GOLD_CELL, DIAMOND_CELL), ("gold", "gem"), (GOLD, WATER), state.carried, strict=True
        ):
            if not carried:
                colours[cell] = colour
                labels[cell] = name
        return render_state, draw_grid(colours, (int(state.cell[0]), int(state.cell[1])), labels)


def _is(cell: jax.Array, other: tuple[int, int]) -> jax.Array:
    return (cell[0] == other[0]) & (cell[1] == other[1])
