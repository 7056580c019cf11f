"""Exact answers for finite multi-objective problems: the Pareto set and the convex coverage set.

The Pareto set is that of deterministic policies that may remember: an action may depend on the whole history. With
deterministic transitions these are the non-stationary policies; with stochastic ones a policy may act differently after
different outcomes even where they lead to the same state later.

Method: set-valued dynamic programming (White, "Multi-objective infinite-horizon discounted Markov decision processes",
J. Math. Anal. Appl. 89, 1982; Wiering and de Jong, "Computing optimal stationary policies for multi-objective Markov
decision processes", ADPRL 2007). V(s) is the set of non-dominated values of

    union over a of  sum over k of  p_k (r_k + gamma V(s_k)),

where the inner sum adds one element for each outcome in every combination.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from prefront.exact import shortest_paths
from prefront.exact.components import Components, decompose
from prefront.exact.linear_support import linear_support
from prefront.exact.tables import TabularMDP
from prefront.exact.undiscounted import finite_starts
from prefront.pareto.dominance import (
    RELATIVE_TOLERANCE,
    convex_hull_vertices,
    cross_sum,
    in_order,
    non_dominated_rows,
    prune,
    same_set,
)
from prefront.system.checks import check_discount

__all__ = [
    "NoFiniteFrontError",
    "ParetoSolution",
    "convex_hull_vertices",
    "coverage_set",
    "pareto_front",
    "solve",
]

# Change per sweep, in units of the largest reward, below which an iteration has converged.
CONVERGED = 1e-13


class NoFiniteFrontError(RuntimeError):
    """The iteration did not reach a finite set of values."""


@dataclasses.dataclass(frozen=True, eq=False)
class ParetoSolution:
    """Pareto sets of the states that matter.

    Attributes:
        momdp: The table.
        gamma: The discount.
        tolerance: Difference per objective up to which values are equal, shape (d,).
        components: The strongly connected components of the state graph.
        fronts: Non-dominated values by state: of every state where it took an iteration, and of the states in which an
            episode can enter a component that is only passed through.
        passed: Components that are only passed through, by their label.
    """

    momdp: TabularMDP
    gamma: float
    tolerance: np.ndarray
    components: Components
    fronts: dict[int, np.ndarray]
    passed: dict[int, shortest_paths.Passage]

    def initial_front(self) -> np.ndarray:
        """Returns the Pareto set of expected returns over the initial distribution, lexicographically ordered."""
        front = np.zeros((1, self.momdp.num_objectives))
        for state, chance in zip(self.momdp.initial_states, self.momdp.initial_probabilities, strict=True):
            front = prune(cross_sum(front, chance * self.fronts[int(state)]), self.tolerance)
        if len(front) == 0:
            raise NoFiniteFrontError(f"No policy has a finite return at discount {self.gamma}.")
        return in_order(front)


def pareto_front(momdp: TabularMDP, gamma: float, horizon: int | None = None, max_points: int = 2_000) -> np.ndarray:
    """Returns the exact Pareto set of deterministic policies from the initial distribution.

    Args:
        momdp: The problem.
        gamma: Discount in (0, 1].
        horizon: Number of steps after which every episode is cut off; None for no limit.
        max_points: Limit on the points of one state's set where it takes an iteration.

    Returns:
        Mutually non-dominated expected returns, shape (points, objectives), float64, in lexicographic order. Points
        that differ by no more than 1e-10 of the largest reward in every objective are one point.

    Raises:
        NoFiniteFrontError: See `solve`.
        ValueError: The discount lies outside (0, 1] or the horizon is negative.
    """
    if horizon is None:
        return solve(momdp, gamma, max_points).initial_front()
    if horizon < 0:
        raise ValueError(f"The horizon must be at least 0, got {horizon}.")
    solver = _Solver(momdp, check_discount(gamma), max_points)
    states = [int(state) for state in np.flatnonzero(~momdp.terminal)]
    solver.sweep(states, horizon, exactly=True)
    return solver.solution(decompose(momdp)).initial_front()


def solve(momdp: TabularMDP, gamma: float, max_points: int = 2_000) -> ParetoSolution:
    """Computes the Pareto sets of all states that matter.

    The strongly connected components of the state graph are solved one after the other, successors first, so that only
    states which can reach each other are iterated over. Where a component is left by deterministic moves only, its
    inner moves all have one reward and every way out is worth at least as much as staying for ever, shortest paths
    replace the iteration (`prefront.exact.shortest_paths`).

    Otherwise, with gamma < 1, the iteration starts from {0}: after n sweeps it holds the Pareto sets of the problem
    that is cut off after n steps. The operator is a contraction in the Hausdorff distance, so the limit is unique, it
    counts policies that never end by their discounted return, and where a sweep changes nothing it is exact.

    With gamma = 1 only policies of finite return count: those that end with probability 1, or that from some time on
    gather nothing for ever, which is worth 0 from there (in resource gathering, never going home). The iteration
    starts from such policies (`prefront.exact.undiscounted`), so that after n sweeps it holds the Pareto sets of all
    policies which are free for n steps and then follow a starting one. Every element is attained, no set gets worse,
    and a sweep that changes nothing shows that no more steps of freedom help. That point is reached after finitely
    many sweeps where time costs something or wandering gains nothing, since then an episode with a cycle more is
    dominated by one without; along random outcomes that can repeat without end what is left to gain shrinks
    geometrically. Where a cycle gains without end there is no finite answer, and an error says so.

    Args:
        momdp: The problem.
        gamma: Discount in (0, 1].
        max_points: Limit on the points of one state's set where it takes an iteration.

    Returns:
        The Pareto sets.

    Raises:
        NoFiniteFrontError: A set grows beyond `max_points` (with gamma < 1 a front may have infinitely many points), or
            the iteration does not converge.
        ValueError: The discount lies outside (0, 1].
    """
    solver = _Solver(momdp, check_discount(gamma), max_points)
    components = decompose(momdp)
    for members in components:
        if len(members) == 1 and momdp.terminal[members[0]]:
            continue
        state = int(members[0])
        if len(members) == 1 and not (momdp.successors[state][momdp.probabilities[state] > 0] == state).any():
            solver.fronts[state] = solver.backup(state)
            continue
        passage = shortest_paths.find_passage(momdp, solver.gamma, solver.tolerance, components, members, solver.fronts)
        if passage is None:
            solver.sweep([int(state) for state in members], _sweeps(solver.gamma, len(members)))
            continue
        solver.passed[int(components.labels[state])] = passage
        entries = members[components.entered[members]]
        for entry, front in zip(entries.tolist(), passage.fronts(entries, solver.tolerance), strict=True):
            solver.fronts[entry] = front
    return solver.solution(components)


def coverage_set(momdp: TabularMDP, gamma: float, method: str = "automatic") -> np.ndarray:
    """Returns the exact convex coverage set: the returns that are the single best for some linear weights.

    Args:
        momdp: The problem.
        gamma: Discount in (0, 1].
        method: "pareto" takes the vertices of the Pareto set's convex hull. "linear support" adds the optimum at one
            corner weights after the other and needs no finite Pareto set, see
            `prefront.exact.linear_support`. "automatic" takes the first where the Pareto set is found and the second
            where it is not.

    Returns:
        Expected returns, shape (points, objectives), float64, in lexicographic order.

    Raises:
        NoFiniteFrontError: The method is "pareto" and there is no finite Pareto set.
        ValueError: The discount lies outside (0, 1] or the method is unknown.
    """
    if method not in ("automatic", "pareto", "linear support"):
        raise ValueError(f"No method {method!r} for a coverage set. Known: automatic, linear support, pareto.")
    if method != "linear support":
        try:
            return convex_hull_vertices(pareto_front(momdp, gamma))
        except NoFiniteFrontError:
            if method == "pareto":
                raise
    return linear_support(momdp, check_discount(gamma)).points


def _sweeps(gamma: float, states: int) -> int:
    """Limits the sweeps over a component: enough to reach rounding where the discount makes it converge."""
    forgetting = 0 if gamma == 1.0 else math.ceil(math.log(1e-16) / math.log(gamma))
    return 4 * states + 500 + min(forgetting, 100_000)


def reward_tolerance(momdp: TabularMDP) -> np.ndarray:
    """Returns the difference up to which values are equal: 1e-10 of each objective's largest reward, shape (d,)."""
    largest = np.abs(momdp.rewards).max(axis=(0, 1, 2))
    return RELATIVE_TOLERANCE * np.where(largest > 0, largest, 1.0)


