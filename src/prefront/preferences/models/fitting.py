"""How models are fitted by gradients: one loss of choices, one loop, ensembles."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.special import expit

from prefront.preferences.comparisons import Comparisons
from prefront.preferences.items import Items
from prefront.preferences.models.base import PreferenceModel, RewardModel
from prefront.system.checks import check_least, check_positive, check_types

# A loss counts as lower when it gains more than this share.
GAIN = 1e-4
# Numbers of pairs for which programs are compiled; padding of weight zero fills the rest.
SIZES = (32, 128, 320, 1024, 3072)


@dataclasses.dataclass(frozen=True)
class Descent:
    """How a model descends: full batch, by Adam.

    Attributes:
        learning_rate: Adam's.
        steps: Most steps.
        patience: It stops after so many steps in which the lowest loss fell by less than 1e-4 of itself.
        weight_decay: Decoupled weight decay.
        cosine: Whether the learning rate falls to 0 over all steps, along a cosine.
    """

    learning_rate: float = 2.0
    steps: int = 1000
    patience: int = 1000
    weight_decay: float = 0.0
    cosine: bool = False

    def __post_init__(self) -> None:
        check_types(self)
        check_positive(self, "learning_rate")
        check_least(self, 1, "steps", "patience")
        check_least(self, 0, "weight_decay")


PUBLISHED = Descent()


def cosine(learning_rate: float = 3e-3, steps: int = 500, weight_decay: float = 1e-2) -> Descent:
    """Returns AdamW that takes all its steps, while its learning rate falls to 0: how networks are fitted."""
    return Descent(learning_rate, steps, steps, weight_decay, cosine=True)


class Fit(NamedTuple):
    """What was fitted: a linear model, a batch of them, or parameters of any structure.

    Attributes:
        weights: Shape (..., d), or the parameters.
        loss: Mean cross-entropy at these weights, nats, shape (...).
        steps: Steps that were taken, shape (...).
    """

    weights: Any
    loss: Any
    steps: Any


def choice_losses(difference: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the cross-entropy of each choice, nats, given differences of scores (first minus second)."""
    return jax.nn.softplus(difference) - labels * difference


def descend(loss: Callable[[Any], jax.Array], initial: Any, descent: Descent) -> Fit:
    """Follows Adam and returns the parameters of the lowest loss that it met; pure JAX.

    Args:
        loss: What is minimised, a function of parameters of any structure.
        initial: Parameters to start from.
        descent: How.
    """
    rate: Any = descent.learning_rate
    if descent.cosine:
        rate = optax.cosine_decay_schedule(rate, descent.steps)
    optimizer = optax.adamw(rate, weight_decay=descent.weight_decay) if descent.weight_decay else optax.adam(rate)
    slope = jax.value_and_grad(loss)

    def going(carry: Any) -> jax.Array:
        return jnp.asarray((carry[5] < descent.steps) & (carry[6] < descent.patience))

    def step(carry: Any) -> Any:
        w, state, lowest, best, bar, steps, idle = carry
        current, gradient = slope(w)
        updates, state = optimizer.update(gradient, state, w)
        gained = current < bar * (1 - GAIN)
        return (
            optax.apply_updates(w, updates),
            state,
            jnp.minimum(current, lowest),
            jax.tree.map(lambda new, old: jnp.where(current < lowest, new, old), w, best),
            jnp.where(gained, current, bar),
            steps + 1,
            jnp.where(gained, 0, idle + 1),
        )

    infinite = jnp.full_like(loss(initial), jnp.inf)
    start = (initial, optimizer.init(initial), infinite, initial, infinite, jnp.int32(0), jnp.int32(0))
    _, _, lowest, best, _, steps, _ = jax.lax.while_loop(going, step, start)
    return Fit(best, lowest, steps)


