"""Searches the best known front of mountain car: `python benchmarks/search_mountain_car.py --seed 0`.

The starts are cut into cells. For each of many weights, value iteration on a grid of positions and velocities gives a
policy, whose actions from starts in a cell become candidate plans of that cell. Edits of the best plans join them, and
every plan that is best in its cell for some weights is kept. The result is written to
`envs/data/mountain_car_best_known.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from prefront.system.runtime import use_compilation_cache, use_one_thread

use_one_thread()
use_compilation_cache()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import prefront  # noqa: E402
from prefront.envs.mountain_car import COAST, FORWARD, LEFTMOST, REVERSE, RIGHTMOST, TOP_SPEED, State  # noqa: E402
from prefront.envs.mountain_car_plans import (  # noqa: E402
    PLANS,
    best_plans,
    encode,
    front_of,
    replay,
    returns_of,
    starts_of,
)
from prefront.pareto.indicators import hypervolume  # noqa: E402
from prefront.pareto.weights import simplex_lattice  # noqa: E402

ENV = prefront.make("MOMountainCar-v0")
KEY = jax.random.key(0)
POSITIONS, VELOCITIES = 181, 161
SWEEPS = 700
CELLS, GUIDES = 20, 5
DISCOUNTS = (ENV.discount, 0.95, 1.0)
MOST_CANDIDATES = 640
STEPS = ENV.max_episode_steps
ACTIONS = jnp.arange(3)


def corners(state: State) -> tuple[jax.Array, jax.Array]:
    """Grid points around a state, as flat indices (4,), and their weights in bilinear interpolation."""
    x = (state.position - LEFTMOST) / (RIGHTMOST - LEFTMOST) * (POSITIONS - 1)
    v = (state.velocity / TOP_SPEED + 1) / 2 * (VELOCITIES - 1)
    i, j = jnp.clip(jnp.int32(x), 0, POSITIONS - 2), jnp.clip(jnp.int32(v), 0, VELOCITIES - 2)
    a, b = x - i, v - j
    here, right = i * VELOCITIES + j, (i + 1) * VELOCITIES + j
    places = jnp.stack([here, here + 1, right, right + 1])
    return places, jnp.stack([(1 - a) * (1 - b), (1 - a) * b, a * (1 - b), a * b])


def look_ahead(state: State, action: jax.Array) -> tuple[State, jax.Array, jax.Array]:
    """Next state, reward, and whether the episode goes on."""
    after = ENV.transition(state, action, KEY)
    return after, ENV.reward(state, action, after, KEY), ~ENV.terminal(after, KEY)


@jax.jit
def solve(weights: jax.Array) -> jax.Array:
    """Value iteration for weights (W, 3); returns values on the grid, shape (W, points)."""
    x = jnp.linspace(LEFTMOST, RIGHTMOST, POSITIONS)
    v = jnp.linspace(-TOP_SPEED, TOP_SPEED, VELOCITIES)
    grid = State(jnp.repeat(x, VELOCITIES), jnp.tile(v, POSITIONS))

    def prepare(state: State, action: jax.Array) -> Any:
        after, reward, goes_on = look_ahead(state, action)
        places, shares = corners(after)
        return places, ENV.discount * goes_on * shares, reward

    places, shares, rewards = jax.vmap(lambda state: jax.vmap(lambda a: prepare(state, a))(ACTIONS))(grid)

    def one(own: jax.Array) -> jax.Array:
        gain = rewards @ own

        def sweep(_: int, values: jax.Array) -> jax.Array:
            return (gain + (shares * values[places]).sum(-1)).max(1)

        return jax.lax.fori_loop(0, SWEEPS, sweep, jnp.zeros(len(grid.position)))

    return jax.lax.map(one, weights)


@jax.jit
def follow(values: jax.Array, weights: jax.Array, starts: jax.Array) -> jax.Array:
    """Greedy actions under values (W, points) from starts (N,), shape (W, N, steps); coasting after the end."""

    def act(own: jax.Array, preference: jax.Array, start: jax.Array) -> jax.Array:
        def advance(carry: tuple[State, jax.Array], _: None) -> Any:
            state, running = carry

            def worth(action: jax.Array) -> jax.Array:
                after, reward, goes_on = look_ahead(state, action)
                places, shares = corners(after)
                return preference @ reward + ENV.discount * goes_on * (shares * own[places]).sum()

            # Coasting first: where an action gains nothing, none is taken.
            choices = jnp.array([COAST, REVERSE, FORWARD])
            action = choices[jnp.argmax(jax.vmap(worth)(choices))]
            after, _, goes_on = look_ahead(state, action)
            return (after, running & goes_on), jnp.where(running, action, COAST)

        return jax.lax.scan(advance, (State(start, jnp.float32(0)), jnp.bool_(True)), None, STEPS)[1]

    return jax.vmap(lambda own, preference: jax.vmap(lambda start: act(own, preference, start))(starts))(
        values, weights
    )


def kept_plans(plans: list[np.ndarray], starts: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The plans of each cell that are best for some weights at some discount, and their rewards."""
    weights = simplex_lattice(3, 10)
    rewards = replay(ENV, plans, starts)
    kept = []
    for found in rewards:
        every = [best_plans(returns_of(found, ENV.objective_names, gamma), weights + 1e-6) for gamma in DISCOUNTS]
        kept.append(np.unique(np.concatenate(every)))
    return [cell[own] for cell, own in zip(plans, kept, strict=True)], [
        found[own] for found, own in zip(rewards, kept, strict=True)
    ]


