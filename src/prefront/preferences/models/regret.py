"""Models of people who choose by regret, with values read from a set of successor features."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from prefront.exact.tables import TabularMDP
from prefront.preferences.comparisons import Comparisons
from prefront.preferences.models.base import LinearRewardModel, check_table
from prefront.preferences.models.fitting import Descent, Fit, descend, padded_size
from prefront.preferences.models.regret_search import (
    DEFAULT,
    STATE_SIZES,
    Problem,
    Search,
    candidate_weights,
    compiled_search,
    measure,
    pose,
)
from prefront.preferences.segment_scores import Regret, evaluate, linear_form, pair_form
from prefront.preferences.segments import Segments
from prefront.system.checks import check_positive

# Numbers of policies for which programs are compiled.
POLICY_SIZES = (32, 64, 128)
# Published learning rates are 0.5 and 2; results do not depend on it.
DESCENT = Descent(0.5, 1000, 100)
TEMPERATURE = 0.001


def soft_values(features: Any, weights: Any, temperature: float = TEMPERATURE) -> np.ndarray:
    """Returns V~(s) = sum_i softmax_i(psi_i(s) @ w / temperature) psi_i(s) @ w, shape (S,), for features (K, S, d)."""
    values = np.asarray(features, np.float64) @ np.asarray(weights, np.float64)
    likely = np.exp((values - values.max(0)) / temperature)
    return np.asarray((likely * values).sum(0) / likely.sum(0))


def fit_soft_regret(
    features: jax.Array,
    policies: jax.Array,
    problem: Problem,
    descent: Descent = DESCENT,
    temperature: float = TEMPERATURE,
) -> Fit:
    """Fits reward weights whose regrets explain choices, by Adam from zero (Knox et al., 2024, algorithm 1); pure JAX.

    Args:
        features: Successor features by feature, shape (d, K, S).
        policies: Which of the K are policies rather than padding, shape (K,).
        problem: Answers, whose states count through S.
        descent: How to descend.
        temperature: Of the softmax over policies.

    Returns:
        The weights of the lowest loss that was met.
    """
    barred = jnp.where(policies, 0.0, -jnp.inf)[:, None]

    def loss(w: jax.Array) -> jax.Array:
        values = sum(w[i] * features[i] for i in range(len(w)))
        likely = jax.nn.softmax(values / temperature + barred, axis=0)
        return measure(problem, w, (likely * values).sum(0))[1]

    return descend(loss, jnp.zeros(len(features), features.dtype), descent)


@dataclasses.dataclass(frozen=True, eq=False)
class SuccessorFeatureRegret(LinearRewardModel):
    """Assumes a teacher by `deterministic_regret` (or `general_regret`, as `statistic` says).

    Minus the regret of a segment is w @ phi + V~(end) - V~(start), where V~ is the softmax over a fixed set of
    successor features: random ones as published, or a coverage set in their place
    (`prefront.preferences.successor_sets`).

    Attributes:
        mdp: The table that segments refer to; its features, not the true reward, are all that is used.
        features: Successor features, shape (K, S, d).
        gamma: Discount of values.
        discount: Discount inside segments.
        statistic: "deterministic_regret" or "general_regret".
        temperature: Of the softmax over successor features; 0.001 as published.
        search: How widely weights of low loss are searched for; None for Adam from zero, which is published and often
            stops at a high loss.
        descent: How Adam descends where there is no search.
    """

    assumes: ClassVar[str] = "deterministic_regret"
    mdp: TabularMDP
    features: np.ndarray
    gamma: float = 0.999
    discount: float = 1.0
    statistic: Regret = "deterministic_regret"
    temperature: float = TEMPERATURE
    search: Search | None = DEFAULT
    descent: Descent = DESCENT

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "temperature")
        want = (*np.shape(self.mdp.terminal), np.shape(self.mdp.rewards)[-1])
        if np.ndim(self.features) != 3 or np.shape(self.features)[1:] != want or not len(self.features):
            raise ValueError(f"features must have shape (K, {want[0]}, {want[-1]}), got {np.shape(self.features)}.")

    def fit(self, dataset: Comparisons[Any], key: jax.Array | int = 0) -> SuccessorFeatureRegret:
        """Returns the model with the weights of the lowest loss."""
        check_table(self.mdp, dataset)
        form = pair_form(dataset, self.statistic, self.mdp, self.gamma, self.discount)
        problem, states = pose(form, np.asarray(dataset.labels))
        # Only what the answers can tell apart enters the arrays.
        psi = np.unique(np.asarray(self.features, np.float64)[:, states], axis=0)
        d = psi.shape[2]
        padded = np.zeros((d, padded_size(len(psi), POLICY_SIZES), padded_size(len(states), STATE_SIZES)))
        padded[:, : psi.shape[0], : psi.shape[1]] = psi.transpose(2, 0, 1)
        arrays = (padded, np.arange(padded.shape[1]) < len(psi), problem)
        with jax.enable_x64(True):
            if self.search is None:
                found = _compiled(*arrays, descent=self.descent, temperature=self.temperature)
            else:
                candidates = candidate_weights(self.search.candidates, self.mdp.rewards)
                found = compiled_search(*arrays, candidates, search=self.search, temperature=self.temperature)
            return dataclasses.replace(self, weights=np.asarray(found.weights), loss=float(found.loss))

    def values(self) -> np.ndarray:
        """Returns V~ of the learned reward, shape (S,)."""
        return soft_values(self.features, self.learned(), self.temperature)

    def scores(self, segments: Segments) -> np.ndarray:
        """Returns minus the learned regrets, shape (n,)."""
        form = linear_form(segments, self.statistic, self.mdp, self.gamma, self.discount)
        return evaluate(form, self.learned(), self.values())


_compiled = partial(jax.jit, static_argnames=("descent", "temperature"))(fit_soft_regret)
