"""Exact solvers against linear solves, brute force over policies, value iteration and published figures."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefront.exact import mdp as exact
from prefront.exact.tables import TabularMDP, check_mdp, stack

GAMMA = 0.97


def random_mdp(rng, states=6, actions=2, outcomes=3, features=4, terminals=1):
    probabilities = rng.dirichlet(np.ones(outcomes), (states, actions))
    terminal = np.arange(states) >= states - terminals
    initial = np.where(terminal, 0.0, rng.random(states))
    return TabularMDP(
        rng.integers(states, size=(states, actions, outcomes)),
        probabilities,
        rng.normal(size=(states, actions, outcomes, features)),
        terminal,
        initial / initial.sum(),
    )


def linear_solve(mdp, policy, rewards, gamma=GAMMA):
    """The value of a policy by a dense solve, written straight from the definition."""
    states, actions, outcomes = mdp.successors.shape
    law, mean = np.zeros((states, states)), np.zeros(states)
    for s in range(states):
        if mdp.terminal[s]:
            continue
        for a in range(actions):
            mean[s] += policy[s, a] * rewards[s, a]
            for k in range(outcomes):
                law[s, mdp.successors[s, a, k]] += policy[s, a] * mdp.probabilities[s, a, k]
    return np.linalg.solve(np.eye(states) - gamma * law, mean)


def mean_rewards(mdp, weights):
    return np.einsum("sak,sakd,d->sa", mdp.probabilities, mdp.rewards, weights)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]))
def test_optimum_equals_brute_force_over_all_policies(seed, outcomes):
    rng = np.random.default_rng(seed)
    mdp, weights = random_mdp(rng, outcomes=outcomes), rng.normal(size=4)
    rewards = exact.expected_rewards(mdp, weights)
    solution = exact.solve(mdp, rewards, GAMMA)
    every = [
        linear_solve(mdp, np.eye(2)[list(choice)], mean_rewards(mdp, weights))
        for choice in itertools.product(range(2), repeat=6)
    ]
    assert np.allclose(solution.values, np.max(every, 0), atol=1e-9, rtol=0)
    assert np.allclose(exact.policy_values(mdp, solution.actions, rewards, GAMMA), solution.values, atol=1e-9, rtol=0)
    ahead = np.einsum("sak,sak->sa", mdp.probabilities, solution.values[mdp.successors])
    expected = np.where(mdp.terminal[:, None], 0.0, mean_rewards(mdp, weights) + GAMMA * ahead)
    assert np.allclose(solution.action_values, expected, atol=1e-9, rtol=0)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]))
def test_policy_values_and_successor_features_equal_linear_solves(seed, outcomes):
    rng = np.random.default_rng(seed)
    mdp = random_mdp(rng, states=7, actions=3, outcomes=outcomes)
    weights, policy = rng.normal(size=4), rng.dirichlet(np.ones(3), 7)
    rewards = exact.expected_rewards(mdp, weights)
    for one in (policy, np.eye(3)[rng.integers(3, size=7)]):
        expected = linear_solve(mdp, one, mean_rewards(mdp, weights))
        assert np.allclose(exact.policy_values(mdp, one, rewards, GAMMA), expected, atol=1e-9, rtol=0)
        psi = exact.successor_features(mdp, one, GAMMA)
        assert np.allclose(psi @ weights, expected, atol=1e-9, rtol=0)
        assert not psi[mdp.terminal].any()


def test_successor_features_hold_the_feature_of_the_last_step():
    """A corridor of three cells: the goal's feature is worth gamma squared from the far end."""
    mdp = TabularMDP(
        np.array([[[1]], [[2]], [[3]], [[3]]]),
        np.ones((4, 1, 1)),
        np.array([[[[1.0, 0]]], [[[1, 0]]], [[[0, 1]]], [[[5, 5]]]]),
        np.array([False, False, False, True]),
        np.array([1.0, 0, 0, 0]),
    )
    psi = exact.successor_features(mdp, np.zeros(4, int), 0.5)
    assert np.array_equal(psi, [[1.5, 0.25], [1, 0.5], [0, 1], [0, 0]])


