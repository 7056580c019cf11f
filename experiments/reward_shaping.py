"""Reward shaping and reward-model ensembles against constraints: how far gold falls after its peak.

Every method trains four times as long as its budget, on the same worlds and with as many sequences: PPO on raw rewards
with several KL coefficients, on shaped rewards (PAR and the baselines that its paper compares), on ensembles of reward
models, and with constraints at the exact joint proxy point. What counts is the drop of gold from its peak at two and
four times the budget.

The thresholds of constraints come from gold, so constraints are compared with rivals that know as much: with a KL
coefficient that is chosen by gold in the same world, or with a KL controller that aims at the KL of the exact
constrained optimum. What was chosen by gold is trained anew, and all gold is that of sequences which chose nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np

from prefront.experiments import reward_shaping_rivals as rivals
from prefront.experiments.token_world_plots import label_steps, mean_interval, plot_band
from prefront.experiments.token_worlds import LearnerSettings, WorldSettings
from prefront.reports import plots
from prefront.reports.claim_forms import larger
from prefront.reports.claims import Claim
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system.checks import MANY, check_distinct, check_least, check_most, check_names, check_types
from prefront.system.tables import Table

PAR = "Fu et al. (2025), Section 4"
COSTE = "Coste et al. (2024), Section 5"
PESSIMISTIC = ("worst_case", "variance_penalised")
BASELINES = ("min_max", "mean_std", "clip", "ceiling", "log_sigmoid_centred")
SHAPED = {
    "preference_as_reward": "PAR",
    "min_max": "min-max",
    "mean_std": "mean-std",
    "clip": "clip",
    "ceiling": "ceiling",
    "log_sigmoid_centred": "log-sigmoid, centred",
}
ENSEMBLES = {
    "ensemble_mean": "ensemble, mean",
    "worst_case": "ensemble, worst case",
    "variance_penalised": "ensemble, variance penalised",
}
CONSTRAINED = {"mu_ppo": "μ-PPO", "xi_ppo": "ξ-PPO"}
RAW = {"raw": "raw rewards"}
METHODS = {**RAW, **SHAPED, **ENSEMBLES, **CONSTRAINED}
UNTUNED, BY_GOLD, BY_ORACLE = "untuned", "gold", "oracle"
KNOWLEDGE = {
    UNTUNED: "KL coefficient untuned",
    BY_GOLD: "KL coefficient chosen by gold",
    BY_ORACLE: "at the KL of the exact constrained optimum",
}
THRESHOLDS = "thresholds chosen by gold"
WINDOW = 0.1


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        world: The worlds.
        learner: How learners train; `iterations` is the budget.
        methods: "raw", transforms of `prefront.agents.reward_shaping`, "mu_ppo" and "xi_ppo".
        budgets: Multiples of the budget at which drops are measured; the last is how long everything trains.
        kl_coefficient: Fixed KL coefficient of everything without constraints, tuned for nothing.
        kl_sweep: Further KL coefficients for raw rewards.
        informed: Methods without constraints that are also trained with knowledge of gold: with the best of
            `gold_coefficients`, and with a KL controller that aims at the KL of the exact constrained optimum.
        gold_coefficients: KL coefficients among which gold at the end chooses. Measured at each evaluation, nine of
            them ask more of gold than the thresholds do: 9 runs of 61 estimates by 1024 sequences are 562,176
            judgements, the search for the joint proxy point took 288,768 to 311,296 (worlds of seeds 100 to 102).
        members: Reward models in an ensemble, fitted to bootstrapped comparisons.
        references: Reference sequences that PAR compares with.
        penalty: Weight of the variance over an ensemble.
        samples: Sequences from which gold is estimated on the exact path.
    """

    world: WorldSettings = dataclasses.field(default_factory=WorldSettings)
    learner: LearnerSettings = dataclasses.field(default_factory=lambda: LearnerSettings(iterations=150))
    methods: tuple[str, ...] = tuple(METHODS)
    budgets: tuple[int, ...] = (1, 2, 4)
    kl_coefficient: float = 0.05
    kl_sweep: tuple[float, ...] = (0.0, 0.1, 0.2, 0.4)
    informed: tuple[str, ...] = ("raw", "preference_as_reward", *ENSEMBLES)
    gold_coefficients: tuple[float, ...] = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56)
    members: int = 5
    references: int = 10
    penalty: float = 0.1
    samples: int = 2048

    def __post_init__(self) -> None:
        check_types(self)
        check_distinct(self, "methods")
        check_names("method", self.methods, list(METHODS))
        check_names(
            "method with a KL coefficient", self.informed, [name for name in METHODS if name not in CONSTRAINED]
        )
        check_distinct(self, "gold_coefficients")
        check_distinct(self, "kl_sweep", empty=True)
        check_least(self, 0, "penalty", "gold_coefficients")
        check_least(self, 1, "references")
        check_least(self, 2, "members", "samples")
        check_most(self, 1000, "budgets", "members")
        check_most(self, MANY, "references", "penalty", "samples", "kl_coefficient", "kl_sweep", "gold_coefficients")
        if not self.budgets or min(self.budgets) < 1 or list(self.budgets) != sorted(set(self.budgets)):
            raise ValueError(f"budgets must be increasing multiples of at least 1, got {self.budgets}.")
        if min((self.kl_coefficient, *self.kl_sweep)) < 0:
            raise ValueError(
                f"KL coefficients must be at least 0, got {self.kl_coefficient} and kl_sweep={self.kl_sweep}."
            )


