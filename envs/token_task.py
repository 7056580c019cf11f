"""Made worlds of token sequences: a reference policy, annotators, and reward models learned from their choices."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prefront.envs.token_gold import (
    SequenceGold,
    TeacherNetworks,
    compare,
    draw_networks,
    gold_attributes,
    gold_value,
    standardise_gold,
)
from prefront.exact.kl_regularised import MarkovReference, reference_policy, reward_moments, sample
from prefront.preferences.choice import answer_probabilities
from prefront.preferences.comparisons import Comparisons
from prefront.preferences.items import Sequences
from prefront.preferences.models.sequences import (
    RewardModels,
    RewardModelSettings,
    check_models,
    fit,
    model_rewards,
    standardise,
)
from prefront.system.checks import MANY, check_between, check_least, check_most, check_types
from prefront.system.compilation import jit

CONCENTRATION, UNIFORM_SHARE = 0.3, 0.1
CALIBRATION_BINS = 10
MAX_COMPONENTS = 9
LARGEST = 4096

Correlation = float | tuple[tuple[float, ...], ...]


@dataclasses.dataclass(frozen=True)
class TokenWorldSettings:
    """What a world of token sequences is made of.

    Attributes:
        vocabulary: Number of tokens V, 2 to 4096.
        length: Tokens per sequence L, 2 to 4096.
        components: Number of gold attributes, annotators and reward models K, 1 to 9.
        correlation: Correlation of the gold attributes under the reference policy: one number for every pair, in
            (-1, 1), or a positive definite correlation matrix.
        pairs: Comparisons that each reward model learns from.
        label_noise: Rate at which answers are turned around, in [0, 0.5).
        rationality: Inverse temperature of the annotators per standard deviation of their attribute, at least 0.
        unseen_weight: Weight in gold of repetition, which no annotator sees, at least 0.
        prompts: Number of prompts; the first token of a sequence's context is drawn uniformly from the tokens 0 to
            prompts - 1. With 0 every sequence begins at the start symbol.
        per_token: Whether the reward arrives token by token instead of at the end of the sequence.
        calibration_samples: Reference sequences on which gold and nonlinear models are standardised.
        reward_model: Form and fit of the reward models.
    """

    vocabulary: int = 16
    length: int = 12
    components: int = 2
    correlation: Correlation = 0.0
    pairs: int = 500
    label_noise: float = 0.1
    rationality: float = 3.0
    unseen_weight: float = 0.5
    prompts: int = 0
    per_token: bool = False
    calibration_samples: int = 20_000
    reward_model: RewardModelSettings = dataclasses.field(default_factory=RewardModelSettings)

    def __post_init__(self) -> None:
        check_types(self)
        check_least(self, 2, "vocabulary", "length")
        check_most(self, LARGEST, "vocabulary", "length")
        check_least(self, 1, "pairs")
        check_least(self, 100, "calibration_samples")
        check_most(self, MANY, "pairs", "calibration_samples")
        if not 1 <= self.components <= MAX_COMPONENTS:
            raise ValueError(f"components must lie in 1 to {MAX_COMPONENTS}, got {self.components}.")
        if not 0 <= self.prompts <= self.vocabulary:
            raise ValueError(f"prompts must lie in 0 to vocabulary = {self.vocabulary}, got {self.prompts}.")
        check_between(self, 0, 0.5, "label_noise", closed="left")
        check_least(self, 0, "rationality", "unseen_weight")
        check_most(self, MANY, "rationality", "unseen_weight")
        if self.per_token and self.reward_model.kind != "linear":
            raise ValueError(f'per_token needs a "linear" reward model; "{self.reward_model.kind}" has no increments.')
        correlation_matrix(self.correlation, self.components)


class World(NamedTuple):
    """A made world, a pytree: the parameters of `prefront.envs.token_world.TokenWorld`.

    Attributes:
        reference: The reference policy.
        models: The K standardised reward models: all that rewards depend on.
        gold: The gold evaluation, for judging only.
        comparisons: What the models were fitted to, with leading axis K.
    """

    reference: MarkovReference
    models: RewardModels
    gold: SequenceGold
    comparisons: Comparisons[Sequences]


class ModelReport(NamedTuple):
    """How good K reward models are on held-out pairs of reference sequences, each of shape (K,).

    Attributes:
        accuracy: Share of pairs ranked as a noiseless annotator would.
        attribute_correlation: Pearson correlation with the gold attribute.
        gold_correlation: Pearson correlation with the whole gold value.
        calibration_error: Expected calibration error over 10 equal bins: mean distance between the predicted
            probability that the first is chosen and the annotator's own, mistakes included.
        model_correlation: Correlation matrix of the models' rewards, shape (K, K).
    """

    accuracy: jax.Array
    attribute_correlation: jax.Array
    gold_correlation: jax.Array
    calibration_error: jax.Array
    model_correlation: jax.Array


def correlation_matrix(correlation: Any, components: int) -> np.ndarray:
    """Returns the correlation matrix of K attributes, checked.

    Args:
        correlation: One number for every pair, or a matrix.
        components: K.

    Returns:
        Shape (K, K), float64.

    Raises:
        ValueError: A correlation lies outside (-1, 1), or the matrix has the wrong shape, is not symmetric with ones on
            its diagonal, or not positive definite; the message names the value or the smallest eigenvalue.
    """
    given = np.asarray(correlation, np.float64)
    if given.ndim == 0:
        if not -1 < given < 1:
            raise ValueError(f"correlation must lie in (-1, 1), got {correlation}.")
        matrix = np.where(np.eye(components, dtype=bool), 1.0, given)
    else:
        matrix = given
    if matrix.shape != (components, components):
        raise ValueError(f"{components} components need a {components} x {components} matrix, got {matrix.shape}.")
    if not (np.array_equal(matrix, matrix.T) and np.array_equal(np.diag(matrix), np.ones(components))):
        raise ValueError(f"A correlation matrix is symmetric with ones on its diagonal, got {matrix.tolist()}.")
    smallest = np.linalg.eigvalsh(matrix)[0]
    if not smallest > 1e-6:
        raise ValueError(
            f"The correlation matrix must be positive definite; its smallest eigenvalue is {smallest:.4g}."
        )
    return matrix


def make_world(
    settings: TokenWorldSettings,
    key: jax.Array | int,
    correlation: Any = None,
    label_noise: Any = None,
    rationality: Any = None,
    unseen_weight: Any = None,
) -> World:
    """Makes a world; a pure function of the key and the numbers, so that `jax.vmap` makes a batch of worlds.

    Args:
        settings: Fixes all shapes, and the numbers that are not given.
        key: Random key, or a seed. Worlds of one key differ in nothing but what the numbers change.
        correlation: Replaces that of the settings: a number, or a matrix of shape (K, K).
        label_noise: Replaces that of the settings.
        rationality: Replaces that of the settings.
        unseen_weight: Replaces that of the settings.

    Returns:
        The world.

    Raises:
        ValueError: A concrete number lies outside its range; traced numbers cannot be checked.
        TrainingFailure: A reward model is not finite.
    """
    given = {
        name: value
        for name, value in (
            ("correlation", correlation),
            ("label_noise", label_noise),
            ("rationality", rationality),
            ("unseen_weight", unseen_weight),
        )
        if value is not None
    }
    concrete: dict[str, Any] = {
        name: _as_setting(value) for name, value in given.items() if not isinstance(value, jax.core.Tracer)
    }
    settings = dataclasses.replace(settings, **concrete)
    matrix = given.get("correlation") if "correlation" not in concrete else None
    if matrix is None:
        matrix = correlation_matrix(settings.correlation, settings.components)
    elif jnp.ndim(matrix) == 0:
        matrix = jnp.where(jnp.eye(settings.components, dtype=bool), 1.0, matrix)
    numbers = {
        name: given.get(name, getattr(settings, name)) for name in ("label_noise", "rationality", "unseen_weight")
    }
    # The numbers are traced arguments below: worlds that differ in them alone share one compiled program.
    shapes = dataclasses.replace(
        settings, correlation=0.0, label_noise=0.0, rationality=1.0, unseen_weight=0.0, per_token=False
    )
    key = jax.random.key(key) if isinstance(key, int) else key
    given = {name: _float32(value) for name, value in numbers.items()}
    world: World = _learn(shapes, _draw_world(shapes, key), _float32(matrix), **given)
    check_models(world.models)
    return world


class _Drawn(NamedTuple):
    """What a world is made from, and the keys of what is learned."""

    reference: MarkovReference
    networks: TeacherNetworks
    pairs: tuple[jax.Array, jax.Array]
    keys: jax.Array


# It runs for milliseconds however it is compiled, and a sampler of Dirichlet variables takes seconds to compile well.
@partial(jit, level=0, fusion_emitters=False, static_argnames="settings")
def _draw_world(settings: TokenWorldSettings, key: jax.Array) -> _Drawn:
    for_reference, for_networks, for_samples, for_pairs, for_choices, for_fit = jax.random.split(key, 6)
    reference = draw_reference(for_reference, settings.vocabulary, settings.prompts)
    networks = draw_networks(for_networks, settings.components, settings.vocabulary)
    pairs = sample_pairs(for_pairs, reference, settings, settings.pairs)
    return _Drawn(reference, networks, pairs, jnp.stack([for_samples, for_choices, for_fit]))


@partial(jit, fusion_emitters=False, static_argnames="settings")
def _learn(
    settings: TokenWorldSettings,
    drawn: _Drawn,
    matrix: jax.Array,
    label_noise: jax.Array,
    rationality: jax.Array,
    unseen_weight: jax.Array,
) -> World:
    reference, networks, pairs, (for_samples, for_choices, for_fit) = drawn
    policy = reference_policy(reference, settings.length)
    calibration = sample(for_samples, reference.initial, policy, settings.calibration_samples)
    gold = standardise_gold(networks, matrix, unseen_weight, calibration)
    comparisons = compare(for_choices, gold, *pairs, rationality, label_noise)
    model = settings.reward_model
    parameters = jax.lax.map(
        lambda one: fit(model, *one),
        (jax.random.split(for_fit, settings.components), comparisons),
    )
    if model.kind == "linear":
        mean, scale = jax.lax.map(lambda table: reward_moments(reference, table, settings.length), parameters)
        models = RewardModels(parameters, mean, scale)
    else:
        models = standardise(model, parameters, calibration)
    return World(reference, models, gold, comparisons)


def draw_reference(key: jax.Array, vocabulary: int, prompts: int) -> MarkovReference:
    """Draws a bigram reference policy: rows 0.9 Dirichlet(0.3) + 0.1 / V; after the start symbol uniform."""
    rows = jax.random.dirichlet(key, jnp.full(vocabulary, CONCENTRATION), (vocabulary,))
    rows = (1 - UNIFORM_SHARE) * rows + UNIFORM_SHARE / vocabulary
    transitions = jnp.concatenate([rows, jnp.full((1, vocabulary), 1 / vocabulary)])
    index = jnp.arange(vocabulary + 1)
    initial = (index == vocabulary) if prompts == 0 else (index < prompts) / prompts
    return MarkovReference(initial.astype(jnp.float32), jnp.log(transitions))


def sample_pairs(
    key: jax.Array, reference: MarkovReference, settings: TokenWorldSettings, number: int
) -> tuple[jax.Array, jax.Array]:
    """Draws pairs of reference sequences that share their context, for each model: twice shape (K, number, L + 1)."""
    for_first, for_second = jax.random.split(key)
    policy = reference_policy(reference, settings.length)
    total = settings.components * number
    first = sample(for_first, reference.initial, policy, total)
    # Both answers of a pair belong to one prompt.
    second = sample(for_second, reference.initial, policy, total, first[:, 0])
    shape = (settings.components, number, settings.length + 1)
    return first.reshape(shape), second.reshape(shape)


def gold(world: World, sequences: jax.Array) -> jax.Array:
    """Returns the gold value of sequences (..., L + 1), shape (...): for judging, never for training."""
    return gold_value(world.gold, sequences)


def report(
    settings: TokenWorldSettings,
    world: World,
    key: jax.Array | int,
    pairs: int = 5000,
    rationality: Any = None,
    label_noise: Any = None,
) -> ModelReport:
    """Measures the reward models of a world on fresh pairs of reference sequences.

    Args:
        settings: The world's settings.
        world: The world.
        key: Random key, or a seed.
        pairs: Held-out pairs per model.
        rationality: That of the annotators, if other than in the settings.
        label_noise: Their rate of mistakes, if other than in the settings.

    Returns:
        Accuracy, correlations and calibration error.
    """
    key = jax.random.key(key) if isinstance(key, int) else key
    rationality = settings.rationality if rationality is None else rationality
    label_noise = settings.label_noise if label_noise is None else label_noise
    return _report(settings, world, key, pairs, rationality, label_noise)


@partial(jax.jit, static_argnames=("settings", "pairs"))
def _report(
    settings: TokenWorldSettings,
    world: World,
    key: jax.Array,
    pairs: int,
    rationality: jax.Array,
    label_noise: jax.Array,
) -> ModelReport:
    first, second = sample_pairs(key, world.reference, settings, pairs)
    rewards, attributes, golds = _judge(settings, world, first)
    other_rewards, other_attributes, _ = _judge(settings, world, second)
    own = jnp.arange(settings.components)
    liked, other = attributes[own, :, own], other_attributes[own, :, own]
    predicted = ((rewards - other_rewards) * world.models.scale)[own, :, own]
    true = answer_probabilities(liked - other, rationality, mistakes=label_noise)[..., 2]
    return ModelReport(
        jnp.mean((predicted > 0) == (liked > other), axis=1),
        jax.vmap(_pearson)(rewards[own, :, own], attributes[own, :, own]),
        jax.vmap(_pearson)(rewards[own, :, own], golds),
        jax.vmap(_calibration_error)(jax.nn.sigmoid(predicted), true),
        jnp.corrcoef(rewards.reshape(-1, settings.components), rowvar=False).reshape(2 * (settings.components,)),
    )


def _judge(settings: TokenWorldSettings, world: World, sequences: jax.Array) -> tuple[jax.Array, ...]:
    return (
        model_rewards(settings.reward_model, world.models, sequences),
        gold_attributes(world.gold, sequences),
        gold_value(world.gold, sequences),
    )


def _pearson(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.corrcoef(a, b)[0, 1]


def _calibration_error(predicted: jax.Array, true: jax.Array) -> jax.Array:
    bins = jnp.clip((predicted * CALIBRATION_BINS).astype(jnp.int32), 0, CALIBRATION_BINS - 1)
    gaps = jax.ops.segment_sum(predicted - true, bins, num_segments=CALIBRATION_BINS)
    return jnp.abs(gaps).sum() / predicted.shape[0]


def _float32(number: Any) -> Any:
    # On the host, where no program needs to be compiled for it.
    return number.astype(jnp.float32) if isinstance(number, jax.Array) else np.asarray(number, np.float32)


def _as_setting(number: Any) -> Correlation:
    array = np.asarray(number, np.float64)
    return float(array) if array.ndim == 0 else tuple(tuple(float(one) for one in row) for row in array)
