"""Exact Pareto and coverage sets against brute force, dense weights and published figures."""

import functools
import itertools

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import prefront
from prefront.exact import pareto_sets as exact
from prefront.exact.linear_support import linear_support, scalarised_optimum
from prefront.exact.pareto_policies import pareto_policies
from prefront.exact.tables import TabularMDP
from prefront.pareto.dominance import in_order, non_dominated_rows
from prefront.tasks.enumeration import enumerate_states
from prefront.tasks.registry import load

RESOURCES = "prefront.envs.resource_gathering:ResourceGathering"
FRUITS = "prefront.envs.fruit_tree:FruitTree"
SEA = "prefront.envs.deep_sea_treasure:DeepSeaTreasure"
TABLES: dict = {}


def table(path, **kwargs):
    key = (path, *kwargs.items())
    if key not in TABLES:
        TABLES[key] = load(path)(**kwargs).table()
    return TABLES[key]


def random_momdp(seed, states=4, actions=2, outcomes=1, d=2, acyclic=False, starts=1, step_cost=0.0):
    """The last state is terminal; rewards are small integers, so that ties and duplicates occur."""
    rng = np.random.default_rng(seed)
    successors = rng.integers(0, states, (states, actions, outcomes)).astype(np.int32)
    if acyclic:
        lowest = np.arange(1, states + 1).clip(max=states - 1)[:, None, None]
        successors = rng.integers(lowest, states, (states, actions, outcomes)).astype(np.int32)
    # Different outcomes lead to different states, as in every table.
    successors = (successors[..., :1] + np.arange(outcomes)).clip(max=states - 1) if outcomes > 1 else successors
    probabilities = rng.choice([0.25, 0.5, 0.75], (states, actions, 1))
    probabilities = (
        np.concatenate([probabilities, 1 - probabilities], -1) if outcomes == 2 else np.ones((*successors.shape,))
    )
    if outcomes == 2:
        merged = successors[..., 0] == successors[..., 1]
        probabilities[merged] = [1.0, 0.0]
    rewards = rng.integers(-2, 3, (states, actions, outcomes, d)).astype(float)
    if step_cost:
        rewards[..., 0] = -step_cost
        rewards[..., 1:] = np.where((successors == states - 1)[..., None], np.abs(rewards[..., 1:]), 0.0)
    terminal = np.arange(states) == states - 1
    rewards[terminal], successors[terminal], probabilities[terminal] = 0.0, states - 1, np.eye(outcomes)[0]
    initial = np.where(np.arange(states) < starts, 1 / starts, 0.0)
    return TabularMDP(successors, probabilities, rewards, terminal, initial)


def brute_force(momdp, gamma, steps):
    """Returns of every deterministic history-dependent policy, cut off after some steps, by plain recursion."""

    @functools.lru_cache(maxsize=256)
    def all_returns(state, steps):
        if momdp.terminal[state] or steps == 0:
            return {(0.0,) * momdp.num_objectives}
        found = set()
        for action in range(momdp.successors.shape[1]):
            possible = np.flatnonzero(momdp.probabilities[state, action] > 0)
            tails = [sorted(all_returns(int(momdp.successors[state, action, k]), steps - 1)) for k in possible]
            for choice in itertools.product(*tails):
                total = np.zeros(momdp.num_objectives)
                for k, tail in zip(possible, choice, strict=True):
                    total += momdp.probabilities[state, action, k] * (
                        momdp.rewards[state, action, k] + gamma * np.array(tail)
                    )
                found.add(tuple(np.round(total, 12)))
        return found

    tails = [sorted(all_returns(int(s), steps)) for s in momdp.initial_states]
    points = np.array(
        [np.average(choice, axis=0, weights=momdp.initial_probabilities) for choice in itertools.product(*tails)]
    )
    return in_order(points[non_dominated_rows(points, np.full(points.shape[1], 1e-9))])


gammas = st.sampled_from([1.0, 0.99, 0.9, 0.5])
seeds = st.integers(0, 100_000)


@settings(max_examples=60)
@given(seed=seeds, gamma=gammas, d=st.sampled_from([2, 3]), outcomes=st.sampled_from([1, 2]))
def test_acyclic_fronts_equal_all_policies(seed, gamma, d, outcomes):
    momdp = random_momdp(seed, states=4, outcomes=outcomes, d=d, acyclic=True)
    expected = brute_force(momdp, gamma, 4)
    assert np.allclose(exact.pareto_front(momdp, gamma), expected, atol=1e-9)


@settings(max_examples=40)
@given(seed=seeds, gamma=gammas, horizon=st.integers(0, 3), outcomes=st.sampled_from([1, 2]))
def test_fronts_at_a_horizon_equal_all_policies(seed, gamma, horizon, outcomes):
    momdp = random_momdp(seed, states=4, outcomes=outcomes, starts=2)
    assert np.allclose(exact.pareto_front(momdp, gamma, horizon), brute_force(momdp, gamma, horizon), atol=1e-9)


