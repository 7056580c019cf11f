"""A quick start in three minutes: Pareto fronts, an overoptimization curve, learned rewards, against exact answers.

Each part is a study of its own, in small: its claims, tables and figures are those of that experiment.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any, Literal

from prefront.experiments import overoptimization, pareto_discovery, quickstart_preferences
from prefront.experiments.token_worlds import LearnerSettings
from prefront.reports.claims import Claim
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system.checks import check_types
from prefront.system.tables import Table

Name = Literal["fronts", "curve", "choices"]
# The parts, by the name of their settings.
STUDIES: dict[Name, Study] = {
    "fronts": pareto_discovery.STUDY,
    "curve": overoptimization.STUDY,
    "choices": quickstart_preferences.CHOICES,
}

_CURVE = overoptimization.Settings(
    correlations=(0.0,),
    learners=("ppo_annealed_kl",),
    points=25,
    largest_n=1024,
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of each part.

    Attributes:
        fronts: Discovery of Pareto fronts by C-MORL.
        curve: Gold against proxy and KL, exactly and by a learner.
        choices: Rewards learned from people who choose by regret.
    """

    fronts: pareto_discovery.Settings = dataclasses.field(
        default_factory=lambda: pareto_discovery.Settings(environments=("DeepSeaTreasure", "FruitTree"))
    )
    curve: overoptimization.Settings = dataclasses.field(default_factory=lambda: _CURVE)
    choices: quickstart_preferences.Settings = dataclasses.field(default_factory=quickstart_preferences.Settings)

    def __post_init__(self) -> None:
        check_types(self)


_SHORT = dataclasses.replace(_CURVE, learner=LearnerSettings(iterations=40, sequences=64), points=9, samples=256)
_FEW = quickstart_preferences.Settings(preferences=(30,), draws=4, fresh=50)
_TINY = pareto_discovery.Settings(environments=("DeepSeaTreasure", "FruitTree"), budget=0.02)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of one of the studies."""

    study: Name
    cell: Any


def cells(settings: Settings) -> list[Cell]:
    """Returns the cells of all studies."""
    return [Cell(name, cell) for name, study in STUDIES.items() for cell in study.cells(getattr(settings, name))]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Does one cell of one study."""
    cell: Cell = job.cell
    own = dataclasses.replace(job, cell=cell.cell)
    return dict(STUDIES[cell.study].run(getattr(settings, cell.study), seed, own))


def claims(results: Results) -> list[Claim]:
    """Gathers the claims of all studies."""
    return [claim for name, study in STUDIES.items() for decide in study.claims for claim in decide(_of(results, name))]


def summary(results: Results) -> Table:
    """Puts the summaries of all studies below each other."""
    summaries = [study.summary(_of(results, name)) for name, study in STUDIES.items() if study.summary is not None]
    return Table.concatenate(summaries)


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws the figures of all studies."""
    return [path for name, study in STUDIES.items() for path in study.draw(_of(results, name), folder)]


def _of(results: Results, name: Name) -> Results:
    settings = getattr(results.settings, name)
    return results.of_cells({Cell(name, cell): cell for cell in STUDIES[name].cells(settings)}, settings)


STUDY = Study(
    presets={"demo": Settings(), "smoke": Settings(fronts=_TINY, curve=_SHORT, choices=_FEW), "paper": Settings()},
    seeds={"demo": range(1000, 1003), "smoke": range(2), "paper": range(1000, 1010)},
    run=run,
    cells=cells,
    claims=[claims],
    figures=[plot],
    summary=summary,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "quickstart", *sys.argv[1:]]))
