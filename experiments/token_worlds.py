"""What the studies of token worlds share: worlds by seed, exact curves, proxy points, learners and their tables.

Every row of a curve has `kl`, `gold`, `gold_error` (standard error of its estimate), `proxy` (sum of rewards) and
`reward_1`, `reward_2`, ... Gold is never seen by a learner. Seed s means world s, and learners of the random key s.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prefront.runs.study import Job
from prefront.system.checks import check_least, check_types

if TYPE_CHECKING:
    from prefront.agents.constrained_rlhf import MethodSettings, Trainer, TrainingResult
    from prefront.envs.token_task import TokenWorldSettings, World
    from prefront.exact.kl_constrained import DualSolution

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class WorldSettings:
    """Which token worlds are studied.

    Attributes:
        vocabulary: Number of tokens.
        length: Tokens per sequence.
        correlation: Correlation of the two gold attributes under the reference policy.
        pairs: Comparisons that each reward model learns from.
        label_noise: Rate at which annotators' answers are turned around.
        unseen_weight: Weight in gold of repetition, which no annotator sees.
    """

    vocabulary: int = 16
    length: int = 12
    correlation: float = 0.0
    pairs: int = 500
    label_noise: float = 0.1
    unseen_weight: float = 0.5

    def __post_init__(self) -> None:
        check_types(self)

    def check(self) -> None:
        """Builds the world's settings."""
        whole_settings(self)


@dataclasses.dataclass(frozen=True)
class LearnerSettings:
    """How learners train, all alike.

    Attributes:
        iterations: Iterations of training.
        sequences: Sequences per iteration.
        evaluation_interval: Iterations between two evaluations; must divide `iterations`.
        evaluation_sequences: Sequences per evaluation, counted apart.
    """

    iterations: int = 300
    sequences: int = 256
    evaluation_interval: int = 10
    evaluation_sequences: int = 1024

    def __post_init__(self) -> None:
        check_types(self)
        check_least(self, 2, "evaluation_sequences")
        if self.iterations < 1 or self.evaluation_interval < 1 or self.iterations % self.evaluation_interval:
            raise ValueError(
                f"iterations must be a positive multiple of evaluation_interval = {self.evaluation_interval}, got "
                f"{self.iterations}."
            )

    def check(self) -> None:
        """Builds the learners' settings."""
        from prefront.agents.constrained_rlhf import TrainingSettings

        TrainingSettings(**dataclasses.asdict(self))


def whole_settings(settings: WorldSettings, model: str = "linear") -> TokenWorldSettings:
    """Returns all settings of a world.

    Args:
        settings: Which worlds.
        model: Reward model, "linear", or a form and its width such as "mlp-32".

    Raises:
        ValueError: A setting is out of range, or the model unknown; the message names it.
    """
    from prefront.envs.token_task import TokenWorldSettings
    from prefront.preferences.models.sequences import RewardModelSettings

    kind, dash, width = model.partition("-")
    if dash and not (width.isascii() and width.isdigit()):
        raise ValueError(f"A reward model is a form, or a form and its width such as 'mlp-32', got {model!r}.")
    form = RewardModelSettings(kind, width=int(width)) if width else RewardModelSettings(kind)
    return TokenWorldSettings(**dataclasses.asdict(settings), reward_model=form)


@functools.lru_cache(maxsize=16)
def made_world(settings: WorldSettings, seed: int, model: str = "linear") -> tuple[TokenWorldSettings, World]:
    """Returns a seed's world.

    Args:
        settings: Which worlds.
        seed: Which of them.
        model: Reward model, "linear", or a form and its width such as "mlp-32".
    """
    from prefront.envs.token_task import make_world

    whole = whole_settings(settings, model)
    return whole, make_world(whole, seed)


