"""Reward models of token sequences, learned from comparisons by maximum likelihood (Bradley and Terry, 1952).

Three forms share one interface: "linear" in unigram and bigram counts, for which `prefront.exact.kl_regularised` knows
the exact optimum, and "mlp" and "transformer", for which nobody does. All functions are pure; a batch of models is one
`jax.vmap` over keys and comparisons.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prefront.exact.kl_regularised import CountRewards
from prefront.preferences.comparisons import Comparisons
from prefront.preferences.items import Sequences
from prefront.preferences.models.fitting import Descent, choice_losses, descend
from prefront.system.checks import check_least, check_names, check_positive, check_types
from prefront.system.failures import TrainingFailure, not_finite

NEWTON_STEPS, CG_STEPS = 12, 200
CHUNK = 2000


@dataclasses.dataclass(frozen=True)
class RewardModelSettings:
    """The form of a reward model and how it is fitted.

    Attributes:
        kind: "linear", "mlp" or "transformer".
        l2: Penalty l2/2 |w|^2 beside the summed loss of a linear model; must be positive.
        width: Embedding width of the mlp and transformer.
        layers: Transformer blocks.
        heads: Attention heads; must divide `width`.
        steps: Full-batch AdamW steps of the mlp and transformer.
        learning_rate: Its peak step size, which decays to 0 along a cosine.
        weight_decay: Its decoupled weight decay.
    """

    kind: str = "linear"
    l2: float = 1.0
    width: int = 32
    layers: int = 1
    heads: int = 2
    steps: int = 200
    learning_rate: float = 3e-3
    weight_decay: float = 1.0

    def __post_init__(self) -> None:
        check_types(self)
        check_names("reward model", [self.kind], list(KINDS))
        check_positive(self, "l2", "learning_rate")
        check_least(self, 0, "weight_decay")
        check_least(self, 1, "width", "layers", "heads", "steps")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}.")


class RewardModels(NamedTuple):
    """K fitted models, standardised under the reference policy.

    Attributes:
        parameters: Those of the form, with leading axis K.
        mean: Mean raw score under the reference policy, shape (K,).
        scale: Its standard deviation, shape (K,).
    """

    parameters: Any
    mean: jax.Array
    scale: jax.Array


def model_scores(settings: RewardModelSettings, parameters: Any, sequences: jax.Array) -> jax.Array:
    """Returns the raw scores of one model for sequences (..., L + 1), shape (...)."""
    return KINDS[settings.kind].score(settings, parameters, sequences)


def model_rewards(settings: RewardModelSettings, models: RewardModels, sequences: jax.Array) -> jax.Array:
    """Returns the standardised rewards of K models for sequences (..., L + 1), shape (..., K)."""
    raw = jax.vmap(lambda one: model_scores(settings, one, sequences))(models.parameters)
    return (jnp.moveaxis(raw, 0, -1) - models.mean) / models.scale


def linear_rewards(models: RewardModels) -> CountRewards:
    """Returns K standardised linear models in the form of the exact solvers."""
    return CountRewards(models.parameters / models.scale[:, None, None], -models.mean / models.scale)


def fit(
    settings: RewardModelSettings,
    key: jax.Array,
    comparisons: Comparisons[Sequences],
    weights: jax.Array | None = None,
) -> Any:
    """Fits one model to n comparisons by maximum likelihood of its choices.

    Args:
        settings: Form and fit.
        key: Random key of the initialisation; the linear form has one answer and ignores it.
        comparisons: n pairs of sequences and the answers, whoever gave them.
        weights: Weight of each pair, shape (n,), such as the counts of a bootstrap; ones by default.

    Returns:
        The model's parameters; for the linear form its score table, shape (V + 1, V).
    """
    weights = jnp.ones_like(_choice(comparisons)) if weights is None else weights
    return KINDS[settings.kind].fit(settings, key, comparisons, weights)


def standardise(settings: RewardModelSettings, parameters: Any, sequences: jax.Array) -> RewardModels:
    """Standardises K fitted models over sequences drawn from the reference policy, shape (n, L + 1)."""

    def moments(one: Any) -> tuple[jax.Array, jax.Array]:
        scores = jax.lax.map(lambda sequence: model_scores(settings, one, sequence), sequences, batch_size=CHUNK)
        return scores.mean(), scores.std()

    mean, scale = jax.lax.map(moments, parameters)
    return RewardModels(parameters, mean, scale)


def check_models(models: RewardModels) -> RewardModels:
    """Refuses models that pay something that is not finite; inside a compiled program they cannot be checked.

    Raises:
        TrainingFailure: A parameter, mean or scale is not finite, or a scale is 0, as where a model scores all
            sequences alike; the message names the model.
    """
    if isinstance(models.scale, jax.core.Tracer):
        return models
    axes = np.ndim(models.scale)
    rows = jax.tree.map(lambda leaf: np.reshape(leaf, (-1, *np.shape(leaf)[axes:])), models)
    for quantity, bad in (
        ("parameter", not_finite(rows.parameters)),
        ("mean or scale", not_finite((rows.mean, rows.scale))),
        ("reward, divided by a scale of 0,", rows.scale == 0),
    ):
        if bad.any():
            raise TrainingFailure(quantity, int(np.flatnonzero(bad)[0]), "reward model", 0, "the fit")
    return models


def _choice(comparisons: Comparisons[Sequences]) -> jax.Array:
    return jnp.asarray(comparisons.labels)


def _linear_score(settings: RewardModelSettings, table: jax.Array, sequences: jax.Array) -> jax.Array:
    return table[sequences[..., :-1], sequences[..., 1:]].sum(-1)


def _linear_fit(
    settings: RewardModelSettings,
    key: jax.Array,
    comparisons: Comparisons[Sequences],
    weights: jax.Array,
) -> jax.Array:
    """Newton's method with conjugate gradients for its linear systems: no matrix of V^2 columns is ever built."""
    choice, vocabulary = _choice(comparisons), comparisons.first.vocabulary
    dtype, pairs = choice.dtype, jnp.stack([comparisons.first.tokens, comparisons.second.tokens])
    # A pair that begins with the start symbol is no bigram.
    is_bigram = (jnp.arange(vocabulary + 1) < vocabulary).astype(dtype)[:, None]

    # Unigram weights in row 0 and bigram weights below, in one array.
    def table(w: jax.Array) -> jax.Array:
        return w[0] + is_bigram * w[1:]

    def differences(w: jax.Array) -> jax.Array:
        first, second = _linear_score(settings, table(w), pairs)
        return first - second

    start = jnp.zeros((vocabulary + 2, vocabulary), dtype)
    summed = jax.linear_transpose(differences, start)
    fractions = jnp.append(0.5 ** jnp.arange(6), 0.0).astype(dtype)

    def newton(_: int, w: jax.Array) -> jax.Array:
        margin = differences(w)
        probability = jax.nn.sigmoid(margin)
        slope = summed(weights * (probability - choice))[0] + settings.l2 * w
        curvature = weights * probability * (1 - probability)
        step, _info = jax.scipy.sparse.linalg.cg(
            lambda direction: summed(curvature * differences(direction))[0] + settings.l2 * direction,
            slope,
            tol=1e-6,
            maxiter=CG_STEPS,
        )
        change = differences(step)

        # Where the slope along the step is least; near the optimum rounding makes all values of the loss alike.
        def slope_at(fraction: jax.Array) -> jax.Array:
            residual = jax.nn.sigmoid(margin - fraction * change) - choice
            return jnp.abs(jnp.sum(weights * residual * change) + settings.l2 * jnp.sum((w - fraction * step) * step))

        return w - fractions[jnp.argmin(jax.lax.map(slope_at, fractions))] * step

    return table(jax.lax.fori_loop(0, NEWTON_STEPS, newton, start))


