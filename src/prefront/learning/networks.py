"""Policy and value networks as plain data: what is needed to rebuild one is JSON, its parameters are a dict of arrays.

A network's functions take one observation; `jax.vmap` adds axes for batches, and for populations over the parameters.
Observations are first *encoded*: to the row of a table, with flags or without, to one-hot features, or to a flat vector
of floats. Parameters have the form `{"weights": {...}, "statistics": {"mean", "scale"}}`: weights are learned by
gradients, statistics (only where the features are floats) normalise them, so that stored parameters are a complete
policy.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, TypeAlias

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from prefront.learning.distributions import Categorical, Distribution, Gaussian
from prefront.learning.encoders import Encoder, Kind
from prefront.tasks.action_boxes import ActionBox

Parameters: TypeAlias = dict[str, Any]
# Beyond this many standard deviations (running statistics) a feature is clipped.
FEATURE_CLIP = 10.0


@dataclasses.dataclass(frozen=True)
class ValueNetwork:
    """A vector of values per observation: a table, a factored table, or a multilayer perceptron with tanh units.

    A factored table has a row for each combination of the components with more than two values (where one is), and to
    it adds one more such row for each binary component that is 1 (what one has): it is linear in the conjunctions of
    place and flag, so that what is learned of a flag holds whatever the other flags are.

    Attributes:
        encoder: What turns observations into rows or features.
        outputs: Number of values, one per objective for a critic.
        hidden: Sizes of the hidden layers; unused by tables.
        output_scale: Gain of the last layer's orthogonal initial weights; tables start at zero.
    """

    encoder: Encoder
    outputs: int
    hidden: tuple[int, ...] = (64, 64)
    output_scale: float = 1.0

    def init(self, key: jax.Array) -> Parameters:
        """Draws initial parameters: orthogonal weights of gain sqrt(2), the last layer's of gain `output_scale`."""
        if self.encoder.kind == "tabular":
            return {"weights": {"table": jnp.zeros((self.encoder.features, self.outputs))}}
        if self.encoder.kind == "factored":
            rows = (self.encoder.features, 1 + self.encoder.flags, self.outputs)
            return {"weights": {"table": jnp.zeros(rows)}}
        sizes = (self.encoder.features, *self.hidden, self.outputs)
        kernels = _orthogonal(key, list(itertools.pairwise(sizes)))
        gains = [math.sqrt(2)] * len(self.hidden) + [self.output_scale]
        weights = {
            f"layer_{i}": {"kernel": gain * kernel, "bias": jnp.zeros(kernel.shape[1])}
            for i, (gain, kernel) in enumerate(zip(gains, kernels, strict=True))
        }
        statistics = self.encoder.statistics()
        return {"weights": weights, "statistics": statistics} if statistics else {"weights": weights}

    def apply(self, parameters: Parameters, encoded: jax.Array) -> jax.Array:
        """Returns the outputs, shape (outputs,), for one encoded observation."""
        weights = parameters["weights"]
        if self.encoder.kind == "tabular":
            return weights["table"][encoded]
        if self.encoder.kind == "factored":
            rows = weights["table"][encoded[0]]
            return rows[0] + encoded[1:].astype(jnp.float32) @ rows[1:]
        features = normalised(parameters, encoded)
        for i in range(len(self.hidden)):
            features = jnp.tanh(features @ weights[f"layer_{i}"]["kernel"] + weights[f"layer_{i}"]["bias"])
        last = weights[f"layer_{len(self.hidden)}"]
        return features @ last["kernel"] + last["bias"]


def normalised(parameters: Parameters, encoded: jax.Array) -> jax.Array:
    """Returns what the first layer of a perceptron reads: features normalised by the statistics, where there are."""
    if "statistics" not in parameters:
        return encoded
    mean, scale = parameters["statistics"]["mean"], parameters["statistics"]["scale"]
    return jnp.clip((encoded - mean) / scale, -FEATURE_CLIP, FEATURE_CLIP)


