"""Minecart: drive out, dig two kinds of ore, bring them home, and spend little fuel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

from prefront.envs.minecart_configuration import CONFIGURATIONS, check_configuration
from prefront.system.checks import nearest_names
from prefront.tasks.environment import Environment, select
from prefront.tasks.known_fronts import front_of_rewards, load_plans, replay

MINE, LEFT, RIGHT, ACCELERATE, BRAKE, WAIT = range(6)
MINIMUM_SPEED = 0.001
MAXIMUM_SPEED = 1.0
FUEL_PER_FRAME = {"idle": -0.005, "mine": -0.05, "accelerate": -0.025}
# A heading counts tens of degrees from 5 degrees, so that it never drifts. Turns keep it in [0, 360) degrees, walls may
# push it out by some turns, where its sine differs in the last bits.
HEADINGS, START_HEADING = 36, 4
TURNS_BEYOND = 18
ORE_COLOURS = ((57, 112, 252), (137, 48, 182), (230, 150, 40), (60, 160, 90), (200, 60, 110))
PLANS = Path(__file__).parent / "data" / "minecart_deterministic_best_known.json"
PLANNED_FRAME_SKIP, SAMPLES = 4, 2048
HALF_ULP_BELOW_ONE = 2.0**-54
PICTURE_PIXELS, PICTURE_MARGIN = 480, 0.16


class Params(NamedTuple):
    """What a minecart task consists of, for M mines and n ores; positions are in the unit square.

    Attributes:
        mines: Positions of the mines, shape (M, 2).
        ore_means: Mean of the normal distribution of the ore dug in a frame, before it is cut off at 0, shape (M, n).
        ore_deviations: Its standard deviation, shape (M, n).
        capacity: How much ore the cart holds, over all ores.
        fuel: Fuel of a step with each action, negative, shape (6,).
        acceleration: What accelerating adds to the speed in a frame.
        deceleration: What braking takes from the speed in a frame.
        mine_radius: How near to a mine the cart can dig.
        home_radius: Radius of the base around (0, 0).
    """

    mines: jax.Array
    ore_means: jax.Array
    ore_deviations: jax.Array
    capacity: jax.Array
    fuel: jax.Array
    acceleration: jax.Array
    deceleration: jax.Array
    mine_radius: jax.Array
    home_radius: jax.Array


class State(NamedTuple):
    """Where the cart is, how fast it drives in which of 36 headings, what it carries, and whether it left and returned.

    Attributes:
        x: First coordinate, in [0, 1].
        y: Second coordinate, which grows downwards in pictures.
        x_rest: What `x` lacks for about 48 bits of precision.
        y_rest: The same for `y`.
        speed: Distance per frame.
        heading: Tens of degrees from 5 degrees, int32.
        content: Amount of each ore on board, shape (n,).
        departed: Whether the cart has left the base.
        returned: Whether it has come back, which ends the episode.
    """

    x: jax.Array
    y: jax.Array
    x_rest: jax.Array
    y_rest: jax.Array
    speed: jax.Array
    heading: jax.Array
    content: jax.Array
    departed: jax.Array
    returned: jax.Array


class Minecart(Environment):
    """A cart leaves its base, digs ores of different mixtures at five mines and sells them when it comes home.

    ## Description
    Introduced by Abels et al., "Dynamic Weights in Multi-Objective Deep Reinforcement Learning" (ICML 2019): long
    episodes, a sparse reward for the ores at the very end, and a dense one for fuel. Every action lasts four frames.

    ## Observation Space
    `Box(-1, 1, (5 + ores,), float32)`: x, y, speed, sine and cosine of the heading, and the load of each ore as a share
    of the capacity.

    ## Action Space
    `Discrete(6)`: 0 mine, 1 turn left by 40 degrees, 2 turn right, 3 accelerate, 4 brake, 5 wait. Mining needs a cart
    at rest within 0.14 of a mine; what exceeds the capacity is left, in proportion.

    ## Rewards
    One objective per ore (`ore_1`, `ore_2`): the load when the cart comes home, otherwise 0. `fuel`: -0.02 per step,
    -0.12 when accelerating, -0.22 when mining.

    ## Starting State
    At rest in the base's corner (0, 0), heading for (1, 1), empty.

    ## Episode End
    Terminates when the cart returns to within 0.15 of the corner after having left. Truncates after 1000 steps.

    ## Arguments
    `config`: "stochastic" (default), "deterministic", or a mapping with the keys of MO-Gymnasium's JSON files:
    `capacity`, `ore_cnt`, `mines` (each with `x`, `y` and `distributions`, a pair of mean and standard deviation per
    ore), and optionally `mine_cnt` and `ore_colors`. `frame_skip`: frames per action, 4 by default. Everything else,
    such as `acceleration`, can be changed in `default_params`, which is a pytree.

    ## Best Known Front
    The exact front is out of reach. Deterministic: the open-loop plans that a beam search found (the program is
    `benchmarks/search_minecart.py`), stored and replayed at the discount asked for; at 0.98 their hypervolume against
    (-1, -1, -200) is 762.66, where the front that MO-Gymnasium constructs has 723.05. Stochastic: the expected returns
    of the same plans, the mean of 2048 episodes each, with a standard error below 0.003 per objective. Policies that
    look at their load before driving home can do better. Other configurations: unknown.

    ## Version History
    v0: dynamics equal MO-Gymnasium 1.3.2's `minecart-v0` and `minecart-deterministic-v0`. Known differences: ores are
    drawn from the random key, where MO-Gymnasium draws from NumPy's global generator, which its `reset(seed)` does not
    seed; a configuration must say where its mines are, where MO-Gymnasium draws missing ones; the observation space
    follows the number of ores. Positions have about 48 bits, so that a cart which leaves a wall or the border of the
    base and returns to it exactly can be turned, or end the episode, a frame apart: 2.5 % of 3000 random episodes
    (mean length 161 steps) leave MO-Gymnasium's at some step, the others agree within 1e-5.
    """

    discount = 0.98
    max_episode_steps = 1000

    def __init__(self, config: str | Mapping[str, Any] = "stochastic", frame_skip: int = 4) -> None:
        if frame_skip != int(frame_skip) or frame_skip < 1:
            raise ValueError(f"frame_skip must be a whole number of at least 1, got {frame_skip!r}.")
        if isinstance(config, str) and config not in CONFIGURATIONS:
            raise ValueError(f"No minecart configuration {config!r}. {nearest_names(config, list(CONFIGURATIONS))}")
        self.config = CONFIGURATIONS[config] if isinstance(config, str) else check_configuration(config)
        self.frame_skip = int(frame_skip)
        published = isinstance(config, str) and self.frame_skip == PLANNED_FRAME_SKIP
        self.front_kind = "best known" if published else "unknown"
        self._plan_rewards: np.ndarray | None = None
        super().__init__()
        ores, capacity = self.config["ore_cnt"], self.config["capacity"]
        self.objective_names = (*(f"ore_{i + 1}" for i in range(ores)), "fuel")
        self.reference_point = np.array([-1.0] * ores + [-200.0])
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (5 + ores,), np.float32)
        self.action_space = gym.spaces.Discrete(6)
        most_fuel = math.ceil(-self.frame_skip * (FUEL_PER_FRAME["idle"] + FUEL_PER_FRAME["mine"]))
        self.reward_space = gym.spaces.Box(
            np.array([0.0] * ores + [-most_fuel], np.float32), np.array([capacity] * ores + [0.0], np.float32)
        )

    def pareto_front(self, gamma: float | None = None) -> np.ndarray:
        """Returns the best known front: the non-dominated returns of stored plans, see the class's description.

        Raises:
            NotImplementedError: The configuration or `frame_skip` is not one of the published ones.
        """
        if self.front_kind == "unknown":
            return super().pareto_front(gamma)
        if self._plan_rewards is None:
            samples = SAMPLES if np.any(self.default_params.ore_deviations) else 1
            self._plan_rewards = replay(self, load_plans(PLANS), samples)
        return front_of_rewards(self._plan_rewards, self.discount if gamma is None else gamma)

    def get_default_params(self, **kwargs: Any) -> Params:
        """Returns the parameters that the configuration describes."""
        mines = self.config["mines"]
        distributions = np.array([mine["distributions"] for mine in mines], np.float32)
        fuel = np.full(6, np.float32(self.frame_skip * FUEL_PER_FRAME["idle"]))
        fuel[MINE] += np.float32(self.frame_skip * FUEL_PER_FRAME["mine"])
        fuel[ACCELERATE] += np.float32(self.frame_skip * FUEL_PER_FRAME["accelerate"])
        return Params(
            mines=jnp.array([[mine["x"], mine["y"]] for mine in mines], jnp.float32),
            ore_means=jnp.asarray(distributions[:, :, 0]),
            ore_deviations=jnp.asarray(distributions[:, :, 1]),
            capacity=jnp.float32(self.config["capacity"]),
            fuel=jnp.asarray(fuel),
            acceleration=jnp.float32(0.0075),
            deceleration=jnp.float32(1.0),
            mine_radius=jnp.float32(0.14),
            home_radius=jnp.float32(0.15),
        )

    def initial(self, rng: jax.Array, params: Any = None) -> State:
        """Returns the one starting state."""
        ores = self.resolve(params).ore_means.shape[1]
        nothing = jnp.zeros((), jnp.float32)
        return State(
            x=nothing,
            y=nothing,
            x_rest=nothing,
            y_rest=nothing,
            speed=nothing,
            heading=jnp.int32(START_HEADING),
            content=jnp.zeros(ores, jnp.float32),
            departed=jnp.bool_(False),
            returned=jnp.bool_(False),
        )

    def transition(self, state: State, action: jax.Array, rng: jax.Array, params: Any = None) -> State:
        """Drives `frame_skip` frames, then digs for as many of them as the cart was at rest."""
        params = self.resolve(params)
        turn = jnp.where(action == LEFT, -1, jnp.where(action == RIGHT, 1, 0))
        push = jnp.where(action == ACCELERATE, params.acceleration, 0.0)
        push = jnp.where(action == BRAKE, -params.deceleration, push)

        def frame(_: int, carried: tuple[Any, ...]) -> tuple[Any, ...]:
            # The frame after the arrival still turns and accelerates the cart, and only then stops the step.
            (x, y, x_rest, y_rest, speed, heading), departed, returned, stopped, frames_at_rest = carried
            heading = jnp.where(stopped | (turn == 0), heading, (heading + turn) % HEADINGS)
            speed = jnp.where(stopped, speed, jnp.clip(speed + push, 0.0, MAXIMUM_SPEED))
            rests = speed < MINIMUM_SPEED
            frames_at_rest += rests & ~stopped
            stopped |= returned
            moving = (x, y, x_rest, y_rest, speed, heading)
            moving = select(rests | stopped, moving, _drive(*moving))
            at_home = moving[0] ** 2 + moving[1] ** 2 < params.home_radius**2
            returned |= at_home & departed & ~stopped
            departed |= ~at_home & ~stopped
            return moving, departed, returned, stopped, frames_at_rest

        moving = (state.x, state.y, state.x_rest, state.y_rest, state.speed, state.heading)
        carried = (moving, state.departed, state.returned, jnp.bool_(False), jnp.int32(0))
        # A loop, since XLA's fusion of unrolled frames computes early ones over and over.
        moving, departed, returned, _, frames_at_rest = jax.lax.fori_loop(0, self.frame_skip, frame, carried)
        content = jnp.where(returned & ~state.returned, 0.0, state.content)
        frames = jnp.where(action == MINE, frames_at_rest, 0)
        x, y, x_rest, y_rest, speed, heading = moving
        content = self._dig(x, y, content, frames, rng, params)
        return State(x, y, x_rest, y_rest, speed, heading, content, departed, returned)

    def _dig(
        self, x: jax.Array, y: jax.Array, content: jax.Array, frames: jax.Array, rng: jax.Array, params: Params
    ) -> jax.Array:
        # A cart that has come to rest stays there for the rest of a mining step, so one position serves all frames.
        nearest = jnp.full((), jnp.inf)
        mean = deviation = jnp.zeros_like(content)
        for i in range(params.mines.shape[0]):
            distance = (params.mines[i, 0] - x) ** 2 + (params.mines[i, 1] - y) ** 2
            nearer = distance < nearest
            nearest = jnp.where(nearer, distance, nearest)
            mean = jnp.where(nearer, params.ore_means[i], mean)
            deviation = jnp.where(nearer, params.ore_deviations[i], deviation)
        frames = jnp.where(nearest <= params.mine_radius**2, frames, 0)
        drawn = jnp.maximum(mean + deviation * jax.random.normal(rng, (self.frame_skip, *content.shape)), 0.0)
        for i in range(self.frame_skip):
            free = jnp.maximum(params.capacity - content.sum(), 0.0)
            total = drawn[i].sum()
            share = jnp.where(total > free, free / total, 1.0)
            content = jnp.where(i < frames, content + share * drawn[i], content)
        return content

    def observation(self, state: State, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns (x, y, speed, sine, cosine, load of each ore as a share of the capacity)."""
        way = _direction(state.heading)
        motion = jnp.stack([state.x, state.y, state.speed, way[1], way[0]])
        return jnp.concatenate([motion, jnp.minimum(state.content / self.resolve(params).capacity, 1.0)])

    def reward(
        self, state: State, action: jax.Array, next_state: State, rng: jax.Array, params: Any = None
    ) -> jax.Array:
        """Returns (each ore sold, fuel)."""
        sold = jnp.where(next_state.returned & ~state.returned, state.content, 0.0)
        return jnp.append(sold, self.resolve(params).fuel[action])

    def terminal(self, state: State, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns whether the cart has come home."""
        return state.returned

    def render_image(self, state: Any, render_state: Any, params: Any = None) -> tuple[Any, np.ndarray]:
        """Draws the base, the mines with their mixtures of ores, and the cart with its load."""
        params = self.resolve(params)
        given = self.config.get("ore_colors") or [ORE_COLOURS[i % len(ORE_COLOURS)] for i in range(len(state.content))]
        colours = [tuple(int(part) for part in colour) for colour in given]
        picture = Image.new("RGB", (PICTURE_PIXELS, PICTURE_PIXELS), (150, 150, 150))
        pen = ImageDraw.Draw(picture)
        pen.ellipse(_disc(0.0, 0.0, float(params.home_radius)), fill=(255, 70, 70))
        for (x, y), means in zip(np.asarray(params.mines), np.asarray(params.ore_means), strict=True):
            pen.ellipse(_disc(x, y, float(params.mine_radius)), fill=(120, 110, 100), outline=(60, 55, 50))
            start = -90.0
            for share, colour in zip(means / max(means.sum(), 1e-9), colours, strict=True):
                if share > 0:
                    pen.pieslice(_disc(x, y, float(params.mine_radius) / 2), start, start + 360 * share, fill=colour)
                start += 360 * share
        x, y, angle = float(state.x), float(state.y), math.radians(5 + 10 * int(state.heading))
        ahead = np.array([math.cos(angle), math.sin(angle)])
        aside = np.array([-ahead[1], ahead[0]])
        centre = np.array([x, y])
        nose, tail = centre + 0.06 * ahead, centre - 0.04 * ahead
        corners = [_pixel(*nose), _pixel(*(tail + 0.035 * aside)), _pixel(*(tail - 0.035 * aside))]
        pen.polygon(corners, fill=(250, 250, 250), outline=(20, 20, 20))
        for i, (amount, colour) in enumerate(zip(np.asarray(state.content), colours, strict=True)):
            left, bottom = _pixel(x, y)
            left, bottom = left - 16 + 12 * i, bottom - 22
            height = round(30 * float(amount) / float(params.capacity))
            pen.rectangle((left, bottom - 30, left + 10, bottom), outline=(20, 20, 20))
            if height:
                pen.rectangle((left, bottom - height, left + 10, bottom), fill=colour)
        return render_state, np.asarray(picture).copy()


def _pixel(x: float, y: float) -> tuple[int, int]:
    scale = PICTURE_PIXELS * (1 - 2 * PICTURE_MARGIN)
    return round(PICTURE_PIXELS * PICTURE_MARGIN + scale * x), round(PICTURE_PIXELS * PICTURE_MARGIN + scale * y)


def _disc(x: float, y: float, radius: float) -> tuple[int, int, int, int]:
    return (*_pixel(x - radius, y - radius), *_pixel(x + radius, y + radius))


def _drive(
    x: jax.Array, y: jax.Array, x_rest: jax.Array, y_rest: jax.Array, speed: jax.Array, heading: jax.Array
) -> tuple[jax.Array, ...]:
    """One frame of motion: a cart that pushes against a wall is turned by ten degrees and slides along it."""
    way = _direction(heading)
    step_x, step_y = speed * way[0], speed * way[1]
    low_x, high_x, low_y, high_y = x == 0, (x == 1) & (x_rest == 0), y == 0, (y == 1) & (y_rest == 0)
    slides_x = (high_x & (step_x > 0) | low_x & (step_x < 0)) & ~low_y & ~high_y & (jnp.abs(step_y) > MINIMUM_SPEED)
    slides_y = (high_y & (step_y > 0) | low_y & (step_y < 0)) & ~low_x & ~high_x & (jnp.abs(step_x) > MINIMUM_SPEED)
    # At a vertical wall a positive turn leads into the way the cart slides if both steps have one sign.
    sense = jnp.where((step_x > 0) == (step_y > 0), 1, -1)
    heading += jnp.where(slides_x, sense, 0) - jnp.where(slides_y, sense, 0)
    x, x_rest, covered_x, clipped_x = _advance(x, x_rest, step_x, speed * way[2])
    y, y_rest, covered_y, clipped_y = _advance(y, y_rest, step_y, speed * way[3])
    # Only a wall changes the speed, which is therefore exact everywhere else.
    speed = jnp.where(clipped_x | clipped_y, jnp.hypot(covered_x, covered_y), speed)
    return x, y, x_rest, y_rest, speed, heading


def _advance(x: jax.Array, rest: jax.Array, step: jax.Array, step_rest: jax.Array) -> tuple[jax.Array, ...]:
    """Adds a step to a coordinate by Knuth's two-sum, within walls; returns it, the way covered and whether cut short.

    A cart that leaves a wall and turns back lands within 1e-17 of it, and on which side decides whether the wall turns
    it: the low-order parts of the sines and cosines break such ties as double precision does.
    """
    total = x + step
    part = total - x
    rest_of_sum = rest + step_rest + ((x - (total - part)) + (step - part))
    new = total + rest_of_sum
    new_rest = rest_of_sum - (new - total)
    below, above = new <= 0, (new > 1) | ((new == 1) & (new_rest > -HALF_ULP_BELOW_ONE))
    wall = jnp.where(above, 1.0, 0.0)
    clipped = below | above
    covered = jnp.where(clipped, (wall - x) - rest, step)
    return jnp.where(clipped, wall, new), jnp.where(clipped, 0.0, new_rest), covered, clipped


def _direction(heading: jax.Array) -> jax.Array:
    return jnp.asarray(DIRECTIONS)[(heading + TURNS_BEYOND) % len(DIRECTIONS)]


def _directions() -> np.ndarray:
    """Cosine and sine of the headings from -18 to 53, and what their float32 values lack, shape (72, 4)."""
    angles = [(5 + 10 * heading) * math.pi / 180 for heading in range(-TURNS_BEYOND, HEADINGS + TURNS_BEYOND)]
    exact = np.array([[math.cos(angle), math.sin(angle)] for angle in angles])
    high = exact.astype(np.float32)
    return np.concatenate([high, (exact - high).astype(np.float32)], axis=1)


DIRECTIONS = _directions()
