"""People who choose by regret on the delivery task, and what two models learn from the same choices of theirs.

A part of the tour; the studies of preferences are `regret_preferences` and those named there. Simulated people compare
segments by regret, with noise. A model that assumes regret, with exact values, and one that assumes partial return
learn rewards from their choices; the policies that are optimal for these rewards are evaluated exactly.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from prefront.experiments.near_optimality import PAPER, in_order, label_numbers, more_often, percentage, plot_shares
from prefront.reports import plots
from prefront.reports.claims import Claim
from prefront.reports.evidence import Mean
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
    from prefront.preferences.choice import Choice, Linear
    from prefront.preferences.evaluation import evaluate_reward
    from prefront.preferences.models.base import RewardModel, accuracy, fit_many
    from prefront.preferences.models.exact_regret import ExactRegret
    from prefront.preferences.models.partial_return import PartialReturn
    from prefront.preferences.segment_scores import segment_margin
    from prefront.preferences.segments import sample_segments
    from prefront.preferences.teachers import Teacher

    mdp, size = Delivery().table(), max(settings.preferences)
    # As published: one unit of regret is one unit of log-odds.
    margin = segment_margin("deterministic_regret", Linear(PUBLISHED_WEIGHTS), mdp=mdp, gamma=settings.gamma)
    teacher = Teacher(margin, Choice(rationality=1.0))
    answers = []
    for draw in range(settings.draws):
        rng = np.random.default_rng((seed, draw))
        pairs = [sample_segments(mdp, size + settings.fresh, settings.length, rng, absorbing=True) for _ in range(2)]
        answers.append(teacher.ask(pairs[0], pairs[1], rng))
    models: dict[str, RewardModel] = {"regret": ExactRegret(mdp, settings.gamma), "partial_return": PartialReturn()}
    rows: list[dict[str, Any]] = []
    for number, count in enumerate(settings.preferences):
        for name, model in models.items():
            fitted: Any = fit_many([model] * settings.draws, [one[:count] for one in answers])
            learned = np.array([one.learned() for one in fitted])
            reached = evaluate_reward(mdp, learned, PUBLISHED_WEIGHTS, settings.gamma).scaled_return
            rows += [
                {
                    "preferences": count,
                    "draw": draw,
                    "model": name,
                    "scaled_return": float(reached[draw]),
                    "accuracy": accuracy(fitted[draw], answers[draw][size:]),
                }
                for draw in range(settings.draws)
            ]
        job.report(number + 1, len(settings.preferences))
    return {"rewards": rows}


def _column(results: Results, model: str, size: int, column: str = "scaled_return") -> np.ndarray:
    return in_order(results["rewards"].where(model=model, preferences=size), "draw", column)


def claims(results: Results) -> list[Claim]:
    """Decides whether the model that is right about people learns better rewards from the largest number of choices."""
    settings: Settings = results.settings
    size = max(settings.preferences)
    ours, theirs = (_column(results, name, size) for name in MODELS)
    return [
        more_often(
            ours,
            theirs,
            unit="sets of choices",
            sentence=f"From {size:,} choices of people who choose by regret, a model that assumes regret learns a "
            "near-optimal reward more often than one that assumes partial return.",
            paper=PAPER,
            stated="more often",
            conditions=f"delivery task, {len(ours)} sets of choices, segments of {settings.length} transitions, "
            f"logistic answers, temperature 1, discount {settings.gamma:g}",
        )
    ]


def summary(results: Results) -> Table:
    """Returns the share of near-optimal rewards, the median scaled return and the accuracy of each model."""
    rows = []
    for name, label in MODELS.items():
        for size in results.settings.preferences:
            reached = _column(results, name, size)
            rows.append(
                {
                    "model": label,
                    "preferences": size,
                    "% near-optimal": percentage(reached),
                    "median scaled return": float(np.median(reached)),
                    "accuracy on fresh choices": float(np.mean(_column(results, name, size, "accuracy"))),
                }
            )
    return Table.from_rows(rows)


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws near-optimality and accuracy by number of choices."""
    sizes = results.settings.preferences
    with plots.style():
        figure, (left, right) = plots.new_figure(columns=2, height=2.3)
        for number, (name, label) in enumerate(MODELS.items()):
            plot_shares(left, sizes, [_column(results, name, size) for size in sizes], number, label)
            right_share = []
            for size in sizes:
                accuracy = Mean.of(_column(results, name, size, "accuracy"))
                right_share.append((accuracy.estimate, *accuracy.interval()))
            plots.plot_estimates(right, sizes, right_share, number, label)
        for axes, label in ((left, "share of rewards near-optimal"), (right, "accuracy on fresh choices")):
            label_numbers(axes, sizes, "choices by regret")
            axes.set_ylabel(label)
        left.set_ylim(0, 1.02)
        left.legend(loc="upper left", title="model", title_fontsize=8)
        return plots.save(figure, folder, "choices_by_regret")


CHOICES = Study(
    presets={"tour": Settings(), "smoke": Settings(preferences=(30,), draws=4, fresh=50)},
    run=run,
    claims=[claims],
    figures=[plot],
    summary=summary,
)