@dataclasses.dataclass(frozen=True)
class PolicyNetwork:
    """A stochastic policy: a softmax over discrete actions, or a Gaussian whose log-deviation is state-independent.

    Attributes:
        body: The network that gives logits or means.
        action_start: First action of a Discrete space.
        action_box: Where a Box action lies; None for a Discrete space.
    """

    body: ValueNetwork
    action_start: int = 0
    action_box: ActionBox | None = None

    @classmethod
    def for_spaces(
        cls,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        kind: Kind = "auto",
        hidden: tuple[int, ...] = (64, 64),
    ) -> PolicyNetwork:
        """Builds the policy for an environment's spaces.

        Args:
            observation_space: Box, Discrete, MultiDiscrete, MultiBinary, or a Dict of these.
            action_space: Discrete or Box.
            kind: "tabular" (one row of logits per observation), "factored" (a row per place and per flag there, see
                `ValueNetwork`), "one-hot" (a perceptron on the one-hot code of each integer component), "mlp" (a
                perceptron on normalised numbers), or "auto" (a table for small integer spaces, else "mlp").
            hidden: Sizes of the hidden layers.

        Raises:
            ValueError: A space is of another type, see also `Encoder.for_space` and `ActionBox.for_space`.
        """
        encoder = Encoder.for_space(observation_space, kind)
        if isinstance(action_space, gym.spaces.Discrete):
            body = ValueNetwork(encoder, int(action_space.n), tuple(hidden), output_scale=0.01)
            return cls(body, action_start=int(action_space.start))
        if not isinstance(action_space, gym.spaces.Box):
            raise ValueError(f"The action space must be Discrete or Box, got {action_space}.")
        box = ActionBox.for_space(action_space)
        body = ValueNetwork(encoder, len(box.low), tuple(hidden), output_scale=0.01)
        return cls(body, action_box=box)

    @property
    def encoder(self) -> Encoder:
        """What turns observations into rows or features."""
        return self.body.encoder

    @property
    def discrete(self) -> bool:
        """Whether actions are discrete."""
        return self.action_box is None

    def check_spaces(
        self, observation_space: gym.Space[Any], action_space: gym.Space[Any], bounds: bool = True
    ) -> None:
        """Checks that the network was made for these spaces; with `bounds`, also for these bounds of observations.

        Raises:
            ValueError: It was made for others; the message names both.
        """
        kind: Any = self.encoder.kind
        try:
            other = type(self).for_spaces(observation_space, action_space, kind, self.body.hidden)
            limits: dict[str, Any] = {} if bounds else {"low": other.encoder.low, "high": other.encoder.high}
            mine = dataclasses.replace(self.encoder, **limits)
            fits = dataclasses.replace(self, body=dataclasses.replace(self.body, encoder=mine)) == other
        except ValueError:
            fits = False
        if not fits:
            acts = f"{self.body.outputs} actions from {self.action_start}" if self.discrete else str(self.action_box)
            raise ValueError(
                f"The policies see {self.encoder.described} and choose among {acts}, but the environment has "
                f"observations in {observation_space} and actions in {action_space}."
            )

    def init(self, key: jax.Array, action_bias: float | jax.Array = 0.0) -> Parameters:
        """Draws initial parameters.

        Args:
            key: Random key.
            action_bias: Standard deviation of a random preference for some actions (logits or means) that is the same
                in every state. It lets the members of a population explore in different directions.

        Returns:
            `{"weights": ..., "statistics": ...}`; weights contain `log_std`, shape (action size,), for Box actions.
        """
        for_body, for_bias = jax.random.split(key)
        parameters = self.body.init(for_body)
        bias = action_bias * jax.random.normal(for_bias, (self.body.outputs,))
        weights = parameters["weights"]
        if self.encoder.kind == "tabular":
            weights["table"] = weights["table"] + bias
        elif self.encoder.kind == "factored":
            weights["table"] = weights["table"].at[:, 0].add(bias)
        else:
            weights[f"layer_{len(self.body.hidden)}"]["bias"] += bias
        if not self.discrete:
            weights["log_std"] = jnp.zeros(self.body.outputs)
        return parameters

    def distribution_of(self, parameters: Parameters, encoded: jax.Array) -> Distribution:
        """Returns the distribution over raw actions for one encoded observation."""
        outputs = self.body.apply(parameters, encoded)
        return Categorical(outputs) if self.discrete else Gaussian(outputs, parameters["weights"]["log_std"])

    def distribution(self, parameters: Parameters, observation: Any) -> Distribution:
        """Returns the distribution over raw actions (indices from 0, or flat vectors) for one observation."""
        return self.distribution_of(parameters, self.encoder(observation))

    def noise(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Draws what `Distribution.perturbed` takes, for a batch of this shape at once: shape (*shape, outputs)."""
        draw = jax.random.gumbel if self.discrete else jax.random.normal
        return draw(key, (*shape, self.body.outputs))

    def to_space(self, raw: jax.Array) -> jax.Array:
        """Turns a raw action into an element of the action space: adds the start, or see `ActionBox`."""
        return raw + self.action_start if self.action_box is None else self.action_box(raw)

    def action(self, parameters: Parameters, observation: Any, key: jax.Array | None = None) -> jax.Array:
        """Returns an element of the action space: the distribution's mode, or a draw where a key is given."""
        distribution = self.distribution(parameters, observation)
        return self.to_space(distribution.mode() if key is None else distribution.sample(key))


def _orthogonal(key: jax.Array, shapes: list[tuple[int, int]]) -> list[jax.Array]:
    """Draws matrices with orthonormal rows or columns, whichever are fewer, uniformly, by Gram and Schmidt.

    JAX's own initialiser calls LAPACK; several such calls in one program can wait for each other for ever when the CPU
    client has a single thread. All matrices are drawn as one, padded by zeros: samplers take long to compile.
    """
    rows, columns = max(map(min, shapes)), max(map(max, shapes))
    wide = np.arange(columns) < np.array([max(shape) for shape in shapes])[:, None, None]
    drawn = jnp.where(wide, jax.random.normal(key, (len(shapes), rows, columns)), 0.0)

    def add(basis: jax.Array, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        i, vectors = at
        # Once more: a single pass leaves errors that grow with the condition of what was drawn.
        for _ in range(2):
            vectors = vectors - jnp.einsum("lrc,lr->lc", basis, jnp.einsum("lrc,lc->lr", basis, vectors))
        # What pads a small matrix has no direction left.
        lengths = jnp.maximum(jnp.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return basis.at[:, i].set(vectors / lengths), None

    basis, _ = jax.lax.scan(add, jnp.zeros_like(drawn), (jnp.arange(rows), drawn.swapaxes(0, 1)))
    cut = [one[: min(shape), : max(shape)] for one, shape in zip(basis, shapes, strict=True)]
    return [one if shape[0] <= shape[1] else one.T for one, shape in zip(cut, shapes, strict=True)]
