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
from typing import TYPE_CHECKING, Any

import numpy as np

from prefront.experiments.token_worlds import (
    LearnerSettings,
    Row,
    WorldSettings,
    constrained_optimum,
    learned_curve,
    made_world,
    proxy_points,
    trained,
)
from prefront.reports.bands import curves, draw_panels, intervals
from prefront.reports.claim_forms import larger
from prefront.reports.claims import Claim
from prefront.reports.overoptimization import averages, late
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system.checks import MANY, check_between, check_distinct, check_names, check_types
from prefront.system.tables import Table

if TYPE_CHECKING:
    from prefront.agents.constrained_rlhf import MethodSettings

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
        gold_coefficients: KL coefficients among which gold at the end chooses; nine of them ask more of gold than
            the search for the thresholds does.
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
        check_distinct(self, "methods", "gold_coefficients")
        check_distinct(self, "kl_sweep", empty=True)
        check_names("method", self.methods, list(METHODS))
        check_names("method with a KL coefficient", self.informed, [one for one in METHODS if one not in CONSTRAINED])
        check_between(self, 0, MANY, "kl_coefficient", "kl_sweep", "gold_coefficients", "penalty", closed="both")
        check_between(self, 1, MANY, "references", closed="both")
        check_between(self, 1, 1000, "budgets", closed="both")
        check_between(self, 2, 1000, "members", closed="both")
        check_between(self, 2, MANY, "samples", closed="both")
        if not self.budgets or list(self.budgets) != sorted(set(self.budgets)):
            raise ValueError(f"budgets must be increasing multiples of at least 1, got {self.budgets}.")


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

    name, knowledge = job.cell.method, job.cell.knowledge or UNTUNED
    train = functools.partial(_train, settings, seed, job, name)
    if name in CONSTRAINED:
        method = method_settings(name, thresholds=np.array(thresholds(settings, seed)))
        return {"curves": train(method, {"knowledge": BY_GOLD})}
    if knowledge == BY_ORACLE:
        optimum = constrained_optimum(settings.world, seed, thresholds(settings, seed))
        assert optimum is not None, "a proxy point is that of a policy"
        target = float(optimum.divergence)
        method = method_settings("ppo_adaptive_kl", kl_target=target)
        return {"curves": train(method, {"knowledge": BY_ORACLE, "kl_target": target})}
    coefficients: tuple[float, ...] = (settings.kl_coefficient,)
    tables: dict[str, Rows] = {}
    if name == "raw":
        coefficients = tuple(dict.fromkeys((settings.kl_coefficient, *settings.kl_sweep)))
    if knowledge == BY_GOLD:
        gold = gold_by_coefficient(settings, seed, job, name)
        coefficients = (settings.gold_coefficients[int(np.argmax(gold))],)
        pairs = zip(settings.gold_coefficients, gold.tolist(), strict=True)
        tables["choices"] = [{"method": name, "kl_coefficient": one, "gold": end} for one, end in pairs]
    rows: list[Row] = []
    for one in coefficients:
        method = method_settings("ppo_fixed_kl", kl_coefficient=one)
        rows += train(method, {"knowledge": knowledge, "kl_coefficient": one})
    return {"curves": rows, **tables}


def thresholds(settings: Settings, seed: int) -> tuple[float, ...]:
    """Returns the exact joint proxy point, which is chosen by gold, one number per reward model."""
    return proxy_points(settings.world, seed, settings.samples, split=0)[0]


def _train(
    settings: Settings, seed: int, job: Job, name: str, method: MethodSettings, labels: dict[str, Any]
) -> list[Row]:
    """Trains one run of a method; returns its rows, with `test_gold` of sequences by which nothing is chosen."""
    method, inputs = _shaped(settings, seed, name, method, 1)
    inputs |= {"times": settings.budgets[-1], "test_sequences": settings.learner.evaluation_sequences}
    rows = learned_curve(settings.world, seed, job, method, settings.learner, check_reachable=False, **inputs)
    return [{"method": name, **labels, **row} for row in rows]


