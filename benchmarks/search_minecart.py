"""Searches the best known front of the deterministic minecart: `python benchmarks/search_minecart.py --seed 0`.

A beam search over action sequences, level by level: at every step the states that differ in nothing that matters are
merged, and the most promising ones of every stratum (what is on board, where to go next, how much fuel may cost) go on.
Then an evolutionary search edits the sequences of the front. The map is symmetric, so that swapping left and right
swaps the two ores; only trips whose first mine is one of the first three are searched. The result is written to
`envs/data/minecart_deterministic_best_known.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from prefront.system.runtime import use_compilation_cache, use_one_thread

use_one_thread()
use_compilation_cache()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from moocore import is_nondominated  # noqa: E402

import prefront  # noqa: E402
from prefront.pareto.indicators import hypervolume  # noqa: E402

OUTPUT = Path(__file__).parents[1] / "envs" / "data" / "minecart_deterministic_best_known.json"
# The search prices fuel at the first discount; what is best at any of them is stored.
DISCOUNTS = (0.98, 0.9, 0.95, 0.99, 1.0)
GAMMA = DISCOUNTS[0]
LEVELS = 28
CHUNK = 16384
MIRROR = str.maketrans("12", "21")
FIRST_MINES = (0, 1, 2)
HOME = 5
# What an acceleration counts against a step, from haste to thrift.
THRIFT = (0.0, 0.3, 1.0, 4.0)
ENV = prefront.make("MinecartDeterministic-v0")
PARAMS = ENV.default_params


class Beam(NamedTuple):
    """States of one level with their discounted fuel, the state each came from and by which action."""

    state: Any
    fuel: np.ndarray
    parent: np.ndarray
    action: np.ndarray


def steps_and_pushes(distance: jax.Array, speed: jax.Array, thrift: float) -> jax.Array:
    """Optimistic cost of covering a distance: steps plus `thrift` per acceleration, over how often to accelerate."""
    costs = []
    for pushes in range(7):
        covered = 4 * pushes * speed + 0.0075 * (4 * pushes) * (4 * pushes + 1) / 2
        coasting = jnp.maximum(distance - covered, 0.0) / (4 * (speed + 0.03 * pushes) + 1e-3)
        costs.append(pushes + coasting + thrift * pushes)
    return jnp.stack(costs).min(axis=0)


def promise(state: Any) -> jax.Array:
    """Optimistic cost to reach each mine and home, shape (6 targets, thrifts)."""
    places = jnp.concatenate([PARAMS.mines, jnp.zeros((1, 2))])
    radii = jnp.array([0.14] * 5 + [0.15])
    dx, dy = places[:, 0] - state.x, places[:, 1] - state.y
    distance = jnp.hypot(dx, dy)
    heading = jnp.radians(5.0 + 10.0 * state.heading)
    away = jnp.abs((jnp.arctan2(dy, dx) - heading + jnp.pi) % (2 * jnp.pi) - jnp.pi)
    tolerance = jnp.where(distance > radii, jnp.arcsin(jnp.minimum(radii / distance, 1.0)), jnp.pi)
    turns = jnp.maximum(away - tolerance, 0.0) / jnp.radians(40.0)
    far = jnp.maximum(distance - radii, 0.0)
    return jnp.stack([turns + steps_and_pushes(far, state.speed, thrift) for thrift in THRIFT], axis=1)


@jax.jit
def expand(states: Any) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
    """All six actions in every state: next states (states, 6), rewards, costs to go, and whether anything changed."""

    def one(state: Any, action: jax.Array) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
        after = ENV.transition(state, action, jax.random.key(0))
        moved = (after.x != state.x) | (after.y != state.y) | (after.speed != state.speed)
        moved |= (after.heading != state.heading) & (action != 0)
        useful = moved & (action != 0) | (after.content.sum() > state.content.sum() + 1e-4)
        return after, ENV.reward(state, action, after, jax.random.key(0)), promise(after), useful

    return jax.vmap(lambda state: jax.vmap(partial(one, state))(jnp.arange(6)))(states)


def expand_all(states: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """`expand` in chunks of one size, so that it is compiled once."""
    number = len(states.x)
    padded = jax.tree.map(lambda leaf: np.resize(leaf, (-(-number // CHUNK) * CHUNK, *leaf.shape[1:])), states)
    pieces = [
        jax.device_get(expand(jax.tree.map(lambda leaf, i=i: leaf[i : i + CHUNK], padded)))
        for i in range(0, number, CHUNK)
    ]
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:number], *pieces)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), joined)


def choose(state: Any, fuel: np.ndarray, cost: np.ndarray, width: int, cells: int) -> np.ndarray:
    """The states that go on: merged where they hardly differ, then the best of every stratum and thrift."""
    load = np.rint(state.content * 50).astype(np.int64)
    kind = load[:, 0] * 100 + load[:, 1]
    key = kind
    grid = ((state.x, cells), (state.y, cells), (state.speed, 400), (state.heading + 40, 1))
    for part, scale in grid:
        size = 120 if scale == 1 else scale + 1
        key = key * size + np.rint(part * scale).astype(np.int64)
    order = np.lexsort((-fuel, key))
    kept = order[np.unique(key[order], return_index=True)[1]]
    full = state.content[kept].sum(axis=1) > 1.45
    empty = state.content[kept].sum(axis=1) < 0.01
    pushes = -fuel[kept] / 0.1
    chosen = []
    for one in np.unique(kind[kept]):
        members = np.flatnonzero(kind[kept] == one)
        targets = (HOME,) if full[members[0]] else FIRST_MINES if empty[members[0]] else range(6)
        for target in targets:
            for i, thrift in enumerate(THRIFT):
                score = cost[kept[members], target, i] + thrift * pushes[members] + 1e-3 * pushes[members]
                best = members[np.argpartition(score, width)[:width]] if len(members) > width else members
                chosen.append(kept[best])
    return np.unique(np.concatenate(chosen))


def beam_search(width: int, cells: int) -> list[str]:
    """Returns the sequences of the trips found, the cheapest for each load and number of steps."""
    start = jax.tree.map(lambda leaf: np.asarray(leaf)[None], ENV.initial(jax.random.key(0)))
    beams = [Beam(start, np.zeros(1), np.zeros(1, int), np.zeros(1, int))]
    trips: list[tuple[int, int, int]] = []
    for level in range(LEVELS):
        before = beams[-1]
        state, reward, cost, useful = expand_all(before.state)
        fuel = np.repeat(before.fuel, 6) + GAMMA**level * reward[:, 2]
        ended = np.flatnonzero(state.returned)
        sold = np.rint(reward[ended, :2] * 50).astype(np.int64) @ (1000, 1)
        order = np.lexsort((-fuel[ended], sold))
        trips += [(level, *divmod(int(ended[i]), 6)) for i in order[np.unique(sold[order], return_index=True)[1]]]
        alive = np.flatnonzero(useful & ~state.returned)
        going = jax.tree.map(lambda leaf, alive=alive: leaf[alive], state)
        chosen = alive[choose(going, fuel[alive], cost[alive], width, cells)]
        kept = jax.tree.map(lambda leaf, chosen=chosen: leaf[chosen], state)
        beams.append(Beam(kept, fuel[chosen], chosen // 6, chosen % 6))
        print(f"level {level}: {len(chosen)} states, {len(trips)} trips, {time.process_time():.0f} CPU-s", flush=True)
    return [trace(beams, *trip) for trip in trips]


def trace(beams: list[Beam], level: int, index: int, action: int) -> str:
    """The actions that lead to state number `index` of a level, and a last one."""
    actions = [action]
    for beam in beams[level:0:-1]:
        actions.append(int(beam.action[index]))
        index = int(beam.parent[index])
    return "".join(map(str, reversed(actions)))


@jax.jit
def follow(actions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns of action sequences (N, T) at every discount, and the number of steps until home (0: never)."""

    def one(carried: Any, action: jax.Array) -> tuple[Any, None]:
        state, total, t, length = carried
        after = ENV.transition(state, action, jax.random.key(0))
        reward = ENV.reward(state, action, after, jax.random.key(0))
        total += jnp.where(state.returned, 0.0, jnp.array(DISCOUNTS) ** t)[:, None] * reward
        length = jnp.where(after.returned & ~state.returned, t + 1, length)
        return (after, total, t + 1, length), None

    def episode(sequence: jax.Array) -> tuple[jax.Array, jax.Array]:
        begin = (ENV.initial(jax.random.key(0)), jnp.zeros((len(DISCOUNTS), 3)), jnp.int32(0), jnp.int32(0))
        (_, total, _, length), _ = jax.lax.scan(one, begin, sequence)
        return total, length

    return jax.vmap(episode)(actions)


