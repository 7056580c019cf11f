"""Models of choice fitted to published human preferences, and scored by cross-validation.

People compared pairs of segments of the delivery task. With the task's true reward given, models of one scale (and of
three, for expanded regret) are fitted and scored by 10-fold cross-validation; so are models that learn what people
like. What the latter are worth as rewards is the study `learning_from_people`.

Every condition in the folder is a study of its own; the ledger says on how many of the published nine it stands, and
where there are several it also decides over them, a condition being one observation. They need not agree: people of
some conditions were taught one of the models that are compared.

Nothing is tuned to people: settings are published ones or defaults. Folds share training data, so that tests over them
treat as independent what is nearly so.

The preferences carry no licence and are not part of this package: `--data` names the folder that holds them. With
`--data simulated` a teacher by regret answers instead of people.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from prefront.experiments import people
from prefront.experiments.delivery_learners import prediction
from prefront.reports import plots
from prefront.reports.claim_forms import larger, untested
from prefront.reports.claims import Claim
from prefront.reports.figure_forms import mean_of, plot_rows
from prefront.reports.near_optimality import in_order
from prefront.reports.summaries import summarise
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system.checks import check_least, check_most
from prefront.system.tables import Table

if TYPE_CHECKING:
    from prefront.preferences.comparisons import Comparisons
    from prefront.preferences.models.base import RewardModel

# Models that are given the true reward and learn scales only.
GIVEN = {"partial_return": "partial return", "regret": "regret", "expanded_regret": "expanded regret"}
# 10-fold cross-entropy by one scale, measured by an independent implementation.
REFERENCE = {"Privileged-Control": {"partial_return": 0.620, "regret": 0.573}}
TOLERANCE = 0.005
Kind = Literal["given", "learned"]


@dataclasses.dataclass(frozen=True)
class Settings(people.PeopleSettings):
    """What is compared.

    Attributes:
        folds: Number of folds of the cross-validation.
    """

    folds: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_most(self, 1000, "folds")
        check_least(self, 2, "folds")

    def check(self) -> None:
        """Reads the data.

        Raises:
            ValueError: There are none, they are damaged, or too few; the message says where data come from.
        """
        for name, count in self.counts().items():
            if self.folds > count:
                raise ValueError(f"The {count} preferences of {name} cannot be cut into folds = {self.folds}.")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One piece of work: models with the true reward given, or with a learned one, in one condition."""

    condition: str
    kind: Kind


