"""Encoders: what networks read of an observation, as plain data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from prefront.system.checks import nearest_names

Kind = Literal["auto", "tabular", "factored", "one-hot", "mlp"]
KINDS = ("auto", "tabular", "factored", "one-hot", "mlp")
# "auto" takes a table up to this many distinct observations.
LARGEST_AUTOMATIC_TABLE = 20_000
LARGEST_TABLE = 10_000_000


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


def _strides(sizes: Sequence[int] | np.ndarray) -> jax.Array:
    """Returns by how many rows a table goes on per unit of each component; the last changes fastest."""
    return jnp.asarray(np.cumprod([1, *sizes[:0:-1]])[::-1][: len(sizes)], jnp.int32)


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
