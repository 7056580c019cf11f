"""Forms of figures over stored tables: estimates with intervals by level or by row, for several series and panels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prefront.reports import plots
from prefront.reports.evidence import Mean
from prefront.system.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Estimate = Callable[[Table], tuple[float, float, float]]
Series = Mapping[str, Mapping[str, Any]]


def mean_of(column: str) -> Estimate:
    """Returns the estimate that is the mean of a column with its 95 % interval, as claims print it."""

    def estimate(rows: Table) -> tuple[float, float, float]:
        found = Mean.of(rows[column])
        return found.estimate, *found.interval()

    return estimate


def quartiles_of(column: str) -> Estimate:
    """Returns the estimate that is the median of a column between its quartiles."""

    def estimate(rows: Table) -> tuple[float, float, float]:
        middle, low, high = np.quantile(rows[column], (0.5, 0.25, 0.75)).tolist()
        return middle, low, high

    return estimate


def plot_levels(
    axes: Axes,
    rows: Table,
    level: str,
    series: Series,
    estimate: Estimate,
    *,
    first: int = 0,
    name: str = "",
    log: bool = True,
) -> None:
    """Draws an estimate with its interval by level, a line for each series.

    Args:
        axes: Where to.
        rows: Rows of all series.
        level: Column of the levels.
        series: Names in the legend, each with what the columns of the series equal.
        estimate: A function of the rows of one series at one level.
        first: Number of the first series, which gives its look.
        name: What the levels are called; their column by default.
        log: Whether they are on a logarithmic axis.
    """
    for number, (label, where) in enumerate(series.items(), first):
        own = rows.where(**where)
        found = {one: estimate(own.where(**{level: one})) for one in sorted(own.unique(level))}
        plots.plot_estimates(axes, list(found), list(found.values()), number, label)
    levels = sorted(rows.unique(level))
    if log:
        axes.set_xscale("log")
    axes.set_xticks(levels, [f"{one:,}" for one in levels])
    axes.minorticks_off()
    axes.set_xlabel(name or level)


def plot_rows(axes: Axes, table: Table, rows: Series, estimates: Mapping[str, Estimate]) -> None:
    """Draws estimates with their intervals beside each other, from top to bottom.

    Args:
        axes: Where to.
        table: Rows of the table.
        rows: Names of what is drawn in a row, each with what the columns equal.
        estimates: Names in the legend, each with the function of a row's part of the table.
    """
    for number, (label, estimate) in enumerate(estimates.items()):
        found = [estimate(table.where(**where)) for where in rows.values()]
        plots.plot_intervals(axes, list(rows), found, number, len(estimates), label)


def level_panels(
    rows: Table,
    folder: Path,
    file: str,
    *,
    panels: str,
    level: str,
    series: Series,
    estimate: Estimate,
    quantity: str,
    title: str = "{}",
    name: str = "",
    log: bool = True,
    legend: str = "",
) -> list[Path]:
    """Draws a share with its interval by level, one panel for each value of a column.

    Args:
        rows: Rows of all panels and series.
        folder: Where the figure goes.
        file: Its name.
        panels: Column whose values have panels.
        level: Column of the levels.
        series: See `plot_levels`.
        estimate: A function of the rows of one series at one level, from 0 to 1.
        quantity: What it is.
        title: Format of a panel's title from the column's value.
        name: What the levels are called.
        log: Whether they are on a logarithmic axis.
        legend: Title of the legend.

    Returns:
        The paths of the figure.
    """
    values = rows.unique(panels)
    with plots.style():
        figure, grid = plots.new_figure(len(values), width=plots.PAGE_WIDTH, height=3.1, sharey=True)
        for axes, value in zip(grid, values, strict=True):
            plot_levels(axes, rows.where(**{panels: value}), level, series, estimate, name=name, log=log)
            axes.set_title(title.format(value))
        grid[0].set_ylabel(quantity)
        grid[0].set_ylim(0, 1.02)
        handles = grid[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=2, title=legend or None)
        return plots.save(figure, folder, file)
