"""Advantage estimates against closed forms and a slow reference."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from prefront.learning.advantages import generalised_advantages


def slow_reference(rewards, values, next_values, terminated, truncated, gamma, lambda_):
    """The definition: the sum of discounted temporal differences up to the episode's end."""
    advantages = np.zeros_like(rewards)
    for t in range(len(rewards)):
        for k in range(t, len(rewards)):
            worth = 0.0 if terminated[k] else next_values[k]
            advantages[t] += (gamma * lambda_) ** (k - t) * (rewards[k] + gamma * worth - values[k])
            if terminated[k] or truncated[k]:
                break
    return advantages


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.floats(0.5, 1.0), st.floats(0.0, 1.0))
def test_equals_the_definition_with_ends_and_time_limits(seed, gamma, lambda_):
    rng = np.random.default_rng(seed)
    rewards, values, next_values = rng.normal(size=(3, 9, 4, 2))
    terminated, truncated = rng.random((2, 9, 4)) < 0.2
    estimates = generalised_advantages(
        *(jnp.asarray(one) for one in (rewards, values, next_values, terminated, truncated)), gamma, lambda_
    )
    for copy in range(4):
        series = (one[:, copy] for one in (rewards, values, next_values, terminated, truncated))
        wanted = slow_reference(*series, gamma, lambda_)
        np.testing.assert_allclose(estimates.advantages[:, copy], wanted, atol=2e-5)
    np.testing.assert_allclose(estimates.returns, estimates.advantages + values, atol=1e-6)


def test_monte_carlo_returns_of_one_episode():
    rewards = jnp.array([[1.0, -1.0], [2.0, -1.0], [4.0, -1.0]])[:, None]
    zeros = jnp.zeros_like(rewards)
    ends = jnp.array([False, False, True])[:, None]
    returns = generalised_advantages(rewards, zeros, zeros, ends, ends & False, 0.5, 1.0).returns[:, 0]
    np.testing.assert_allclose(returns, [[3.0, -1.75], [4.0, -1.5], [4.0, -1.0]])


def test_a_time_limit_bootstraps_and_an_end_does_not():
    one, value = jnp.ones((1, 1, 1)), jnp.full((1, 1, 1), 10.0)
    yes, no = jnp.array([[True]]), jnp.array([[False]])
    assert generalised_advantages(one, 0 * one, value, no, yes, 0.9, 0.95).returns.item() == 10.0
    assert generalised_advantages(one, 0 * one, value, yes, no, 0.9, 0.95).returns.item() == 1.0
