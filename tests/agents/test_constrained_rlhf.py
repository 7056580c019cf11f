"""Constrained RLHF against exact optima, hand-computed steps, and itself under vmap."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefront.agents.constrained_rlhf import (
    METHODS,
    Trainer,
    TrainingFailure,
    TrainingSettings,
    method_settings,
    train,
)
from prefront.agents.constrained_rlhf_iteration import learned_rewards, mixed_advantages
from prefront.agents.constrained_rlhf_settings import per_run
from prefront.envs.token_world import TokenWorldSettings, make_world
from prefront.exact import kl_constrained, kl_regularised
from prefront.system.files import load_arrays
from prefront.tasks.generation import CustomRewards

SMALL = TokenWorldSettings(vocabulary=6, length=5, pairs=200, calibration_samples=2000)
SHORT = TrainingSettings(iterations=4, sequences=32, evaluation_interval=2, evaluation_sequences=64)
LONG = TrainingSettings(iterations=300, evaluation_interval=20, lambda_=1.0)
RUNS = 4


@functools.cache
def world(seed=0):
    return make_world(SMALL, seed)


@functools.cache
def worlds():
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(world(seed) for seed in range(RUNS)))


def keys(number=RUNS):
    return jax.random.split(jax.random.key(7), number)


def solved(seed, theta, solve=kl_constrained.solve_equalities):
    return solve(world(seed).reference, world(seed).answer, theta, SMALL.length)


def test_ppo_with_a_fixed_kl_coefficient_converges_to_the_tilted_policy():
    """The optimum of v - beta KL is the reference tilted by 1 / beta."""
    beta, weights = 0.8, np.array([1.0, 0.5])
    method = method_settings("ppo_fixed_kl", kl_coefficient=beta, weights=weights, final_rate=0.02)
    result = train(worlds(), method, keys(), LONG, optimum=weights / beta)
    distance = result.history["optimum_divergence"]
    assert (distance[:, 0] > 0.5).all()
    assert (distance[:, -1] < 0.03).all(), distance[:, -1]
    for run in range(RUNS):
        rewards = world(run).answer
        path = kl_regularised.tilted_path(
            world(run).reference, rewards, jnp.asarray(weights / beta)[None], SMALL.length
        )
        np.testing.assert_allclose(result.history["rewards"][run, -1], path.rewards[0], atol=0.1)
        np.testing.assert_allclose(result.history["kl"][run, -1], path.divergence[0], rtol=0.1)


def test_xi_ppo_converges_to_the_dual_solution():
    theta = np.array([1.2, 0.6])
    optima = [solved(run, theta) for run in range(RUNS)]
    multipliers = np.array([one.multipliers for one in optima])
    method = method_settings("xi_ppo", thresholds=theta, final_rate=0.05)
    result = train(worlds(), method, keys(), LONG, optimum=multipliers)
    late = result.history["threshold_error"][:, -3:]
    assert late.mean() < 0.05, late
    assert (result.history["optimum_divergence"][:, -1] < 0.05).all(), result.history["optimum_divergence"][:, -1]
    np.testing.assert_allclose(result.history["kl"][:, -1], [one.divergence for one in optima], rtol=0.15)
    assert abs(result.history["gold_gap"][:, -1].mean()) < 0.1


@pytest.mark.slow
def test_mu_ppo_keeps_multipliers_that_are_not_negative_and_slack_free():
    """Threshold 2 lies below what the optimum for threshold 1 reaches anyway: its multiplier must vanish."""
    loose = np.array([solved(run, [1.2, -4.0], kl_constrained.solve_inequalities).rewards[1] for run in range(RUNS)])
    theta = np.column_stack([np.full(RUNS, 1.2), loose - 0.5])
    result = train(worlds(), method_settings("mu_ppo", thresholds=theta), keys(), LONG)
    multipliers = result.batches["multipliers"]
    assert (multipliers >= 0).all()
    slack = result.history["rewards"][:, -3:].mean(1) - theta
    assert (slack > -0.1).all(), slack
    assert (multipliers[:, -60:, 0].mean(1) > 0.2).all()
    assert (np.abs(multipliers[:, -60:].mean(1) * slack) < 0.1).all(), (multipliers[:, -60:].mean(1), slack)


@pytest.mark.slow
def test_all_ppo_stays_below_its_thresholds_with_the_multipliers_of_the_optimum():
    """With a KL term the optimum is tilted by (a - mu) / beta, so that mu = a - beta lambda where both bounds bind."""
    theta, beta = np.array([0.9, 0.9]), 0.3
    method = method_settings("all_ppo", thresholds=theta, coefficient="fixed", kl_coefficient=beta, final_rate=0.05)
    result = train(worlds(), method, keys(), LONG)
    rewards = result.history["rewards"][:, -3:].mean(1)
    assert (rewards < theta + 0.1).all(), rewards
    for run in range(RUNS):
        expected = 1.0 - beta * solved(run, theta).multipliers
        assert (expected > 0).all()
        np.testing.assert_allclose(result.batches["multipliers"][run, -40:].mean(0), expected, atol=0.15)


@pytest.mark.parametrize(
    "name", ["mu_ppo_paper", *(pytest.param(one, marks=pytest.mark.slow) for one in ("ppo_adaptive_kl", "xi_ppo"))]
)
def test_a_batch_of_runs_equals_single_runs(name):
    theta = np.linspace(0.2, 0.5, 2 * RUNS).reshape(RUNS, 2)
    rates = np.linspace(0.01, 0.04, RUNS)
    batch = method_settings(name, thresholds=theta, learning_rate=rates)
    together = train(worlds(), batch, keys(), SHORT)
    for run in (0, RUNS - 1):
        single = method_settings(name, thresholds=theta[run], learning_rate=rates[run])
        alone = train(world(run), single, keys()[run], SHORT)
        for part in ("history", "batches"):
            for quantity, values in getattr(alone, part).items():
                expected = getattr(together, part)[quantity][run]
                np.testing.assert_allclose(values[0], expected, rtol=2e-4, atol=2e-5, err_msg=quantity)


def test_runs_that_start_from_a_state_go_on_bit_for_bit():
    trainer = Trainer(world(), method_settings("ppo_annealed_kl"), keys(1), SHORT)
    trainer.measure()
    for _ in range(2):
        trainer.advance(2)
        trainer.measure()
    whole = train(world(), method_settings("ppo_annealed_kl"), keys(1), SHORT)
    jax.tree.map(np.testing.assert_array_equal, trainer.state[:-1], whole.state[:-1])
    assert whole.history["sequences"].tolist() == [[0, 64, 128]]
    assert whole.evaluation_sequences == 3 * 64


@pytest.mark.slow
def test_early_stopping_freezes_the_policy():
    training = dataclasses.replace(SHORT, iterations=40, sequences=128)
    method = method_settings("ppo_stopped_by_kl", stop_divergence=np.array([0.2, 0.5, 1.0, 50.0]))
    stopped = train(worlds(), method, keys(), training)
    kl, sequences = stopped.history["kl"], stopped.history["sequences"]
    assert stopped.history["stopped"][:, -1].tolist() == [True, True, True, False]
    assert (kl[:3, -1] > [0.2, 0.5, 1.0]).all() and (kl[:3, -1] < [0.8, 1.3, 2.0]).all()
    assert (np.diff(sequences[:3, -1]) >= 0).all() and sequences[3, -1] == 40 * 128 > sequences[2, -1]
    for run in range(3):
        frozen = np.flatnonzero(stopped.history["stopped"][run])
        assert np.ptp(kl[run, frozen]) == 0


@pytest.mark.slow
def test_early_stopping_at_a_proxy_point():
    training = dataclasses.replace(SHORT, iterations=40, sequences=128)
    method = method_settings("ppo_stopped_by_reward", thresholds=[0.4, 0.4])
    result = train(worlds(), method, keys(), training)
    reached = result.history["rewards"][:, -1].sum(1)
    assert result.history["stopped"][:, -1].all() and (reached > 0.5).all() and (reached < 1.6).all()


def test_advantages_are_mixed_as_the_table_says():
    raw = np.random.default_rng(0).normal(size=(50, 3)) * [1.0, 5.0, 0.3] + [0, 2, 1]
    z = lambda a: (a - a.mean(0)) / a.std(0)  # noqa: E731
    multipliers, weights = np.array([0.7, -0.2]), np.array([1.0, 0.5])
    mixes = {
        "ppo_fixed_kl": z(raw @ [1.0, 0.5, 0.3]),
        "xi_ppo": z(raw @ [0.7, -0.2, 1.0]),
        "mu_ppo": z(raw @ [0.7, -0.2, 1.0]),
        "all_ppo": z(raw @ [0.3, 0.7, 0.3]),
        "xi_ppo_paper": (2 - 0.5) * z(raw[:, 2]) + z(raw[:, :2]) @ multipliers,
        "all_ppo_paper": (2 - 0.5) * z(raw @ [1.0, 0.5, 0.3]) - z(raw[:, :2]) @ multipliers,
    }
    for name, expected in mixes.items():
        method = method_settings(name, weights=jnp.asarray(weights))
        mixed = mixed_advantages(method, jnp.asarray(raw, jnp.float32), jnp.asarray(multipliers), jnp.float32(0.3))
        np.testing.assert_allclose(mixed, expected, atol=1e-4, err_msg=name)


def test_ppo_sat_learns_from_squared_distances():
    method = per_run(method_settings("ppo_sat", thresholds=[1.0, 2.0], weights=[1.0, 0.5]), 2, 1)
    one = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), method)
    learned = learned_rewards(one, jnp.array([[1.0, 2.0], [0.0, 4.0]]), None)
    np.testing.assert_allclose(learned, [[0.0], [-3.0]])


def _shifted(rewards, statistics):
    return (rewards - statistics["mean"]).sum(-1)


def _worst(rewards, statistics):
    return rewards.min(-1)


@pytest.mark.slow
def test_transforms_and_ensembles_enter_the_loop():
    method = method_settings("ppo", transform=_shifted)
    statistics = {"mean": jnp.tile(jnp.array([5.0, 7.0]), (2, 1))}
    shifted = train(world(), method, keys(2), SHORT, statistics=statistics)
    assert shifted.state.multipliers.raw.shape == (2, 1)
    members = jax.tree.map(lambda *leaves: jnp.stack(leaves)[None], *(world(seed).models for seed in range(3)))
    method = method_settings("ppo", transform=_worst)
    worst = train(world(), method, keys(1), SHORT, ensemble=members)
    assert worst.state.multipliers.raw.shape == (1, 2)
    with pytest.raises(ValueError, match="2 thresholds need 2 rewards"):
        method = method_settings("xi_ppo", transform=_shifted, thresholds=[0.1, 0.1])
        train(world(), method, keys(2), SHORT, statistics=statistics)


def _broken(world, sequences):
    rewards = kl_regularised.count_rewards(world.answer, sequences)
    return jnp.where(rewards.mean() > 0.25, jnp.nan, rewards)


def test_what_is_not_finite_stops_the_run_and_names_the_good_checkpoint(tmp_path):
    training = dataclasses.replace(SHORT, iterations=60, evaluation_interval=7, sequences=128)
    with pytest.raises(
        TrainingFailure, match=r"Run 0: the reward is not finite in iteration \d+\. .*safetensors"
    ) as caught:
        train(CustomRewards(world(), _broken), method_settings("ppo"), keys(1), training, checkpoint=tmp_path)
    failure = caught.value
    arrays, facts = load_arrays(failure.checkpoint)
    assert facts["facts"]["iterations"] == [failure.iteration - 1]
    assert np.isfinite(arrays["policy"]["table"]).all()
    # The stored policy is the one that a run of as many iterations ends with.
    before = Trainer(world(), method_settings("ppo"), keys(1), training)
    before.advance(failure.iteration - 1)
    np.testing.assert_allclose(arrays["policy"]["table"], before.state.networks.policy["table"], atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresholds": [1.0]}, "2 reward models need 2 thresholds"),
        ({"thresholds": [0.1, 0.1], "weights": [1.0, 1.0, 1.0]}, "2 reward models need 2 weights"),
        ({"thresholds": None}, "needs 2 thresholds"),
        ({"thresholds": [0.1, 0.1], "learning_rate": -0.1}, "learning_rate must be positive, got -0.1"),
        ({"thresholds": [0.1, np.nan]}, "thresholds must be finite"),
        ({"thresholds": [90.0, 0.1]}, r"No policy reaches threshold \[90\.\].*reachable ranges"),
        ({"thresholds": [0.1, 0.1], "kind": "xi_pp"}, "No kind 'xi_pp'.*xi_ppo"),
        ({"thresholds": [0.1, 0.1], "coefficient": "fixed"}, "must be 'none'"),
        ({"thresholds": np.ones((3, 2)) / 10}, r"1 runs need \(1, 2\)"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        train(world(), dataclasses.replace(METHODS["xi_ppo"], **changes), keys(1), SHORT)
    with pytest.raises(ValueError, match=r"kl_coefficient must not be negative, got -1\.0"):
        train(world(), method_settings("ppo_fixed_kl", kl_coefficient=-1.0), keys(1), SHORT)


def test_what_is_no_key_or_returns_no_rewards_is_named():
    with pytest.raises(ValueError, match=r"random keys, such as jax.random.key\(0\), got 3"):
        Trainer(world(), METHODS["ppo"], 3, SHORT)
    with pytest.raises(ValueError, match=r"returns K rewards a sequence, shape \(n, K\), but \(3,\) for 3"):
        Trainer(CustomRewards(world(), lambda _, sequences: sequences[:, 0] * 1.0), METHODS["ppo"], keys(1), SHORT)
    method = dataclasses.replace(METHODS["ppo"], transform=lambda rewards, _: rewards[:2])
    with pytest.raises(ValueError, match=r"one reward or 2 per sequence, from \(3, 2\) it made \(2, 2\)"):
        Trainer(world(), method, keys(1), SHORT)
