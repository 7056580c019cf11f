"""Which multipliers of a tilted distribution meet given thresholds, and which thresholds any policy can meet.

Maximising -KL(pi || pi0) subject to E r_k = theta_k (xi-PPO) or E r_k >= theta_k (mu-PPO) has the convex dual
min_lambda log Z(lambda) - lambda . theta, with lambda free or lambda >= 0 (Moskovitz et al., 2024, Table 1; the dual is
that of a maximum-entropy problem). Solved in float64 on the host; JAX's own precision setting stays untouched.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from prefront.exact.kl_regularised import CountRewards, MarkovReference, log_partition, reward_moments
from prefront.exact.linear_support import supported_points

MAX_NEWTON_STEPS = 200
REACHABLE_TOLERANCE = 1e-7


class UnreachableThresholdsError(ValueError):
    """No policy, or only one infinitely far from the reference, meets the thresholds."""


class Best(NamedTuple):
    """The best that any policy of finite KL reaches under linear weights.

    Attributes:
        value: Weighted expected reward.
        rewards: Expected rewards of the best sequences, shape (K,), float64.
        sequences: The best sequence of each possible context, shape (contexts, L + 1), int32.
    """

    value: float
    rewards: np.ndarray
    sequences: np.ndarray


@dataclasses.dataclass(frozen=True)
class DualSolution:
    """An exact constrained optimum.

    Attributes:
        multipliers: lambda, shape (K,), float64; `kl_regularised.tilted_policy` turns it into the policy.
        rewards: Expected rewards of the optimum, shape (K,), float64.
        divergence: KL(optimum || reference) in nats per sequence.
    """

    multipliers: np.ndarray
    rewards: np.ndarray
    divergence: float


def best_sequences(
    reference: MarkovReference, rewards: CountRewards, weights: Any, length: int, discounts: Any = None
) -> Best:
    """Maximises weighted expected rewards over all policies of finite KL to the reference, by Viterbi's algorithm.

    Args:
        reference: Gives the contexts, their probabilities, and which tokens can be written: those of probability 0 in
            the reference never are.
        rewards: The K rewards.
        weights: Shape (K,), of any sign.
        length: Number of tokens.
        discounts: What the reward of each position counts, shape (L,); ones by default.

    Returns:
        Value, reward vector and sequences.
    """
    initial, scores, weights = _host(reference.initial), _host(rewards.scores), _host(weights)
    scores = scores + _host(rewards.offset)[:, None, None] / length
    discounts = np.ones(length) if discounts is None else _host(discounts)
    vocabulary = scores.shape[2]
    possible = np.asarray(reference.log_transitions) > -np.inf
    weighted = np.tensordot(weights, scores, 1)
    value = np.zeros(vocabulary + 1)
    choices = np.empty((length, vocabulary + 1), np.int32)
    for t in reversed(range(length)):
        candidates = np.where(possible, discounts[t] * weighted + value[:vocabulary], -np.inf)
        choices[t] = candidates.argmax(1)
        value = candidates.max(1)
    contexts = np.flatnonzero(initial > 0)
    sequences = np.empty((len(contexts), length + 1), np.int32)
    sequences[:, 0] = contexts
    collected = np.zeros((len(scores), len(contexts)))
    for t in range(length):
        sequences[:, t + 1] = choices[t, sequences[:, t]]
        collected += discounts[t] * scores[:, sequences[:, t], sequences[:, t + 1]]
    shares = initial[contexts] / initial[contexts].sum()
    return Best(float(shares @ value[contexts]), collected @ shares, sequences)


def reward_range(reference: MarkovReference, rewards: CountRewards, length: int) -> np.ndarray:
    """Returns the smallest and largest expected reward of each model at finite KL, shape (K, 2), float64."""
    axes = np.eye(len(_host(rewards.offset)))
    return np.array(
        [[sign * best_sequences(reference, rewards, sign * axis, length).value for sign in (-1, 1)] for axis in axes]
    )


def check_reachable(
    reference: MarkovReference, rewards: CountRewards, thresholds: Any, length: int, equalities: bool
) -> np.ndarray:
    """Returns the thresholds as float64 if some policy of finite KL meets them.

    Column generation: a linear program looks for a mixture of known sequences that meets the thresholds, its prices are
    the weights for which Viterbi's algorithm looks for a better sequence.

    Args:
        reference: The reference policy.
        rewards: The K rewards.
        thresholds: theta, shape (K,).
        length: Number of tokens.
        equalities: Whether E r = theta is asked for, or E r >= theta.

    Returns:
        The thresholds.

    Raises:
        UnreachableThresholdsError: No policy meets them; the message names the reachable range of each model or, where
            each can be met alone, the trade-off that forbids all together.
        ValueError: Their number differs from that of the rewards, or one is not finite.
    """
    theta = np.atleast_1d(np.asarray(thresholds, np.float64))
    components = len(_host(rewards.offset))
    if theta.shape != (components,):
        raise ValueError(f"{components} rewards need {components} thresholds, got shape {theta.shape}: {theta}.")
    if not np.isfinite(theta).all():
        raise ValueError(f"Thresholds must be finite, got {theta}.")
    own, unit = _in_deviations(reference, rewards, length)
    low_high, scaled = reward_range(reference, own, length), theta / unit
    margin = REACHABLE_TOLERANCE * (1 + np.abs(low_high).max())
    outside = (scaled > low_high[:, 1] + margin) | (equalities & (scaled < low_high[:, 0] - margin))
    if outside.any():
        ranges = ", ".join(f"[{low:.4g}, {high:.4g}]" for low, high in low_high * unit[:, None])
        raise UnreachableThresholdsError(
            f"No policy reaches threshold {theta[outside]} of reward {np.flatnonzero(outside)}; the reachable ranges "
            f"of the {components} rewards are {ranges}."
        )
    points = [best_sequences(reference, own, axis, length).rewards for axis in np.eye(components)]
    while True:
        shortage, prices = _shortage(np.array(points), scaled, equalities)
        if shortage <= margin:
            return theta
        found = best_sequences(reference, own, prices, length)
        if found.value < prices @ scaled - margin / 2 or any(np.allclose(found.rewards, p, atol=1e-12) for p in points):
            break
        points.append(found.rewards)
    prices = prices / unit
    weights, most = prices / np.abs(prices).sum(), found.value / np.abs(prices).sum()
    raise UnreachableThresholdsError(
        f"No policy meets the thresholds {theta} together: the weighted sum with weights {np.round(weights, 4)} would "
        f"have to be {weights @ theta:.4g}, and the largest that any policy reaches is {most:.4g}."
    )


def solve_equalities(reference: MarkovReference, rewards: CountRewards, thresholds: Any, length: int) -> DualSolution:
    """Solves max -KL(pi || pi0) subject to E r_k = theta_k: the optimum of xi-PPO.

    Args:
        reference: The reference policy.
        rewards: The K rewards.
        thresholds: theta, shape (K,).
        length: Number of tokens.

    Returns:
        The optimum; its rewards equal the thresholds within 1e-6 standard deviations under the reference.

    Raises:
        UnreachableThresholdsError: No policy meets the thresholds, or only their limit does.
        ValueError: Their number differs from that of the rewards.
    """
    theta = check_reachable(reference, rewards, thresholds, length, equalities=True)
    return _minimise(reference, rewards, theta, length, np.full(theta.shape, -np.inf))


def solve_inequalities(reference: MarkovReference, rewards: CountRewards, thresholds: Any, length: int) -> DualSolution:
    """Solves max -KL(pi || pi0) subject to E r_k >= theta_k: the optimum of mu-PPO. See `solve_equalities`."""
    theta = check_reachable(reference, rewards, thresholds, length, equalities=False)
    return _minimise(reference, rewards, theta, length, np.zeros(theta.shape))


def solve_divergence(
    reference: MarkovReference, rewards: CountRewards, weights: Any, target: float, length: int
) -> DualSolution:
    """Solves max E sum_k w_k r_k subject to KL(pi || pi0) <= target: the optimum of PPO with a KL target.

    Args:
        reference: The reference policy.
        rewards: The K rewards.
        weights: Composition weights w, shape (K,).
        target: Allowed KL in nats per sequence, positive.
        length: Number of tokens.

    Returns:
        The optimum, whose multipliers are proportional to the weights.

    Raises:
        ValueError: The target is not positive, or no multiplier reaches it; the message names the largest KL.
    """
    if not target > 0:
        raise ValueError(f"The KL target must be positive, got {target}.")
    total = jax.tree.map(lambda part: np.tensordot(_host(weights), _host(part), 1)[None], rewards)
    direction = _host(weights) / _in_deviations(reference, total, length)[1]

    def at(scale: float) -> DualSolution:
        value, gradient, _ = _dual(reference, rewards, scale * direction, length)
        return DualSolution(scale * direction, gradient, float(scale * direction @ gradient - value))

    high = 1.0
    while at(high).divergence < target:
        high *= 2
        if high > 1e6:
            raise ValueError(f"The KL target {target} exceeds the largest useful KL, {at(high).divergence:.4g} nats.")
    return at(scipy.optimize.brentq(lambda scale: at(scale).divergence - target, 0.0, high, xtol=1e-12))


def coverage_set(reference: MarkovReference, rewards: CountRewards, length: int, discounts: Any = None) -> np.ndarray:
    """Returns the reward vectors of finite KL that some weights on the simplex need, exactly.

    Optimistic linear support (Roijers, Whiteson and Oliehoek, 2015) with Viterbi's algorithm as its solver.

    Args:
        reference: Gives the contexts, their probabilities and which tokens can be written.
        rewards: The K rewards.
        length: Number of tokens.
        discounts: What the reward of each position counts, shape (L,).

    Returns:
        Shape (points, K), float64, in lexicographic order.
    """
    number = len(_host(rewards.offset))
    _, unit = _in_deviations(reference, rewards, length)

    def best(weights: np.ndarray) -> np.ndarray:
        # Slightly mixed weights break ties in favour of undominated vectors.
        mixed = (1 - 1e-9) * weights + 1e-9 / number
        return best_sequences(reference, rewards, mixed / unit, length, discounts).rewards

    return supported_points(best, number, unit)


@partial(jax.jit, static_argnames="length")
def _dual_terms(reference: MarkovReference, rewards: CountRewards, multipliers: jax.Array, length: int) -> Any:
    value = partial(log_partition, length=length)
    gradient = jax.value_and_grad(lambda one: value(reference, rewards, one))

    def along(tangent: jax.Array) -> Any:
        return jax.jvp(lambda one: gradient(one)[1], (multipliers,), (tangent,))[1]

    return (*gradient(multipliers), jax.lax.map(along, jnp.eye(multipliers.shape[0], dtype=multipliers.dtype)))


def _dual(
    reference: MarkovReference, rewards: CountRewards, multipliers: np.ndarray, length: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """Log Z, its gradient (expected rewards) and Hessian (their covariance) in float64."""
    with jax.enable_x64(True):
        host = jax.tree.map(_host, (reference, rewards, multipliers))
        value, gradient, hessian = jax.device_get(_dual_terms(*host, length))
    return float(value), gradient, hessian


def _minimise(
    reference: MarkovReference, rewards: CountRewards, theta: np.ndarray, length: int, lower: np.ndarray
) -> DualSolution:
    """Projected Newton (Bertsekas, 1982) on the dual, with Armijo's rule."""
    rewards, unit = _in_deviations(reference, rewards, length)
    theta = theta / unit
    multipliers = np.zeros_like(theta)
    scale = 1 + np.abs(theta)
    for _ in range(MAX_NEWTON_STEPS):
        value, expected, covariance = _dual(reference, rewards, multipliers, length)
        slope = expected - theta
        free = (multipliers > lower) | (slope < 0)
        if np.all(np.abs(slope[free]) <= 1e-7 * scale[free]):
            return DualSolution(multipliers / unit, expected * unit, float(multipliers @ expected - value))
        step = np.zeros_like(theta)
        block = covariance[np.ix_(free, free)]
        step[free] = np.linalg.solve(block + 1e-10 * (1 + np.trace(block)) * np.eye(free.sum()), slope[free])
        # Far out the covariance vanishes, and an undamped step would leave the region where it says anything.
        step *= min(1.0, 4.0 / np.abs(step).max())
        height = value - multipliers @ theta
        fraction = 1.0
        while fraction > 1e-10:
            tried = np.maximum(multipliers - fraction * step, lower)
            reached = _dual(reference, rewards, tried, length)[0] - tried @ theta
            if reached <= height + 1e-4 * slope @ (tried - multipliers):
                break
            fraction /= 2
        else:
            break
        multipliers = tried
    raise UnreachableThresholdsError(
        f"The thresholds {theta * unit} lie on the edge of what policies reach: the multipliers grow without bound "
        f"(now {multipliers / unit}, expected rewards {expected * unit})."
    )


