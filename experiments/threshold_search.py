"""Thresholds searched inside one run against a grid of runs: what each spends until it has as much gold.

Figure 5.4 of Moskovitz et al. (2024) in worlds of token sequences: NM-PPO moves the thresholds of constrained RLHF by
Nelder-Mead while it trains, and a grid has one run per pair of thresholds. Both choose by gold and are reported by gold
of other sequences; beside them stands the same search with the exact constrained optimum in place of training.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prefront.experiments.token_world_plots import draw_band
from prefront.experiments.token_worlds import (
    LearnerSettings,
    Row,
    WorldSettings,
    constrained_method,
    constrained_optimum,
    exact_curve,
    learned_curve,
    learner_rows,
    made_world,
    proxy_points,
)
from prefront.reports import plots
from prefront.reports.claim_forms import bounded
from prefront.reports.claims import Claim
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system.checks import MANY, check_least, check_most, check_types
from prefront.system.tables import Table

PAPER = "Moskovitz et al. (2024), Figure 5.4"
CLOSE_GOLD, STEPS_SHARE = 0.1, 0.2
# Beyond this share of the largest reward of each model alone hardly any pair of thresholds is reachable.
GRID_REACH = 0.8
GRID_POINTS = 100
KNOWLEDGE = (
    "both know the range of each reward, the grid also which thresholds can be met together; both choose by gold and "
    "are reported by gold of other sequences"
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        world: The worlds.
        learner: How each run of the grid trains.
        grid: Thresholds per reward model in the grid.
        iterations: Whole budget of NM-PPO, search included.
        evaluations: Largest number of thresholds that it visits.
        samples: Sequences from which gold is estimated for the search with the exact optimum.
    """

    world: WorldSettings = dataclasses.field(default_factory=WorldSettings)
    learner: LearnerSettings = dataclasses.field(default_factory=LearnerSettings)
    grid: int = 4
    iterations: int = 800
    evaluations: int = 40
    samples: int = 2048

    def __post_init__(self) -> None:
        check_types(self)
        check_least(self, 1, "grid", "iterations", "evaluations")
        check_least(self, 2, "samples")
        check_most(self, 100, "grid")
        check_most(self, MANY, "iterations", "evaluations", "samples")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One piece of work: one strategy, NM-PPO with its exact counterpart."""

    strategy: Literal["grid", "nm_ppo"]


def cells(settings: Settings) -> list[Cell]:
    """Returns one piece of work per strategy."""
    return [Cell("grid"), Cell("nm_ppo")]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Searches by one strategy.

    Returns:
        `search`: by sequences spent, `gold`, by which searches choose, and `test_gold`, of other sequences.
    """
    return {"search": (_grid if job.cell.strategy == "grid" else _nm_ppo)(settings, seed, job)}


def _grid(settings: Settings, seed: int, job: Job) -> list[Row]:
    """One run of xi-PPO per point of a grid over the reachable rewards, one after another."""
    from prefront.exact import kl_constrained
    from prefront.preferences.models.sequences import linear_rewards

    world, made = made_world(settings.world, seed)
    rewards = linear_rewards(made.models)
    high = kl_constrained.reward_range(made.reference, rewards, world.length)[:, 1]
    shares = np.linspace(0.0, 1.0, settings.grid + 2)[1:-1] * GRID_REACH
    found: list[Row] = []
    for number, point in enumerate(np.stack(np.meshgrid(*(share * shares for share in high)), -1).reshape(-1, 2)):
        thresholds = tuple(map(float, point))
        if constrained_optimum(settings.world, seed, thresholds) is None:
            continue
        method, options = constrained_method(settings.world, seed, "xi_ppo", thresholds)
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
    """Nelder-Mead over thresholds inside one run, and the same search with the exact optimum."""
    import jax

    from prefront.agents.constrained_rlhf import TrainingSettings
    from prefront.agents.nelder_mead import search_exactly, train_nm_ppo

    world, made = made_world(settings.world, seed)
    learner = settings.learner
    given = dataclasses.asdict(learner) | {"iterations": settings.iterations}
    training = TrainingSettings(**given, test_sequences=learner.evaluation_sequences)
    # The optimum is not used by the search; with it the program is the one that the fixed-threshold runs compiled.
    joint, _ = proxy_points(settings.world, seed, settings.samples)
    _, options = constrained_method(settings.world, seed, "xi_ppo", joint)
    found = train_nm_ppo(
        world,
        made,
        jax.random.key(seed),
        training,
        evaluations=settings.evaluations,
        optimum=options["optimum"],
    )
    rows = _spending(learner_rows(found.result), learner, "nm_ppo", 0, 0)
    exact = search_exactly(
        world, made, jax.random.key(seed), evaluations=settings.evaluations, samples=settings.samples
    )
    optimum = constrained_optimum(settings.world, seed, tuple(map(float, exact.best)))
    assert optimum is not None, "the search keeps to thresholds that can be met"
    fresh = exact_curve(world, made, optimum.multipliers.tolist(), np.ones(1), settings.samples)[0]["gold"]
    rows.append({"strategy": "exact", "run": len(exact.values), "spent": 0, "gold": exact.value, "test_gold": fresh})
    return rows


