"""How often what was learned is near-optimal: shares with intervals, and claims that one is so more often than another.

Tables hold scaled returns, 1 for an optimal policy and 0 for a random one, in one row per unit: a task, or a set of
answers. Means of them say nothing, since single failures reach -1000; shares and medians do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from prefront.reports.claim_forms import at_every, at_the_ceiling
from prefront.reports.claims import Claim, claim_of
from prefront.reports.hypotheses import Relation
from prefront.reports.share_evidence import Share, SharesApart
from prefront.system.tables import Table

NEAR_OPTIMAL = 0.9
Where = Mapping[str, Any]


def in_order(rows: Table, unit: str, column: str = "scaled_return") -> np.ndarray:
    """Returns a column in the order of seeds and of what they consist of, so that two learners' rows are pairs.

    Args:
        rows: Rows of one learner.
        unit: Column that numbers what a seed consists of, such as "task" or "draw".
        column: Which column.
    """
    return rows[column][np.lexsort((rows[unit], rows["seed"]))]


def near(rows: Table, unit: str = "task") -> np.ndarray:
    """Tells which of the rows, in order, have a near-optimal scaled return, shape (units,)."""
    return in_order(rows, unit) >= NEAR_OPTIMAL


def near_share(rows: Table, unit: str = "task") -> tuple[float, float, float]:
    """Returns the share of near-optimal rows and its Clopper-Pearson interval."""
    found = Share.of(near(rows, unit))
    return found.estimate, *found.interval()


def percentage(rows: Table) -> float:
    """Returns the percentage of rows that are near-optimal."""
    return 100 * float(np.mean(rows["scaled_return"] >= NEAR_OPTIMAL))


def share_and_median(rows: Table) -> str:
    """Returns the percentage that is near-optimal, with the median scaled return in brackets."""
    return f"{percentage(rows):.0f} ({np.median(rows['scaled_return']):.2f})"


def compare(rows: Table, ours: Where, theirs: Where, unit: str = "task") -> SharesApart:
    """Compares two learners on the same units by how often they are near-optimal.

    Args:
        rows: Rows of both.
        ours: What the columns of ours equal.
        theirs: What the columns of theirs equal.
        unit: Column that numbers the units of a seed.
    """
    return SharesApart.of(near(rows.where(**ours), unit), near(rows.where(**theirs), unit))


def points_apart(ours: Where, theirs: Where, unit: str = "task") -> Callable[[Table], tuple[float, float, float]]:
    """Returns the estimate, see `prefront.reports.figure_forms`, by how many percentage points ours are ahead."""

    def estimate(rows: Table) -> tuple[float, float, float]:
        found = compare(rows, ours, theirs, unit)
        low, high = found.interval()
        return 100 * found.estimate, 100 * low, 100 * high

    return estimate


def more_often(
    rows: Table,
    ours: Where,
    theirs: Where,
    *,
    unit: str = "task",
    units: str = "",
    at_least: float | None = None,
    **words: Any,
) -> Claim:
    """Claims that ours are near-optimal more often than theirs.

    Args:
        rows: Rows of both.
        ours: What the columns of ours equal.
        theirs: What the columns of theirs equal.
        unit: Column that numbers what the two are paired by.
        units: What these are called.
        at_least: By how many percentage points at least.
        **words: Further arguments of `prefront.reports.claims.claim_of`.
    """
    found, units = compare(rows, ours, theirs, unit), units or f"{unit}s"
    shares = [percentage(rows.where(**where)) for where in (ours, theirs)]
    words = {"quantity": f"points near-optimal ({shares[0]:.0f} and {shares[1]:.0f} %)", **words}
    if at_least is None and min(shares) == 100:
        return at_the_ceiling(found.number, **words, note=f"both are near-optimal in all {units}")
    bound: tuple[Relation, float] = ("above", 0.0) if at_least is None else ("at least", at_least / 100)
    return claim_of(found, *bound, scale=100.0, **words, note=f"paired by {units}")


def more_often_at_every(
    rows: Table,
    ours: Where,
    theirs: Where,
    *,
    level: str,
    relation: Literal["above", "at least"] = "above",
    unit: str = "task",
    **words: Any,
) -> Claim:
    """Claims that ours are near-optimal more often at every level that leaves them anything to gain.

    Args:
        rows: Rows of both.
        ours: What the columns of ours equal.
        theirs: What the columns of theirs equal.
        level: Column of the levels.
        relation: "above", or "at least" for a claim that they are so no more seldom.
        unit: Column that numbers what the two are paired by.
        **words: Further arguments of `prefront.reports.claims.claim_of`.
    """
    found, full = {}, []
    for one in sorted(rows.where(**ours).unique(level)):
        own = rows.where(**{level: one})
        found[one] = compare(own, ours, theirs, unit)
        if min(percentage(own.where(**where)) for where in (ours, theirs)) == 100:
            full.append(one)
    number = next(iter(found.values())).number
    for one in full:
        del found[one]
    if not found:
        return at_the_ceiling(number, quantity="points", note="both always near-optimal", **words)
    least = min(found, key=lambda one: found[one].estimate)
    each = ", ".join(f"{one}: {100 * apart.estimate:+.1f}" for one, apart in found.items())
    left = f"; left out, because both are near-optimal in all {unit}s: {', '.join(map(str, full))}" if full else ""
    return at_every(
        found,
        relation,
        0.0,
        quantity=f"points near-optimal, least ({level} {least})",
        scale=100.0,
        note=f"paired by {unit}; points by {level}: {each}{left}",
        **words,
    )