def _in_deviations(reference: MarkovReference, rewards: CountRewards, length: int) -> tuple[CountRewards, np.ndarray]:
    """Rewards in units of their standard deviations under the reference, and these units, shape (K,)."""
    with jax.enable_x64(True):
        host: Any = jax.tree.map(_host, (reference, rewards.scores))
        unit = np.array([float(reward_moments(host[0], scores, length)[1]) for scores in host[1]])
    # What is left of the deviation of a constant reward is rounding.
    unit = np.where(unit > 1e-13 * np.abs(_host(rewards.scores)).max((1, 2)), unit, 1.0)
    return CountRewards(_host(rewards.scores) / unit[:, None, None], _host(rewards.offset) / unit), unit


def _shortage(points: np.ndarray, theta: np.ndarray, equalities: bool) -> tuple[float, np.ndarray]:
    """How far mixtures of points miss theta (summed absolute error), and the prices of the K constraints."""
    number, components = points.shape
    excess = np.eye(components) if equalities else np.zeros((components, 0))
    free = np.zeros((components, 0)) if equalities else np.eye(components)
    columns = np.hstack([points.T, np.eye(components), -excess, -free])
    matrix = np.vstack([columns, np.append(np.ones(number), np.zeros(columns.shape[1] - number))])
    cost = np.concatenate([np.zeros(number), np.ones(components + excess.shape[1]), np.zeros(free.shape[1])])
    solved = scipy.optimize.linprog(cost, A_eq=matrix, b_eq=np.append(theta, 1.0), method="highs")
    return float(solved.fun), solved.eqlin.marginals[:components]


def _host(array: Any) -> np.ndarray:
    return np.asarray(array, np.float64)