def _mlp_initial(settings: RewardModelSettings, key: jax.Array, vocabulary: int, length: int) -> dict[str, jax.Array]:
    width, keys = settings.width, jax.random.split(key, 4)
    normal = jax.random.normal
    return {
        "previous": normal(keys[0], (vocabulary + 1, width)) / jnp.sqrt(2.0),
        "following": normal(keys[1], (vocabulary, width)) / jnp.sqrt(2.0),
        "hidden": normal(keys[2], (width, width)) / jnp.sqrt(1.0 * width),
        "bias": jnp.zeros(width),
        "output": normal(keys[3], (width,)) / jnp.sqrt(1.0 * width),
    }


def _mlp_score(settings: RewardModelSettings, p: dict[str, jax.Array], sequences: jax.Array) -> jax.Array:
    pairs = jnp.tanh(p["previous"][sequences[..., :-1]] + p["following"][sequences[..., 1:]])
    pooled = pairs.mean(-2) * jnp.sqrt(1.0 * pairs.shape[-2])
    return jnp.tanh(pooled @ p["hidden"] + p["bias"]) @ p["output"]


def _transformer_initial(
    settings: RewardModelSettings, key: jax.Array, vocabulary: int, length: int
) -> dict[str, jax.Array]:
    width, layers = settings.width, settings.layers
    keys = jax.random.split(key, 7)

    def matrix(key: jax.Array, inputs: int, outputs: int) -> jax.Array:
        return jax.random.normal(key, (layers, inputs, outputs)) / jnp.sqrt(1.0 * inputs)

    return {
        "token": jax.random.normal(keys[0], (vocabulary + 1, width)),
        "position": 0.1 * jax.random.normal(keys[1], (length + 1, width)),
        "attention": matrix(keys[2], width, 3 * width),
        "mix": matrix(keys[3], width, width),
        "up": matrix(keys[4], width, 2 * width),
        "down": matrix(keys[5], 2 * width, width),
        "output": jax.random.normal(keys[6], (width,)) / jnp.sqrt(1.0 * width),
    }


