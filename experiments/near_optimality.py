"""What the studies of learned rewards share: when a policy is near-optimal, and learners compared task by task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from prefront import plots, statistics
from prefront.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAPER = "Knox et al. (2024), section 6.2"
NEAR_OPTIMAL = 0.9
# Scaled returns that agree to so many digits are equal: policies are evaluated to rounding only.
DIGITS = 6


def in_order(rows: Table, unit: str, column: str = "scaled_return") -> np.ndarray:
    """Returns a column in the order of seeds and of what they consist of, so that two learners' rows are pairs.

    Args:
        rows: Rows of one learner.
        unit: Column that numbers what a seed consists of, such as "task" or "draw".
        column: Which column.
    """
    return rows[column][np.lexsort((rows[unit], rows["seed"]))]


def near(returns: np.ndarray) -> np.ndarray:
    """Tells which scaled returns are near-optimal."""
    return returns >= NEAR_OPTIMAL


def percentage(returns: np.ndarray) -> float:
    """Returns the percentage of scaled returns that are near-optimal."""
    return 100 * float(np.mean(near(returns)))


def share_and_median(returns: np.ndarray) -> str:
    """Returns the percentage that is near-optimal, with the median scaled return in brackets."""
    return f"{percentage(returns):.0f} ({np.median(returns):.2f})"


def compare(ours: np.ndarray, theirs: np.ndarray) -> statistics.Comparison:
    """Compares two learners on the same tasks.

    Args:
        ours: Scaled returns, shape (tasks,).
        theirs: Scaled returns, shape (tasks,).

    Returns:
        The percentage points by which ours are near-optimal more often, and signed-rank tests of the scaled returns.
    """
    points = 100.0 * (near(ours).astype(float) - near(theirs))
    return statistics.compare_pairs(np.round(ours, DIGITS), np.round(theirs, DIGITS), points)


def plot_shares(axes: Axes, levels: Sequence[int], returns: Sequence[np.ndarray], number: int, label: str) -> None:
    """Draws the share of near-optimal returns, with Wilson intervals.

    Args:
        axes: Where to.
        levels: Shape (levels,).
        returns: Scaled returns at each level.
        number: Number of the series, which gives its look.
        label: Its name in the legend.
    """
    plots.plot_estimates(axes, levels, [statistics.share_interval(near(one)) for one in returns], number, label)


def label_numbers(axes: Axes, levels: Sequence[int], label: str = "preferences") -> None:
    """Gives axes a logarithmic abscissa, with numbers of preferences as its ticks."""
    axes.set_xscale("log")
    axes.set_xticks(levels, [f"{level:,}" for level in levels])
    axes.minorticks_off()
    axes.set_xlabel(label)
