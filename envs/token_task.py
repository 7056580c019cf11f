"""Made worlds of token sequences: a reference policy, annotators, and reward models learned from their choices."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prefront.envs.token_gold import (
    SequenceGold,
    compare,
    draw_networks,
    gold_value,
    standardise_gold,
)
from prefront.envs.token_settings import Correlation, TokenWorldSettings, correlation_matrix
from prefront.exact.kl_regularised import CountRewards, MarkovReference, reference_policy, reward_moments, sample
from prefront.preferences.comparisons import Comparisons
from prefront.preferences.items import Sequences
from prefront.preferences.models.sequences import (
    RewardModels,
    RewardModelSettings,
    check_models,
    fit,
    linear_rewards,
    model_rewards,
    standardise,
)
from prefront.system.compilation import jit

CONCENTRATION, UNIFORM_SHARE = 0.3, 0.1
NUMBERS = ("correlation", "label_noise", "rationality", "unseen_weight")
STATIC = {"static": True}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenTask:
    """A made world, a `prefront.tasks.generation.GenerationTask` and a pytree: `jax.vmap` maps over worlds.

    Attributes:
        reference: The reference policy.
        models: The K standardised reward models: all that rewards depend on.
        evaluation: The gold evaluation, for judging only.
        comparisons: What the models were fitted to, with leading axis K.
        rationality: Inverse temperature of the annotators.
        label_noise: Their rate of mistakes.
        length: Tokens per sequence.
        reward_model: Form of the reward models.
        per_token: Whether the reward arrives token by token.
    """

    reference: MarkovReference
    models: RewardModels
    evaluation: SequenceGold
    comparisons: Comparisons[Sequences]
    rationality: Any
    label_noise: Any
    length: int = dataclasses.field(metadata=STATIC)
    reward_model: RewardModelSettings = dataclasses.field(metadata=STATIC)
    per_token: bool = dataclasses.field(metadata=STATIC)

    @property
    def vocabulary(self) -> int:
        """Number of tokens V."""
        return int(self.reference.log_transitions.shape[-1])

    @property
    def answer(self) -> CountRewards | None:
        """Linear reward models as the exact solvers read them; of other models nothing is known."""
        return linear_rewards(self.models) if self.reward_model.kind == "linear" else None

    def prompts(self, key: jax.Array, number: int) -> jax.Array:
        """Draws the contexts in which sequences start, shape (number,), int32."""
        return jax.random.categorical(key, jnp.log(self.reference.initial), shape=(number,)).astype(jnp.int32)

    def rewards(self, sequences: jax.Array) -> jax.Array:
        """Returns the standardised rewards of sequences (..., L + 1), shape (..., K)."""
        return model_rewards(self.reward_model, self.models, sequences)

    def gold(self, sequences: jax.Array) -> jax.Array:
        """Returns the gold value of sequences (..., L + 1), shape (...): for judging, never for training."""
        return gold_value(self.evaluation, sequences)


def make_world(settings: TokenWorldSettings, key: jax.Array | int, **numbers: Any) -> TokenTask:
    """Makes a world; a pure function of the key and the numbers, so that `jax.vmap` makes a batch of worlds.

    Args:
        settings: Fixes all shapes, and the numbers that are not given.
        key: Random key, or a seed. Worlds of one key differ in nothing but what the numbers change.
        **numbers: `correlation`, `label_noise`, `rationality` or `unseen_weight` in place of those of the settings.

    Returns:
        The world.

    Raises:
        ValueError: A concrete number lies outside its range; traced numbers cannot be checked.
        TypeError: Another name is given; it belongs into the settings.
        TrainingFailure: A reward model is not finite.
    """
    if other := sorted(set(numbers) - set(NUMBERS)):
        raise TypeError(f"A world is made with the numbers {', '.join(NUMBERS)}, not with {', '.join(other)}.")
    traced = {name: value for name, value in numbers.items() if isinstance(value, jax.core.Tracer)}
    concrete: dict[str, Any] = {name: _as_setting(value) for name, value in numbers.items() if name not in traced}
    settings = dataclasses.replace(settings, **concrete)
    every = {name: traced.get(name, getattr(settings, name)) for name in NUMBERS}
    if "correlation" not in traced:
        every["correlation"] = correlation_matrix(settings.correlation, settings.components)
    elif jnp.ndim(every["correlation"]) == 0:
        every["correlation"] = jnp.where(jnp.eye(settings.components, dtype=bool), 1.0, every["correlation"])
    every = {name: _float32(value) for name, value in every.items()}
    # The numbers are traced arguments below: worlds that differ in them alone share one compiled program.
    shapes = dataclasses.replace(
        settings, correlation=0.0, label_noise=0.0, rationality=1.0, unseen_weight=0.0, per_token=False
    )
    key = jax.random.key(key) if isinstance(key, int) else key
    reference, models, gold, comparisons = _learn(shapes, _draw(shapes, key), **every)
    return TokenTask(
        reference,
        check_models(models),
        gold,
        comparisons,
        every["rationality"],
        every["label_noise"],
        settings.length,
        settings.reward_model,
        settings.per_token,
    )


# It runs for milliseconds however it is compiled, and a sampler of Dirichlet variables takes seconds to compile well.
@partial(jit, level=0, fusion_emitters=False, static_argnames="settings")
def _draw(settings: TokenWorldSettings, key: jax.Array) -> tuple[Any, ...]:
    for_reference, for_networks, for_samples, for_pairs, for_choices, for_fit = jax.random.split(key, 6)
    reference = draw_reference(for_reference, settings.vocabulary, settings.prompts)
    networks = draw_networks(for_networks, settings.components, settings.vocabulary)
    pairs = sample_pairs(for_pairs, reference, settings.length, (settings.components, settings.pairs))
    return reference, networks, pairs, jnp.stack([for_samples, for_choices, for_fit])


@partial(jit, fusion_emitters=False, static_argnames="settings")
def _learn(
    settings: TokenWorldSettings,
    drawn: tuple[Any, ...],
    correlation: jax.Array,
    label_noise: jax.Array,
    rationality: jax.Array,
    unseen_weight: jax.Array,
) -> tuple[MarkovReference, RewardModels, SequenceGold, Comparisons[Sequences]]:
    reference, networks, (first, second), (for_samples, for_choices, for_fit) = drawn
    policy = reference_policy(reference, settings.length)
    calibration = sample(for_samples, reference.initial, policy, settings.calibration_samples)
    gold = standardise_gold(networks, correlation, unseen_weight, calibration)
    comparisons = compare(for_choices, gold, first, second, rationality, label_noise)
    model = settings.reward_model
    parameters = jax.lax.map(
        lambda one: fit(model, *one),
        (jax.random.split(for_fit, settings.components), comparisons),
    )
    return reference, standardised(model, parameters, reference, calibration), gold, comparisons


def standardised(
    form: RewardModelSettings, parameters: Any, reference: MarkovReference, sequences: jax.Array
) -> RewardModels:
    """Standardises fitted models under the reference policy, exactly or, if not linear, over its sequences."""
    if form.kind != "linear":
        return standardise(form, parameters, sequences)
    length = sequences.shape[1] - 1
    return RewardModels(parameters, *jax.lax.map(lambda table: reward_moments(reference, table, length), parameters))


def draw_reference(key: jax.Array, vocabulary: int, prompts: int) -> MarkovReference:
    """Draws a bigram reference policy: rows 0.9 Dirichlet(0.3) + 0.1 / V; after the start symbol uniform."""
    rows = jax.random.dirichlet(key, jnp.full(vocabulary, CONCENTRATION), (vocabulary,))
    rows = (1 - UNIFORM_SHARE) * rows + UNIFORM_SHARE / vocabulary
    transitions = jnp.concatenate([rows, jnp.full((1, vocabulary), 1 / vocabulary)])
    index = jnp.arange(vocabulary + 1)
    initial = (index == vocabulary) if prompts == 0 else (index < prompts) / prompts
    return MarkovReference(initial.astype(jnp.float32), jnp.log(transitions))


def sample_pairs(
    key: jax.Array, reference: MarkovReference, length: int, shape: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
    """Draws pairs of reference sequences that share their context, n for each of K models: twice (K, n, L + 1)."""
    for_first, for_second = jax.random.split(key)
    policy, total = reference_policy(reference, length), shape[0] * shape[1]
    first = sample(for_first, reference.initial, policy, total)
    # Both answers of a pair belong to one prompt.
    second = sample(for_second, reference.initial, policy, total, first[:, 0])
    return first.reshape(*shape, -1), second.reshape(*shape, -1)


def _float32(number: Any) -> Any:
    # On the host, where no program needs to be compiled for it.
    return number.astype(jnp.float32) if isinstance(number, jax.Array) else np.asarray(number, np.float32)


def _as_setting(number: Any) -> Correlation:
    array = np.asarray(number, np.float64)
    return float(array) if array.ndim == 0 else tuple(tuple(float(one) for one in row) for row in array)
