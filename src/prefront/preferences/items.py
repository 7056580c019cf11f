"""Things that people compare, in batches: the contract, options with numbers, and sequences of tokens."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import jax
import numpy as np

from prefront.system.checks import check_discount


class Items(abc.ABC):
    """n things that people compare; a frozen dataclass and a pytree whose leaves have the leading axis n.

    Fields of the dataclass are arrays, or with the metadata `static` settings that all n share.
    """

    def __len__(self) -> int:
        return len(jax.tree.leaves(self)[0])

    def __getitem__(self, rows: Any) -> Self:
        """Returns some of the items."""
        chosen: Self = jax.tree.map(lambda leaf: leaf[rows], self)
        return chosen

    @property
    @abc.abstractmethod
    def kind(self) -> dict[str, Any]:
        """What two batches must share to be compared or joined."""

    @abc.abstractmethod
    def features(self, discount: float = 1.0) -> np.ndarray:
        """Returns what a model of any items can see, shape (n, d), float64.

        Args:
            discount: In (0, 1], of what comes later inside an item; items without time ignore it.
        """

    @abc.abstractmethod
    def checked(self, name: str = "items") -> Self:
        """Returns the items as NumPy arrays after checking them.

        Raises:
            ValueError: Shapes disagree, or a row is wrong; the message names the row and its value.
        """

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Joins batches.

        Raises:
            ValueError: There are none, or they are not of one kind.
        """
        kinds = {str(part.kind) for part in parts}
        if len(kinds) != 1:
            raise ValueError(f"{cls.__name__} to join must be of one kind, got {sorted(kinds)}.")
        joined: Self = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        return joined


def static(**settings: Any) -> Any:
    """Returns a dataclass field that all items of a batch share; arguments as in `dataclasses.field`."""
    return dataclasses.field(metadata={"static": True}, **settings)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Options(Items):
    """Things known by their numbers alone: arms, answers, products.

    Attributes:
        values: Shape (n, d).
        context: In which situation each was offered, shape (n, c); None where there is only one.
    """

    values: Any
    context: Any = None

    @property
    def kind(self) -> dict[str, Any]:
        """Numbers of values and of context values."""
        context = None if self.context is None else np.shape(self.context)[1]
        return {"values": np.shape(self.values)[1], "context": context}

    def features(self, discount: float = 1.0) -> np.ndarray:
        """Returns the values, and after them their products with each number of the context, shape (n, d (1 + c))."""
        values = np.asarray(self.values, np.float64)
        if self.context is None:
            return values
        products = np.asarray(self.context, np.float64)[:, :, None] * values[:, None, :]
        return np.concatenate([values, products.reshape(len(values), -1)], 1)

    def checked(self, name: str = "options") -> Options:
        """Returns the options as NumPy arrays after checking that they are finite."""
        values = np.asarray(self.values, np.float64)
        context = None if self.context is None else np.asarray(self.context, np.float64)
        for field, array in (("values", values), ("context", context)):
            if array is None:
                continue
            if array.ndim != 2 or len(array) != len(values):
                raise ValueError(f"{name}: {field} must have shape ({len(values)}, numbers), got {array.shape}.")
            for row in np.flatnonzero(~np.isfinite(array).all(1)):
                raise ValueError(f"{name}: row {row} has {field} {array[row]}, which must be finite.")
        return Options(values, context)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Sequences(Items):
    """Sequences of L tokens, the context first (`prefront.exact.kl_regularised`).

    Attributes:
        tokens: Shape (n, L + 1), integers below V; the context may also be V, the start symbol.
        mask: Which of the L tokens after the context belong to the sequence, shape (n, L); None for all.
        vocabulary: V.
    """

    tokens: Any
    mask: Any = None
    vocabulary: int = static(kw_only=True)

    @property
    def kind(self) -> dict[str, Any]:
        """Vocabulary and length, and whether there is a mask."""
        length = np.shape(self.tokens)[1] - 1
        return {"vocabulary": self.vocabulary, "length": length, "mask": self.mask is not None}

    def features(self, discount: float = 1.0) -> np.ndarray:
        """Returns how often each token was written, discounted from the beginning, shape (n, V)."""
        check_discount(discount)
        tokens = np.asarray(self.tokens)[:, 1:]
        powers = np.broadcast_to(discount ** np.arange(tokens.shape[1]), tokens.shape)
        weights = powers if self.mask is None else np.where(self.mask, powers, 0.0)
        rows = np.broadcast_to(np.arange(len(tokens))[:, None], tokens.shape)
        counts = np.zeros((len(tokens), self.vocabulary + 1))
        # Padding may hold any number.
        np.add.at(counts, (rows, np.clip(tokens, 0, self.vocabulary)), weights)
        return counts[:, :-1]

    def checked(self, name: str = "sequences") -> Sequences:
        """Returns the sequences as NumPy arrays after checking every token."""
        tokens = np.asarray(self.tokens)
        if tokens.ndim != 2 or tokens.shape[1] < 2 or tokens.dtype.kind not in "iu":
            raise ValueError(f"{name}: tokens must be integers (n, L + 1), got {tokens.dtype} {tokens.shape}.")
        shape = len(tokens), tokens.shape[1] - 1
        mask = None if self.mask is None else np.asarray(self.mask, bool)
        if mask is not None and mask.shape != shape:
            raise ValueError(f"{name}: mask must have shape {shape}, got {mask.shape}.")
        after = np.ones(shape, bool) if mask is None else mask
        bound = self.vocabulary + np.append(1, np.zeros(shape[1], int))
        wrong = ((tokens < 0) | (tokens >= bound)) & np.pad(after, ((0, 0), (1, 0)), constant_values=True)
        for row, place in np.argwhere(wrong):
            raise ValueError(
                f"{name}: row {row}, place {place}: tokens must lie in [0, {bound[place]}), got {tokens[row, place]}."
            )
        return dataclasses.replace(self, tokens=tokens.astype(np.int32), mask=mask)