def _transformer_score(settings: RewardModelSettings, p: dict[str, jax.Array], sequences: jax.Array) -> jax.Array:
    """A causal transformer whose last layer is averaged over positions."""
    positions = sequences.shape[-1]
    causal = jnp.tril(jnp.ones((positions, positions), bool))
    x = p["token"][sequences] + p["position"]

    def block(x: jax.Array, layer: dict[str, jax.Array]) -> tuple[jax.Array, None]:
        heads = (*x.shape[:-1], settings.heads, settings.width // settings.heads)
        query, key, value = (one.reshape(heads) for one in jnp.split(_normed(x) @ layer["attention"], 3, axis=-1))
        logits = jnp.einsum("...qhd,...khd->...hqk", query, key) / jnp.sqrt(1.0 * heads[-1])
        attended = jnp.einsum("...hqk,...khd->...qhd", jax.nn.softmax(jnp.where(causal, logits, -jnp.inf)), value)
        x = x + attended.reshape(x.shape) @ layer["mix"]
        return x + jax.nn.gelu(_normed(x) @ layer["up"]) @ layer["down"], None

    stacked = {name: p[name] for name in ("attention", "mix", "up", "down")}
    return _normed(jax.lax.scan(block, x, stacked)[0]).mean(-2) @ p["output"]


def _normed(x: jax.Array) -> jax.Array:
    return jax.nn.standardize(x, axis=-1)


def _gradient_fit(
    initial: Callable[..., Any],
    score: Callable[..., jax.Array],
    settings: RewardModelSettings,
    key: jax.Array,
    comparisons: Comparisons[Sequences],
    weights: jax.Array,
) -> Any:
    """Full-batch AdamW on the mean loss."""
    first, second = comparisons.first.tokens, comparisons.second.tokens
    parameters, choice = initial(settings, key, comparisons.first.vocabulary, first.shape[-1] - 1), _choice(comparisons)

    def loss(p: Any) -> jax.Array:
        difference = score(settings, p, first) - score(settings, p, second)
        return jnp.sum(weights * choice_losses(difference, choice)) / weights.sum()

    descent = Descent(settings.learning_rate, settings.steps, settings.steps, settings.weight_decay, cosine=True)
    return descend(loss, parameters, descent).weights


class _Kind(NamedTuple):
    score: Callable[..., jax.Array]
    fit: Callable[..., Any]


KINDS: dict[str, _Kind] = {
    "linear": _Kind(_linear_score, _linear_fit),
    "mlp": _Kind(_mlp_score, partial(_gradient_fit, _mlp_initial, _mlp_score)),
    "transformer": _Kind(_transformer_score, partial(_gradient_fit, _transformer_initial, _transformer_score)),
}