_SMOKE = Settings(
    learner=LearnerSettings(iterations=40, sequences=128, evaluation_sequences=256),
    methods=("raw", "preference_as_reward"),
    budgets=(1, 2),
    kl_sweep=(0.4,),
    informed=("preference_as_reward",),
    gold_coefficients=(0.02, 0.16),
    samples=256,
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One piece of work: a method, and what it is told of gold, a key of `KNOWLEDGE`, where it is told anything."""

    method: str
    knowledge: str | None = None


def cells(settings: Settings) -> list[Cell]:
    """Returns one piece per method, and one per informed method and knowledge."""
    informed = [name for name in settings.methods if name in settings.informed]
    told = [Cell(name, knowledge) for name in informed for knowledge in (BY_GOLD, BY_ORACLE)]
    return [*(Cell(name) for name in settings.methods), *told]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Trains one method: raw rewards with each KL coefficient, informed methods with what gold says.

    Returns:
        `curves`: rows of `prefront.experiments.token_worlds` with `method`, `knowledge` (a key of `KNOWLEDGE`) and
        `kl_coefficient`, or `kl_target` where a controller aims at it. `choices`: the gold by which a coefficient was
        chosen, one row per coefficient.
    """
    from prefront.agents.constrained_rlhf import method_settings

    name, knowledge = job.cell.method, job.cell.knowledge
    train = functools.partial(rivals.train, settings, seed, job, name)
    if name in CONSTRAINED:
        method = method_settings(name, thresholds=np.array(rivals.thresholds(settings, seed)))
        return {"curves": train(method, {"knowledge": BY_GOLD})}
    if knowledge == BY_ORACLE:
        target = rivals.oracle_divergence(settings, seed)
        method = method_settings("ppo_adaptive_kl", kl_target=target)
        return {"curves": train(method, {"knowledge": BY_ORACLE, "kl_target": target})}
    coefficients: tuple[float, ...] = (settings.kl_coefficient,)
    choices: list[dict[str, Any]] = []
    if name == "raw":
        coefficients = tuple(dict.fromkeys((settings.kl_coefficient, *settings.kl_sweep)))
    if knowledge == BY_GOLD:
        ends = rivals.gold_by_coefficient(settings, seed, job, name, WINDOW)
        coefficients = (settings.gold_coefficients[int(np.argmax(ends))],)
        pairs = zip(settings.gold_coefficients, ends, strict=True)
        choices = [{"method": name, "kl_coefficient": one, "gold": float(end)} for one, end in pairs]
    rows = []
    for one in coefficients:
        labels = {"knowledge": knowledge or UNTUNED, "kl_coefficient": one}
        rows += train(method_settings("ppo_fixed_kl", kl_coefficient=one), labels)
    return {"curves": rows} | ({"choices": choices} if choices else {})


def drops(results: Results, method: str, coefficient: float | None = None, knowledge: str = UNTUNED) -> Table:
    """Returns one row per seed: gold and its drop from the peak so far, at each multiple of the budget.

    Gold at a multiple is the mean over the last tenth of the iterations up to it. The peak is where `gold` is largest;
    its height, like all other gold here, is `test_gold`.

    Args:
        results: The results.
        method: The method.
        coefficient: KL coefficient of what is untuned; that of the settings by default.
        knowledge: What a method without constraints knows, a key of `KNOWLEDGE`.
    """
    settings = results.settings
    wanted: dict[str, Any] = {"method": method, "knowledge": BY_GOLD if method in CONSTRAINED else knowledge}
    if wanted["knowledge"] == UNTUNED:
        wanted["kl_coefficient"] = settings.kl_coefficient if coefficient is None else coefficient
    table = results["curves"].where(**wanted)
    rows = []
    for seed in table.unique("seed"):
        own = table.where(seed=seed)
        row: dict[str, Any] = {"seed": seed}
        for times in settings.budgets:
            last = times * settings.learner.iterations
            until = own.at(own["iteration"] <= last)
            late = until.at(until["iteration"] > (1 - WINDOW) * last)
            row[f"gold_{times}"] = float(late["test_gold"].mean())
            row[f"drop_{times}"] = float(until["test_gold"][np.argmax(until["gold"])] - late["test_gold"].mean())
            row[f"kl_{times}"] = float(late["kl"].mean())
        rows.append(row)
    return Table.from_rows(rows)


def claims(results: Results) -> list[Claim]:
    """Decides what both papers say, and whether constraints keep more gold than shaping does."""
    settings = results.settings
    present = [name for name in METHODS if name in settings.methods]
    found = {name: drops(results, name) for name in present}
    ledger = []
    late = [times for times in settings.budgets if times > 1]
    for name in ("preference_as_reward", *PESSIMISTIC):
        paper = COSTE if name in PESSIMISTIC else PAR
        ledger += [_drops_less(found, name, "raw", times, paper) for times in late]
    if late:
        ledger += [_drops_less(found, one, "ensemble_mean", late[-1], COSTE) for one in PESSIMISTIC]
        ledger += [_more_gold(found, "preference_as_reward", one, late[0], PAR) for one in BASELINES]
    budget = f"budget {settings.learner.iterations} iterations of {settings.learner.sequences} sequences"
    conditions = f"{budget}; KL coefficient {settings.kl_coefficient:g}, tuned for neither side"
    untuned = [dataclasses.replace(claim, conditions=conditions) for claim in ledger if claim is not None]
    return untuned + _informed_claims(results, budget)


def _informed_claims(results: Results, budget: str) -> list[Claim]:
    """Decides whether constraints have more gold than rivals that know as much of gold."""
    settings, times = results.settings, results.settings.budgets[-1]
    if "xi_ppo" not in settings.methods:
        return []
    ours, column, ledger = drops(results, "xi_ppo"), f"gold_{times}", []
    for name, knowledge in informed_rivals(settings):
        theirs = drops(results, name, knowledge=knowledge)
        sentence = (
            f"{METHODS['xi_ppo']}, {THRESHOLDS}, has more gold than {METHODS[name]}, {KNOWLEDGE[knowledge]}, at "
            f"{times} times the budget."
        )
        known = "both sides know gold of the same world; reported on other sequences"
        claim = larger(
            ours[column],
            theirs[column],
            quantity="mean difference of gold",
            sentence=sentence,
            conditions=f"{budget}; {known}",
        )
        ledger.append(claim)
    return ledger


def informed_rivals(settings: Settings) -> list[tuple[str, str]]:
    """Returns methods without constraints and what they know of gold."""
    names = [name for name in METHODS if name in settings.methods and name in settings.informed]
    return [(name, knowledge) for knowledge in (BY_GOLD, BY_ORACLE) for name in names]


def _drops_less(found: dict[str, Table], ours: str, theirs: str, times: int, paper: str) -> Claim | None:
    than = f"than with {METHODS[theirs]}, at {times} times the budget"
    sentence = f"{METHODS[ours]}: gold drops less from its peak {than}."
    return _paired(found, theirs, ours, f"drop_{times}", sentence, paper, "mean difference of the drop of gold")


def _more_gold(found: dict[str, Table], ours: str, theirs: str, times: int, paper: str) -> Claim | None:
    sentence = f"{METHODS[ours]} has more gold than {METHODS[theirs]} at {times} times the budget."
    return _paired(found, ours, theirs, f"gold_{times}", sentence, paper, "mean difference of gold")


def _paired(
    found: dict[str, Table], more: str, less: str, column: str, sentence: str, paper: str, quantity: str
) -> Claim | None:
    if more not in found or less not in found:
        return None
    return larger(found[more][column], found[less][column], sentence=sentence, paper=paper, quantity=quantity)


def summary(results: Results) -> Table:
    """Returns one row per method and KL coefficient: means over seeds of gold, its drop and KL."""
    settings, rows = results.settings, []
    variants: list[tuple[str, float, str]] = [(name, settings.kl_coefficient, UNTUNED) for name in METHODS]
    variants[1:1] = [("raw", one, UNTUNED) for one in settings.kl_sweep if one != settings.kl_coefficient]
    variants += [(name, settings.kl_coefficient, knowledge) for name, knowledge in informed_rivals(settings)]
    for name, coefficient, knowledge in variants:
        found = drops(results, name, coefficient, knowledge)
        if not len(found):
            continue
        row: dict[str, Any] = {"method": METHODS[name]}
        row["KL coefficient"] = f"{coefficient:g}" if knowledge == UNTUNED and name not in CONSTRAINED else ""
        row["knowledge of gold"] = THRESHOLDS if name in CONSTRAINED else KNOWLEDGE[knowledge]
        for quantity in ("gold", "drop", "kl"):
            row |= {f"{quantity}, {times}x": float(found[f"{quantity}_{times}"].mean()) for times in settings.budgets}
        rows.append({**row, "seeds": len(found)})
    return Table.from_rows(rows)


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws gold over training by family of methods, and the drops."""
    with plots.style():
        return [*_plot_curves(results, folder), *_plot_drops(results, folder)]


def _plot_curves(results: Results, folder: Path) -> list[Path]:
    settings, curves = results.settings, results["curves"]
    families = {"shaped rewards": SHAPED, "ensembles": ENSEMBLES, "constraints and KL": CONSTRAINED}
    figure, axes = plots.new_figure(columns=3, height=3.0, sharey=True)
    for one, (title, methods) in zip(axes, families.items(), strict=True):
        for number, (name, label) in enumerate((RAW | methods).items()):
            untuned = {"knowledge": UNTUNED, "kl_coefficient": settings.kl_coefficient}
            table = curves.where(method=name, **({} if name in CONSTRAINED else untuned))
            plot_band(one, table, "sequences", "gold", number, label)
        one.set_title(title)
        label_steps(one)
    for number, coefficient in enumerate(settings.kl_sweep, start=len(CONSTRAINED) + 1):
        table = curves.where(method="raw", knowledge=UNTUNED, kl_coefficient=coefficient)
        plot_band(axes[2], table, "sequences", "gold", number, f"raw, KL {coefficient:g}")
    axes[0].set_ylabel("gold")
    for one in axes:
        for times in settings.budgets:
            place = times * settings.learner.iterations * settings.learner.sequences
            one.axvline(place, color=plots.FAINT, linewidth=0.7, zorder=0)
        one.legend(loc="lower left", fontsize=6.5)
    return plots.save(figure, folder, "gold_over_training")


def _plot_drops(results: Results, folder: Path) -> list[Path]:
    settings = results.settings
    shown = {METHODS[name]: drops(results, name) for name in METHODS if name in settings.methods}
    marks = {BY_GOLD: "KL by gold", BY_ORACLE: "oracle's KL"}
    for name, knowledge in informed_rivals(settings):
        shown[f"{METHODS[name]}, {marks[knowledge]}"] = drops(results, name, knowledge=knowledge)
    late = [times for times in settings.budgets if times > 1]
    figure, axes = plots.new_figure(columns=2, height=0.8 + 0.24 * len(shown), sharey=True)
    for one, quantity in zip(axes, ("drop", "gold"), strict=True):
        for number, times in enumerate(late):
            estimates = [mean_interval(found[f"{quantity}_{times}"]) for found in shown.values()]
            plots.plot_intervals(one, list(shown), estimates, number, len(late), f"{times} times the budget")
    axes[0].set_xlabel("drop of gold from its peak")
    axes[1].set_xlabel("gold")
    axes[1].legend(loc="best")
    return plots.save(figure, folder, "drops")


STUDY = Study(
    presets={"smoke": _SMOKE, "paper": Settings()},
    seeds={"smoke": range(2), "paper": range(1000, 1010)},
    run=run,
    cells=cells,
    claims=[claims],
    figures=[plot],
    summary=summary,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "reward_shaping", *sys.argv[1:]]))
