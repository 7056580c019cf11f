"""Constrained RLHF in worlds whose constrained optimum is known: the figures of Moskovitz et al. (2024).

The figures of Moskovitz et al. (2024) in worlds of token sequences: proxy points (3.1, 3.2), gold of every method, also
trained three times longer (5.1), how well thresholds are met (5.2), misplaced thresholds (5.3), thresholds searched
inside one run against a grid of runs (5.4), and multipliers over time (D.2). Beside them what needs an exact answer:
each method's gold gap, KL(policy || optimum) and threshold error. Methods run in the exact Lagrangian form and, where
it differs, in the paper's.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from prefront.experiments.constrained_rlhf_claims import METHODS, PLACES, decide, summarise
from prefront.experiments.constrained_rlhf_figures import draw
from prefront.experiments.token_worlds import (
    LearnerSettings,
    Row,
    WorldSettings,
    exact_curve,
    learned_curve,
    learner_rows,
    made_world,
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

if TYPE_CHECKING:
    from prefront.exact.kl_constrained import DualSolution

SEARCHES = ("grid", "nm_ppo")
DISTANCES = ("optimum_divergence", "gold_gap")
# Beyond this share of the largest reward of each model alone hardly any pair of thresholds is reachable.
GRID_REACH = 0.8


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
        grid: Thresholds per reward model in the grid of fixed-threshold runs; 0 leaves the search out (Figure 5.4).
        search_iterations: Whole budget of NM-PPO, search included.
        search_evaluations: Largest number of thresholds that it visits.
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
    grid: int = 4
    search_iterations: int = 800
    search_evaluations: int = 40

    def __post_init__(self) -> None:
        check_types(self)
        check_distinct(self, "methods")
        check_names("method", self.methods, list(METHODS))
        check_least(self, 0, "grid")
        check_least(self, 1, "longer", "search_iterations", "search_evaluations")
        check_least(self, 2, "points", "samples")
        check_most(self, 100, "longer", "grid")
        check_most(self, MANY, "points", "samples", "search_iterations", "search_evaluations")
        check_between(self, 0, 1, "threshold_shift")


_SMOKE = Settings(
    learner=LearnerSettings(iterations=80, sequences=128, evaluation_sequences=256),
    methods=("ppo", "xi_ppo"),
    longer=2,
    proxy_studies=False,
    points=13,
    samples=512,
    grid=2,
    search_iterations=80,
    search_evaluations=6,
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One piece of work.

    Attributes:
        kind: "proxy": proxy points; "method": one method at the joint proxy point; "placed": misplaced thresholds;
            "search": one search for thresholds.
        name: Which method or search.
    """

    kind: Literal["proxy", "method", "placed", "search"]
    name: str | None = None