class _Solver:
    """The sets found so far and the operations on them."""

    def __init__(self, momdp: TabularMDP, gamma: float, max_points: int) -> None:
        self.momdp, self.gamma, self.max_points = momdp, gamma, max_points
        self.tolerance = reward_tolerance(momdp)
        nothing = np.zeros((1, momdp.num_objectives))
        self.fronts = {int(state): nothing for state in np.flatnonzero(momdp.terminal)}
        self.passed: dict[int, shortest_paths.Passage] = {}

    def solution(self, components: Components) -> ParetoSolution:
        return ParetoSolution(self.momdp, self.gamma, self.tolerance, components, self.fronts, self.passed)

    def backup(self, state: int) -> np.ndarray:
        """Returns the non-dominated values of one state from its successors' sets."""
        actions = range(self.momdp.successors.shape[1])
        sums = [action_values(self.momdp, self.gamma, self.fronts, state, action, self.tolerance) for action in actions]
        front = prune(np.concatenate([values for values, _ in sums]), self.tolerance)
        self.check_size(state, front)
        return front

    def check_size(self, state: int, front: np.ndarray) -> None:
        if len(front) > self.max_points:
            raise NoFiniteFrontError(
                f"State {state} has more than {self.max_points:,} Pareto-optimal values at discount {self.gamma}; the "
                f"front may be infinite. Give a horizon, raise max_points, or ask for the coverage set, always finite."
            )

    def sweep(self, states: list[int], limit: int, exactly: bool = False) -> None:
        """Iterates over some states until nothing changes, or for `limit` steps where that is what was asked for."""
        if exactly or self.gamma < 1.0:
            self.fronts.update(dict.fromkeys(states, np.zeros((1, self.momdp.num_objectives))))
        else:
            self.fronts.update(finite_starts(self.momdp, np.array(states), self.fronts))
        converged = self.tolerance * (CONVERGED / RELATIVE_TOLERANCE)
        inside = set(states)
        leads_to: dict[int, set[int]] = {state: set() for state in states}
        for state in states:
            for successor in np.unique(self.momdp.successors[state][self.momdp.probabilities[state] > 0]):
                if int(successor) in inside:
                    leads_to[int(successor)].add(state)
        pending = set(states)
        for _ in range(limit):
            renewed = {state: self.backup(state) for state in pending}
            changed = [state for state, front in renewed.items() if not same_set(front, self.fronts[state], converged)]
            self.fronts.update(renewed)
            pending = set().union(*(leads_to[state] for state in changed))
            if not pending:
                return
        if not exactly:
            raise NoFiniteFrontError(
                f"The Pareto sets of {len(states)} connected states still change after {limit:,} sweeps at discount "
                f"{self.gamma}: some policy gains by never ending. Give a horizon or a smaller discount."
            )