def test_a_padded_batch_equals_its_members_one_by_one():
    rng = np.random.default_rng(3)
    members = [random_mdp(rng, states=n, outcomes=k) for n, k in ((4, 1), (30, 2), (9, 3), (17, 1))]
    batch = stack(members)
    weights = rng.normal(size=(4, 5, 4))
    solution = exact.solve(batch, exact.expected_rewards(batch, weights), GAMMA)
    psi = exact.optimal_successor_features(batch, weights, GAMMA)
    assert psi.shape == (4, 5, 30, 4)
    for i, mdp in enumerate(members):
        states = len(mdp.terminal)
        for j in range(5):
            rewards = exact.expected_rewards(mdp, weights[i, j])
            alone = exact.solve(mdp, rewards, GAMMA)
            assert np.allclose(solution.values[i, j, :states], alone.values, atol=1e-9, rtol=0)
            assert np.allclose(solution.action_values[i, j, :states], alone.action_values, atol=1e-9, rtol=0)
            assert np.allclose(psi[i, j, :states] @ weights[i, j], alone.values, atol=1e-9, rtol=0)
        assert not solution.values[i, :, states:].any()
    returns = exact.mean_return(batch, solution.values)
    assert np.allclose(returns[1, 2], members[1].initial @ solution.values[1, 2, :30])


def test_endless_paths_are_summed_to_the_end():
    """A loop that pays 1 for ever is worth 1 / (1 - gamma), also where gamma is close to 1."""
    mdp = TabularMDP(
        np.array([[[1]], [[0]]]), np.ones((2, 1, 1)), np.ones((2, 1, 1, 1)), np.zeros(2, bool), np.ones(2) / 2
    )
    for gamma in (0.5, 0.999, 0.99999):
        values = exact.solve(mdp, exact.expected_rewards(mdp, [1.0]), gamma).values
        assert np.allclose(values, 1 / (1 - gamma), rtol=1e-12)


def test_ties_share_probability_within_the_tolerance():
    q = np.array([[1.0, 1.0 + 1e-12, 0.5], [2.0, 3.0, 1.0], [0.0, 0.0, 0.0]])
    assert np.allclose(exact.optimal_policy(q), [[0.5, 0.5, 0], [0, 1, 0], [1 / 3, 1 / 3, 1 / 3]])
    assert np.allclose(exact.optimal_policy(q * 1e6), exact.optimal_policy(q))
    assert np.allclose(exact.optimal_policy(q, tolerance=0)[0], [0, 1, 0])


def test_scaled_return_is_one_at_the_optimum_and_zero_for_the_random_policy():
    rng = np.random.default_rng(0)
    batch = stack([random_mdp(rng, states=n) for n in (5, 12)])
    rewards = exact.expected_rewards(batch, rng.normal(size=(2, 4)))
    solution = exact.solve(batch, rewards, GAMMA)
    assert np.allclose(exact.scaled_return(batch, solution.actions, rewards, GAMMA), 1)
    assert np.allclose(exact.scaled_return(batch, exact.random_policy(batch), rewards, GAMMA), 0, atol=1e-12)
    halves = rng.dirichlet(np.ones(2), (2, 3, 12))
    between = exact.baselines(batch, rewards, GAMMA)
    several = exact.scaled_return(batch, halves, rewards, GAMMA, between)
    assert several.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        value = exact.mean_return(batch, exact.policy_values(batch, halves[:, j], rewards, GAMMA))[i]
        assert np.isclose(
            several[i, j], (value - between.random[i]) / (between.optimal[i] - between.random[i]), atol=1e-12
        )
    nothing = np.zeros_like(rewards)
    assert np.array_equal(exact.scaled_return(batch, solution.actions, nothing, GAMMA), [1, 1])
    small = exact.scaled_return(batch, exact.random_policy(batch), 1e-12 * rewards, GAMMA)
    assert np.allclose(small, 0, atol=1e-9)


def test_bad_tables_are_named():
    mdp = random_mdp(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"successors must lie in \[0, 6\), got 9 at \(1, 0, 2\)"):
        wrong = mdp.successors.copy()
        wrong[1, 0, 2] = 9
        check_mdp(mdp._replace(successors=wrong))
    with pytest.raises(ValueError, match=r"probabilities must sum to 1, got .* at \(0, 0\)"):
        check_mdp(mdp._replace(probabilities=mdp.probabilities * 2))
    with pytest.raises(ValueError, match=r"rewards must be finite, got nan"):
        check_mdp(mdp._replace(rewards=mdp.rewards * np.nan))
    with pytest.raises(ValueError, match=r"\(6,\)"):
        check_mdp(mdp._replace(terminal=np.zeros(5, bool)))
    with pytest.raises(ValueError, match=r"\(0, 1\), got 1.0"):
        exact.solve(mdp, np.zeros((6, 2)), 1.0)
    with pytest.raises(ValueError, match=r"\(5, 2\)"):
        exact.solve(mdp, np.zeros((5, 2)), 0.9)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        exact.expected_rewards(mdp, np.zeros(3))
