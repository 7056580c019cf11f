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

from prefront.experiments import token_worlds
from prefront.experiments.token_worlds import LearnerSettings, Row, WorldSettings
from prefront.reports.bands import curves, draw_panels
from prefront.reports.claim_forms import bounded
from prefront.reports.claims import Claim
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system.checks import MANY, check_between, check_types
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
        check_between(self, 1, 100, "grid", closed="both")
        check_between(self, 1, MANY, "iterations", "evaluations", closed="both")
        check_between(self, 2, MANY, "samples", closed="both")


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
    from prefront.tasks.generation import known_answer

    task = token_worlds.made_world(settings.world, seed)
    high = kl_constrained.reward_range(task.reference, known_answer(task), task.length)[:, 1]
    shares = np.linspace(0.0, 1.0, settings.grid + 2)[1:-1] * GRID_REACH
    learner, found = settings.learner, list[Row]()
    for number, point in enumerate(np.stack(np.meshgrid(*(one * shares for one in high)), -1).reshape(-1, 2)):
        thresholds = tuple(map(float, point))
        if token_worlds.constrained_optimum(settings.world, seed, thresholds) is None:
            continue
        before = found[-1]["spent"] if found else 0
        rows = token_worlds.constrained_curve(settings, seed, job, "xi_ppo", thresholds, tested=True)
        found += _spending(rows, learner, "grid", number, before)
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
    from prefront.agents.nm_ppo import search_exactly, train_nm_ppo

    task = token_worlds.made_world(settings.world, seed)
    learner, key, evaluations = settings.learner, jax.random.key(seed), settings.evaluations
    given = dataclasses.asdict(learner) | {"iterations": settings.iterations}
    training = TrainingSettings(**given, test_sequences=learner.evaluation_sequences)
    # The optimum is not used by the search; with it the program is the one that the fixed-threshold runs compiled.
    joint, _ = token_worlds.proxy_points(settings.world, seed, settings.samples)
    optimum = token_worlds.constrained_method(settings.world, seed, "xi_ppo", joint)[1]["optimum"]
    found = train_nm_ppo(task, key, training, evaluations=evaluations, optimum=optimum)
    rows = _spending(token_worlds.learner_rows(found.result), learner, "nm_ppo", 0, 0)
    exact = search_exactly(task, key, evaluations=evaluations, samples=settings.samples)
    best = token_worlds.constrained_optimum(settings.world, seed, tuple(map(float, exact.best)))
    assert best is not None, "the search keeps to thresholds that can be met"
    place = best.multipliers.tolist()
    fresh = token_worlds.exact_curve(settings.world, seed, place, [1.0], settings.samples)[0]["gold"]
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
    for (seed,), own in results["search"].groups("seed"):
        grid, inside, exact = (own.where(strategy=one) for one in ("grid", "nm_ppo", "exact"))
        if not len(grid) or not len(inside):
            continue
        best = max((run for _, run in grid.groups("run")), key=lambda run: run["gold"][-1])["test_gold"][-1]
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
    costs, on = search_costs(results), f"{token_worlds.conditions(results.settings)} a run of the grid"
    words: dict[str, Any] = {"paper": PAPER, "conditions": on}
    return [
        bounded(
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
        ),
        bounded(
            costs["grid_gold"] - costs["gold"],
            "below",
            CLOSE_GOLD,
            sentence=f"NM-PPO ends with no less gold ({CLOSE_GOLD}) than the best fixed-threshold run.",
            quantity="gold of the grid's best run minus that of NM-PPO at its end, mean",
            note=f"means: {costs['gold'].mean():.2f} at the end, best of the grid {costs['grid_gold'].mean():.2f}, "
            f"search with the exact optimum {costs['exact_gold'].mean():.2f}; {KNOWLEDGE}",
            **words,
        ),
    ]


def best_so_far(table: Table, costs: np.ndarray) -> Table:
    """Returns the test gold of each seed's best policy so far at given costs as curves; NaN before the first."""
    rows = []
    for (seed,), own in table.groups("seed"):
        index = np.searchsorted(own["spent"], costs, side="right") - 1
        best = np.where(index >= 0, of_best_so_far(own)[np.maximum(index, 0)], np.nan)
        rows += [{"seed": seed, "spent": cost, "gold": gold} for cost, gold in zip(costs, best, strict=True)]
    return Table.from_rows(rows)


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws Figure 5.4: best gold so far by all sequences spent, search included."""
    tables = {name: results["search"].where(strategy=name) for name in ("grid", "nm_ppo", "exact")}
    series = {}
    for name, label in (("grid", "grid of ξ-PPO runs"), ("nm_ppo", "NM-PPO, one run")):
        if len(table := tables[name]):
            end = min(own["spent"].max() for _, own in table.groups("seed"))
            series[label] = best_so_far(table, np.geomspace(table["spent"].min(), end, GRID_POINTS))
    level = {"exact search": tables["exact"]["test_gold"].mean()} if len(tables["exact"]) else None
    options: dict[str, Any] = {
        "xscale": "log",
        "xlabel": "sequences, training and evaluation",
        "ylabel": "gold of the best so far",
    }
    panel = curves(series, "spent", "gold", level=level, **options)
    return draw_panels(folder, "figure_5_4_search", [panel], legend="lower right")


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
