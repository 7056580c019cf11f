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
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from prefront.learning.distributions import Categorical, Distribution, Gaussian
from prefront.system.checks import nearest_names
from prefront.tasks.action_boxes import ActionBox

Parameters: TypeAlias = dict[str, Any]
Kind = Literal["auto", "tabular", "factored", "one-hot", "mlp"]
KINDS = ("auto", "tabular", "factored", "one-hot", "mlp")
# "auto" takes a table up to this many distinct observations.
LARGEST_AUTOMATIC_TABLE = 20_000
LARGEST_TABLE = 10_000_000
# Beyond this many standard deviations (running statistics) a feature is clipped.
FEATURE_CLIP = 10.0


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Turns an observation into what a network reads.

    Attributes:
        kind: "tabular", "factored", "one-hot" or "mlp".
        names: Keys of a Dict observation in the order in which they are joined; empty for other spaces.
        low: Smallest value of each joined component; empty where a component is unbounded.
        high: Largest value of each joined component; empty where a component is unbounded.
        components: Number of joined components.
        axes: Number of axes of one observation (of a Dict's first part); one more makes a batch.
        plain: Number of components, the last ones, that a "one-hot" encoder leaves numbers, scaled by their bounds.
    """

    kind: str
    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    components: int
    axes: int = 1
    plain: int = 0

    @classmethod
    def for_space(cls, space: gym.Space[Any], kind: Kind = "auto") -> Encoder:
        """Builds the encoder for a Box, Discrete, MultiDiscrete or MultiBinary space, or a Dict of these.

        Raises:
            ValueError: The kind is unknown, the space is of another type, or "mlp" is not asked for where the space is
                not a bounded integer space, or a table is where it would have more than ten million rows.
        """
        if kind not in KINDS:
            raise ValueError(f"Unknown network kind {kind!r}. {nearest_names(kind, list(KINDS))}")
        parts = space.spaces if isinstance(space, gym.spaces.Dict) else {"": space}
        bounds = [_bounds(part) for part in parts.values()]
        low = np.concatenate([low for low, _, _ in bounds])
        high = np.concatenate([high for _, high, _ in bounds])
        countable = all(integer for _, _, integer in bounds)
        elements = math.prod(int(n) for n in high - low + 1) if countable else 0
        if kind == "auto":
            kind = "tabular" if 0 < elements <= LARGEST_AUTOMATIC_TABLE else "mlp"
        bounded = bool(np.isfinite(low).all() and np.isfinite(high).all())
        plain = 0
        if kind == "one-hot":
            # Numbers may follow what is coded, such as the weights that a conditioned policy is shown.
            first = next((i for i, (_, _, integer) in enumerate(bounds) if not integer), len(bounds))
            plain = sum(len(one) for one, _, _ in bounds[first:])
            countable = bounded and first > 0 and not any(integer for _, _, integer in bounds[first:])
        if kind in ("tabular", "factored", "one-hot") and not countable:
            raise ValueError(f"A {kind} network needs a bounded integer observation space, got {space}; use 'mlp'.")
        if kind == "factored":
            many = [int(n) for n in high - low + 1 if n > 2]
            elements = math.prod(many) * (1 + len(low) - len(many))
        if kind in ("tabular", "factored") and elements > LARGEST_TABLE:
            raise ValueError(f"A {kind} network on {space} would have {elements} rows; use 'one-hot' or 'mlp'.")
        names = tuple(space.spaces) if isinstance(space, gym.spaces.Dict) else ()
        as_tuple = [tuple(float(value) for value in side) if bounded else () for side in (low, high)]
        axes = len(next(iter(parts.values())).shape or ())
        return cls(kind, names, as_tuple[0], as_tuple[1], len(low), axes, plain)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of values of each integer component."""
        coded = len(self.low) - self.plain
        return tuple(int(high - low) + 1 for low, high in zip(self.low[:coded], self.high[:coded], strict=True))

    @property
    def flags(self) -> int:
        """Number of components of two values at most, by which a factored table adds rows."""
        return sum(size <= 2 for size in self.sizes)

    @property
    def described(self) -> str:
        """Says in words what observations it was made for."""
        names = f" named {', '.join(self.names)}" if self.names else ""
        bounds = f" from {list(self.low)} to {list(self.high)}" if self.low and len(self.low) <= 8 else ""
        return f"{self.components} numbers{names} on {self.axes} axes{bounds} ({self.kind})"

    @property
    def features(self) -> int:
        """Number of table rows (tabular, and factored for each flag) or of input features."""
        if self.kind == "tabular":
            return math.prod(self.sizes)
        if self.kind == "factored":
            return math.prod(size for size in self.sizes if size > 2)
        return sum(self.sizes) + self.plain if self.kind == "one-hot" else self.components

    def __call__(self, observation: Any) -> jax.Array:
        """Encodes one observation: an int32 row, a row with its flags, or float32 features of shape (features,)."""
        parts = [observation[name] for name in self.names] if self.names else [observation]
        return self.encode(jnp.concatenate([jnp.ravel(jnp.asarray(part)) for part in parts]))

    def encode(self, flat: jax.Array) -> jax.Array:
        """Encodes the joined components of one observation, shape (components,)."""
        if self.kind == "mlp":
            return flat.astype(jnp.float32)
        offsets = flat.astype(jnp.int32) - jnp.asarray(self.low, jnp.int32)
        if self.kind == "tabular":
            return jnp.sum(offsets * _strides(self.sizes))
        if self.kind == "factored":
            many = np.array(self.sizes) > 2
            row = jnp.sum(offsets[many] * _strides(np.array(self.sizes)[many]))
            return jnp.concatenate([row[None], offsets[~many]])
        codes = [jnp.arange(size) == offsets[i] for i, size in enumerate(self.sizes)]
        low, high = (jnp.asarray(side[len(codes) :], jnp.float32) for side in (self.low, self.high))
        numbers = (2.0 * flat[len(codes) :] - low - high) / jnp.maximum(high - low, 1e-6)
        return jnp.concatenate([jnp.concatenate(codes).astype(jnp.float32), numbers.astype(jnp.float32)])

    def statistics(self) -> dict[str, jax.Array]:
        """Returns the first normalisation: centre and half width of the bounds where they are finite, else 0 and 1."""
        if self.kind != "mlp":
            return {}
        if not self.low:
            return {"mean": jnp.zeros(self.components), "scale": jnp.ones(self.components)}
        low, high = jnp.asarray(self.low, jnp.float32), jnp.asarray(self.high, jnp.float32)
        return {"mean": low / 2 + high / 2, "scale": jnp.maximum(high / 2 - low / 2, 1e-6)}


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

    @classmethod
    def for_space(
        cls, observation_space: gym.Space[Any], outputs: int, kind: Kind = "auto", hidden: tuple[int, ...] = (64, 64)
    ) -> ValueNetwork:
        """Builds the network for an observation space, see `Encoder.for_space`."""
        return cls(Encoder.for_space(observation_space, kind), outputs, tuple(hidden))

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

    def value(self, parameters: Parameters, observation: Any) -> jax.Array:
        """Returns the values, shape (outputs,), of one observation."""
        return self.apply(parameters, self.encoder(observation))


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

    def to_dict(self) -> dict[str, Any]:
        """Returns the network's description in plain types that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, description: dict[str, Any]) -> PolicyNetwork:
        """Rebuilds a network from `to_dict`, also after a detour through JSON."""
        body = dict(description["body"])
        body["encoder"] = Encoder(**_with_tuples(body["encoder"]))
        if description.get("action_shape") is not None:
            raise ValueError(
                "This policy of Box actions was saved before actions were scaled to their bounds: train anew."
            )
        box = description.get("action_box")
        box = None if box is None else ActionBox(**_with_tuples(box))
        return cls(ValueNetwork(**_with_tuples(body)), description["action_start"], box)


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


def _strides(sizes: Sequence[int] | np.ndarray) -> jax.Array:
    """Returns by how many rows a table goes on per unit of each component; the last changes fastest."""
    return jnp.asarray(np.cumprod([1, *sizes[:0:-1]])[::-1][: len(sizes)], jnp.int32)


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _bounds(space: gym.Space[Any]) -> tuple[np.ndarray, np.ndarray, bool]:
    """Returns the flat lower and upper bounds of a space, and whether it is a bounded integer space."""
    if isinstance(space, gym.spaces.Discrete):
        return np.array([float(space.start)]), np.array([float(space.start + space.n - 1)]), True
    if isinstance(space, gym.spaces.MultiDiscrete):
        low = space.start.ravel().astype(float)
        return low, low + space.nvec.ravel() - 1, True
    if isinstance(space, gym.spaces.MultiBinary):
        size = math.prod(space.shape)
        return np.zeros(size), np.ones(size), True
    if isinstance(space, gym.spaces.Box):
        low, high = space.low.ravel().astype(float), space.high.ravel().astype(float)
        integer = np.issubdtype(space.dtype, np.integer) or space.dtype == np.bool_
        return low, high, bool(integer)
    raise ValueError(f"Observations must be Box, Discrete, MultiDiscrete, MultiBinary or a Dict of these, got {space}.")
