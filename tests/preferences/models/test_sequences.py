"""Reward models of sequences against a solver of another library, their likelihood, and what they should learn."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from prefront.envs.token_world import TokenWorldSettings, make_world, report
from prefront.preferences.comparisons import Comparisons
from prefront.preferences.items import Sequences
from prefront.preferences.models import sequences as models
from prefront.preferences.models.fitting import choice_losses

V, L, N = 5, 6, 120


def comparisons(seed=0, number=N, prompts=False):
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, V, (2, number, L + 1))
    if not prompts:
        pairs[:, :, 0] = V
    return Comparisons(*(Sequences(side, vocabulary=V) for side in pairs), rng.integers(0, 2, number))


def counts(sequences):
    """Unigram counts, then counts of bigrams, that with a prompt included."""
    features = np.zeros((len(sequences), V + (V + 1) * V))
    for i, sequence in enumerate(np.asarray(sequences)):
        for previous, token in itertools.pairwise(sequence):
            features[i, token] += 1
            if previous < V:
                features[i, V + previous * V + token] += 1
    return features


@pytest.mark.parametrize("prompts", [False, True])
@pytest.mark.parametrize("l2", [0.1, 1.0])
def test_linear_fit_equals_scipy(prompts, l2):
    data = comparisons(1, prompts=prompts)
    weights = np.random.default_rng(2).integers(0, 3, N).astype(np.float64)
    difference = counts(data.first.tokens) - counts(data.second.tokens)
    choice = data.labels

    def objective(w):
        s = difference @ w
        p = 1 / (1 + np.exp(-s))
        loss = weights @ (np.logaddexp(0, s) - choice * s) + 0.5 * l2 * w @ w
        return loss, difference.T @ (weights * (p - choice)) + l2 * w

    exact = scipy.optimize.minimize(objective, np.zeros(difference.shape[1]), jac=True, method="L-BFGS-B", tol=1e-14).x
    table = models.fit(models.RewardModelSettings(l2=l2), jax.random.key(0), data, jnp.asarray(weights, jnp.float32))
    fresh = comparisons(3, prompts=prompts).first.tokens
    mine = models.model_scores(models.RewardModelSettings(), table, fresh)
    np.testing.assert_allclose(mine, counts(fresh) @ exact, atol=1e-4)


def test_linear_fit_beyond_any_rounding_stays_finite():
    data = comparisons(4, number=3)
    table = models.fit(models.RewardModelSettings(l2=1e-4), jax.random.key(0), data)
    assert np.isfinite(table).all()
    sides = data.first.tokens, data.second.tokens
    scores = [models.model_scores(models.RewardModelSettings(), table, one) for one in sides]
    assert np.array_equal(scores[0] > scores[1], data.labels > 0.5)


def test_the_transformer_is_causal_up_to_its_mean_and_sees_order():
    settings = models.RewardModelSettings("transformer", width=8, steps=1)
    data = comparisons(5)
    parameters = models.fit(settings, jax.random.key(0), data)
    forward = jnp.asarray(data.first.tokens[:4])
    backward = forward.at[:, 1:].set(forward[:, :0:-1])
    assert not np.allclose(
        models.model_scores(settings, parameters, forward), models.model_scores(settings, parameters, backward)
    )


@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_neural_fits_lower_the_loss_and_vmap_equals_one_by_one(kind):
    settings = models.RewardModelSettings(kind, width=8, steps=100, learning_rate=1e-2, weight_decay=0.01)
    # What is chosen depends on the pair (0, 1), which both forms can see.
    data = comparisons(6, number=100)

    def value(sequences):
        return jnp.sum((sequences[:, 1:-1] == 0) & (sequences[:, 2:] == 1), axis=1) + 0.5 * (sequences == 2).sum(1)

    data = dataclasses.replace(data, labels=value(data.first.tokens) > value(data.second.tokens))

    def loss(parameters):
        scores = [models.model_scores(settings, parameters, one) for one in (data.first.tokens, data.second.tokens)]
        return choice_losses(scores[0] - scores[1], jnp.asarray(data.labels)).mean()

    keys = jax.random.split(jax.random.key(1), 2)
    fit = jax.jit(lambda key: models.fit(settings, key, data))
    batch = jax.jit(jax.vmap(lambda key: models.fit(settings, key, data)))(keys)
    for i in range(2):
        single = fit(keys[i])
        assert loss(single) < 0.5 * np.log(2)
        for mine, theirs in zip(jax.tree.leaves(single), jax.tree.leaves(batch), strict=True):
            np.testing.assert_allclose(mine, theirs[i], atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_neural_models_generalise(kind):
    model = models.RewardModelSettings(kind, width=16, steps=120)
    settings = TokenWorldSettings(pairs=1000, calibration_samples=4000, reward_model=model)
    measured = report(settings, make_world(settings, 0), 1, pairs=2000)
    assert np.all(measured.accuracy > 0.6)
    assert np.all(measured.attribute_correlation > 0.3)
    assert np.all(measured.calibration_error < 0.35)


@pytest.mark.slow
def test_more_and_cleaner_comparisons_make_better_linear_models():
    few = TokenWorldSettings(pairs=100, calibration_samples=4000)
    many = TokenWorldSettings(pairs=3000, label_noise=0.0, calibration_samples=4000)
    means = [np.mean([report(s, make_world(s, seed), 1, 2000).accuracy for seed in range(3)]) for s in (few, many)]
    assert means[1] > means[0] + 0.05


def test_bad_model_settings_are_refused():
    with pytest.raises(ValueError, match=r"linaer.*linear"):
        models.RewardModelSettings("linaer")
    with pytest.raises(ValueError, match=r"l2.*0"):
        models.RewardModelSettings(l2=0.0)
    with pytest.raises(ValueError, match=r"10.*3"):
        models.RewardModelSettings("transformer", width=10, heads=3)
    with pytest.raises(ValueError, match="steps"):
        models.RewardModelSettings("mlp", steps=0)