def front_of(sequences: list[str]) -> tuple[list[str], np.ndarray]:
    """The sequences that are non-dominated at some discount, cut off at home, and their returns at the first one."""
    kept: list[str] = []
    returns = []
    for i in range(0, len(sequences), CHUNK):
        part = sequences[i : i + CHUNK]
        table = np.full((CHUNK, LEVELS + 10), 5, np.int32)
        for row, sequence in zip(table, part, strict=False):
            row[: len(sequence)] = np.frombuffer(sequence.encode(), np.uint8)[: len(row)] - 48
        total, length = map(np.asarray, follow(table))
        home = np.flatnonzero(length[: len(part)])
        kept += ["".join(map(str, table[j, : length[j]])) for j in home]
        returns.append(total[home].astype(float))
    points = np.concatenate(returns)
    best = np.zeros(len(kept), bool)
    for i in range(len(DISCOUNTS)):
        best |= is_nondominated(np.round(points[:, i], 6), maximise=True, keep_weakly=False)
    return [kept[i] for i in np.flatnonzero(best)], points[best, 0]


def edit(sequence: str, rng: np.random.Generator) -> str:
    """One to three random edits: replace, insert, delete, swap neighbours or move an action elsewhere."""
    actions = list(sequence)
    for _ in range(rng.integers(1, 4)):
        i, j = rng.integers(0, len(actions), 2)
        how = rng.integers(5)
        if how == 0:
            actions[i] = str(rng.integers(6))
        elif how == 1:
            actions.insert(i, str(rng.integers(6)))
        elif how == 2 and len(actions) > 2:
            del actions[i]
        elif how == 3:
            actions[i], actions[j] = actions[j], actions[i]
        else:
            actions.insert(j, actions.pop(i))
    return "".join(actions)


