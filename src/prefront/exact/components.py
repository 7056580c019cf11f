"""Strongly connected components of a table's state graph, successors first."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from prefront.exact.tables import TabularMDP


@dataclasses.dataclass(frozen=True, eq=False)
class Components:
    """Which states can reach one another.

    Attributes:
        labels: Component of each state, shape (S,).
        order: Components such that every successor comes before those who lead to it.
        members: States sorted by component.
        starts: Where each component begins in `members`, shape (components + 1,).
        entered: Whether an episode can enter the state's component there, shape (S,).
    """

    labels: np.ndarray
    order: np.ndarray
    members: np.ndarray
    starts: np.ndarray
    entered: np.ndarray

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields the states of each component, successors first."""
        for component in self.order:
            yield self.members[self.starts[component] : self.starts[component + 1]]


def decompose(momdp: TabularMDP) -> Components:
    """Finds the strongly connected components and orders them so that successors come first."""
    count = len(momdp.terminal)
    possible = (momdp.probabilities > 0) & ~momdp.terminal[:, None, None]
    source = np.nonzero(possible)[0]
    target = momdp.successors[possible]
    graph = csr_matrix((np.ones(len(source), np.int8), (source, target)), shape=(count, count))
    number, labels = connected_components(graph, directed=True, connection="strong")
    crossing = labels[source] != labels[target]
    entered = np.zeros(count, bool)
    entered[target[crossing]] = True
    entered[momdp.initial_states] = True
    pairs = np.unique(np.stack([labels[source[crossing]], labels[target[crossing]]]), axis=1)
    members = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[members], np.arange(number + 1))
    return Components(labels, _successors_first(number, pairs), members, starts, entered)


def _successors_first(number: int, pairs: np.ndarray) -> np.ndarray:
    """Orders an acyclic graph, given as (sources, targets), by peeling off the nodes that lead nowhere else."""
    by_target = csr_matrix((np.ones(pairs.shape[1], np.int32), (pairs[1], pairs[0])), shape=(number, number))
    open_targets = np.bincount(pairs[0], minlength=number)
    layer = np.flatnonzero(open_targets == 0)
    layers = []
    while len(layer):
        layers.append(layer)
        sources, closed = np.unique(by_target[layer].indices, return_counts=True)
        open_targets[sources] -= closed
        layer = sources[open_targets[sources] == 0]
    return np.concatenate(layers)
