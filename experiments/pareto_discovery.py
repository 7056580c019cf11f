"""How much of the exact Pareto front C-MORL discovers, beside linear scalarisation at equal steps.

Each environment is trained with both stages of C-MORL and, with the same budget of environment steps, with stage 1
alone, which is linear scalarisation by a population of learners. Fronts hold discounted returns of deterministic
policies and are scored against the exact front of deterministic policies, or the best known one where none is proven.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from prefront import indicators, plots, statistics
from prefront.claims import Claim, judge
from prefront.experiment import Job, Results, Rows
from prefront.registration import ENVIRONMENTS, make, nearest_names
from prefront.scores import Truth
from prefront.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from prefront.environment import Environment
    from prefront.front import Front

PAPER = "Liu et al. (2025), C-MORL"
STATED_GAIN = "up to 35 % more"
METHODS = {"C-MORL": "C-MORL", "linear": "linear scalarisation"}
TIE = 1e-9
TEST_SEED = 2**31 - 1  # No training run has this seed.
DISCRETE = (
    "DeepSeaTreasure",
    "DeepSeaTreasureConcave",
    "DeepSeaTreasureMirrored",
    "FruitTree",
    "ResourceGathering",
    "FourRoom",
    "BreakableBottles",
    "Minecart",
    "MinecartDeterministic",
    "MOMountainCar",
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        environments: Names of our environments, without `prefront/` and `-v0`.
        methods: "C-MORL" (both stages) and "linear" (stage 1 alone, all steps).
        agent_preset: "exact" (tuned to find whole fronts) or "paper" (the published settings).
        budget: Training steps as a share of the agent preset's.
        test_episodes: Fresh episodes by which each policy of a finished front is measured where the environment is
            random, so that no policy is in the front for its luck in training.
    """

    environments: tuple[str, ...] = DISCRETE
    methods: tuple[Literal["C-MORL", "linear"], ...] = ("C-MORL", "linear")
    agent_preset: Literal["exact", "paper"] = "exact"
    budget: float = 1.0
    test_episodes: int = 200

    def __post_init__(self) -> None:
        known = [id.removeprefix("prefront/").removesuffix("-v0") for id in ENVIRONMENTS]
        for name in self.environments:
            if name not in known:
                raise ValueError(f"No prefront environment {name!r}. {nearest_names(name, known)}")
        if not self.budget > 0:
            raise ValueError(f"The budget must be positive, got {self.budget}.")
        if self.test_episodes < 1:
            raise ValueError(f"At least 1 test episode is needed, got {self.test_episodes}.")


PRESETS = {
    "smoke": Settings(environments=("DeepSeaTreasure", "FruitTree"), budget=0.02),
    "paper": Settings(),
}
SEEDS = {"smoke": 2, "paper": 5}