def gold_by_coefficient(settings: Settings, seed: int, job: Job, name: str) -> np.ndarray:
    """Trains with every coefficient of `gold_coefficients` at once, by other random keys than the run reported.

    Returns:
        Gold at the end of the largest budget, shape (coefficients,).
    """
    import jax

    from prefront.agents.constrained_rlhf import method_settings

    runs, times = len(settings.gold_coefficients), settings.budgets[-1]
    method = method_settings("ppo_fixed_kl", kl_coefficient=np.array(settings.gold_coefficients))
    method, inputs = _shaped(settings, seed, name, method, runs)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 2**32 - 1), runs)
    history = trained(settings.world, seed, job, method, settings.learner, times=times, keys=keys, **inputs).history
    ends = history["iteration"][0] > (1 - WINDOW) * times * settings.learner.iterations
    return np.asarray(history["gold"][:, ends].mean(1))


def _shaped(
    settings: Settings, seed: int, name: str, method: MethodSettings, runs: int
) -> tuple[MethodSettings, dict[str, Any]]:
    """Returns the method with its reward transform, and what so many runs of it learn from."""
    import jax

    from prefront.agents import reward_shaping

    if name not in {**SHAPED, **ENSEMBLES}:
        return method, {}
    world, made = made_world(settings.world, seed)
    _, for_shaping, for_ensemble = jax.random.split(jax.random.key(seed), 3)
    sizes: dict[str, Any] = {"references": settings.references, "penalty": settings.penalty}
    inputs: dict[str, Any] = {"statistics": reward_shaping.reference_statistics(world, made, for_shaping, **sizes)}
    if name in ENSEMBLES:
        inputs["ensemble"] = reward_shaping.fit_ensemble(world, made, for_ensemble, settings.members)
    method = dataclasses.replace(method, transform=reward_shaping.reward_transform(name))
    return method, jax.tree.map(lambda leaf: np.stack([leaf] * runs), inputs)


def runs(results: Results) -> dict[str, Table]:
    """Returns the curves of all seeds by run: a method, and what tells it apart from others of this method."""
    settings, curves = results.settings, results["curves"]

    def name(method: str, knowledge: str, coefficient: float) -> str:
        if method in CONSTRAINED or (knowledge == UNTUNED and coefficient == settings.kl_coefficient):
            return METHODS[method]
        return f"{METHODS[method]}, {KNOWLEDGE.get(knowledge, f'KL coefficient {coefficient:g}')}"

    missing = np.full(len(curves), np.nan)
    columns = (curves["method"], curves["knowledge"], curves.columns.get("kl_coefficient", missing))
    named = np.array([name(*values) for values in zip(*(one.tolist() for one in columns), strict=True)])
    return {run: table for (run,), table in Table({**curves.columns, "run": named}).groups("run")}


def drops(results: Results) -> dict[str, Table]:
    """Returns by run one row per seed: gold and its drop from the peak so far, at each multiple of the budget.

    Gold at a multiple is the mean over the last tenth of the iterations up to it. The peak is where `gold` is largest;
    its height, like all other gold here, is `test_gold`.
    """
    settings, found = results.settings, {}
    for run, table in runs(results).items():
        rows = []
        for (seed,), own in table.groups("seed"):
            row: dict[str, Any] = {"seed": seed}
            for times in settings.budgets:
                last = times * settings.learner.iterations
                until, end = own.at(own["iteration"] <= last), late(own, last, WINDOW)
                row[f"gold_{times}"] = float(end["test_gold"].mean())
                row[f"drop_{times}"] = float(until["test_gold"][np.argmax(until["gold"])] - end["test_gold"].mean())
                row[f"kl_{times}"] = float(end["kl"].mean())
            rows.append(row)
        found[run] = Table.from_rows(rows)
    return found


