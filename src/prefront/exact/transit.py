"""Components of the state graph that are only passed through: shortest paths in place of set-valued iteration."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from prefront.exact.components import Components
from prefront.exact.tabulation import TabularMOMDP
from prefront.exact.vector_sets import prune


@dataclasses.dataclass(frozen=True, eq=False)
class Passage:
    """A component in which only the number of steps matters.

    All its moves are deterministic and all moves inside have the same reward r0. A path that leaves after L inner moves
    is worth r0 (1 + ... + gamma^(L-1)) + gamma^L v, where v counts the move out and what follows. Where v is at least as
    good as staying for ever, one more inner move never helps, so shortest paths give the whole Pareto set.

    Attributes:
        gamma: The discount.
        inner_reward: r0, shape (d,).
        members: States of the component, ascending.
        graph: Inner moves, as a sparse adjacency matrix over `members`.
        sources: State that each way out leaves from, as a position in `members`, shape (X,).
        actions: Its action, shape (X,).
        targets: State that it leads to, shape (X,).
        values: Values of each way out, one array (points, d) each; element j follows point j of the target's set.
    """

    gamma: float
    inner_reward: np.ndarray
    members: np.ndarray
    graph: csr_matrix
    sources: np.ndarray
    actions: np.ndarray
    targets: np.ndarray
    values: list[np.ndarray]

    def front(self, entry: int, tolerance: np.ndarray) -> np.ndarray:
        """Returns the Pareto set of one state of the component."""
        values, _, _ = self.candidates(entry)
        return prune(values, tolerance)

    def candidates(self, entry: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns what a state can get by shortest paths: values, and the way out and the target's point of each."""
        position = int(np.searchsorted(self.members, entry))
        steps = dijkstra(self.graph, unweighted=True, indices=position)[self.sources]
        # Ways out that arrive with the same set differ in their distance only.
        nearest: dict[int, int] = {}
        for way in range(len(self.sources)):
            same = id(self.values[way])
            if same not in nearest or steps[way] < steps[nearest[same]]:
                nearest[same] = way
        ways = list(nearest.values())
        parts = []
        for way in ways:
            fading = self.gamma ** steps[way]
            waited = steps[way] if self.gamma == 1.0 else (1.0 - fading) / (1.0 - self.gamma)
            parts.append(waited * self.inner_reward + fading * self.values[way])
        sizes = [len(part) for part in parts]
        points = np.concatenate([np.arange(size) for size in sizes])
        return np.concatenate(parts), np.repeat(ways, sizes), points

    def distances_to(self, way: int) -> np.ndarray:
        """Returns the number of inner moves from each member to where a way out begins."""
        steps: np.ndarray = dijkstra(self.graph.T, unweighted=True, indices=int(self.sources[way]))
        return steps


def find_passage(
    momdp: TabularMOMDP,
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

    sources, actions = np.nonzero(~inner)
    values: dict[tuple[int, bytes], np.ndarray] = {}
    for source, action in zip(sources, actions, strict=True):
        target = int(successors[source, action])
        key = (target, rewards[source, action].tobytes())
        if key not in values:
            values[key] = rewards[source, action] + gamma * fronts[target]
            if gamma < 1.0 and (values[key] < inner_reward / (1.0 - gamma) - tolerance).any():
                return None
    rows, columns = np.nonzero(inner)
    edges = (rows, np.searchsorted(members, successors[rows, columns]))
    graph = csr_matrix((np.ones(len(rows), np.int32), edges), shape=(len(members), len(members)))
    targets = successors[sources, actions]
    shared = [
        values[int(target), rewards[source, action].tobytes()]
        for source, action, target in zip(sources, actions, targets, strict=True)
    ]
    return Passage(gamma, inner_reward, members, graph, sources, actions, targets, shared)