def parts(settings: Settings) -> list[str]:
    """Names one piece of work per environment and method."""
    return [f"{name}.{method}" for name in settings.environments for method in settings.methods]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Trains one method on one environment; the front goes to `front/` in the job's folder.

    Returns:
        `metrics` (one row), `curves` (hypervolume by steps), `points` (the front found) and `exact` (the true front).
    """
    from prefront.agents.cmorl import Progress, config_for, train

    name, method = job.part.split(".")
    environment, truth = _task(name)
    id = f"prefront/{name}-v0"
    config = config_for(id, settings.agent_preset)
    steps = max(1, round(config.total_steps * settings.budget))
    config = dataclasses.replace(config, total_steps=steps)
    if method == "linear":
        config = dataclasses.replace(config, extension="none")

    def progress(now: Progress) -> None:
        job.report(now.environment_steps, now.total_steps, hypervolume=now.hypervolume, points=now.cardinality)

    result = train(id, config, seed, progress=progress, checkpoint=job.checkpoint)
    result.front.save(job.folder / "front")
    labels = {"environment": name, "method": method}
    found = _test(result.front, environment, settings.test_episodes)
    facts = {
        **labels,
        "id": id,
        "objectives": ";".join(environment.objective_names),
        "gamma": environment.discount,
        "reference_point": " ".join(f"{part:g}" for part in environment.reference_point),
        "policies": "deterministic",
        "archived": len(result.front),
        "environment_steps": int(result.environment_steps),
        "evaluation_steps": int(result.evaluation_steps),
    }
    history = result.history
    curve = [
        {
            **labels,
            "environment_steps": int(history["environment_steps"][i]),
            "evaluation_steps": int(history["evaluation_steps"][i]),
            "hypervolume": float(history["hypervolume"][i]),
            "share": float(history["hypervolume"][i]) / truth.hypervolume,
            "cardinality": int(history["cardinality"][i]),
            "stage": int(history["stage"][i]),
        }
        for i in range(len(history["environment_steps"]))
    ]
    return {
        "metrics": [{**facts, **truth.score(found)}],
        "curves": curve,
        "points": [{**labels, **_point(point)} for point in found],
        # One copy is enough, so the first seed of the first method brings it.
        "exact": [{"environment": name, "kind": truth.kind, **_point(point)} for point in truth.front]
        if (seed, method) == (0, settings.methods[0])
        else [],
    }


def _test(front: Front, environment: Environment, episodes: int) -> np.ndarray:
    """Returns the non-dominated among freshly measured returns, shape (points, objectives)."""
    fresh = front.evaluate(environment, episodes=episodes, seed=TEST_SEED)
    # Where nothing is random, archived returns are exact, and a mean over many episodes only adds rounding.
    returns = front.returns if np.allclose(front.returns, fresh, rtol=1e-5, atol=1e-6) else fresh
    return np.asarray(returns[indicators.non_dominated(returns)], np.float64)


@functools.cache
def _task(name: str) -> tuple[Environment, Truth]:
    environment = make(f"prefront/{name}-v0")
    return environment, Truth.of(environment)


def _point(point: np.ndarray) -> dict[str, float]:
    return {f"return_{i}": float(part) for i, part in enumerate(point)}


def _points(table: Table, **equal: Any) -> np.ndarray:
    rows = table.where(**equal)
    columns = [column for name, column in rows.columns.items() if name.startswith("return_")]
    points = np.stack(columns, axis=1) if columns else np.empty((len(rows), 0))
    return points[:, ~np.isnan(points).all(axis=0)]


def claims(results: Results) -> list[Claim]:
    """Decides, for each environment, whether C-MORL beats linear scalarisation and whether it finds the whole front."""
    ledger = []
    for name in results.settings.environments:
        rows = {method: results["metrics"].where(environment=name, method=method) for method in METHODS}
        if len(rows["C-MORL"]):
            ledger.append(_whole_front(name, rows["C-MORL"]))
        if all(len(table) for table in rows.values()):
            ledger.append(_more_hypervolume(name, rows["C-MORL"], rows["linear"]))
    return [claim for claim in ledger if claim is not None]


def _more_hypervolume(name: str, ours: Table, theirs: Table) -> Claim:
    """Pairs both methods by seed; the gain is in percent of linear scalarisation's mean hypervolume."""
    first, second = ours["hypervolume"], theirs["hypervolume"]
    some = second.mean() > 0
    gains = 100 * (first - second) / (second.mean() if some else max(first.max(), 1.0))
    tied = bool(np.abs(gains).max() <= TIE)
    greater = statistics.wilcoxon_test(first, second, "greater")
    less = statistics.wilcoxon_test(first, second, "less")
    interval = statistics.stratified_bootstrap(gains, np.mean)
    return Claim(
        sentence=f"{name}: C-MORL finds more hypervolume than linear scalarisation at equal steps.",
        paper=PAPER,
        stated=STATED_GAIN,
        measured=float(gains.mean()),
        quantity="%, mean gain" if some else "% of C-MORL's best; linear scalarisation has none",
        seeds=len(gains),
        verdict="fails" if tied else judge(greater.p_value, less.p_value),
        interval=(interval.low, interval.high),
        p_value=greater.p_value,
        test="equal in every seed" if tied else f"{greater.test}, paired by seed, one-sided; 95 % bootstrap interval",
        conditions=_conditions(ours),
    )


