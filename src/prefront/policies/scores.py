"""How good a front is beside the true one: every indicator at once, with what each of them depends on."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from prefront.pareto import indicators
from prefront.pareto.weights import simplex_lattice
from prefront.system.read_only import read_only

if TYPE_CHECKING:
    from prefront.tasks.environment import Environment

LARGEST_LATTICE = 500
FINEST_LATTICE = 100


@dataclasses.dataclass(frozen=True)
class ReferenceFront:
    """What a front in an environment is scored against.

    Attributes:
        front: The exact or best known front, shape (points, objectives); no points where it is unknown.
        kind: "exact", "best known" or "unknown".
        reference_point: Reference point of hypervolumes, shape (objectives,).
        hypervolume: The hypervolume of the front; NaN where it is unknown.
    """

    front: np.ndarray
    kind: str
    reference_point: np.ndarray
    hypervolume: float

    def __post_init__(self) -> None:
        for name in ("front", "reference_point"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    @classmethod
    def of(cls, environment: Environment, gamma: float | None = None) -> ReferenceFront:
        """Asks an environment for its answer; `gamma` is its evaluation discount by default."""
        if environment.front_kind == "unknown":
            nothing = np.empty((0, environment.reward_dim))
            return cls(nothing, environment.front_kind, environment.reference_point, math.nan)
        front, volume = environment.pareto_front(gamma), environment.max_hypervolume(gamma)
        return cls(front, environment.front_kind, environment.reference_point, volume)

    def score(self, found: np.ndarray) -> dict[str, Any]:
        """Scores a front.

        Args:
            found: Return vectors, shape (points, objectives).

        Returns:
            Indicators by name, a row for a table: `hypervolume` and `share` (of the true one), `expected_utility` over
            a simplex lattice of at most 500 weights, `sparsity`, `cardinality`, and where the true front is known
            `points_found` of `true_points`, `igd_plus`, `additive_epsilon` and `maximum_utility_loss`.
        """
        lattice = utility_lattice(found.shape[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Points below the reference point are counted instead.
            volume = indicators.hypervolume(found, self.reference_point)
        below = ~indicators.beats_reference(found, self.reference_point)
        row: dict[str, Any] = {
            "front_kind": self.kind,
            "hypervolume": float(volume),
            "hypervolume_is_exact": volume.exact,
            "true_hypervolume": self.hypervolume,
            "share": float(volume) / self.hypervolume,
            "expected_utility": indicators.expected_utility(found, lattice),
            "sparsity": indicators.sparsity(found),
            "cardinality": indicators.cardinality(found),
            "points_below_reference": int(below.sum()),
            "true_points": len(self.front),
            "true_expected_utility": math.nan,
            "points_found": math.nan,
            "igd_plus": math.nan,
            "additive_epsilon": math.nan,
            "maximum_utility_loss": math.nan,
        }
        if len(self.front):
            row |= {
                "true_expected_utility": indicators.expected_utility(self.front, lattice),
                "points_found": int(indicators.points_found(found, self.front).sum()),
                "igd_plus": indicators.igd_plus(found, self.front),
                "additive_epsilon": indicators.additive_epsilon(found, self.front),
                "maximum_utility_loss": indicators.maximum_utility_loss(found, self.front, lattice),
            }
        return row


def utility_lattice(objectives: int) -> np.ndarray:
    """Returns the finest simplex lattice of at most 500 weights and 100 divisions, shape (weights, objectives)."""
    for divisions in range(FINEST_LATTICE, 1, -1):
        if math.comb(divisions + objectives - 1, objectives - 1) <= LARGEST_LATTICE:
            return simplex_lattice(objectives, divisions)
    return simplex_lattice(objectives, 1)
