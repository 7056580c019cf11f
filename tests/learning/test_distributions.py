"""Distributions over actions against scipy, also where actions have probability 0."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from prefront.learning.distributions import Categorical

BARRED, OPEN = jnp.array([0.5, -jnp.inf, 2.0]), jnp.array([0.1, 0.2, -0.3])


def test_actions_of_probability_zero_add_nothing():
    p, q = (np.asarray(jax.nn.softmax(logits), np.float64) for logits in (BARRED, OPEN))
    np.testing.assert_allclose(Categorical(BARRED).entropy(), stats.entropy(p), rtol=1e-6)
    np.testing.assert_allclose(Categorical(BARRED).divergence(Categorical(OPEN)), stats.entropy(p, q), rtol=1e-6)
    assert Categorical(BARRED).divergence(Categorical(BARRED)) == 0
    assert Categorical(OPEN).divergence(Categorical(BARRED)) == np.inf


def test_slopes_are_finite_where_actions_have_probability_zero():
    for function in (lambda x: Categorical(x).entropy(), lambda x: Categorical(x).divergence(Categorical(OPEN))):
        slope = jax.grad(function)(BARRED)
        assert jnp.isfinite(slope).all()
        numerical = [(function(BARRED + 1e-2 * e) - function(BARRED - 1e-2 * e)) / 2e-2 for e in jnp.eye(3)]
        np.testing.assert_allclose(slope[jnp.array([0, 2])], np.array(numerical)[[0, 2]], rtol=1e-3)
