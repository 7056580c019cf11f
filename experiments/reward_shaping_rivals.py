"""What the study `reward_shaping` trains, and what each side is told of gold."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from prefront.experiments.token_worlds import Row, learned_curve, made_world
from prefront.runs.study import Job

if TYPE_CHECKING:
    from prefront.agents.constrained_rlhf import MethodSettings


@functools.lru_cache(maxsize=16)
def thresholds(settings: Any, seed: int) -> tuple[float, ...]:
    """Returns the exact joint proxy point, which is chosen by gold, one number per reward model."""
    import jax

    from prefront.agents.proxy_points import exact_proxy_points

    world, made = made_world(settings.world, seed)
    for_points = jax.random.split(jax.random.key(seed), 3)[0]
    _, joint = exact_proxy_points(world, made, for_points, samples=settings.samples)
    return tuple(map(float, joint.rewards))


@functools.lru_cache(maxsize=16)
def oracle_divergence(settings: Any, seed: int) -> float:
    """Returns the KL to the reference of the exact policy that meets the thresholds, in nats."""
    from prefront.exact import kl_constrained
    from prefront.preferences.models.sequences import linear_rewards

    world, made = made_world(settings.world, seed)
    rewards, theta = linear_rewards(made.models), np.array(thresholds(settings, seed))
    return float(kl_constrained.solve_equalities(made.reference, rewards, theta, world.length).divergence)


def train(settings: Any, seed: int, job: Job, name: str, method: MethodSettings, labels: dict[str, Any]) -> list[Row]:
    """Trains one run of a method; returns its rows, with `test_gold` of sequences by which nothing is chosen."""
    world, made = made_world(settings.world, seed)
    method, inputs = _shaped(settings, seed, name, method, 1)
    rows = learned_curve(
        world,
        made,
        method,
        settings.learner,
        seed,
        job,
        times=settings.budgets[-1],
        test_sequences=settings.learner.evaluation_sequences,
        check_reachable=False,
        **inputs,
    )
    return [{"method": name, **labels, **row} for row in rows]


def gold_by_coefficient(settings: Any, seed: int, job: Job, name: str, window: float) -> np.ndarray:
    """Trains with every coefficient of `gold_coefficients` at once, by random keys of its own.

    Args:
        settings: Any of the study.
        seed: Seed of the world. The run that is reported has the same seed and another key.
        job: Who is told of the progress.
        name: The method.
        window: Share of the iterations, the last ones, over which gold is averaged.

    Returns:
        Gold at the end of the largest budget, shape (coefficients,).
    """
    import jax

    from prefront.agents.constrained_rlhf import Trainer, TrainingSettings, method_settings

    world, made = made_world(settings.world, seed)
    learner, coefficients = settings.learner, settings.gold_coefficients
    method = method_settings("ppo_fixed_kl", kl_coefficient=np.array(coefficients))
    method, inputs = _shaped(settings, seed, name, method, len(coefficients))
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 2**32 - 1), len(coefficients))
    running = Trainer(world, made, method, keys, TrainingSettings(**dataclasses.asdict(learner)), **inputs)
    total = settings.budgets[-1] * learner.iterations
    running.measure()
    for done in range(learner.evaluation_interval, total + 1, learner.evaluation_interval):
        running.advance(learner.evaluation_interval)
        running.measure()
        job.report(done, 2 * total)
    history = running.result().history
    late = history["iteration"][0] > (1 - window) * total
    return np.asarray(history["gold"][:, late].mean(1))


def _shaped(
    settings: Any, seed: int, name: str, method: MethodSettings, runs: int
) -> tuple[MethodSettings, dict[str, Any]]:
    """Returns the method with its reward transform, and what so many runs of it learn from."""
    import jax

    from prefront.agents import reward_shaping

    if name not in {**reward_shaping.TRANSFORMS, **reward_shaping.ENSEMBLES}:
        return method, {}
    world, made = made_world(settings.world, seed)
    _, for_shaping, for_ensemble = jax.random.split(jax.random.key(seed), 3)
    statistics = reward_shaping.reference_statistics(
        world, made, for_shaping, references=settings.references, penalty=settings.penalty
    )
    inputs: dict[str, Any] = {"statistics": statistics}
    if name in reward_shaping.ENSEMBLES:
        inputs["ensemble"] = reward_shaping.fit_ensemble(world, made, for_ensemble, settings.members)
    method = dataclasses.replace(method, transform=reward_shaping.reward_transform(name))
    return method, jax.tree.map(lambda leaf: np.stack([leaf] * runs), inputs)
