"""What the studies of token worlds share: worlds by seed, exact curves, proxy points, learners and their tables.

Every row of a curve has `kl`, `gold`, `gold_error` (standard error of its estimate), `proxy` (sum of rewards) and
`reward_1`, `reward_2`, ... Gold is never seen by a learner. In every function `settings` says which worlds there are,
or is a study's with `world` and `learner`; `seed` is that of the world and of the learner in it; and `model` is a
world's reward model: "linear", or a form and its width such as "mlp-32".
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
    import jax

    from prefront.agents.constrained_rlhf import MethodSettings, TrainingResult
    from prefront.envs.token_settings import TokenWorldSettings
    from prefront.envs.token_task import TokenTask
    from prefront.exact.kl_constrained import DualSolution

LARGEST_MULTIPLIER = 8.0
"""End of exact paths; rewards have unit variance."""
DISTANCES = ("optimum_divergence", "gold_gap")
MEASURED = ("test_gold", "test_gold_error", "coefficient", "threshold_error", *DISTANCES, "entropy")
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

    Raises:
        ValueError: A setting is out of range, or the model unknown; the message names it.
    """
    from prefront.envs.token_settings import TokenWorldSettings
    from prefront.preferences.models.sequences import RewardModelSettings

    kind, dash, width = model.partition("-")
    if dash and not (width.isascii() and width.isdigit()):
        raise ValueError(f"A reward model is a form, or a form and its width such as 'mlp-32', got {model!r}.")
    form = RewardModelSettings(kind, width=int(width)) if width else RewardModelSettings(kind)
    return TokenWorldSettings(**dataclasses.asdict(settings), reward_model=form)


@functools.lru_cache(maxsize=16)
def made_world(settings: WorldSettings, seed: int, model: str = "linear") -> TokenTask:
    """Returns a seed's world."""
    from prefront.envs.token_task import make_world

    return make_world(whole_settings(settings, model), seed)


