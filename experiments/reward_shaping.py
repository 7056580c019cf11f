"""Reward shaping and reward-model ensembles against constraints: how far gold falls after its peak.

Every method trains four times as long as its budget, on the same worlds and with as many sequences: PPO on raw rewards
with several KL coefficients, on shaped rewards (PAR and the baselines that its paper compares), on ensembles of reward
models, and with constraints at the exact joint proxy point. What counts is the drop of gold from its peak at two and
four times the budget.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from prefront import plots
from prefront.checks import MANY, check_distinct, check_least, check_most, check_names, check_types
from prefront.claim_forms import larger
from prefront.claims import Claim
from prefront.experiment import Job, Results, Rows
from prefront.experiments.token_world_plots import label_steps, mean_interval, plot_band
from prefront.experiments.token_worlds import LearnerSettings, WorldSettings, learned_curve, made_world
from prefront.tables import Table

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
WINDOW = 0.1


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        world: The worlds.
        learner: How learners train; `iterations` is the budget.
        methods: "raw", transforms of `prefront.agents.reward_shaping`, "mu_ppo" and "xi_ppo".
        budgets: Multiples of the budget at which drops are measured; the last is how long everything trains.
        kl_coefficient: Fixed KL coefficient of everything without constraints.
        kl_sweep: Further KL coefficients for raw rewards.
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
    members: int = 5
    references: int = 10
    penalty: float = 0.1
    samples: int = 2048

    def __post_init__(self) -> None:
        check_types(self)
        check_distinct(self, "methods")
        check_names("method", self.methods, list(METHODS))
        check_distinct(self, "kl_sweep", empty=True)
        check_least(self, 0, "penalty")
        check_least(self, 1, "references")
        check_least(self, 2, "members", "samples")
        check_most(self, 1000, "budgets", "members")
        check_most(self, MANY, "references", "penalty", "samples", "kl_coefficient", "kl_sweep")
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
    samples=256,
)
PRESETS = {"smoke": _SMOKE, "paper": Settings()}
SEEDS = {"smoke": range(2), "paper": range(1000, 1010)}


def parts(settings: Settings) -> list[str]:
    """Names one piece per method."""
    return list(settings.methods)


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Trains one method; raw rewards with each KL coefficient.

    Returns:
        `curves`: rows of `prefront.experiments.token_worlds` with `method` and `kl_coefficient`.
    """
    coefficients: tuple[float, ...] = (settings.kl_coefficient,)
    if job.part == "raw":
        coefficients = tuple(dict.fromkeys((settings.kl_coefficient, *settings.kl_sweep)))
    return {"curves": [row for one in coefficients for row in _train(settings, seed, job, one)]}


def _train(settings: Settings, seed: int, job: Job, coefficient: float) -> list[dict[str, Any]]:
    import jax

    from prefront.agents.constrained_rlhf import method_settings
    from prefront.agents.proxy_points import exact_proxy_points
    from prefront.agents.reward_shaping import fit_ensemble, reference_statistics, reward_transform

    name, (world, made) = job.part, made_world(settings.world, seed)
    for_points, for_shaping, for_ensemble = jax.random.split(jax.random.key(seed), 3)
    options: dict[str, Any] = {}
    if name in CONSTRAINED:
        _, joint = exact_proxy_points(world, made, for_points, samples=settings.samples)
        method = method_settings(name, thresholds=joint.rewards)
        options["check_reachable"] = False
    else:
        method = method_settings("ppo_fixed_kl", kl_coefficient=coefficient)
    if name in SHAPED or name in ENSEMBLES:
        method = dataclasses.replace(method, transform=reward_transform(name))
        found = reference_statistics(world, made, for_shaping, references=settings.references, penalty=settings.penalty)
        options["statistics"] = jax.tree.map(lambda leaf: leaf[None], found)
    if name in ENSEMBLES:
        models = fit_ensemble(world, made, for_ensemble, settings.members)
        options["ensemble"] = jax.tree.map(lambda leaf: leaf[None], models)
    rows = learned_curve(world, made, method, settings.learner, seed, job, times=settings.budgets[-1], **options)
    return [{"method": name, "kl_coefficient": coefficient, **row} for row in rows]


def drops(results: Results, method: str, coefficient: float | None = None) -> Table:
    """Returns one row per seed: gold and its drop from the peak so far, at each multiple of the budget.

    Gold at a multiple is the mean over the last tenth of the iterations up to it.
    """
    settings = results.settings
    coefficient = settings.kl_coefficient if coefficient is None else coefficient
    table = results["curves"].where(method=method, kl_coefficient=coefficient)
    rows = []
    for seed in table.unique("seed"):
        own = table.where(seed=seed)
        row: dict[str, Any] = {"seed": seed}
        for times in settings.budgets:
            last = times * settings.learner.iterations
            until = own.at(own["iteration"] <= last)
            late = until.at(until["iteration"] > (1 - WINDOW) * last)
            row[f"gold_{times}"] = float(late["gold"].mean())
            row[f"drop_{times}"] = float(until["gold"].max() - late["gold"].mean())
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
        rivals = ("preference_as_reward", *PESSIMISTIC)
        ledger += [_more_gold(found, "xi_ppo", one, late[-1], "") for one in rivals]
    conditions = (
        f"budget {settings.learner.iterations} iterations of {settings.learner.sequences} sequences, KL coefficient "
        f"{settings.kl_coefficient:g} where there are no constraints"
    )
    return [dataclasses.replace(claim, conditions=conditions) for claim in ledger if claim is not None]


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
    variants: list[tuple[str, float]] = [(name, settings.kl_coefficient) for name in METHODS]
    variants[1:1] = [("raw", one) for one in settings.kl_sweep if one != settings.kl_coefficient]
    for name, coefficient in variants:
        found = drops(results, name, coefficient)
        if not len(found):
            continue
        row: dict[str, Any] = {"method": METHODS[name]}
        row["KL coefficient"] = "" if name in CONSTRAINED else f"{coefficient:g}"
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
            table = curves.where(method=name, kl_coefficient=settings.kl_coefficient)
            plot_band(one, table, "sequences", "gold", number, label)
        one.set_title(title)
        label_steps(one)
    for number, coefficient in enumerate(settings.kl_sweep, start=len(CONSTRAINED) + 1):
        table = curves.where(method="raw", kl_coefficient=coefficient)
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
    names = [name for name in METHODS if name in settings.methods]
    late = [times for times in settings.budgets if times > 1]
    figure, axes = plots.new_figure(columns=2, height=0.8 + 0.24 * len(names), sharey=True)
    for one, quantity in zip(axes, ("drop", "gold"), strict=True):
        for number, times in enumerate(late):
            estimates = [mean_interval(drops(results, name)[f"{quantity}_{times}"]) for name in names]
            plots.plot_intervals(
                one, [METHODS[name] for name in names], estimates, number, len(late), f"{times} times the budget"
            )
    axes[0].set_xlabel("drop of gold from its peak")
    axes[1].set_xlabel("gold")
    axes[1].legend(loc="best")
    return plots.save(figure, folder, "drops")


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "reward_shaping", *sys.argv[1:]]))
