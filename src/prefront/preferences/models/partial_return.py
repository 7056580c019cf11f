"""The model that assumes partial returns; on any items, Bradley and Terry's with linear scores."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import numpy as np

from prefront.preferences.comparisons import Comparisons
from prefront.preferences.items import Items
from prefront.preferences.models.base import LinearRewardModel
from prefront.preferences.models.fitting import PUBLISHED, Descent
from prefront.preferences.models.logistic import fit_logistic


@dataclasses.dataclass(frozen=True, eq=False)
class PartialReturn(LinearRewardModel):
    """Assumes a teacher by `partial_return`: people compare the sums of rewards inside the segments.

    On other items than segments it is the model of Bradley and Terry (1952), linear in their features.

    Logistic regression on the difference of summed features (Knox et al., 2024, section 2; Christiano et al., 2017): no
    bias, no regulariser unless one is asked for, all answers at once. How it stops where answers are separable is told
    in `prefront.preferences.models.logistic.fit_logistic`.

    Attributes:
        discount: Discount inside segments.
        descent: How to descend where answers are separable; published learning rates are 2 and 0.5.
        l2: Penalty l2/2 |weights|^2 beside the mean loss, in the units of the features.
    """

    assumes: ClassVar[str] = "partial_return"
    discount: float = 1.0
    descent: Descent = PUBLISHED
    l2: float = 0.0

    def fit(self, dataset: Comparisons[Any], key: jax.Array | int = 0) -> PartialReturn:
        """Returns the model with the weights of maximum likelihood."""
        features = dataset.first.features(self.discount) - dataset.second.features(self.discount)
        found = fit_logistic(features, dataset.labels, self.descent, self.l2)
        return dataclasses.replace(self, weights=found.weights, loss=float(found.loss))

    def scores(self, segments: Items) -> np.ndarray:
        """Returns the learned partial returns, shape (n,)."""
        return np.asarray(segments.features(self.discount) @ self.learned())
