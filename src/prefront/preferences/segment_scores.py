"""Statistics of segments as linear functions of reward weights and of the values of states.

Partial return and both regrets are `features @ weights + sum_e coefficients_e V(states_e)`: what segments contribute is
computed once, and a fit only ever changes weights and V.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from prefront.exact.mdp import expected_features
from prefront.exact.tables import TabularMDP
from prefront.preferences.comparisons import Comparisons
from prefront.preferences.segments import Segments
from prefront.system.checks import nearest_names

FORMS = ("partial_return", "deterministic_regret", "general_regret")


class LinearForm(NamedTuple):
    """Statistics of n segments, or their differences between the segments of n pairs.

    Attributes:
        features: What weights multiply, shape (n, d), float64.
        states: State numbers, shape (n, E), int32. E is 0 for partial returns.
        coefficients: What multiplies the values of these states, 0 for terminal ones, shape (n, E), float64.
    """

    features: np.ndarray
    states: np.ndarray
    coefficients: np.ndarray


def linear_form(
    segments: Segments, statistic: str, mdp: TabularMDP | None = None, gamma: float = 0.999, discount: float = 1.0
) -> LinearForm:
    """Returns a statistic of segments as a linear form; more is better, so regrets come with a minus.

    Args:
        segments: n segments.
        statistic: "partial_return", "deterministic_regret" or "general_regret", as in `Teacher`.
        mdp: The table that states refer to; partial returns need none.
        gamma: Discount of values.
        discount: Discount inside segments.

    Raises:
        ValueError: The statistic is unknown, the table is missing, or segments do not refer to it.
    """
    if statistic not in FORMS:
        raise ValueError(f"No linear form of {statistic!r}. {nearest_names(statistic, list(FORMS))}")
    count = len(segments)
    if statistic == "partial_return":
        return LinearForm(segments.features(discount), np.zeros((count, 0), np.int32), np.zeros((count, 0)))
    if mdp is None:
        raise ValueError(f"The {statistic} of segments needs the table that they refer to: pass mdp.")
    terminal = np.asarray(mdp.terminal)
    check_state_numbers(segments, *np.shape(mdp.successors)[:2])
    if statistic == "deterministic_regret":
        states = np.stack([segments.end, segments.start], 1)
        powers = np.stack([discount ** np.asarray(segments.lengths, np.float64), -np.ones(count)], 1)
        return LinearForm(segments.features(discount), *_live(states, powers, terminal))
    before = np.where(segments.mask, np.asarray(segments.states)[:, :-1], 0)
    acted = np.where(segments.mask, segments.actions, 0)
    powers = np.where(segments.mask & ~terminal[before], discount ** np.arange(before.shape[1]), 0.0)
    features = np.einsum("nt,ntd->nd", powers, expected_features(mdp)[before, acted])
    after = np.asarray(mdp.successors)[before, acted]
    ahead = gamma * powers[..., None] * np.asarray(mdp.probabilities)[before, acted]
    states = np.concatenate([before, after.reshape(count, -1)], 1)
    coefficients = np.concatenate([-powers, ahead.reshape(count, -1)], 1)
    return LinearForm(features, *_live(states, coefficients, terminal))


def pair_form(
    dataset: Comparisons[Segments],
    statistic: str,
    mdp: TabularMDP | None = None,
    gamma: float = 0.999,
    discount: float = 1.0,
) -> LinearForm:
    """Returns the statistic of first segments minus that of second ones; arguments as in `linear_form`."""
    first = linear_form(dataset.first, statistic, mdp, gamma, discount)
    second = linear_form(dataset.second, statistic, mdp, gamma, discount)
    return LinearForm(
        first.features - second.features,
        np.concatenate([first.states, second.states], 1),
        np.concatenate([first.coefficients, -second.coefficients], 1),
    )


def evaluate(form: LinearForm, weights: Any, values: np.ndarray | None = None) -> np.ndarray:
    """Returns the statistic of each row, shape (n,), for weights (d,) and, where it needs them, values (S,)."""
    found = form.features @ np.asarray(weights, np.float64)
    if form.states.shape[1]:
        assert values is not None
        found = found + (form.coefficients * values[form.states]).sum(1)
    return np.asarray(found)


def choice_features(form: LinearForm, successors: Any) -> Any:
    """Returns the gradient by the weights, shape (n, d), where values are successors (S, d) @ weights; NumPy or JAX."""
    return form.features + (form.coefficients[..., None] * successors[form.states]).sum(1)


def check_state_numbers(segments: Segments, states: int, actions: int) -> None:
    """Raises ValueError, naming row and value, unless states and actions are numbers of a table of that size."""
    mask = np.asarray(segments.mask)
    inside = np.concatenate([np.ones((len(mask), 1), bool), mask], 1)
    for name, numbers, bound, used in (
        ("states", np.asarray(segments.states), states, inside),
        ("actions", np.asarray(segments.actions), actions, mask),
    ):
        if numbers.ndim != 2 or numbers.dtype.kind not in "iu":
            raise ValueError(f"A table needs {name} as its numbers, got {numbers.dtype} of shape {numbers.shape}.")
        wrong = used & ((numbers < 0) | (numbers >= bound))
        if wrong.any():
            row, step = np.argwhere(wrong)[0]
            raise ValueError(f"row {row}, step {step}: {name} must lie in [0, {bound}), got {numbers[row, step]}.")


def padded_to(array: np.ndarray, size: int) -> np.ndarray:
    """Pads the first axis with zeros."""
    return np.pad(array, ((0, size - len(array)), *((0, 0),) * (array.ndim - 1)))


def _live(states: np.ndarray, coefficients: np.ndarray, terminal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drops terminal states, whose value is 0."""
    ends = terminal[states]
    return np.where(ends, 0, states).astype(np.int32), np.where(ends, 0.0, coefficients)
