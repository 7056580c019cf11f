"""Fronts that methods found, beside the true ones: a figure for each environment, their hypervolumes, and a table.

Tables are those of the study `pareto_discovery`, with the columns `environment`, `method` and `seed`: `metrics` with
`hypervolume`, its `share` of the true one, `front_kind` and the names of `objectives`; `points` and `exact` with the
points in the columns `return_0` and on; `curves` with `environment_steps`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prefront.reports import plots, statistics
from prefront.reports.figure_forms import Estimate, plot_rows
from prefront.reports.summaries import Cell, iqm_of, summarise
from prefront.system.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Tables = Mapping[str, Table]
Fronts = dict[str, list[np.ndarray]]


def draw_fronts(tables: Tables, methods: Mapping[str, str], folder: Path) -> list[Path]:
    """Draws one figure per environment, and one with the share of the true hypervolume in all of them.

    Args:
        tables: `metrics`, `points`, `curves` and `exact`.
        methods: What methods are called, in the order in which they are drawn.
        folder: Where the figures go.

    Returns:
        Their paths.
    """
    with plots.style():
        names = tables["metrics"].unique("environment")
        return [path for name in names for path in _draw_environment(tables, methods, name, folder)] + _draw_shares(
            tables["metrics"], methods, folder
        )


def _draw_environment(tables: Tables, methods: Mapping[str, str], name: str, folder: Path) -> list[Path]:
    rows = tables["metrics"].where(environment=name)
    found = {
        method: [points_of(tables["points"], environment=name, method=method, seed=seed) for seed in own["seed"]]
        for method in methods
        if len(own := rows.where(method=method))
    }
    median = {
        method: fronts[int(np.argsort(rows.where(method=method)["hypervolume"], kind="stable")[(len(fronts) - 1) // 2])]
        for method, fronts in found.items()
    }
    every = np.concatenate([front for fronts in found.values() for front in fronts])
    true, two = true_front(tables, name, every.shape[1]), every.shape[1] == 2
    names = str(rows["objectives"][0]).split(";")
    figure, axes = plots.new_figure(columns=2 if two else 1 + len(found), height=2.4, width=plots.PAGE_WIDTH)
    if two:
        floor = np.concatenate([true, every]).min(0) - 0.08 * np.ptp(np.concatenate([true, every]), axis=0)
        if len(true):
            plots.plot_exact_front(axes[0], true, f"{rows['front_kind'][0]} front")
        for number, (method, fronts) in enumerate(found.items()):
            plots.plot_attainment(axes[0], fronts, number, "", floor)
            plots.plot_front(axes[0], median[method], number, methods[method])
        axes[0].set(xlim=(floor[0], None), ylim=(floor[1], None))
        axes[0].set(xlabel=f"{names[0]}, discounted return", ylabel=f"{names[1]}, discounted return")
        axes[0].set_title("points: median seed; lines: attained by half of the seeds")
        axes[0].legend(loc="best")
    else:
        for number, method in enumerate(found):
            plots.plot_parallel(
                axes[number], median[method], true if len(true) else every, names, number, methods[method]
            )
            if number:
                axes[number].set_ylabel("")
    _draw_progress(
        axes[-1], tables["curves"].where(environment=name), rows, {method: methods[method] for method in found}
    )
    return plots.save(figure, folder, name)


def true_front(tables: Tables, name: str, objectives: int) -> np.ndarray:
    """Returns the true front, shape (points, objectives), of which every seed has the same copy; empty if unknown."""
    rows = tables["exact"].where(environment=name) if "exact" in tables else Table({})
    return points_of(rows, seed=rows["seed"][0]) if len(rows) else np.empty((0, objectives))


def points_of(table: Table, **equal: Any) -> np.ndarray:
    """Returns the points in the rows whose columns equal the given values, shape (points, objectives)."""
    rows = table.where(**equal)
    columns = [column for name, column in rows.columns.items() if name.startswith("return_")]
    points = np.stack(columns, axis=1) if columns else np.empty((len(rows), 0))
    return points[:, ~np.isnan(points).all(axis=0)]


def _draw_progress(axes: Axes, curves: Table, rows: Table, methods: Mapping[str, str]) -> None:
    known = bool(np.isfinite(rows["share"]).all())
    for number, (method, label) in enumerate(methods.items()):
        own = curves.where(method=method)
        runs = [own.where(seed=seed) for seed in own.unique("seed")]
        values = [run["share" if known else "hypervolume"] for run in runs]
        plots.plot_curves(axes, [run["environment_steps"] for run in runs], values, number, label)
    if known:
        axes.axhline(1.0, color=plots.EXACT, linewidth=0.8, linestyle=":")
    axes.set(xlabel="training steps", ylabel=f"hypervolume / {rows['front_kind'][0]}" if known else "hypervolume")
    axes.set_title("median and range over seeds")
    axes.legend(loc="lower right")


def _draw_shares(metrics: Table, methods: Mapping[str, str], folder: Path) -> list[Path]:
    known = metrics.at(np.isfinite(metrics["share"]))
    if not len(known):
        return []
    rows = {name: {"environment": name} for name in known.unique("environment")}
    figure, (axes,) = plots.new_figure(width=plots.PAGE_WIDTH, height=0.7 + 0.32 * len(rows))
    shares = {label: _share_of(method) for method, label in methods.items() if len(known.where(method=method))}
    plot_rows(axes, known, rows, shares)
    axes.axvline(1.0, color=plots.EXACT, linewidth=0.8, linestyle=":")
    axes.set_xlabel("hypervolume / hypervolume of the exact or best known front (IQM, 95 % bootstrap interval)")
    axes.legend(loc="best")
    return plots.save(figure, folder, "hypervolume_shares")


def _share_of(method: str) -> Estimate:
    def estimate(rows: Table) -> tuple[float, float, float]:
        found = statistics.stratified_bootstrap(rows.where(method=method)["share"])
        return found.estimate, found.low, found.high

    return estimate


def summarise_fronts(metrics: Table, timing: Table, methods: Mapping[str, str]) -> Table:
    """Returns one row per environment and method: interquartile means over seeds, with the seconds they took.

    Args:
        metrics: One row per environment, method and seed.
        timing: CPU seconds by cell; may be empty.
        methods: What methods are called.
    """

    def where_known(cell: Cell, otherwise: Any = None) -> Cell:
        return lambda rows: cell(rows) if np.isfinite(rows["share"]).all() else otherwise

    def interval(rows: Table) -> str:
        found = _interval(rows)
        return f"{found.low:.4g} to {found.high:.4g}" if len(rows) > 1 else ""

    def seconds(rows: Table) -> float:
        timed = timing.where(cell=rows["cell"][0]) if len(timing) else {"cpu_seconds": math.nan}
        return float(statistics.iqm(timed["cpu_seconds"]))

    def found_of_all(rows: Table) -> str:
        return f"{iqm_of('points_found')(rows):.4g} of {rows['true_points'][0]}"

    cells: dict[str, Cell] = {
        "discount": lambda rows: float(rows["gamma"][0]),
        "reference point": lambda rows: str(rows["reference_point"][0]),
        "hypervolume": iqm_of("hypervolume"),
        "share of true": where_known(lambda rows: _interval(rows).estimate),
        "95 % interval": interval,
        "true front": lambda rows: str(rows["front_kind"][0]),
        "points found": where_known(found_of_all, ""),
        "cardinality": iqm_of("cardinality"),
        "expected utility": iqm_of("expected_utility"),
        "sparsity": iqm_of("sparsity"),
        "IGD+": where_known(iqm_of("igd_plus")),
        "steps": iqm_of("environment_steps"),
        "violations": lambda rows: iqm_of("finished_violations")(rows) if rows["method"][0] == "C-MORL" else None,
        "evaluation steps": iqm_of("evaluation_steps"),
        "CPU seconds": seconds,
        "seeds": len,
    }
    return summarise(metrics, {"environment": "environment", "method": "method"}, cells, methods)


def _interval(rows: Table) -> statistics.Interval:
    """Returns the interval of the share of the true hypervolume, or of the hypervolume where no front is known."""
    return statistics.stratified_bootstrap(rows["share" if np.isfinite(rows["share"]).all() else "hypervolume"])
