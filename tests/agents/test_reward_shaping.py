"""Transforms against closed forms, and ensembles against the fits that they consist of."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefront.agents import reward_shaping as shaping
from prefront.agents.constrained_rlhf import TrainingSettings, method_settings, train
from prefront.envs.token_world import TokenWorldSettings, make_world
from prefront.preferences.models.sequences import fit, linear_rewards, model_rewards

SMALL = TokenWorldSettings(vocabulary=4, length=5, pairs=60, calibration_samples=500)
REFERENCE = jnp.asarray(np.random.default_rng(0).normal(size=(400, 2)), jnp.float32)


@pytest.fixture(scope="module")
def world():
    return make_world(SMALL, 0)


def test_par_is_the_probability_of_being_preferred_to_a_reference():
    statistics = shaping.summarise(REFERENCE, slope=2.0, references=3)
    rewards = jnp.array([[0.3, -1.0], [4.0, 0.0]])
    expected = np.mean([1 / (1 + np.exp(-2 * (rewards - one))) for one in REFERENCE[:3]], axis=0)
    assert np.allclose(shaping.preference_as_reward(rewards, statistics), expected, atol=1e-6)
    single = shaping.summarise(REFERENCE, references=1)
    assert np.allclose(shaping.preference_as_reward(REFERENCE[:1], single), 0.5)
    # Bounded, and steepest at the reference: the slope there is a quarter of the logits per unit.
    far = shaping.preference_as_reward(jnp.array([[-50.0, 50.0]]), single)
    assert np.allclose(far, [[0, 1]], atol=1e-6)
    slope = jax.jacobian(lambda r: shaping.preference_as_reward(r[None], single)[0])(REFERENCE[0])
    assert np.allclose(slope, np.eye(2) / 4, atol=1e-6)


def test_baselines_against_closed_forms():
    statistics = shaping.summarise(REFERENCE, quantile=0.85, width=1.5)
    reference = np.asarray(REFERENCE, np.float64)
    assert np.allclose(shaping.mean_std(REFERENCE, statistics).mean(0), 0, atol=1e-5)
    assert np.allclose(shaping.mean_std(REFERENCE, statistics).std(0), 1, atol=1e-5)
    scaled = shaping.min_max(REFERENCE, statistics)
    assert np.allclose([scaled.min(0), scaled.max(0)], [[0, 0], [1, 1]], atol=1e-6)
    low, high = (reference.mean(0) + sign * 1.5 * reference.std(0) for sign in (-1, 1))
    assert np.allclose(shaping.clip(REFERENCE, statistics), np.clip(reference, low, high), atol=1e-5)
    assert np.allclose(shaping.ceiling(REFERENCE, statistics), np.minimum(reference, high), atol=1e-5)
    centred = reference - np.quantile(reference, 0.85, axis=0)
    assert np.allclose(shaping.log_sigmoid_centred(REFERENCE, statistics), -np.log1p(np.exp(-centred)), atol=1e-5)


def test_ensembles_against_closed_forms():
    statistics = shaping.summarise(REFERENCE, penalty=0.5)
    members = jnp.array([[[1.0, 3.0], [2.0, 2.0]]])  # One sequence, two models, two members.
    assert np.allclose(shaping.ensemble_mean(members), [[2, 2]])
    assert np.allclose(shaping.worst_case(members), [[1, 2]])
    # The variance of 1 and 3 is 1: the penalty is on it, not on the deviation of differently scaled members.
    assert np.allclose(shaping.variance_penalised(members, statistics), [[1.5, 2]])
    assert np.allclose(shaping.variance_penalised(2 * members, statistics), [[4 - 0.5 * 4, 4]])


def test_bootstrapped_members_are_the_fits_of_their_resamples(world):
    key = jax.random.key(1)
    models = shaping.fit_ensemble(world, key, members=3)
    assert models.parameters.shape == (3, 2, 5, 4)
    _, for_pairs, _ = jax.random.split(key, 3)
    rows = jax.random.randint(for_pairs, (6, SMALL.pairs), 0, SMALL.pairs)[3]  # Member 1, component 1.
    drawn = jax.tree.map(lambda leaf: leaf[1][rows], world.comparisons)
    expected = fit(SMALL.reward_model, key, drawn)
    assert np.allclose(models.parameters[1, 1], expected, atol=2e-3)
    every = jax.vmap(lambda one: model_rewards(SMALL.reward_model, one, world.comparisons.first.tokens[0]))(models)
    assert every.shape == (3, SMALL.pairs, 2)
    assert float(every.std(0).mean()) > 0.05  # Members disagree.
    rewards = linear_rewards(jax.tree.map(lambda leaf: leaf[0], models))
    assert rewards.scores.shape == (2, 5, 4)


@pytest.mark.slow
def test_members_of_other_forms_differ_by_their_initialisation():
    settings = dataclasses.replace(
        SMALL, reward_model=dataclasses.replace(SMALL.reward_model, kind="mlp", width=4, steps=20)
    )
    models = shaping.fit_ensemble(make_world(settings, 0), jax.random.key(0), members=2, bootstrap=False)
    assert models.mean.shape == (2, 2)
    assert not np.allclose(models.mean[0], models.mean[1])


def test_a_learner_learns_from_the_transform_and_an_ensemble_of_equals_is_its_member(world):
    training = TrainingSettings(iterations=3, sequences=32, evaluation_interval=3, evaluation_sequences=64)
    keys = jax.random.key(0)[None]
    equals = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf])[None], world.models)
    penalised = method_settings("ppo", transform=shaping.variance_penalised)
    statistics = jax.tree.map(lambda leaf: leaf[None], shaping.reference_statistics(world, keys[0], samples=100))
    ensemble = train(world, penalised, keys, training, ensemble=equals, statistics=statistics)
    single = train(world, method_settings("ppo"), keys, training)
    assert np.allclose(ensemble.history["kl"], single.history["kl"], atol=1e-4)
    assert np.allclose(ensemble.history["rewards"], single.history["rewards"], atol=1e-3)
    assert single.history["kl"][0, -1] > 0.02


def test_bad_settings_are_named(world):
    with pytest.raises(ValueError, match="Did you mean worst_case"):
        shaping.reward_transform("worst_cas")
    for options, message in (
        ({"references": 0}, "references"),
        ({"quantile": 1.0}, "quantile"),
        ({"width": 0.0}, "width"),
        ({"penalty": -1.0}, "penalty"),
    ):
        with pytest.raises(ValueError, match=message):
            shaping.summarise(REFERENCE, **options)
    with pytest.raises(ValueError, match="shape"):
        shaping.summarise(jnp.zeros(3))
    with pytest.raises(ValueError, match="at least 2 members"):
        shaping.fit_ensemble(world, jax.random.key(0), members=1)
    with pytest.raises(ValueError, match="bootstrap=True"):
        shaping.fit_ensemble(world, jax.random.key(0), bootstrap=False)
