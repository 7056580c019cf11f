"""Rewards of sequences that are sums over tokens: the model of Bradley and Terry, linear in counts, fitted exactly."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from prefront.preferences.comparisons import Comparisons
from prefront.preferences.items import Sequences
from prefront.preferences.models.base import RewardModel
from prefront.system.checks import check_positive

NEWTON_STEPS, CG_STEPS = 12, 200


@dataclasses.dataclass(frozen=True, eq=False)
class BigramReward(RewardModel):
    """Assumes people who add up what each token of a sequence is worth after the one before it.

    Linear in unigram and bigram counts, with the maximum of the penalised likelihood (Bradley and Terry, 1952), for
    which `prefront.exact.kl_regularised` knows the exact optimum. `fit_parameters` and `sequence_scores` are pure, so
    that a batch of fits, or a bootstrap, is one `jax.vmap`.

    Attributes:
        l2: Penalty l2/2 |w|^2 beside the summed loss; must be positive.
        table: What was learned, the score of each token (column) after each one, shape (V + 1, V); None before `fit`.
    """

    assumes: ClassVar[str] = "partial_return"
    result: ClassVar[str] = "table"
    l2: float = 1.0
    table: np.ndarray | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "l2")

    def fit(self, dataset: Comparisons[Sequences], key: jax.Array | int = 0) -> BigramReward:
        """Returns the model with the table of maximum likelihood."""
        weights = jnp.ones(len(dataset), jnp.float32)
        return dataclasses.replace(self, table=np.asarray(_compiled(dataset, weights, self.l2)))

    def scores(self, items: Sequences) -> np.ndarray:
        """Returns the sums of what tokens are worth, shape (n,)."""
        return np.asarray(self.sequence_scores(jnp.asarray(self.learned()), items.tokens, items.mask), np.float64)

    def sequence_scores(self, table: jax.Array, tokens: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Returns the scores of sequences (..., L + 1) by a table, shape (...); `mask` as in `Sequences`."""
        return _scores(table, tokens, mask)

    def fit_parameters(self, key: jax.Array, comparisons: Comparisons[Sequences], weights: jax.Array) -> jax.Array:
        """Returns the table that fits weighted answers, shape (V + 1, V); there is one, and the key is ignored."""
        return fit_bigrams(comparisons, weights, self.l2)


def fit_bigrams(comparisons: Comparisons[Sequences], weights: jax.Array, l2: Any) -> jax.Array:
    """Returns the table of the highest penalised likelihood, shape (V + 1, V); pure JAX.

    By Newton's method with conjugate gradients for its linear systems: no matrix of V^2 columns is ever built.

    Args:
        comparisons: n pairs of sequences and the answers.
        weights: Weight of each pair, shape (n,).
        l2: As in `BigramReward`.
    """
    labels, first, second = jnp.asarray(comparisons.labels), comparisons.first, comparisons.second
    dtype, pairs, vocabulary = labels.dtype, jnp.stack([first.tokens, second.tokens]), first.vocabulary
    mask = None if first.mask is None else jnp.stack([first.mask, second.mask])
    # A pair that begins with the start symbol is no bigram.
    is_bigram = (jnp.arange(vocabulary + 1) < vocabulary).astype(dtype)[:, None]

    # Unigram weights in row 0 and bigram weights below, in one array.
    def table(w: jax.Array) -> jax.Array:
        return w[0] + is_bigram * w[1:]

    def differences(w: jax.Array) -> jax.Array:
        one, other = _scores(table(w), pairs, mask)
        return one - other

    start = jnp.zeros((vocabulary + 2, vocabulary), dtype)
    summed = jax.linear_transpose(differences, start)
    fractions = jnp.append(0.5 ** jnp.arange(6), 0.0).astype(dtype)

    def newton(_: int, w: jax.Array) -> jax.Array:
        margin = differences(w)
        probability = jax.nn.sigmoid(margin)
        slope = summed(weights * (probability - labels))[0] + l2 * w
        curvature = weights * probability * (1 - probability)
        step, _info = jax.scipy.sparse.linalg.cg(
            lambda direction: summed(curvature * differences(direction))[0] + l2 * direction,
            slope,
            tol=1e-6,
            maxiter=CG_STEPS,
        )
        change = differences(step)

        # Where the slope along the step is least; near the optimum rounding makes all values of the loss alike.
        def slope_at(fraction: jax.Array) -> jax.Array:
            residual = jax.nn.sigmoid(margin - fraction * change) - labels
            return jnp.abs(jnp.sum(weights * residual * change) + l2 * jnp.sum((w - fraction * step) * step))

        return w - fractions[jnp.argmin(jax.lax.map(slope_at, fractions))] * step

    return table(jax.lax.fori_loop(0, NEWTON_STEPS, newton, start))


def _scores(table: jax.Array, tokens: jax.Array, mask: jax.Array | None) -> jax.Array:
    added = table[tokens[..., :-1], tokens[..., 1:]]
    return (added if mask is None else jnp.where(mask, added, 0.0)).sum(-1)


_compiled = jax.jit(fit_bigrams)
