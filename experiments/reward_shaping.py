"""Reward shaping and reward-model ensembles against constraints: how far gold falls after its peak.

Every method trains four times as long as its budget: PPO on raw rewards with several KL coefficients, on shaped rewards
(PAR and the baselines of its paper), on ensembles of reward models, and with constraints at the exact joint proxy
point. What counts is the drop of gold from its peak at two and four times the budget.

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

from prefront.experiments import token_worlds
from prefront.experiments.token_worlds import LearnerSettings, Row, WorldSettings
from prefront.reports.bands import ABOVE, curves, draw_panels, intervals
from prefront.reports.claim_forms import larger
from prefront.reports.claims import Claim
from prefront.reports.overoptimization import averages, drops
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system.checks import MANY, check_between, check_distinct, check_names, check_types
from prefront.system.tables import Table

PAR = "Fu et al. (2025), Section 4"
COSTE = "Coste et al. (2024), Section 5"
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
RAW = "raw rewards"
METHODS = {"raw": RAW, **SHAPED, **ENSEMBLES, **CONSTRAINED}
UNTUNED, BY_GOLD, BY_ORACLE = "untuned", "gold", "oracle"
KNOWLEDGE = {BY_GOLD: "KL coefficient chosen by gold", BY_ORACLE: "at the KL of the exact constrained optimum"}
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
        gold_coefficients: KL coefficients among which gold at the end chooses.
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
    return [*map(Cell, settings.methods), *(Cell(name, knowledge) for name in informed for knowledge in KNOWLEDGE)]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Trains one method: raw rewards with each KL coefficient, informed methods with what gold says.

    Returns:
        `curves`: rows of `prefront.experiments.token_worlds` with `method`, `knowledge` (a key of `KNOWLEDGE`) and
        `kl_coefficient`, or `kl_target` where a controller aims at it. `choices`: the gold by which a coefficient was
        chosen, one row per coefficient.
    """
    from prefront.agents.constrained_rlhf import method_settings

    name, knowledge = job.cell.method, job.cell.knowledge or UNTUNED
    train = functools.partial(_train, settings, seed, job)
    if name in CONSTRAINED:
        method = method_settings(name, thresholds=np.array(thresholds(settings, seed)))
        return {"curves": train(method, knowledge=BY_GOLD)}
    if knowledge == BY_ORACLE:
        optimum = token_worlds.constrained_optimum(settings.world, seed, thresholds(settings, seed))
        assert optimum is not None, "a proxy point is that of a policy"
        target = float(optimum.divergence)
        return {"curves": train(method_settings("ppo_adaptive_kl", kl_target=target), kl_target=target)}
    coefficients, tables = [settings.kl_coefficient], dict[str, Rows]()
    if knowledge == BY_GOLD:
        gold = _gold_by_coefficient(settings, seed, job, name)
        coefficients = [settings.gold_coefficients[int(np.argmax(gold))]]
        pairs = zip(settings.gold_coefficients, gold.tolist(), strict=True)
        tables["choices"] = [{"method": name, "kl_coefficient": one, "gold": end} for one, end in pairs]
    elif name == "raw":
        coefficients = list(dict.fromkeys((settings.kl_coefficient, *settings.kl_sweep)))
    methods = [method_settings("ppo_fixed_kl", kl_coefficient=one) for one in coefficients]
    trains = (train(method, kl_coefficient=one) for method, one in zip(methods, coefficients, strict=True))
    return {"curves": [row for rows in trains for row in rows], **tables}


def thresholds(settings: Settings, seed: int) -> tuple[float, ...]:
    """Returns the exact joint proxy point, which is chosen by gold, one number per reward model."""
    return token_worlds.proxy_points(settings.world, seed, settings.samples, split=0)[0]


def _train(settings: Settings, seed: int, job: Job, method: Any, **labels: Any) -> list[Row]:
    """Trains one run of the cell's method; returns its rows, with `test_gold` by which nothing is chosen."""
    method, inputs = _shaped(settings, seed, job.cell.method, method, 1)
    inputs |= {"times": settings.budgets[-1], "tested": True, "check_reachable": False}
    rows = token_worlds.learned_curve(settings, seed, job, method, **inputs)
    labels = {"method": job.cell.method, "knowledge": job.cell.knowledge or UNTUNED, **labels}
    return [{**labels, **row} for row in rows]


def _gold_by_coefficient(settings: Settings, seed: int, job: Job, name: str) -> np.ndarray:
    """Trains with all `gold_coefficients` at once, by other keys than the run reported; returns gold at the end."""
    import jax

    from prefront.agents.constrained_rlhf import method_settings

    number, times = len(settings.gold_coefficients), settings.budgets[-1]
    method = method_settings("ppo_fixed_kl", kl_coefficient=np.array(settings.gold_coefficients))
    method, inputs = _shaped(settings, seed, name, method, number)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 2**32 - 1), number)
    history = token_worlds.trained(settings, seed, job, method, times=times, keys=keys, **inputs).history
    ends = history["iteration"][0] > (1 - WINDOW) * times * settings.learner.iterations
    return np.asarray(history["gold"][:, ends].mean(1))


