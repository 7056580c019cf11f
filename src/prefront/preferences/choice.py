"""How people choose, given how much they like two things: utilities over objectives, and choice rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit

from prefront.system.checks import check_between, check_least, check_positive, check_types


@dataclasses.dataclass(frozen=True, eq=False)
class Linear:
    """Weights make one reward of the vector: r = weights @ features.

    Attributes:
        weights: Of any sign, shape (d,), or (P, d) for a population of P persons.
    """

    weights: Any

    def __post_init__(self) -> None:
        _check_weights(self.weights)


@dataclasses.dataclass(frozen=True, eq=False)
class Chebyshev:
    """The worst weighted distance from an ideal decides: u(x) = -max_i weights_i (ideal_i - x_i).

    Attributes:
        weights: Not negative, shape (d,) or (P, d).
        ideal: What would be perfect in each objective, shape (d,). For regrets that is 0.
    """

    weights: Any
    ideal: Any

    def __post_init__(self) -> None:
        _check_weights(self.weights, 0.0)
        _check_per_objective(self.weights, "ideal", self.ideal, np.isfinite, "finite")

    def combine(self, statistics: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Returns the utility of statistics by objective, shape (n, d), for one person's weights."""
        return -(weights * (np.asarray(self.ideal, np.float64) - statistics)).max(-1)


@dataclasses.dataclass(frozen=True, eq=False)
class Thresholded:
    """Enough is enough: u(x) = sum_i weights_i min(x_i, thresholds_i).

    Attributes:
        weights: Not negative, shape (d,) or (P, d).
        thresholds: Beyond these an objective counts no more, shape (d,); infinity for no threshold.
    """

    weights: Any
    thresholds: Any

    def __post_init__(self) -> None:
        _check_weights(self.weights, 0.0)
        _check_per_objective(
            self.weights, "thresholds", self.thresholds, lambda numbers: numbers > -np.inf, "numbers above -inf"
        )

    def combine(self, statistics: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Returns the utility of statistics by objective, shape (n, d), for one person's weights."""
        return np.minimum(statistics, np.asarray(self.thresholds, np.float64)) @ weights


Utility = Linear | Chebyshev | Thresholded


@dataclasses.dataclass(frozen=True)
class Choice:
    """A choice rule: what is answered, given the statistics f1 and f2 of two segments.

    The rationality is in units of `scale`: P(1 over 2) = sigmoid(rationality * (f1 - f2) / scale). With
    `scale="reference"` the unit is the standard deviation of f over a reference set of segments, by person, so that
    longer segments or larger rewards do not make a person deterministic. With a number it is that: 1 is the choice
    model of Knox et al. (2024), whose temperature is one unit of reward. The irregularities are those of B-Pref (Lee et
    al., 2021, section 3).

    Attributes:
        rationality: Positive and finite; None chooses the larger statistic, without noise.
        scale: Unit of statistics, "reference" or a positive number.
        mistakes: Probability that a strict answer is turned round, in [0, 0.5].
        equal_within: Differences of at most so many units are answered by 0.5; None for never.
        skip_below: Pairs in which both statistics lie below so many units get no answer; None for never.
        myopia: Weight of a step relative to the next one, in (0, 1]; below 1 the last steps count most.
        tie_tolerance: Without noise, differences of at most this share of max(1, |f1|, |f2|) are ties, answered by 0.5.
    """

    rationality: float | None = None
    scale: float | Literal["reference"] = "reference"
    mistakes: float = 0.0
    equal_within: float | None = None
    skip_below: float | None = None
    myopia: float = 1.0
    tie_tolerance: float = 1e-9

    def __post_init__(self) -> None:
        check_types(self)
        check_positive(self, "rationality", "scale")
        check_between(self, 0, 0.5, "mistakes", closed="both")
        check_between(self, 0, 1, "myopia", closed="right")
        check_least(self, 0, "equal_within", "tie_tolerance")

    @property
    def needs_scale(self) -> bool:
        """Whether answers depend on the unit of statistics."""
        return self.rationality is not None or self.equal_within is not None or self.skip_below is not None

    def probabilities(self, first: Any, second: Any, scale: Any) -> Any:
        """Returns the probabilities of the answers 0, 0.5, 1 and of no answer, see `answer_probabilities`."""
        return answer_probabilities(
            first,
            second,
            self.rationality,
            scale,
            self.mistakes,
            self.equal_within,
            self.skip_below,
            self.tie_tolerance,
        )


def answer_probabilities(
    first: Any,
    second: Any,
    rationality: Any,
    scale: Any = 1.0,
    mistakes: Any = 0.0,
    equal_within: Any = None,
    skip_below: Any = None,
    tie_tolerance: float = 1e-9,
) -> Any:
    """Returns the probabilities of the answers 0, 0.5, 1 and of no answer, on NumPy or in compiled programs.

    Args:
        first: Statistics of the first items, NumPy or JAX, shape (...).
        second: Statistics of the second items, shape (...).
        rationality: As in `Choice`; unlike there 0, chance, is allowed, and numbers may be traced.
        scale: The unit of statistics.
        mistakes: As in `Choice`.
        equal_within: As in `Choice`.
        skip_below: As in `Choice`.
        tie_tolerance: As in `Choice`.

    Returns:
        Shape (..., 4), rows sum to 1.
    """
    compiled = isinstance(first, jax.Array)
    xp: Any = jnp if compiled else np
    difference = first - second
    if rationality is None:
        tie = xp.abs(difference) <= tie_tolerance * xp.maximum(1, xp.maximum(xp.abs(first), xp.abs(second)))
        prefer = (difference > 0).astype(difference.dtype)
    else:
        tie = xp.zeros(difference.shape, bool)
        prefer = (jax.nn.sigmoid if compiled else expit)(rationality * difference / scale)
    if equal_within is not None:
        tie |= xp.abs(difference) <= equal_within * scale
    prefer = (1 - mistakes) * prefer + mistakes * (1 - prefer)
    nobody = xp.zeros_like(prefer)
    answers = xp.stack([1 - prefer, nobody, prefer, nobody], -1)
    # What certainly happens: an answer of "equal", and none.
    equal, none = (xp.asarray(row, prefer.dtype) for row in ([0, 1, 0, 0], [0, 0, 0, 1]))
    answers = xp.where(tie[..., None], equal, answers)
    if skip_below is not None:
        answers = xp.where((xp.maximum(first, second) < skip_below * scale)[..., None], none, answers)
    return answers


def _check_weights(weights: Any, least: float = -np.inf) -> None:
    numbers = _as_numbers("Weights", weights)
    if numbers.ndim not in (1, 2) or not np.isfinite(numbers).all() or not numbers.size:
        raise ValueError(f"Weights must be finite, of shape (d,) or (P, d), got {weights!r}.")
    if (numbers < least).any():
        raise ValueError(f"Weights must not be negative, got {weights!r}.")


def _check_per_objective(
    weights: Any, name: str, value: Any, allowed: Callable[[np.ndarray], np.ndarray], demand: str
) -> None:
    numbers, shape = _as_numbers(name, value), np.shape(weights)[-1:]
    if numbers.shape != shape or not allowed(numbers).all():
        raise ValueError(f"{name} must be {demand}, of shape {shape}, one an objective, got {value!r}.")


def _as_numbers(name: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers, got {value!r}.") from None
