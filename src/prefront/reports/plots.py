"""Figures in paper size: one style, plots that several experiments draw, and files that are the same bytes each time.

Figures are made without pyplot, so that nothing global changes:

    with style():
        figure, axes = new_figure(columns=2)
        plot_front(axes[0], ...)
        paths = save(figure, folder, "name")
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator
from numpy.typing import ArrayLike

from prefront.pareto.indicators import attainment_surfaces
from prefront.system.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMN_WIDTH, PAGE_WIDTH = 3.25, 6.75
# The ten colours of Petroff (2021, "Accessible color sequences for data visualization"), told apart by all viewers.
COLOURS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", ":", "-.")
EXACT = "#222222"
FAINT = "#b8b8b8"
PNG_DPI = 200
LARGEST_PLAIN = 1e4  # Larger values get prefixes: 20k, 3M.
STYLE: Any = {
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "figure.constrained_layout.use": True,
    "font.family": "STIXGeneral",
    "font.size": 9,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "legend.fontsize": 8,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.75,
    "legend.borderpad": 0.2,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "mathtext.fontset": "stix",
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.hashsalt": "prefront",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draws everything inside in our style; the user's own settings come back afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def new_figure(
    columns: int = 1, rows: int = 1, *, width: float | None = None, height: float | None = None, **subplots: Any
) -> tuple[Figure, np.ndarray]:
    """Makes a figure with a grid of axes.

    Args:
        columns: Axes beside each other.
        rows: Axes below each other.
        width: Inches; one text column for one axes, otherwise the page.
        height: Inches; in proportion by default.
        **subplots: What `Figure.subplots` takes.

    Returns:
        The figure, and its axes in reading order.
    """
    width = (COLUMN_WIDTH if columns == 1 else PAGE_WIDTH) if width is None else width
    figure = Figure(figsize=(width, 0.72 * width / columns * rows if height is None else height))
    axes = figure.subplots(rows, columns, squeeze=False, **subplots)
    return figure, axes.ravel()


def save(figure: Figure, folder: str | Path, name: str) -> list[Path]:
    """Writes a figure as NAME.pdf and NAME.png, atomically; equal figures give equal bytes.

    Returns:
        The two paths.
    """
    paths = []
    formats: dict[str, dict[str, Any]] = {
        "pdf": {"metadata": {"CreationDate": None}},
        "png": {"metadata": {"Software": None}, "dpi": PNG_DPI},
    }
    for suffix, options in formats.items():
        content = io.BytesIO()
        with style():
            figure.savefig(content, format=suffix, **options)
        paths.append(Path(folder) / f"{name}.{suffix}")
        write_atomically(paths[-1], content.getvalue())
    return paths


def series_style(number: int) -> dict[str, Any]:
    """Returns colour, marker and line style of the series with this number; neighbours differ in all three."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": LINES[number % len(LINES)],
    }


def plot_exact_front(axes: Axes, points: ArrayLike, label: str = "exact front") -> None:
    """Draws the points of a true or best known front of two objectives as hollow circles."""
    x, y = np.asarray(points, np.float64).T
    axes.plot(x, y, "o", markersize=7, markerfacecolor="none", markeredgecolor=EXACT, markeredgewidth=0.8, label=label)


def plot_front(axes: Axes, points: ArrayLike, number: int, label: str) -> None:
    """Draws the points of a found front of two objectives."""
    x, y = np.asarray(points, np.float64).T
    size = max(5.0 - 1.8 * number, 2.0)
    axes.plot(x, y, label=label, **{**series_style(number), "linestyle": "none"}, markersize=size, markeredgewidth=0)


def plot_attainment(axes: Axes, fronts: Sequence[ArrayLike], number: int, label: str, floor: ArrayLike) -> None:
    """Draws what half of the runs attain as a line, and what all to any of them attain as a band.

    Args:
        axes: Where to.
        fronts: One array of shape (points, 2) per run.
        number: Number of the series, which gives its look.
        label: Its name in the legend.
        floor: A point that all fronts beat, down to which the surfaces are drawn, such as the reference point.
    """
    levels = (1.0, 0.5, 1.0 / len(fronts))
    every, half, some = (_staircase(surface, floor) for surface in attainment_surfaces(fronts, levels))
    colour = series_style(number)["color"]
    edges = np.unique(np.concatenate([every[0], some[0]]))
    low, high = (_height(surface, edges, np.asarray(floor, np.float64)[1]) for surface in (every, some))
    axes.fill_between(edges, low, high, step="pre", color=colour, alpha=0.2, linewidth=0)
    axes.plot(*half, color=colour, linestyle=series_style(number)["linestyle"], linewidth=_width(number), label=label)


