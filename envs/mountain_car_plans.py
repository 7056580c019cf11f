"""The best known front of mountain car: stored action sequences for every place to start from."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prefront.pareto.indicators import non_dominated
from prefront.pareto.weights import simplex_lattice
from prefront.tasks.environment import Environment

PLANS = Path(__file__).parent / "data" / "mountain_car_best_known.json"
LETTERS = "rcf"
LOWEST_START, HIGHEST_START = -0.6, -0.4
STARTS_PER_CELL = 16
LATTICE = {1: 1, 2: 100, 3: 20}
RETURN_DECIMALS = 6


def load_plans(path: Path, steps: int) -> list[np.ndarray]:
    """Reads the plans of each cell of starts, int32 actions of shape (plans, steps), coasting after a plan's end."""
    return [np.stack([decode(plan, steps) for plan in cell.split()]) for cell in json.loads(path.read_text())["cells"]]


def decode(plan: str, steps: int) -> np.ndarray:
    """Turns for example "c3f20" (coast for 3 steps, thrust forward for 20) into actions, shape (steps,)."""
    actions = np.full(steps, LETTERS.index("c"), np.int32)
    end = 0
    for letter, number in re.findall(r"([rcf])(\d+)", plan):
        actions[end : end + int(number)] = LETTERS.index(letter)
        end += int(number)
    return actions


def encode(actions: np.ndarray) -> str:
    """Turns actions into runs, without the coasting at the end."""
    letters = "".join(LETTERS[action] for action in actions).rstrip("c")
    return re.sub(r"r+|c+|f+", lambda run: f"{run[0][0]}{len(run[0])}", letters) or "c1"


def starts_of(cells: int) -> np.ndarray:
    """Returns evenly spread starting positions, shape (cells, STARTS_PER_CELL), float32."""
    number = cells * STARTS_PER_CELL
    middles = LOWEST_START + (HIGHEST_START - LOWEST_START) * (np.arange(number) + 0.5) / number
    return middles.reshape(cells, STARTS_PER_CELL).astype(np.float32)


def replay(environment: Environment, plans: list[np.ndarray], starts: np.ndarray) -> list[np.ndarray]:
    """Follows the plans of every cell from all of its starts.

    Args:
        environment: The environment.
        plans: For each cell its plans, shape (plans, steps).
        starts: Starting positions, shape (cells, starts).

    Returns:
        For each cell the mean rewards of its plans, shape (plans, steps + 1, objectives), float64. The last entry is
        the share of starts from which the goal is not reached, in every objective.
    """
    most = max(len(cell) for cell in plans)
    table = np.stack([cell[np.arange(most) % len(cell)] for cell in plans])
    rewards = np.asarray(_follow(environment, table, starts), np.float64)
    return [found[: len(cell)] for found, cell in zip(rewards, plans, strict=True)]


@partial(jax.jit, static_argnums=0)
def _follow(environment: Environment, plans: jax.Array, starts: jax.Array) -> jax.Array:
    key = jax.random.key(0)

    def step(carried: tuple[Any, jax.Array], action: jax.Array) -> tuple[tuple[Any, jax.Array], jax.Array]:
        state, running = carried
        after = environment.transition(state, action, key)
        reward = jnp.where(running, environment.reward(state, action, after, key), 0.0)
        return (after, running & ~environment.terminal(after, key)), reward

    def episode(plan: jax.Array, start: jax.Array) -> jax.Array:
        begin = (environment.initial(key)._replace(position=start), jnp.bool_(True))
        (_, running), rewards = jax.lax.scan(step, begin, plan)
        return jnp.vstack([rewards, jnp.where(running, jnp.ones(environment.reward_dim), 0.0)])

    def cell(plans: jax.Array, starts: jax.Array) -> jax.Array:
        return jax.vmap(lambda plan: jax.vmap(lambda start: episode(plan, start))(starts).mean(axis=0))(plans)

    return jax.lax.map(lambda both: cell(*both), (plans, starts))


def returns_of(rewards: np.ndarray, names: tuple[str, ...], gamma: float) -> np.ndarray:
    """Returns the discounted returns of replayed plans, shape (plans, objectives); who never arrives waits for ever."""
    steps = rewards.shape[1] - 1
    total = np.einsum("t,pto->po", gamma ** np.arange(steps), rewards[:, :-1])
    share, waiting = rewards[:, -1], np.array([-1.0 if name == "time" else 0.0 for name in names])
    if gamma == 1.0:
        return np.where(share > 0, -np.inf, total)
    return total + share * waiting * gamma**steps / (1 - gamma)


def front_of(rewards: list[np.ndarray], names: tuple[str, ...], gamma: float) -> np.ndarray:
    """Returns the returns of policies that follow, for some weights, the best plan of the cell they start in.

    Args:
        rewards: As `replay` returns them.
        names: Names of the objectives.
        gamma: Discount in (0, 1].

    Returns:
        Return vectors, shape (points, objectives), float64, in lexicographic order.
    """
    weights = simplex_lattice(len(names), LATTICE[len(names)])
    # What weights neglect is not left to chance.
    weights = (1 - 1e-6) * weights + 1e-6 / len(names)
    chosen = [returns[best_plans(returns, weights)] for returns in (returns_of(one, names, gamma) for one in rewards)]
    points = np.unique(np.round(np.mean(chosen, axis=0), RETURN_DECIMALS), axis=0)
    return np.asarray(points[non_dominated(points)])


def best_plans(returns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns for each weights the number of the plan of largest weighted return."""
    return np.asarray((np.maximum(returns, -1e9) @ weights.T).argmax(axis=0))
