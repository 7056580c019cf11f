"""Sets of successor features from which regret models read the value of every reward that is linear in the features.

For reward weights w the best policy of a set is worth max_i psi_i(s) @ w in state s, a lower bound of V*(s) that is
tight where the set holds an optimal policy for w. Which policies it should hold is the question: those of random
rewards, as published, or a convex coverage set of the vector reward, for which the bound is V* everywhere
(`prefront.exact.successor_sets`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from prefront.exact.mdp import optimal_successor_features
from prefront.exact.tables import TabularMDP

# The rewards that random features are made for (Knox et al., 2024, appendix), each component drawn from these.
PUBLISHED_REWARDS = (50.0, -50.0, 1.0, -1.0, -2.0, 0.0, -10.0, 10.0, 5.0)
SAME_POLICY = 1e-6


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
    d = np.shape(mdp.rewards)[-1]
    batch = np.shape(mdp.terminal)[:-1]
    found = optimal_successor_features(mdp, rng.choice(rewards, (*batch, count, d)), gamma)
    return [distinct(one) for one in found] if batch else distinct(found)
