"""How people weigh what they see against what they could have had, where the reward is known: models for human data."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import jax
import numpy as np

from prefront.exact.mdp import expected_rewards, solve
from prefront.exact.tables import TabularMDP
from prefront.preferences.comparisons import Comparisons
from prefront.preferences.models.base import RewardModel, check_table
from prefront.preferences.models.fitting import PUBLISHED, Descent
from prefront.preferences.models.logistic import fit_logistic
from prefront.preferences.segment_scores import check_state_numbers
from prefront.preferences.segments import Segments

Form = Literal["expanded", "regret", "partial_return"]
# Columns that each free coefficient multiplies: return, V*(end), V*(start).
COLUMNS = {
    "expanded": np.eye(3),
    "regret": np.array([[1.0], [1.0], [-1.0]]),
    "partial_return": np.array([[1.0], [0.0], [0.0]]),
}


@dataclasses.dataclass(frozen=True, eq=False)
class ExpandedRegret(RewardModel):
    """Assumes a teacher by `deterministic_regret` whose parts may count differently, and whose reward is known.

    The score of a segment is c_1 sum_t r_t + c_2 V*(end) + c_3 V*(start), where r is the reward that people were told
    (Knox et al., 2024, section 6; Hatgis-Kessell et al., 2025). The coefficients are learned by logistic regression.
    "regret" ties them to (c, c, -c) and "partial_return" to (c, 0, 0): one scale each, which is what is compared on
    human data.

    Attributes:
        mdp: The table that segments refer to.
        known_weights: Weights of the reward that people were told, shape (d,).
        form: "expanded", "regret" or "partial_return".
        gamma: Discount of V*.
        descent: How to descend where answers are separable.
        coefficients: c_1, c_2, c_3, shape (3,); None before `fit`.
    """

    assumes: ClassVar[str] = "deterministic_regret"
    result: ClassVar[str] = "coefficients"
    mdp: TabularMDP
    known_weights: Any
    form: Form = "expanded"
    gamma: float = 0.999
    descent: Descent = PUBLISHED
    coefficients: np.ndarray | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if np.shape(self.known_weights) != np.shape(self.mdp.rewards)[-1:]:
            raise ValueError(
                f"known_weights must have shape {np.shape(self.mdp.rewards)[-1:]}, got {np.shape(self.known_weights)}."
            )

    def parts(self, segments: Segments) -> np.ndarray:
        """Returns the sum of rewards, V*(end) and V*(start) of segments, shape (n, 3)."""
        check_state_numbers(segments, *np.shape(self.mdp.successors)[:2])
        weights = np.asarray(self.known_weights, np.float64)
        values = solve(self.mdp, expected_rewards(self.mdp, weights), self.gamma).values
        return np.stack([segments.features() @ weights, values[segments.end], values[segments.start]], 1)

    def fit(self, dataset: Comparisons[Any], key: jax.Array | int = 0) -> ExpandedRegret:
        """Returns the model with the coefficients of maximum likelihood."""
        check_table(self.mdp, dataset)
        difference = self.parts(dataset.first) - self.parts(dataset.second)
        found = fit_logistic(difference @ COLUMNS[self.form], dataset.labels, self.descent)
        return dataclasses.replace(self, coefficients=COLUMNS[self.form] @ found.weights)

    def scores(self, segments: Segments) -> np.ndarray:
        """Returns c_1 sum_t r_t + c_2 V*(end) + c_3 V*(start), shape (n,)."""
        return np.asarray(self.parts(segments) @ self.learned())

    def reward_table(self, mdp: TabularMDP) -> np.ndarray:
        """Returns the known reward, shape (S, A): this model learns no other."""
        return expected_rewards(mdp, self.known_weights)
