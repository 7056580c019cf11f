"""Proxy points: where more of a reward model begins to lower gold (Moskovitz et al., 2024, Sections 3 and 5).

An *independent* proxy point looks at one reward model alone: gold is smoothed over the values of that model in runs
that maximise it, and the highest place is taken. The *joint* one fits gold as a surface over the values of all models,
restricts it to the region that the runs visited (by a kernel density estimate) and takes its highest place; it differs
because the models are correlated. Both work on histories of training and on the exact path of tilted policies.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy

from prefront.compilation import jit
from prefront.exact.tilted import evaluated_path, tilted_path
from prefront.preferences.sequence_models import linear_rewards
from prefront.preferences.sequence_worlds import TokenWorldSettings, World, gold

GRID = 400
CANDIDATES = 4000
# Up to this many places one dense solve is cheaper than one small solve per candidate.
DENSE = 1000


class ProxyPoint(NamedTuple):
    """Where gold is highest.

    Attributes:
        rewards: Values of the reward models, shape (K,); of one model alone, shape (1,).
        gold: The fitted gold there.
    """

    rewards: np.ndarray
    gold: float


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


def independent_proxy_point(rewards: Any, gold_values: Any, bandwidth: float = 0.08) -> ProxyPoint:
    """Finds the value of one reward model beyond which gold falls.

    Args:
        rewards: Values of the model, any shape.
        gold_values: Gold at the same places.
        bandwidth: Width of the Gaussian kernel of the local linear fit, as a share of the visited range.

    Returns:
        The highest place of the fit.

    Raises:
        ValueError: The shapes differ, or fewer than four values are given.
    """
    x, y = np.ravel(np.asarray(rewards, np.float64)), np.ravel(np.asarray(gold_values, np.float64))
    _check(x, y)
    width = bandwidth * max(float(np.ptp(x)), 1e-12)
    grid = np.linspace(x.min(), x.max(), GRID)
    kernel = np.exp(-0.5 * ((grid[:, None] - x) / width) ** 2)
    offset = x - grid[:, None]
    s0, s1, s2 = (np.sum(kernel * offset**power, axis=1) for power in range(3))
    t0, t1 = kernel @ y, np.sum(kernel * offset * y, axis=1)
    determinant = s0 * s2 - s1**2
    # Where one value carries all the weight there is no slope to be fitted.
    local = np.where(
        determinant > 1e-9 * s0 * s0 * width**2, (s2 * t0 - s1 * t1) / np.maximum(determinant, 1e-300), t0 / s0
    )
    best = int(np.argmax(local))
    return ProxyPoint(grid[best : best + 1], float(local[best]))


def joint_proxy_point(
    rewards: Any, gold_values: Any, *, smoothing: float = 1.0, density_share: float = 0.1, seed: int = 0
) -> ProxyPoint:
    """Finds the values of K reward models at which the gold surface is highest inside the visited region.

    Args:
        rewards: Values of the models, shape (..., K).
        gold_values: Gold at the same places, shape (...).
        smoothing: Smoothing of the thin-plate surface, 0 interpolates; values are standardised first.
        density_share: The region is where the kernel density is at least this quantile of that at the visited places.
        seed: Seed of the candidate places drawn beside the visited ones.

    Returns:
        The highest place of the surface.

    Raises:
        ValueError: The shapes differ, or fewer than four places are given.
    """
    y = np.ravel(np.asarray(gold_values, np.float64))
    given = np.asarray(rewards, np.float64)
    x = given.reshape(-1, given.shape[-1])
    _check(x, y)
    if x.shape[1] == 1:
        return independent_proxy_point(x, y)
    centre, spread = x.mean(0), np.maximum(x.std(0), 1e-12)
    places = (x - centre) / spread
    # Runs that share a curve would make the kernel's covariance singular.
    blurred = np.random.default_rng(seed).normal(0, 0.02, places.shape) + places
    density = scipy.stats.gaussian_kde(blurred.T)
    candidates = np.vstack([places, density.resample(CANDIDATES, np.random.default_rng(seed)).T])
    inside = density(candidates.T) >= np.quantile(density(places.T), density_share)
    candidates = candidates[inside]
    surface = scipy.interpolate.RBFInterpolator(
        places, y, smoothing=smoothing, kernel="thin_plate_spline", neighbors=None if len(places) <= DENSE else 200
    )
    fitted = surface(candidates)
    best = int(np.argmax(fitted))
    return ProxyPoint(candidates[best] * spread + centre, float(fitted[best]))


def exact_sweep(
    settings: TokenWorldSettings,
    world: World,
    key: jax.Array,
    directions: Any,
    scales: Any,
    samples: int = 2048,
) -> Sweep:
    """Evaluates the tilted policies along rays of multipliers.

    Args:
        settings: The world's settings; its reward models must be linear.
        world: The world.
        key: Random key of the gold estimates.
        directions: Directions of the multipliers, shape (D, K): `np.eye(K)` for the models alone, ones for their sum.
        scales: Lengths along the rays, shape (N,), such as 0 and a geometric series up to about 8.
        samples: Sequences per gold estimate.

    Returns:
        The values.

    Raises:
        ValueError: The reward models are not linear.
    """
    if settings.reward_model.kind != "linear":
        raise ValueError(f"The exact path needs linear reward models, these are {settings.reward_model.kind!r}.")
    multipliers = np.asarray(directions, np.float32)[:, None] * np.asarray(scales, np.float32)[:, None]
    flat = multipliers.reshape(-1, multipliers.shape[-1])
    # One point at a time: sweeps of all sizes share one compiled program.
    points = [_point(settings.length, samples, world, key, one) for one in flat]
    path, mean, error = jax.tree.map(lambda *parts: np.concatenate(parts), *jax.device_get(points))
    shape = multipliers.shape[:2]
    rewards = path.rewards.reshape(multipliers.shape)
    return Sweep(multipliers, rewards, *(one.reshape(shape) for one in (path.divergence, mean, error)))


def exact_proxy_points(
    settings: TokenWorldSettings,
    world: World,
    key: jax.Array,
    *,
    rays: int = 9,
    scales: Any = None,
    samples: int = 2048,
) -> tuple[np.ndarray, ProxyPoint]:
    """Returns the independent proxy points (K,) and the joint one, from the exact path.

    Args:
        settings: The world's settings.
        world: The world.
        key: Random key of the gold estimates.
        rays: Directions between the axes that the surface is fitted on, in addition to the axes and their mean.
        scales: Lengths along the rays.
        samples: Sequences per gold estimate.
    """
    components = settings.components
    scales = np.concatenate([[0.0], np.geomspace(0.05, 8.0, 24)]) if scales is None else np.asarray(scales)
    drawn = np.random.default_rng(0).dirichlet(np.ones(components), rays)
    even = np.linspace(0, 1, rays + 2)[1:-1]
    inner = np.column_stack([even, 1 - even]) if components == 2 else drawn
    # Of two models the mean is one of the even directions.
    mean = np.full((int(components != 2), components), 1 / components)
    found = exact_sweep(settings, world, key, np.vstack([np.eye(components), mean, inner]), scales, samples)
    alone = [independent_proxy_point(found.rewards[k, :, k], found.gold[k]).rewards[0] for k in range(components)]
    spread = [_evenly_spaced(*ray) for ray in zip(found.rewards, found.gold, strict=True)]
    rewards, gold_values = (np.concatenate(part) for part in zip(*spread, strict=True))
    return np.array(alone), joint_proxy_point(rewards, gold_values)


@partial(jit, fusion_emitters=False, static_argnums=(0, 1))
def _point(length: int, samples: int, world: World, key: jax.Array, one: jax.Array) -> Any:
    rewards, multipliers = linear_rewards(world.models), one[None]
    path = tilted_path(world.reference, rewards, multipliers, length)
    judge = partial(gold, world)
    return path, *evaluated_path(key, world.reference, rewards, multipliers, length, judge, samples)


def _evenly_spaced(rewards: np.ndarray, gold_values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interpolates along a ray at equal distances in reward: crowded places would count as the only visited ones."""
    distance = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(rewards, axis=0), axis=1)))
    at = np.linspace(0.0, distance[-1], len(distance))
    every = [np.interp(at, distance, column) for column in (*rewards.T, gold_values)]
    return np.column_stack(every[:-1]), every[-1]


def _check(x: np.ndarray, y: np.ndarray) -> None:
    if len(x) != len(y):
        raise ValueError(f"Rewards and gold must belong together, got {len(x)} and {len(y)} values.")
    if len(y) < 4:
        raise ValueError(f"A proxy point needs at least four places, got {len(y)}.")
