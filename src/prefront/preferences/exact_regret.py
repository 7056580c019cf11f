"""The regret model with exact values: every step is taken with the optimal policy of the reward it starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from scipy.special import expit

from prefront.exact.mdp import (
    TabularMDP,
    expected_rewards,
    optimal_successor_features,
    random_policy,
    solve,
    stack,
    successor_features,
)
from prefront.preferences.datasets import PreferenceDataset
from prefront.preferences.linear_forms import LinearForm, evaluate, linear_form, pair_form
from prefront.preferences.logistic import GAIN
from prefront.preferences.regret_models import check_regret
from prefront.preferences.reward_models import LinearRewardModel, check_table
from prefront.preferences.segments import Segments

MOMENTUM, SQUARES, SMALL = 0.9, 0.999, 1e-8


@dataclasses.dataclass(frozen=True, eq=False)
class ExactRegret(LinearRewardModel):
    """Assumes a teacher by `deterministic_regret` (or `general_regret`, as `statistic` says).

    Minus the regret of a segment is w @ phi + V*(end) - V*(start), where V* is exact for the w at hand. By the envelope
    theorem its gradient is that of psi* @ w, the successor features of an optimal policy held fixed; so the fit
    alternates between solving the MDP and a few steps of logistic regression (Adam) on features that hold psi*. It
    begins at w = 0, where the policy uniform over ties is the random one, and keeps the weights of the lowest loss,
    which is always taken with the exact V*.

    Attributes:
        mdp: The table that segments refer to.
        gamma: Discount of values.
        discount: Discount inside segments.
        statistic: "deterministic_regret" or "general_regret".
        learning_rate: Adam's.
        rounds: How often the MDP is solved at most.
        steps: Steps between two solutions.
        patience: It stops after so many rounds in which the lowest loss fell by less than 1e-4 of itself.
    """

    assumes: ClassVar[str] = "deterministic_regret"
    mdp: TabularMDP
    gamma: float = 0.999
    discount: float = 1.0
    statistic: str = "deterministic_regret"
    learning_rate: float = 0.5
    rounds: int = 200
    steps: int = 5
    patience: int = 30

    def __post_init__(self) -> None:
        check_regret(self.statistic)

    def fit(self, dataset: PreferenceDataset) -> ExactRegret:
        """Returns the model with the weights of the lowest loss."""
        return self.fit_batch([self], [dataset])[0]

    def values(self) -> np.ndarray:
        """Returns V* of the learned reward, shape (S,)."""
        return solve(self.mdp, expected_rewards(self.mdp, self.learned()), self.gamma).values

    def scores(self, segments: Segments) -> np.ndarray:
        """Returns minus the learned regrets, shape (n,)."""
        form = linear_form(segments, self.statistic, self.mdp, self.gamma, self.discount)
        return evaluate(form, self.learned(), self.values())

    @classmethod
    def fit_batch(cls, models: Sequence[ExactRegret], datasets: Sequence[PreferenceDataset]) -> list[ExactRegret]:
        """Fits all side by side: one call of the exact solver serves them all, until each has stopped."""
        forms, labels = [], []
        for model, dataset in zip(models, datasets, strict=True):
            check_table(model.mdp, dataset)
            forms.append(pair_form(dataset, model.statistic, model.mdp, model.gamma, model.discount))
            labels.append(np.asarray(dataset.labels))
        shared = {(m.gamma, m.learning_rate, m.rounds, m.steps, m.patience) for m in models}
        if len(shared) > 1:
            raise ValueError("Models that are fitted at once must agree on everything but tables and statistics.")
        table = stack([model.mdp for model in models])
        best, loss = _fit_all(table, forms, labels, models[0])
        return [
            dataclasses.replace(model, weights=w, loss=float(lowest))
            for model, w, lowest in zip(models, best, loss, strict=True)
        ]


def choice_features(form: LinearForm, successors: np.ndarray) -> np.ndarray:
    """Returns the gradient of statistics by the weights, shape (n, d), where values are successors (S, d) @ weights."""
    return np.asarray(form.features + np.einsum("ne,ned->nd", form.coefficients, successors[form.states]))


def _fit_all(
    table: TabularMDP, forms: list[LinearForm], labels: list[np.ndarray], model: ExactRegret
) -> tuple[np.ndarray, np.ndarray]:
    count, d = len(forms), forms[0].features.shape[1]
    w, best = np.zeros((count, d)), np.zeros((count, d))
    mean, square = np.zeros((count, d)), np.zeros((count, d))
    lowest, bar = np.full(count, np.inf), np.full(count, np.inf)
    idle = np.zeros(count, int)
    active = np.arange(count)
    psi = successor_features(table, random_policy(table), model.gamma)
    for turn in range(model.rounds):
        if turn:
            part = TabularMDP(*(leaf[active] for leaf in table))
            psi = optimal_successor_features(part, w[active, None], model.gamma)[:, 0]
        for row, i in zip(psi, active, strict=True):
            features = choice_features(forms[i], row)
            difference = features @ w[i]
            loss = float((np.logaddexp(0.0, difference) - labels[i] * difference).mean())
            if loss < lowest[i]:
                lowest[i], best[i] = loss, w[i]
            idle[i] += 1
            if loss < bar[i] * (1 - GAIN):
                bar[i], idle[i] = loss, 0
            for step in range(turn * model.steps, (turn + 1) * model.steps):
                gradient = (expit(features @ w[i]) - labels[i]) @ features / len(features)
                mean[i] = MOMENTUM * mean[i] + (1 - MOMENTUM) * gradient
                square[i] = SQUARES * square[i] + (1 - SQUARES) * gradient**2
                pace = np.sqrt(square[i] / (1 - SQUARES ** (step + 1))) + SMALL
                w[i] -= model.learning_rate * mean[i] / (1 - MOMENTUM ** (step + 1)) / pace
        active = active[idle[active] < model.patience]
        if not len(active):
            break
    return best, lowest