@settings(max_examples=20)
@given(seed=seeds, gamma=st.sampled_from([1.0, 0.99, 0.9]))
def test_cyclic_fronts_equal_all_policies_where_time_costs(seed, gamma):
    # A step costs 3 and the end is worth at most 2: nobody wanders when the end can be reached.
    momdp = random_momdp(seed, states=5, step_cost=3.0)
    reachable = {0}
    for _ in range(5):
        reachable |= {int(t) for s in reachable if s != 4 for t in momdp.successors[s].ravel()}
    if 4 not in reachable:
        if gamma == 1.0:
            with pytest.raises(exact.NoFiniteFrontError, match="finite return"):
                exact.pareto_front(momdp, gamma)
        else:
            assert np.allclose(exact.pareto_front(momdp, gamma), [[-3 / (1 - gamma), 0.0]], atol=1e-7)
        return
    points = brute_force(momdp, gamma, 5)
    # What is cut off before its end has gathered nothing.
    ended = points[points[:, 1] > 0]
    front = exact.pareto_front(momdp, gamma)
    assert np.allclose(front[front[:, 1] > 0], ended, atol=1e-9)


@settings(max_examples=40)
@given(seed=seeds, gamma=gammas, d=st.sampled_from([2, 3]), outcomes=st.sampled_from([1, 2]))
def test_policies_attain_their_points(seed, gamma, d, outcomes):
    momdp = random_momdp(seed, states=5, outcomes=outcomes, d=d, acyclic=True, starts=2)
    front = exact.pareto_front(momdp, gamma)
    policies = pareto_policies(momdp, gamma)
    assert len(policies) == len(front)
    for policy, point in zip(policies, front, strict=True):
        total = np.zeros(d)
        for start, chance in zip(momdp.initial_states, momdp.initial_probabilities, strict=True):
            total += chance * walk_all(momdp, gamma, policy, [int(start)])
        assert np.allclose(total, point, atol=1e-9)


def walk_all(momdp, gamma, policy, history):
    """The policy's expected return after a history, by replaying it along every random outcome."""
    if momdp.terminal[history[-1]]:
        return np.zeros(momdp.num_objectives)
    policy.reset()
    action = [policy.act(state) for state in history][-1]
    total = np.zeros(momdp.num_objectives)
    for k in np.flatnonzero(momdp.probabilities[history[-1], action] > 0):
        after = int(momdp.successors[history[-1], action, k])
        tail = walk_all(momdp, gamma, policy, [*history, after])
        total += momdp.probabilities[history[-1], action, k] * (momdp.rewards[history[-1], action, k] + gamma * tail)
    return total


@settings(max_examples=8)
@given(seed=seeds, gamma=st.sampled_from([0.9, 0.5]), outcomes=st.sampled_from([1, 2]), d=st.sampled_from([2, 3]))
def test_linear_support_equals_dense_weights_on_cyclic_problems(seed, gamma, outcomes, d):
    momdp = random_momdp(seed, states=5, outcomes=outcomes, d=d)
    found = linear_support(momdp, gamma).points
    used = np.zeros(len(found), bool)
    for weights in np.random.default_rng(0).dirichlet(np.ones(d), 20):
        best = scalarised_optimum(momdp, gamma, weights).expected_return(momdp) @ weights
        utilities = found @ weights
        assert utilities.max() == pytest.approx(best, abs=1e-8)
        used[utilities.argmax()] = True
    assert used.any()
    assert len(exact.convex_hull_vertices(found)) == len(found)


@settings(max_examples=15)
@given(seed=seeds, gamma=gammas, outcomes=st.sampled_from([1, 2]), d=st.sampled_from([2, 3]))
def test_both_ways_to_the_coverage_set_agree(seed, gamma, outcomes, d):
    momdp = random_momdp(seed, states=6, outcomes=outcomes, d=d, acyclic=True)
    by_hull = exact.coverage_set(momdp, gamma, "pareto")
    assert np.allclose(by_hull, exact.coverage_set(momdp, gamma, "linear support"), atol=1e-8)


@pytest.mark.parametrize(
    ("path", "kwargs", "gamma", "reference", "hypervolume"),
    [
        (SEA, {}, 1.0, (0, -25), 401.80),
        (SEA, {}, 0.99, (0, -25), 360.4009),
        (SEA, {}, 0.98, (0, -25), 319.7462),
        (SEA, {"map": "concave"}, 1.0, (0, -25), 1155.0),
        (SEA, {"map": "concave"}, 0.99, (0, -25), 1101.3844),
        (FRUITS, {}, 1.0, (0,) * 6, 12575.8733),
        (FRUITS, {}, 0.99, (0,) * 6, 9302.3782),
    ],
)
def test_golden_hypervolumes_at_other_reference_points(path, kwargs, gamma, reference, hypervolume):
    front = exact.pareto_front(table(path, **kwargs), gamma)
    assert moocore.hypervolume(front, ref=reference, maximise=True) == pytest.approx(hypervolume, abs=6e-5)