def padded_size(count: int, sizes: tuple[int, ...] = SIZES) -> int:
    """Returns the smallest size that holds `count`; beyond the last one, a multiple of it."""
    fitting = [size for size in sizes if size >= count]
    return fitting[0] if fitting else -(-count // sizes[-1]) * sizes[-1]


def padded_to(array: np.ndarray, size: int, axis: int = 0) -> np.ndarray:
    """Pads an axis with zeros."""
    return np.pad(array, [(0, (size - array.shape[axis]) * (i == axis)) for i in range(array.ndim)])


def draw_counts(key: jax.Array, members: int, count: int) -> jax.Array:
    """Returns how often each member of an ensemble sees each answer, shape (members, n): one sees all as they are."""
    if members == 1:
        return jnp.ones((1, count))
    rows = jax.random.randint(key, (members, count), 0, count)
    return jax.vmap(lambda own: jnp.bincount(own, length=count))(rows).astype(jnp.float32)


def fit_choices(
    margins: Callable[[Any, Any, Any], jax.Array],
    initial: Any,
    first: Any,
    second: Any,
    labels: jax.Array,
    weights: jax.Array,
    descent: Descent,
) -> Any:
    """Fits parameters to choices; pure JAX.

    Args:
        margins: Log-odds of each choice, shape (n,), by parameters, first and second items.
        initial: Parameters to start from.
        first: What is seen of the first items, any pytree.
        second: What is seen of the second items.
        labels: Shape (n,).
        weights: Weight of each choice, such as how often a bootstrap drew it, shape (n,).
        descent: How to descend.

    Returns:
        Parameters like `initial`.
    """

    def loss(parameters: Any) -> jax.Array:
        return jnp.sum(weights * choice_losses(margins(parameters, first, second), labels)) / weights.sum()

    return descend(loss, initial, descent).weights


@partial(jax.jit, static_argnames=("margins", "descent"))
def _fit_members(
    margins: Any, initial: Any, first: Any, second: Any, labels: jax.Array, counts: jax.Array, descent: Descent
) -> Any:
    """Fits the members of an ensemble, each from its own parameters and to its own bootstrap of the answers."""
    fit = partial(fit_choices, margins, first=first, second=second, labels=labels, descent=descent)
    return jax.vmap(lambda own, weights: fit(own, weights=weights))(initial, counts)


class Fitted(NamedTuple):
    """What a gradient model has learned.

    Attributes:
        parameters: Of the model's own structure, with a leading axis of members.
        units: What its inputs are standardised by, see `GradientModel.units`.
    """

    parameters: Any
    units: Any


@dataclasses.dataclass(frozen=True, eq=False)
class GradientModel(PreferenceModel):
    """A model that says where it starts, `init`, and what it predicts, `margins`; all else is here.

    It sees the features of any items, standardised over the answers that it is fitted to; a model that sees more of
    its items says so by `units` and `seen`.

    Attributes:
        members: Size of the ensemble, whose margins are averaged; 1 is fitted to all answers as they are.
        descent: How to descend.
        fitted: What was learned; None before `fit`.
    """

    result: ClassVar[str] = "fitted"
    members: int = dataclasses.field(default=1, kw_only=True)
    descent: Descent = dataclasses.field(default=cosine(), kw_only=True)
    fitted: Fitted | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, 1, "members")

    @abc.abstractmethod
    def init(self, key: jax.Array, seen: Any) -> Any:
        """Returns the parameters that one member starts from, for items of which this is seen."""

    @abc.abstractmethod
    def margins(self, parameters: Any, first: Any, second: Any) -> jax.Array:
        """Returns log-odds of each choice by one member, shape (n,), of what is seen of n pairs; pure JAX."""

    def units(self, first: Any, second: Any) -> Any:
        """Returns what inputs are standardised by: mean and scale of the features, each of shape (d,)."""
        return mean_and_scale(np.concatenate([first.features(), second.features()]))

    def seen(self, items: Any, units: Any) -> Any:
        """Returns what is seen of n items, a pytree: the standardised features, shape (n, d), float32."""
        return jnp.asarray((items.features() - units[0]) / units[1], jnp.float32)

    def fit(self, dataset: Comparisons[Any], key: jax.Array | int = 0) -> Self:
        """Returns the model with a fitted ensemble."""
        key = jax.random.key(key) if isinstance(key, int) else key
        units = self.units(dataset.first, dataset.second)
        first, second = (self.seen(items, units) for items in (dataset.first, dataset.second))
        initial = jax.vmap(lambda own: self.init(own, first))(jax.random.split(key, self.members))
        counts = draw_counts(jax.random.fold_in(key, self.members), self.members, len(dataset))
        labels = jnp.asarray(dataset.labels, jnp.float32)
        parameters = _fit_members(self.margins, initial, first, second, labels, counts, self.descent)
        return dataclasses.replace(self, fitted=Fitted(parameters, units))

    def member_margins(self, first: Items, second: Items) -> np.ndarray:
        """Returns the log-odds of each choice by each member, shape (members, n)."""
        parameters, units = self.learned()
        sides = (self.seen(items, units) for items in (first, second))
        return np.asarray(jax.vmap(self.margins, (0, None, None))(parameters, *sides), np.float64)

    def margin(self, first: Items, second: Items, person: Any = None) -> np.ndarray:
        """Returns the log-odds of each choice, mean over members, shape (n,)."""
        return np.asarray(self.member_margins(first, second).mean(0))

    def member_probabilities(self, first: Items, second: Items) -> np.ndarray:
        """Returns each member's probability that the first item is preferred, shape (members, n)."""
        return np.asarray(expit(self.member_margins(first, second)))


