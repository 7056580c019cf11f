"""Constrained RLHF in worlds whose constrained optimum is known: gold, thresholds and the distance to the optimum.

The figures of Moskovitz et al. (2024) in worlds of token sequences, with thresholds at the exact joint proxy point:
gold of every method, also trained three times longer (5.1), how well thresholds are met (5.2), and multipliers over
time (D.2). Proxy points and misplaced thresholds (3.1, 3.2, 5.3) are the study `proxy_points`, the search for
thresholds (5.4) is `threshold_search`. Beside them what needs an exact answer: each method's gold gap, KL(policy ||
optimum) and threshold error. Methods run in the exact Lagrangian form and, where it differs, in the paper's.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from prefront.experiments import token_worlds
from prefront.experiments.token_worlds import LearnerSettings, WorldSettings
from prefront.reports.bands import BELOW, curves, draw_panels
from prefront.reports.claim_forms import bounded, larger
from prefront.reports.claims import Claim
from prefront.reports.overoptimization import averages, late
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system.checks import MANY, check_between, check_distinct, check_names, check_types
from prefront.system.tables import Table

METHODS = {
    "ppo": "PPO, no KL",
    "ppo_annealed_kl": "PPO, KL annealed",
    "ppo_adaptive_kl": "PPO, oracle's KL",
    "ppo_sat": "PPO-SAT",
    "mu_ppo": "μ-PPO",
    "all_ppo": "All-PPO",
    "xi_ppo": "ξ-PPO",
    "mu_ppo_paper": "μ-PPO, paper's form",
    "all_ppo_paper": "All-PPO, paper's form",
    "xi_ppo_paper": "ξ-PPO, paper's form",
}
PAPER = "Moskovitz et al. (2024)"
PLACED = "thresholds at the exact joint proxy point"
LAST_SHARE = 0.2
CLOSE_GOLD, CLOSE_THRESHOLD = 0.1, 0.05
WRONG_SIDE = "of the threshold on the wrong side, worse model"
ERRORS = {
    "below": WRONG_SIDE,
    "above": WRONG_SIDE,
    "threshold_error": f"mean threshold error in the last {LAST_SHARE:.0%} of training",
}
FORMS = {"": "multipliers in the exact form", "_paper": "multipliers in the paper's form"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        world: The worlds.
        learner: How learners train.
        methods: Which methods, by their names in `prefront.agents.constrained_rlhf`.
        longer: How many times `learner.iterations` each method trains.
        samples: Sequences from which gold is estimated in the search for the proxy point.
    """

    world: WorldSettings = dataclasses.field(default_factory=WorldSettings)
    learner: LearnerSettings = dataclasses.field(default_factory=LearnerSettings)
    methods: tuple[str, ...] = tuple(METHODS)
    longer: int = 3
    samples: int = 2048

    def __post_init__(self) -> None:
        check_types(self)
        check_distinct(self, "methods")
        check_names("method", self.methods, list(METHODS))
        check_between(self, 2, 100, "longer", closed="both")
        check_between(self, 2, MANY, "samples", closed="both")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One piece of work: one method."""

    method: str


def cells(settings: Settings) -> list[Cell]:
    """Returns one piece of work per method."""
    return [Cell(name) for name in settings.methods]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Trains one method.

    Returns:
        `curves`: rows of `prefront.experiments.token_worlds` with `method`.
    """
    joint, _ = token_worlds.proxy_points(settings.world, seed, settings.samples)
    rows = token_worlds.constrained_curve(settings, seed, job, job.cell.method, joint, times=settings.longer)
    return {"curves": [{"method": job.cell.method, **row} for row in rows]}


def endings(results: Results) -> Table:
    """Returns one row per method and seed: what training ends with.

    All columns are means over the last 20 % of the budget; `longer` is gold at the end of all training, `loss` what it
    lost since the budget, `above` and `below` how far the worse reward lies on that side of its threshold, and `swing`
    the standard deviation of multipliers in the second half of the budget, relative to their mean size.
    """
    settings, rows = results.settings, []
    budget = settings.learner.iterations
    for (seed, method), own in results["curves"].groups("seed", "method"):
        ends, half = late(own, budget, LAST_SHARE), late(own, budget, 0.5)
        row = {name: float(one.mean()) for name, one in ends.columns.items() if one.dtype.kind in "if"}
        row["longer"] = float(late(own, settings.longer * budget, LAST_SHARE)["gold"].mean())
        row["loss"] = row["gold"] - row["longer"]
        errors = row["threshold_error_1"], row["threshold_error_2"]
        row |= {"above": max(errors), "below": max(-one for one in errors)}
        if "multiplier_1" in half.columns:
            both = np.stack([half["multiplier_1"], half["multiplier_2"]])
            row["swing"] = float(np.mean(both.std(1) / np.maximum(np.abs(both).mean(1), 1e-6)))
        rows.append({**row, "seed": seed, "method": method})
    return Table.from_rows(rows)