def _whole_front(name: str, rows: Table) -> Claim | None:
    """Counts the seeds that found every point, or, beside a best known front, compares hypervolumes."""
    if rows["front_kind"][0] == "unknown":
        return None
    exact = rows["front_kind"][0] == "exact"
    shares = rows["points_found"] / rows["true_points"] if exact else rows["share"]
    interval = statistics.stratified_bootstrap(shares, np.mean)
    whole = f"{(shares == 1).sum()} of {len(rows)} seeds found all {rows['true_points'][0]} points; "
    return Claim(
        sentence=f"{name}: C-MORL finds every point of the exact front, in every seed."
        if exact
        else f"{name}: C-MORL reaches the best known hypervolume.",
        paper="",
        stated="",
        measured=interval.estimate,
        quantity="of the points" if exact else "of it",
        seeds=len(rows),
        verdict="holds" if (shares.min() if exact else interval.low) >= 1 else "fails",
        interval=(interval.low, interval.high),
        test=f"{whole if exact else ''}mean with 95 % bootstrap interval",
        conditions=_conditions(rows),
    )


def _conditions(rows: Table) -> str:
    row = next(iter(rows.rows()))
    steps = f"{row['environment_steps']:,} training and {row['evaluation_steps']:,} evaluation steps"
    return (
        f"{row['id']}, discount {row['gamma']:g}, reference point ({row['reference_point'].replace(' ', ', ')}), "
        f"{row['policies']} policies, {steps}"
    )


def summary(results: Results) -> Table:
    """Returns one row per environment and method: interquartile means over seeds, with the seconds they took."""
    rows = []
    for name in results.settings.environments:
        for method in results.settings.methods:
            found = results["metrics"].where(environment=name, method=method)
            if not len(found):
                continue
            share = found["share"]
            known = bool(np.isfinite(share).all())
            interval = statistics.stratified_bootstrap(share if known else found["hypervolume"])
            seconds = (
                results.timing.where(part=f"{name}.{method}")["cpu_seconds"] if len(results.timing) else [math.nan]
            )
            rows.append(
                {
                    "environment": name,
                    "method": METHODS[method],
                    "discount": float(found["gamma"][0]),
                    "reference point": str(found["reference_point"][0]),
                    "hypervolume": _iqm(found["hypervolume"]),
                    "share of true": interval.estimate if known else None,
                    "95 % interval": f"{interval.low:.4g} to {interval.high:.4g}",
                    "true front": str(found["front_kind"][0]),
                    "points found": f"{_iqm(found['points_found']):.4g} of {found['true_points'][0]}" if known else "",
                    "cardinality": _iqm(found["cardinality"]),
                    "expected utility": _iqm(found["expected_utility"]),
                    "sparsity": _iqm(found["sparsity"]),
                    "IGD+": _iqm(found["igd_plus"]) if known else None,
                    "steps": _iqm(found["environment_steps"]),
                    "evaluation steps": _iqm(found["evaluation_steps"]),
                    "CPU seconds": _iqm(seconds),
                    "seeds": len(found),
                }
            )
    return Table.from_rows(rows)


