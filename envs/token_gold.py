"""Gold evaluation of token sequences, and annotators who choose between sequences by a part of it.

Gold values K attributes, each a random nonlinear network, and dislikes repetition. Annotators compare by one attribute
each and never see repetition, so no reward model that is learned from them can. Sequences are int32 arrays of shape
(..., L + 1), the context first (`prefront.exact.kl_regularised`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prefront.preferences.choice import Choice, answer_probabilities
from prefront.preferences.comparisons import Comparisons
from prefront.preferences.items import Sequences
from prefront.preferences.teachers import Teacher, utility_margin

EMBEDDING, FILTERS, HIDDEN = 12, 64, 24
GAIN = 2.0
CHUNK = 2000


class TeacherNetworks(NamedTuple):
    """K random networks: embedding, convolution over neighbours, mean over positions, hidden layer, linear output.

    Attributes:
        embedding: Shape (K, V + 1, 12); row V is the start symbol.
        kernel: Weights of previous and next token, shape (K, 2, 12, 64).
        hidden: Shape (K, 64, 24).
        output: Shape (K, 24).
    """

    embedding: jax.Array
    kernel: jax.Array
    hidden: jax.Array
    output: jax.Array


class SequenceGold(NamedTuple):
    """What people truly want of a sequence.

    Attributes:
        networks: The K networks, before standardisation.
        mean: Their means under the reference policy, shape (K,).
        mixing: Matrix that makes their outputs K attributes of unit variance and the wanted correlations, shape (K, K).
        repetition_mean: Mean share of repeated bigrams under the reference policy.
        repetition_scale: Its standard deviation.
        unseen_weight: Weight of repetition in gold.
    """

    networks: TeacherNetworks
    mean: jax.Array
    mixing: jax.Array
    repetition_mean: jax.Array
    repetition_scale: jax.Array
    unseen_weight: jax.Array


def draw_networks(key: jax.Array, components: int, vocabulary: int) -> TeacherNetworks:
    """Draws K networks with Gaussian weights scaled by `GAIN` over the square root of a layer's inputs."""
    shapes = ((vocabulary + 1, EMBEDDING), (2, EMBEDDING, FILTERS), (FILTERS, HIDDEN), (HIDDEN,))
    scales = (1.0, GAIN / math.sqrt(2 * EMBEDDING), GAIN / math.sqrt(FILTERS), 1 / math.sqrt(HIDDEN))
    sizes = [math.prod(shape) for shape in shapes]
    # One draw for all layers: each further call of the generator would cost seconds of compilation.
    normal = jax.random.normal(key, (components, sum(sizes)))
    parts = jnp.split(normal, np.cumsum(sizes)[:-1], axis=1)
    return TeacherNetworks(
        *(scale * part.reshape(components, *shape) for part, shape, scale in zip(parts, shapes, scales, strict=True))
    )


def network_outputs(networks: TeacherNetworks, sequences: jax.Array) -> jax.Array:
    """Returns the raw outputs of the K networks, shape (..., K)."""

    def one_network(network: TeacherNetworks) -> jax.Array:
        # The convolution of width two is a sum of two table look-ups.
        previous, following = network.embedding @ network.kernel[0], network.embedding @ network.kernel[1]
        filters = jnp.tanh(previous[sequences[..., :-1]] + following[sequences[..., 1:]])
        pooled = filters.mean(-2) * jnp.sqrt(1.0 * filters.shape[-2])
        return jnp.tanh(pooled @ network.hidden) @ network.output

    return jnp.moveaxis(jax.vmap(one_network)(networks), 0, -1)


def repeated_bigram_share(sequences: jax.Array) -> jax.Array:
    """Returns the share of a sequence's bigrams that occurred in it before, shape (...); the context takes no part."""
    before, after = sequences[..., 1:-1], sequences[..., 2:]
    same = (before[..., :, None] == before[..., None, :]) & (after[..., :, None] == after[..., None, :])
    return jnp.any(jnp.tril(same, -1), axis=-1).mean(-1, dtype=jnp.float32)


