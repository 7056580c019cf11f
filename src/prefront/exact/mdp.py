"""Exact solutions of scalar Markov decision processes with finitely many states, for whole batches at once, in float64.

A batch holds processes of different sizes, padded with unreachable terminal states. Deterministic transitions are
solved by policy iteration whose evaluation doubles pointers: 16 gathers follow a policy for 65,536 steps. Stochastic
transitions are solved by policy iteration with sparse linear solves. Both begin with value iteration, which is cheap
and leaves policy iteration few rounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from prefront.exact.policy_iteration import (
    certain_successors,
    follow,
    is_deterministic,
    policy_iteration,
    solve_sparse,
)
from prefront.exact.tables import TabularMDP

TIE_TOLERANCE = 1e-9
# As many states as keep one value per state, and the transitions, in a core's cache.
STATES_AT_ONCE = 16_384


class Solution(NamedTuple):
    """V*, shape (..., S), Q*, shape (..., S, A), and one optimal action per state, shape (..., S)."""

    values: np.ndarray
    action_values: np.ndarray
    actions: np.ndarray


class Baselines(NamedTuple):
    """Mean returns between which `scaled_return` scales: of an optimal policy and of the uniformly random one."""

    optimal: np.ndarray
    random: np.ndarray


def expected_features(mdp: TabularMDP) -> np.ndarray:
    """Returns the mean features of every state and action, zero in terminal states, shape (..., S, A, d)."""
    mean = np.einsum("...k,...kd->...d", np.asarray(mdp.probabilities, np.float64), np.asarray(mdp.rewards, np.float64))
    return np.where(np.asarray(mdp.terminal)[..., None, None], 0.0, mean)


def expected_rewards(mdp: TabularMDP, weights: Any) -> np.ndarray:
    """Returns the mean reward of every state and action under linear weights.

    Args:
        mdp: One MDP or a batch of M.
        weights: Shape (d,), for a batch also (M, d); with one more axis before d, (N, d) or (M, N, d), N reward
            functions for each MDP. A single vector serves all MDPs of a batch.

    Returns:
        Shape (S, A) or (N, S, A), for a batch (M, S, A) or (M, N, S, A).
    """
    weights = np.asarray(weights, np.float64)
    features = expected_features(mdp)
    batched = features.ndim == 4
    if weights.shape[-1:] != features.shape[-1:] or not 1 <= weights.ndim <= 2 + batched:
        raise ValueError(f"weights of shape {weights.shape} do not fit features of shape {features.shape}.")
    if batched and weights.ndim > 1 and len(weights) != len(features):
        raise ValueError(f"{len(weights)} rows of weights were given for {len(features)} MDPs.")
    if weights.ndim == 1:
        return features @ weights
    if not batched:
        return np.einsum("sad,nd->nsa", features, weights)
    return np.einsum("msad,md->msa" if weights.ndim == 2 else "msad,mnd->mnsa", features, weights)


def solve(mdp: TabularMDP, rewards: Any, gamma: float) -> Solution:
    """Computes V*, Q* and an optimal action per state.

    Args:
        mdp: One MDP or a batch of M.
        rewards: Mean rewards as from `expected_rewards`, shape (S, A) or (N, S, A), for a batch (M, S, A) or
            (M, N, S, A). Entries of terminal states are ignored.
        gamma: Discount in (0, 1).

    Returns:
        Arrays with the leading axes of `rewards`, exact up to rounding.
    """
    _check_gamma(gamma)
    table, rewards, shape = _prepare(mdp, rewards)
    _, count, states, actions = rewards.shape
    values, chosen = np.zeros(rewards.shape[:3]), np.zeros(rewards.shape[:3], np.int64)
    action_values = np.zeros(rewards.shape)
    for rows, part in _groups(table, count):
        used = part.terminal.shape[1]
        v, a, q = policy_iteration(part.successors, part.probabilities, rewards[rows, :, :used], part.terminal, gamma)
        values[rows, :, :used], chosen[rows, :, :used], action_values[rows, :, :used] = v, a, q
    return Solution(
        values.reshape(*shape, states), action_values.reshape(*shape, states, actions), chosen.reshape(*shape, states)
    )


def optimal_policy(action_values: np.ndarray, tolerance: float = TIE_TOLERANCE) -> np.ndarray:
    """Returns the greedy policy that is uniform over ties.

    Args:
        action_values: Shape (..., S, A).
        tolerance: Actions tie when they lie within this share of the largest absolute value, over the last two axes.

    Returns:
        Probabilities, shape (..., S, A).
    """
    scale = np.abs(action_values).max((-2, -1), keepdims=True)
    best = action_values >= action_values.max(-1, keepdims=True) - tolerance * scale
    return best / best.sum(-1, keepdims=True)


def random_policy(mdp: TabularMDP) -> np.ndarray:
    """Returns the uniformly random policy, shape (..., S, A)."""
    shape = np.asarray(mdp.successors).shape[:-1]
    return np.full(shape, 1.0 / shape[-1])


def successor_features(mdp: TabularMDP, policy: np.ndarray, gamma: float) -> np.ndarray:
    """Computes the discounted sums of features that a policy collects, those of the last step included.

    Args:
        mdp: One MDP or a batch of M.
        policy: Probabilities, shape (S, A) or (N, S, A), for a batch (M, S, A) or (M, N, S, A); deterministic
            policies as integer actions without the last axis.
        gamma: Discount in (0, 1).

    Returns:
        Shape (..., S, d), leading axes as in `policy`. For every reward weights, `result @ weights` is the value.
    """
    return _evaluate(mdp, policy, expected_features(mdp), gamma)


def optimal_successor_features(mdp: TabularMDP, weights: Any, gamma: float) -> np.ndarray:
    """Computes the successor features of one deterministic optimal policy for each weight vector.

    Args:
        mdp: One MDP or a batch of M.
        weights: Shape (N, d), for a batch (M, N, d).
        gamma: Discount in (0, 1).

    Returns:
        Shape (N, S, d) or (M, N, S, d).
    """
    return successor_features(mdp, solve(mdp, expected_rewards(mdp, weights), gamma).actions, gamma)


def policy_values(mdp: TabularMDP, policy: np.ndarray, rewards: Any, gamma: float) -> np.ndarray:
    """Computes the value of policies under one reward function for each MDP.

    Args:
        mdp: One MDP or a batch of M.
        policy: As in `successor_features`.
        rewards: Mean rewards, shape (S, A), for a batch (M, S, A).
        gamma: Discount in (0, 1).

    Returns:
        Shape (..., S), leading axes as in `policy`.
    """
    rewards = np.where(np.asarray(mdp.terminal)[..., None], 0.0, np.asarray(rewards, np.float64))
    return _evaluate(mdp, policy, rewards[..., None], gamma)[..., 0]


def mean_return(mdp: TabularMDP, values: np.ndarray) -> np.ndarray:
    """Returns the mean of state values over the initial distribution; values of shape (..., S) give shape (...)."""
    initial = np.asarray(mdp.initial, np.float64)
    if initial.ndim == 2 and values.ndim == 3:
        initial = initial[:, None]
    return (values * initial).sum(-1)


def baselines(mdp: TabularMDP, rewards: Any, gamma: float) -> Baselines:
    """Computes the mean returns of an optimal and of the uniformly random policy; rewards (S, A) or (M, S, A)."""
    optimal = mean_return(mdp, solve(mdp, rewards, gamma).values)
    return Baselines(optimal, mean_return(mdp, policy_values(mdp, random_policy(mdp), rewards, gamma)))


def scaled_return(
    mdp: TabularMDP, policy: np.ndarray, rewards: Any, gamma: float, between: Baselines | None = None
) -> np.ndarray:
    """Returns (J - J_random) / (J* - J_random): 1 for an optimal policy, 0 for the uniformly random one.

    Args:
        mdp: One MDP or a batch of M.
        policy: As in `successor_features`.
        rewards: True mean rewards, shape (S, A), for a batch (M, S, A).
        gamma: Discount in (0, 1).
        between: The two ends of the scale, where they are known already.

    Returns:
        Shape () or (N,), for a batch (M,) or (M, N). 1 where J* equals J_random, so that every policy is optimal.
    """
    ends = baselines(mdp, rewards, gamma) if between is None else between
    reached = mean_return(mdp, policy_values(mdp, policy, rewards, gamma))
    lifted = [np.asarray(end).reshape(np.shape(end) + (1,) * (reached.ndim - np.ndim(end))) for end in ends]
    span = lifted[0] - lifted[1]
    decided = span > 1e-9 * np.maximum(np.abs(lifted[0]), np.abs(lifted[1]))
    return np.where(decided, (reached - lifted[1]) / np.where(decided, span, 1.0), 1.0)


def _check_gamma(gamma: float) -> None:
    if not 0.0 < gamma < 1.0:
        raise ValueError(f"The discount must lie in (0, 1), got {gamma!r}.")


def _lift(mdp: TabularMDP) -> TabularMDP:
    """Gives a single MDP the batch axis."""
    if np.ndim(mdp.terminal) == 1:
        return TabularMDP(*(np.asarray(leaf)[None] for leaf in mdp))
    return TabularMDP(*(np.asarray(leaf) for leaf in mdp))


def _prepare(mdp: TabularMDP, rewards: Any) -> tuple[TabularMDP, np.ndarray, tuple[int, ...]]:
    """Lays rewards out as (M, N, S, A); also returns the leading axes of the result."""
    single = np.ndim(mdp.terminal) == 1
    table, rewards = _lift(mdp), np.asarray(rewards, np.float64)
    shape = rewards.shape[:-2]
    lifted = rewards[None] if single else rewards
    if lifted.ndim == 3:
        lifted = lifted[:, None]
    want = table.successors.shape[:3]
    if lifted.ndim != 4 or (len(lifted), *lifted.shape[2:]) != want:
        raise ValueError(f"Rewards of shape {rewards.shape} do not fit successors of shape {mdp.successors.shape}.")
    return table, np.where(table.terminal[:, None, :, None], 0.0, lifted), shape


def _groups(table: TabularMDP, count: int) -> Iterator[tuple[np.ndarray, TabularMDP]]:
    """Splits a batch into parts of like size, without the states behind the last that any of the part can visit."""
    states = table.terminal.shape[1]
    live = ~table.terminal
    reach = np.where(live[..., None, None] & (table.probabilities > 0), table.successors, 0).max((1, 2, 3)) + 1
    last = states - np.argmax(live[:, ::-1], 1)
    extent = np.where(live.any(1), np.maximum(reach, last), 1)
    start, order = 0, np.argsort(extent, kind="stable")
    while start < len(order):
        used = extent[order[start]] + 8
        rows = order[start : start + max(1, STATES_AT_ONCE // (used * count))]
        rows = rows[extent[rows] <= used]
        used = int(extent[rows].max())
        start += len(rows)
        yield rows, _normal_form(TabularMDP(*(leaf[rows, :used] for leaf in table)))


def _normal_form(part: TabularMDP) -> TabularMDP:
    """Turns terminal states into loops, and unlikely successors into existing ones."""
    own = np.arange(part.terminal.shape[1])[None, :, None, None]
    ends = part.terminal[..., None, None]
    certain = np.arange(part.successors.shape[3]) == 0
    return part._replace(
        successors=np.where(ends | (part.probabilities == 0), own, part.successors),
        probabilities=np.where(ends, certain, part.probabilities),
    )


def _evaluate(mdp: TabularMDP, policy: np.ndarray, collected: np.ndarray, gamma: float) -> np.ndarray:
    """Sums what policies collect; `collected` has shape (..., S, A, d) and no axis for policies."""
    _check_gamma(gamma)
    single = np.ndim(mdp.terminal) == 1
    table, policy = _lift(mdp), np.asarray(policy)
    certain = np.issubdtype(policy.dtype, np.integer)
    shape = policy.shape if certain else policy.shape[:-1]
    lifted = policy[None] if single else policy
    if lifted.ndim == (2 if certain else 3):
        lifted = lifted[:, None]
    batch, states, actions = table.successors.shape[:3]
    want = (states,) if certain else (states, actions)
    if lifted.ndim != 2 + len(want) or len(lifted) != batch or lifted.shape[2:] != want:
        raise ValueError(f"A policy of shape {policy.shape} does not fit successors of shape {mdp.successors.shape}.")
    collected = collected[None] if single else collected
    if not certain and bool(np.all((lifted == 0) | (lifted == 1))):
        certain, lifted = True, lifted.argmax(-1)
    found = np.zeros((batch, lifted.shape[1], states, collected.shape[-1]))
    certain = certain and is_deterministic(table.probabilities)
    if not certain and np.issubdtype(lifted.dtype, np.integer):
        lifted = np.eye(actions)[lifted]
    for rows, part in _groups(table, lifted.shape[1]):
        used = part.terminal.shape[1]
        found[rows, :, :used] = _evaluate_part(part, lifted[rows, :, :used], collected[rows, :used], gamma)
    return found.reshape(*shape, -1)


def _evaluate_part(part: TabularMDP, policy: np.ndarray, collected: np.ndarray, gamma: float) -> np.ndarray:
    """Evaluates integer actions (B, N, S) or probabilities (B, N, S, A); returns (B, N, S, d)."""
    tables, count, states = policy.shape[:3]
    rows = (tables * count, states)
    if policy.ndim == 3:
        chosen = policy[..., None]
        follows = np.take_along_axis(certain_successors(part.successors, part.probabilities)[:, None], chosen, 3)
        gained = np.take_along_axis(collected[:, None], chosen[..., None], 3)
        ends = np.repeat(part.terminal, count, 0)
        found = follow(follows.reshape(rows), gained.reshape(*rows, -1), ends, gamma)
    else:
        successors, probabilities = (np.repeat(leaf, count, 0) for leaf in (part.successors, part.probabilities))
        gained = np.einsum("bnsa,bsad->bnsd", policy, collected)
        found = solve_sparse(successors, probabilities, policy.reshape(*rows, -1), gained.reshape(*rows, -1), gamma)
        found[np.repeat(part.terminal, count, 0)] = 0.0
    return found.reshape(tables, count, states, -1)
