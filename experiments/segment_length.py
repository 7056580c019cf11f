"""Rewards learned from choices by regret or partial return, by the length of the segments that are compared.

Learners, tasks and answers are those of the study `regret_preferences`, each learner on its own data, from one number
of preferences.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from prefront.experiments import delivery_learners as delivery
from prefront.reports.claims import Claim
from prefront.reports.near_optimality import more_often_at_every
from prefront.runs.study import Job, Results, Rows, Study

PAIRS: tuple[delivery.Pair, delivery.Pair] = (("regret", "regret"), ("partial_return", "partial_return"))


def run(settings: delivery.Settings, seed: int, job: Job) -> Mapping[str, Rows]:
    """Fits each learner to its own data; `prefront.experiments.delivery_learners` has the tables."""
    return delivery.fit_pairs(settings, seed, job, PAIRS)


def claims(results: Results) -> list[Claim]:
    """Decides for each kind of answers which learner does better at every length, from most preferences."""
    size = max(results.settings.preferences)
    return [
        more_often_at_every(
            results["fits"].where(labels=labels, preferences=size),
            *map(delivery.where, PAIRS),
            level="length",
            sentence=f"Each on its own {labels} preferences, the regret learner is better at every length of segments.",
            paper=delivery.PAPER,
            stated="at every one",
            conditions=f"{delivery.conditions(results, labels)}, {size} preferences",
        )
        for labels in delivery.LABELS
    ]


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws near-optimality by length of segments."""
    return delivery.plot_shares(results, folder, "lengths", PAIRS, "length")


LENGTHS = delivery.Settings(preferences=(100,), lengths=(1, 3, 6, 9, 12, 15))
SMOKE = delivery.Settings(mdps=4, chunk=4, preferences=(30,), lengths=(1, 6), random_rewards=6, test_preferences=100)
STUDY = Study(
    presets={"paper": LENGTHS, "smoke": SMOKE},
    seeds={"paper": range(1000, 1001), "smoke": range(1)},
    run=run,
    cells=delivery.cells,
    claims=[claims],
    figures=[plot],
    summary=delivery.summary,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "segment_length", *sys.argv[1:]]))
