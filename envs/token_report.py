"""How good the reward models of a token world are, on fresh pairs that its annotators judge."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from prefront.envs.token_gold import gold_attributes
from prefront.envs.token_task import TokenTask, sample_pairs
from prefront.preferences.choice import answer_probabilities

CALIBRATION_BINS = 10


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


@partial(jax.jit, static_argnames="pairs")
def report(task: TokenTask, seed: int, pairs: int = 5000) -> ModelReport:
    """Measures the reward models of a world on fresh pairs of reference sequences.

    Args:
        task: The world.
        seed: Seed of the pairs.
        pairs: Held-out pairs per model.

    Returns:
        Accuracy, correlations and calibration error.
    """
    components = task.models.scale.shape[0]
    first, second = sample_pairs(jax.random.key(seed), task.reference, task.length, (components, pairs))
    own = jnp.arange(components)
    rewards, attributes = task.rewards(first), gold_attributes(task.evaluation, first)[own, :, own]
    others = gold_attributes(task.evaluation, second)[own, :, own]
    predicted = ((rewards - task.rewards(second)) * task.models.scale)[own, :, own]
    true = answer_probabilities(attributes - others, task.rationality, mistakes=task.label_noise)[..., 2]
    return ModelReport(
        jnp.mean((predicted > 0) == (attributes > others), axis=1),
        jax.vmap(_pearson)(rewards[own, :, own], attributes),
        jax.vmap(_pearson)(rewards[own, :, own], task.gold(first)),
        jax.vmap(_calibration_error)(jax.nn.sigmoid(predicted), true),
        jnp.corrcoef(rewards.reshape(-1, components), rowvar=False).reshape(2 * (components,)),
    )


def _pearson(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.corrcoef(a, b)[0, 1]


def _calibration_error(predicted: jax.Array, true: jax.Array) -> jax.Array:
    bins = jnp.clip((predicted * CALIBRATION_BINS).astype(jnp.int32), 0, CALIBRATION_BINS - 1)
    gaps = jax.ops.segment_sum(predicted - true, bins, num_segments=CALIBRATION_BINS)
    return jnp.abs(gaps).sum() / predicted.shape[0]