def plot_parallel(
    axes: Axes, points: ArrayLike, reference: ArrayLike, names: Sequence[str], number: int, title: str = ""
) -> None:
    """Draws fronts of any number of objectives as parallel coordinates, scaled to the range of the reference front.

    Args:
        axes: Where to.
        points: The found front, shape (points, objectives), drawn in colour.
        reference: The exact or best known front, shape (reference points, objectives), drawn in grey below it.
        names: Names of the objectives.
        number: Number of the series, which gives its colour.
        title: Title of the axes.
    """
    reference = np.asarray(reference, np.float64)
    low, extent = reference.min(0), np.ptp(reference, axis=0)
    scale = np.where(extent > 0, extent, 1.0)
    places = np.arange(len(names))
    for front, options in (
        (reference, {"color": FAINT, "linewidth": 0.7}),
        (np.asarray(points, np.float64), {"color": series_style(number)["color"], "linewidth": 0.6, "alpha": 0.8}),
    ):
        axes.plot(places, ((front - low) / scale).T, **options)
    axes.set_xticks(places, [str(name).replace("_", " ") for name in names], rotation=30, ha="right")
    axes.set_xlim(0, len(names) - 1)
    axes.set_ylabel("return, scaled")
    axes.set_title(title)
    axes.grid(visible=True, axis="x")


def plot_curves(
    axes: Axes, steps: Sequence[ArrayLike], values: Sequence[ArrayLike], number: int, label: str, log: bool = True
) -> None:
    """Draws a metric against steps: the median over runs, with a band between the least and the largest.

    Between two of its measurements a run keeps the earlier one; before its first it has none.

    Args:
        axes: Where to.
        steps: One increasing array per run.
        values: One array per run, of the same lengths.
        number: Number of the series, which gives its look.
        label: Its name in the legend.
        log: Whether steps are on a logarithmic axis.
    """
    runs = [(np.asarray(at, np.float64), np.asarray(of, np.float64)) for at, of in zip(steps, values, strict=True)]
    begin, end = max(at[0] for at, _ in runs), min(at[-1] for at, _ in runs)
    grid = np.unique(np.concatenate([at[(at >= begin) & (at <= end)] for at, _ in runs]))
    held = np.stack([of[np.searchsorted(at, grid, side="right") - 1] for at, of in runs])
    colour, line = series_style(number)["color"], series_style(number)["linestyle"]
    axes.fill_between(grid, held.min(0), held.max(0), step="post", color=colour, alpha=0.2, linewidth=0)
    axes.plot(
        grid,
        np.median(held, axis=0),
        drawstyle="steps-post",
        color=colour,
        linestyle=line,
        linewidth=_width(number),
        label=label,
    )
    if log:
        axes.set_xscale("log")
        decades = np.log10(axes.dataLim.x1 / axes.dataLim.x0) if axes.dataLim.x0 > 0 else 1.0
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if decades > 2 else (1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if np.abs(held).max() >= LARGEST_PLAIN:
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))


def plot_intervals(
    axes: Axes, rows: Sequence[str], estimates: Sequence[tuple[float, float, float]], number: int, of: int, label: str
) -> None:
    """Draws one estimate with its interval per row, beside those of other series.

    Args:
        axes: Where to; rows run from top to bottom.
        rows: Names of the rows.
        estimates: Estimate, lower and upper end, one per row.
        number: Number of the series, which gives its look.
        of: How many series there are.
        label: The series' name in the legend.
    """
    middle, low, high = np.array(estimates, np.float64).reshape(-1, 3).T
    heights = np.arange(len(rows)) + (number - (of - 1) / 2) * 0.6 / of
    axes.errorbar(
        middle,
        heights,
        xerr=np.stack([middle - low, high - middle]).clip(min=0),
        label=label,
        capsize=1.5,
        elinewidth=1,
        markeredgewidth=0,
        **{**series_style(number), "linestyle": "none"},
    )
    axes.set_yticks(np.arange(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def plot_estimates(
    axes: Axes, x: ArrayLike, estimates: Sequence[tuple[float, float, float]], number: int, label: str
) -> None:
    """Draws estimates along x as a line with markers, and their intervals as a band.

    Args:
        axes: Where to.
        x: Shape (points,).
        estimates: Estimate, lower and upper end, one per point.
        number: Number of the series, which gives its look.
        label: Its name in the legend.
    """
    middle, low, high = np.array(estimates, np.float64).reshape(-1, 3).T
    axes.fill_between(np.asarray(x), low, high, color=series_style(number)["color"], alpha=0.13, linewidth=0)
    axes.plot(np.asarray(x), middle, label=label, **series_style(number), markeredgewidth=0)


def _width(number: int) -> float:
    """Line width: where lines coincide, an earlier one shows below the later."""
    return max(1.9 - 0.8 * number, 1.0)


def _staircase(surface: np.ndarray, floor: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Returns the corners of the boundary of what maximal points dominate, from the floor's left to its bottom."""
    left, bottom = np.asarray(floor, np.float64)
    x, y = surface[np.argsort(surface[:, 0])].T
    xs = np.concatenate([[left], np.repeat(x, 2)])
    ys = np.concatenate([np.repeat(y, 2), [bottom]])
    return xs, ys


def _height(stairs: tuple[np.ndarray, np.ndarray], at: np.ndarray, bottom: float) -> np.ndarray:
    """Returns how high a staircase is to the left of each x, the bottom beyond its end."""
    corners, heights = stairs[0][1::2], stairs[1][0:-1:2]
    index = np.searchsorted(corners, at, side="left")
    return np.where(index < len(corners), heights[np.minimum(index, len(corners) - 1)], bottom)
