"""What every model of people's choices answers, and those that give a reward.

Every model is a frozen description. `fit` returns a fitted copy and leaves the model as it was, so any model can meet
any comparisons of any teacher. Margins are in log-odds: P(first over second) = sigmoid(margin(first, second)), so a
person's rationality is part of the scale of what is learned, and no temperature is left to choose.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Self, TypeVar

import jax
import numpy as np
from scipy.special import expit

from prefront.exact.mdp import expected_rewards
from prefront.exact.tables import TabularMDP
from prefront.preferences.comparisons import Comparisons
from prefront.preferences.segments import Segments
from prefront.system.checks import check_between, check_types

Model = TypeVar("Model", bound="PreferenceModel")
# Fields of models that are learned, not set.
RESULTS = ("weights", "loss", "table", "coefficients", "fitted")


class NotFittedError(RuntimeError):
    """A model was asked for what only a fitted one knows."""


class PreferenceModel(abc.ABC):
    """What all models of people's choices answer, whether or not there is a reward behind them.

    Attributes:
        result: The field that holds what was learned, None before `fit`.
    """

    result: ClassVar[str]

    def __post_init__(self) -> None:
        """Checks the settings of a model that is a dataclass."""
        check_types(self, without=RESULTS)
        settings = {field.name for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        check_between(self, 0, 1, *settings & {"gamma"})
        check_between(self, 0, 1, *settings & {"discount"}, closed="right")

    def learned(self) -> Any:
        """Returns what was learned.

        Raises:
            NotFittedError: There is nothing yet.
        """
        found = getattr(self, self.result)
        if found is None:
            raise NotFittedError(f"{type(self).__name__} has not been fitted: call fit(dataset) and use what it gives.")
        return found

    @abc.abstractmethod
    def fit(self, dataset: Comparisons[Any], key: jax.Array | int = 0) -> Self:
        """Returns the model fitted to all answers, whoever gave them; ties count as targets of 0.5.

        Args:
            dataset: The answers.
            key: Random key, or a seed, of what is drawn; models with an exact fit draw nothing.
        """

    @abc.abstractmethod
    def margin(self, first: Any, second: Any, person: Any = None) -> np.ndarray:
        """Returns by how much the first item of each pair is preferred, in log-odds, shape (n,), float64.

        Args:
            first: The first items.
            second: The second items.
            person: Who is asked; models of one taste for all ignore it.

        Raises:
            NotFittedError: The model has not been fitted.
        """

    def probability(self, first: Any, second: Any) -> np.ndarray:
        """Returns the probability that the first item of each pair is preferred, shape (n,)."""
        return np.asarray(expit(self.margin(first, second)))

    def log_likelihood(self, dataset: Comparisons[Any]) -> float:
        """Returns the sum over answers of label log P(first) + (1 - label) log P(second), nats; always finite."""
        margin = self.margin(dataset.first, dataset.second)
        return float((dataset.labels * margin - np.logaddexp(0.0, margin)).sum())

    @classmethod
    def fit_batch(cls, models: Sequence[Self], datasets: Sequence[Comparisons[Any]]) -> list[Self]:
        """Fits models of this class, see `fit_many`."""
        return [model.fit(dataset) for model, dataset in zip(models, datasets, strict=True)]


class RewardModel(PreferenceModel):
    """A model whose margin is a difference of scores: people like what has more of something.

    Attributes:
        assumes: The statistic of the teacher for whom the model is well specified.
    """

    assumes: ClassVar[str]

    @abc.abstractmethod
    def scores(self, segments: Any) -> np.ndarray:
        """Returns how much items are liked, in log-odds, shape (n,), float64.

        Raises:
            NotFittedError: The model has not been fitted.
        """

    def margin(self, first: Any, second: Any, person: Any = None) -> np.ndarray:
        """Returns the scores of the first items minus those of the second, shape (n,)."""
        return np.asarray(self.scores(first) - self.scores(second))

    def reward_table(self, mdp: TabularMDP) -> np.ndarray:
        """Returns the mean learned reward of every state and action of a table, shape (S, A)."""
        raise NotImplementedError(f"{type(self).__name__} has no reward on tables.")


def fit_many(models: Sequence[Model], datasets: Sequence[Comparisons[Any]]) -> list[Model]:
    """Fits many models of one class at once, which is much faster for tabular ones than one after the other.

    Args:
        models: Descriptions that differ only in their tables and features.
        datasets: One dataset for each model.

    Returns:
        Fitted models in the same order.

    Raises:
        ValueError: Numbers or classes differ.
    """
    kinds = {type(model) for model in models}
    if len(models) != len(datasets) or len(kinds) != 1:
        names = sorted(kind.__name__ for kind in kinds)
        raise ValueError(f"{len(models)} models of {names} cannot be fitted to {len(datasets)} datasets.")
    return kinds.pop().fit_batch(models, datasets)


def fit_persons(model: Model, dataset: Comparisons[Any]) -> dict[str, Model]:
    """Fits a model of its own to the answers of each person; they share tables and features, not weights."""
    parts = dataset.by_person()
    return dict(zip(parts, fit_many([model] * len(parts), list(parts.values())), strict=True))


def cross_entropy(model: PreferenceModel, dataset: Comparisons[Any]) -> float:
    """Returns minus the mean log-likelihood of answers, nats."""
    return -model.log_likelihood(dataset) / len(dataset)


def accuracy(model: PreferenceModel, dataset: Comparisons[Any]) -> float:
    """Returns the share of strict answers, those that are no ties, on whose side the model is.

    Where the model is indifferent it counts one half.

    Raises:
        ValueError: There is no strict answer.
    """
    strict = np.asarray(dataset.labels) != 0.5
    if not strict.any():
        raise ValueError(f"All {len(dataset)} answers are ties: there is no strict accuracy.")
    side = np.sign(model.margin(dataset.first, dataset.second))[strict]
    return float(((side * np.sign(np.asarray(dataset.labels)[strict] - 0.5) + 1) / 2).mean())


@dataclasses.dataclass(frozen=True, eq=False)
class LinearRewardModel(RewardModel):
    """A model whose reward is linear in the features of transitions: r = weights @ features.

    Attributes:
        weights: What was learned, shape (d,), float64; None before `fit`.
        loss: Mean cross-entropy of the fit, nats.
    """

    result: ClassVar[str] = "weights"
    weights: np.ndarray | None = dataclasses.field(default=None, kw_only=True)
    loss: float = dataclasses.field(default=np.nan, kw_only=True)

    def reward_table(self, mdp: TabularMDP) -> np.ndarray:
        """Returns the mean learned reward of every state and action, shape (S, A)."""
        return expected_rewards(mdp, self.learned())

    def reward(self, features: Any) -> np.ndarray:
        """Returns the learned reward of feature vectors (..., d), shape (...)."""
        return np.asarray(np.asarray(features, np.float64) @ self.learned())


def check_table(mdp: TabularMDP, dataset: Comparisons[Segments]) -> None:
    """Raises ValueError unless a dataset has as many features as a single table."""
    if np.ndim(mdp.terminal) != 1:
        raise ValueError(f"A model needs one MDP, got a batch of {len(mdp.terminal)}; use fit_many for batches.")
    if dataset.first.rewards.shape[2] != np.shape(mdp.rewards)[-1]:
        raise ValueError(
            f"The dataset has {dataset.first.rewards.shape[2]} features, the table has {np.shape(mdp.rewards)[-1]}."
        )
