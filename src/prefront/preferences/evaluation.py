"""How good a learned reward is: the exact return of its optimal policy under the true reward, and its answers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from prefront.exact.mdp import (
    Baselines,
    expected_rewards,
    mean_return,
    optimal_policy,
    policy_values,
    scaled_return,
    solve,
)
from prefront.exact.tables import TabularMDP
from prefront.preferences.comparisons import Comparisons
from prefront.preferences.models.base import RewardModel, accuracy, cross_entropy

NEAR_OPTIMAL = 0.9


class RewardQuality(NamedTuple):
    """What a learned reward is worth; arrays with the leading axes of what was evaluated.

    Attributes:
        scaled_return: (J - J_random) / (J* - J_random) under the true reward, over the initial distribution.
        near_optimal: Whether that is at least 0.9.
        accuracy: Share of held-out strict answers on whose side the model is; NaN where none were given.
        cross_entropy: Mean of held-out answers, nats; NaN where none were given.
    """

    scaled_return: Any
    near_optimal: Any
    accuracy: float = np.nan
    cross_entropy: float = np.nan


def evaluate_policy(
    mdp: TabularMDP, policy: np.ndarray, true_weights: Any, gamma: float = 0.999, between: Baselines | None = None
) -> RewardQuality:
    """Evaluates policies under the true reward, exactly; arguments as in `evaluate_reward`."""
    scaled = scaled_return(mdp, policy, expected_rewards(mdp, true_weights), gamma, between)
    return RewardQuality(scaled, scaled >= NEAR_OPTIMAL)


def evaluate_reward(
    mdp: TabularMDP,
    learned: Any,
    true_weights: Any,
    gamma: float = 0.999,
    *,
    tables: bool = False,
    between: Baselines | None = None,
) -> RewardQuality:
    """Evaluates the optimal policies of learned rewards, uniform over ties, under the true reward.

    Args:
        mdp: One MDP or a batch of M.
        learned: Weights, shape (d,) or (N, d), for a batch (M, d) or (M, N, d); or tables, see there.
        true_weights: Weights of the true reward, shape (d,), for a batch also (M, d).
        gamma: Discount of both problems.
        tables: Whether `learned` holds rewards of states and actions, shape (..., S, A), in place of weights.
        between: The ends of the scale, `prefront.exact.mdp.baselines` of the true reward, where they are known.

    Returns:
        Quality by return, with leading axes as in `learned`.

    Raises:
        ValueError: Shapes do not fit, or a learned reward is not finite.
    """
    rewards = np.asarray(learned, np.float64) if tables else expected_rewards(mdp, learned)
    if not np.isfinite(rewards).all():
        raise ValueError("A learned reward is not finite.")
    policy = optimal_policy(solve(mdp, rewards, gamma).action_values)
    return evaluate_policy(mdp, policy, true_weights, gamma, between)


def evaluate_model(
    model: RewardModel,
    mdp: TabularMDP,
    true_weights: Any,
    gamma: float = 0.999,
    held_out: Comparisons[Any] | None = None,
    between: Baselines | None = None,
) -> RewardQuality:
    """Evaluates a fitted model on one MDP by both measures, which do not follow from each other.

    Args:
        model: A fitted model; it must have `reward_table`.
        mdp: One MDP.
        true_weights: Shape (d,).
        gamma: Discount.
        held_out: Answers that the model was not fitted to.
        between: See `evaluate_reward`.
    """
    table = model.reward_table(mdp)
    quality = evaluate_reward(mdp, table, true_weights, gamma, tables=True, between=between)
    if held_out is None:
        return quality
    strict = (np.asarray(held_out.labels) != 0.5).any()
    return quality._replace(
        accuracy=accuracy(model, held_out) if strict else np.nan, cross_entropy=cross_entropy(model, held_out)
    )


def person_regrets(mdp: TabularMDP, learned: Any, true_weights: Any, gamma: float = 0.999) -> np.ndarray:
    """Returns how much return each person loses by the optimal policy of the reward that was learned for them.

    Args:
        mdp: One MDP.
        learned: Learned weights of P persons, shape (P, d), or one reward for all, shape (d,).
        true_weights: The persons' own, shape (P, d).
        gamma: Discount.

    Returns:
        J* - J of each person, over the initial distribution, shape (P,), not negative.
    """
    true = np.asarray(true_weights, np.float64)
    learned = np.broadcast_to(np.asarray(learned, np.float64), true.shape)
    policies = optimal_policy(solve(mdp, expected_rewards(mdp, learned), gamma).action_values)
    rewards = expected_rewards(mdp, true)
    best = mean_return(mdp, solve(mdp, rewards, gamma).values)
    pairs = zip(policies, rewards, strict=True)
    reached = [mean_return(mdp, policy_values(mdp, policy, reward, gamma)) for policy, reward in pairs]
    return np.maximum(best - np.array(reached), 0.0)
