"""The convex coverage set of successor features: for any linear reward and state, it holds an optimal policy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from prefront.exact.mdp import optimal_successor_features
from prefront.exact.tables import TabularMDP

# Lengths below this share of a feature's largest sum are none: neither a gain nor an extension of a polytope.
NEGLIGIBLE = 1e-7
DECIMALS = 9
# Directions that are compared with all policies at once.
AT_ONCE = 128


class Coverage(NamedTuple):
    """A set of policies, by their successor features.

    Attributes:
        features: Shape (K, S, d).
        exact: Whether the set is complete; if not, the directions that were allowed did not suffice.
        directions: For how many rewards the MDP was solved.
    """

    features: np.ndarray
    exact: bool
    directions: int


class Facets(NamedTuple):
    """Unit outer normals of a polytope, shape (F, d), and the numbers of the points that are its vertices."""

    normals: np.ndarray
    vertices: np.ndarray


def successor_coverage(mdp: TabularMDP, gamma: float = 0.999, directions: int = 20_000) -> Coverage:
    """Computes the convex coverage set of the vector reward in all states at once, for weights of either sign.

    The successor features of all policies span a polytope in each state; V*(s) under weights w is its extent in the
    direction w. This is linear support (Roijers, Whiteson, Oliehoek, JAIR 52, 2015) with polytopes in place of upper
    envelopes: the MDP is solved for the outer normals of what has been found in each state, which is complete where no
    policy reaches beyond any facet. One solution serves all states, so a few hundred suffice for tasks of a hundred
    states, where the polytope of mean returns can have thousands of vertices. Of the policies found, some are chosen
    greedily that hold every vertex of every state.

    Args:
        mdp: One MDP.
        gamma: Discount in (0, 1).
        directions: Most rewards that the MDP is solved for.

    Returns:
        The set. Where it is `exact`, max_i features_i(s) @ w is V*(s) for all weights w and all states s, but for
        lengths below 1e-7 of the largest sum of each feature.
    """
    live = np.flatnonzero(~np.asarray(mdp.terminal))
    d = np.shape(mdp.rewards)[-1]
    found = optimal_successor_features(mdp, np.vstack([np.eye(d), -np.eye(d)]), gamma)
    if not len(live):
        return Coverage(found[:1], True, 2 * d)
    size = np.abs(found).max((0, 1))
    size = np.where(size > 0, size, 1.0)
    known: set[bytes] = set()
    shapes: list[bytes] = [b""] * len(live)
    solved = 2 * d
    while True:
        found = found[np.unique(_rounded(found[:, live], size).reshape(len(found), -1), axis=0, return_index=True)[1]]
        points = _rounded(found[:, live], size)
        fresh: list[np.ndarray] = []
        for number in range(len(live)):
            own = np.unique(points[:, number], axis=0)
            if own.tobytes() != shapes[number]:
                shapes[number] = own.tobytes()
                fresh.append(facets(own).normals)
        unknown = [row for row in np.concatenate([*fresh, np.zeros((0, d))]) if _key(row) not in known]
        asked = np.array(list({_key(row): row for row in unknown}.values()))
        known.update(map(_key, asked))
        if not len(asked):
            return Coverage(_fewest(found, points), True, solved)
        if solved + len(asked) > directions:
            return Coverage(_fewest(found, points), False, solved)
        solved += len(asked)
        gained = [
            _that_gain(mdp, found, asked[begin : begin + AT_ONCE] / size, gamma)
            for begin in range(0, len(asked), AT_ONCE)
        ]
        found = np.concatenate([found, *gained])


def facets(points: np.ndarray) -> Facets:
    """Computes the polytope that distinct points span, of any dimension.

    Args:
        points: Shape (N, d), of about unit size. Extents below 1e-7 are none.

    Returns:
        Its facets; normals of the subspace that holds it count in both directions.
    """
    centre = points.mean(0)
    _, lengths, axes = np.linalg.svd(points - centre, full_matrices=True)
    rank = int((lengths > NEGLIGIBLE).sum())
    flat = np.vstack([axes[rank:], -axes[rank:]])
    inside = (points - centre) @ axes[:rank].T
    if rank == 0:
        return Facets(flat, np.array([0]))
    if rank == 1:
        return Facets(np.vstack([axes[:1], -axes[:1], flat]), np.array([inside.argmax(), inside.argmin()]))
    try:
        hull = ConvexHull(inside, qhull_options="Qt")
    except QhullError:
        # Nearly coplanar points: moved by about rounding errors, they are none.
        hull = ConvexHull(inside, qhull_options="QJ")
    return Facets(np.vstack([hull.equations[:, :-1] @ axes[:rank], flat]), hull.vertices)


def _that_gain(mdp: TabularMDP, found: np.ndarray, weights: np.ndarray, gamma: float) -> np.ndarray:
    """Returns the optimal policies of those weights for which the set falls short."""
    optimal = optimal_successor_features(mdp, weights, gamma)
    reached = np.full(optimal.shape[:2], -np.inf)
    for policy in found:
        np.maximum(reached, weights @ policy.T, out=reached)
    gain = np.einsum("nsd,nd->ns", optimal, weights) - reached
    return optimal[(gain > NEGLIGIBLE).any(1)]


def _fewest(found: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Chooses policies greedily until they hold every vertex of every state."""
    holds = []
    for number in range(points.shape[1]):
        own, which = np.unique(points[:, number], axis=0, return_inverse=True)
        holds += [which.ravel() == vertex for vertex in facets(own).vertices]
    missing, chosen = np.array(holds), []
    while len(missing):
        chosen.append(int(missing.sum(0).argmax()))
        missing = missing[~missing[:, chosen[-1]]]
    return found[chosen]


def _rounded(features: np.ndarray, size: np.ndarray) -> np.ndarray:
    return np.round(features / size, DECIMALS) + 0.0


def _key(normal: np.ndarray) -> bytes:
    return (np.round(normal, DECIMALS) + 0.0).tobytes()
