"""Rewards of whole sequences as neural networks: a perceptron on pooled pairs of tokens, and a causal transformer."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from prefront.preferences.comparisons import Comparisons
from prefront.preferences.items import Sequences
from prefront.preferences.models.fitting import Descent, GradientReward, cosine, fit_choices
from prefront.system.checks import check_least


@dataclasses.dataclass(frozen=True, eq=False)
class SequenceNetwork(GradientReward):
    """A network that scores whole sequences; `fit_parameters` and `sequence_scores` are pure and may be vmapped.

    Attributes:
        width: Embedding width.
    """

    assumes: ClassVar[str] = "any score of whole sequences"
    width: int = 32
    descent: Descent = dataclasses.field(default=cosine(steps=200, weight_decay=1.0), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, 1, "width")

    @abstractmethod
    def sequence_scores(self, parameters: Any, tokens: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Returns the scores of sequences (..., L + 1) by one member, shape (...); `mask` as in `Sequences`."""

    def fit_parameters(self, key: jax.Array, comparisons: Comparisons[Sequences], weights: jax.Array) -> Any:
        """Returns the parameters of one member, fitted to weighted answers from where the key lets it start."""
        first, second = comparisons.first, comparisons.second
        initial, labels = self.init(key, first), jnp.asarray(comparisons.labels)
        return fit_choices(self.margins, initial, first, second, labels, weights, self.descent)

    def units(self, first: Sequences, second: Sequences) -> None:
        """Tokens are not standardised."""

    def seen(self, items: Sequences, units: None) -> Sequences:
        """Returns the sequences themselves."""
        shown: Sequences = jax.tree.map(jnp.asarray, items)
        return shown

    def score(self, parameters: Any, seen: Sequences) -> jax.Array:
        """Returns one member's scores, shape (n,)."""
        return self.sequence_scores(parameters, seen.tokens, seen.mask)

    def member_scores(self, items: Sequences) -> np.ndarray:
        """Returns how much each member likes sequences, shape (members, n); compiled once for each fitted model."""
        return np.asarray(_compiled(self.score, self.learned().parameters, self.seen(items, None)), np.float64)


@dataclasses.dataclass(frozen=True, eq=False)
class SequencePerceptron(SequenceNetwork):
    """Assumes people who judge whole sequences by their pairs of tokens: a perceptron on the pooled pairs.

    Each pair is embedded with tanh; their sum over the square root of their number passes one hidden layer with tanh.
    Where a pair stands in the sequence is not seen. Nobody knows the exact optimum of what it learns.

    Attributes:
        width: Width of the embedding and of the hidden layer.
    """

    def init(self, key: jax.Array, seen: Sequences) -> dict[str, jax.Array]:
        """Returns the parameters that one member starts from."""
        width, keys, vocabulary = self.width, jax.random.split(key, 4), seen.vocabulary
        normal = jax.random.normal
        return {
            "previous": normal(keys[0], (vocabulary + 1, width)) / jnp.sqrt(2.0),
            "following": normal(keys[1], (vocabulary, width)) / jnp.sqrt(2.0),
            "hidden": normal(keys[2], (width, width)) / jnp.sqrt(1.0 * width),
            "bias": jnp.zeros(width),
            "output": normal(keys[3], (width,)) / jnp.sqrt(1.0 * width),
        }

    def sequence_scores(
        self, parameters: dict[str, jax.Array], tokens: jax.Array, mask: jax.Array | None = None
    ) -> jax.Array:
        """Returns the scores of sequences (..., L + 1), shape (...)."""
        p = parameters
        pairs = jnp.tanh(p["previous"][tokens[..., :-1]] + p["following"][tokens[..., 1:]])
        number = pairs.shape[-2] if mask is None else mask.sum(-1)[..., None]
        pooled = _mean(pairs, mask) * jnp.sqrt(1.0 * number)
        return jnp.tanh(pooled @ p["hidden"] + p["bias"]) @ p["output"]


@dataclasses.dataclass(frozen=True, eq=False)
class SequenceTransformer(SequenceNetwork):
    """Assumes people who judge whole sequences, the order included: a causal transformer, averaged over positions.

    Nobody knows the exact optimum of what it learns.

    Attributes:
        width: Embedding width.
        layers: Blocks.
        heads: Attention heads; must divide `width`.
    """

    layers: int = 1
    heads: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, 1, "layers", "heads")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}.")

    def init(self, key: jax.Array, seen: Sequences) -> dict[str, jax.Array]:
        """Returns the parameters that one member starts from."""
        width, keys = self.width, jax.random.split(key, 7)

        def matrix(key: jax.Array, inputs: int, outputs: int) -> jax.Array:
            return jax.random.normal(key, (self.layers, inputs, outputs)) / jnp.sqrt(1.0 * inputs)

        return {
            "token": jax.random.normal(keys[0], (seen.vocabulary + 1, width)),
            "position": 0.1 * jax.random.normal(keys[1], (seen.tokens.shape[-1], width)),
            "attention": matrix(keys[2], width, 3 * width),
            "mix": matrix(keys[3], width, width),
            "up": matrix(keys[4], width, 2 * width),
            "down": matrix(keys[5], 2 * width, width),
            "output": jax.random.normal(keys[6], (width,)) / jnp.sqrt(1.0 * width),
        }

    def sequence_scores(
        self, parameters: dict[str, jax.Array], tokens: jax.Array, mask: jax.Array | None = None
    ) -> jax.Array:
        """Returns the scores of sequences (..., L + 1), shape (...)."""
        positions = tokens.shape[-1]
        shown = jnp.tril(jnp.ones((positions, positions), bool))
        if mask is not None:
            # The context is always part of the sequence.
            mask = jnp.concatenate([jnp.ones((*mask.shape[:-1], 1), bool), mask], -1)
            shown = shown & mask[..., None, None, :]
        x = parameters["token"][tokens] + parameters["position"]

        def block(x: jax.Array, layer: dict[str, jax.Array]) -> tuple[jax.Array, None]:
            heads = (*x.shape[:-1], self.heads, self.width // self.heads)
            query, key, value = (one.reshape(heads) for one in jnp.split(_normed(x) @ layer["attention"], 3, axis=-1))
            logits = jnp.einsum("...qhd,...khd->...hqk", query, key) / jnp.sqrt(1.0 * heads[-1])
            attended = jnp.einsum("...hqk,...khd->...qhd", jax.nn.softmax(jnp.where(shown, logits, -jnp.inf)), value)
            x = x + attended.reshape(x.shape) @ layer["mix"]
            return x + jax.nn.gelu(_normed(x) @ layer["up"]) @ layer["down"], None

        stacked = {name: parameters[name] for name in ("attention", "mix", "up", "down")}
        return _mean(_normed(jax.lax.scan(block, x, stacked)[0]), mask) @ parameters["output"]


def _normed(x: jax.Array) -> jax.Array:
    return jax.nn.standardize(x, axis=-1)


def _mean(x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Returns the mean over positions, shape (..., width), of those that belong to the sequence."""
    if mask is None:
        return x.mean(-2)
    return jnp.where(mask[..., None], x, 0.0).sum(-2) / jnp.maximum(mask.sum(-1), 1)[..., None]


@partial(jax.jit, static_argnames="score")
def _compiled(score: Any, parameters: Any, seen: Sequences) -> jax.Array:
    return jax.vmap(score, (0, None))(parameters, seen)
