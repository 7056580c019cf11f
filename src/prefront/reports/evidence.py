"""Evidence for a claim: an estimate whose interval and whose p-values are the same test, so that they never disagree.

The interval at confidence c lies beyond a bound exactly where the one-sided p-value against the bound is at most
(1 - c) / 2. One run is no evidence of spread: its bounds and p-values are NaN.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import scipy
from numpy.typing import ArrayLike

from prefront.reports.score_arrays import ROUNDING, check_confidence, finite_runs, paired_differences

Side = Literal["greater", "less"]
# What rounding is at least, so that figures that are all 0 equal a bound of 0.
TINY = float(np.finfo(np.float64).tiny)


class Evidence(Protocol):
    """An estimate, and the test that belongs to it."""

    @property
    def estimate(self) -> float:
        """The figure itself."""

    @property
    def number(self) -> int:
        """Number n of independent repetitions behind it."""

    @property
    def rounding(self) -> float:
        """Differences up to this size are rounding."""

    @property
    def method(self) -> str:
        """Name of the interval and test."""

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Returns the lower and the upper bound; NaN where there are none."""

    def p_value(self, bound: float, side: Side) -> float:
        """Returns the one-sided p-value that the true figure is "greater" or "less" than the bound."""

    def least_p(self, bound: float, side: Side) -> float:
        """Returns the smallest one-sided p-value that so many repetitions can reach; 0 where there is no such limit."""


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over runs, by the t-statistic that is adjusted for skewness (Johnson, 1978, "Modified t tests").

    The mean is moved by the third cumulant over 6 n times the variance. Of 95 % intervals from 5 and 10 runs, 95 % hold
    the mean of normal data, 88.5 and 90.4 % that of exponential data. Runs that agree to rounding show no spread, and
    are judged by their median.

    Attributes:
        values: One value per run.
        rounding: Differences up to this size are rounding.
    """

    values: tuple[float, ...]
    rounding: float

    @classmethod
    def of(cls, values: ArrayLike) -> Mean:
        """Takes values, shape (runs,).

        Raises:
            ValueError: There are none, or they are not finite.
        """
        runs = finite_runs(values)
        return cls(tuple(runs.tolist()), _rounding(runs))

    @classmethod
    def of_pairs(cls, ours: ArrayLike, theirs: ArrayLike, scale: float = 1.0) -> Mean:
        """Takes what ours are ahead of theirs, pair by pair, times `scale`; differences by rounding are 0.

        Raises:
            ValueError: The shapes are not both (pairs,), or entries are not finite.
        """
        ahead, rounding = paired_differences(ours, theirs)
        return cls(tuple((scale * ahead).tolist()), max(abs(scale) * float(rounding.max()), TINY))

    @property
    def estimate(self) -> float:
        """The mean."""
        return float(np.mean(self.values))

    @property
    def number(self) -> int:
        """Number of runs."""
        return len(self.values)

    @property
    def method(self) -> str:
        """Name of the interval and test."""
        return "sign test of the median, because no two runs differ" if self._flat else "Johnson's modified t"

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Returns the bounds of the mean."""
        check_confidence(confidence)
        if self.number == 1:
            return math.nan, math.nan
        if self._flat:
            return Median(self.values, self.rounding).interval(confidence)
        centre, error = self._adjusted
        reach = float(scipy.stats.t.ppf((1 + confidence) / 2, self.number - 1)) * error
        return centre - reach, centre + reach

    def p_value(self, bound: float, side: Side) -> float:
        """Returns the one-sided p-value of the mean beside a bound."""
        if self.number == 1:
            return math.nan
        if self._flat:
            return Median(self.values, self.rounding).p_value(bound, side)
        centre, error = self._adjusted
        distance = (centre - bound) / error
        return float(scipy.stats.t.sf(distance if side == "greater" else -distance, self.number - 1))

    def least_p(self, bound: float, side: Side) -> float:
        """Returns the smallest one-sided p-value that so many runs can reach."""
        return Median(self.values, self.rounding).least_p(bound, side) if self._flat else 0.0

    @property
    def _flat(self) -> bool:
        return self.number > 1 and max(self.values) - min(self.values) <= self.rounding

    @property
    def _adjusted(self) -> tuple[float, float]:
        """The mean with its adjustment, and its standard error."""
        runs, count = np.array(self.values), self.number
        variance = float(runs.var(ddof=1))
        cumulant = float(((runs - runs.mean()) ** 3).sum()) * count / ((count - 1) * max(count - 2, 1))
        return self.estimate + cumulant / (6 * count * variance), math.sqrt(variance / count)


