"""Mountain car: swing up a hill in little time and with little thrust."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from prefront.envs.mountain_car_plans import PLANS, front_of, load_plans, replay, starts_of
from prefront.system.checks import check_discount
from prefront.tasks.environment import Environment
from prefront.tasks.rendering import GOLD, ROCK, WATER, draw_grid

LEFTMOST, RIGHTMOST, GOAL, TOP_SPEED = -1.2, 0.6, 0.5, 0.07
REVERSE, COAST, FORWARD = 0, 1, 2
SPEED_SCALE = 15.0
PICTURE_ROWS, PICTURE_COLUMNS = 30, 60


class Params(NamedTuple):
    """Thrust and gravity per step squared, and the velocity that must be reached at the goal."""

    force: float | jax.Array = 0.001
    gravity: float | jax.Array = 0.0025
    goal_velocity: float | jax.Array = 0.0


class State(NamedTuple):
    """Position and velocity, float32 scalars."""

    position: jax.Array
    velocity: jax.Array


class MOMountainCar(Environment):
    """A car too weak to climb a hill rocks back and forth until its swing carries it up.

    ## Description
    Moore's (1990) mountain car with the objectives of Vamplew et al. (2011), "Empirical Evaluation Methods for
    Multiobjective Reinforcement Learning Algorithms": time, and how often the engine thrusts in reverse and forward.

    ## Observation Space
    `Box((-1.2, -0.07), (0.6, 0.07), (2,), float32)`: position and velocity.

    ## Action Space
    `Discrete(3)`: 0 reverse, 1 coast, 2 forward.

    ## Rewards
    `time`: -1 per step, 0 for the step that reaches the goal. `reverse`: -1 for action 0. `forward`: -1 for action 2.
    With `merge_move_penalty` the last two become `move`: -1 for either. With `remove_move_penalty` they are left out.
    With `add_speed_objective` the last objective is `speed`: 15 times the absolute velocity, 0 to 1.05.

    ## Starting State
    Position uniform in [-0.6, -0.4), velocity 0.

    ## Episode End
    Terminates at position 0.5 or beyond with at least `goal_velocity`. Truncates after 200 steps.

    ## Arguments
    `add_speed_objective`, `remove_move_penalty`, `merge_move_penalty`: False by default; removal wins over merging.
    `goal_velocity`: 0 by default.

    ## Best Known Front
    A policy sees where it starts, and nothing is random after that: its return is a mean over starts of what an action
    sequence earns from each. Such means of many choices form a convex set (Lyapunov's theorem), so the Pareto front of
    deterministic policies is the boundary of a convex set, has no finite number of points, and is its own coverage set.
    The front here holds points of it that are attained: for each of a lattice of weights, the policy that looks up the
    interval of 0.01 it starts in and follows the best of the plans stored for that interval. A search by value
    iteration on a grid at discount 0.99 and by edits of its plans found them (`benchmarks/search_mountain_car.py`);
    those that are best at 0.95 or 1 were kept as well. Returns are means over 320 evenly spread starts. A car that
    never moves waits for ever, -100 at discount 0.99; episodes that are cut after 200 steps show -86.6. Below discount
    0.95 an arrival is hardly worth a thrust. With the speed objective or another `goal_velocity` it is unknown.

    ## Version History
    v0: transitions equal MO-Gymnasium 1.3.2's `mo-mountaincar-v0`, and with the arguments its `-3d`, `-timemove` and
    `-timespeed` variants, to float32: from equal states to 2e-7. MO-Gymnasium computes in float64; of 100,000
    episodes from equal starts with equal actions, which mostly push along the velocity, 6 ended at another step, and 99
    % of positions agreed to 2e-6. Known difference: the reward space allows for the time reward of 0 at the goal.
    """

    discount = 0.99
    max_episode_steps = 200

    def __init__(
        self,
        add_speed_objective: bool = False,
        remove_move_penalty: bool = False,
        merge_move_penalty: bool = False,
        goal_velocity: float = 0.0,
    ) -> None:
        moves = () if remove_move_penalty else ("move",) if merge_move_penalty else ("reverse", "forward")
        self.objective_names = ("time", *moves, *(("speed",) if add_speed_objective else ()))
        self.goal_velocity = goal_velocity
        self.front_kind = "unknown" if add_speed_objective or goal_velocity else "best known"
        self._plan_rewards: list[np.ndarray] | None = None
        super().__init__()
        low, high = np.array([[LEFTMOST, -TOP_SPEED], [RIGHTMOST, TOP_SPEED]], np.float32)
        self.observation_space = gym.spaces.Box(low, high)
        self.action_space = gym.spaces.Discrete(3)
        bounds = {"speed": (0.0, SPEED_SCALE * TOP_SPEED)}
        lowest, highest = np.array([bounds.get(name, (-1.0, 0.0)) for name in self.objective_names], np.float32).T
        self.reward_space = gym.spaces.Box(lowest, highest)
        self.reference_point = np.array([0.0 if name == "speed" else -200.0 for name in self.objective_names])

    def pareto_front(self, gamma: float | None = None) -> np.ndarray:
        """Returns points of the best known front, see the class's description.

        Raises:
            NotImplementedError: The front is unknown: speed is an objective, or `goal_velocity` is not 0.
        """
        if self.front_kind == "unknown":
            return super().pareto_front(gamma)
        if self._plan_rewards is None:
            plans = load_plans(PLANS, self.max_episode_steps)
            self._plan_rewards = replay(self, plans, starts_of(len(plans)))
        discount = check_discount(self.discount if gamma is None else gamma)
        return front_of(self._plan_rewards, self.objective_names, discount)

    def get_default_params(self, **kwargs: Any) -> Params:
        """Returns the published thrust and gravity."""
        return Params(goal_velocity=float(self.goal_velocity))

    def initial(self, rng: jax.Array, params: Any = None) -> State:
        """Draws a position near the valley's floor, at rest."""
        return State(jax.random.uniform(rng, minval=-0.6, maxval=-0.4), jnp.float32(0.0))

    def transition(self, state: State, action: jax.Array, rng: jax.Array, params: Any = None) -> State:
        """Returns where thrust and gravity take the car."""
        resolved = self.resolve(params)
        pull = (action - COAST) * resolved.force - jnp.cos(3 * state.position) * resolved.gravity
        velocity = jnp.clip(state.velocity + pull, -TOP_SPEED, TOP_SPEED)
        position = jnp.clip(state.position + velocity, LEFTMOST, RIGHTMOST)
        stopped = (position == jnp.float32(LEFTMOST)) & (velocity < 0)
        return State(position, jnp.where(stopped, 0.0, velocity))

    def observation(self, state: State, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns position and velocity."""
        return jnp.stack(state)

    def reward(
        self, state: State, action: jax.Array, next_state: State, rng: jax.Array, params: Any = None
    ) -> jax.Array:
        """Returns the rewards named by `objective_names`."""
        known = {
            "time": jnp.where(self.terminal(next_state, rng, params), 0.0, -1.0),
            "reverse": jnp.where(action == REVERSE, -1.0, 0.0),
            "forward": jnp.where(action == FORWARD, -1.0, 0.0),
            "move": jnp.where(action == COAST, 0.0, -1.0),
            "speed": SPEED_SCALE * jnp.abs(next_state.velocity),
        }
        return jnp.stack([known[name] for name in self.objective_names]).astype(jnp.float32)

    def terminal(self, state: State, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns whether the car is at the goal, fast enough."""
        return (state.position >= GOAL) & (state.velocity >= self.resolve(params).goal_velocity)

    def render_image(self, state: Any, render_state: Any, params: Any = None) -> tuple[Any, np.ndarray]:
        """Draws the hill, the goal and the car."""
        cell_width = (RIGHTMOST - LEFTMOST) / PICTURE_COLUMNS

        def cell(position: float) -> tuple[int, int]:
            height = 0.55 + 0.45 * np.sin(3 * position)
            column = min(int((position - LEFTMOST) / cell_width), PICTURE_COLUMNS - 1)
            return int((1 - 0.8 * height) * (PICTURE_ROWS - 1)), column

        colours = np.empty((PICTURE_ROWS, PICTURE_COLUMNS, 3))
        colours[:] = WATER
        for column in range(PICTURE_COLUMNS):
            surface, _ = cell(LEFTMOST + (column + 0.5) * cell_width)
            colours[surface + 1 :, column] = ROCK
        goal_row, goal_column = cell(GOAL)
        colours[goal_row - 2 : goal_row + 1, goal_column] = GOLD
        return render_state, draw_grid(colours, cell(float(state.position)), cell_pixels=10)
