"""Constrained RLHF in worlds whose constrained optimum is known: the figures of Moskovitz et al. (2024).

The figures of Moskovitz et al. (2024) in worlds of token sequences: proxy points (3.1, 3.2), gold of every method, also
trained three times longer (5.1), how well thresholds are met (5.2), misplaced thresholds (5.3), and multipliers over
time (D.2); the search for thresholds (5.4) is the study `threshold_search`. Beside them what needs an exact answer:
each method's gold gap, KL(policy || optimum) and threshold error. Methods run in the exact Lagrangian form and, where
it differs, in the paper's.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Literal

import numpy as np

from prefront.experiments.constrained_rlhf_claims import METHODS, PLACES, decide, summarise
from prefront.experiments.constrained_rlhf_figures import draw
from prefront.experiments.token_worlds import (
    LearnerSettings,
    Row,
    WorldSettings,
    constrained_method,
    constrained_optimum,
    exact_curve,
    learned_curve,
    made_world,
    proxy_points,
)
from prefront.runs.study import Job, Rows, Study
from prefront.system.checks import (
    MANY,
    check_between,
    check_distinct,
    check_least,
    check_most,
    check_names,
    check_types,
)

DISTANCES = ("optimum_divergence", "gold_gap")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        world: The worlds.
        learner: How learners train.
        methods: Which methods, by their names in `prefront.agents.constrained_rlhf`.
        longer: How many times `learner.iterations` each method trains.
        threshold_shift: Share by which thresholds are moved down and up.
        proxy_studies: Whether proxy points are located with learners too (Figures 3.1 and 3.2).
        placed: Whether misplaced thresholds are trained (Figure 5.3).
        points: Points of an exact path.
        samples: Sequences from which gold is estimated at each point.
    """

    world: WorldSettings = dataclasses.field(default_factory=WorldSettings)
    learner: LearnerSettings = dataclasses.field(default_factory=LearnerSettings)
    methods: tuple[str, ...] = tuple(METHODS)
    longer: int = 3
    threshold_shift: float = 0.1
    proxy_studies: bool = True
    placed: bool = True
    points: int = 33
    samples: int = 2048

    def __post_init__(self) -> None:
        check_types(self)
        check_distinct(self, "methods")
        check_names("method", self.methods, list(METHODS))
        check_least(self, 1, "longer")
        check_least(self, 2, "points", "samples")
        check_most(self, 100, "longer")
        check_most(self, MANY, "points", "samples")
        check_between(self, 0, 1, "threshold_shift")


_SMOKE = Settings(
    learner=LearnerSettings(iterations=80, sequences=128, evaluation_sequences=256),
    methods=("ppo", "xi_ppo"),
    longer=2,
    proxy_studies=False,
    points=13,
    samples=512,
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One piece of work.

    Attributes:
        kind: "proxy": proxy points; "method": one method at the joint proxy point; "placed": misplaced thresholds.
        name: Which method.
    """

    kind: Literal["proxy", "method", "placed"]
    name: str | None = None


def cells(settings: Settings) -> list[Cell]:
    """Returns the pieces of work."""
    methods = [Cell("method", name) for name in settings.methods]
    return [Cell("proxy"), *methods, *([Cell("placed")] if settings.placed else [])]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Does one piece.

    Returns:
        `curves`: rows of `prefront.experiments.token_worlds` with `study` ("alone", "methods" or "placed"), `method`
        ("exact" for exact paths), and `focus`: the reward model that is optimised ("1", "2", "joint") or where the
        thresholds are. `points`: proxy points and the exact optimum there.
    """
    kind, name = job.cell.kind, job.cell.name
    if kind == "proxy":
        return _proxy(settings, seed, job)
    if kind == "placed":
        return {"curves": _placed(settings, seed, job)}
    rows = _method(settings, seed, job, name, "joint", settings.longer)
    return {"curves": [{"study": "methods", **row} for row in rows]}


def _points(settings: Settings, seed: int) -> dict[str, tuple[float, ...]]:
    """Returns thresholds by where they are: the joint proxy point, moved down and up, and the independent points."""
    joint, alone = proxy_points(settings.world, seed, settings.samples)
    lower, higher = (
        tuple(by * one for one in joint) for by in (1 - settings.threshold_shift, 1 + settings.threshold_shift)
    )
    return {"joint": joint, "lower": lower, "higher": higher, "independent": alone}


def _proxy(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Figures 3.1 and 3.2: each model alone and both together, exactly and by PPO without constraints."""
    from prefront.agents.constrained_rlhf import method_settings

    world, made = made_world(settings.world, seed)
    directions = {"1": (1.0, 0.0), "2": (0.0, 1.0), "joint": (1.0, 1.0)}
    scales = np.linspace(0.0, 8.0, settings.points)
    curves: list[Row] = []
    for focus, direction in directions.items():
        labels = {"study": "alone", "focus": focus}
        rows = exact_curve(world, made, direction, scales, settings.samples)
        curves += [{**labels, "method": "exact", **row} for row in rows]
        if settings.proxy_studies:
            method = method_settings("ppo_annealed_kl", weights=np.array(direction))
            rows = learned_curve(world, made, method, settings.learner, seed, job)
            curves += [{**labels, "method": "ppo_annealed_kl", **row} for row in rows]
    points = []
    for place, thresholds in _points(settings, seed).items():
        row: Row = {"place": place, **{f"threshold_{i}": one for i, one in enumerate(thresholds, start=1)}}
        optimum = constrained_optimum(settings.world, seed, thresholds)
        if optimum is not None:
            best = exact_curve(world, made, optimum.multipliers.tolist(), np.ones(1), settings.samples)[0]
            row |= {name: best[name] for name in ("gold", "gold_error", "kl")}
            row |= {f"multiplier_{i}": float(one) for i, one in enumerate(optimum.multipliers, start=1)}
        points.append(row)
    return {"curves": curves, "points": points}


def _method(settings: Settings, seed: int, job: Job, name: str, place: str, times: int) -> list[Row]:
    world, made = made_world(settings.world, seed)
    thresholds = _points(settings, seed)[place]
    method, options = constrained_method(settings.world, seed, name, thresholds)
    rows = learned_curve(world, made, method, settings.learner, seed, job, times=times, **options)
    if constrained_optimum(settings.world, seed, thresholds) is None:
        rows = [{key: one for key, one in row.items() if key not in DISTANCES} for row in rows]
    return [{"method": name, "focus": place, **row} for row in rows]


def _placed(settings: Settings, seed: int, job: Job) -> list[Row]:
    """Figure 5.3: xi-PPO at thresholds that were moved, or found for each model alone."""
    rows = [row for place in PLACES for row in _method(settings, seed, job, "xi_ppo", place, 1)]
    return [{"study": "placed", **row} for row in rows]


STUDY = Study(
    presets={"smoke": _SMOKE, "paper": Settings()},
    seeds={"smoke": range(2), "paper": range(1000, 1010)},
    run=run,
    cells=cells,
    claims=[decide],
    figures=[draw],
    summary=summarise,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "constrained_rlhf", *sys.argv[1:]]))