def cells(settings: Settings) -> list[Cell]:
    """Returns the pieces of work."""
    methods = [Cell("method", name) for name in settings.methods]
    searches = [Cell("search", name) for name in SEARCHES] if settings.grid else []
    return [Cell("proxy"), *methods, *([Cell("placed")] if settings.placed else []), *searches]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Does one piece.

    Returns:
        `curves`: rows of `prefront.experiments.token_worlds` with `study` ("alone", "methods" or "placed"), `method`
        ("exact" for exact paths), and `focus`: the reward model that is optimised ("1", "2", "joint") or where the
        thresholds are. `points`: proxy points and the exact optimum there. `search`: by sequences spent, `gold`, by
        which searches choose, and `test_gold`, of other sequences.
    """
    kind, name = job.cell.kind, job.cell.name
    if kind == "proxy":
        return _proxy(settings, seed, job)
    if kind == "placed":
        return {"curves": _placed(settings, seed, job)}
    if kind == "search":
        return {"search": (_grid if name == "grid" else _nm_ppo)(settings, seed, job)}
    rows = _method(settings, seed, job, name, "joint", settings.longer)
    return {"curves": [{"study": "methods", **row} for row in rows]}


@functools.lru_cache(maxsize=16)
def _points(settings: Settings, seed: int) -> dict[str, tuple[float, ...]]:
    """Returns thresholds by where they are: the joint proxy point, moved down and up, and the independent points."""
    import jax

    from prefront.agents.proxy_points import exact_proxy_points

    world, made = made_world(settings.world, seed)
    alone, joint = exact_proxy_points(world, made, jax.random.key(seed), samples=settings.samples)
    shift = settings.threshold_shift
    found = {"joint": joint.rewards, "lower": (1 - shift) * joint.rewards, "higher": (1 + shift) * joint.rewards}
    return {name: tuple(map(float, one)) for name, one in {**found, "independent": alone}.items()}


@functools.lru_cache(maxsize=64)
def _optimum(settings: Settings, seed: int, thresholds: tuple[float, ...], equal: bool = True) -> DualSolution | None:
    """Returns the exact constrained optimum, or None where no policy meets the thresholds."""
    from prefront.exact import kl_constrained
    from prefront.preferences.models.sequences import linear_rewards

    world, made = made_world(settings.world, seed)
    solve = kl_constrained.solve_equalities if equal else kl_constrained.solve_inequalities
    try:
        return solve(made.reference, linear_rewards(made.models), np.array(thresholds), world.length)
    except kl_constrained.UnreachableThresholdsError:
        return None


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
        optimum = _optimum(settings, seed, thresholds)
        if optimum is not None:
            best = exact_curve(world, made, optimum.multipliers.tolist(), np.ones(1), settings.samples)[0]
            row |= {name: best[name] for name in ("gold", "gold_error", "kl")}
            row |= {f"multiplier_{i}": float(one) for i, one in enumerate(optimum.multipliers, start=1)}
        points.append(row)
    return {"curves": curves, "points": points}


def _options(settings: Settings, seed: int, name: str, thresholds: tuple[float, ...]) -> tuple[Any, dict[str, Any]]:
    """Returns a method at its thresholds, and the optimum that it is compared with.

    That of mu-PPO solves the inequalities. All others are compared with the optimum on the thresholds: of the policies
    that solve All-PPO's problem, which does not mention KL, it is the one nearest to the reference.
    """
    from prefront.agents.constrained_rlhf import method_settings

    equal = not name.startswith("mu_ppo")
    optimum = _optimum(settings, seed, thresholds, equal)
    # Methods without constraints do not use the thresholds; their distance to them is measured all the same.
    method = method_settings(name, thresholds=np.array(thresholds))
    if name == "ppo_adaptive_kl" and optimum is not None:
        method = dataclasses.replace(method, kl_target=optimum.divergence)
    # Without an optimum another program would have to be compiled; its distances are dropped.
    multipliers = np.zeros(len(thresholds)) if optimum is None else optimum.multipliers
    return method, {"optimum": multipliers, "check_reachable": False}


def _method(settings: Settings, seed: int, job: Job, name: str, place: str, times: int) -> list[Row]:
    world, made = made_world(settings.world, seed)
    thresholds = _points(settings, seed)[place]
    method, options = _options(settings, seed, name, thresholds)
    rows = learned_curve(world, made, method, settings.learner, seed, job, times=times, **options)
    if _optimum(settings, seed, thresholds) is None:
        rows = [{key: one for key, one in row.items() if key not in DISTANCES} for row in rows]
    return [{"method": name, "focus": place, **row} for row in rows]


def _placed(settings: Settings, seed: int, job: Job) -> list[Row]:
    """Figure 5.3: xi-PPO at thresholds that were moved, or found for each model alone."""
    rows = [row for place in PLACES for row in _method(settings, seed, job, "xi_ppo", place, 1)]
    return [{"study": "placed", **row} for row in rows]


def _grid(settings: Settings, seed: int, job: Job) -> list[Row]:
    """Figure 5.4: one run of xi-PPO per point of a grid over the reachable rewards, one after another."""
    from prefront.exact import kl_constrained
    from prefront.preferences.models.sequences import linear_rewards

    world, made = made_world(settings.world, seed)
    rewards = linear_rewards(made.models)
    high = kl_constrained.reward_range(made.reference, rewards, world.length)[:, 1]
    shares = np.linspace(0.0, 1.0, settings.grid + 2)[1:-1] * GRID_REACH
    found: list[Row] = []
    for number, point in enumerate(np.stack(np.meshgrid(*(share * shares for share in high)), -1).reshape(-1, 2)):
        thresholds = tuple(map(float, point))
        if _optimum(settings, seed, thresholds) is None:
            continue
        method, options = _options(settings, seed, "xi_ppo", thresholds)
        before = found[-1]["spent"] if found else 0
        rows = learned_curve(
            world,
            made,
            method,
            settings.learner,
            seed,
            job,
            test_sequences=settings.learner.evaluation_sequences,
            **options,
        )
        found += _spending(rows, settings.learner, "grid", number, before)
    return found


def _spending(rows: list[Row], learner: LearnerSettings, strategy: str, number: int, before: int) -> list[Row]:
    """Counts what a search has spent: all sequences of training and of the evaluation by which it chooses."""
    kept = ("gold", "test_gold", "kl", "reward_1", "reward_2")
    return [
        {"strategy": strategy, "run": number, "spent": before + row["sequences"] + i * learner.evaluation_sequences}
        | {name: row[name] for name in kept}
        for i, row in enumerate(rows, start=1)
    ]


def _nm_ppo(settings: Settings, seed: int, job: Job) -> list[Row]:
    """Figure 5.4: Nelder-Mead over thresholds inside one run, and the same search with the exact optimum."""
    import jax

    from prefront.agents.constrained_rlhf import TrainingSettings
    from prefront.agents.nelder_mead import search_exactly, train_nm_ppo

    world, made = made_world(settings.world, seed)
    learner = settings.learner
    given = dataclasses.asdict(learner) | {"iterations": settings.search_iterations}
    training = TrainingSettings(**given, test_sequences=learner.evaluation_sequences)
    # The optimum is not used by the search; with it the program is the one that the fixed-threshold runs compiled.
    _, options = _options(settings, seed, "xi_ppo", _points(settings, seed)["joint"])
    found = train_nm_ppo(
        world,
        made,
        jax.random.key(seed),
        training,
        evaluations=settings.search_evaluations,
        optimum=options["optimum"],
    )
    rows = _spending(learner_rows(found.result), learner, "nm_ppo", 0, 0)
    exact = search_exactly(
        world, made, jax.random.key(seed), evaluations=settings.search_evaluations, samples=settings.samples
    )
    optimum = _optimum(settings, seed, tuple(map(float, exact.best)))
    assert optimum is not None, "the search keeps to thresholds that can be met"
    fresh = exact_curve(world, made, optimum.multipliers.tolist(), np.ones(1), settings.samples)[0]["gold"]
    rows.append({"strategy": "exact", "run": len(exact.values), "spent": 0, "gold": exact.value, "test_gold": fresh})
    return rows


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
