"""Nelder-Mead over thresholds: NM-PPO, which searches inside one run, and the same search with the exact optimum.

Moskovitz et al. (2024), arXiv 2310.04373, Section 5.3 and Algorithm 3. Thresholds are good when gold, measured on a
validation sample, is high at the policy that meets them. NM-PPO moves xi-PPO from each vertex to the next, starting at
the present policy, until every reward is within 5 % of its threshold or an eighth of the budget is spent. Thresholds
that no policy meets cost it their share of the budget, as they would where nobody knows which these are.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import scipy

from prefront.agents.constrained_rlhf import Trainer, TrainingResult
from prefront.agents.constrained_rlhf_settings import MethodSettings, TrainingSettings, method_settings
from prefront.agents.proxy_points import exact_sweep
from prefront.envs.token_task import TokenWorldSettings, World
from prefront.exact import kl_constrained
from prefront.preferences.models.sequences import linear_rewards

CLOSE, LARGEST_SHARE = 0.05, 1 / 8
CACHE_DIGITS = 6
LONGEST_SEARCH = 10**6


class BudgetSpentError(Exception):
    """Raised by an objective that can evaluate no more; the search ends with what it knows."""


@dataclasses.dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        best: The best point, shape (K,).
        value: Its value, as the search saw it: that of the best of many noisy ones flatters, so report a fresh one.
        points: All evaluated points in order, shape (N, K).
        values: Their values, shape (N,).
    """

    best: np.ndarray
    value: float
    points: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class ThresholdSearch:
    """What NM-PPO found.

    Attributes:
        search: Thresholds and their gold.
        result: The single run that was trained, with an evaluation after each vertex; with `test_sequences` its
            history has gold of sequences by which nothing was chosen.
        sequences: Sequences learned from, at each evaluation, shape (E,).
        evaluation_sequences: Sequences of validation, at each evaluation, shape (E,).
    """

    search: Search
    result: TrainingResult
    sequences: np.ndarray
    evaluation_sequences: np.ndarray


def nelder_mead(
    objective: Callable[[np.ndarray], float], simplex: Any, evaluations: int, tolerance: float = 1e-3
) -> Search:
    """Maximises a function without derivatives (Nelder and Mead, 1965).

    Args:
        objective: What is maximised; -inf marks points that are not feasible. No point is evaluated twice.
        simplex: K + 1 starting points, shape (K + 1, K).
        evaluations: Largest number of different points.
        tolerance: The search ends when the simplex is not larger in any coordinate.

    Returns:
        The best point and everything that was evaluated.

    Raises:
        ValueError: The simplex has the wrong shape or is flat.
    """
    start = np.asarray(simplex, np.float64)
    if start.ndim != 2 or start.shape[0] != start.shape[1] + 1:
        raise ValueError(f"A simplex of K + 1 points in K dimensions is needed, got shape {start.shape}.")
    if np.linalg.matrix_rank(start[1:] - start[0]) < start.shape[1]:
        raise ValueError(f"The starting simplex is flat: {start.tolist()}.")
    cache: dict[tuple[float, ...], float] = {}

    def value(point: np.ndarray) -> float:
        name = tuple(np.round(point, CACHE_DIGITS).tolist())
        if name not in cache:
            if len(cache) >= evaluations:
                raise BudgetSpentError
            cache[name] = float(objective(np.array(name)))
        return cache[name]

    # No values bound the search: it ends by its size, or when the budget is spent.
    bounds = {"xatol": tolerance, "fatol": np.inf, "maxiter": LONGEST_SEARCH, "maxfev": LONGEST_SEARCH}
    with contextlib.suppress(BudgetSpentError), np.errstate(invalid="ignore"):
        scipy.optimize.minimize(
            lambda point: -value(point), start[0], method="Nelder-Mead", options={"initial_simplex": start, **bounds}
        )
    points, values = np.array(list(cache)), np.array(list(cache.values()))
    if len(values) == 0:
        raise ValueError("The budget does not pay for a single evaluation.")
    best = int(np.argmax(values))
    return Search(points[best], float(values[best]), points, values)


def starting_simplex(settings: TokenWorldSettings, world: World, share: float = 0.15, size: float = 0.15) -> np.ndarray:
    """Returns K + 1 thresholds inside the reachable region, from the reachable range of each reward.

    The exact solver tells both, the range and the region. The first lies at `share` of the way from the mean of the
    reference policy (0) to the largest reward of each model alone, the others `size` further along one axis each; where
    policies cannot meet them together the simplex is moved towards the reference's own rewards, which are reachable,
    until they can.

    Raises:
        ValueError: The reward models are not linear, so that nothing is known about the region.
    """
    if settings.reward_model.kind != "linear":
        raise ValueError(f"The reachable region of {settings.reward_model.kind!r} reward models is not known.")
    rewards = linear_rewards(world.models)
    high = kl_constrained.reward_range(world.reference, rewards, settings.length)[:, 1]
    simplex = np.vstack([np.zeros(len(high)), np.eye(len(high))]) * size * high + share * high
    while not all(_reachable(settings, world, point) for point in simplex):
        simplex = simplex / 2
    return simplex


