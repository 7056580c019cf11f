"""Sequence policies: sampling and scoring agree, and quantities equal enumeration."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefront.exact.kl_regularised import MarkovReference
from prefront.sequences.policies import SequenceNetworkSettings, SequencePolicy

V, L = 3, 4


def reference(contexts=1):
    rows = np.random.default_rng(0).dirichlet(np.ones(V), V + 1).astype(np.float32)
    initial = np.zeros(V + 1, np.float32)
    initial[:contexts] = 1 / contexts
    return MarkovReference(jnp.asarray(initial), jnp.log(rows))


def policy_of(kind):
    settings = SequenceNetworkSettings(kind=kind, width=8, layers=1, heads=2, context=2)
    policy = SequencePolicy.build(settings, V, L)
    initial = policy.init(jax.random.key(0))
    leaves, tree = jax.tree.flatten(initial)
    drawn = jax.random.split(jax.random.key(1), len(leaves))
    moved = [leaf + 0.5 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, drawn, strict=True)]
    return policy, initial, jax.tree.unflatten(tree, moved)


@functools.partial(jax.jit, static_argnums=0)
def measured(policy, initial, moved, chain, every):
    drawn = policy.sample(moved, chain, jax.random.key(2), 10_000)
    scores = [policy.log_probabilities(one, chain, every) for one in (initial, moved)]
    return drawn, *scores, policy.divergence(moved, chain, drawn), policy.entropy(moved, chain, drawn)


@pytest.mark.parametrize("kind", ["tabular", "ngram", "transformer"])
def test_samples_follow_the_scored_probabilities(kind):
    policy, initial, moved = policy_of(kind)
    chain = reference()
    every = np.array([(0, *tail) for tail in itertools.product(range(V), repeat=L)], np.int32)
    result = jax.device_get(measured(policy, initial, moved, chain, every))
    drawn, at_start, log_p, divergence, entropy = result
    np.testing.assert_allclose(at_start, np.asarray(chain.log_transitions)[every[:, :-1], every[:, 1:]], atol=1e-5)
    # A token's probability must not depend on later tokens: all sequences with the same beginning score it alike.
    tree = log_p.reshape(*(L * [V]), L)
    for t in range(L - 1):
        assert np.ptp(tree[..., t], axis=tuple(range(t + 1, L))).max() < 1e-5
    log_p = log_p.astype(np.float64).sum(1)
    p = np.exp(log_p)
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-5)
    counts = np.bincount(drawn[:, 1:] @ V ** np.arange(L)[::-1], minlength=V**L)
    error = np.sqrt(len(drawn) * p * (1 - p)) + 1
    assert (np.abs(counts - len(drawn) * p) < 5 * error).all()
    # Exact by enumeration; the estimates of the networks average exact next-token terms over sequences.
    log_reference = np.asarray(chain.log_transitions)[every[:, :-1], every[:, 1:]].sum(1)
    tolerance = 1e-4 if kind == "tabular" else 0.05
    np.testing.assert_allclose(divergence, p @ (log_p - log_reference), rtol=tolerance)
    np.testing.assert_allclose(entropy, -p @ log_p, rtol=tolerance)


def test_unknown_forms_are_refused():
    with pytest.raises(ValueError, match=r"No sequence policy 'tabula'.*tabular"):
        SequenceNetworkSettings(kind="tabula")
    with pytest.raises(ValueError, match="width 10 must be a multiple of heads 4"):
        SequenceNetworkSettings(width=10, heads=4)