def of_best_so_far(table: Table) -> np.ndarray:
    """Returns the test gold of the policy that had the most gold up to each row, shape (rows,)."""
    gold = table["gold"]
    records = np.where(gold >= np.maximum.accumulate(gold), np.arange(len(gold)), 0)
    return np.asarray(table["test_gold"][np.maximum.accumulate(records)])


def search_costs(results: Results) -> Table:
    """Returns, per seed, the grid's best gold and cost, and what NM-PPO spent until it had as much.

    Both choose by `gold`, and what they have chosen counts with its `test_gold`. `share` is that cost over the grid's;
    a search that never gets there counts as 1, as if the grid had to be run.
    """
    rows = []
    for seed in results["search"].unique("seed"):
        own = results["search"].where(seed=seed)
        grid, inside, exact = (own.where(strategy=one) for one in ("grid", "nm_ppo", "exact"))
        if not len(grid) or not len(inside):
            continue
        ends = [grid.where(run=number) for number in grid.unique("run")]
        best = max(ends, key=lambda run: run["gold"][-1])["test_gold"][-1]
        cost = float(grid["spent"].max())
        reached = inside["spent"][of_best_so_far(inside) >= best]
        share = min(float(reached[0]) / cost, 1.0) if len(reached) else 1.0
        rows.append(
            {"seed": seed, "grid_gold": best, "grid_cost": cost, "share": share, "gold": inside["test_gold"][-1]}
            | {"exact_gold": exact["test_gold"][0], "reached": len(reached) > 0}
        )
    return Table.from_rows(rows)


def claims(results: Results) -> list[Claim]:
    """Decides what the search costs, and what it ends with."""
    settings, costs = results.settings, search_costs(results)
    words: dict[str, Any] = {
        "paper": PAPER,
        "conditions": f"{settings.world.vocabulary} tokens, sequences of {settings.world.length}, "
        f"{settings.learner.iterations} iterations of {settings.learner.sequences} sequences a run of the grid",
    }
    cost = bounded(
        costs["share"],
        "below",
        STEPS_SHARE,
        sentence="NM-PPO reaches the gold of the best fixed-threshold run at less than "
        f"{STEPS_SHARE:.0%} of the cost of a grid of runs, in the median.",
        stated="about a fifth",
        quantity="% of the grid's sequences, training and evaluation (100 where it never gets there), median",
        scale=100.0,
        statistic="median",
        note=f"reached in {int(np.sum(costs['reached']))} of {len(costs)} seeds, within {STEPS_SHARE:.0%} in "
        f"{int(np.sum(costs['share'] <= STEPS_SHARE))}; {KNOWLEDGE}",
        **words,
    )
    end = bounded(
        costs["grid_gold"] - costs["gold"],
        "below",
        CLOSE_GOLD,
        sentence=f"NM-PPO ends with no less gold ({CLOSE_GOLD}) than the best fixed-threshold run.",
        quantity="gold of the grid's best run minus that of NM-PPO at its end, mean",
        note=f"means: {costs['gold'].mean():.2f} at the end, best of the grid {costs['grid_gold'].mean():.2f}, search "
        f"with the exact optimum {costs['exact_gold'].mean():.2f}; {KNOWLEDGE}",
        **words,
    )
    return [cost, end]


def best_so_far(table: Table, grid: np.ndarray) -> np.ndarray:
    """Returns the test gold of each seed's best policy so far at given costs, shape (seeds, costs); NaN before."""
    curves = []
    for seed in table.unique("seed"):
        own = table.where(seed=seed)
        index = np.searchsorted(own["spent"], grid, side="right") - 1
        best = of_best_so_far(own)
        curves.append(np.where(index >= 0, best[np.maximum(index, 0)], np.nan))
    return np.array(curves)


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws Figure 5.4: best gold so far by all sequences spent, search included."""
    names = {"grid": "grid of ξ-PPO runs", "nm_ppo": "NM-PPO, one run"}
    with plots.style():
        figure, axes = plots.new_figure(height=2.4)
        for number, (strategy, label) in enumerate(names.items()):
            table = results["search"].where(strategy=strategy)
            if not len(table):
                continue
            ends = [table.where(seed=seed)["spent"].max() for seed in table.unique("seed")]
            grid = np.geomspace(table["spent"].min(), min(ends), GRID_POINTS)
            draw_band(axes[0], grid, best_so_far(table, grid), number, label)
        exact = results["search"].where(strategy="exact")
        if len(exact):
            axes[0].axhline(
                exact["test_gold"].mean(), color=plots.EXACT, linewidth=0.8, linestyle=":", label="exact search"
            )
        axes[0].set_xscale("log")
        axes[0].set_xlabel("sequences, training and evaluation")
        axes[0].set_ylabel("gold of the best so far, other sequences")
        axes[0].legend(loc="lower right")
        return plots.save(figure, folder, "figure_5_4_search")


STUDY = Study(
    presets={
        "smoke": Settings(
            learner=LearnerSettings(iterations=80, sequences=128, evaluation_sequences=256),
            grid=2,
            iterations=80,
            evaluations=6,
            samples=512,
        ),
        "paper": Settings(),
    },
    seeds={"smoke": range(2), "paper": range(1000, 1010)},
    run=run,
    cells=cells,
    claims=[claims],
    figures=[plot],
    summary=search_costs,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "threshold_search", *sys.argv[1:]]))
