"""What the studies of learned rewards share: when a policy is near-optimal, and learners compared task by task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prefront.reports import plots, statistics
from prefront.reports.claim_forms import at_the_ceiling
from prefront.reports.claims import Claim, claim_of
from prefront.reports.hypotheses import Relation
from prefront.reports.share_evidence import SharesApart
from prefront.system.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAPER = "Knox et al. (2024), section 6.2"
NEAR_OPTIMAL = 0.9


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


def compare(ours: np.ndarray, theirs: np.ndarray) -> SharesApart:
    """Compares two learners on the same tasks by how often they are near-optimal.

    Args:
        ours: Scaled returns, shape (tasks,).
        theirs: Scaled returns, shape (tasks,).
    """
    return SharesApart.of(near(ours), near(theirs))


def all_near(*returns: np.ndarray) -> bool:
    """Tells whether all learners are near-optimal everywhere, so that none can be better."""
    return all(bool(near(one).all()) for one in returns)


def more_often(
    ours: np.ndarray, theirs: np.ndarray, *, at_least: float | None = None, unit: str = "tasks", **words: Any
) -> Claim:
    """Claims that ours are near-optimal more often than theirs.

    Args:
        ours: Scaled returns, shape (tasks,).
        theirs: Scaled returns, shape (tasks,).
        at_least: By how many percentage points at least.
        unit: What the two are paired by.
        **words: Further arguments of `prefront.reports.claims.claim_of`.
    """
    shares = f"{percentage(ours):.0f} and {percentage(theirs):.0f} %"
    words = {"quantity": f"points near-optimal ({shares})", **words}
    if at_least is None and all_near(ours, theirs):
        return at_the_ceiling(len(ours), **words, note=f"both are near-optimal in all {unit}")
    bound: tuple[Relation, float] = ("above", 0.0) if at_least is None else ("at least", at_least / 100)
    return claim_of(compare(ours, theirs), *bound, scale=100.0, **words, note=f"paired by {unit}")


def plot_shares(axes: Axes, levels: Sequence[int], returns: Sequence[np.ndarray], number: int, label: str) -> None:
    """Draws the share of near-optimal returns, with Clopper-Pearson intervals.

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
