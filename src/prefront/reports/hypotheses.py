"""What a claim says of a true figure, and Holm's correction for the number of such claims that are tested together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from prefront.reports.evidence import Evidence, Side

Relation = Literal["above", "at least", "below", "at most", "within", "other than"]
# A p-value that meets its level exactly must not be lost to rounding.
SLACK = 1 + 1e-9
# A claim says how small its p-value can get where that is more than this.
LIMITING = 1e-3


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """That a true figure lies on one side of a bound.

    Attributes:
        evidence: What was measured.
        relation: "above", "at least", "below" or "at most" the bound; "within" the bound on both sides of 0; "other
            than" the bound, which can be shown but not refuted.
        bound: The bound, in the unit of the evidence.
        scale: What figure and interval are multiplied by to be printed, such as 100 for per cent.
        note: What the description of the test says besides.
    """

    evidence: Evidence
    relation: Relation
    bound: float = 0.0
    scale: float = 1.0
    note: str = ""

    def __post_init__(self) -> None:
        if self.relation not in get_args(Relation):
            raise ValueError(f"The relation must be one of {get_args(Relation)}, got {self.relation!r}.")
        if not math.isfinite(self.bound) or not 0 < self.scale < math.inf:
            raise ValueError(f"Bounds are finite and scales positive, got {self.bound} and {self.scale}.")

    @property
    def one_sided(self) -> tuple[float, float]:
        """The p-values of the tests for and against the hypothesis; NaN where one run is all there is."""
        test, slack = self.evidence.p_value, 2 * self.evidence.rounding
        if self.relation == "within":
            size = abs(self.bound) + slack
            outside = test(size, "greater"), test(-size, "less")
            return float(np.max([test(size, "less"), test(-size, "greater")])), float(np.min(outside))
        if self.relation == "other than":
            sides = test(self.bound + slack, "greater"), test(self.bound - slack, "less")
            return float(np.min(sides)), float(np.max([*sides, 1.0]))
        # Figures that equal the bound to rounding are neither above nor below it.
        bound = self.bound + (slack if self.relation in ("above", "at most") else -slack)
        greater, less = test(bound, "greater"), test(bound, "less")
        return (greater, less) if self.relation in ("above", "at least") else (less, greater)

    @property
    def p_value(self) -> float:
        """The two-sided p-value: what decides either way."""
        return float(np.minimum(1.0, 2 * np.min(self.one_sided)))

    @property
    def supported(self) -> bool:
        """Whether the evidence is rather for the hypothesis than against it."""
        towards, against = self.one_sided
        return towards < against

    @property
    def measured(self) -> float:
        """The figure, as it is printed."""
        return self.scale * self.evidence.estimate

    def interval(self, confidence: float) -> tuple[float, float] | None:
        """Returns the interval as it is printed; None where so few runs have none."""
        low, high = (self.scale * end for end in self.evidence.interval(confidence))
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None

    def describe(self, confidence: float, family: int) -> str:
        """Names the test, the confidence of its interval and the family."""
        together = f"Holm over {family} claims" if family > 1 else "the only test"
        if self.evidence.number == 1:
            return "; ".join(part for part in ("a single run decides nothing", self.note) if part)
        parts = [f"{percent(confidence)} interval and two-sided p by {self.evidence.method}", together]
        least = self._least_p
        if least * family > LIMITING:
            first = f", {min(least * family, 1.0):.2g} at Holm's first step" if family > 1 else ""
            parts.append(f"the smallest p that n = {self.evidence.number} can reach is {least:.2g}{first}")
        return "; ".join([*parts, self.note] if self.note else parts)

    @property
    def _least_p(self) -> float:
        """The smallest two-sided p-value with which the hypothesis could hold."""
        sides: dict[Relation, Side] = {"above": "greater", "at least": "greater", "below": "less", "at most": "less"}
        side = sides.get(self.relation)
        return 2 * self.evidence.least_p(self.bound, side) if side else 0.0


@dataclasses.dataclass(frozen=True)
class Correction:
    """Holm's correction of a family.

    Attributes:
        p_values: Corrected p-values, in the order given.
        confidence: Confidence at which exactly those intervals exclude their bound whose hypothesis is decided: Holm's
            level for the first one that is not.
        level: Chance of any wrong decision.
    """

    p_values: tuple[float, ...]
    confidence: float
    level: float

    def decides(self, number: int) -> bool:
        """Tells whether a hypothesis is decided."""
        return self.p_values[number] <= self.level * SLACK


def holm(p_values: Sequence[float], level: float = 0.05) -> Correction:
    """Corrects p-values for their number (Holm, 1979, "A simple sequentially rejective multiple test procedure").

    Args:
        p_values: Two-sided p-values of all tests of a family; NaN is a test that nothing can decide.
        level: Chance of any wrong decision that is allowed.
    """
    count = len(p_values)
    given = np.array([1.0 if math.isnan(one) else one for one in p_values])
    order = np.argsort(given, kind="stable")
    stepped = np.minimum(np.maximum.accumulate(given[order] * (count - np.arange(count))), 1.0)
    corrected = np.empty(count)
    corrected[order] = stepped
    decided = int((corrected <= level * SLACK).sum())
    return Correction(tuple(corrected.tolist()), 1 - level / max(1, count - decided), level)


def percent(confidence: float) -> str:
    """Returns a confidence as text, with as many digits as tell it from 100 %."""
    return f"{100 * confidence:.{1 + max(2, math.ceil(-math.log10(1 - confidence)))}g} %"
