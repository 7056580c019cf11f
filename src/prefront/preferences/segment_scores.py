"""Statistics of segments: as margins of teachers, and as linear functions of reward weights and of values of states.

Partial return and both regrets are `features @ weights + sum_e coefficients_e V(states_e)`: what segments contribute is
computed once, and a fit only ever changes weights and V.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from prefront.exact.mdp import expected_features, expected_rewards, solve
from prefront.exact.tables import TabularMDP, check_mdp
from prefront.preferences.choice import Linear, Utility
from prefront.preferences.comparisons import Comparisons
from prefront.preferences.segments import Segments
from prefront.preferences.teachers import Margin, utility_margin
from prefront.system.checks import nearest_names

FORMS = ("partial_return", "deterministic_regret", "general_regret")
Statistic = Literal["partial_return", "deterministic_regret", "general_regret", "optimal_advantage"]
Regret = Literal["deterministic_regret", "general_regret"]
STATISTICS: tuple[str, ...] = get_args(Statistic)


def segment_margin(
    statistic: Statistic,
    utility: Utility,
    *,
    mdp: TabularMDP | None = None,
    gamma: float = 0.999,
    discount: float = 1.0,
    myopia: float = 1.0,
    skip_below: float = -np.inf,
) -> Margin:
    """Returns the margin of people who compare segments by a statistic of the true reward, for `Teacher`.

    The statistics, of which more is always better (Knox et al., 2024, sections 2 and 3; V*, Q* at discount `gamma`,
    delta the `discount` inside a segment of states s_0 to s_T):

    * `partial_return`: sum_t delta^t r_t.
    * `deterministic_regret`: -(V*(s_0) - sum_t delta^t r_t - delta^T V*(s_T)), minus the regret.
    * `general_regret`: -sum_t delta^t (V*(s_t) - Q*(s_t, a_t)), minus the regret.
    * `optimal_advantage`: sum_t delta^t A*(s_t, a_t), which is minus the general regret: the same teacher by the
      name of what "Learning optimal advantage from preferences and mistaking it for reward" (2024) learns from it.

    The two regrets are equal on deterministic transitions when delta = gamma. With delta = 1, as in the paper's
    experiments, they differ by (1 - gamma) times the values along the segment.

    A linear utility makes one reward of the features, of which the statistic is taken. Any other utility is applied to
    the statistics of every objective by itself, where V* is that of the best policy for this one objective.

    Args:
        statistic: Which of the four.
        utility: Whose weights are the true reward; weights of shape (P, d) are those of P persons.
        mdp: The table that segments refer to by state number; `partial_return` needs none.
        gamma: Discount of V* and Q*, in (0, 1).
        discount: Discount inside segments, in (0, 1]; 1 as in the paper.
        myopia: Weight of a step relative to the next one, in (0, 1]; below 1 the last steps count most (Lee et al.,
            2021, section 3).
        skip_below: Pairs in which both statistics lie below it get no answer.

    Raises:
        ValueError: An argument is wrong, or one that others need is missing; the message names it.
    """
    if statistic not in STATISTICS:
        raise ValueError(f"No statistic {statistic!r}. {nearest_names(statistic, list(STATISTICS))}")
    if statistic != "partial_return" and mdp is None:
        raise ValueError(f"A teacher by {statistic} needs the values of states: pass mdp.")
    for name, number in (("discount", discount), ("myopia", myopia)):
        if not 0 < number <= 1:
            raise ValueError(f"{name} must lie in (0, 1], got {number!r}.")
    weights = np.atleast_2d(np.array(utility.weights, np.float64))
    d = weights.shape[1]
    # Rows of rewards: one a person where rewards are linear, otherwise one an objective.
    rewards = weights if isinstance(utility, Linear) else np.eye(d)
    tables = None
    if mdp is not None and statistic != "partial_return":
        checked = check_mdp(mdp)
        if checked.terminal.ndim != 1 or checked.rewards.shape[-1] != d:
            raise ValueError(f"mdp must be one MDP with {d} features, got features {checked.rewards.shape}.")
        solution = solve(checked, expected_rewards(checked, rewards), gamma)
        tables = solution.values, solution.action_values - solution.values[..., None]

    def by_reward(segments: Segments, row: np.ndarray) -> np.ndarray:
        features = np.asarray(segments.rewards, np.float64)
        if features.shape[-1] != d:
            raise ValueError(f"Segments have {features.shape[-1]} features, the teacher's reward has {d}.")
        steps = np.arange(features.shape[1])
        length = np.asarray(segments.lengths)[:, None]
        importance = discount**steps * myopia ** np.maximum(length - 1 - steps, 0.0)
        terms = np.einsum("ntd,nd->nt", features, rewards[row])
        if tables is not None:
            check_state_numbers(segments, *tables[1].shape[1:])
            values, advantages = tables
            if statistic != "deterministic_regret":
                # Padding may hold anything, numbers of no state included.
                before, acted = (np.where(segments.mask, x, 0) for x in (segments.states[:, :-1], segments.actions))
                terms = advantages[row[:, None], before, acted]
        score = (np.where(segments.mask, terms, 0.0) * importance).sum(1)
        if tables is not None and statistic == "deterministic_regret":
            score += discount ** length[:, 0] * values[row, segments.end] - values[row, segments.start]
        return np.asarray(score)

    def score(segments: Segments, person: np.ndarray) -> np.ndarray:
        if isinstance(utility, Linear):
            return by_reward(segments, person)
        each = [by_reward(segments, np.full(len(segments), i)) for i in range(d)]
        return utility.combine(np.stack(each, 1), weights[person])

    score.__dict__["people"] = len(weights)
    return utility_margin(score, skip_below)


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
        statistic: "partial_return", "deterministic_regret" or "general_regret", as in `segment_margin`.
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


def _live(states: np.ndarray, coefficients: np.ndarray, terminal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drops terminal states, whose value is 0."""
    ends = terminal[states]
    return np.where(ends, 0, states).astype(np.int32), np.where(ends, 0.0, coefficients)
