"""Policies that attain the points of an exact Pareto set, as finite controllers that follow their remaining target."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.sparse import csr_matrix, identity
from scipy.sparse.linalg import spsolve

from prefront.exact.pareto_sets import ParetoSolution, action_values, solve
from prefront.exact.shortest_paths import Passage
from prefront.exact.tables import TabularMDP
from prefront.pareto.dominance import cross_sum, in_order

# A node of a controller: the state, and what is remembered there.
Memory = int | tuple[int, int]
Node = tuple[int, Memory]


@dataclasses.dataclass(eq=False)
class FiniteController:
    """A deterministic policy with finite memory; call `reset` before an episode and `act` once per step.

    Attributes:
        momdp: The problem.
        value: The expected return, shape (d,), from solving the controller's linear equations.
        states: State of each node, shape (N,).
        actions: Action of each node, shape (N,).
        successors: For each node the next node by the next state; terminal states have none.
        starts: First node by initial state.
    """

    momdp: TabularMDP
    value: np.ndarray
    states: np.ndarray
    actions: np.ndarray
    successors: list[dict[int, int]]
    starts: dict[int, int]
    _node: int | None = dataclasses.field(default=None, repr=False)

    def reset(self) -> None:
        """Forgets the episode so far."""
        self._node = None

    def act(self, state: int) -> int:
        """Returns the action for the state that the episode is in now.

        Args:
            state: Its number in the table.

        Raises:
            KeyError: The state cannot follow the one seen before.
        """
        number = int(state)
        possible = self.starts if self._node is None else self.successors[self._node]
        if number not in possible:
            raise KeyError(f"State {number} cannot come here, possible are {sorted(possible)}. Was reset() called?")
        self._node = possible[number]
        return int(self.actions[self._node])


def pareto_policies(momdp: TabularMDP, gamma: float, max_points: int = 2_000) -> list[FiniteController]:
    """Returns for each point of `pareto_front(momdp, gamma)` a policy that attains it, in the same order.

    A policy keeps the element of the state's set that it still has to attain, takes an action whose outcomes can be
    given elements that add up to it, and hands each outcome its own. Among such actions it takes one that ends soonest,
    since without a discount an episode can otherwise put off its reward for ever.

    Args:
        momdp: The problem.
        gamma: Discount in (0, 1].
        max_points: Limit on the points of one state's set.

    Raises:
        NoFiniteFrontError: See `prefront.exact.pareto_sets.solve`.
        RuntimeError: The value of a policy, computed from its own linear equations, misses its point.
    """
    solution = solve(momdp, gamma, max_points)
    values, choices = np.zeros((1, momdp.num_objectives)), np.zeros((1, 0), int)
    for state, chance in zip(momdp.initial_states, momdp.initial_probabilities, strict=True):
        part = chance * solution.fronts[int(state)]
        choices = np.column_stack(
            [np.repeat(choices, len(part), axis=0), np.tile(np.arange(len(part)), len(values))]
        ).astype(int)
        values = cross_sum(values, part)
    builder = _Builder(solution)
    policies = []
    for point in in_order(solution.initial_front()):
        choice = choices[np.abs(values - point).max(axis=1).argmin()]
        policy = builder.build(dict(zip(momdp.initial_states.tolist(), choice.tolist(), strict=True)))
        if (np.abs(policy.value - point) > 1e3 * solution.tolerance).any():
            raise RuntimeError(f"The policy for {point} is worth {policy.value}.")
        policies.append(policy)
    return policies


class _Builder:
    """Expands controllers from targets; what it finds out about a component serves all of them."""

    def __init__(self, solution: ParetoSolution) -> None:
        self.solution = solution
        self.momdp = solution.momdp
        self.decisions: dict[Node, tuple[int, dict[int, Memory]]] = {}
        self.members = {int(solution.components.labels[states[0]]): states for states in solution.components}

    def build(self, starts: dict[int, Memory]) -> FiniteController:
        """Makes the controller that gives each initial state the element of its set with this number."""
        first: list[Node] = [(state, element) for state, element in starts.items() if not self.momdp.terminal[state]]
        nodes: dict[Node, int] = {node: number for number, node in enumerate(first)}
        waiting = list(first)
        actions: list[int] = []
        following: list[dict[int, int]] = []
        for node in waiting:
            action, targets = self.decide(node)
            actions.append(action)
            following.append({})
            for state, memory in targets.items():
                if self.momdp.terminal[state]:
                    continue
                after = (state, memory)
                if after not in nodes:
                    nodes[after] = len(nodes)
                    waiting.append(after)
                following[-1][state] = nodes[after]
        states = np.array([state for state, _ in waiting], int)
        entries = {state: number for number, (state, _) in enumerate(first)}
        controller = FiniteController(self.momdp, np.empty(0), states, np.array(actions, int), following, entries)
        controller.value = expected_return(controller, self.solution.gamma)
        return controller

    def decide(self, node: Node) -> tuple[int, dict[int, Memory]]:
        """Returns the action of a node and what is to be remembered in each state that can follow."""
        state, memory = node
        label = int(self.solution.components.labels[state])
        if label in self.solution.passed:
            return self._walk(state, memory, self.solution.passed[label])
        if node not in self.decisions:
            self._decide_component(self.members[label])
        action, targets = self.decisions[node]
        return action, dict(targets)

    def _walk(self, state: int, memory: Memory, passage: Passage) -> tuple[int, dict[int, Memory]]:
        """Goes one step of a shortest path to the way out that the target needs; the memory on it is (way, element)."""
        if isinstance(memory, tuple):
            way, element = memory
        else:
            values, ways, elements = passage.candidates(state)
            target = self.solution.fronts[state][memory]
            best = np.abs(values - target).max(axis=1).argmin()
            way, element = int(ways[best]), int(elements[best])
        position = int(np.searchsorted(passage.members, state))
        if position == passage.sources[way]:
            return int(passage.actions[way]), {int(passage.targets[way]): element}
        steps = passage.distances_to(way)
        successors = self.momdp.successors[state, :, 0]
        places = np.minimum(np.searchsorted(passage.members, successors), len(passage.members) - 1)
        nearer = (passage.members[places] == successors) & (steps[places] < steps[position])
        action = int(np.flatnonzero(nearer)[0])
        return action, {int(successors[action]): (way, element)}

    def _decide_component(self, members: np.ndarray) -> None:
        """Decides for every element of every state of a component, those that end soonest first."""
        options: dict[Node, list[tuple[int, dict[int, Memory]]]] = {}
        for state in members.tolist():
            values, ways = self._ways(state)
            for element, target in enumerate(self.solution.fronts[state]):
                distances = np.abs(values - target)
                fitting = np.flatnonzero((distances <= self.solution.tolerance).all(axis=1))
                rows = fitting if len(fitting) else [int(distances.max(axis=1).argmin())]
                options[state, element] = [ways[row] for row in rows]
        inside = set(members.tolist())
        while True:
            ending: dict[Node, tuple[int, dict[int, Memory]]] = {}
            for node, ways in options.items():
                for action, targets in ways:
                    if all(s not in inside or (s, element) in self.decisions for s, element in targets.items()):
                        ending[node] = (action, targets)
                        break
            if not ending:
                break
            self.decisions.update(ending)
            options = {node: ways for node, ways in options.items() if node not in ending}
        self.decisions.update({node: ways[0] for node, ways in options.items()})

    def _ways(self, state: int) -> tuple[np.ndarray, list[tuple[int, dict[int, Memory]]]]:
        """Returns all values of a state's actions, and for each the action and the elements of the successors' sets."""
        all_values: list[np.ndarray] = []
        ways: list[tuple[int, dict[int, Memory]]] = []
        for action in range(self.momdp.successors.shape[1]):
            values, choices = action_values(
                self.momdp, self.solution.gamma, self.solution.fronts, state, action, self.solution.tolerance
            )
            possible = self.momdp.probabilities[state, action] > 0
            successors = self.momdp.successors[state, action][possible].tolist()
            all_values.append(values)
            ways += [(action, dict(zip(successors, choice, strict=True))) for choice in choices.tolist()]
        return np.concatenate(all_values), ways


def expected_return(controller: FiniteController, gamma: float) -> np.ndarray:
    """Returns the expected discounted return of a controller from the initial distribution, shape (d,).

    Solves the linear equations over its nodes. Where the episode never ends without a discount, it counts 0 if nothing
    more is gathered.

    Raises:
        ValueError: Without a discount, an episode that never ends gathers rewards.
    """
    momdp, count = controller.momdp, len(controller.states)
    probabilities = momdp.probabilities[controller.states, controller.actions]
    rewards = np.einsum("nk,nkd->nd", probabilities, momdp.rewards[controller.states, controller.actions])
    rows: list[int] = []
    columns: list[int] = []
    chances: list[float] = []
    ends = np.zeros(count, bool)
    for node in range(count):
        outcomes = momdp.successors[controller.states[node], controller.actions[node]]
        for successor, chance in zip(outcomes.tolist(), probabilities[node].tolist(), strict=True):
            if chance > 0 and successor in controller.successors[node]:
                rows.append(node)
                columns.append(controller.successors[node][successor])
                chances.append(chance)
            elif chance > 0:
                ends[node] = True
    moves = csr_matrix((chances, (rows, columns)), shape=(count, count))
    if gamma == 1.0:
        reached = ends
        while True:
            wider = reached | (moves @ reached > 0)
            if (wider == reached).all():
                break
            reached = wider
        if (np.abs(rewards[~reached]) > 0).any():
            raise ValueError("The policy gathers rewards for ever, which has no return without a discount.")
        moves = csr_matrix(moves.multiply(reached[:, None]))
    values = np.zeros((count, momdp.num_objectives))
    if count:
        system = (identity(count, format="csc") - gamma * moves).tocsc()
        values = np.stack([spsolve(system, rewards[:, j]) for j in range(momdp.num_objectives)], axis=1)
    starts = [np.zeros(momdp.num_objectives)]
    for state, chance in zip(momdp.initial_states.tolist(), momdp.initial_probabilities.tolist(), strict=True):
        if state in controller.starts:
            starts.append(chance * values[controller.starts[state]])
    return np.asarray(np.sum(starts, axis=0))