@dataclasses.dataclass(frozen=True, eq=False)
class GradientReward(GradientModel, RewardModel):
    """A gradient model whose margin is a difference of scores: it says `init` and `score`."""

    @abc.abstractmethod
    def score(self, parameters: Any, seen: Any) -> jax.Array:
        """Returns how much one member likes each of n items, in log-odds, shape (n,); pure JAX."""

    def margins(self, parameters: Any, first: Any, second: Any) -> jax.Array:
        """Returns the scores of the first items minus those of the second, shape (n,)."""
        return self.score(parameters, first) - self.score(parameters, second)

    def member_scores(self, items: Any) -> np.ndarray:
        """Returns how much each member likes items, shape (members, n)."""
        parameters, units = self.learned()
        return np.asarray(jax.vmap(self.score, (0, None))(parameters, self.seen(items, units)), np.float64)

    def member_margins(self, first: Any, second: Any) -> np.ndarray:
        """Returns the log-odds of each choice by each member, shape (members, n)."""
        return np.asarray(self.member_scores(first) - self.member_scores(second))

    def scores(self, items: Any) -> np.ndarray:
        """Returns how much items are liked, mean over members, shape (n,)."""
        return np.asarray(self.member_scores(items).mean(0))


def mean_and_scale(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean of each column and its standard deviation, 1 where it does not vary."""
    spread = rows.std(0)
    return rows.mean(0), np.where(spread > 1e-6, spread, 1.0)


def initial_layers(key: jax.Array, sizes: tuple[int, ...]) -> tuple[tuple[jax.Array, jax.Array], ...]:
    """Returns the (kernel, bias) of each layer of a perceptron whose layers have these sizes, inputs first."""
    keys = jax.random.split(key, len(sizes) - 1)
    return tuple(
        (jax.random.normal(one, (fan_in, fan_out)) / jnp.sqrt(1.0 * fan_in), jnp.zeros(fan_out))
        for one, fan_in, fan_out in zip(keys, sizes[:-1], sizes[1:], strict=True)
    )


def perceptron(layers: tuple[tuple[jax.Array, jax.Array], ...], inputs: jax.Array) -> jax.Array:
    """Returns the outputs of a perceptron with tanh, shape (..., outputs), of inputs (..., inputs)."""
    for kernel, bias in layers[:-1]:
        inputs = jnp.tanh(inputs @ kernel + bias)
    return inputs @ layers[-1][0] + layers[-1][1]
