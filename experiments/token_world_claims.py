"""Forms of claims that the studies of token worlds share: larger by seed, and a mean below or within a bound."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from prefront import statistics
from prefront.claims import Claim, Verdict, claim_of_pairs


def standard_error(values: np.ndarray) -> float | None:
    """Returns the standard error of a mean over seeds; None of a single seed, which has none."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def larger(
    sentence: str,
    paper: str,
    ours: np.ndarray,
    theirs: np.ndarray,
    quantity: str,
    *,
    stated: str = "",
    what: str = "means",
) -> Claim:
    """Returns the claim that ours are larger, by Wilcoxon's test on pairs of equal seed; where all are equal, it fails.

    Args:
        sentence: What is claimed.
        paper: Where; "" where no paper does.
        ours: Shape (seeds,).
        theirs: Shape (seeds,).
        quantity: What their mean difference is, with its unit.
        stated: The figure that the paper states.
        what: What the two means in the note are of.
    """
    means = f"{what} {ours.mean():.3f} and {theirs.mean():.3f}"
    test = f"Wilcoxon signed-rank, paired by seed, one-sided; {means}; 95 % bootstrap interval"
    tied = {"verdict": "fails", "test": f"equal in every seed; {means}"} if np.array_equal(ours, theirs) else {}
    decided = {"sentence": sentence, "paper": paper, "stated": stated, "quantity": quantity, "test": test}
    return claim_of_pairs(statistics.compare_pairs(ours, theirs), **decided | tied)


def below(
    sentence: str,
    paper: str,
    values: ArrayLike,
    bound: float,
    quantity: str,
    *,
    scale: float = 1.0,
    either_side: bool = False,
    stated: str = "",
    statistic: statistics.Statistic = np.mean,
    note: str = "",
) -> Claim:
    """Returns the claim that a mean over seeds, or another statistic, lies below a bound, decided by its interval.

    Args:
        sentence: What is claimed.
        paper: Where; "" where no paper does.
        values: Shape (seeds,).
        bound: The bound, in the unit of the values.
        quantity: What is measured, with its unit.
        scale: What values and bound are multiplied by, such as 100 for per cent.
        either_side: Whether the size must lie below the bound, of a figure that may be negative.
        stated: The figure that the paper states.
        statistic: A function of values with an `axis` argument.
        note: What is added to the description of the test.
    """
    scaled = scale * np.asarray(values, np.float64)
    interval = statistics.stratified_bootstrap(scaled, statistic)
    largest, least = interval.high, interval.low
    if either_side:
        largest, least = max(largest, -least), max(least, -largest)
    verdict: Verdict = "holds" if largest < scale * bound else "fails" if least > scale * bound else "undecided"
    name = "mean" if statistic is np.mean else getattr(statistic, "__name__", "statistic")
    return Claim(
        sentence=sentence,
        paper=paper,
        stated=stated,
        measured=interval.estimate,
        quantity=quantity,
        seeds=len(scaled),
        verdict=verdict,
        interval=(interval.low, interval.high),
        test=f"{name} with 95 % bootstrap interval over seeds{f'; {note}' if note else ''}",
    )