def standardise_gold(
    networks: TeacherNetworks, correlation: jax.Array, unseen_weight: jax.Array | float, sequences: jax.Array
) -> SequenceGold:
    """Turns raw networks into gold attributes of mean 0, variance 1 and given correlations over reference sequences.

    The outputs are standardised and orthogonalised one after the other (Gram-Schmidt), then mixed by the Cholesky
    factor of the correlation matrix: with two attributes g1 = u1 and g2 = rho u1 + sqrt(1 - rho^2) u2.

    Args:
        networks: K raw networks.
        correlation: Positive definite correlation matrix, shape (K, K).
        unseen_weight: Weight of the standardised repetition in gold.
        sequences: Draws from the reference policy, shape (n, L + 1).

    Returns:
        The gold evaluation.
    """
    outputs = jax.lax.map(lambda one: network_outputs(networks, one), sequences, batch_size=CHUNK)
    repetition = jax.lax.map(repeated_bigram_share, sequences, batch_size=CHUNK)
    mean = outputs.mean(0)
    centred = outputs - mean
    factor = jnp.linalg.cholesky(centred.T @ centred / sequences.shape[0])
    whitening = jax.scipy.linalg.solve_triangular(factor, jnp.eye(factor.shape[0], dtype=factor.dtype), lower=True)
    mixing = jnp.linalg.cholesky(jnp.asarray(correlation, factor.dtype)) @ whitening
    # Where every sequence repeats equally much the term is constant, and stays 0.
    spread = repetition.std()
    return SequenceGold(
        networks, mean, mixing, repetition.mean(), jnp.where(spread > 0, spread, 1.0), jnp.float32(unseen_weight)
    )


def gold_attributes(gold: SequenceGold, sequences: jax.Array) -> jax.Array:
    """Returns the K attributes that annotators compare by, shape (..., K)."""
    return (network_outputs(gold.networks, sequences) - gold.mean) @ gold.mixing.T


def gold_value(gold: SequenceGold, sequences: jax.Array) -> jax.Array:
    """Returns the gold value, shape (...): mean attribute minus weighted repetition, which nobody annotates."""
    repetition = (repeated_bigram_share(sequences) - gold.repetition_mean) / gold.repetition_scale
    return gold_attributes(gold, sequences).mean(-1) - gold.unseen_weight * repetition


def compare(
    key: jax.Array,
    gold: SequenceGold,
    first: jax.Array,
    second: jax.Array,
    rationality: jax.Array | float,
    label_noise: jax.Array | float,
) -> Comparisons[Sequences]:
    """Asks annotator k about n pairs, for each of the K attributes.

    Args:
        key: Random key.
        gold: Whose attributes are compared.
        first: Shape (K, n, L + 1).
        second: Shape (K, n, L + 1).
        rationality: Inverse temperature per standard deviation.
        label_noise: Rate of mistakes in [0, 0.5).

    Returns:
        Comparisons with leading axis K, for compiled programs.
    """
    every = gold_attributes(gold, jnp.stack([first, second]))
    own = jnp.arange(first.shape[0])
    liked, other = every[0][own, :, own], every[1][own, :, own]
    probability = answer_probabilities(liked - other, rationality, mistakes=label_noise)[..., 2]
    chosen = jax.random.uniform(key, probability.shape) < probability
    components, vocabulary = first.shape[0], gold.networks.embedding.shape[-2] - 1
    left, right = (Sequences(tokens, vocabulary=vocabulary) for tokens in (first, second))
    person = jnp.broadcast_to(own[:, None], chosen.shape)
    return Comparisons(left, right, chosen.astype(jnp.float32), person, annotator_names(components))


def annotator_names(components: int) -> tuple[str, ...]:
    """Returns the names of the K annotators."""
    return tuple(f"annotator {k + 1}" for k in range(components))


def annotators(gold: SequenceGold, rationality: float, label_noise: float) -> Teacher:
    """Returns the annotators whom `compare` asks as one teacher of K persons, to be asked about any sequences.

    One who knows the whole gold value, as no annotator does, is `Teacher(utility_margin(score))` by a score of
    `gold_value`.

    Args:
        gold: Whose attributes are compared.
        rationality: Inverse temperature per standard deviation.
        label_noise: Rate of mistakes in [0, 0.5).

    Raises:
        ValueError: By the teacher, where sequences have a mask.
    """

    def score(sequences: Sequences, person: np.ndarray) -> np.ndarray:
        if sequences.mask is not None:
            raise ValueError("Annotators judge whole sequences, got some with a mask.")
        return np.asarray(gold_attributes(gold, sequences.tokens))[np.arange(len(person)), person]

    names = annotator_names(gold.mixing.shape[0])
    return Teacher(utility_margin(score), Choice(rationality, label_noise), names)
