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
from prefront.preferences.models.base import NotFittedError
from prefront.preferences.models.bigram import BigramReward, fit_bigrams
from prefront.preferences.models.fitting import choice_losses, cosine
from prefront.preferences.models.sequence_networks import SequencePerceptron, SequenceTransformer
from prefront.preferences.models.sequences import RewardModelSettings

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
    table = fit_bigrams(data, jnp.asarray(weights, jnp.float32), l2)
    fresh = comparisons(3, prompts=prompts).first
    np.testing.assert_allclose(BigramReward(table=table).scores(fresh), counts(fresh.tokens) @ exact, atol=1e-4)


def test_linear_fit_beyond_any_rounding_stays_finite():
    data = comparisons(4, number=3)
    model = BigramReward(l2=1e-4).fit(data)
    assert np.isfinite(model.learned()).all()
    assert np.array_equal(model.margin(data.first, data.second) > 0, data.labels > 0.5)


def test_the_transformer_is_causal_up_to_its_mean_and_sees_order():
    data = comparisons(5)
    model = SequenceTransformer(width=8, descent=cosine(steps=1)).fit(data)
    forward = data.first[:4]
    backward = dataclasses.replace(forward, tokens=np.concatenate([forward.tokens[:, :1], forward.tokens[:, :0:-1]], 1))
    assert not np.allclose(model.scores(forward), model.scores(backward))


def liked(sequences):
    """A taste for the pair (0, 1) and the token 2, which all forms can see."""
    written = sequences.mask if sequences.mask is not None else np.ones((len(sequences), L), bool)
    tokens = np.where(written, sequences.tokens[:, 1:], -1)
    return ((tokens[:, :-1] == 0) & (tokens[:, 1:] == 1)).sum(1) + 0.5 * (tokens == 2).sum(1)


MODELS = [
    BigramReward(l2=0.1),
    SequencePerceptron(width=8, members=2, descent=cosine(3e-2, 150, 0.1)),
    SequenceTransformer(width=8, members=2, descent=cosine(3e-2, 150, 0.1)),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_models_of_sequences_learn_a_taste_and_see_no_padding(model):
    rng = np.random.default_rng(7)
    mask = np.arange(L) < rng.integers(3, L + 1, (2, 500, 1))
    tokens = np.concatenate([np.full((2, 500, 1), V), rng.integers(0, V, (2, 500, L))], 2)
    first, second = (Sequences(*side, vocabulary=V) for side in zip(tokens, mask, strict=True))
    margin = liked(first) - liked(second)
    answers = Comparisons(first, second, np.where(margin == 0, 0.5, margin > 0))
    fitted = model.fit(answers[:400], 1)
    found, scores = fitted.margin(first, second), fitted.scores(first)
    strict = np.flatnonzero(margin[400:]) + 400
    assert (np.sign(found) == np.sign(margin))[strict].mean() > 0.85
    np.testing.assert_allclose(found, scores - fitted.scores(second), atol=1e-4)
    spoilt = np.where(np.pad(mask[0], ((0, 0), (1, 0)), constant_values=True), tokens[0], (tokens[0] + 1) % V)
    assert np.array_equal(fitted.scores(dataclasses.replace(first, tokens=spoilt)), scores)
    with pytest.raises(NotFittedError, match=type(model).__name__):
        model.scores(first)


@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_neural_fits_lower_the_loss_and_vmap_equals_one_by_one(kind):
    model = RewardModelSettings(kind, width=8, steps=100, learning_rate=1e-2, weight_decay=0.01).model()
    data = comparisons(6, number=100)
    data = dataclasses.replace(data, labels=liked(data.first) > liked(data.second))

    def loss(parameters):
        margins = model.margins(parameters, data.first, data.second)
        return choice_losses(margins, jnp.asarray(data.labels)).mean()

    keys = jax.random.split(jax.random.key(1), 2)
    fit = jax.jit(lambda key: model.fit_parameters(key, data, jnp.ones(100)))
    batch = jax.jit(jax.vmap(lambda key: model.fit_parameters(key, data, jnp.ones(100))))(keys)
    for i in range(2):
        single = fit(keys[i])
        assert loss(single) < 0.5 * np.log(2)
        for mine, theirs in zip(jax.tree.leaves(single), jax.tree.leaves(batch), strict=True):
            np.testing.assert_allclose(mine, theirs[i], atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_neural_models_generalise(kind):
    model = RewardModelSettings(kind, width=16, steps=120)
    settings = TokenWorldSettings(pairs=1000, calibration_samples=4000, reward_model=model)
    measured = report(make_world(settings, 0), 1, pairs=2000)
    assert np.all(measured.accuracy > 0.6)
    assert np.all(measured.attribute_correlation > 0.3)
    assert np.all(measured.calibration_error < 0.35)


@pytest.mark.slow
def test_more_and_cleaner_comparisons_make_better_linear_models():
    few = TokenWorldSettings(pairs=100, calibration_samples=4000)
    many = TokenWorldSettings(pairs=3000, label_noise=0.0, calibration_samples=4000)
    means = [np.mean([report(make_world(s, seed), 1, 2000).accuracy for seed in range(3)]) for s in (few, many)]
    assert means[1] > means[0] + 0.05


def test_bad_model_settings_are_refused():
    with pytest.raises(ValueError, match=r"linaer.*linear"):
        RewardModelSettings("linaer")
    with pytest.raises(ValueError, match=r"l2.*0"):
        RewardModelSettings(l2=0.0)
    with pytest.raises(ValueError, match=r"10.*3"):
        RewardModelSettings("transformer", width=10, heads=3)
    with pytest.raises(ValueError, match="steps"):
        RewardModelSettings("mlp", steps=0)
