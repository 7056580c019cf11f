"""Sets of successor features from which regret models read the value of every reward that is linear in the features.

For reward weights w the best policy of a set is worth max_i psi_i(s) @ w in state s, a lower bound of V*(s) that is
tight where the set holds an optimal policy for w. Which policies it should hold is the question: those of random
rewards, as published, or those that raise the bound most, which tend to a convex coverage set of the vector reward.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from prefront.exact.mdp import TabularMDP, optimal_successor_features
from prefront.preferences.linear_forms import unstack

# The rewards that random features are made for (Knox et al., 2024, appendix), each component drawn from these.
PUBLISHED_REWARDS = (50.0, -50.0, 1.0, -1.0, -2.0, 0.0, -10.0, 10.0, 5.0)
SAME_POLICY = 1e-6


class Coverage(NamedTuple):
    """A set chosen to cover all directions of reward.

    Attributes:
        features: Successor features, shape (K, S, d).
        gap: Largest shortfall found among the directions that were tried and left out: max over states of
            V* - max_i psi_i @ w, as a share of max |V*|. 0 where the set is exact for all of them.
        tried: How many directions that were.
    """

    features: np.ndarray
    gap: float
    tried: int


def distinct(features: np.ndarray) -> np.ndarray:
    """Drops policies whose successor features repeat in every state; shape (N, S, d) becomes (K, S, d)."""
    scale = max(float(np.abs(features).max()), 1e-30)
    rounded = np.round(features.reshape(len(features), -1) / (scale * SAME_POLICY)).astype(np.int64)
    first = np.unique(rounded, axis=0, return_index=True)[1]
    return features[np.sort(first)]


def drop_policy(features: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """Drops one policy from a set, as a study does with the optimal one of the true reward.

    Args:
        features: Shape (K, S, d).
        dropped: Its successor features, shape (S, d).

    Returns:
        The others; the set itself where it does not hold the policy, or holds nothing else.
    """
    scale = max(float(np.abs(features).max()), 1e-30)
    others = (np.abs(features - dropped) > scale * SAME_POLICY).any((1, 2))
    return features[others] if others.any() else features


def random_reward_features(
    mdp: TabularMDP,
    rng: np.random.Generator,
    count: int = 100,
    gamma: float = 0.999,
    rewards: tuple[float, ...] = PUBLISHED_REWARDS,
) -> Any:
    """Solves random rewards and keeps the distinct successor features of their optimal policies, as published.

    Args:
        mdp: One MDP or a batch of M.
        rng: Source of random numbers.
        count: How many rewards are drawn for each MDP.
        gamma: Discount in (0, 1).
        rewards: What each component is drawn from.

    Returns:
        Shape (K, S, d) with K of at most `count`; for a batch a list of M such arrays.
    """
    d = np.shape(mdp.features)[-1]
    batch = np.shape(mdp.terminal)[:-1]
    found = optimal_successor_features(mdp, rng.choice(rewards, (*batch, count, d)), gamma)
    return [distinct(one) for one in found] if batch else distinct(found)


def coverage_features(
    mdp: TabularMDP,
    rng: np.random.Generator,
    count: int = 100,
    gamma: float = 0.999,
    candidates: int = 400,
    tolerance: float = 1e-9,
) -> Any:
    """Chooses an approximate convex coverage set of the vector reward, the policy that is missed most first.

    Enumerating the corner weights of an exact coverage set is out of reach for six features of either sign. Instead
    `candidates` directions are solved exactly, the axes among them, the others with components of random sign whose
    sizes are log-uniform over two decades, since a step and a goal are rarely worth alike; beginning with none, the
    optimal policy of the direction on which the set falls short most is added, until `count` policies are in or the
    set is exact on all directions to within `tolerance`. This is optimistic linear support with sampled in place of
    corner weights; where nothing is missing, the share of directions that are would be below 3 / `candidates` with
    95 % confidence.

    Args:
        mdp: One MDP or a batch of M.
        rng: Source of random numbers.
        count: Most policies, K.
        gamma: Discount in (0, 1).
        candidates: How many directions are solved.
        tolerance: Shortfall that counts as none, as a share of max |V*|.

    Returns:
        A `Coverage`; for a batch a list of M.
    """
    d = np.shape(mdp.features)[-1]
    parts = unstack(mdp) if np.ndim(mdp.terminal) == 2 else [mdp]
    chosen = []
    for part in parts:
        shape = (max(candidates - 2 * d, 0), d)
        drawn = rng.choice([-1.0, 1.0], shape) * 10.0 ** rng.uniform(-2.0, 0.0, shape)
        weights = np.vstack([np.eye(d), -np.eye(d), drawn / np.linalg.norm(drawn, axis=1, keepdims=True)])
        chosen.append(_cover(optimal_successor_features(part, weights, gamma), weights, count, tolerance))
    return chosen if np.ndim(mdp.terminal) == 2 else chosen[0]


def _cover(solved: np.ndarray, weights: np.ndarray, count: int, tolerance: float) -> Coverage:
    """Chooses greedily among solved directions; solved has shape (N, S, d)."""
    optimal = np.einsum("nsd,nd->ns", solved, weights)
    scale = np.maximum(np.abs(optimal).max(1), 1e-30)
    reached = np.full_like(optimal, -np.inf)
    kept: list[int] = []
    gap = np.full(len(weights), np.inf)
    while len(kept) < min(count, len(weights)):
        best = int(gap.argmax())
        kept.append(best)
        np.maximum(reached, weights @ np.swapaxes(solved[best], 0, 1), out=reached)
        gap = (optimal - reached).max(1) / scale
        if gap.max() <= tolerance:
            break
    return Coverage(distinct(solved[kept]), max(float(gap.max()), 0.0), len(weights))
