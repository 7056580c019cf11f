"""Which successor features a regret learner needs: of random rewards, of a coverage set, or exact values.

Tasks and answers are those of the study `regret_preferences`. The regret learner reads the values of what it learns
from a set of policies: as published, the optimal ones of random rewards, without that of the true reward; or a convex
coverage set, by which every value is exact. A third learner solves the task for whatever it learns. The question is
whether failures that more preferences do not remove come from the set.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from prefront.experiments import delivery_learners as delivery
from prefront.reports.claim_forms import in_every
from prefront.reports.claims import Claim
from prefront.reports.near_optimality import more_often, near
from prefront.runs.study import Job, Results, Rows, Study

RANDOM: delivery.Pair = ("regret", "regret")
# Where the values of the learners come from.
VALUES: dict[delivery.Pair, str] = {
    RANDOM: "features of random rewards",
    ("regret_coverage", "regret"): "features of a coverage set",
    ("regret_exact", "regret"): "exact values of what it learns",
}


def run(settings: delivery.Settings, seed: int, job: Job) -> Mapping[str, Rows]:
    """Fits all three learners; `prefront.experiments.delivery_learners` has the tables."""
    return delivery.fit_pairs(settings, seed, job, tuple(VALUES))


def claims(results: Results) -> list[Claim]:
    """Decides for each kind of answers and set whether the largest number of preferences leaves failures."""
    return [claim for labels in delivery.LABELS for pair in VALUES for claim in _of(results, labels, pair)]


def _of(results: Results, labels: str, pair: delivery.Pair) -> list[Claim]:
    size = max(results.settings.preferences)
    rows, how = results["fits"].where(labels=labels, preferences=size), delivery.conditions(results, labels)
    given = f"{size:,} {labels} regret preferences"
    none = f"With {VALUES[pair]}, {given} leave the regret learner no failure."
    reached = near(rows.where(**delivery.where(pair)))
    ledger = [in_every(reached, sentence=none, quantity="of the tasks near-optimal", conditions=how)]
    if pair != RANDOM:
        sentence = (
            f"At {given}, with {VALUES[pair]} the regret learner is near-optimal more often than with {VALUES[RANDOM]}."
        )
        ledger.append(more_often(rows, delivery.where(pair), delivery.where(RANDOM), sentence=sentence, conditions=how))
    return ledger


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws near-optimality by number of preferences."""
    return delivery.plot_shares(results, folder, "features", tuple(VALUES), "preferences")


SETS = delivery.Settings(preferences=(300, 3000))
SMOKE = delivery.Settings(mdps=4, chunk=4, preferences=(30,), random_rewards=6, test_preferences=100)
STUDY = Study(
    presets={"paper": SETS, "smoke": SMOKE},
    seeds={"paper": range(1000, 1001), "smoke": range(1)},
    run=run,
    cells=delivery.cells,
    claims=[claims],
    figures=[plot],
    summary=delivery.summary,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "successor_feature_sets", *sys.argv[1:]]))
