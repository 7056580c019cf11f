"""The coverage set of successor features: exact values for rewards of any direction, and the polytopes behind it."""

from itertools import product

import jax
import numpy as np
import pytest
from scipy.optimize import linprog

from prefront.envs.delivery import Delivery
from prefront.envs.random_delivery import RandomDelivery, generate
from prefront.exact.mdp import expected_rewards, solve, successor_features
from prefront.exact.successor_sets import facets, successor_coverage
from prefront.exact.tables import TabularMDP, unstack

GAMMA = 0.999


def drawn_mdp(rng, states=5, actions=2, outcomes=2, d=3):
    """A dense stochastic MDP with one terminal state."""
    shape = (states, actions, outcomes)
    terminal = np.arange(states) == states - 1
    chances = rng.dirichlet(np.ones(outcomes), shape[:2])
    features = rng.normal(size=(*shape, d))
    return TabularMDP(rng.integers(states, size=shape), chances, features, terminal, ~terminal / (~terminal).sum())


def shortfall(mdp, features, gamma, directions):
    best = solve(mdp, expected_rewards(mdp, directions), gamma).values
    reached = np.einsum("ksd,nd->nks", features, directions).max(1)
    assert (reached <= best + 1e-9 * np.abs(best).max()).all()
    return ((best - reached).max(1) / np.abs(best).max(1)).max()


def directions(rng, number, d=6):
    """Of all signs, with sizes over two decades."""
    return rng.choice([-1.0, 1.0], (number, d)) * 10.0 ** rng.uniform(-2.0, 0.0, (number, d))


@pytest.mark.parametrize("family", ["deterministic", "risky"])
def test_fresh_rewards_of_random_tasks_are_solved_exactly(family):
    count = 12 if family == "deterministic" else 2
    params, _ = generate(jax.random.key(101), count, family)
    rng = np.random.default_rng(0)
    for mdp in unstack(RandomDelivery(family).table(params)):
        found = successor_coverage(mdp, GAMMA)
        assert found.exact
        assert shortfall(mdp, found.features, GAMMA, directions(rng, 500 if count > 2 else 100)) < 1e-6


def test_every_policy_lies_inside_and_every_policy_of_the_set_is_needed():
    """Against all deterministic policies of small stochastic MDPs, by linear programs."""
    rng = np.random.default_rng(1)
    for _ in range(3):
        mdp = drawn_mdp(rng)
        found = successor_coverage(mdp, 0.9)
        assert found.exact
        policies = np.array(list(product(range(2), repeat=5)))
        every = successor_features(mdp, policies, 0.9)[:, :4]
        own = found.features[:, :4]
        for state in range(4):
            for point in every[:, state]:
                weights = linprog(
                    np.zeros(len(own)), A_eq=np.vstack([own[:, state].T, np.ones(len(own))]), b_eq=[*point, 1.0]
                )
                assert weights.status == 0, (state, point)
        rewards = rng.normal(size=(4000, 3))
        values = np.einsum("ksd,nd->nks", own, rewards)
        for dropped in range(len(own)):
            others = np.delete(values, dropped, axis=1).max(1)
            assert (values[:, dropped] > others).any(), dropped


def test_too_few_directions_are_told():
    mdp = Delivery().table()
    found = successor_coverage(mdp, GAMMA, directions=100)
    assert not found.exact
    assert found.directions <= 100
    assert shortfall(mdp, found.features, GAMMA, directions(np.random.default_rng(0), 200)) > 1e-3


def test_facets_of_polytopes_of_any_dimension():
    cube = np.array(list(product((0.0, 1.0), repeat=3)))
    middle = np.full((1, 3), 0.5)
    found = facets(np.vstack([middle, cube]))
    assert set(found.vertices) == set(range(1, 9))
    signs = {tuple(row) for row in np.round(found.normals).astype(int)}
    assert signs == {tuple(sign * row) for sign in (1, -1) for row in np.eye(3, dtype=int)}
    for points in (cube[:1], cube[[0, 7]], cube[:4]):
        normals, vertices = facets(points)
        assert len(vertices) == len(points)
        assert np.allclose(np.linalg.norm(normals, axis=1), 1)
        # Directions out of the subspace count both ways, and no point lies beyond a facet that holds none.
        extent = points @ normals.T
        assert np.linalg.matrix_rank(normals) == 3
        assert (np.isclose(extent, extent.max(0)).sum(0) >= 1).all()


def test_a_task_without_moves_has_one_policy():
    over = TabularMDP(np.zeros((1, 2, 1), int), np.ones((1, 2, 1)), np.ones((1, 2, 1, 3)), np.array([True]), np.ones(1))
    assert successor_coverage(over).features.shape == (1, 1, 3)
