"""Policies and critics over token sequences: a table, a perceptron on the last tokens, a causal transformer.

All three read what was written so far and give a vector per position. A policy adds its network's output to the
reference policy's log-probabilities, and networks start at zero: training starts exactly at the reference.
Sequences are int32 arrays of shape (..., L + 1), the context first (`prefront.exact.kl_regularised`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from prefront.exact import kl_regularised
from prefront.exact.kl_regularised import MarkovReference
from prefront.system.checks import check_least, check_names, check_types

KINDS = ("tabular", "ngram", "transformer")


@dataclasses.dataclass(frozen=True)
class SequenceNetworkSettings:
    """The form of a policy and of its critic.

    Attributes:
        kind: "tabular" (by step and previous token; it contains the exact optimum), "ngram" (a perceptron on step and
            last tokens) or "transformer" (causal, on all tokens).
        width: Width of embeddings and hidden layers.
        layers: Hidden layers of the perceptron, blocks of the transformer.
        heads: Attention heads; must divide `width`.
        context: Number of tokens that the perceptron sees.
    """

    kind: str = "tabular"
    width: int = 32
    layers: int = 1
    heads: int = 2
    context: int = 3

    def __post_init__(self) -> None:
        check_types(self)
        check_names("sequence policy", [self.kind], KINDS)
        check_least(self, 1, "width", "layers", "heads", "context")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}.")


@dataclasses.dataclass(frozen=True)
class SequenceNetwork:
    """A vector of outputs at each position of a sequence, from the tokens before it.

    Attributes:
        settings: Its form.
        vocabulary: V.
        length: L.
        outputs: Numbers per position.
    """

    settings: SequenceNetworkSettings
    vocabulary: int
    length: int
    outputs: int

    @property
    def tabular(self) -> bool:
        """Whether the outputs are a table over (step, previous token)."""
        return self.settings.kind == "tabular"

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Draws parameters under which all outputs are zero."""
        if self.tabular:
            return {"table": jnp.zeros((self.length, self.vocabulary + 1, self.outputs))}
        tokens = jnp.zeros((1, self.length + 1), jnp.int32)
        return self.module().init(key, *self.inputs(tokens))["params"]

    def apply(self, parameters: dict[str, Any], sequences: jax.Array) -> jax.Array:
        """Returns the outputs before each token of sequences (n, L + 1), shape (n, L, outputs)."""
        if self.tabular:
            return parameters["table"][jnp.arange(self.length), sequences[:, :-1]]
        return self.module().apply({"params": parameters}, *self.inputs(sequences))

    def module(self, decode: bool = False) -> Any:
        """Returns the flax module; with `decode` one that reads token by token."""
        s = self.settings
        if s.kind == "ngram":
            return _Perceptron(self.vocabulary, self.length, self.outputs, s.width, s.layers)
        return _Transformer(self.vocabulary, self.length, self.outputs, s.width, s.layers, s.heads, decode)

    def inputs(self, sequences: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns what the module reads before each of the L tokens, and the steps."""
        read, steps = sequences[:, :-1], jnp.arange(self.length)
        if self.settings.kind == "ngram":
            padded = jnp.pad(read, ((0, 0), (self.settings.context - 1, 0)), constant_values=self.vocabulary)
            read = padded[:, steps[:, None] + jnp.arange(self.settings.context)]
        return read, steps


@dataclasses.dataclass(frozen=True)
class SequencePolicy:
    """A policy that writes sequences: softmax of the reference's log-probabilities plus a network's outputs.

    Attributes:
        network: Its network, with V outputs.
    """

    network: SequenceNetwork

    @classmethod
    def build(cls, settings: SequenceNetworkSettings, vocabulary: int, length: int) -> SequencePolicy:
        """Builds the policy for V tokens and sequences of L."""
        return cls(SequenceNetwork(settings, vocabulary, length, vocabulary))

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Draws parameters under which the policy is the reference."""
        return self.network.init(key)

    def table(self, parameters: dict[str, Any], reference: MarkovReference) -> jax.Array:
        """Returns a tabular policy's log-probabilities, shape (L, V + 1, V), as `exact.kl_regularised` reads them."""
        return jax.nn.log_softmax(reference.log_transitions + parameters["table"])

    def log_distributions(
        self, parameters: dict[str, Any], reference: MarkovReference, sequences: jax.Array
    ) -> jax.Array:
        """Returns log-probabilities of every next token along sequences (n, L + 1), shape (n, L, V)."""
        if self.network.tabular:
            return self.table(parameters, reference)[jnp.arange(self.network.length), sequences[:, :-1]]
        outputs = self.network.apply(parameters, sequences)
        return jax.nn.log_softmax(reference.log_transitions[sequences[:, :-1]] + outputs)

    def log_probabilities(
        self, parameters: dict[str, Any], reference: MarkovReference, sequences: jax.Array
    ) -> jax.Array:
        """Returns the log-probability of each token of sequences (n, L + 1), shape (n, L)."""
        if self.network.tabular:
            # One look-up of scalars in the table is much cheaper than rows, forwards and backwards.
            steps = jnp.arange(self.network.length)
            return self.table(parameters, reference)[steps, sequences[:, :-1], sequences[:, 1:]]
        every = self.log_distributions(parameters, reference, sequences)
        return jnp.take_along_axis(every, sequences[:, 1:, None], axis=-1)[..., 0]

    def sample(self, parameters: dict[str, Any], reference: MarkovReference, key: jax.Array, number: int) -> jax.Array:
        """Draws sequences, shape (number, L + 1), int32, the context first."""
        if self.network.tabular:
            return kl_regularised.sample(key, reference.initial, self.table(parameters, reference), number)
        for_context, for_tokens = jax.random.split(key)
        context = jax.random.categorical(for_context, jnp.log(reference.initial), shape=(number,)).astype(jnp.int32)
        noise = jax.random.gumbel(for_tokens, (self.network.length, number, self.network.vocabulary))
        write = self._write_ngram if self.network.settings.kind == "ngram" else self._write_transformer
        tokens = write(parameters, reference, context, noise)
        return jnp.concatenate([context[None], tokens]).T

    def divergence(self, parameters: dict[str, Any], reference: MarkovReference, sequences: jax.Array) -> jax.Array:
        """Returns KL(policy || reference) in nats per sequence, never negative.

        Exact for a table; otherwise the mean, over own sequences (n, L + 1), of the exact divergences of the next
        token.
        """
        if self.network.tabular:
            return kl_regularised.divergence(
                reference.initial, self.table(parameters, reference), reference.log_transitions
            )
        own = self.log_distributions(parameters, reference, sequences)
        return _per_token(own, own - reference.log_transitions[sequences[:, :-1]])

    def entropy(self, parameters: dict[str, Any], reference: MarkovReference, sequences: jax.Array) -> jax.Array:
        """Returns the entropy in nats per sequence; as for `divergence`, exact for a table."""
        if self.network.tabular:
            table = self.table(parameters, reference)
            return -kl_regularised.divergence(reference.initial, table, jnp.zeros_like(table))
        own = self.log_distributions(parameters, reference, sequences)
        return -_per_token(own, own)

    def _write_ngram(
        self, parameters: dict[str, Any], reference: MarkovReference, context: jax.Array, noise: jax.Array
    ) -> jax.Array:
        module = self.network.module()
        window = jnp.full((len(context), self.network.settings.context), self.network.vocabulary, jnp.int32)

        def one_step(window: jax.Array, drawn: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            step, gumbel = drawn
            outputs = module.apply({"params": parameters}, window[:, None], step[None])[:, 0]
            token = _choose(reference, window[:, -1], outputs, gumbel)
            return jnp.concatenate([window[:, 1:], token[:, None]], axis=1), token

        return jax.lax.scan(one_step, window.at[:, -1].set(context), (jnp.arange(len(noise)), noise))[1]

    def _write_transformer(
        self, parameters: dict[str, Any], reference: MarkovReference, context: jax.Array, noise: jax.Array
    ) -> jax.Array:
        module, length = self.network.module(decode=True), self.network.length
        tokens = jnp.zeros((len(context), length), jnp.int32)
        shapes = jax.eval_shape(module.init, jax.random.key(0), tokens, jnp.arange(length))["cache"]
        cache = jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), shapes)

        def one_step(carry: tuple[Any, jax.Array], drawn: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
            (cache, previous), (step, gumbel) = carry, drawn
            outputs, changed = module.apply(
                {"params": parameters, "cache": cache}, previous[:, None], step[None], mutable=["cache"]
            )
            token = _choose(reference, previous, outputs[:, 0], gumbel)
            return (changed["cache"], token), token

        return jax.lax.scan(one_step, (cache, context), (jnp.arange(length), noise))[1]


class _Perceptron(linen.Module):
    """Tanh layers on the sum of one embedding per slot of the window and one of the step."""

    vocabulary: int
    length: int
    outputs: int
    width: int
    layers: int

    @linen.compact
    def __call__(self, windows: jax.Array, steps: jax.Array) -> jax.Array:
        slots = windows.shape[-1]
        # Slot j has the rows from j (V + 1) on.
        rows = windows + (self.vocabulary + 1) * jnp.arange(slots)
        embedded = linen.Embed(slots * (self.vocabulary + 1), self.width, name="tokens")(rows).sum(-2)
        x = jnp.tanh(embedded + linen.Embed(self.length, self.width, name="steps")(steps))
        for _ in range(self.layers):
            x = jnp.tanh(linen.Dense(self.width)(x))
        return linen.Dense(self.outputs, kernel_init=linen.initializers.zeros, name="outputs")(x)


class _Transformer(linen.Module):
    """Causal transformer with learned positions and normalisation before each block."""

    vocabulary: int
    length: int
    outputs: int
    width: int
    layers: int
    heads: int
    decode: bool

    @linen.compact
    def __call__(self, tokens: jax.Array, steps: jax.Array) -> jax.Array:
        x = linen.Embed(self.vocabulary + 1, self.width, name="tokens")(tokens)
        x = x + linen.Embed(self.length, self.width, name="steps")(steps)
        mask = None if self.decode else linen.make_causal_mask(tokens)
        for _ in range(self.layers):
            attention = linen.MultiHeadDotProductAttention(self.heads, decode=self.decode)
            x = x + attention(linen.LayerNorm()(x), mask=mask)
            hidden = linen.gelu(linen.Dense(2 * self.width)(linen.LayerNorm()(x)))
            x = x + linen.Dense(self.width)(hidden)
        return linen.Dense(self.outputs, kernel_init=linen.initializers.zeros, name="outputs")(linen.LayerNorm()(x))


def _choose(reference: MarkovReference, previous: jax.Array, outputs: jax.Array, gumbel: jax.Array) -> jax.Array:
    return jnp.argmax(reference.log_transitions[previous] + outputs + gumbel, axis=-1).astype(jnp.int32)


def _per_token(log_probabilities: jax.Array, values: jax.Array) -> jax.Array:
    """Expectation over the next token, summed over positions, mean over sequences; 0 log 0 is 0."""
    probabilities = jnp.exp(log_probabilities)
    return jnp.mean(jnp.sum(probabilities * jnp.where(probabilities > 0, values, 0.0), axis=(-2, -1)))
