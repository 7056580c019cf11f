"""Best known fronts as data: action sequences that a search found, replayed for their returns at any discount."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prefront.system.checks import check_discount
from prefront.tasks.environment import Environment

RETURN_DECIMALS = 6


def load_plans(path: Path) -> tuple[np.ndarray, ...]:
    """Reads stored action sequences: a JSON object whose "actions" are strings with one digit per action.

    Returns:
        One int32 array of actions per plan, shape (steps,).
    """
    stored = json.loads(path.read_text())["actions"]
    return tuple(np.array([int(action) for action in plan], np.int32) for plan in stored)


def replay(environment: Environment, plans: Sequence[np.ndarray], samples: int = 1, params: Any = None) -> np.ndarray:
    """Follows every plan from the start of an episode, whatever it meets on the way.

    Args:
        environment: The environment.
        plans: Action sequences; what comes after the end of an episode is not counted.
        samples: Episodes per plan that are averaged: 1 where nothing is left to chance.
        params: The environment's parameters.

    Returns:
        Mean rewards, shape (plans, longest plan, objectives), float64; 0 after the end of an episode or plan. The
        random keys are fixed, so that the same call gives the same numbers.
    """
    lengths = np.array([len(plan) for plan in plans])
    actions = np.zeros((len(plans), lengths.max()), np.int32)
    for row, plan in zip(actions, plans, strict=True):
        row[: len(plan)] = plan

    def one(state: Any, ended: jax.Array, action: jax.Array, key: jax.Array) -> tuple[Any, jax.Array, jax.Array]:
        after = environment.transition(state, action, key, params)
        reward = environment.reward(state, action, after, key, params)
        return after, ended | environment.terminal(after, key, params), jnp.where(ended, 0.0, reward)

    # The samples share their keys across plans, which makes the plans' differences the more precise.
    of_samples = jax.vmap(one, in_axes=(0, 0, None, 0))
    of_plans = jax.vmap(of_samples, in_axes=(0, 0, 0, None))

    def step(carried: Any, given: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
        action, key = given
        state, ended = carried
        state, ended, reward = of_plans(state, ended, action, jax.random.split(key, samples))
        return (state, ended), reward.mean(axis=1)

    @jax.jit
    def follow(table: jax.Array) -> jax.Array:
        key_of_starts, *keys = jax.random.split(jax.random.key(0), table.shape[1] + 1)
        starts = jax.vmap(lambda key: environment.initial(key, params))(jax.random.split(key_of_starts, samples))
        states = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(table), *leaf.shape)), starts)
        ended = jnp.zeros((len(table), samples), bool)
        return jax.lax.scan(step, (states, ended), (table.T, jnp.stack(keys)))[1]

    rewards = np.swapaxes(np.asarray(follow(actions), np.float64), 0, 1)
    return np.where((np.arange(actions.shape[1]) < lengths[:, None])[:, :, None], rewards, 0.0)


def front_of_rewards(rewards: np.ndarray, gamma: float) -> np.ndarray:
    """Returns the non-dominated discounted returns of replayed plans, in lexicographic order.

    Args:
        rewards: Rewards as `replay` returns them, shape (plans, steps, objectives).
        gamma: Discount in (0, 1].

    Returns:
        Return vectors, shape (points, objectives), float64.
    """
    from prefront.pareto.indicators import non_dominated

    discounts = check_discount(gamma) ** np.arange(rewards.shape[1])
    returns = np.einsum("t,pto->po", discounts, rewards)
    # Plans of the same trip in another order differ in the last bits of float32.
    distinct = returns[np.unique(np.round(returns, RETURN_DECIMALS), axis=0, return_index=True)[1]]
    return distinct[non_dominated(np.round(distinct, RETURN_DECIMALS))]