def search_exactly(
    settings: TokenWorldSettings,
    world: World,
    key: jax.Array,
    simplex: Any = None,
    evaluations: int = 24,
    samples: int = 2048,
) -> Search:
    """Searches thresholds with the exact optimum of xi-PPO in place of training.

    Args:
        settings: The world's settings.
        world: The world.
        key: Random key of the gold estimates; all share their random numbers.
        simplex: Starting thresholds, shape (K + 1, K); see `starting_simplex`.
        evaluations: Largest number of thresholds.
        samples: Sequences per gold estimate.
    """

    def gold_at(theta: np.ndarray) -> float:
        try:
            solved = kl_constrained.solve_equalities(
                world.reference, linear_rewards(world.models), theta, settings.length
            )
        except kl_constrained.UnreachableThresholdsError:
            return -np.inf
        return float(exact_sweep(settings, world, key, solved.multipliers[None], np.ones(1), samples).gold[0, 0])

    simplex = starting_simplex(settings, world) if simplex is None else simplex
    return nelder_mead(gold_at, simplex, evaluations)


def train_nm_ppo(
    settings: TokenWorldSettings,
    world: World,
    key: jax.Array,
    training: TrainingSettings | None = None,
    method: MethodSettings | None = None,
    simplex: Any = None,
    evaluations: int = 40,
    **options: Any,
) -> ThresholdSearch:
    """Runs NM-PPO: one run of xi-PPO whose thresholds are searched on the way.

    Args:
        settings: The world's settings.
        world: One world.
        key: Random key.
        training: `iterations` is the whole budget, search included; `evaluation_interval` how often it is looked
            whether thresholds are met; `evaluation_sequences` the validation sample, `test_sequences` another one,
            which is only reported.
        method: Settings of xi-PPO; its thresholds are replaced.
        simplex: Starting thresholds, shape (K + 1, K); see `starting_simplex`.
        evaluations: Largest number of vertices.
        **options: See `prefront.agents.constrained_rlhf.train`.

    Returns:
        The search, whose last part of the budget trains towards the best thresholds, and what it cost.

    Raises:
        ValueError: The method has no thresholds that must be met, or more than one world is given.
    """
    method = method_settings("xi_ppo") if method is None else method
    training = training or TrainingSettings(iterations=600)
    if method.kind != "xi_ppo":
        raise ValueError(f"NM-PPO moves between equalities: its method must be xi_ppo, got {method.kind}.")
    if np.ndim(world.reference.initial) != 1 or np.ndim(key) != 0:
        raise ValueError("NM-PPO takes one world and one key: each run searches its own thresholds.")
    start = starting_simplex(settings, world) if simplex is None else np.asarray(simplex, np.float64)
    first = dataclasses.replace(method, thresholds=start[0])
    trainer = Trainer(settings, world, first, key, training, check_reachable=False, **options)
    spent = 0
    # The last part of the budget is kept for the best thresholds.
    reserve = int(training.iterations * LARGEST_SHARE)
    trainer.measure()

    def go_to(theta: np.ndarray, most: int) -> float:
        nonlocal spent
        trainer.method = dataclasses.replace(trainer.method, thresholds=np.asarray(theta, np.float32)[None])
        used = 0
        while used < most:
            number = min(training.evaluation_interval, most - used)
            reached = trainer.advance(number)["rewards"][0].mean(0)
            used += number
            if np.all(np.abs(reached - theta) <= CLOSE * np.abs(theta)):
                break
        spent += used
        return float(trainer.measure()["gold"][0])

    def gold_at(theta: np.ndarray) -> float:
        left = training.iterations - reserve - spent
        if left <= 0:
            raise BudgetSpentError
        return go_to(theta, min(left, max(1, int(training.iterations * LARGEST_SHARE))))

    search = nelder_mead(gold_at, start, evaluations, tolerance=CLOSE)
    while spent < training.iterations:
        go_to(search.best, min(training.evaluation_interval, training.iterations - spent))
    result = trainer.result()
    sequences = result.history["sequences"][0]
    return ThresholdSearch(search, result, sequences, training.evaluation_sequences * np.arange(1, len(sequences) + 1))


def _reachable(settings: TokenWorldSettings, world: World, theta: np.ndarray) -> bool:
    try:
        kl_constrained.check_reachable(world.reference, linear_rewards(world.models), theta, settings.length, True)
    except kl_constrained.UnreachableThresholdsError:
        return False
    return True
