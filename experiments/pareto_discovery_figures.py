"""Figures of the study `pareto_discovery`, from its stored tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prefront.reports import plots, statistics
from prefront.reports.figure_forms import Estimate, plot_rows
from prefront.runs.study import Results
from prefront.system.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METHODS = {"C-MORL": "C-MORL", "linear": "linear scalarisation"}


def draw(results: Results, folder: Path) -> list[Path]:
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
    found = {method: _fronts(results, name, method) for method in methods}
    objectives = next(iter(found.values()))[0].shape[1]
    two = objectives == 2
    true = _true_front(results, name, objectives)
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


def _true_front(results: Results, name: str, objectives: int) -> np.ndarray:
    """Returns the true front; every seed has the same copy of it."""
    rows = results["exact"].where(environment=name) if "exact" in results.tables else Table({})
    return _points(rows, seed=rows["seed"][0]) if len(rows) else np.empty((0, objectives))


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
    estimates = {METHODS[method]: _share_of(method) for method in methods}
    plot_rows(axes, metrics, {name: {"environment": name} for name in names}, estimates)
    axes.axvline(1.0, color=plots.EXACT, linewidth=0.8, linestyle=":")
    axes.set_xlabel("hypervolume / hypervolume of the exact or best known front (IQM, 95 % bootstrap interval)")
    axes.legend(loc="best")
    return plots.save(figure, folder, "hypervolume_shares")


def _share_of(method: str) -> Estimate:
    def estimate(rows: Table) -> tuple[float, float, float]:
        interval = statistics.stratified_bootstrap(rows.where(method=method)["share"])
        return interval.estimate, interval.low, interval.high

    return estimate


def _points(table: Table, **equal: Any) -> np.ndarray:
    rows = table.where(**equal)
    columns = [column for name, column in rows.columns.items() if name.startswith("return_")]
    points = np.stack(columns, axis=1) if columns else np.empty((len(rows), 0))
    return points[:, ~np.isnan(points).all(axis=0)]
