"""General preference embedding: preferences that may go in circles, so that no reward stands behind them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from prefront.preferences.models.fitting import Descent, GradientModel, cosine, initial_layers, perceptron
from prefront.system.checks import check_least


@dataclasses.dataclass(frozen=True, eq=False)
class GeneralPreference(GradientModel):
    """The general preference model of Zhang et al. (ICML 2025, arXiv 2410.02197), on any items.

    A perceptron embeds an item as a vector v of 2k numbers, and margin(a, b) = v(a)^T R v(b), where R is block-diagonal
    with k rotations [[0, -1], [1, 0]]. R is skew-symmetric, so margins change their sign when the items change places,
    and k blocks represent any skew-symmetric table of rank 2k. A block whose second number is the same for all items is
    a difference of scores: the model of Bradley and Terry. Where such a reward exists and answers are few, more blocks
    than one only fit noise.

    Attributes:
        blocks: k.
        hidden: Sizes of the hidden layers, with tanh; none for an embedding that is linear in the features.
    """

    blocks: int = 4
    hidden: tuple[int, ...] = (32,)
    descent: Descent = dataclasses.field(default=cosine(1e-2), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, 1, "blocks", "hidden")

    def init(self, key: jax.Array, seen: jax.Array) -> Any:
        """Returns the layers of the embedding."""
        return initial_layers(key, (seen.shape[-1], *self.hidden, 2 * self.blocks))

    def margins(self, parameters: Any, first: jax.Array, second: jax.Array) -> jax.Array:
        """Returns v(first)^T R v(second), shape (n,)."""
        one, other = (perceptron(parameters, side).reshape(-1, self.blocks, 2) for side in (first, second))
        return (one[..., 1] * other[..., 0] - one[..., 0] * other[..., 1]).sum(-1)
