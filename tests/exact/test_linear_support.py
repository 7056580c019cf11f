"""Coverage sets by linear support: every point is the return of a policy, and no policy is better anywhere."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import prefront
from prefront.exact import pareto_sets as exact
from prefront.exact.linear_support import linear_support, scalarised_optimum, supported_points
from prefront.exact.tables import TabularMDP


def cyclic_momdp(seed, d, states=4, outcomes=2):
    """Two actions with random successors, so that episodes may never end; one objective is seldom rewarded."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, states, (states, 2, 1))
    successors = np.concatenate([first, (first + rng.integers(1, states, first.shape)) % states], -1)[..., :outcomes]
    chance = rng.choice([0.25, 0.5, 1.0], (states, 2, 1)) if outcomes == 2 else np.ones((states, 2, 1))
    probabilities = np.concatenate([chance, 1 - chance], -1)[..., :outcomes]
    rewards = rng.integers(-2, 3, (states, 2, outcomes, d)).astype(float)
    rewards[..., -1] *= rng.random((states, 2, outcomes)) < 0.2
    terminal = np.arange(states) == states - 1
    successors[terminal], rewards[terminal], probabilities[terminal] = states - 1, 0.0, np.eye(outcomes)[0]
    initial = np.zeros(states)
    initial[:2] = [0.25, 0.75]
    return TabularMDP(successors.astype(np.int32), probabilities, rewards, terminal, initial)


def evaluate(momdp, gamma, actions):
    """The return of a stationary policy, by a dense solve of its own."""
    states = np.arange(len(actions))
    moves = np.zeros((len(states), len(states)))
    for k in range(momdp.successors.shape[2]):
        np.add.at(moves, (states, momdp.successors[states, actions, k]), momdp.probabilities[states, actions, k])
    moves[momdp.terminal] = 0.0
    gains = np.einsum("sk,skd->sd", momdp.probabilities[states, actions], momdp.rewards[states, actions])
    values = np.linalg.solve(np.eye(len(states)) - gamma * moves, gains)
    return momdp.initial_probabilities @ values[momdp.initial_states]


def every_return(momdp, gamma):
    count = len(momdp.terminal)
    returns = [evaluate(momdp, gamma, np.array(a)) for a in itertools.product((0, 1), repeat=count)]
    return np.round(returns, 12) + 0.0  # Dust of the dense solve must not pass for a gain.


@settings(max_examples=30)
@given(
    seed=st.integers(0, 100_000),
    gamma=st.sampled_from([0.99, 0.9, 0.5]),
    d=st.sampled_from([2, 3]),
    outcomes=st.sampled_from([1, 2]),
)
def test_coverage_set_equals_all_stationary_policies(seed, gamma, d, outcomes):
    momdp = cyclic_momdp(seed, d, outcomes=outcomes)
    expected = exact.convex_hull_vertices(every_return(momdp, gamma))
    points, policies = linear_support(momdp, gamma)
    assert points.shape == expected.shape
    assert np.allclose(points, expected, atol=1e-8)
    attained = [evaluate(momdp, gamma, policy.actions) for policy in policies]
    assert np.allclose(attained, points, rtol=0, atol=1e-9)


@settings(max_examples=30)
@given(seed=st.integers(0, 100_000), gamma=st.sampled_from([0.99, 0.5]), d=st.sampled_from([2, 3]))
def test_optima_for_one_objective_neglect_no_other(seed, gamma, d):
    momdp = cyclic_momdp(seed, d)
    returns = every_return(momdp, gamma)
    for weights in np.eye(d):
        found = scalarised_optimum(momdp, gamma, weights).expected_return(momdp)
        assert np.abs(returns - found).max(axis=1).min() < 1e-9
        assert found @ weights == pytest.approx((returns @ weights).max(), abs=1e-9)
        no_worse = (returns >= found - 1e-8).all(axis=1)
        assert np.allclose(returns[no_worse], found, atol=2e-8)


@pytest.mark.parametrize("gamma", [1.0, 0.99, 0.9])
def test_coverage_set_of_breakable_bottles_is_attained(gamma):
    momdp = prefront.make("BreakableBottles-v0").table()
    points, policies = linear_support(momdp, gamma)
    for point, policy in zip(points, policies, strict=True):
        law = momdp.initial_probabilities @ np.eye(len(momdp.terminal))[momdp.initial_states]
        total, states = np.zeros(3), np.arange(len(momdp.terminal))
        chances = momdp.probabilities[states, policy.actions]
        gains = np.einsum("sk,skd->sd", chances, momdp.rewards[states, policy.actions])
        # After 3000 steps less than 1e-12 of any return is left.
        for step in range(3000):
            total += gamma**step * (law @ gains)
            law = np.bincount(momdp.successors[states, policy.actions].ravel(), (law[:, None] * chances).ravel())
        assert np.allclose(total, point, rtol=0, atol=1e-9)
    if gamma == 1.0:
        # Two bottles on two walks of nine steps; or both at once, 0.9 to the third times without a loss.
        assert np.allclose(points, exact.pareto_front(momdp, 1.0))


def test_what_has_no_finite_return_is_refused():
    # Stay for (0, 1) or leave for (1, 0); without a discount staying gains without end.
    successors = np.array([[[0], [1]], [[1], [1]]], np.int32)
    rewards = np.zeros((2, 2, 1, 2))
    rewards[0, :, 0] = [[0, 1], [1, 0]]
    args = (successors, np.ones((2, 2, 1)), rewards, np.array([False, True]), np.array([1.0, 0.0]))
    with pytest.raises(RuntimeError, match="without end"):
        linear_support(TabularMDP(*args), 1.0)
    rewards[0, :, 0], successors[0] = [[0, -1], [-1, 0]], 0
    with pytest.raises(RuntimeError, match="finite return"):
        linear_support(TabularMDP(*args), 1.0)


@pytest.mark.parametrize("unit", [1e-9, 1e-4, 1e6, 1e9])
def test_coverage_sets_do_not_depend_on_units(unit):
    for seed in range(5):
        momdp = cyclic_momdp(seed, 3)
        smaller = momdp._replace(rewards=momdp.rewards * unit)
        assert np.allclose(linear_support(smaller, 0.9).points / unit, linear_support(momdp, 0.9).points, rtol=1e-9)
    points = np.random.default_rng(0).normal(size=(30, 3))

    def best(weights, scale=1.0):
        return scale * points[(points @ weights).argmax()]

    found = supported_points(lambda weights: best(weights, unit), 3)
    assert np.allclose(found / unit, supported_points(best, 3), rtol=1e-9)