@pytest.mark.parametrize(("path", "gamma"), [(SEA, 1.0), (SEA, 0.9), (FRUITS, 0.99), (RESOURCES, 0.9)])
def test_controllers_attain_the_front(path, gamma):
    values = np.array([policy.value for policy in pareto_policies(table(path), gamma)])
    assert np.allclose(values, exact.pareto_front(table(path), gamma), atol=1e-9)


def test_never_ending_counts_by_its_limit():
    # One state: stay for (0, 0), or leave at a cost and a gain. Staying for ever is not dominated.
    successors = np.array([[[0], [1]], [[1], [1]]], np.int32)
    rewards = np.zeros((2, 2, 1, 2))
    rewards[0, 1, 0] = [-1, 1]
    momdp = TabularMDP(successors, np.ones((2, 2, 1)), rewards, np.array([False, True]), np.array([1.0, 0.0]))
    assert exact.pareto_front(momdp, 1.0).tolist() == [[-1, 1], [0, 0]]
    assert sorted(policy.value.tolist() for policy in pareto_policies(momdp, 1.0)) == [[-1, 1], [0, 0]]
    rewards[0, 0, 0] = [1, 0]
    with pytest.raises(exact.NoFiniteFrontError, match="never ending"):
        exact.pareto_front(momdp, 1.0)


def test_infinite_fronts_are_refused():
    # Each step is worth (1, 0) or (0, 1): the front at discount 0.9 is a continuum, its coverage set two points.
    successors, rewards = np.zeros((1, 2, 1), np.int32), np.eye(2)[None, :, None, :]
    momdp = TabularMDP(successors, np.ones((1, 2, 1)), rewards, np.array([False]), np.ones(1))
    with pytest.raises(exact.NoFiniteFrontError, match="infinite"):
        exact.pareto_front(momdp, 0.9, max_points=500)
    assert np.allclose(exact.coverage_set(momdp, 0.9, "linear support"), [[0, 10], [10, 0]])
    assert len(exact.pareto_front(momdp, 1.0, horizon=7)) == 8


def test_retries_without_end_are_counted():
    # A try succeeds half of the time and costs 1: two tries on average; or leave at once with nothing.
    successors = np.array([[[0, 1], [1, 0]], [[1, 1], [1, 1]]], np.int32)
    probabilities = np.array([[[0.5, 0.5], [1.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]]])
    rewards = np.zeros((2, 2, 2, 2))
    rewards[0, 0] = [[-1, 0], [-1, 8]]
    momdp = TabularMDP(successors, probabilities, rewards, np.array([False, True]), np.array([1.0, 0.0]))
    front = exact.pareto_front(momdp, 1.0)
    # Give up after n failures: n tries at most, for every n.
    n = np.arange(40)
    expected = np.column_stack([-2 * (1 - 0.5**n), 8 * (1 - 0.5**n)])
    assert all(np.abs(front - point).max(axis=1).min() < 1e-9 for point in expected)
    assert np.allclose(exact.coverage_set(momdp, 1.0), [[-2, 8], [0, 0]])


@settings(max_examples=60)
@given(seed=seeds, d=st.integers(1, 9), count=st.integers(1, 25))
def test_hull_vertices_are_the_only_optima(seed, d, count):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 6, (count, d)).astype(float)
    vertices = exact.convex_hull_vertices(points)
    weights = rng.dirichlet(np.full(d, 0.7), 300)
    assert np.allclose((weights @ vertices.T).max(1), (weights @ points.T).max(1))
    assert len(np.unique(vertices, axis=0)) == len(vertices)
    middle = np.vstack([points, vertices.mean(axis=0)])
    assert np.array_equal(exact.convex_hull_vertices(middle), vertices)


def test_bad_arguments_are_named():
    momdp = table(SEA)
    with pytest.raises(ValueError, match=r"\(0, 1\], got 1.5"):
        exact.pareto_front(momdp, 1.5)
    with pytest.raises(ValueError, match="-1"):
        exact.pareto_front(momdp, 1.0, horizon=-1)
    with pytest.raises(ValueError, match=r"'hull'.*pareto"):
        exact.coverage_set(momdp, 1.0, "hull")
    with pytest.raises(ValueError, match="more than 10 reachable"):
        enumerate_states(prefront.make("DeepSeaTreasure-v0"), max_states=10)
    with pytest.raises(ValueError, match="finite numbers"):
        exact.convex_hull_vertices(np.array([[np.nan, 1.0]]))