def claims(results: Results) -> list[Claim]:
    """Decides what both papers say, and whether constraints have more gold than rivals that know as much of it."""
    settings, found = results.settings, drops(results)
    budget = f"budget {settings.learner.iterations} iterations of {settings.learner.sequences} sequences"
    untuned = f"{budget}; KL coefficient {settings.kl_coefficient:g}, tuned for neither side"
    later = [times for times in settings.budgets if times > 1]
    ledger = []

    def claim(column: str, times: int, more: str, less: str, sentence: str, paper: str, on: str = untuned) -> None:
        if more in found and less in found:
            words: dict[str, Any] = {
                "sentence": f"{sentence} at {times} times the budget.",
                "paper": paper,
                "conditions": on,
            }
            pair = (found[run][f"{column}_{times}"] for run in (more, less))
            quantity = f"mean difference of {'the drop of ' if column == 'drop' else ''}gold"
            ledger.append(larger(*pair, quantity=quantity, **words))

    raw, par, mean, xi = (METHODS[one] for one in ("raw", "preference_as_reward", "ensemble_mean", "xi_ppo"))
    pessimistic = [METHODS[one] for one in PESSIMISTIC]
    pairs = [(ours, raw, times) for ours in (par, *pessimistic) for times in later]
    for ours, theirs, times in pairs + [(ours, mean, times) for ours in pessimistic for times in later[-1:]]:
        sentence = f"{ours}: gold drops less from its peak than with {theirs},"
        claim("drop", times, theirs, ours, sentence, COSTE if ours in pessimistic else PAR)
    for theirs in (METHODS[one] for one in BASELINES):
        for times in later[:1]:
            claim("gold", times, par, theirs, f"{par} has more gold than {theirs}", PAR)
    known = f"{budget}; both sides know gold of the same world; reported on other sequences"
    for rival in (run for run in found if run.endswith((KNOWLEDGE[BY_GOLD], KNOWLEDGE[BY_ORACLE]))):
        claim("gold", settings.budgets[-1], xi, rival, f"{xi}, {THRESHOLDS}, has more gold than {rival},", "", known)
    return ledger


def summary(results: Results) -> Table:
    """Returns one row per run: means over seeds of gold, its drop and KL at each multiple of the budget."""
    names = {
        f"{what}_{times}": f"{what}, {times}x" for what in ("gold", "drop", "kl") for times in results.settings.budgets
    }
    return Table.from_rows({"method": run, **averages(rows, names)} for run, rows in drops(results).items())


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws gold over training by family of methods, and drops and gold at the end."""
    settings, shown, found = results.settings, runs(results), drops(results)
    sweep = [run for run in shown if run.startswith(f"{METHODS['raw']}, KL coefficient ") and run[-1].isdigit()]
    families = {"shaped rewards": SHAPED, "ensembles": ENSEMBLES, "constraints and KL": CONSTRAINED}
    marks = [times * settings.learner.iterations * settings.learner.sequences for times in settings.budgets]
    panels = []
    for title, methods in families.items():
        names = [METHODS["raw"], *methods.values(), *(sweep if methods is CONSTRAINED else [])]
        series = {name: shown.get(name, Table({})) for name in names}
        panels.append(curves(series, "sequences", "gold", marks=marks, title=title))
    ends = [
        intervals(
            {
                f"{times} times the budget": {run: rows[f"{what}_{times}"] for run, rows in found.items()}
                for times in settings.budgets
                if times > 1
            },
            xlabel=label,
        )
        for what, label in (("drop", "drop of gold from its peak"), ("gold", "gold"))
    ]
    return [
        *draw_panels(folder, "gold_over_training", panels, legend="lower left", height=3.0, sharey=True),
        *draw_panels(folder, "drops", ends, height=0.8 + 0.24 * len(found), sharey=True),
    ]


STUDY = Study(
    presets={
        "smoke": Settings(
            learner=LearnerSettings(iterations=40, sequences=128, evaluation_sequences=256),
            methods=("raw", "preference_as_reward"),
            budgets=(1, 2),
            kl_sweep=(0.4,),
            informed=("preference_as_reward",),
            gold_coefficients=(0.02, 0.16),
            samples=256,
        ),
        "paper": Settings(),
    },
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
