"""Exponentially tilted sequence distributions: the exact optimum of KL-regularised generation.

Where the reference policy pi0 is a Markov chain over tokens and the rewards are linear in unigram and bigram counts,
the optimum of E[sum_k lambda_k r_k] - KL(pi || pi0) is pi0 exp(sum_k lambda_k r_k) / Z (Korbak et al., 2022, "RL with
KL penalties is better viewed as Bayesian inference", Section 3), again a Markov chain, whose transitions depend on the
step. One backward pass of cost V^2 L gives its partition function, expected rewards and KL without sampling.

A sequence is an int32 array of shape (..., L + 1): first its context, then L tokens. The context is a prompt token, or
V, the start symbol. Everything here is a pure function of arrays that composes with `jax.jit`, `jax.grad` and
`jax.vmap`, in the precision of its input; `prefront.exact.kl_constrained` solves for the multipliers in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp


class MarkovReference(NamedTuple):
    """A reference policy over V tokens.

    Attributes:
        initial: Probability of each context in which a sequence starts, shape (V + 1,).
        log_transitions: Log-probability of the next token after each context, shape (V + 1, V); row V is the start.
    """

    initial: jax.Array
    log_transitions: jax.Array


class CountRewards(NamedTuple):
    """K rewards of a whole sequence, each a sum over its pairs of neighbours plus a constant.

    Attributes:
        scores: What token v after context c adds (unigram and bigram weight together), shape (K, V + 1, V).
        offset: What every sequence gets, shape (K,).
    """

    scores: jax.Array
    offset: jax.Array


class TiltedPath(NamedTuple):
    """Exact values at N multiplier vectors.

    Attributes:
        multipliers: Shape (N, K).
        rewards: Expected rewards, shape (N, K).
        divergence: KL(tilted || reference) in nats per sequence, shape (N,).
        log_partition: log Z, averaged over contexts, shape (N,).
    """

    multipliers: jax.Array
    rewards: jax.Array
    divergence: jax.Array
    log_partition: jax.Array


def count_increments(rewards: CountRewards, sequences: jax.Array) -> jax.Array:
    """Returns what each token adds, shape (..., L, K); the sum over tokens is `count_rewards`."""
    length = sequences.shape[-1] - 1
    picked = jnp.moveaxis(rewards.scores[:, sequences[..., :-1], sequences[..., 1:]], 0, -1)
    return picked + rewards.offset / length


def count_rewards(rewards: CountRewards, sequences: jax.Array) -> jax.Array:
    """Returns the rewards of sequences of shape (..., L + 1), shape (..., K)."""
    picked = rewards.scores[:, sequences[..., :-1], sequences[..., 1:]]
    return jnp.moveaxis(picked.sum(-1), 0, -1) + rewards.offset


def backward_messages(log_potentials: jax.Array, length: int) -> jax.Array:
    """Returns log sums of all continuations.

    Args:
        log_potentials: Log-weight of token v after context c, shape (V + 1, V).
        length: Number of tokens L.

    Returns:
        Shape (L + 1, V + 1): entry (t, c) is the log of the summed weight of all tokens from position t on after
        context c; row L is 0.
    """
    vocabulary = log_potentials.shape[1]

    # Without the checkpoint, differentiation would keep L tables of V^2 entries.
    @jax.checkpoint
    def one_step_back(message: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        before = logsumexp(log_potentials + message[None, :vocabulary], axis=1)
        return before, before

    last = jnp.zeros(vocabulary + 1, log_potentials.dtype)
    _, messages = jax.lax.scan(one_step_back, last, None, length=length)
    return jnp.concatenate([messages[::-1], last[None]])


def log_partition(reference: MarkovReference, rewards: CountRewards, multipliers: jax.Array, length: int) -> jax.Array:
    """Returns log E_pi0[exp(sum_k lambda_k r_k)] for each context, averaged over contexts.

    Its gradient with respect to the multipliers is the expected reward of the tilted distribution.

    Args:
        reference: The reference policy.
        rewards: The K rewards.
        multipliers: lambda, shape (K,).
        length: Number of tokens.

    Returns:
        A scalar.
    """
    messages = backward_messages(_potentials(reference, rewards, multipliers), length)
    return reference.initial @ messages[0] + multipliers @ rewards.offset


def tilted_policy(reference: MarkovReference, rewards: CountRewards, multipliers: jax.Array, length: int) -> jax.Array:
    """Returns the tilted distribution as a tabular policy: log-probabilities, shape (L, V + 1, V).

    Entry (t, c, v) is the log-probability of token v at position t after context c. Position 0 is read at the starting
    context, later positions at the previous token.
    """
    potentials = _potentials(reference, rewards, multipliers)
    messages = backward_messages(potentials, length)
    vocabulary = potentials.shape[1]
    return _normalised(potentials[None] + messages[1:, None, :vocabulary])


def reference_policy(reference: MarkovReference, length: int) -> jax.Array:
    """Returns the reference as a tabular policy, shape (L, V + 1, V)."""
    return jnp.broadcast_to(reference.log_transitions, (length, *reference.log_transitions.shape))


def expected_rewards(initial: jax.Array, rewards: CountRewards, log_policy: jax.Array) -> jax.Array:
    """Returns the expected rewards of any tabular policy, exactly.

    Args:
        initial: Probability of each starting context, shape (V + 1,).
        rewards: The K rewards.
        log_policy: Log-probabilities, shape (L, V + 1, V).

    Returns:
        Shape (K,).
    """
    total = jnp.einsum("tcv,kcv->k", _joint(initial, log_policy), rewards.scores)
    return total + rewards.offset


def divergence(initial: jax.Array, log_policy: jax.Array, log_other: jax.Array) -> jax.Array:
    """Returns KL(policy || other) of two tabular policies over whole sequences, in nats, exactly.

    Args:
        initial: Probability of each starting context, shape (V + 1,).
        log_policy: Log-probabilities of the one that sequences are drawn from, shape (L, V + 1, V).
        log_other: Log-probabilities of the other, shape (L, V + 1, V) or (V + 1, V).

    Returns:
        A scalar; infinity where the other lacks support.
    """
    return _divergence(_joint(initial, log_policy), log_policy - log_other)


def action_values(rewards: CountRewards, log_policy: jax.Array) -> jax.Array:
    """Returns Q of a tabular policy for each reward, exactly: the basis of value-augmented decoding.

    Args:
        rewards: The K rewards.
        log_policy: Log-probabilities, shape (L, V + 1, V).

    Returns:
        Shape (K, L, V + 1, V): expected reward collected from position t on, this token included. The offset is counted
        at the last position, as in a terminal reward.
    """
    vocabulary = log_policy.shape[-1]

    def one_step_back(value: jax.Array, log_probability: jax.Array) -> tuple[jax.Array, jax.Array]:
        q = rewards.scores + value[:, None, :vocabulary]
        return jnp.sum(jnp.exp(log_probability) * q, axis=-1), q

    last = jnp.broadcast_to(rewards.offset[:, None], rewards.scores.shape[:2])
    _, q = jax.lax.scan(one_step_back, last, log_policy, reverse=True)
    return jnp.moveaxis(q, 0, 1)


def sample(
    key: jax.Array, initial: jax.Array, log_policy: jax.Array, number: int, contexts: jax.Array | None = None
) -> jax.Array:
    """Draws sequences from a tabular policy.

    Args:
        key: Random key.
        initial: Probability of each starting context, shape (V + 1,).
        log_policy: Log-probabilities, shape (L, V + 1, V).
        number: How many sequences.
        contexts: Their contexts, shape (number,), where they are not to be drawn from `initial`.

    Returns:
        Shape (number, L + 1), int32, the context first.
    """
    length = log_policy.shape[0]
    uniforms = jax.random.uniform(key, (length + 1, number))
    context = _invert(jnp.cumsum(initial), uniforms[0]) if contexts is None else contexts

    def one_step(previous: jax.Array, drawn: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        cumulative, uniform = drawn
        token = _invert(cumulative[previous], uniform)
        return token, token

    cumulative = jnp.cumsum(jnp.exp(log_policy), axis=-1)
    _, tokens = jax.lax.scan(one_step, context, (cumulative, uniforms[1:]))
    return jnp.concatenate([context[None], tokens]).T


def tilted_path(reference: MarkovReference, rewards: CountRewards, multipliers: jax.Array, length: int) -> TiltedPath:
    """Returns expected rewards, KL and log Z at N multiplier vectors of shape (N, K), exactly.

    KL is the mean log-ratio of the two distributions: multipliers times rewards minus log Z is the same number, but
    for large multipliers the small difference of large ones.
    """
    vocabulary = reference.log_transitions.shape[1]

    def at(one: jax.Array) -> TiltedPath:
        potentials = _potentials(reference, rewards, one)
        messages = backward_messages(potentials, length)

        def one_step(occupancy: jax.Array, message: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            log_policy = _normalised(potentials + message[:vocabulary])
            joint = occupancy[:, None] * jnp.exp(log_policy)
            gained = jnp.einsum("cv,kcv->k", joint, rewards.scores)
            following = jnp.append(joint.sum(0), jnp.zeros((), joint.dtype))
            return following, (gained, _divergence(joint, log_policy - reference.log_transitions))

        _, (gained, ratio) = jax.lax.scan(one_step, reference.initial, messages[1:])
        log_z = reference.initial @ messages[0] + one @ rewards.offset
        return TiltedPath(one, gained.sum(0) + rewards.offset, ratio.sum(), log_z)

    return jax.vmap(at)(multipliers)


def evaluated_path(
    key: jax.Array,
    reference: MarkovReference,
    rewards: CountRewards,
    multipliers: jax.Array,
    length: int,
    evaluate: Callable[[jax.Array], jax.Array],
    samples: int = 2048,
) -> tuple[jax.Array, jax.Array]:
    """Estimates the mean of any function of the sequence along the path, such as its gold value.

    All points share their random numbers, so that neighbouring points differ by less than their standard errors say.

    Args:
        key: Random key.
        reference: The reference policy.
        rewards: The K rewards.
        multipliers: Shape (N, K).
        length: Number of tokens.
        evaluate: Maps sequences (samples, L + 1) to values (samples,).
        samples: Sequences per point.

    Returns:
        Means and standard errors, each of shape (N,).
    """

    def one_point(one: jax.Array) -> tuple[jax.Array, jax.Array]:
        values = evaluate(sample(key, reference.initial, tilted_policy(reference, rewards, one, length), samples))
        return values.mean(), values.std(ddof=1) / jnp.sqrt(samples)

    mean, error = jax.lax.map(one_point, multipliers)
    return mean, error


def reward_moments(reference: MarkovReference, scores: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    """Returns exact mean and standard deviation under the reference of count scores without offset.

    Args:
        reference: The reference policy.
        scores: Shape (V + 1, V).
        length: Number of tokens.

    Returns:
        Two scalars.
    """
    probability, vocabulary = jnp.exp(reference.log_transitions), scores.shape[1]

    def spread(weights: jax.Array, means: jax.Array, variances: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of a mixture along the last axis."""
        mean = jnp.sum(weights * means, axis=-1)
        return mean, jnp.sum(weights * (variances + (means - mean[..., None]) ** 2), axis=-1)

    def one_step_back(moments: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], None]:
        mean, variance = (one[None, :vocabulary] for one in moments)
        return spread(probability, scores + mean, variance), None

    zeros = jnp.zeros(vocabulary + 1, scores.dtype)
    every, _ = jax.lax.scan(one_step_back, (zeros, zeros), None, length=length)
    mean, variance = spread(reference.initial, *every)
    return mean, jnp.sqrt(variance)


