"""An archive of evaluated policies: the non-dominated ones, each return vector once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from prefront.pareto.indicators import beats_reference, crowding_distance, hypervolume, non_dominated
from prefront.system.failures import not_finite

# Returns that agree to this share of an objective's largest magnitude are one: float32 sums differ in the last digits.
RESOLUTION = 1e-6


@dataclasses.dataclass
class Archive:
    """Mutually non-dominated return vectors and what was stored with each.

    Attributes:
        objectives: Number of objectives.
        capacity: Most entries; beyond it those of smallest crowding distance are dropped. None keeps all.
        returns: Return vectors, shape (entries, objectives), float64.
        entries: What was stored, nested dicts of arrays.
    """

    objectives: int
    capacity: int | None = None
    returns: np.ndarray = dataclasses.field(init=False)
    entries: list[dict[str, Any]] = dataclasses.field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.returns = np.zeros((0, self.objectives))

    def __len__(self) -> int:
        return len(self.entries)

    def insert(self, returns: np.ndarray, take: Callable[[int], dict[str, Any]]) -> np.ndarray:
        """Inserts what no entry dominates or equals, and removes what is dominated then.

        Args:
            returns: Return vectors, shape (candidates, objectives).
            take: Gives what to store for the candidate of an index; called for those that enter only.

        Returns:
            Indices of the candidates that entered.

        Raises:
            ValueError: A return vector, or what would be stored, is not finite; the archive is as before.
        """
        returns = np.asarray(returns, np.float64)
        if (bad := not_finite(returns)).any():
            raise ValueError(f"Candidate {np.flatnonzero(bad)[0]} has the return vector {returns[bad][0]}.")
        both = np.concatenate([self.returns, returns])
        kept = np.flatnonzero(non_dominated(_rounded(both)))
        if self.capacity is not None:
            kept = self._thinned(both, kept)
        size = len(self)
        entered = kept[kept >= size] - size
        taken = {int(i): take(int(i)) for i in entered}
        for i, entry in taken.items():
            if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(entry)):
                raise ValueError(f"Candidate {i} holds numbers that are not finite.")
        self.entries = [self.entries[i] if i < size else taken[i - size] for i in kept.tolist()]
        self.returns = both[kept]
        return entered

    def select(self, number: int) -> np.ndarray:
        """Returns the indices of the `number` entries of largest crowding distance, extremes first."""
        distances = crowding_distance(self.returns)
        return np.argsort(-distances, kind="stable")[:number]

    def ranges(self) -> np.ndarray:
        """Returns the extent of the archive in each objective, shape (objectives,)."""
        return np.ptp(self.returns, axis=0) if len(self) else np.zeros(self.objectives)

    def hypervolume(self, reference_point: np.ndarray) -> float:
        """Returns the hypervolume of the entries that beat the reference point."""
        return float(hypervolume(self.returns[beats_reference(self.returns, reference_point)], reference_point))

    def _thinned(self, points: np.ndarray, kept: np.ndarray) -> np.ndarray:
        while self.capacity is not None and len(kept) > self.capacity:
            kept = np.delete(kept, np.argmin(crowding_distance(points[kept])))
        return kept


def stacked(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stacks nested dicts of arrays along a new first axis."""
    together: dict[str, Any] = jax.tree.map(lambda *leaves: np.stack(leaves), *entries)
    return together


def unstacked(together: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """Undoes `stacked`."""
    return [jax.tree.map(lambda leaf, i=i: leaf[i], together) for i in range(number)]


def _rounded(points: np.ndarray) -> np.ndarray:
    unit = RESOLUTION * np.abs(points).max(axis=0, initial=0.0)
    return np.round(points / np.where(unit > 0, unit, 1.0))