def cells(settings: Settings) -> list[Cell]:
    """Returns two pieces for each condition."""
    kinds: tuple[Kind, Kind] = ("given", "learned")
    return [Cell(condition, kind) for condition in settings.names() for kind in kinds]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Cross-validates the models.

    Returns:
        `folds`: one row per condition, model and fold, with the number of preferences held out, their cross-entropy in
        nats and the accuracy on strict ones.
    """
    cell: Cell = job.cell
    dataset = people.load(settings, seed, cell.condition)
    count = len(dataset)
    held_out = np.array_split(np.random.default_rng((seed, 0)).permutation(count), settings.folds)
    kept = [dataset[np.setdiff1d(np.arange(count), held)] for held in held_out]
    task = people.draw_task(settings, seed) if cell.kind == "learned" else None
    gamma = settings.gamma
    names, rows = GIVEN if task is None else people.LEARNED, []
    for number, name in enumerate(names):
        facts = {"condition": cell.condition, "reward": cell.kind, "model": name}
        fitted = fit_given(name, gamma, kept) if task is None else people.fit_learned(name, task, gamma, kept)
        rows += [
            {**facts, "fold": fold, "held_out": len(held), **prediction(model, dataset[held])}
            for fold, (model, held) in enumerate(zip(fitted, held_out, strict=True))
        ]
        job.report(number + 1, len(names))
    return {"folds": rows}


def fit_given(name: str, gamma: float, datasets: Sequence[Comparisons[Any]]) -> list[RewardModel]:
    """Fits one of the `GIVEN` models, which know the weights of the true reward, to each dataset."""
    from prefront.envs.delivery import PUBLISHED_WEIGHTS
    from prefront.preferences.models.expanded_regret import ExpandedRegret, Form

    forms: dict[str, Form] = {"expanded_regret": "expanded", "regret": "regret", "partial_return": "partial_return"}
    model = ExpandedRegret(people.delivery(), PUBLISHED_WEIGHTS, forms[name], gamma)
    return [model.fit(dataset) for dataset in datasets]


def claims(results: Results) -> list[Claim]:
    """Decides for each condition and, where there are several, over them."""
    return people.claims_of_conditions(results.settings, results["folds"], _of_one, _over_conditions)


def _of_one(settings: Settings, rows: Table, condition: str) -> list[Claim]:
    """Decides which model predicts better, and whether reference figures are met."""
    one = rows.where(model="regret", reward="given", seed=rows["seed"][0])
    how = f"{people.given(settings, condition, int(one['held_out'].sum()))}; {settings.folds}-fold cross-validation"

    def predicts(reward: str, ours: str, theirs: str, sentence: str, paper: str = people.PAPER) -> Claim:
        better, worse = (
            in_order(rows.where(reward=reward, model=name), "fold", "cross_entropy") for name in (ours, theirs)
        )
        return larger(
            worse,
            better,
            sentence=sentence,
            paper=paper,
            stated="lower cross-entropy" if paper else "",
            quantity="nats lower, mean over folds",
            note=f"paired by fold; means {better.mean():.4g} and {worse.mean():.4g}",
            conditions=how,
        )

    better = "Regret predicts preferences better than partial return, with"
    three = "Three scales predict preferences better than the one of regret, with the true reward given."
    covers = "Successor features of a coverage set predict preferences better than those of random rewards."
    learned = {name: f"{better} a learned reward ({label})." for name, label in people.REGRETS.items()}
    ledger = [
        predicts("given", "regret", "partial_return", f"{better} the true reward given and one scale."),
        predicts("given", "expanded_regret", "regret", three),
        *(predicts("learned", name, "partial_return", sentence) for name, sentence in learned.items()),
        predicts("learned", "regret_coverage", "regret", covers, paper=""),
    ]
    if settings.data == people.SIMULATED:
        return ledger
    for name, stated in REFERENCE.get(condition, {}).items():
        mean = weighted(rows.where(reward="given", model=name), "cross_entropy")
        ledger.append(
            untested(
                mean,
                "holds" if abs(mean - stated) <= TOLERANCE else "fails",
                settings.folds,
                sentence=f"The cross-entropy of {GIVEN[name]} with one scale is {stated:.3f} within {TOLERANCE:g}.",
                paper="an independent implementation on the same data",
                stated=f"{stated:.3f}",
                quantity="nats",
                test="mean over all held-out preferences; the data are the same, so that this is no test",
                conditions=how,
            )
        )
    return ledger


def _over_conditions(rows: Table) -> list[Claim]:
    """Decides which model predicts better in the mean over conditions."""
    ways = {"given": "with the true reward given", "learned": "with a learned reward"}
    models = [
        ("given", "regret", GIVEN["regret"]),
        *(("learned", name, people.LEARNED[name]) for name in people.REGRETS),
    ]
    return [
        people.larger_over(
            rows.where(reward=reward),
            {"model": "partial_return"},
            {"model": name},
            lambda own: weighted(own, "cross_entropy"),
            sentence=f"Over conditions: {label} predicts preferences better than partial return, {ways[reward]}.",
            quantity="nats lower",
        )
        for reward, name, label in models
    ]


def weighted(rows: Table, column: str) -> float:
    """Returns the mean of a column over folds, weighted by their sizes."""
    return float(np.average(rows[column], weights=rows["held_out"]))


def summary(results: Results) -> Table:
    """Returns cross-entropy and strict accuracy of each model."""
    keys = {"condition": "condition", "model": "model", "reward": "reward"}
    scores = {
        "cross-entropy": lambda rows: weighted(rows, "cross_entropy"),
        "strict accuracy": lambda rows: weighted(rows, "accuracy"),
    }
    rows = results["folds"]
    both = (("given", GIVEN), ("learned", people.LEARNED))
    return Table.concatenate([summarise(rows.where(reward=reward), keys, scores, names) for reward, names in both])


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws the cross-entropies by model, a figure for each condition."""
    paths = []
    models = {f"{label}, given": {"reward": "given", "model": name} for name, label in GIVEN.items()}
    models |= {label: {"reward": "learned", "model": name} for name, label in people.LEARNED.items()}
    for condition in results["folds"].unique("condition"):
        with plots.style():
            figure, (axes,) = plots.new_figure(width=plots.PAGE_WIDTH, height=2.9)
            plot_rows(axes, results["folds"].where(condition=condition), models, {"": mean_of("cross_entropy")})
            axes.axvline(np.log(2), color=plots.EXACT, linewidth=0.8, linestyle=":")
            axes.set_xlabel("held-out cross-entropy, nats\n(mean, 95 % interval over folds; dotted: chance)")
            paths += plots.save(figure, folder, f"human_preferences_{condition}")
    return paths


STUDY = Study(
    presets={
        "paper": Settings(),
        "smoke": Settings(data=people.SIMULATED, folds=3, random_rewards=8, simulated_preferences=120),
    },
    seeds={"paper": range(1000, 1001), "smoke": range(1)},
    run=run,
    cells=cells,
    claims=[claims],
    figures=[plot],
    summary=summary,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "human_preferences", *sys.argv[1:]]))