@dataclasses.dataclass(frozen=True)
class Median:
    """A median over runs, by order statistics and the sign test; exact for every continuous distribution.

    Attributes:
        values: One value per run.
        rounding: Differences up to this size are rounding.
    """

    values: tuple[float, ...]
    rounding: float = TINY

    @classmethod
    def of(cls, values: ArrayLike) -> Median:
        """Takes values, shape (runs,)."""
        runs = finite_runs(values)
        return cls(tuple(runs.tolist()), _rounding(runs))

    @property
    def estimate(self) -> float:
        """The median."""
        return float(np.median(self.values))

    @property
    def number(self) -> int:
        """Number of runs."""
        return len(self.values)

    @property
    def method(self) -> str:
        """Name of the interval and test."""
        return "order statistics and the sign test"

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Returns the bounds; NaN where so few runs cannot give any at this confidence."""
        check_confidence(confidence)
        tail = scipy.stats.binom.cdf(np.arange(self.number // 2 + 1), self.number, 0.5)
        # The slack only keeps a level that is met exactly from being lost to rounding.
        beyond = int((tail <= (1 - confidence) / 2 * (1 + 1e-9)).sum())
        if beyond == 0:
            return math.nan, math.nan
        ordered = sorted(self.values)
        return ordered[beyond - 1], ordered[self.number - beyond]

    def p_value(self, bound: float, side: Side) -> float:
        """Returns the one-sided p-value of the median beside a bound; runs on the bound count against."""
        if self.number == 1:
            return math.nan
        gaps = np.array(self.values) - bound
        ahead = int(((gaps if side == "greater" else -gaps) > 0).sum())
        return float(scipy.stats.binom.sf(ahead - 1, self.number, 0.5))

    def least_p(self, bound: float, side: Side) -> float:
        """Returns the smallest one-sided p-value that so many runs can reach."""
        return float(0.5**self.number)


@dataclasses.dataclass(frozen=True)
class Least:
    """The least of several figures: what is beyond a bound "at every level" is tested by intersection and union.

    That the least is greater takes every level to be; that it is less, one level at its Bonferroni-corrected level.

    Attributes:
        levels: Evidence at each level.
    """

    levels: tuple[Evidence, ...]

    @classmethod
    def of(cls, levels: Sequence[Evidence]) -> Least:
        """Takes the evidence at each level.

        Raises:
            ValueError: There is none.
        """
        if not levels:
            raise ValueError("The least of no figures is nothing.")
        return cls(tuple(levels))

    @property
    def estimate(self) -> float:
        """The least figure."""
        return min(level.estimate for level in self.levels)

    @property
    def number(self) -> int:
        """Number of repetitions behind the level that has the fewest."""
        return min(level.number for level in self.levels)

    @property
    def rounding(self) -> float:
        """Differences up to this size are rounding."""
        return max(level.rounding for level in self.levels)

    @property
    def method(self) -> str:
        """Name of the interval and test."""
        methods = " or ".join(dict.fromkeys(level.method for level in self.levels))
        return f"least of {len(self.levels)} levels by intersection and union, each by {methods}"

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Returns the least lower bound, and the least upper bound at Bonferroni's level."""
        check_confidence(confidence)
        sharper = 1 - (1 - confidence) / len(self.levels)
        low = float(np.min([level.interval(confidence)[0] for level in self.levels]))
        return low, float(np.min([level.interval(sharper)[1] for level in self.levels]))

    def p_value(self, bound: float, side: Side) -> float:
        """Returns the one-sided p-value of the least figure beside a bound."""
        found = [level.p_value(bound, side) for level in self.levels]
        return float(np.max(found)) if side == "greater" else float(np.minimum(1.0, len(found) * np.min(found)))

    def least_p(self, bound: float, side: Side) -> float:
        """Returns the smallest one-sided p-value that so many repetitions can reach."""
        least = [level.least_p(bound, side) for level in self.levels]
        return max(least) if side == "greater" else min(1.0, len(least) * min(least))


def _rounding(runs: np.ndarray) -> float:
    return max(ROUNDING * float(np.abs(runs).max()), TINY)
