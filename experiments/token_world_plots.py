"""Plots that the studies of token worlds share: means over seeds with confidence bands on a common grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from prefront.reports import plots
from prefront.reports.evidence import Mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from prefront.system.tables import Table

DISTANCE = r"$\sqrt{\mathrm{KL}}$, KL in nats"
GRID_POINTS = 80
CONFIDENCE = 0.95
# Below this many seeds an interval by Student's t hides the curves; the seeds themselves are drawn.
FEW_SEEDS = 5


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


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Returns the mean of one quantity, shape (seeds,), and the ends of its interval as claims print it alone."""
    found = Mean.of(values)
    return found.estimate, *found.interval(CONFIDENCE)


def on_grid(table: Table, x: str, y: str, root: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Interpolates each seed's curve on a grid that all seeds reach.

    Args:
        table: Rows of one series, of all seeds.
        x: Column of the abscissa; where a curve goes back, the furthest point so far is taken.
        y: Column of the ordinate.
        root: Whether the square root of x is the abscissa.

    Returns:
        The grid, shape (n,), and the values, shape (seeds, n).
    """
    seeds = [table.where(seed=seed) for seed in table.unique("seed")]
    places = [
        np.maximum.accumulate(np.sqrt(np.maximum(one[x], 0.0)) if root else np.asarray(one[x], np.float64))
        for one in seeds
    ]
    end = float(min(one[-1] for one in places))
    exact = all(len(one) == len(places[0]) and np.array_equal(one, places[0]) for one in places)
    grid = places[0] if exact else np.linspace(max(one[0] for one in places), end, GRID_POINTS)
    # A later point at the same abscissa stands for the earlier ones.
    nudged = [one + 1e-9 * np.arange(len(one)) for one in places]
    return grid, np.stack([np.interp(grid, at, one[y]) for at, one in zip(nudged, seeds, strict=True)])


def plot_band(
    axes: Axes, table: Table, x: str, y: str, number: int, label: str, *, root: bool = False, **options: Any
) -> None:
    """Draws the mean over seeds with its 95 % confidence band, or with each seed where they are few.

    Args:
        axes: Where to.
        table: Rows of one series, of all seeds.
        x: Column of the abscissa.
        y: Column of the ordinate.
        number: Number of the series, which gives its look.
        label: Its name in the legend.
        root: Whether the square root of x is the abscissa.
        **options: Further options of the line.
    """
    if not len(table):
        return
    draw_band(axes, *on_grid(table, x, y, root), number, label, **options)


def draw_band(axes: Axes, grid: np.ndarray, values: np.ndarray, number: int, label: str, **options: Any) -> None:
    """Draws values (seeds, n) over a grid (n,) as `plot_band` does."""
    mean, low, high = mean_and_band(values)
    look = plots.look(number)
    style = {"color": look["color"], "linestyle": look["linestyle"], "label": label, **options}
    axes.plot(grid, mean, **style)
    if len(values) < FEW_SEEDS:
        axes.plot(grid, values.T, color=style["color"], alpha=0.25, linewidth=0.6)
    else:
        axes.fill_between(grid, low, high, color=style["color"], alpha=0.15, linewidth=0)


def label_steps(axes: Axes) -> None:
    """Names the abscissa of curves over training, and gives its large numbers prefixes."""
    from matplotlib.ticker import EngFormatter

    axes.set_xlabel("sequences learned from")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def plot_levels(
    axes: Axes, levels: Sequence[float], values: np.ndarray, number: int, label: str, faint: bool = True
) -> None:
    """Draws a quantity against ordered levels: mean with interval, and each seed as a faint line.

    Args:
        axes: Where to.
        levels: Shape (levels,).
        values: Shape (seeds, levels).
        number: Number of the series.
        label: Its name in the legend.
        faint: Whether seeds are drawn.
    """
    mean, low, high = mean_and_band(values)
    look = plots.look(number)
    if faint:
        axes.plot(levels, values.T, color=look["color"], alpha=0.2, linewidth=0.6)
    axes.errorbar(levels, mean, yerr=np.stack([mean - low, high - mean]), label=label, capsize=2, **look)
