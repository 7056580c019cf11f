"""Settings of token worlds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from prefront.preferences.models.sequences import RewardModelSettings
from prefront.system.checks import MANY, check_between, check_least, check_most, check_types

MAX_COMPONENTS = 9
LARGEST = 4096

Correlation = float | tuple[tuple[float, ...], ...]


@dataclasses.dataclass(frozen=True)
class TokenWorldSettings:
    """What a world of token sequences is made of.

    Attributes:
        vocabulary: Number of tokens V, 2 to 4096.
        length: Tokens per sequence L, 2 to 4096.
        components: Number of gold attributes, annotators and reward models K, 1 to 9.
        correlation: Correlation of the gold attributes under the reference policy: one number for every pair, in
            (-1, 1), or a positive definite correlation matrix.
        pairs: Comparisons that each reward model learns from.
        label_noise: Rate at which answers are turned around, in [0, 0.5).
        rationality: Inverse temperature of the annotators per standard deviation of their attribute, at least 0.
        unseen_weight: Weight in gold of repetition, which no annotator sees, at least 0.
        prompts: Number of prompts; the first token of a sequence's context is drawn uniformly from the tokens 0 to
            prompts - 1. With 0 every sequence begins at the start symbol.
        per_token: Whether the reward arrives token by token instead of at the end of the sequence.
        calibration_samples: Reference sequences on which gold and nonlinear models are standardised.
        reward_model: Form and fit of the reward models.
    """

    vocabulary: int = 16
    length: int = 12
    components: int = 2
    correlation: Correlation = 0.0
    pairs: int = 500
    label_noise: float = 0.1
    rationality: float = 3.0
    unseen_weight: float = 0.5
    prompts: int = 0
    per_token: bool = False
    calibration_samples: int = 20_000
    reward_model: RewardModelSettings = dataclasses.field(default_factory=RewardModelSettings)

    def __post_init__(self) -> None:
        check_types(self)
        check_least(self, 2, "vocabulary", "length")
        check_most(self, LARGEST, "vocabulary", "length")
        check_least(self, 1, "pairs")
        check_least(self, 100, "calibration_samples")
        check_most(self, MANY, "pairs", "calibration_samples")
        if not 1 <= self.components <= MAX_COMPONENTS:
            raise ValueError(f"components must lie in 1 to {MAX_COMPONENTS}, got {self.components}.")
        if not 0 <= self.prompts <= self.vocabulary:
            raise ValueError(f"prompts must lie in 0 to vocabulary = {self.vocabulary}, got {self.prompts}.")
        check_between(self, 0, 0.5, "label_noise", closed="left")
        check_least(self, 0, "rationality", "unseen_weight")
        check_most(self, MANY, "rationality", "unseen_weight")
        if self.per_token and self.reward_model.kind != "linear":
            raise ValueError(f'per_token needs a "linear" reward model; "{self.reward_model.kind}" has no increments.')
        correlation_matrix(self.correlation, self.components)


def correlation_matrix(correlation: Any, components: int) -> np.ndarray:
    """Returns the correlation matrix of K attributes, checked.

    Args:
        correlation: One number for every pair, or a matrix.
        components: K.

    Returns:
        Shape (K, K), float64.

    Raises:
        ValueError: A correlation lies outside (-1, 1), or the matrix has the wrong shape, is not symmetric with ones on
            its diagonal, or not positive definite; the message names the value or the smallest eigenvalue.
    """
    given = np.asarray(correlation, np.float64)
    if given.ndim == 0:
        if not -1 < given < 1:
            raise ValueError(f"correlation must lie in (-1, 1), got {correlation}.")
        matrix = np.where(np.eye(components, dtype=bool), 1.0, given)
    else:
        matrix = given
    if matrix.shape != (components, components):
        raise ValueError(f"{components} components need a {components} x {components} matrix, got {matrix.shape}.")
    if not (np.array_equal(matrix, matrix.T) and np.array_equal(np.diag(matrix), np.ones(components))):
        raise ValueError(f"A correlation matrix is symmetric with ones on its diagonal, got {matrix.tolist()}.")
    smallest = np.linalg.eigvalsh(matrix)[0]
    if not smallest > 1e-6:
        raise ValueError(
            f"The correlation matrix must be positive definite; its smallest eigenvalue is {smallest:.4g}."
        )
    return matrix
