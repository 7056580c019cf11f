"""Figures of panels: curves as means over seeds with confidence bands, and means with their intervals.

A figure is one call, and a panel names the tables, columns and reference lines that it shows:

    draw_panels(folder, "gold", [curves({"PPO": table}, "sequences", "gold", level=0.0)], legend=ABOVE)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
from numpy.typing import ArrayLike

from prefront.reports import plots
from prefront.reports.evidence import Mean
from prefront.system.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Panel = Callable[["Axes"], None]
ABOVE, BELOW = "outside upper center", "outside lower center"
LABELS = {
    "kl": r"$\sqrt{\mathrm{KL}}$, KL in nats",
    "sequences": "sequences learned from",
    "proxy": "summed proxy",
}
"""What columns are called on an axis; along "kl" curves are drawn over its square root."""
GRID_POINTS = 80
CONFIDENCE = 0.95
# Below this many seeds an interval by Student's t hides the curves; the seeds themselves are drawn.
FEW_SEEDS = 5


def draw_panels(
    folder: Path, name: str, panels: Sequence[Panel], *, legend: Any = "best", height: float = 2.4, **subplots: Any
) -> list[Path]:
    """Draws a figure of panels, at most four beside each other; returns its paths.

    Args:
        folder: Where to.
        name: Name of the files.
        panels: What `curves` and `intervals` return.
        legend: `ABOVE` or `BELOW` the panels, one for all of them; or its place inside each panel.
        height: Inches of one row.
        **subplots: What `plots.new_figure` takes, such as `columns` and `sharey`.
    """
    columns = subplots.pop("columns", min(len(panels), 4))
    rows = -(-len(panels) // columns)
    with plots.style():
        figure, axes = plots.new_figure(columns, rows, height=height * rows, **subplots)
        for one, panel in zip(axes, panels, strict=False):
            panel(one)
            if "sharey" in subplots:
                one.label_outer()
        named = {label: line for one in axes for line, label in zip(*one.get_legend_handles_labels(), strict=True)}
        if legend in (ABOVE, BELOW):
            figure.legend(list(named.values()), list(named), loc=legend, ncols=4)
        for one in axes:
            if legend not in (ABOVE, BELOW) and one.get_legend_handles_labels()[0]:
                one.legend(loc=legend, fontsize=6.5)
        return plots.save(figure, folder, name)


def curves(
    series: Mapping[str, Table],
    x: str,
    y: str,
    *,
    level: Mapping[str, float] | float | None = None,
    marks: Iterable[float] = (),
    **options: Any,
) -> Panel:
    """Returns a panel of curves: means over seeds with 95 % confidence bands, or with each seed where they are few.

    Args:
        series: Rows of all seeds by label; its place gives a series its colour, and empty ones are left out.
        x: Column of the abscissa.
        y: Column of the ordinate.
        level: Height of a dotted line, by its label if it has one.
        marks: Places of vertical lines.
        **options: What `Axes.set` takes, such as `title`, `ylabel` and `ylim`.
    """

    def panel(axes: Axes) -> None:
        for number, (label, table) in enumerate(series.items()):
            if len(table):
                _draw_band(axes, *on_grid(table, x, y), number, label)
        if x == "sequences":
            axes.xaxis.set_major_formatter(plots.EngFormatter(sep=""))
        _finish(axes, level, marks, {"xlabel": _name(x), "ylabel": _name(y), **options})

    return panel


def intervals(series: Mapping[str, Mapping[str, ArrayLike]], *, marks: Iterable[float] = (), **options: Any) -> Panel:
    """Returns a panel of means with the intervals that claims print alone, one row each.

    Args:
        series: By label of the series and name of the row, values of shape (seeds,).
        marks: Places of vertical lines.
        **options: What `Axes.set` takes.
    """

    def panel(axes: Axes) -> None:
        for number, (label, rows) in enumerate(series.items()):
            means = [Mean.of(values) for values in rows.values()]
            estimates = [(one.estimate, *one.interval(CONFIDENCE)) for one in means]
            plots.plot_intervals(axes, list(rows), estimates, number, len(series), label)
        _finish(axes, None, marks, options)

    return panel


def on_grid(table: Table, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    """Interpolates each seed's curve on a grid that all seeds reach.

    Args:
        table: Rows of one series, of all seeds.
        x: Column of the abscissa; where a curve goes back, the furthest point so far is taken.
        y: Column of the ordinate.

    Returns:
        The grid, shape (n,), the square root of KL along "kl", and the values, shape (seeds, n).
    """
    seeds = [table.where(seed=seed) for seed in table.unique("seed")]
    places = [np.asarray(one[x], np.float64) for one in seeds]
    places = [np.maximum.accumulate(np.sqrt(np.maximum(one, 0.0)) if x == "kl" else one) for one in places]
    end = float(min(one[-1] for one in places))
    exact = all(len(one) == len(places[0]) and np.array_equal(one, places[0]) for one in places)
    grid = places[0] if exact else np.linspace(max(one[0] for one in places), end, GRID_POINTS)
    # A later point at the same abscissa stands for the earlier ones.
    nudged = [one + 1e-9 * np.arange(len(one)) for one in places]
    return grid, np.stack([np.interp(grid, at, one[y]) for at, one in zip(nudged, seeds, strict=True)])


def mean_and_band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns mean over seeds and the ends of its confidence interval by Student's t, NaN of one seed; shapes (n,).

    Args:
        values: Shape (seeds, n).
    """
    mean, count = values.mean(0), len(values)
    if count == 1:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    reach = scipy.stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * values.std(0, ddof=1) / np.sqrt(count)
    return mean, mean - reach, mean + reach


def _draw_band(axes: Axes, grid: np.ndarray, values: np.ndarray, number: int, label: str) -> None:
    mean, low, high = mean_and_band(values)
    style = plots.series_style(number)
    axes.plot(grid, mean, color=style["color"], linestyle=style["linestyle"], label=label)
    if len(values) < FEW_SEEDS:
        axes.plot(grid, values.T, color=style["color"], alpha=0.25, linewidth=0.6)
    else:
        axes.fill_between(grid, low, high, color=style["color"], alpha=0.15, linewidth=0)


def _name(column: str) -> str:
    return LABELS.get(column, column.replace("_", " "))


def _finish(
    axes: Axes, level: Mapping[str, float] | float | None, marks: Iterable[float], options: Mapping[str, Any]
) -> None:
    """Draws the reference lines and sets what the panel says besides."""
    for label, height in (level if isinstance(level, Mapping) else {"": level}).items():
        if height is not None:
            axes.axhline(height, color=plots.EXACT, linewidth=0.8, linestyle=":", label=label)
    for place in marks:
        axes.axvline(place, color=plots.EXACT, linewidth=0.7, linestyle=":", zorder=0)
    axes.set(**options)
