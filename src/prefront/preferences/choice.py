"""How people choose: utilities over objectives, and choice rules, on NumPy and in compiled programs alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit

from prefront.system.checks import check_between, check_least, check_types


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
        """Returns the utility of statistics by objective, shape (n, d), for weights of that shape or (d,)."""
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
        """Returns the utility of statistics by objective, shape (n, d), for weights of that shape or (d,)."""
        return (weights * np.minimum(statistics, np.asarray(self.thresholds, np.float64))).sum(-1)


Utility = Linear | Chebyshev | Thresholded


@dataclasses.dataclass(frozen=True)
class Choice:
    """A choice rule: what is answered, given the margin by which the first of two items is liked more.

    P(1 over 2) = sigmoid(rationality * margin / scale); with a scale of 1 and a rationality of 1 it is the choice model
    of Knox et al. (2024), whose temperature is one unit of reward. The irregularities are those of B-Pref (Lee et al.,
    2021, section 3).

    Attributes:
        rationality: At least 0, which is chance, and finite; None follows the margin's sign, and ties at 0.
        mistakes: Probability that a strict answer is turned round, in [0, 0.5].
        equal_within: Margins of at most so many scales are answered by 0.5; None for never.
    """

    rationality: float | None = None
    mistakes: float = 0.0
    equal_within: float | None = None

    def __post_init__(self) -> None:
        check_types(self)
        check_between(self, 0, 0.5, "mistakes", closed="both")
        check_least(self, 0, "rationality", "equal_within")

    def probabilities(self, margin: Any, scale: Any = 1.0) -> Any:
        """Returns the probabilities of the answers 0, 0.5, 1 and of no answer, see `answer_probabilities`."""
        return answer_probabilities(margin, self.rationality, scale, self.mistakes, self.equal_within)


def answer_probabilities(
    margin: Any, rationality: Any, scale: Any = 1.0, mistakes: Any = 0.0, equal_within: Any = None
) -> Any:
    """Returns the probabilities of the answers 0, 0.5, 1 and of no answer, on NumPy or in compiled programs.

    Args:
        margin: By how much the first items are liked more, NumPy or JAX, shape (...); not a number for no answer.
        rationality: As in `Choice`; numbers may be traced.
        scale: The unit of margins.
        mistakes: As in `Choice`.
        equal_within: As in `Choice`.

    Returns:
        Shape (..., 4), rows sum to 1.
    """
    compiled = isinstance(margin, jax.Array)
    xp: Any = jnp if compiled else np
    if rationality is None:
        tie = margin == 0
        prefer = (margin > 0).astype(margin.dtype)
    else:
        tie = xp.zeros(margin.shape, bool)
        prefer = (jax.nn.sigmoid if compiled else expit)(rationality * margin / scale)
    if equal_within is not None:
        tie |= xp.abs(margin) <= equal_within * scale
    prefer = (1 - mistakes) * prefer + mistakes * (1 - prefer)
    nobody = xp.zeros_like(prefer)
    answers = xp.stack([1 - prefer, nobody, prefer, nobody], -1)
    # What certainly happens: an answer of "equal", and none.
    equal, none = (xp.asarray(row, prefer.dtype) for row in ([0, 1, 0, 0], [0, 0, 0, 1]))
    answers = xp.where(tie[..., None], equal, answers)
    return xp.where(xp.isnan(margin)[..., None], none, answers)


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