def edited(plan: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One or two random edits: overwrite, insert or delete a short run of one action."""
    for _ in range(rng.integers(1, 3)):
        place, run = rng.integers(0, 140), int(rng.integers(1, 6))
        fill = np.full(run, rng.integers(3), np.int32)
        how = rng.integers(3)
        if how == 0:
            plan = np.concatenate([plan[:place], fill, plan[place + run :]])
        elif how == 1:
            plan = np.concatenate([plan[:place], fill, plan[place:]])[:STEPS]
        else:
            plan = np.concatenate([plan[:place], plan[place + run :], np.full(run, COAST, np.int32)])
    return plan[:STEPS]


def main() -> None:
    """Runs the search and stores the plans."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--divisions", type=int, default=7, help="of the simplex of weights for value iteration")
    parser.add_argument("--generations", type=int, default=30, help="of edits")
    parser.add_argument("--output", type=Path, default=PLANS)
    settings = parser.parse_args()
    rng = np.random.default_rng(settings.seed)
    starts = starts_of(CELLS)
    weights = simplex_lattice(3, settings.divisions)
    # Where time counts for little, waiting is best.
    weights = np.float32((1 - 3e-4) * weights[weights[:, 0] > 0.15] + 1e-4)
    guides = starts[:, np.linspace(0, starts.shape[1] - 1, GUIDES).astype(int)]
    found = np.asarray(follow(solve(weights), weights, guides.reshape(-1)))
    found = found.reshape(len(weights), CELLS, GUIDES, STEPS).swapaxes(0, 1).reshape(CELLS, -1, STEPS)
    wait = np.full((1, STEPS), COAST, np.int32)
    pool = [np.unique(np.concatenate([cell, wait]), axis=0) for cell in found]
    for generation in range(settings.generations + 1):
        pool, rewards = kept_plans(pool, starts)
        front = front_of(rewards, ENV.objective_names, ENV.discount)
        volume = float(hypervolume(front, ENV.reference_point))
        print(
            f"generation {generation}: {sum(map(len, pool))} plans, {len(front)} points, hypervolume {volume:.0f}, "
            f"{time.process_time():.0f} CPU-s",
            flush=True,
        )
        if generation < settings.generations:
            # A neighbour's plans may serve a cell as well.
            near = [np.concatenate(pool[max(i - 1, 0) : i + 2]) for i in range(CELLS)]
            pool = [
                np.concatenate([cell, around, *([edited(plan, rng)] for plan in rng.choice(cell, MOST_CANDIDATES))])[
                    :MOST_CANDIDATES
                ]
                for cell, around in zip(pool, near, strict=True)
            ]
    stored = {
        "environment": "prefront/MOMountainCar-v0",
        "search": f"benchmarks/search_mountain_car.py --seed {settings.seed} --divisions {settings.divisions} "
        f"--generations {settings.generations}",
        "discount": ENV.discount,
        "hypervolume": round(volume, 1),
        "cells": [" ".join(sorted(encode(plan) for plan in cell)) for cell in pool],
    }
    settings.output.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
