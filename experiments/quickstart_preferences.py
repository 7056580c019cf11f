"""People who choose by regret on the delivery task, and what two models learn from the same choices of theirs.

A part of the study `quickstart`; the studies of preferences are `regret_preferences` and those named there. Simulated
people compare segments by regret, with noise. A model that assumes regret, with exact values, and one that assumes
partial return learn rewards from their choices; the policies that are optimal for these rewards are evaluated exactly.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from prefront.experiments.delivery_learners import PAPER, ask, make_teacher, prediction
from prefront.reports import plots
from prefront.reports.claims import Claim
from prefront.reports.figure_forms import mean_of, plot_levels
from prefront.reports.near_optimality import more_often, near_share, percentage
from prefront.reports.summaries import median_of, summarise
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system.checks import MANY, check_between, check_distinct, check_least, check_most, check_types
from prefront.system.tables import Table

MODELS = {"regret": "regret", "partial_return": "partial return"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        preferences: Numbers of choices from which rewards are learned; the claim is about the largest.
        draws: Sets of choices of each seed.
        length: Transitions of a segment.
        fresh: Further choices, on which predictions are scored.
        gamma: Discount of values and returns.
    """

    preferences: tuple[int, ...] = (10, 30, 100)
    draws: int = 10
    length: int = 3
    fresh: int = 300
    gamma: float = 0.999

    def __post_init__(self) -> None:
        check_types(self)
        check_distinct(self, "preferences")
        check_most(self, 1000, "draws", "length")
        check_most(self, MANY, "preferences", "fresh")
        check_least(self, 1, "preferences", "draws", "length", "fresh")
        check_between(self, 0, 1, "gamma")


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Asks people, and fits both models to growing numbers of the same answers.

    Returns:
        `rewards`: one row per model, number of preferences and draw, with the exact scaled return and the accuracy on
        fresh choices.
    """
    from prefront.envs.delivery import PUBLISHED_WEIGHTS, Delivery
    from prefront.preferences.evaluation import evaluate_reward
    from prefront.preferences.models.base import RewardModel, fit_many
    from prefront.preferences.models.exact_regret import ExactRegret
    from prefront.preferences.models.partial_return import PartialReturn

    mdp, size, gamma = Delivery().table(), max(settings.preferences), settings.gamma
    teacher = make_teacher("deterministic_regret", PUBLISHED_WEIGHTS, "stochastic", mdp, gamma)
    answers = [
        ask(teacher, mdp, size + settings.fresh, settings.length, np.random.default_rng((seed, draw)))
        for draw in range(settings.draws)
    ]
    models: dict[str, RewardModel] = {"regret": ExactRegret(mdp, gamma), "partial_return": PartialReturn()}
    rows: list[dict[str, Any]] = []
    for number, count in enumerate(settings.preferences):
        for name, model in models.items():
            fitted: Any = fit_many([model] * settings.draws, [one[:count] for one in answers])
            learned = np.array([one.learned() for one in fitted])
            reached = evaluate_reward(mdp, learned, PUBLISHED_WEIGHTS, gamma).scaled_return
            rows += [
                {
                    "preferences": count,
                    "draw": draw,
                    "model": name,
                    "scaled_return": float(reached[draw]),
                    "accuracy": prediction(fitted[draw], answers[draw][size:])["accuracy"],
                }
                for draw in range(settings.draws)
            ]
        job.report(number + 1, len(settings.preferences))
    return {"rewards": rows}


def claims(results: Results) -> list[Claim]:
    """Decides whether the model that is right about people learns better rewards from the largest number of choices."""
    settings: Settings = results.settings
    size = max(settings.preferences)
    rows = results["rewards"].where(preferences=size)
    return [
        more_often(
            rows,
            {"model": "regret"},
            {"model": "partial_return"},
            unit="draw",
            units="sets of choices",
            sentence=f"From {size:,} choices of people who choose by regret, a model that assumes regret learns a "
            "near-optimal reward more often than one that assumes partial return.",
            paper=PAPER,
            stated="more often",
            conditions=f"delivery task, {len(rows.where(model='regret'))} sets of choices, segments of "
            f"{settings.length} transitions, logistic answers, temperature 1, discount {settings.gamma:g}",
        )
    ]


def summary(results: Results) -> Table:
    """Returns the share of near-optimal rewards, the median scaled return and the accuracy of each model."""
    cells = {
        "% near-optimal": percentage,
        "median scaled return": median_of("scaled_return"),
        "accuracy on fresh choices": lambda rows: float(np.mean(rows["accuracy"])),
    }
    return summarise(results["rewards"], {"model": "model", "preferences": "preferences"}, cells, MODELS)


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws near-optimality and accuracy by number of choices."""
    series = {label: {"model": name} for name, label in MODELS.items()}
    estimates = {
        "share of rewards near-optimal": lambda rows: near_share(rows, "draw"),
        "accuracy on fresh choices": mean_of("accuracy"),
    }
    with plots.style():
        figure, grid = plots.new_figure(columns=2, height=2.3)
        for axes, (quantity, estimate) in zip(grid, estimates.items(), strict=True):
            plot_levels(axes, results["rewards"], "preferences", series, estimate, name="choices by regret")
            axes.set_ylabel(quantity)
        grid[0].set_ylim(0, 1.02)
        grid[0].legend(loc="upper left", title="model", title_fontsize=8)
        return plots.save(figure, folder, "choices_by_regret")


CHOICES = Study(
    presets={"demo": Settings(), "smoke": Settings(preferences=(30,), draws=4, fresh=50)},
    run=run,
    claims=[claims],
    figures=[plot],
    summary=summary,
)
