"""Rewards learned from few published human preferences, and the exact return of the policies that follow.

People compared pairs of segments of the delivery task. Models of the study `human_preferences` learn from some of their
preferences, drawn without replacement, and the policies that follow are evaluated exactly under the task's true reward.
Every condition in the folder is a study of its own, and where there are several the ledger also decides over them, a
condition being one observation.

Nothing is tuned to people. Draws share preferences, so that tests over them treat as independent what is nearly so.

The preferences carry no licence and are not part of this package: `--data` names the folder that holds them. With
`--data simulated` a teacher by regret answers instead of people.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prefront.experiments import people
from prefront.experiments.delivery_learners import Task
from prefront.reports.claims import Claim
from prefront.reports.figure_forms import level_panels
from prefront.reports.near_optimality import more_often, near_share, percentage
from prefront.reports.summaries import by_level, summarise
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system.checks import MANY, check_distinct, check_least, check_most
from prefront.system.tables import Table

if TYPE_CHECKING:
    from prefront.preferences.models.base import RewardModel

THEIRS = {"model": "partial_return"}


@dataclasses.dataclass(frozen=True)
class Settings(people.PeopleSettings):
    """What is compared.

    Attributes:
        preferences: Numbers of preferences from which models learn; those larger than the data are left out.
        draws: How often so many preferences are drawn, without replacement.
    """

    preferences: tuple[int, ...] = (10, 50, 100, 300, 1000)
    draws: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        check_distinct(self, "preferences")
        check_most(self, 1000, "draws")
        check_most(self, MANY, "preferences")
        check_least(self, 1, "preferences", "draws")

    def check(self) -> None:
        """Reads the data.

        Raises:
            ValueError: There are none, they are damaged, or too few; the message says where data come from.
        """
        for name, count in self.counts().items():
            if min(self.preferences) > count:
                raise ValueError(f"preferences must hold a number up to {count}, those of {name}: {self.preferences}.")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One piece of work: one number of preferences in one condition."""

    condition: str
    preferences: int


def cells(settings: Settings) -> list[Cell]:
    """Returns one piece for each condition and number of preferences."""
    return [Cell(condition, size) for condition in settings.names() for size in settings.preferences]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Lets every model learn from so many preferences.

    Returns:
        `learning`: one row per condition, model and draw, with the number of preferences that were there to draw from,
        and the exact scaled return.
    """
    from prefront.preferences.evaluation import evaluate_policy

    cell: Cell = job.cell
    dataset, rows = people.load(settings, seed, cell.condition), []
    facts = {"condition": cell.condition, "preferences": cell.preferences, "available": len(dataset)}
    if cell.preferences > len(dataset):
        return {"learning": []}
    rng, task = np.random.default_rng((seed, cell.preferences)), people.draw_task(settings, seed)
    drawn = [dataset[rng.permutation(len(dataset))[: cell.preferences]] for _ in range(settings.draws)]
    for number, name in enumerate(people.LEARNED):
        learned = policies(task, settings.gamma, people.fit_learned(name, task, settings.gamma, drawn))
        reached = evaluate_policy(task.mdp, learned, task.true_weights, settings.gamma).scaled_return
        rows += [
            {**facts, "draw": draw, "model": name, "scaled_return": float(value)} for draw, value in enumerate(reached)
        ]
        job.report(number + 1, len(people.LEARNED))
    return {"learning": rows}


def policies(task: Task, gamma: float, models: Sequence[RewardModel]) -> np.ndarray:
    """Returns the policies that follow from fitted models, uniform over ties, shape (N, S, A).

    Those of learned rewards are optimal for them; an advantage or a policy is followed greedily.
    """
    from prefront.exact.mdp import optimal_policy, solve
    from prefront.preferences.models.advantage import TableModel

    if all(isinstance(model, TableModel) for model in models):
        return np.stack([model.greedy_policy() for model in models if isinstance(model, TableModel)])
    rewards = np.stack([model.reward_table(task.mdp) for model in models])
    return optimal_policy(solve(task.mdp, rewards, gamma).action_values)


def claims(results: Results) -> list[Claim]:
    """Decides who learns from less, for each condition and, where there are several, over them."""
    return people.claims_of_conditions(results.settings, results["learning"], _of_one, _over_conditions)


def _sentence(name: str, size: int) -> str:
    learner = f"the regret learner ({people.REGRETS[name]})"
    return f"From {size:,} preferences, {learner} is near-optimal more often than the partial return learner."


def _of_one(settings: Settings, rows: Table, condition: str) -> list[Claim]:
    how = people.given(settings, condition, int(rows["available"][0]))
    return [
        more_often(
            rows.where(preferences=size),
            {"model": name},
            THEIRS,
            unit="draw",
            sentence=_sentence(name, size),
            paper=people.PAPER,
            stated="more often",
            conditions=f"{how}; draws without replacement from the same preferences",
        )
        for name in people.REGRETS
        for size in sorted(rows.unique("preferences"))
    ]


def _over_conditions(rows: Table) -> list[Claim]:
    every = [rows.where(condition=condition) for condition in rows.unique("condition")]
    # Not every condition has as many preferences as the largest number asks for.
    sizes = sorted(set.intersection(*(set(own.unique("preferences")) for own in every)))
    return [
        people.larger_over(
            rows.where(preferences=size),
            {"model": name},
            THEIRS,
            percentage,
            sentence=f"Over conditions: {_sentence(name, size).replace('From', 'from', 1)}",
            quantity="points near-optimal",
        )
        for name in people.REGRETS
        for size in sizes
    ]


def summary(results: Results) -> Table:
    """Returns how often each model does well, by number of preferences."""
    rows = results["learning"]
    shares = by_level(rows, "preferences", lambda own: f"{percentage(own):.0f}", "% near-optimal from {:,}")
    return summarise(rows, {"condition": "condition", "model": "model"}, shares, people.LEARNED)


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws near-optimality by number of preferences, a figure for each condition."""
    rows = results["learning"]
    return [
        path
        for condition in rows.unique("condition")
        for path in level_panels(
            rows.where(condition=condition),
            folder,
            f"learning_from_people_{condition}",
            panels="condition",
            level="preferences",
            series={label: {"model": name} for name, label in people.LEARNED.items()},
            estimate=lambda own: near_share(own, "draw"),
            quantity="share of draws near-optimal",
        )
    ]


SMALL: dict[str, Any] = {"data": people.SIMULATED, "random_rewards": 8, "simulated_preferences": 120}
STUDY = Study(
    presets={"paper": Settings(), "smoke": Settings(**SMALL, preferences=(30,), draws=3)},
    seeds={"paper": range(1000, 1001), "smoke": range(1)},
    run=run,
    cells=cells,
    claims=[claims],
    figures=[plot],
    summary=summary,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "learning_from_people", *sys.argv[1:]]))