@functools.lru_cache(maxsize=16)
def proxy_points(settings: WorldSettings, seed: int, samples: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns the exact proxy points of a seed's world, found by gold: the joint one, and those of each model alone.

    Args:
        settings: Which worlds.
        seed: Which of them.
        samples: Sequences from which gold is estimated.
    """
    import jax

    from prefront.agents.proxy_points import exact_proxy_points

    world, made = made_world(settings, seed)
    alone, joint = exact_proxy_points(world, made, jax.random.key(seed), samples=samples)
    return tuple(map(float, joint.rewards)), tuple(map(float, alone))


@functools.lru_cache(maxsize=64)
def constrained_optimum(
    settings: WorldSettings, seed: int, thresholds: tuple[float, ...], equal: bool = True
) -> DualSolution | None:
    """Returns the exact constrained optimum in a seed's world, or None where no policy meets the thresholds.

    Args:
        settings: Which worlds.
        seed: Which of them.
        thresholds: One number per reward model.
        equal: Whether rewards are to be on their thresholds, not only above them.
    """
    from prefront.exact import kl_constrained
    from prefront.preferences.models.sequences import linear_rewards

    world, made = made_world(settings, seed)
    solve = kl_constrained.solve_equalities if equal else kl_constrained.solve_inequalities
    try:
        return solve(made.reference, linear_rewards(made.models), np.array(thresholds), world.length)
    except kl_constrained.UnreachableThresholdsError:
        return None


def constrained_method(
    settings: WorldSettings, seed: int, name: str, thresholds: tuple[float, ...]
) -> tuple[MethodSettings, dict[str, Any]]:
    """Returns a method at its thresholds, and what its learner needs to be compared with the exact optimum.

    That of mu-PPO solves the inequalities. All others are compared with the optimum on the thresholds: of the policies
    that solve All-PPO's problem, which does not mention KL, it is the one nearest to the reference.
    """
    from prefront.agents.constrained_rlhf import method_settings

    optimum = constrained_optimum(settings, seed, thresholds, not name.startswith("mu_ppo"))
    # Methods without constraints do not use the thresholds; their distance to them is measured all the same.
    method = method_settings(name, thresholds=np.array(thresholds))
    if name == "ppo_adaptive_kl" and optimum is not None:
        method = dataclasses.replace(method, kl_target=optimum.divergence)
    # Without an optimum another program would have to be compiled; its distances are dropped.
    multipliers = np.zeros(len(thresholds)) if optimum is None else optimum.multipliers
    return method, {"optimum": multipliers, "check_reachable": False}


def reward_columns(rewards: np.ndarray) -> Row:
    """Returns the cells of K rewards and their sum."""
    return {"proxy": float(np.sum(rewards)), **{f"reward_{i}": float(r) for i, r in enumerate(rewards, start=1)}}


def exact_curve(
    settings: TokenWorldSettings, world: World, direction: Sequence[float], scales: np.ndarray, samples: int
) -> list[Row]:
    """Returns one row per point of a ray of multipliers: KL and rewards exact, gold sampled from the exact policy.

    Args:
        settings: The world's settings.
        world: The world.
        direction: Direction of the multipliers, shape (K,).
        scales: Lengths along it, shape (points,).
        samples: Sequences per estimate of gold.
    """
    import jax

    from prefront.agents.proxy_points import exact_sweep

    # Proxy points are chosen by gold estimates of the key `seed`; these must not share their sequences.
    key = jax.random.fold_in(jax.random.key(0), 2**32 - 1)
    found = exact_sweep(settings, world, key, np.array([direction]), scales, samples)
    return [
        {
            "multiplier": float(scale),
            "kl": max(float(found.divergence[0, i]), 0.0),
            "gold": float(found.gold[0, i]),
            "gold_error": float(found.gold_error[0, i]),
            **reward_columns(found.rewards[0, i]),
        }
        for i, scale in enumerate(scales)
    ]


def trainer(
    settings: TokenWorldSettings,
    world: World,
    method: MethodSettings,
    learner: LearnerSettings,
    seed: int,
    test_sequences: int = 0,
    **options: Any,
) -> Trainer:
    """Returns a learner in a world that has not begun."""
    import jax

    from prefront.agents.constrained_rlhf import Trainer, TrainingSettings

    training = TrainingSettings(**dataclasses.asdict(learner), test_sequences=test_sequences)
    return Trainer(settings, world, method, jax.random.key(seed), training, **options)


def learned_curve(
    settings: TokenWorldSettings,
    world: World,
    method: MethodSettings,
    learner: LearnerSettings,
    seed: int,
    job: Job,
    *,
    times: int = 1,
    **options: Any,
) -> list[Row]:
    """Trains a method and returns one row per evaluation.

    Args:
        settings: The world's settings.
        world: The world.
        method: The method.
        learner: How it trains.
        seed: Seed of the learner.
        job: Who is told of the progress.
        times: How many times `learner.iterations` are trained; schedules end after the first.
        **options: Further arguments of `trainer`: `test_sequences`, and those of `Trainer`.

    Returns:
        Rows with `iteration`, `sequences` (learned from so far), the columns of a curve, with `test_sequences` the
        gold of so many others as `test_gold` and `test_gold_error`, and what the method has of
        `multiplier_k`, `coefficient`, `threshold_error_k` (signed, relative), `threshold_error` (mean size),
        `optimum_divergence` and `gold_gap`.
    """
    running = trainer(settings, world, method, learner, seed, **options)
    running.measure()
    total = times * learner.iterations
    for done in range(learner.evaluation_interval, total + 1, learner.evaluation_interval):
        running.advance(learner.evaluation_interval)
        entry = running.measure()
        job.report(done, total, gold=float(entry["gold"][0]), kl=float(entry["kl"][0]))
    return learner_rows(running.result())


def learner_rows(result: TrainingResult) -> list[Row]:
    """Returns one row per evaluation of a result's first run."""
    entries = len(result.history["gold"][0])
    return [_learner_row({name: value[0, i] for name, value in result.history.items()}) for i in range(entries)]


def _learner_row(own: dict[str, np.ndarray]) -> Row:
    row: Row = {name: int(own[name]) for name in ("iteration", "sequences")}
    plain = (
        "kl", "gold", "gold_error", "test_gold", "test_gold_error", "coefficient", "threshold_error",
        "optimum_divergence", "gold_gap", "entropy",
    )  # fmt: skip
    row |= {name: float(own[name]) for name in plain if name in own}
    row |= reward_columns(own["rewards"])
    for source, column in (("multipliers", "multiplier"), ("threshold_errors", "threshold_error")):
        row |= {f"{column}_{i}": float(one) for i, one in enumerate(own.get(source, ()), start=1)}
    return row


def standard_error(values: np.ndarray) -> float | None:
    """Returns the standard error of a mean over seeds; None of a single seed, which has none."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
