"""Rewards learned from choices by regret or partial return, where transitions are stochastic.

Learners and answers are those of the study `regret_preferences`, on random delivery tasks in which a move may have a
second outcome. People choose by the general form of regret, which the regret learner assumes; one more learner takes
stochastic transitions for deterministic ones. These tasks take much longer to solve, so that fewer random rewards give
the regret learner its successor features.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from prefront.experiments import delivery_learners as delivery
from prefront.reports.claims import Claim
from prefront.reports.near_optimality import more_often_at_every
from prefront.runs.study import Job, Results, Rows, Study

PAIRS: tuple[delivery.Pair, ...] = (
    ("regret", "regret"),
    ("partial_return", "partial_return"),
    ("partial_return", "regret"),
    ("regret_deterministic", "regret"),
)


def run(settings: delivery.Settings, seed: int, job: Job) -> Mapping[str, Rows]:
    """Fits all learners; `prefront.experiments.delivery_learners` has the tables."""
    return delivery.fit_pairs(settings, seed, job, PAIRS, "risky")


def claims(results: Results) -> list[Claim]:
    """Decides for each kind of answers which learner does better on its own data, at every number of preferences."""
    return [
        more_often_at_every(
            results["fits"].where(labels=labels),
            *map(delivery.where, PAIRS[:2]),
            level="preferences",
            sentence=f"Each on its own {labels} preferences, the regret learner is better where transitions are "
            "stochastic.",
            paper=delivery.PAPER,
            stated="at every one",
            conditions=delivery.conditions(results, labels, "with stochastic transitions, "),
        )
        for labels in delivery.LABELS
    ]


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws near-optimality by number of preferences."""
    return delivery.plot_shares(results, folder, "risky", PAIRS, "preferences")


RISKY = delivery.Settings(preferences=(10, 100, 300), random_rewards=40)
SMOKE = delivery.Settings(mdps=2, chunk=4, preferences=(30,), random_rewards=6, test_preferences=100)
STUDY = Study(
    presets={"paper": RISKY, "smoke": SMOKE},
    seeds={"paper": range(1000, 1001), "smoke": range(1)},
    run=run,
    cells=delivery.cells,
    claims=[claims],
    figures=[plot],
    summary=delivery.summary,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "stochastic_tasks", *sys.argv[1:]]))