def _shaped(settings: Settings, seed: int, name: str, method: Any, number: int) -> tuple[Any, dict[str, Any]]:
    """Returns the method with its reward transform, and what so many runs of it learn from."""
    import jax

    from prefront.agents import reward_shaping

    if name not in {**SHAPED, **ENSEMBLES}:
        return method, {}
    task = token_worlds.made_world(settings.world, seed)
    _, for_shaping, for_ensemble = jax.random.split(jax.random.key(seed), 3)
    sizes: dict[str, Any] = {"references": settings.references, "penalty": settings.penalty}
    inputs: dict[str, Any] = {"statistics": reward_shaping.reference_statistics(task, for_shaping, **sizes)}
    if name in ENSEMBLES:
        inputs["ensemble"] = reward_shaping.fit_ensemble(task, for_ensemble, settings.members)
    method = dataclasses.replace(method, transform=reward_shaping.reward_transform(name))
    return method, jax.tree.map(lambda leaf: np.stack([leaf] * number), inputs)


def runs(results: Results) -> dict[str, Table]:
    """Returns the curves of all seeds by run: a method, and what tells it apart from others of this method."""
    settings, curves = results.settings, results["curves"]

    def name(method: str, knowledge: str, coefficient: float) -> str:
        if method in CONSTRAINED or (knowledge == UNTUNED and coefficient == settings.kl_coefficient):
            return METHODS[method]
        return f"{METHODS[method]}, {KNOWLEDGE.get(knowledge, f'KL coefficient {coefficient:g}')}"

    coefficients = curves.columns.get("kl_coefficient", np.full(len(curves), np.nan))
    columns = (curves["method"], curves["knowledge"], coefficients)
    named = np.array([name(*values) for values in zip(*columns, strict=True)])
    return {run: table for (run,), table in Table({**curves.columns, "run": named}).groups("run")}


def endings(results: Results) -> dict[str, Table]:
    """Returns by run one row per seed: gold and its drop from the peak so far, at each multiple of the budget."""
    ends = {times: times * results.settings.learner.iterations for times in results.settings.budgets}
    return {run: drops(table, ends, WINDOW) for run, table in runs(results).items()}


def claims(results: Results) -> list[Claim]:
    """Decides what both papers say, and whether constraints have more gold than rivals that know as much of it."""
    settings, found = results.settings, endings(results)
    budget = f"budget {settings.learner.iterations} iterations of {settings.learner.sequences} sequences"
    untuned = f"{budget}; KL coefficient {settings.kl_coefficient:g}, tuned for neither side"
    later = [times for times in settings.budgets if times > 1]
    known = f"{budget}; both sides know gold of the same world; reported on other sequences"
    (par, *baselines), (mean, *pessimistic) = SHAPED.values(), ENSEMBLES.values()
    falls, has = "{1}: gold drops less from its peak than with {0},", "{} has more gold than {}"
    compared = [("drop", times, RAW, ours, falls, untuned) for ours in (par, *pessimistic) for times in later]
    compared += [("drop", times, mean, ours, falls, untuned) for ours in pessimistic for times in later[-1:]]
    compared += [("gold", times, par, theirs, has, untuned) for theirs in baselines for times in later[:1]]
    for rival in (run for run in found if run.endswith(tuple(KNOWLEDGE.values()))):
        sentence = "{}, thresholds chosen by gold, has more gold than {},"
        compared.append(("gold", settings.budgets[-1], CONSTRAINED["xi_ppo"], rival, sentence, known))
    return [
        larger(
            found[more][f"{column}_{times}"],
            found[less][f"{column}_{times}"],
            sentence=f"{sentence.format(more, less)} at {times} times the budget.",
            paper="" if on == known else COSTE if less in pessimistic else PAR,
            quantity=f"mean difference of {'the drop of ' if column == 'drop' else ''}gold",
            conditions=on,
        )
        for column, times, more, less, sentence, on in compared
        if more in found and less in found
    ]


def summary(results: Results) -> Table:
    """Returns one row per run: means over seeds of gold, its drop and KL at each multiple of the budget."""
    budgets = results.settings.budgets
    names = {f"{what}_{times}": f"{what}, {times}x" for what in ("gold", "drop", "kl") for times in budgets}
    return Table.from_rows({"method": run, **averages(rows, names)} for run, rows in endings(results).items())


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws gold over training by family of methods, and drops and gold at the end."""
    settings, shown, found = results.settings, runs(results), endings(results)
    sweep = [run for run in shown if run.startswith(f"{RAW}, KL coefficient ") and run[-1].isdigit()]
    families = {"shaped rewards": SHAPED, "ensembles": ENSEMBLES, "constraints and KL": CONSTRAINED}
    marks = [times * settings.learner.iterations * settings.learner.sequences for times in settings.budgets]
    panels = []
    for title, family in families.items():
        names = (RAW, *family.values(), *(sweep if family is CONSTRAINED else ()))
        series = {name: shown.get(name, Table({})) for name in names}
        panels.append(curves(series, "sequences", "gold", marks=marks, title=title))
    ends = []
    for what, label in (("drop", "drop of gold from its peak"), ("gold", "gold")):
        by_budget = {times: {run: rows[f"{what}_{times}"] for run, rows in found.items()} for times in settings.budgets}
        ends.append(intervals({f"{times} times the budget": one for times, one in by_budget.items()}, xlabel=label))
    return [
        *draw_panels(folder, "gold_over_training", panels, legend="lower left", height=3.0, sharey=True),
        *draw_panels(folder, "drops", ends, legend=ABOVE, height=0.8 + 0.24 * len(found), sharey=True),
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
