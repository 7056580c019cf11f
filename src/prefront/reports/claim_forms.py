"""Forms of claims: one way to say that ours are larger, that a figure keeps a bound, that a quantity rises, and so on.

Every form takes `sentence` and, where they apply, `paper`, `stated`, `conditions` and `note` as further arguments of
`prefront.reports.claims.claim_of`. What a form prints is what it tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from prefront.reports.claims import Claim, claim_of
from prefront.reports.evidence import Evidence, Least, Mean, Median
from prefront.reports.hypotheses import Relation
from prefront.reports.share_evidence import Share
from prefront.reports.statistics import rank_correlations

Way = Literal["rises", "falls"]


def larger(
    ours: ArrayLike, theirs: ArrayLike, *, quantity: str, scale: float = 1.0, note: str = "", **words: Any
) -> Claim:
    """Claims that ours are larger on average, paired by seed.

    Args:
        ours: Shape (seeds,).
        theirs: Shape (seeds,).
        quantity: What their mean difference is, with its unit.
        scale: What differences are multiplied by to be printed.
        note: What the test's description says besides; both means by default.
        **words: Further arguments of `claim_of`.
    """
    means = note or f"paired by seed; means {np.asarray(ours).mean():.4g} and {np.asarray(theirs).mean():.4g}"
    return claim_of(Mean.of_pairs(ours, theirs, scale), "above", 0.0, quantity=quantity, note=means, **words)


def bounded(
    values: ArrayLike, relation: Relation, bound: float, *, statistic: Literal["mean", "median"] = "mean", **words: Any
) -> Claim:
    """Claims that the mean or median over runs lies on one side of a bound, or within it on both sides.

    Args:
        values: Shape (runs,).
        relation: "above", "at least", "below", "at most" or "within".
        bound: The bound, in the unit of the values.
        statistic: "mean" or "median".
        **words: Further arguments of `claim_of`.
    """
    evidence: Evidence = Mean.of(values) if statistic == "mean" else Median.of(values)
    return claim_of(evidence, relation, bound, **words)


def share(flags: ArrayLike, relation: Relation, bound: float, *, quantity: str, note: str = "", **words: Any) -> Claim:
    """Claims that a share lies on one side of a bound.

    Args:
        flags: Truth values of independent trials, shape (trials,).
        relation: "above", "at least", "below" or "at most".
        bound: The bound, from 0 to 1.
        quantity: What the share is of, after "%".
        note: What the test's description says besides.
        **words: Further arguments of `claim_of`.
    """
    found = Share.of(flags)
    counted = f"{found.successes} of {found.number}{f'; {note}' if note else ''}"
    return claim_of(found, relation, bound, quantity=f"% {quantity}", scale=100.0, note=counted, **words)


def at_every(
    levels: Mapping[Any, Evidence], relation: Literal["above", "at least"], bound: float, **words: Any
) -> Claim:
    """Claims that a figure lies beyond a bound at every level: the least one is printed and tested.

    Args:
        levels: Evidence by level.
        relation: "above" or "at least".
        bound: The bound, in the unit of the evidence.
        **words: Further arguments of `claim_of`.
    """
    return claim_of(Least.of(list(levels.values())), relation, bound, **words)


def trend(values: ArrayLike, way: Way, *, levels: Sequence[Any] = (), note: str = "", **words: Any) -> Claim:
    """Claims that a quantity rises or falls along ordered levels, by Spearman's correlation within each run.

    Args:
        values: Values, shape (runs, levels); a run whose values are all equal counts as correlation 0.
        way: "rises" or "falls".
        levels: The levels' names, so that the description tells the mean at each.
        note: What the test's description says besides.
        **words: Further arguments of `claim_of`.
    """
    if len(levels):
        means = zip(levels, np.mean(np.asarray(values), axis=0), strict=True)
        note = "means " + ", ".join(f"{level}: {mean:.3g}" for level, mean in means) + (f"; {note}" if note else "")
    return bounded(
        rank_correlations(values),
        "above" if way == "rises" else "below",
        0.0,
        quantity="Spearman correlation with the level, mean over seeds",
        note=note,
        **words,
    )


def in_every(flags: ArrayLike, *, quantity: str, note: str = "", **words: Any) -> Claim:
    """Claims that something is so in every case there is: a count, which is no test.

    Args:
        flags: Truth values, shape (cases,).
        quantity: What the share is of, after "%".
        note: What the description says besides.
        **words: Further fields of the claim.
    """
    found = Share.of(flags)
    counted = f"a count, no test: {found.successes} of {found.number}{f'; {note}' if note else ''}"
    verdict = "holds" if found.successes == found.number else "fails"
    return untested(100 * found.estimate, verdict, found.number, quantity=f"% {quantity}", test=counted, **words)


def at_the_ceiling(number: int, *, measured: float = 0.0, note: str, **words: Any) -> Claim:
    """Returns a comparison in which both sides are at the optimum, so that there is nothing to gain and nothing tested.

    Args:
        number: Number of pairs.
        measured: The difference measured.
        note: What both sides have.
        **words: Further fields of the claim.
    """
    return untested(measured, "at the ceiling", number, test=f"no test: {note}", **words)


def untested(measured: float, verdict: Any, number: int, **words: Any) -> Claim:
    """Returns a claim that no test decides; `test` says what does."""
    return Claim(measured=measured, verdict=verdict, seeds=number, **{"paper": "", "stated": "", **words})
