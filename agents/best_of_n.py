"""Best-of-n: draw n sequences from the reference policy, keep the one that the reward models like best.

The baseline of Gao, Schulman and Hilton (2022), "Scaling laws for reward model overoptimization": no training, one
parameter, and a KL known in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prefront.exact.kl_regularised import best_of_n_divergence, reference_policy, sample
from prefront.system.compilation import jit
from prefront.tasks.generation import GenerationTask

Scalarise = Callable[[jax.Array], jax.Array]


def _total(rewards: jax.Array) -> jax.Array:
    return rewards.sum(-1)


class BestOfN(NamedTuple):
    """Expected values of best-of-n for N values of n.

    Attributes:
        numbers: n, shape (N,).
        rewards: Expected rewards, shape (N, K).
        rewards_error: Their standard errors over pools, shape (N, K).
        gold: Expected gold, shape (N,).
        gold_error: Its standard error, shape (N,).
        divergence: ln n - (n - 1) / n, an upper bound of KL(best-of-n || reference), exact without ties, shape (N,).
        sequences: Reference sequences drawn in all.
    """

    numbers: np.ndarray
    rewards: np.ndarray
    rewards_error: np.ndarray
    gold: np.ndarray
    gold_error: np.ndarray
    divergence: np.ndarray
    sequences: int


def best_of_n(
    task: GenerationTask,
    key: jax.Array,
    numbers: Any,
    *,
    pool: int = 4096,
    pools: int = 8,
    scalarise: Scalarise = _total,
) -> BestOfN:
    """Estimates expected rewards and gold of best-of-n for many n at once, from the same sequences.

    Of a pool of m sequences, sorted by their scalarised reward, the i-th smallest is the best of a random subset of n
    with probability C(i - 1, n - 1) / C(m, n): averages over all subsets, without bias and without drawing one.

    Args:
        task: The task; its reference policy is a table.
        key: Random key.
        numbers: Values of n, each between 1 and `pool`.
        pool: Sequences per pool.
        pools: Independent pools, over which standard errors are taken; at least 2.
        scalarise: Maps rewards (m, K) to what the best is chosen by, shape (m,); their sum by default.

    Returns:
        The curve.

    Raises:
        ValueError: Some n lies outside 1 to `pool`, or there are fewer than two pools.
    """
    counts = np.atleast_1d(np.asarray(numbers))
    if counts.min() < 1 or counts.max() > pool:
        raise ValueError(f"n must lie in 1 to pool={pool}, got {counts.min()} to {counts.max()}.")
    if pools < 2:
        raise ValueError(f"Standard errors need at least 2 pools, got {pools}.")
    values = np.asarray(_curves(pool, pools, scalarise, task, key, counts.astype(np.float32)))
    mean, error = values.mean(0), values.std(0, ddof=1) / np.sqrt(pools)
    divergence = best_of_n_divergence(counts)
    return BestOfN(counts, mean[:, :-1], error[:, :-1], mean[:, -1], error[:, -1], divergence, pool * pools)


def subset_maximum_weights(pool: int, numbers: Any) -> jax.Array:
    """Returns the probability that the i-th smallest of a pool is the largest of n drawn from it, shape (N, pool)."""
    rank, n = jnp.arange(1.0, pool + 1), jnp.asarray(numbers, jnp.float32)[:, None]
    # From P(pool) = n / pool down by the logarithms of P(i) / P(i + 1) = (i - n + 1) / i; factorials of thousands would
    # leave no digits in float32.
    ratio = jnp.where(rank[:-1] >= n, jnp.log(jnp.maximum(rank[:-1] - n + 1, 1e-30) / rank[:-1]), -jnp.inf)
    below = jnp.cumsum(ratio[:, ::-1], axis=1)[:, ::-1]
    logs = jnp.log(n / pool) + jnp.concatenate([below, jnp.zeros_like(n)], axis=1)
    return jnp.exp(logs)


@partial(jit, fusion_emitters=False, static_argnums=(0, 1, 2))
def _curves(
    pool: int, pools: int, scalarise: Scalarise, task: GenerationTask, key: jax.Array, numbers: jax.Array
) -> jax.Array:
    """Expected rewards and gold, shape (pools, N, K + 1)."""
    policy = reference_policy(task.reference, task.length)
    weights = subset_maximum_weights(pool, numbers)

    def one_pool(key: jax.Array) -> jax.Array:
        sequences = sample(key, task.reference.initial, policy, pool)
        rewards = task.rewards(sequences)
        values = jnp.concatenate([rewards, task.gold(sequences)[:, None]], axis=1)
        return weights @ values[jnp.argsort(scalarise(rewards))]

    return jax.lax.map(one_pool, jax.random.split(key, pools))
