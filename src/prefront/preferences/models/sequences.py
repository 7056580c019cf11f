"""Reward models of token worlds: which form, by settings, and batches of them as pytrees for compiled programs.

"linear" is `BigramReward`, for which `prefront.exact.kl_regularised` knows the exact optimum; "mlp" and "transformer"
are `SequencePerceptron` and `SequenceTransformer`, for which nobody does. All functions are pure; a batch of models is
one `jax.vmap` over keys and comparisons.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prefront.exact.kl_regularised import CountRewards
from prefront.preferences.comparisons import Comparisons
from prefront.preferences.items import Sequences
from prefront.preferences.models.bigram import BigramReward
from prefront.preferences.models.fitting import Descent, cosine
from prefront.preferences.models.sequence_networks import SequenceNetwork, SequencePerceptron, SequenceTransformer
from prefront.system.checks import check_names, check_types
from prefront.system.failures import TrainingFailure, not_finite

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
        check_names("reward model", [self.kind], list(FORMS))
        self.model()

    def model(self) -> BigramReward | SequenceNetwork:
        """Returns the model that these settings describe, which also checks them."""
        return FORMS[self.kind](self)

    @property
    def descent(self) -> Descent:
        """How a network descends."""
        return cosine(self.learning_rate, self.steps, self.weight_decay)


FORMS: dict[str, Callable[[RewardModelSettings], BigramReward | SequenceNetwork]] = {
    "linear": lambda one: BigramReward(one.l2),
    "mlp": lambda one: SequencePerceptron(one.width, descent=one.descent),
    "transformer": lambda one: SequenceTransformer(one.width, one.layers, one.heads, descent=one.descent),
}


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


def model_rewards(settings: RewardModelSettings, models: RewardModels, sequences: jax.Array) -> jax.Array:
    """Returns the standardised rewards of K models for sequences (..., L + 1), shape (..., K)."""
    score = settings.model().sequence_scores
    raw = jax.vmap(lambda one: score(one, sequences))(models.parameters)
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
    weights = jnp.ones_like(jnp.asarray(comparisons.labels)) if weights is None else weights
    return settings.model().fit_parameters(key, comparisons, weights)


def standardise(settings: RewardModelSettings, parameters: Any, sequences: jax.Array) -> RewardModels:
    """Standardises K fitted models over sequences drawn from the reference policy, shape (n, L + 1)."""
    score = settings.model().sequence_scores

    def moments(one: Any) -> tuple[jax.Array, jax.Array]:
        scores = jax.lax.map(lambda sequence: score(one, sequence), sequences, batch_size=CHUNK)
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