def _iqm(values: Any) -> float:
    return float(statistics.iqm(values))


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws one figure per environment, and one with the share of the true hypervolume in all of them."""
    paths = []
    with plots.style():
        for name in results.settings.environments:
            if len(results["metrics"].where(environment=name)):
                paths += _plot_environment(results, name, folder)
        paths += _plot_shares(results, folder)
    return paths


def _plot_environment(results: Results, name: str, folder: Path) -> list[Path]:
    rows = results["metrics"].where(environment=name)
    methods = [method for method in METHODS if method in rows.unique("method")]
    true = _points(results["exact"], environment=name) if "exact" in results.tables else np.empty((0, 0))
    found = {method: _fronts(results, name, method) for method in methods}
    two = next(iter(found.values()))[0].shape[1] == 2
    names = str(rows["objectives"][0]).split(";")
    figure, axes = plots.new_figure(columns=2 if two else 1 + len(methods), height=2.4, width=plots.PAGE_WIDTH)
    if two:
        _plot_fronts(axes[0], found, true, names, rows)
    else:
        reference = true if len(true) else np.concatenate([front for fronts in found.values() for front in fronts])
        for number, method in enumerate(methods):
            median = _median_front(found[method], rows.where(method=method)["hypervolume"])
            plots.plot_parallel(axes[number], median, reference, names, number, METHODS[method])
            if number:
                axes[number].set_ylabel("")
    _plot_progress(axes[-1], results, name, methods)
    return plots.save(figure, folder, name)


def _fronts(results: Results, name: str, method: str) -> list[np.ndarray]:
    seeds = results["metrics"].where(environment=name, method=method)["seed"].tolist()
    return [_points(results["points"], environment=name, method=method, seed=seed) for seed in seeds]


def _median_front(fronts: list[np.ndarray], hypervolumes: np.ndarray) -> np.ndarray:
    return fronts[int(np.argsort(hypervolumes, kind="stable")[(len(fronts) - 1) // 2])]


def _plot_fronts(
    axes: Axes, found: dict[str, list[np.ndarray]], true: np.ndarray, names: Sequence[str], rows: Table
) -> None:
    kind = str(rows["front_kind"][0])
    if len(true):
        plots.plot_exact_front(axes, true, f"{kind} front")
    every = np.concatenate([true, *(front for fronts in found.values() for front in fronts)])
    floor = every.min(0) - 0.08 * np.ptp(every, axis=0)
    for number, (method, fronts) in enumerate(found.items()):
        median = _median_front(fronts, rows.where(method=method)["hypervolume"])
        plots.plot_attainment(axes, fronts, number, "", floor)
        plots.plot_front(axes, median, number, METHODS[method])
    axes.set_xlim(floor[0])
    axes.set_ylim(floor[1])
    axes.set_xlabel(f"{names[0]}, discounted return")
    axes.set_ylabel(f"{names[1]}, discounted return")
    axes.set_title("points: median seed; lines: attained by half of the seeds")
    axes.legend(loc="best")


def _plot_progress(axes: Axes, results: Results, name: str, methods: list[str]) -> None:
    known = bool(np.isfinite(results["metrics"].where(environment=name)["share"]).all())
    column = "share" if known else "hypervolume"
    for number, method in enumerate(methods):
        curves = results["curves"].where(environment=name, method=method)
        runs = [curves.where(seed=seed) for seed in curves.unique("seed")]
        steps, values = [run["environment_steps"] for run in runs], [run[column] for run in runs]
        plots.plot_curves(axes, steps, values, number, METHODS[method])
    if known:
        axes.axhline(1.0, color=plots.EXACT, linewidth=0.8, linestyle=":")
    kind = str(results["metrics"].where(environment=name)["front_kind"][0])
    axes.set_xlabel("training steps")
    axes.set_ylabel(f"hypervolume / {kind}" if known else "hypervolume")
    axes.set_title("median and range over seeds")
    axes.legend(loc="lower right")


def _plot_shares(results: Results, folder: Path) -> list[Path]:
    metrics = results["metrics"].at(np.isfinite(results["metrics"]["share"]))
    names, methods = metrics.unique("environment"), [m for m in METHODS if m in metrics.unique("method")]
    if not names:
        return []
    figure, (axes,) = plots.new_figure(width=plots.PAGE_WIDTH, height=0.7 + 0.32 * len(names))
    for number, method in enumerate(methods):
        estimates = []
        for name in names:
            interval = statistics.stratified_bootstrap(metrics.where(environment=name, method=method)["share"])
            estimates.append((interval.estimate, interval.low, interval.high))
        plots.plot_intervals(axes, names, estimates, number, len(methods), METHODS[method])
    axes.axvline(1.0, color=plots.EXACT, linewidth=0.8, linestyle=":")
    axes.set_xlabel("hypervolume / hypervolume of the exact or best known front (IQM, 95 % bootstrap interval)")
    axes.legend(loc="best")
    return plots.save(figure, folder, "hypervolume_shares")


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "pareto_discovery", *sys.argv[1:]]))
