"""Box actions: how real vectors that a normal policy draws become elements of a box, whatever its bounds and dtype."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

# Fewer float32 numbers than this between two bounds would leave a policy next to nothing to choose from.
FEWEST_STEPS = 256
LARGEST = float(np.finfo(np.float32).max)
INT32 = np.iinfo(np.int32)


@dataclasses.dataclass(frozen=True)
class ActionBox:
    """Bounds of a Box action. Between finite bounds, -1 and 1 of a raw action are the bounds and 0 their middle.

    Where only one bound is finite, the raw action -1 (or 1) is that bound and one unit stays one unit; where none is,
    raw actions are taken as they are. Actions beyond a bound are clipped to it, those of integer boxes rounded first.

    Attributes:
        shape: Shape of an action.
        dtype: Name of the space's dtype.
        low: Lower bounds, flat; None where there is none.
        high: Upper bounds, flat; None where there is none.
    """

    shape: tuple[int, ...]
    dtype: str
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]

    @classmethod
    def for_space(cls, space: gym.spaces.Box) -> ActionBox:
        """Reads the bounds off a space.

        Raises:
            ValueError: float32, in which policies compute, cannot tell the numbers between two bounds apart, or an
                integer bound lies beyond int32.
        """
        low, high = (
            tuple(
                float(bound) if one and abs(float(bound)) < LARGEST else None
                for bound, one in zip(side, finite, strict=True)
            )
            for side, finite in (
                (space.low.ravel(), space.bounded_below.ravel()),
                (space.high.ravel(), space.bounded_above.ravel()),
            )
        )
        integer = not np.issubdtype(space.dtype, np.floating)
        bounds = np.array([bound for bound in (*low, *high) if bound is not None])
        if integer and bounds.size and not (bounds >= INT32.min).all() & (bounds <= INT32.max).all():
            raise ValueError(f"Bounds of an integer action must lie within int32, got {space}.")
        for a, b in zip(low, high, strict=True):
            given = [abs(bound) for bound in (a, b) if bound is not None]
            width = b - a if a is not None and b is not None else 2.0
            if not integer and given and 0 < width < FEWEST_STEPS * float(np.spacing(np.float32(max(given)))):
                raise ValueError(
                    f"float32 has fewer than {FEWEST_STEPS} numbers for an action from {a} to {b} of {space}; shift or "
                    "scale the action space, for example by gymnasium.wrappers.RescaleAction or TransformAction."
                )
        return cls(tuple(int(size) for size in space.shape), str(space.dtype), low, high)

    def __str__(self) -> str:
        return f"a Box of shape {self.shape} and dtype {self.dtype} from {list(self.low)} to {list(self.high)}"

    def __call__(self, raw: jax.Array) -> jax.Array:
        """Returns the action of a raw action, shape `shape`, in the dtype or in JAX's next smaller one."""
        centre, half, low, high = (jnp.asarray(part, jnp.float32) for part in self._scaling())
        value = centre + half * raw
        dtype = jax.dtypes.canonicalize_dtype(self.dtype)
        if not jnp.issubdtype(dtype, jnp.floating):
            value = jnp.round(value)
        return jnp.clip(value, low, high).astype(dtype).reshape(self.shape)

    def on_host(self, actions: np.ndarray) -> np.ndarray:
        """Returns actions of compiled programs, one or a batch, in the space's dtype and within its bounds."""
        dtype = np.dtype(self.dtype)
        low, high = (
            np.array([limit if one is None else one for one in side], dtype).reshape(self.shape)
            for side, limit in ((self.low, _limits(dtype)[0]), (self.high, _limits(dtype)[1]))
        )
        return np.clip(np.asarray(actions).astype(dtype), low, high)

    def _scaling(self) -> tuple[np.ndarray, ...]:
        """Returns middle and half width of the raw actions -1 to 1, and the bounds in float32, rounded inwards."""
        kind = np.dtype(jax.dtypes.canonicalize_dtype(self.dtype))
        limits = _limits(kind)
        rows = []
        for a, b in zip(self.low, self.high, strict=True):
            if a is not None and b is not None:
                middle, half = a / 2 + b / 2, b / 2 - a / 2
            else:
                middle, half = (0.0 if b is None else b - 1.0) if a is None else a + 1.0, 1.0
            low, high = limits[0] if a is None else a, limits[1] if b is None else b
            rows.append((middle, half, _inwards(low, 1), _inwards(high, -1)))
        return tuple(np.array(rows, np.float64).reshape(-1, 4).T)


def _limits(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Returns what actions without a bound are clipped to."""
    if dtype.kind == "f":
        largest = min(LARGEST, float(np.finfo(dtype).max))
        return -largest, largest
    if dtype.kind == "b":
        return 0, 1
    info = np.iinfo(dtype)
    return max(info.min, INT32.min), min(info.max, INT32.max)


def _inwards(bound: float, direction: int) -> float:
    """Returns the float32 number nearest to a bound on its inner side."""
    nearest = np.float32(bound)
    outside = (bound - float(nearest)) * direction > 0
    return float(np.nextafter(nearest, np.float32(direction * np.inf)) if outside else nearest)