def claims(results: Results) -> list[Claim]:
    """Returns the ledger: what the paper says of its figures, then what needs the exact optimum."""
    ends, longer = endings(results), f"when it trains {results.settings.longer} times longer."
    on, ledger = token_worlds.conditions(results.settings, PLACED), []

    def claim(
        form: Callable[..., Claim], sentence: str, figure: str, quantity: str, *values: Any, **words: Any
    ) -> None:
        """Makes a claim where the methods that it needs were trained; they come as (method, column)."""
        found = [ends.where(method=one[0])[one[1]] if isinstance(one, tuple) else one for one in values]
        if all(map(np.size, found)):
            paper = f"{PAPER}, Figure {figure}" if figure else ""
            ledger.append(form(*found, sentence=sentence, paper=paper, quantity=quantity, conditions=on, **words))

    for form in FORMS:
        mu, every, xi = (f"{one}{form}" for one in ("mu_ppo", "all_ppo", "xi_ppo"))
        for ours, theirs in (*((xi, one) for one in ("ppo", "ppo_sat", every, mu, "ppo_adaptive_kl")), (mu, "ppo")):
            sentence = f"{METHODS[ours]} ends with more gold than {METHODS[theirs]}."
            figure = "" if theirs == "ppo_adaptive_kl" else "5.1"
            claim(larger, sentence, figure, "mean difference in gold", (ours, "gold"), (theirs, "gold"))
        sentence = f"{METHODS[xi]} does not lose gold ({CLOSE_GOLD}) {longer}"
        claim(bounded, sentence, "5.1", "mean loss of gold", (xi, "loss"), "below", CLOSE_GOLD)
        for name, column, kept in (
            (mu, "below", "both rewards above"),
            (every, "above", "both rewards below"),
            (xi, "threshold_error", "rewards on"),
        ):
            sentence = f"{METHODS[name]} keeps {kept} their thresholds."
            quantity = f"% {ERRORS[column]} (allowed: {100 * CLOSE_THRESHOLD:g})"
            claim(bounded, sentence, "5.2", quantity, (name, column), "below", CLOSE_THRESHOLD, scale=100.0)
        sentence = f"The multipliers of {METHODS[every]} oscillate more than those of {METHODS[xi]}."
        quantity = "mean difference of the relative standard deviation"
        claim(larger, sentence, "D.2", quantity, (every, "swing"), (xi, "swing"))
    sentence = f"{METHODS['ppo']} loses gold {longer}"
    claim(larger, sentence, "5.1", "mean loss of gold", ("ppo", "gold"), ("ppo", "longer"))
    sentence = f"The mean gold of ξ-PPO ends within {CLOSE_GOLD} of the exact constrained optimum."
    gaps = np.abs(ends.where(method="xi_ppo")["gold_gap"])
    size = f"mean size {gaps.sum() / max(len(gaps), 1):.3f}"
    quantity = "gold of the optimum minus that of the policy, mean"
    claim(bounded, sentence, "", quantity, ("xi_ppo", "gold_gap"), "within", CLOSE_GOLD, note=size)
    for rival in ("xi_ppo_paper", "ppo_sat", "ppo_adaptive_kl"):
        sentence = f"ξ-PPO ends nearer to the exact constrained optimum than {METHODS[rival]}."
        quantity = "mean difference of KL(policy || optimum), nats"
        claim(larger, sentence, "", quantity, (rival, "optimum_divergence"), ("xi_ppo", "optimum_divergence"))
    return ledger


def summary(results: Results) -> Table:
    """Returns one row per method, with means over seeds and the standard error of gold."""
    names = {"gold": "gold", "kl": "KL", "gold_gap": "gold gap", "optimum_divergence": "KL to optimum"}
    names |= {"threshold_error": "threshold error", "longer": f"gold, {results.settings.longer} times longer"}
    every = endings(results).groups("method")
    return Table.from_rows({"method": METHODS[method], **averages(rows, names)} for (method,), rows in every)


def draw(results: Results, folder: Path) -> list[Path]:
    """Draws the figures, each named after the paper's; an empty series keeps the colours of the others."""
    table, learner = results["curves"], results.settings.learner
    every = {label: table.where(method=name) for name, label in METHODS.items()}
    constrained = {label: own if label[0] in "μAξ" else Table({}) for label, own in every.items()}
    optimum = {"exact optimum": float((table["gold"] + table["gold_gap"]).mean())}
    gold = []
    for form, title in FORMS.items():
        bases = {name: label for name, label in METHODS.items() if not name.endswith("_paper")}
        series = {label: every[METHODS.get(f"{name}{form}", label)] for name, label in bases.items()}
        marks = [learner.iterations * learner.sequences]
        gold.append(curves(series, "sequences", "gold", level=optimum, marks=marks, title=title))
    distances = {"gold_gap": "gold gap to the optimum", "optimum_divergence": "KL(policy || optimum), nats"}
    distances["threshold_error"] = "mean threshold error"
    far = [
        curves(every, "sequences", column, ylabel=label, yscale="log" if "KL" in label else "linear")
        for column, label in distances.items()
    ]
    above = "reward above its threshold, relative"
    tracking = [
        curves(constrained, "sequences", f"threshold_error_{k}", level=0.0, ylabel=above, title=f"reward model {k}")
        for k in (1, 2)
    ]
    multipliers = [curves(constrained, "sequences", f"multiplier_{k}", ylabel=f"multiplier {k}") for k in (1, 2)]
    return [
        *draw_panels(folder, "figure_5_1_gold", gold, legend=BELOW, height=3.0, sharey=True),
        *draw_panels(folder, "distance_to_the_optimum", far, legend=BELOW, height=2.8),
        *draw_panels(folder, "figure_5_2_thresholds", tracking, legend=BELOW, height=2.5, sharey=True),
        *draw_panels(folder, "figure_d_2_multipliers", multipliers, legend=BELOW, height=2.5),
    ]


STUDY = Study(
    presets={
        "smoke": Settings(
            learner=LearnerSettings(iterations=80, sequences=128, evaluation_sequences=256),
            methods=("ppo", "xi_ppo"),
            longer=2,
            samples=512,
        ),
        "paper": Settings(),
    },
    seeds={"smoke": range(2), "paper": range(1000, 1010)},
    run=run,
    cells=cells,
    claims=[claims],
    figures=[draw],
    summary=summary,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "constrained_rlhf", *sys.argv[1:]]))
