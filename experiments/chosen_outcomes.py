"""People who compare outcomes choose from one network: a model that has scores, and one for choices in circles.

Conditioned PPO learns one network for all weights of DeepSeaTreasure. Persons compare outcomes of its policies, with
each objective scaled to the range of the exact front. A linear person weighs the objectives. A semiordered person
(Tversky, 1969, "Intransitivity of preferences") goes by the treasure where two differ enough, and else by the time. The
policy for a person is the one that a model of their choices likes against most others.
"""

from __future__ import annotations

import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from prefront.reports import plots
from prefront.reports.claim_forms import bounded, in_every, larger
from prefront.reports.claims import Claim
from prefront.reports.figure_forms import mean_of
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system.checks import MANY, check_least, check_most, check_types

KINDS, MODELS = ("linear", "semiordered"), ("Bradley-Terry", "general preference")
TASK, FRESH, RATIONALITY, LOSS = "prefront/DeepSeaTreasure-v0", 1000, 20.0, 0.05


@dataclasses.dataclass(frozen=True)
class Settings:
    """Who is asked, and how much.

    Attributes:
        people: Persons of each kind.
        comparisons: Logistic answers of each person that models are fitted to.
    """

    people: int = 5
    comparisons: int = 300

    def __post_init__(self) -> None:
        check_types(self)
        check_least(self, 1, "people", "comparisons")
        check_most(self, MANY, "people", "comparisons")


def margin_of(kind: str, weights: np.ndarray, least: float, first: Any, second: Any, person: Any = None) -> np.ndarray:
    """Returns by how much somebody likes the first options better, shape (n,), in ranges of utility."""
    more, time = both = (first.values - second.values).T
    return np.asarray(weights @ both if kind == "linear" else 0.2 * np.sign(np.where(abs(more) > least, more, time)))


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Returns `networks`, whether each has the whole exact front, and `choices`, a row per kind, person and model."""
    import prefront
    from prefront.agents.conditioned_ppo import TUNED, train
    from prefront.preferences.items import Options
    from prefront.preferences.models.general_preference import GeneralPreference
    from prefront.preferences.models.partial_return import PartialReturn
    from prefront.preferences.teachers import Teacher

    solution = train(TASK, TUNED[TASK], seed).solution
    exact, found = prefront.make(TASK).pareto_front(), solution.front().returns
    options, rows, rng = Options((found - exact.min(0)) / np.ptp(exact, axis=0)), [], np.random.default_rng(seed)
    every = [options[side] for side in np.indices((len(found), len(found))).reshape(2, -1)]
    for person in range(settings.people):
        weights, least = rng.dirichlet([1, 1]), rng.uniform(0.1, 0.4)
        for kind in KINDS:
            margin, utility = partial(margin_of, kind, weights, least), options.values @ weights
            first, second = (options[side] for side in rng.integers(len(found), size=(2, settings.comparisons)))
            answers = Teacher(margin, scale=1 / RATIONALITY).ask(first, second, rng)
            pairs = [options[side] for side in rng.integers(len(found), size=(2, FRESH))]
            truth = margin(*pairs)
            for name, model in zip(MODELS, (PartialReturn(), GeneralPreference()), strict=True):
                fitted = model.fit(answers, seed)
                right = (fitted.margin(*pairs) * truth > 0)[truth != 0].mean()
                chosen = (fitted.margin(*every) > 0).reshape(len(found), -1).sum(1).argmax()
                facts = {"accuracy": right, "loss": utility.max() - utility[chosen]}
                rows.append({"kind": kind, "person": person, "model": name, **facts})
    whole = found.shape == exact.shape and bool(np.allclose(found, exact, rtol=1e-4))
    return {"networks": [{"whole": whole}], "choices": rows}


def by_seed(results: Results, column: str, kind: str, model: str) -> np.ndarray:
    """Returns each seed's mean over persons, shape (seeds,)."""
    rows = results["choices"].where(kind=kind, model=model)
    return np.array([rows.where(seed=seed)[column].mean() for seed in rows.unique("seed")])


def claims(results: Results) -> list[Claim]:
    """Decides what one network finds, and which model serves whom."""
    points: dict[str, Any] = {"quantity": "points of accuracy", "scale": 100.0}
    whole, losses = results["networks"]["whole"], by_seed(results, "loss", KINDS[0], MODELS[1])
    terry, general = ([by_seed(results, "accuracy", kind, model) for kind in KINDS] for model in MODELS)
    circles = "Where choices go in circles, the general preference model predicts more of them than Bradley-Terry."
    scores = "Where a utility stands behind choices, Bradley-Terry predicts more of them than the general model."
    regret = f"With the policy that the general model likes best, a linear person loses at most {LOSS:g} of the range."
    return [
        in_every(whole, sentence="One network has the whole exact front.", quantity="of the seeds"),
        larger(general[1], terry[1], sentence=circles, paper="Zhang et al. (2025), arXiv 2410.02197", **points),
        larger(terry[0], general[0], sentence=scores, **points),
        bounded(losses, "at most", LOSS, sentence=regret, quantity="of the range"),
    ]


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws the share of fresh choices that each model predicts, over all persons."""
    with plots.style():
        figure, (axes,) = plots.new_figure(height=1.8)
        for number, model in enumerate(MODELS):
            shares = [mean_of("accuracy")(results["choices"].where(kind=kind, model=model)) for kind in KINDS]
            plots.plot_intervals(axes, KINDS, shares, number, len(MODELS), model)
        axes.set_xlabel("share of fresh choices predicted")
        axes.legend()
        return plots.save(figure, folder, "chosen_outcomes")


STUDY = Study(
    presets={"paper": Settings(), "smoke": Settings(people=2, comparisons=100)},
    seeds={"paper": range(1000, 1010), "smoke": range(2)},
    run=run,
    claims=[claims],
    figures=[plot],
)

if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "chosen_outcomes", *sys.argv[1:]]))
