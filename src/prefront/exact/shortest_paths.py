"""Components of the state graph that are only passed through: shortest paths in place of set-valued iteration."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from prefront.exact.components import Components
from prefront.exact.tables import TabularMDP
from prefront.pareto.dominance import prune


@dataclasses.dataclass(frozen=True, eq=False)
class Passage:
    """A component in which only the number of steps matters.

    All its moves are deterministic and all moves inside have the same reward r0. A path that leaves after L inner moves
    is worth r0 (1 + ... + gamma^(L-1)) + gamma^L v, where v counts the move out and what follows. Where v is at least
    as good as staying for ever, one more inner move never helps, so shortest paths give the whole Pareto set.

    Attributes:
        gamma: The discount.
        inner_reward: r0, shape (d,).
        members: States of the component, ascending.
        graph: Inner moves, as a sparse adjacency matrix over `members`.
        sources: State that each way out leaves from, as a position in `members`, shape (X,).
        actions: Its action, shape (X,).
        targets: State that it leads to, shape (X,).
        arrivals: Its place in `values`, shape (X,), ascending; ways that differ in where they begin only share one.
        values: What the ways out are worth, arrays of shape (points, d); row j follows point j of the target's set.
    """

    gamma: float
    inner_reward: np.ndarray
    members: np.ndarray
    graph: csr_matrix
    sources: np.ndarray
    actions: np.ndarray
    targets: np.ndarray
    arrivals: np.ndarray
    values: list[np.ndarray]

    def fronts(self, entries: np.ndarray, tolerance: np.ndarray) -> list[np.ndarray]:
        """Returns the Pareto sets of some states of the component."""
        return [prune(self._discounted(steps), tolerance) for steps in self._steps(entries)]

    def candidates(self, entry: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns what a state can get by shortest paths: values, and the way out and the target's point of each."""
        steps = self._steps(np.array([entry]))[0]
        ways = [np.flatnonzero(self.arrivals == arrival) for arrival in range(len(self.values))]
        nearest = [int(way[np.argmin(steps[way])]) for way in ways]
        sizes = [len(values) for values in self.values]
        points = np.concatenate([np.arange(size) for size in sizes])
        return self._discounted(steps), np.repeat(nearest, sizes), points

    def _steps(self, entries: np.ndarray) -> np.ndarray:
        """Counts the inner moves before each way out, shape (entries, X)."""
        positions = np.searchsorted(self.members, entries)
        distances: np.ndarray = dijkstra(self.graph, unweighted=True, indices=positions)
        return distances[:, self.sources]

    def _discounted(self, steps: np.ndarray) -> np.ndarray:
        """Returns the values of every arrival by its nearest way out, one after the other."""
        first_ways = np.flatnonzero(np.diff(self.arrivals, prepend=-1))
        nearest = np.minimum.reduceat(steps, first_ways)
        faded = self.gamma**nearest
        waited = nearest if self.gamma == 1.0 else (1.0 - faded) / (1.0 - self.gamma)
        sizes = [len(values) for values in self.values]
        start = np.repeat(waited, sizes)[:, None] * self.inner_reward
        return np.asarray(start + np.repeat(faded, sizes)[:, None] * np.concatenate(self.values))

    def distances_to(self, way: int) -> np.ndarray:
        """Returns the number of inner moves from each member to where a way out begins."""
        steps: np.ndarray = dijkstra(self.graph.T, unweighted=True, indices=int(self.sources[way]))
        return steps


def find_passage(
    momdp: TabularMDP,
    gamma: float,
    tolerance: np.ndarray,
    components: Components,
    members: np.ndarray,
    fronts: dict[int, np.ndarray],
) -> Passage | None:
    """Returns the component as a passage, or None where it is none.

    Args:
        momdp: The problem.
        gamma: The discount.
        tolerance: Difference up to which values are equal, shape (d,).
        components: All components.
        members: The component's states.
        fronts: Sets of the states that it leads to.
    """
    if (momdp.probabilities[members, :, 0] < 1.0).any():
        return None
    successors, rewards = momdp.successors[members, :, 0], momdp.rewards[members, :, 0]
    inner = components.labels[successors] == components.labels[members[0]]
    inner_rewards = rewards[inner]
    if inner.all() or not inner.any() or (inner_rewards != inner_rewards[0]).any():
        return None
    inner_reward = inner_rewards[0]
    if gamma == 1.0 and (inner_reward > 0).any():
        return None
    # Without a discount staying for ever has a finite return only where it gathers nothing.
    staying = inner_reward / (1.0 - gamma) if gamma < 1.0 else np.where(inner_reward.any(), -np.inf, 0.0)

    sources, actions = np.nonzero(~inner)
    targets = successors[sources, actions]
    places: dict[tuple[int, bytes], int] = {}
    values: list[np.ndarray] = []
    arrivals = np.empty(len(sources), int)
    for way, target in enumerate(targets.tolist()):
        reward = rewards[sources[way], actions[way]]
        key = (target, reward.tobytes())
        if key not in places:
            places[key] = len(values)
            values.append(reward + gamma * fronts[target])
            if (values[-1] < staying - tolerance).any():
                return None
        arrivals[way] = places[key]
    rows, columns = np.nonzero(inner)
    edges = (rows, np.searchsorted(members, successors[rows, columns]))
    graph = csr_matrix((np.ones(len(rows), np.int32), edges), shape=(len(members), len(members)))
    order = np.argsort(arrivals, kind="stable")
    ways = (sources[order], actions[order], targets[order], arrivals[order])
    return Passage(gamma, inner_reward, members, graph, *ways, values)