@functools.lru_cache(maxsize=16)
def proxy_points(
    settings: WorldSettings, seed: int, samples: int, split: int | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns the exact proxy points of a world, found by gold of `samples` sequences: joint, and of each model alone.

    The search has the seed's random key, or the one of three that it splits into whose number is `split`.
    """
    import jax

    from prefront.agents.proxy_points import exact_proxy_points

    key = jax.random.key(seed) if split is None else jax.random.split(jax.random.key(seed), 3)[split]
    alone, joint = exact_proxy_points(made_world(settings, seed), key, samples=samples)
    return tuple(map(float, joint.rewards)), tuple(map(float, alone))


@functools.lru_cache(maxsize=64)
def constrained_optimum(
    settings: WorldSettings, seed: int, thresholds: tuple[float, ...], equal: bool = True
) -> DualSolution | None:
    """Returns the exact constrained optimum of a world, or None where no policy meets the thresholds, one per model.

    Rewards are to be on their thresholds if `equal`, otherwise on or above them.
    """
    from prefront.exact import kl_constrained
    from prefront.tasks.generation import known_answer

    task = made_world(settings, seed)
    solve = kl_constrained.solve_equalities if equal else kl_constrained.solve_inequalities
    try:
        return solve(task.reference, known_answer(task), np.array(thresholds), task.length)
    except kl_constrained.UnreachableThresholdsError:
        return None


def exact_curve(
    settings: WorldSettings, seed: int, direction: Sequence[float], scales: Sequence[float], samples: int
) -> list[Row]:
    """Returns one row per point of a ray of multipliers: KL and rewards exact, gold sampled from the exact policy.

    The ray has a `direction`, shape (K,), and lengths `scales`; gold is the mean of `samples` sequences.
    """
    import jax

    from prefront.agents.proxy_points import exact_sweep

    # Proxy points are chosen by gold estimates of the key `seed`; these must not share their sequences.
    key = jax.random.fold_in(jax.random.key(0), 2**32 - 1)
    found = exact_sweep(made_world(settings, seed), key, np.array([direction]), np.asarray(scales), samples)
    values = zip(found.divergence[0], found.gold[0], found.gold_error[0], found.rewards[0], strict=True)
    return [
        {"multiplier": float(scale), **_row(max(float(divergence), 0.0), gold, error, rewards)}
        for scale, (divergence, gold, error, rewards) in zip(scales, values, strict=True)
    ]


def exact_path(settings: WorldSettings, seed: int, direction: Sequence[float], points: int, samples: int) -> list[Row]:
    """Returns the exact curve from the reference policy to `LARGEST_MULTIPLIER`."""
    return exact_curve(settings, seed, direction, np.linspace(0.0, LARGEST_MULTIPLIER, points).tolist(), samples)


def best_of_n_curve(settings: WorldSettings, seed: int, largest: int, pools: int, model: str = "linear") -> list[Row]:
    """Returns the curve of best-of-n by the summed rewards, one row per power of two up to the largest n.

    Each of `pools` independent pools holds as many reference sequences.
    """
    import jax

    from prefront.agents.best_of_n import best_of_n

    sizes, key = 2 ** np.arange(int(np.log2(largest)) + 1), jax.random.key(seed)
    found = best_of_n(made_world(settings, seed, model), key, sizes, pool=largest, pools=pools)
    values = zip(sizes, found.divergence, found.gold, found.gold_error, found.rewards, strict=True)
    return [{"n": int(n), **_row(*rest)} for n, *rest in values]


def trained(
    settings: Any,
    seed: int,
    job: Job,
    method: MethodSettings,
    *,
    model: str = "linear",
    times: int = 1,
    tested: bool = False,
    keys: jax.Array | None = None,
    **options: Any,
) -> TrainingResult:
    """Trains a method and tells the job its progress.

    It trains `times` times as long as `learner.iterations`, and schedules end after the first. If `tested`, gold of
    other sequences, by which nothing is chosen, is estimated too. Several runs have random `keys` of their own.
    Further options are those of `Trainer`.
    """
    import jax

    from prefront.agents.constrained_rlhf import Trainer, TrainingSettings

    learner, keys = settings.learner, jax.random.key(seed) if keys is None else keys
    tests = learner.evaluation_sequences if tested else 0
    training = TrainingSettings(**dataclasses.asdict(learner), test_sequences=tests)
    running = Trainer(made_world(settings.world, seed, model), method, keys, training, **options)
    running.measure()
    total = times * learner.iterations
    for done in range(learner.evaluation_interval, total + 1, learner.evaluation_interval):
        running.advance(learner.evaluation_interval)
        entry = running.measure()
        job.report(done, total, gold=float(entry["gold"][0]), kl=float(entry["kl"][0]))
    return running.result()


def learned_curve(*of: Any, **options: Any) -> list[Row]:
    """Trains a method as `trained` does, and returns one row per evaluation, as `learner_rows` does."""
    return learner_rows(trained(*of, **options))


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


def constrained_curve(
    settings: Any, seed: int, job: Job, name: str, thresholds: tuple[float, ...], **options: Any
) -> list[Row]:
    """Trains a method at its thresholds; rows lack the distances to the optimum where no policy meets these."""
    method, known = constrained_method(settings.world, seed, name, thresholds)
    rows = learned_curve(settings, seed, job, method, **known, **options)
    dropped = DISTANCES if constrained_optimum(settings.world, seed, thresholds) is None else ()
    return [{column: one for column, one in row.items() if column not in dropped} for row in rows]


def learner_rows(result: TrainingResult) -> list[Row]:
    """Returns one row per evaluation of a result's first run.

    Rows have `iteration`, `sequences` (learned from so far), the columns of a curve, and what the method has of
    `test_gold` and `test_gold_error` (gold of other sequences), `multiplier_k`, `coefficient`, `threshold_error_k`
    (signed, relative), `threshold_error` (mean size), `optimum_divergence` and `gold_gap`.
    """
    rows = []
    for i in range(len(result.history["gold"][0])):
        own = {name: value[0, i] for name, value in result.history.items()}
        row: Row = {name: int(own[name]) for name in ("iteration", "sequences")}
        row |= _row(*(own[name] for name in ("kl", "gold", "gold_error", "rewards")))
        row |= {name: float(own[name]) for name in MEASURED if name in own}
        for source, column in (("multipliers", "multiplier"), ("threshold_errors", "threshold_error")):
            row |= {f"{column}_{k}": float(one) for k, one in enumerate(own.get(source, ()), start=1)}
        rows.append(row)
    return rows


def _row(kl: float, gold: float, error: float, rewards: np.ndarray) -> Row:
    row = {"kl": float(kl), "gold": float(gold), "gold_error": float(error), "proxy": float(np.sum(rewards))}
    return row | {f"reward_{i}": float(one) for i, one in enumerate(rewards, start=1)}


def conditions(settings: Any, *what: str) -> str:
    """Says on which worlds and with what training a study's claims rest."""
    worlds = (f"{settings.world.vocabulary} tokens", f"sequences of {settings.world.length}")
    training = f"{settings.learner.iterations} iterations of {settings.learner.sequences} sequences"
    return ", ".join((*worlds, *what, training))
