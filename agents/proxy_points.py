"""Proxy points: where more of a reward model begins to lower gold (Moskovitz et al., 2024, Sections 3 and 5).

An *independent* proxy point looks at one reward model alone: of all policies that are tilted by it, the one of most
gold. The *joint* one is the policy of most gold among those that are tilted by all models; it differs because the
models are correlated. The paper smooths gold over what training runs happened to visit; here policies are the exact
optima of KL-regularised generation (`prefront.exact.kl_regularised`), and gold is maximised over their multipliers.

Rewards and divergences of these policies are exact. Gold is a network's judgement of whole sequences, whose
expectation has no closed form: it is the mean over sequences that are drawn from the exact policies, and so is known up
to a standard error, which is given.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy

from prefront.exact.kl_regularised import count_rewards, evaluated_path, sample, tilted_path, tilted_policy
from prefront.system.compilation import jit
from prefront.tasks.generation import GenerationTask, known_answer

# Lengths along the rays on which a climb begins, and from how many rays, the best ones, one begins.
STARTING_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
STARTS = 3
# How far one sample reaches, in standard deviations of the log-weights of its sequences.
REACH = 0.7
# Keeps steps finite where policies hardly vary any more; as a share of the rewards' variance under the reference, 1.
LEAST_VARIANCE = 0.01
# A climb ends where its sample promises less than this share of a standard error of gold.
LEAST_GAIN = 0.15
MAX_ROUNDS = 40
# So many times the sequences that tell which start leads highest are drawn at each step of the last climb.
LAST_CLIMB = 8


class ProxyPoint(NamedTuple):
    """Where gold is highest.

    Attributes:
        multipliers: Multipliers of the tilted policy there, shape (K,).
        rewards: Its exact expected rewards, shape (K,).
        gold: Its expected gold, estimated on sequences that the search did not see.
        gold_error: The estimate's standard error.
    """

    multipliers: np.ndarray
    rewards: np.ndarray
    gold: float
    gold_error: float


class Sweep(NamedTuple):
    """Exact values along rays of multipliers.

    Attributes:
        multipliers: Shape (directions, scales, K).
        rewards: Expected rewards, shape (directions, scales, K).
        divergence: KL to the reference, shape (directions, scales).
        gold: Gold estimated by sampling, shape (directions, scales).
        gold_error: Its standard errors.
    """

    multipliers: np.ndarray
    rewards: np.ndarray
    divergence: np.ndarray
    gold: np.ndarray
    gold_error: np.ndarray


def exact_sweep(task: GenerationTask, key: jax.Array, directions: Any, scales: Any, samples: int = 2048) -> Sweep:
    """Evaluates the tilted policies along rays of multipliers.

    Args:
        task: A task whose exact answer is known.
        key: Random key of the gold estimates.
        directions: Directions of the multipliers, shape (D, K): `np.eye(K)` for the models alone, ones for their sum.
        scales: Lengths along the rays, shape (N,), such as 0 and a geometric series up to about 8.
        samples: Sequences per gold estimate.

    Returns:
        The values.

    Raises:
        ValueError: No exact answer is known.
    """
    known_answer(task)
    multipliers = np.asarray(directions, np.float32)[:, None] * np.asarray(scales, np.float32)[:, None]
    flat = multipliers.reshape(-1, multipliers.shape[-1])
    # One point at a time: sweeps of all sizes share one compiled program.
    points = [_point(samples, task, key, one) for one in flat]
    path, mean, error = jax.tree.map(lambda *parts: np.concatenate(parts), *jax.device_get(points))
    shape = multipliers.shape[:2]
    rewards = path.rewards.reshape(multipliers.shape)
    return Sweep(multipliers, rewards, *(one.reshape(shape) for one in (path.divergence, mean, error)))


def exact_proxy_points(
    task: GenerationTask,
    key: jax.Array,
    *,
    rays: int = 9,
    samples: int = 2048,
    climbing_samples: int | None = None,
) -> tuple[np.ndarray, ProxyPoint]:
    """Returns the independent proxy points (K,) and the joint one: the maxima of gold over tilted policies.

    From the best points of several rays gold is climbed by trust regions: sequences drawn from the policy at hand,
    weighted by likelihood ratios, which are known exactly, give gold and its slope nearby; their highest place within
    reach is where the next sample is drawn. Multipliers of the joint point may have any sign. In small worlds, where
    all sequences can be enumerated, no policy of a fine grid has .01 more gold.

    Args:
        task: A task whose exact answer is known.
        key: Random key of the gold estimates.
        rays: Directions between the axes on which climbs may begin, in addition to the axes and their mean.
        samples: Sequences per gold estimate on the rays, and per step of the climbs from the best of them.
        climbing_samples: Sequences per step of the climb that goes on from the highest end, and of the final estimate;
            8 times `samples` by default.

    Returns:
        The value of each model at its own point, shape (K,), and the joint point.

    Raises:
        ValueError: No exact answer is known.
    """
    components = len(known_answer(task).offset)
    drawn = np.random.default_rng(0).dirichlet(np.ones(components), rays)
    even = np.linspace(0, 1, rays + 2)[1:-1]
    inner = np.column_stack([even, 1 - even]) if components == 2 else drawn
    # Of two models the mean is one of the even directions.
    mean = np.full((int(components != 2), components), 1 / components)
    axes = np.eye(components)
    found = exact_sweep(task, key, np.vstack([axes, mean, inner]), STARTING_SCALES, samples)
    climbing_samples = LAST_CLIMB * samples if climbing_samples is None else climbing_samples
    for_climb, for_gold = jax.random.split(key)
    climb = partial(_climb, climbing_samples, task, for_climb)
    highest = found.gold.argmax(1)
    starts = found.multipliers[np.arange(len(highest)), highest]
    best = np.argsort(-found.gold.max(1))[:STARTS]
    scout = partial(_climb, samples, task, for_climb)
    alone = [climb(scout(starts[k], axes[:, [k]])[0], axes[:, [k]])[0] for k in range(components)]
    top, _ = climb(max((scout(start, axes) for start in starts[best]), key=lambda end: end[1])[0], axes)
    ends = [_point(climbing_samples, task, for_gold, one) for one in (*alone, top)]
    path, gold_mean, gold_error = jax.tree.map(lambda *parts: np.concatenate(parts), *jax.device_get(ends))
    joint = ProxyPoint(top, path.rewards[-1].astype(np.float64), float(gold_mean[-1]), float(gold_error[-1]))
    return np.diag(path.rewards[:-1]).astype(np.float64), joint


def _climb(
    samples: int, task: GenerationTask, key: jax.Array, start: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, float]:
    """Maximises gold over multipliers start + directions @ u, and says how much of it a sample shows there."""
    tried, highest = np.asarray(start, np.float64), (np.asarray(start, np.float64), -np.inf)
    for _ in range(MAX_ROUNDS):
        sequences, every, golds = (np.asarray(leaf) for leaf in _drawn(samples, task, key, tried))
        rewards, golds = every.astype(np.float64) @ directions, golds.astype(np.float64)
        if golds.mean() <= highest[1]:
            break
        highest = tried, float(golds.mean())
        _, contexts = np.unique(sequences[:, 0], return_inverse=True)
        variance = np.cov(rewards, rowvar=False).reshape(2 * directions.shape[1:])
        lengths, axes = np.linalg.eigh(variance)
        steps = axes / np.sqrt(np.maximum(lengths, LEAST_VARIANCE))
        nearby = partial(_gold_nearby, rewards @ steps, golds, contexts)
        reach = [(-REACH, REACH)] * len(lengths)
        found = scipy.optimize.minimize(nearby, np.zeros(len(lengths)), jac=True, method="L-BFGS-B", bounds=reach)
        if -found.fun < highest[1] + LEAST_GAIN * golds.std() / np.sqrt(samples):
            break
        tried = tried + directions @ steps @ found.x
    return highest


def _gold_nearby(
    rewards: np.ndarray, golds: np.ndarray, contexts: np.ndarray, change: np.ndarray
) -> tuple[float, np.ndarray]:
    """Minus the expected gold where multipliers differ by `change` from those that sequences were drawn with; slope."""
    score = rewards @ change
    weight = np.exp(score - score.max())
    # Each context keeps its share: the policy does not choose it.
    share = (np.bincount(contexts) / np.bincount(contexts, weight))[contexts] * weight / len(golds)
    mean = (np.bincount(contexts, share * golds) / np.bincount(contexts, share))[contexts]
    return -float(share @ golds), -(share * (golds - mean)) @ rewards


@partial(jit, fusion_emitters=False, static_argnums=0)
def _drawn(samples: int, task: GenerationTask, key: jax.Array, multipliers: jax.Array) -> tuple[jax.Array, ...]:
    """Sequences of a tilted policy, their rewards and their gold."""
    rewards = known_answer(task)
    policy = tilted_policy(task.reference, rewards, multipliers.astype(rewards.offset.dtype), task.length)
    sequences = sample(key, task.reference.initial, policy, samples)
    return sequences, count_rewards(rewards, sequences), task.gold(sequences)


@partial(jit, fusion_emitters=False, static_argnums=0)
def _point(samples: int, task: GenerationTask, key: jax.Array, one: jax.Array) -> Any:
    rewards, multipliers = known_answer(task), one[None]
    path = tilted_path(task.reference, rewards, multipliers, task.length)
    return path, *evaluated_path(key, task.reference, rewards, multipliers, task.length, task.gold, samples)
