"""Breakable bottles: deliver two bottles fast, or one by one so that none falls on the way."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from prefront.tasks.finite import FiniteEnvironment
from prefront.tasks.rendering import FLOOR, GOLD, ROCK, WATER, draw_grid

LEFT, RIGHT, PICK_UP = 0, 1, 2
CAPACITY = 2
WANTED = 2


class Params(NamedTuple):
    """Probability of dropping a bottle per move with two, reward per step, reward per bottle delivered."""

    drop_probability: float | jax.Array
    time_penalty: float | jax.Array
    bottle_reward: float | jax.Array


class State(NamedTuple):
    """Where the carrier is, how many bottles it carries and has delivered, and how many lie on each tile; all int32."""

    location: jax.Array
    carrying: jax.Array
    delivered: jax.Array
    dropped: jax.Array


class BreakableBottles(FiniteEnvironment):
    """A carrier brings two bottles along a corridor; with both in hand it is quick, and may drop one.

    ## Description
    From Vamplew et al. (2021), "Potential-Based Multiobjective Reinforcement Learning Approaches to Low-Impact Agents
    for AI Safety", section 4.1.2. Bottles are taken at location 0 and delivered at the last location. A carrier of two
    that leaves a tile in between drops one there with some probability. What it has changed in the world counts as an
    objective of its own: a potential of -1 while any bottle lies on the floor.

    ## Observation Space
    `Dict`: `location` `Discrete(size)`; `bottles_carrying` and `bottles_delivered` `Discrete(3)`; `bottles_dropped`
    `MultiBinary(size - 2)`, for each tile between the ends whether any bottle lies there.

    ## Action Space
    `Discrete(3)`: 0 left, 1 right, 2 pick up a bottle, at location 0 or, if bottles are unbreakable, from the floor.

    ## Rewards
    `time`: `time_penalty` per step. `bottles`: `bottle_reward` per bottle delivered, up to two. `impact`: the change of
    the potential, -1 when the first bottle comes to lie on the floor, 1 when the last one is picked up.

    ## Starting State
    At the last location, with nothing carried, delivered or dropped.

    ## Episode End
    Terminates when two bottles are delivered. Truncates after 100 steps.

    ## Arguments
    `size`: number of locations, 5 by default, at least 3.
    `prob_drop`: probability of dropping a bottle, 0.1 by default.
    `time_penalty`: -1 by default, at most 0.
    `bottle_reward`: 25 by default, positive.
    `unbreakable_bottles`: whether dropped bottles can be picked up again, False by default.
    `counter_limit`: how far the bottles on one tile are counted; None for 1 where they break and 3 where they do not.
    Bottles can be dropped without end, so that only a limit makes the states finite. Where bottles break the limit
    changes nothing, because only whether any lies there matters. Where they do not, it matters to who takes ever more
    bottles from location 0 and litters one tile with more than the limit, which no Pareto-optimal policy does:
    with two in play, a bottle on the way costs one action to pick up as one at location 0 does, is carried less far
    and clears the floor. A limit of 33 covers whatever 100 steps can do.

    ## Best Known Front
    The exact convex coverage set: 3 points at discount 0.99, each Pareto-optimal and the return of a stationary policy.
    It is also the whole Pareto set of deterministic policies at discount 1. Below that the Pareto set holds more points
    between them, of policies that wait before a risk so that the impact counts less, and it is not finite: because
    bottles fall at random, a policy may choose among ever rarer contingencies, each at its own small price. So
    `max_hypervolume` is a lower bound of what such policies reach together, and a tight one: no policy at all, drawing
    its actions or not, gets beyond the convex hull of these points, whose hypervolume is 1.0 % larger at discount 0.99
    and at most 1.2 % larger at 0.95 and 0.9. What a deterministic front lacks of the truth is less than that.

    ## Version History
    v0: transitions equal MO-Gymnasium 1.3.2's `breakable-bottles-v0`. Known differences: `bottles_dropped` tells
    whether bottles lie on a tile, as that observation space and documentation say, where MO-Gymnasium returns the
    counts, which leave the space; the reward space allows for the impact of 1 of unbreakable bottles; `counter_limit`
    is our own.
    """

    objective_names = ("time", "bottles", "impact")
    discount = 0.99
    max_episode_steps = 100
    front_kind = "best known"

    def __init__(
        self,
        size: int = 5,
        prob_drop: float = 0.1,
        time_penalty: float = -1.0,
        bottle_reward: float = 25.0,
        unbreakable_bottles: bool = False,
        counter_limit: int | None = None,
    ) -> None:
        if size < 3:
            raise ValueError(f"size must be at least 3, got {size!r}.")
        if not 0.0 <= prob_drop <= 1.0:
            raise ValueError(f"prob_drop must lie in [0, 1], got {prob_drop!r}.")
        if time_penalty > 0:
            raise ValueError(f"time_penalty must be at most 0, got {time_penalty!r}.")
        if bottle_reward <= 0:
            raise ValueError(f"bottle_reward must be positive, got {bottle_reward!r}.")
        if counter_limit is not None and counter_limit < 1:
            raise ValueError(f"counter_limit must be at least 1, got {counter_limit!r}.")
        self.size = size
        self.prob_drop, self.time_penalty, self.bottle_reward = prob_drop, time_penalty, bottle_reward
        self.unbreakable_bottles = unbreakable_bottles
        self.counter_limit = counter_limit or (3 if unbreakable_bottles else 1)
        super().__init__()
        self.observation_space = gym.spaces.Dict(
            {
                "location": gym.spaces.Discrete(size),
                "bottles_carrying": gym.spaces.Discrete(CAPACITY + 1),
                "bottles_delivered": gym.spaces.Discrete(WANTED + 1),
                "bottles_dropped": gym.spaces.MultiBinary(size - 2),
            }
        )
        self.action_space = gym.spaces.Discrete(3)
        low = np.array([time_penalty, 0.0, -1.0], np.float32)
        high = np.array([time_penalty, WANTED * bottle_reward, float(unbreakable_bottles)], np.float32)
        self.reward_space = gym.spaces.Box(low, high)
        self.reference_point = np.array([min(self.max_episode_steps * time_penalty, -1.0), 0.0, -1.0])

    def get_default_params(self, **kwargs: Any) -> Params:
        """Returns the probability and the rewards of the arguments."""
        return Params(float(self.prob_drop), float(self.time_penalty), float(self.bottle_reward))

    def initial_outcomes(self, params: Any = None) -> tuple[jax.Array, State]:
        """Returns the carrier at the last location with nothing done."""
        nothing = jnp.zeros(1, jnp.int32)
        floor = jnp.zeros((1, self.size - 2), jnp.int32)
        return jnp.ones(1), State(jnp.full(1, self.size - 1, jnp.int32), nothing, nothing, floor)

    def outcomes(self, state: State, action: jax.Array, params: Any = None) -> tuple[jax.Array, State]:
        """Returns what an action leads to if no bottle falls, and if one does."""
        step = jnp.where(action == LEFT, -1, jnp.where(action == RIGHT, 1, 0))
        location = jnp.clip(state.location + step, 0, self.size - 1)
        tile = jnp.arange(1, self.size - 1) == state.location
        in_danger = jnp.any(tile) & (action != PICK_UP) & (state.carrying == CAPACITY)
        risk = jnp.where(in_danger, self.resolve(params).drop_probability, 0.0)

        may_pick = (action == PICK_UP) & (state.carrying < CAPACITY)
        from_source = may_pick & (state.location == 0)
        from_floor = may_pick & tile & (state.dropped > 0) & self.unbreakable_bottles
        kept = state.carrying + from_source + jnp.any(from_floor)

        arrived = (action == RIGHT) & (location == self.size - 1) & (state.location != location)
        carrying = jnp.stack([kept, kept - in_danger])
        delivered = jnp.minimum(state.delivered + jnp.where(arrived, carrying, 0), WANTED)
        fallen = jnp.minimum(state.dropped + (tile & in_danger), self.counter_limit)
        return jnp.stack([1.0 - risk, risk]), State(
            jnp.stack([location, location]).astype(jnp.int32),
            jnp.where(arrived, 0, carrying).astype(jnp.int32),
            delivered.astype(jnp.int32),
            jnp.stack([state.dropped - from_floor, fallen]).astype(jnp.int32),
        )

    def observation(self, state: State, rng: jax.Array, params: Any = None) -> dict[str, jax.Array]:
        """Returns location, bottles carried and delivered, and on which tiles any lie."""
        return {
            "location": state.location,
            "bottles_carrying": state.carrying,
            "bottles_delivered": state.delivered,
            "bottles_dropped": (state.dropped > 0).astype(jnp.int8),
        }

    def reward(
        self, state: State, action: jax.Array, next_state: State, rng: jax.Array, params: Any = None
    ) -> jax.Array:
        """Returns (time penalty, reward for bottles delivered, change of the potential)."""
        resolved = self.resolve(params)
        brought = resolved.bottle_reward * (next_state.delivered - state.delivered)
        impact = jnp.any(state.dropped > 0).astype(jnp.int32) - jnp.any(next_state.dropped > 0)
        return jnp.stack([jnp.asarray(resolved.time_penalty), brought, impact]).astype(jnp.float32)

    def terminal(self, state: State, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns whether two bottles are delivered."""
        return state.delivered == WANTED

    def pareto_front(self, gamma: float | None = None) -> np.ndarray:
        """Returns the coverage set: Pareto-optimal points, all of them at discount 1 only, see the class's description.

        Args:
            gamma: Discount in (0, 1]; the evaluation discount by default.

        Returns:
            Mutually non-dominated return vectors, shape (points, 3), float64, in lexicographic order.
        """
        return self.coverage_set(gamma)

    def coverage_set(self, gamma: float | None = None) -> np.ndarray:
        """Returns the exact convex coverage set, see `prefront.exact.linear_support`."""
        from prefront.exact.linear_support import linear_support

        return self._cached(
            "coverage_set", gamma, lambda discount: linear_support(self.enumeration().table, discount).points
        )

    def render_image(self, state: Any, render_state: Any, params: Any = None) -> tuple[Any, np.ndarray]:
        """Draws the corridor from source to goal, how many bottles lie where, and the carrier with its own."""
        colours = np.empty((2, self.size, 3))
        colours[:] = FLOOR
        colours[1] = ROCK
        colours[0, 0], colours[0, -1] = WATER, GOLD
        labels = {(0, 0): "source", (0, self.size - 1): f"goal {int(state.delivered)}"}
        for tile in np.flatnonzero(state.dropped):
            colours[1, tile + 1] = WATER
            labels[1, int(tile) + 1] = str(int(state.dropped[tile]))
        labels[0, int(state.location)] = str(int(state.carrying))
        return render_state, draw_grid(colours, (0, int(state.location)), labels)
