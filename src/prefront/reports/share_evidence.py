"""Evidence from trials that succeed or fail: a share, and by how much one share is ahead of another."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import scipy
from numpy.typing import ArrayLike

from prefront.reports.evidence import Side
from prefront.reports.score_arrays import ROUNDING, check_confidence


@dataclasses.dataclass(frozen=True)
class Share:
    """A share of successes, with exact bounds (Clopper and Pearson, 1934) and the binomial test.

    Attributes:
        successes: Number of successes.
        number: Number of independent trials.
    """

    successes: int
    number: int

    @classmethod
    def of(cls, flags: ArrayLike) -> Share:
        """Takes truth values, shape (trials,).

        Raises:
            ValueError: There are none.
        """
        trials = np.asarray(flags, bool).ravel()
        if len(trials) == 0:
            raise ValueError("A share needs at least one trial.")
        return cls(int(trials.sum()), len(trials))

    @property
    def estimate(self) -> float:
        """The share."""
        return self.successes / self.number

    @property
    def rounding(self) -> float:
        """Differences up to this size are rounding."""
        return ROUNDING

    @property
    def method(self) -> str:
        """Name of the interval and test."""
        return "Clopper-Pearson bounds and the binomial test"

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Returns the bounds; NaN of a single trial."""
        check_confidence(confidence)
        if self.number == 1:
            return math.nan, math.nan
        found = scipy.stats.binomtest(self.successes, self.number).proportion_ci(confidence, method="exact")
        return float(found.low), float(found.high)

    def p_value(self, bound: float, side: Side) -> float:
        """Returns the one-sided p-value of the share beside a bound; NaN of a single trial."""
        if self.number == 1:
            return math.nan
        within = min(max(bound, 0.0), 1.0)
        return float(scipy.stats.binomtest(self.successes, self.number, within, alternative=side).pvalue)

    def least_p(self, bound: float, side: Side) -> float:
        """Returns the p-value of nothing but successes, or of none."""
        return float(min(max(bound if side == "greater" else 1 - bound, 0.0), 1.0) ** self.number)


@dataclasses.dataclass(frozen=True)
class SharesApart:
    """By how much one share is ahead of another on the same trials, with the bounds of Agresti and Min (2005).

    Half a trial is added to each of the four possible outcomes; the bounds are those of the normal distribution. Beside
    0 they agree with the exact test of McNemar where few trials differ.

    Attributes:
        ahead: Number of trials in which only ours succeed.
        behind: Number of trials in which only theirs succeed.
        number: Number of trials.
    """

    ahead: int
    behind: int
    number: int

    @classmethod
    def of(cls, ours: ArrayLike, theirs: ArrayLike) -> SharesApart:
        """Takes truth values of both on the same trials, shape (trials,).

        Raises:
            ValueError: There are none, or the shapes differ.
        """
        first, second = np.asarray(ours, bool), np.asarray(theirs, bool)
        if first.ndim != 1 or first.shape != second.shape or len(first) == 0:
            raise ValueError(f"Paired trials must have the same shape (trials,), got {first.shape} and {second.shape}.")
        return cls(int((first & ~second).sum()), int((second & ~first).sum()), len(first))

    @property
    def estimate(self) -> float:
        """The difference of the shares."""
        return (self.ahead - self.behind) / self.number

    @property
    def rounding(self) -> float:
        """Differences up to this size are rounding."""
        return ROUNDING

    @property
    def method(self) -> str:
        """Name of the interval and test."""
        return "Agresti and Min's bounds of paired shares"

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Returns the bounds; NaN of a single trial."""
        check_confidence(confidence)
        centre, error = self._adjusted
        reach = float(scipy.stats.norm.ppf((1 + confidence) / 2)) * error
        return max(centre - reach, -1.0), min(centre + reach, 1.0)

    def p_value(self, bound: float, side: Side) -> float:
        """Returns the one-sided p-value of the difference beside a bound; NaN of a single trial."""
        centre, error = self._adjusted
        distance = (centre - bound) / error
        return float(scipy.stats.norm.sf(distance if side == "greater" else -distance))

    def least_p(self, bound: float, side: Side) -> float:
        """Returns the p-value of a trial that differs in every case."""
        extreme = (
            SharesApart(self.number, 0, self.number) if side == "greater" else SharesApart(0, self.number, self.number)
        )
        return extreme.p_value(bound, side)

    @property
    def _adjusted(self) -> tuple[float, float]:
        if self.number == 1:
            return math.nan, math.nan
        gap, count = self.ahead - self.behind, self.number + 2
        return gap / count, math.sqrt(self.ahead + self.behind + 1 - gap**2 / count) / count