def best_of_n_divergence(n: np.ndarray | int) -> np.ndarray:
    """Returns KL(best-of-n || reference) = ln n - (n - 1) / n in nats, exact where scores do not tie.

    Source: Gao, Schulman and Hilton (2022), "Scaling laws for reward model overoptimization", Section 3.2.

    Raises:
        ValueError: Some n is below 1.
    """
    n = np.asarray(n, np.float64)
    if np.any(n < 1):
        raise ValueError(f"Best-of-n needs n >= 1, got {n.min():g}.")
    return np.log(n) - (n - 1) / n


def _potentials(reference: MarkovReference, rewards: CountRewards, multipliers: jax.Array) -> jax.Array:
    return reference.log_transitions + jnp.einsum("k,kcv->cv", multipliers, rewards.scores)


def _normalised(log_weights: jax.Array) -> jax.Array:
    # Rows stay distributions where rounding of large weights would leave sums other than 1.
    return jax.nn.log_softmax(log_weights, axis=-1)


def _divergence(joint: jax.Array, log_ratio: jax.Array) -> jax.Array:
    happens = joint > 0
    return jnp.sum(joint * jnp.where(happens, log_ratio, 0.0))


def _joint(initial: jax.Array, log_policy: jax.Array) -> jax.Array:
    """Probability of context c and token v at every position, shape (L, V + 1, V)."""

    def one_step(occupancy: jax.Array, log_probability: jax.Array) -> tuple[jax.Array, jax.Array]:
        joint = occupancy[:, None] * jnp.exp(log_probability)
        # The start symbol is never a previous token.
        return jnp.append(joint.sum(0), jnp.zeros((), joint.dtype)), joint

    return jax.lax.scan(one_step, initial, log_policy)[1]


def _invert(cumulative: jax.Array, uniform: jax.Array) -> jax.Array:
    """Inverse distribution function; rounding in the last cumulated value never yields an impossible index."""
    below = uniform[..., None] * cumulative[..., -1:] >= cumulative
    return jnp.minimum(below.sum(-1), cumulative.shape[-1] - 1).astype(jnp.int32)
