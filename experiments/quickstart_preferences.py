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

from prefront import plots, statistics
from prefront.claims import Claim, judge
from prefront.experiment import Job, Results, Rows
from prefront.tables import Table

MODELS = {"regret": "regret", "partial_return": "partial return"}
NEAR_OPTIMAL = 0.9
# Scaled returns closer than this are equal: policies are evaluated to rounding only.
SAME = 6


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
        for name, value in (("draws", self.draws), ("length", self.length), ("fresh", self.fresh)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if min(self.preferences, default=0) < 1 or len(set(self.preferences)) < len(self.preferences):
            raise ValueError(f"preferences must be different numbers from 1, got {self.preferences}.")


def parts(settings: Settings) -> list[str]:
    """Names the one piece of work."""
    return ["delivery"]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Asks people, and fits both models to growing numbers of the same answers.

    Returns:
        `rewards`: one row per model, number of preferences and draw, with the exact scaled return and the accuracy on
        fresh choices.
    """
    from prefront.envs.delivery import PUBLISHED_WEIGHTS, Delivery
    from prefront.preferences.choices import Choice, Linear
    from prefront.preferences.exact_regret import ExactRegret
    from prefront.preferences.reward_evaluation import evaluate_reward
    from prefront.preferences.reward_models import PartialReturn, RewardModel, accuracy, fit_many
    from prefront.preferences.segments import sample_segments
    from prefront.preferences.teachers import Teacher

    mdp, size = Delivery().table(), max(settings.preferences)
    # As published: one unit of regret is one unit of log-odds.
    choice = Choice(rationality=1.0, scale=1.0)
    teacher = Teacher("deterministic_regret", Linear(PUBLISHED_WEIGHTS), choice, mdp=mdp, gamma=settings.gamma)
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
    rows = results["rewards"].where(model=model, preferences=size)
    return rows[column][np.lexsort((rows["draw"], rows["seed"]))]


def claims(results: Results) -> list[Claim]:
    """Decides whether the model that is right about people learns better rewards from the largest number of choices."""
    settings: Settings = results.settings
    size = max(settings.preferences)
    ours, theirs = (np.round(_column(results, name, size), SAME) for name in MODELS)
    gains = 100.0 * ((ours >= NEAR_OPTIMAL).astype(float) - (theirs >= NEAR_OPTIMAL))
    interval = statistics.stratified_bootstrap(gains, np.mean)
    tests = [statistics.wilcoxon_test(ours, theirs, side).p_value for side in ("greater", "less")]
    shares = " and ".join(f"{100 * np.mean(values >= NEAR_OPTIMAL):.0f} %" for values in (ours, theirs))
    return [
        Claim(
            sentence=f"From {size:,} choices of people who choose by regret, a model that assumes regret learns a "
            "better reward than one that assumes partial return.",
            paper="Knox et al. (2024), section 6.2",
            stated="near-optimal more often",
            measured=interval.estimate,
            quantity=f"points near-optimal ({shares})",
            seeds=len(gains),
            verdict=judge(*tests),
            interval=(interval.low, interval.high),
            p_value=tests[0],
            test="Wilcoxon signed-rank of scaled returns under the true reward, paired by set of choices, one-sided; "
            "95 % bootstrap interval of the points",
            conditions=f"delivery task, {len(gains)} sets of choices, segments of {settings.length} transitions, "
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
                    "% near-optimal": 100 * float(np.mean(reached >= NEAR_OPTIMAL)),
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
            near = [statistics.share_interval(_column(results, name, size) >= NEAR_OPTIMAL) for size in sizes]
            plots.plot_estimates(left, sizes, near, number, label)
            right_share = []
            for size in sizes:
                interval = statistics.stratified_bootstrap(_column(results, name, size, "accuracy"), np.mean)
                right_share.append((interval.estimate, interval.low, interval.high))
            plots.plot_estimates(right, sizes, right_share, number, label)
        for axes, label in ((left, "share of rewards near-optimal"), (right, "accuracy on fresh choices")):
            axes.set_xscale("log")
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axes.minorticks_off()
            axes.set_xlabel("choices by regret")
            axes.set_ylabel(label)
        left.set_ylim(0, 1.02)
        left.legend(loc="upper left", title="model", title_fontsize=8)
        return plots.save(figure, folder, "choices_by_regret")