def action_values(
    momdp: TabularMDP, gamma: float, fronts: dict[int, np.ndarray], state: int, action: int, tolerance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values of an action over all choices of what follows each outcome.

    Args:
        momdp: The problem.
        gamma: The discount.
        fronts: Sets of the successors.
        state: A state that is not terminal.
        action: An action.
        tolerance: Difference up to which values are equal, shape (d,).

    Returns:
        Values, shape (N, d), pruned where there are several outcomes; and for each the element of every successor's set
        that it takes, shape (N, possible outcomes), in the order of the table.
    """
    values, choices = np.zeros((1, momdp.num_objectives)), np.zeros((1, 0), np.int32)
    possible = np.flatnonzero(momdp.probabilities[state, action] > 0)
    for outcome in possible:
        front = fronts[int(momdp.successors[state, action, outcome])]
        part = momdp.probabilities[state, action, outcome] * (momdp.rewards[state, action, outcome] + gamma * front)
        if outcome == possible[0]:
            values, choices = part, np.arange(len(part), dtype=np.int32)[:, None]
            continue
        count = len(values)
        values = cross_sum(values, part)
        choices = np.column_stack(
            [np.repeat(choices, len(part), axis=0), np.tile(np.arange(len(part), dtype=np.int32), count)]
        )
        kept = non_dominated_rows(values, tolerance)
        values, choices = values[kept], choices[kept]
    return values, choices
