"""Policy iteration for criteria in lexicographic order, on vector rewards."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.sparse import csc_array, eye_array
from scipy.sparse.linalg import splu

from prefront.exact.tables import TabularMDP
from prefront.exact.undiscounted import finite_policy

# Advantages below this share of a criterion's largest value are rounding.
ROUNDING = 1e-12
MAXIMUM_ROUNDS = 1000


@dataclasses.dataclass(frozen=True, eq=False)
class StationaryPolicy:
    """A deterministic stationary policy and its value.

    Attributes:
        actions: Action of each state, shape (S,).
        values: Expected discounted returns, shape (S, d), from solving the policy's linear equations; not a number
            where, without a discount, no policy has a finite return.
    """

    actions: np.ndarray
    values: np.ndarray

    def expected_return(self, momdp: TabularMDP) -> np.ndarray:
        """Returns the expected return from the initial distribution, shape (d,)."""
        return np.asarray(momdp.initial_probabilities @ self.values[momdp.initial_states])


def lexicographic_optimum(momdp: TabularMDP, gamma: float, criteria: np.ndarray) -> StationaryPolicy:
    """Returns the policy that is best by the first criterion, among those by the second, and so on.

    Policy iteration for one criterion after the other, each among the actions that are optimal for those before. Every
    value comes from solving the linear equations of a policy, never from a truncated iteration.

    Without a discount only policies of finite return count (see `pareto_sets.solve`); the iteration starts
    from one that gathers nothing for ever wherever it can and else ends with probability 1. An action replaces another
    only where it is strictly better, so that no policy on the way has an infinite return unless something gains
    without end: along a loop the gains of a better policy add up to its mean reward.

    Args:
        momdp: The problem.
        gamma: Discount in (0, 1].
        criteria: Weights of the objectives for each criterion, shape (criteria, d).

    Returns:
        The policy.

    Raises:
        RuntimeError: Without a discount, a policy gains without end or none has a finite return; or policies still
            improve after 1000 rounds.
    """
    expected = np.einsum("sak,sakd->sad", momdp.probabilities, momdp.rewards)
    states = np.arange(len(momdp.terminal))
    allowed = np.broadcast_to(np.ones((), bool), expected.shape[:2])
    actions = np.zeros(len(states), int)
    finite = np.ones(len(states), bool)
    if gamma == 1.0:
        actions, finite = finite_policy(momdp)
        if not finite[momdp.initial_states].all():
            raise RuntimeError("No policy has a finite return without a discount.")
        allowed = (finite[momdp.successors] | (momdp.probabilities == 0)).all(axis=2)
    ongoing = finite & ~momdp.terminal
    rounds = 0
    for weights in criteria:
        least = float(np.abs(expected).max(axis=(0, 1)) @ np.abs(weights))
        while True:
            values = _evaluate(momdp, gamma, expected, actions, finite)
            following = np.einsum("sak,sakd->sad", momdp.probabilities, values[momdp.successors])
            scores = np.where(allowed, (expected + gamma * following) @ weights, -np.inf)
            slack = ROUNDING * max(float(np.abs(values @ weights).max()), least)
            best = scores >= scores.max(axis=1, keepdims=True) - slack
            better = ~best[states, actions] & ongoing
            if not better.any():
                break
            actions = np.where(better, scores.argmax(axis=1), actions)
            rounds += 1
            if rounds > MAXIMUM_ROUNDS:
                raise RuntimeError(f"Policies still improve after {MAXIMUM_ROUNDS} rounds at discount {gamma}.")
        allowed = allowed & best
    return StationaryPolicy(actions, np.where(finite[:, None], values, np.nan))


def _evaluate(
    momdp: TabularMDP, gamma: float, expected: np.ndarray, actions: np.ndarray, finite: np.ndarray
) -> np.ndarray:
    """Returns the values of a policy, shape (S, d), 0 where none is finite."""
    states = np.arange(len(actions))
    chances = np.where(momdp.terminal[:, None], 0.0, momdp.probabilities[states, actions])
    gains = np.where(momdp.terminal[:, None], 0.0, expected[states, actions])
    origin, outcome = np.nonzero(chances)
    law = csc_array(
        (chances[origin, outcome], (origin, momdp.successors[states, actions][origin, outcome])),
        shape=(len(states), len(states)),
    )
    if gamma == 1.0:
        ending = momdp.terminal.copy()
        while True:
            wider = ending | (law @ ending > 0)
            if (wider == ending).all():
                break
            ending = wider
        if gains[~ending & finite].any():
            raise RuntimeError("A policy gains without end, which has no finite return without a discount.")
        law = law.multiply((ending & finite)[:, None]).tocsc()
        gains = np.where((ending & finite)[:, None], gains, 0.0)
    return np.asarray(splu((eye_array(len(states), format="csc") - gamma * law).tocsc()).solve(gains))
