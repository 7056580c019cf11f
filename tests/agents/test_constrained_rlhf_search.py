"""NM-PPO, proxy points and best-of-n against functions and worlds whose answers are known."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.special import softmax

from prefront.agents.best_of_n import best_of_n, subset_maximum_weights
from prefront.agents.constrained_rlhf import TrainingSettings, method_settings
from prefront.agents.nm_ppo import search_exactly, starting_simplex, train_nm_ppo
from prefront.agents.proxy_points import _gold_nearby, exact_proxy_points
from prefront.envs.token_world import TokenWorldSettings, make_world
from prefront.exact import kl_constrained, kl_regularised

TINY = TokenWorldSettings(vocabulary=3, length=4, pairs=100, calibration_samples=1000)
SMALL = TokenWorldSettings(vocabulary=6, length=5, pairs=200, calibration_samples=2000)


SEARCHED = TrainingSettings(
    iterations=96, sequences=64, evaluation_interval=4, evaluation_sequences=512, test_sequences=512
)


@functools.cache
def world(settings, seed=0):
    return make_world(settings, seed)


@pytest.mark.slow
def test_the_exact_search_matches_a_grid():
    key, model = jax.random.key(3), world(SMALL)
    simplex = starting_simplex(model)
    for point in simplex:
        kl_constrained.check_reachable(model.reference, model.answer, point, SMALL.length, True)
    found = search_exactly(model, key, evaluations=40)
    range_ = kl_constrained.reward_range(model.reference, model.answer, SMALL.length)
    best = max(
        search_exactly(model, key, [[a, b], [a + 1e-4, b], [a, b + 1e-4]], 1).value
        for a, b in itertools.product(*(np.linspace(0.1, 0.9, 6) * high for high in range_[:, 1]))
    )
    assert found.value > best - 0.05, (found.value, best)


def test_nm_ppo_stays_within_its_budget_and_counts_what_it_spends():
    training = SEARCHED
    found = train_nm_ppo(world(SMALL), jax.random.key(1), training)
    sequences = found.result.history["sequences"][0]
    assert sequences[-1] == 96 * 64
    assert (np.diff(sequences) <= 12 * 64).all()
    assert found.result.evaluation_sequences == 512 * len(sequences)
    feasible = np.isfinite(found.search.values)
    history = found.result.history["gold"][0]
    np.testing.assert_allclose(found.search.values[feasible], history[1 : 1 + feasible.sum()])
    assert found.search.value > history[0] + 0.2
    with pytest.raises(ValueError, match="must be xi_ppo, got mu_ppo"):
        train_nm_ppo(world(SMALL), jax.random.key(1), training, method_settings("mu_ppo"))


def test_nm_ppo_pays_for_thresholds_that_no_policy_meets():
    model = world(SMALL)
    range_ = kl_constrained.reward_range(model.reference, model.answer, SMALL.length)
    beyond = 1.5 * range_[:, 1]
    simplex = [beyond, [0.2 * beyond[0], 0.0], [0.0, 0.2 * beyond[1]]]
    found = train_nm_ppo(model, jax.random.key(2), SEARCHED, simplex=simplex)
    assert np.isfinite(found.search.values).all()
    np.testing.assert_allclose(found.search.points[0], beyond, rtol=1e-5)
    assert found.result.history["sequences"][0, 1] == SEARCHED.iterations // 8 * SEARCHED.sequences


def test_test_gold_is_that_of_other_sequences():
    """Both estimate the gold of one policy, known at the start from many reference sequences."""
    model = world(SMALL)
    history = train_nm_ppo(model, jax.random.key(1), SEARCHED).result.history
    policy = kl_regularised.reference_policy(model.reference, SMALL.length)
    many = model.gold(kl_regularised.sample(jax.random.key(9), model.reference.initial, policy, 100_000)).mean()
    for name in ("gold", "test_gold"):
        assert abs(history[name][0, 0] - many) < 4 * history[f"{name}_error"][0, 0]
    assert (history["gold"] != history["test_gold"]).all()


def enumerated_gold(settings, model):
    """Gold of any tilted policy by enumeration of every sequence, a function of multipliers (N, K)."""
    start, tails = settings.vocabulary, itertools.product(range(settings.vocabulary), repeat=settings.length)
    sequences = jnp.array([(start, *tail) for tail in tails], jnp.int32)
    log_p = np.asarray(model.reference.log_transitions, np.float64)[sequences[:, :-1], sequences[:, 1:]].sum(1)
    values = np.asarray(kl_regularised.count_rewards(model.answer, sequences), np.float64)
    golds = np.asarray(model.gold(sequences), np.float64)

    def expected(multipliers):
        p = softmax(log_p + np.atleast_2d(multipliers) @ values.T, axis=1)
        return p @ golds, p @ values

    return expected


@pytest.mark.parametrize(("components", "seed"), [(2, 1), pytest.param(3, 0, marks=pytest.mark.slow)])
def test_no_policy_of_a_grid_has_more_gold_than_the_proxy_points(components, seed):
    settings = dataclasses.replace(SMALL, vocabulary=4, components=components)
    model = world(settings, seed)
    expected = enumerated_gold(settings, model)
    alone, joint = exact_proxy_points(model, jax.random.key(0), rays=3, samples=4096, climbing_samples=4096)
    edges = np.linspace(-2, 8, 41 if components == 2 else 21)
    grid = np.stack(np.meshgrid(*[edges] * components), -1).reshape(-1, components)
    there, rewards = expected(joint.multipliers)
    assert there[0] >= expected(grid)[0].max() - 0.01
    np.testing.assert_allclose(joint.rewards, rewards[0], atol=1e-4)
    assert abs(joint.gold - there[0]) < 4 * joint.gold_error + 1e-4
    for k, axis in enumerate(np.eye(components)):
        along, reached = expected(np.linspace(-2, 20, 2001)[:, None] * axis)
        assert np.interp(alone[k], reached[:, k], along) >= along.max() - 0.01


def test_gold_nearby_is_that_of_the_tilted_policy_and_its_slope():
    """Contexts keep their shares, whatever their weights."""
    rng = np.random.default_rng(0)
    rewards, golds, contexts = rng.normal(size=(60, 2)), rng.normal(size=60), np.repeat([0, 1, 2], 20)
    change = np.array([0.4, -0.2])
    found, slope = _gold_nearby(rewards, golds, contexts, change)
    by_hand = np.mean([softmax(rewards[contexts == c] @ change) @ golds[contexts == c] for c in range(3)])
    assert found == pytest.approx(-by_hand)
    numerical = approx_fprime(change, lambda u: _gold_nearby(rewards, golds, contexts, u)[0])
    np.testing.assert_allclose(slope, numerical, atol=1e-6)


@pytest.mark.slow
def test_no_search_over_thresholds_finds_more_gold_than_the_joint_proxy_point():
    for seed in range(2):
        model, key = world(SMALL, seed), jax.random.key(0)
        alone, joint = exact_proxy_points(model, key)
        range_ = kl_constrained.reward_range(model.reference, model.answer, SMALL.length)
        assert ((alone > 0) & (alone < range_[:, 1])).all()
        best = search_exactly(model, key, evaluations=40).value
        there = search_exactly(model, key, joint.rewards + np.array([[0, 0], [0.1, 0], [0, 0.1]]), 1).value
        assert there > best - 0.02, (joint, best, there)


def test_best_of_n_equals_enumeration():
    model, numbers = world(TINY), np.array([1, 2, 5, 16, 64])
    reference, rewards = model.reference, model.answer
    sequences = jnp.array([(3, *tail) for tail in itertools.product(range(3), repeat=4)], jnp.int32)
    p = np.exp(np.asarray(reference.log_transitions)[sequences[:, :-1], sequences[:, 1:]].sum(1, dtype=np.float64))
    p /= p.sum()
    values = np.column_stack([kl_regularised.count_rewards(rewards, sequences), model.gold(sequences)]).astype(
        np.float64
    )
    order = np.argsort(values[:, :2].sum(1), kind="stable")
    cumulative = np.concatenate([[0.0], np.cumsum(p[order])])
    best = np.diff(cumulative[None] ** numbers[:, None], axis=1)
    found = best_of_n(model, jax.random.key(0), numbers, pool=2048, pools=16)
    assert (np.abs(found.rewards - best @ values[order, :2]) < 4.5 * found.rewards_error + 1e-6).all()
    assert (np.abs(found.gold - best @ values[order, 2]) < 4.5 * found.gold_error + 1e-6).all()
    divergence = np.sum(np.where(best > 0, best * np.log(np.maximum(best, 1e-300) / p[order]), 0), axis=1)
    assert (divergence <= found.divergence + 1e-9).all()
    np.testing.assert_allclose(found.divergence, np.log(numbers) - (numbers - 1) / numbers)
    with pytest.raises(ValueError, match="got 0 to 4"):
        best_of_n(model, jax.random.key(0), [0, 4])


def test_subset_weights_equal_counted_subsets():
    for n in (1, 2, 4, 7):
        subsets = [max(one) for one in itertools.combinations(range(7), n)]
        expected = np.bincount(subsets, minlength=7) / len(subsets)
        np.testing.assert_allclose(subset_maximum_weights(7, [n])[0], expected, atol=1e-6)
    np.testing.assert_allclose(subset_maximum_weights(4096, [1, 10, 1000, 4096]).sum(1), 1, rtol=1e-3)