def main() -> None:
    """Runs the search and stores the front."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=int, default=4000, help="states kept per stratum and thrift")
    parser.add_argument("--cells", type=int, default=250, help="per coordinate: states in one cell are merged")
    parser.add_argument("--generations", type=int, default=12, help="of the evolutionary search")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    settings = parser.parse_args()
    rng = np.random.default_rng(settings.seed)
    found = beam_search(settings.width, settings.cells)
    found += [sequence.translate(MIRROR) for sequence in found]
    front, returns = front_of(found)
    print(f"beam: {len(front)} points, hypervolume {hypervolume(returns, ENV.reference_point):.3f}", flush=True)
    for generation in range(settings.generations):
        offspring = {edit(front[i], rng) for i in rng.integers(0, len(front), CHUNK // 2 - len(front))}
        mirrored = sorted(offspring | {sequence.translate(MIRROR) for sequence in offspring})
        front, returns = front_of(front + mirrored[: CHUNK - len(front)])
        if generation % 10 == 9:
            volume = hypervolume(returns, ENV.reference_point)
            spent = time.process_time()
            print(
                f"generation {generation}: {len(front)} points, hypervolume {volume:.3f}, {spent:.0f} CPU-s", flush=True
            )
    stored = {
        "environment": "prefront/MinecartDeterministic-v0",
        "search": f"benchmarks/search_minecart.py --seed {settings.seed} --width {settings.width} "
        f"--cells {settings.cells} --generations {settings.generations}",
        "discount": GAMMA,
        "hypervolume": round(float(hypervolume(returns, ENV.reference_point)), 4),
        "actions": sorted(front),
    }
    settings.output.write_text(json.dumps(stored, indent=1) + "\n")
    print(f"{len(front)} sequences, hypervolume {stored['hypervolume']}, {time.process_time():.0f} CPU-s")


if __name__ == "__main__":
    main()
