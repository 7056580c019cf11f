"""NM-PPO: Nelder-Mead over thresholds inside one run of xi-PPO, and the same search with the exact optimum.

Moskovitz et al. (2024), arXiv 2310.04373, Section 5.3 and Algorithm 3. Thresholds are good when gold, measured on a
validation sample, is high at the policy that meets them. NM-PPO moves xi-PPO from each vertex to the next, starting at
the present policy, until every reward is within 5 % of its threshold or an eighth of the budget is spent. Thresholds
that no policy meets cost it their share of the budget, as they would where nobody knows which these are.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from prefront.agents.constrained_rlhf import Trainer, TrainingResult, TrainingSettings
from prefront.agents.constrained_rlhf_settings import MethodSettings, method_settings
from prefront.agents.proxy_points import exact_sweep
from prefront.exact import kl_constrained
from prefront.learning.nelder_mead import BudgetSpentError, Search, nelder_mead
from prefront.tasks.generation import GenerationTask, known_answer

CLOSE, LARGEST_SHARE = 0.05, 1 / 8


@dataclasses.dataclass(frozen=True)
class ThresholdSearch:
    """What NM-PPO found.

    Attributes:
        search: Thresholds and their gold.
        result: The single run that was trained, with an evaluation after each vertex; with `test_sequences` its
            history has gold of sequences by which nothing was chosen.
    """

    search: Search
    result: TrainingResult


def starting_simplex(task: GenerationTask, share: float = 0.15, size: float = 0.15) -> np.ndarray:
    """Returns K + 1 thresholds inside the reachable region, from the reachable range of each reward.

    The exact solver tells both, the range and the region. The first lies at `share` of the way from the mean of the
    reference policy (0) to the largest reward of each model alone, the others `size` further along one axis each; where
    policies cannot meet them together the simplex is moved towards the reference's own rewards, which are reachable,
    until they can.

    Raises:
        ValueError: No exact answer is known, so that nothing is known about the region.
    """
    high = kl_constrained.reward_range(task.reference, known_answer(task), task.length)[:, 1]
    simplex = np.vstack([np.zeros(len(high)), np.eye(len(high))]) * size * high + share * high
    while not all(_reachable(task, point) for point in simplex):
        simplex = simplex / 2
    return simplex


def search_exactly(
    task: GenerationTask, key: jax.Array, simplex: Any = None, evaluations: int = 24, samples: int = 2048
) -> Search:
    """Searches thresholds with the exact optimum of xi-PPO in place of training.

    Args:
        task: A task whose exact answer is known.
        key: Random key of the gold estimates; all share their random numbers.
        simplex: Starting thresholds, shape (K + 1, K); see `starting_simplex`.
        evaluations: Largest number of thresholds.
        samples: Sequences per gold estimate.
    """

    def gold_at(theta: np.ndarray) -> float:
        try:
            solved = kl_constrained.solve_equalities(task.reference, known_answer(task), theta, task.length)
        except kl_constrained.UnreachableThresholdsError:
            return -np.inf
        return float(exact_sweep(task, key, solved.multipliers[None], np.ones(1), samples).gold[0, 0])

    simplex = starting_simplex(task) if simplex is None else simplex
    return nelder_mead(gold_at, simplex, evaluations)


def train_nm_ppo(
    task: GenerationTask,
    key: jax.Array,
    training: TrainingSettings | None = None,
    method: MethodSettings | None = None,
    simplex: Any = None,
    evaluations: int = 40,
    **options: Any,
) -> ThresholdSearch:
    """Runs NM-PPO: one run of xi-PPO whose thresholds are searched on the way.

    Args:
        task: One task.
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
        ValueError: The method has no thresholds that must be met, or more than one task is given.
    """
    method = method_settings("xi_ppo") if method is None else method
    training = training or TrainingSettings(iterations=600)
    if method.kind != "xi_ppo":
        raise ValueError(f"NM-PPO moves between equalities: its method must be xi_ppo, got {method.kind}.")
    if np.ndim(task.reference.initial) != 1 or np.ndim(key) != 0:
        raise ValueError("NM-PPO takes one task and one key: each run searches its own thresholds.")
    start = starting_simplex(task) if simplex is None else np.asarray(simplex, np.float64)
    first = dataclasses.replace(method, thresholds=start[0])
    trainer = Trainer(task, first, key, training, check_reachable=False, **options)
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
    return ThresholdSearch(search, trainer.result())


def _reachable(task: GenerationTask, theta: np.ndarray) -> bool:
    try:
        kl_constrained.check_reachable(task.reference, known_answer(task), theta, task.length, True)
    except kl_constrained.UnreachableThresholdsError:
        return False
    return True
