"""Rewards learned from choices by regret or partial return: each learner on the data of each generator.

The tasks are random delivery maps. Teachers of both kinds answer the same pairs of segments, with and without noise;
both learners are fitted to the answers of both, and the policies that are optimal for what they learned are evaluated
exactly under the true reward. A policy is near-optimal when its scaled return is at least 0.9. Means of scaled returns
say nothing, because single failures reach -1000; shares of near-optimal tasks and medians are reported instead.

Neighbours of this question are the studies `segment_length`, `stochastic_tasks` and `successor_feature_sets`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from prefront.experiments import delivery_learners as delivery
from prefront.reports import plots
from prefront.reports.claim_forms import in_every, untested
from prefront.reports.claims import Claim
from prefront.reports.figure_forms import plot_levels
from prefront.reports.near_optimality import NEAR_OPTIMAL, more_often, more_often_at_every, points_apart
from prefront.runs.study import Job, Results, Rows, Study

OWN: tuple[delivery.Pair, delivery.Pair] = (("regret", "regret"), ("partial_return", "partial_return"))
OTHER: tuple[delivery.Pair, delivery.Pair] = (("partial_return", "regret"), ("regret", "partial_return"))
HEADLINE_POINTS, HEADLINE_SIZE = 10, 100
GOOD_PREDICTION = 0.98


def run(settings: delivery.Settings, seed: int, job: Job) -> Mapping[str, Rows]:
    """Fits both learners to the answers of both generators; `prefront.experiments.delivery_learners` has the tables."""
    return delivery.fit_pairs(settings, seed, job, (*OWN, *OTHER))


def claims(results: Results) -> list[Claim]:
    """Decides for each kind of answers who learns more from its own data, and from that of the other."""
    return [claim for labels in delivery.LABELS for claim in _of_answers(results, labels)] + [_good(results)]


def _of_answers(results: Results, labels: str) -> list[Claim]:
    rows = results["fits"].where(labels=labels)
    own, other = [delivery.where(pair) for pair in OWN], [delivery.where(pair) for pair in OTHER]
    words: dict[str, Any] = {"paper": delivery.PAPER, "conditions": delivery.conditions(results, labels)}
    every = {"level": "preferences", "stated": "at every one", **words}
    ledger = []
    if HEADLINE_SIZE in results.settings.preferences:
        headline = (
            f"Each on its own {HEADLINE_SIZE} {labels} preferences, the regret learner is near-optimal in at least "
            f"{HEADLINE_POINTS} percentage points more of the tasks than the partial return learner."
        )
        at = rows.where(preferences=HEADLINE_SIZE)
        ledger.append(more_often(at, *own, at_least=HEADLINE_POINTS, sentence=headline, stated="more often", **words))
    better = f"Each on its own {labels} preferences, the regret learner is better at every number of preferences."
    as_well = f"On {labels} partial return preferences too, the regret learner does at least as well, at every number."
    on_regret = f"On {labels} regret preferences the regret learner is better at every number of preferences."
    return [
        *ledger,
        more_often_at_every(rows, *own, sentence=better, **every),
        more_often_at_every(rows, other[1], own[1], relation="at least", sentence=as_well, **every),
        more_often_at_every(rows, own[0], other[0], sentence=on_regret, **every),
    ]


def _good(results: Results) -> Claim:
    """Counts the tasks in which every fit that predicts so well is near-optimal."""
    labels = "noiseless"
    rows = results["fits"].where(labels=labels)
    rows = rows.at(rows["accuracy"] >= GOOD_PREDICTION)
    words: dict[str, Any] = {
        "sentence": f"Rewards that predict at least {100 * GOOD_PREDICTION:g} % of fresh strict preferences have "
        "near-optimal policies.",
        "conditions": delivery.conditions(results, labels),
    }
    if not len(rows):
        nothing = "no fit predicts so well"
        return untested(math.nan, "undecided", len(results["tasks"]), quantity="% of tasks", test=nothing, **words)
    failed = rows["scaled_return"] < NEAR_OPTIMAL
    tasks = np.stack([rows["seed"], rows["task"]], 1)
    bad = {tuple(task) for task in tasks[failed].tolist()}
    return in_every(
        [tuple(task) not in bad for task in np.unique(tasks, axis=0).tolist()],
        quantity="of the tasks with such fits, where all of them are near-optimal",
        note=f"{len(rows)} fits, {failed.sum()} of them not near-optimal; least scaled return "
        f"{rows['scaled_return'].min():.4g}",
        **words,
    )


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws near-optimality by number of preferences, what the other's data cost, and return against prediction."""
    fits, kinds, size = results["fits"], list(delivery.LABELS), max(results.settings.preferences)
    paths = delivery.plot_shares(results, folder, "matrix", (*OWN, *OTHER), "preferences")
    with plots.style():
        figure, (left, right) = plots.new_figure(columns=2, height=2.5)
        for number, (own, other) in enumerate(zip(OWN, OTHER[::-1], strict=True)):
            series = {f"{delivery.NAMES[own[0]]}, {labels}": {"labels": labels} for labels in kinds}
            lost = points_apart(delivery.where(own), delivery.where(other))
            plot_levels(left, fits, "preferences", series, lost, first=number * len(kinds))
        left.axhline(0.0, color=plots.EXACT, linewidth=0.8, linestyle=":")
        left.set(ylabel="points near-optimal lost", title="own data minus the other model's")
        low, high = left.get_ylim()
        left.set_ylim(low, high + 0.35 * (high - low))
        left.legend(loc="upper center", ncols=2, fontsize=7)
        largest = fits.where(labels=kinds[0], preferences=size)
        for number, pair in enumerate((OWN[0], OTHER[1], OTHER[0], OWN[1])):
            rows = largest.where(**delivery.where(pair))
            dots = {**plots.series_style(number), "linestyle": "none", "alpha": 0.6}
            clipped = np.maximum(rows["scaled_return"], -1.0)
            right.plot(rows["accuracy"], clipped, markersize=3, markeredgewidth=0, label=delivery.label(pair), **dots)
        right.axhline(NEAR_OPTIMAL, color=plots.EXACT, linewidth=0.8, linestyle=":")
        right.set(xlabel="accuracy on fresh strict preferences", ylabel="scaled return (below -1 drawn at -1)")
        right.set_title(f"{size:,} {kinds[0]} preferences")
        right.legend(loc="lower left", fontsize=7)
        return paths + plots.save(figure, folder, "misspecification")


SMOKE = delivery.Settings(mdps=4, chunk=4, preferences=(3, 30), random_rewards=6, test_preferences=100)
STUDY = Study(
    presets={"paper": delivery.Settings(), "smoke": SMOKE},
    seeds={"paper": range(1000, 1001), "smoke": range(1)},
    run=run,
    cells=delivery.cells,
    claims=[claims],
    figures=[plot],
    summary=delivery.summary,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "regret_preferences", *sys.argv[1:]]))
