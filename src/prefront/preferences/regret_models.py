"""Models of people who choose by regret, with values read from a set of successor features."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from prefront.exact.mdp import TabularMDP, optimal_successor_features
from prefront.preferences.datasets import PreferenceDataset
from prefront.preferences.linear_forms import FORMS, LinearForm, evaluate, linear_form, padded_to, pair_form
from prefront.preferences.logistic import Descent, Fit, choice_losses, descend, padded_size
from prefront.preferences.regret_search import Search, candidate_weights, compiled_search
from prefront.preferences.reward_models import LinearRewardModel, check_table
from prefront.preferences.segments import Segments
from prefront.preferences.successor_sets import SAME_POLICY
from prefront.registration import nearest_names

# Numbers of policies and of states for which programs are compiled.
POLICY_SIZES, STATE_SIZES = (32, 64, 128), (64, 160)
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
    form: LinearForm,
    labels: jax.Array,
    weights: jax.Array,
    initial: jax.Array,
    descent: Descent = DESCENT,
    temperature: float = TEMPERATURE,
) -> Fit:
    """Fits reward weights whose regrets explain choices (Knox et al., 2024, algorithm 1); pure JAX, full batch.

    Args:
        features: Successor features by feature, shape (d, K, S).
        policies: Which of the K are policies rather than padding, shape (K,).
        form: Regret differences of n pairs, whose states count through S.
        labels: Shape (n,).
        weights: Weight of each pair, 0 for padding, shape (n,).
        initial: Reward weights to start from, shape (d,).
        descent: How to descend.
        temperature: Of the softmax over policies.

    Returns:
        The weights of the lowest loss that was met.
    """
    share = weights / weights.sum()
    barred = jnp.where(policies, 0.0, -jnp.inf)[:, None]

    def loss(w: jax.Array) -> jax.Array:
        values = sum(w[i] * features[i] for i in range(len(w)))
        likely = jax.nn.softmax(values / temperature + barred, axis=0)
        state_values = (likely * values).sum(0)
        difference = form.features @ w + (form.coefficients * state_values[form.states]).sum(-1)
        return share @ choice_losses(difference, labels)

    return descend(loss, initial, descent)


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
        descent: How to descend.
        temperature: Of the softmax over successor features; 0.001 as published.
        additions: At most so many times the exact optimal policy of the fitted reward joins the set, and the fit goes
            on from where it is. Where nothing is left to add, V~ of the learned reward is its V*. 0 as published.
        search: Look for weights of low loss by `prefront.preferences.regret_search`, instead of Adam from zero, which
            is published and often stops at a high loss.
    """

    assumes: ClassVar[str] = "deterministic_regret"
    mdp: TabularMDP
    features: np.ndarray
    gamma: float = 0.999
    discount: float = 1.0
    statistic: str = "deterministic_regret"
    descent: Descent = DESCENT
    temperature: float = TEMPERATURE
    additions: int = 0
    search: Search | None = None

    def __post_init__(self) -> None:
        check_regret(self.statistic)
        want = (*np.shape(self.mdp.terminal), np.shape(self.mdp.features)[-1])
        if np.ndim(self.features) != 3 or np.shape(self.features)[1:] != want or not len(self.features):
            raise ValueError(f"features must have shape (K, {want[0]}, {want[-1]}), got {np.shape(self.features)}.")

    def fit(self, dataset: PreferenceDataset) -> SuccessorFeatureRegret:
        """Returns the model with the weights of the lowest loss."""
        check_table(self.mdp, dataset)
        form = pair_form(dataset, self.statistic, self.mdp, self.gamma, self.discount)
        labels = np.asarray(dataset.labels)
        fitted = _fit_one(self, form, labels, None)
        for _ in range(self.additions):
            grown = _with_optimal_policy(fitted)
            if len(grown.features) == len(fitted.features):
                break
            fitted = _fit_one(grown, form, labels, fitted.weights)
        return fitted

    def values(self) -> np.ndarray:
        """Returns V~ of the learned reward, shape (S,)."""
        return soft_values(self.features, self.learned(), self.temperature)

    def scores(self, segments: Segments) -> np.ndarray:
        """Returns minus the learned regrets, shape (n,)."""
        return evaluate(linear_form(segments, self.statistic, self.mdp, self.gamma, self.discount), *self._reward())

    def _reward(self) -> tuple[np.ndarray, np.ndarray]:
        return self.learned(), self.values()


def check_regret(statistic: str) -> None:
    """Raises ValueError unless a statistic is one of the two regrets."""
    if statistic not in FORMS[1:]:
        raise ValueError(f"No regret {statistic!r}. {nearest_names(statistic, list(FORMS[1:]))}")


def _with_optimal_policy(model: SuccessorFeatureRegret) -> SuccessorFeatureRegret:
    """Adds the optimal policy of the learned reward, where it is worth more than the set in some state."""
    w = model.learned()
    optimal = optimal_successor_features(model.mdp, w[None], model.gamma)
    values = optimal[0] @ w
    short = (values - (model.features @ w).max(0)).max()
    if short <= SAME_POLICY * max(float(np.abs(values).max()), 1e-30):
        return model
    return dataclasses.replace(model, features=np.concatenate([model.features, optimal]))


def _fit_one(
    model: SuccessorFeatureRegret, form: LinearForm, labels: np.ndarray, initial: np.ndarray | None
) -> SuccessorFeatureRegret:
    """Fits one model, with only those states and policies in its arrays that the answers can tell apart."""
    states, numbers = np.unique(form.states, return_inverse=True)
    psi = np.unique(np.asarray(model.features, np.float64)[:, states], axis=0)
    d, count = psi.shape[2], padded_size(len(labels))
    padded = np.zeros((d, padded_size(len(psi), POLICY_SIZES), padded_size(len(states), STATE_SIZES)))
    padded[:, : psi.shape[0], : psi.shape[1]] = psi.transpose(2, 0, 1)
    own = form._replace(states=numbers.reshape(form.states.shape).astype(np.int32))
    rows = LinearForm(*(padded_to(part, count) for part in own))
    weights = padded_to(np.ones(len(labels)), count)
    problem = (padded, np.arange(padded.shape[1]) < len(psi), rows, padded_to(labels, count), weights)
    start = np.zeros(d) if initial is None else initial
    with jax.enable_x64(True):
        if model.search is None:
            found = _compiled(*problem, start, descent=model.descent, temperature=model.temperature)
        else:
            candidates = candidate_weights(model.search.candidates, d)
            candidates[0] = start
            found = compiled_search(*problem, candidates, search=model.search, temperature=model.temperature)
        return dataclasses.replace(model, weights=np.asarray(found.weights), loss=float(found.loss))


_compiled = partial(jax.jit, static_argnames=("descent", "temperature"))(fit_soft_regret)
