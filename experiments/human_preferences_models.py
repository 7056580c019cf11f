"""The models that the study `human_preferences` fits to people's choices, and the policies that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from prefront.exact.mdp import TabularMDP
    from prefront.preferences.datasets import PreferenceDataset
    from prefront.preferences.reward_models import RewardModel

# Models that are given the true reward and learn scales only, then models that learn what people like.
GIVEN = {"partial_return": "partial return", "regret": "regret", "expanded_regret": "expanded regret"}
LEARNED = {
    "partial_return": "partial return",
    "network": "partial return, network",
    "regret": "regret, random features",
    "regret_coverage": "regret, coverage set",
    "regret_exact": "regret, exact values",
    "optimal_advantage": "optimal advantage",
    "contrastive": "contrastive policy",
}
REGRETS = tuple(name for name in LEARNED if name.startswith("regret"))
STEPS, PATIENCE = 1000, 200
# Of the preferences that a learning rate is chosen on, one in so many is held out.
INNER_FOLDS = 5


class Task(NamedTuple):
    """The delivery task as learners see it: dynamics and features, not the true reward.

    Attributes:
        mdp: Its table.
        random_features: Successor features of the optimal policies of random rewards, shape (K, S, d).
        coverage: Those of a coverage set, shape (K, S, d). Both lack the optimal policy of the true reward.
        gamma: Discount.
        learning_rates: From which regret learners choose.
    """

    mdp: TabularMDP
    random_features: np.ndarray
    coverage: np.ndarray
    gamma: float
    learning_rates: tuple[float, ...]


def fit_given(
    name: str, mdp: TabularMDP, known_weights: Any, gamma: float, datasets: Sequence[PreferenceDataset]
) -> list[RewardModel]:
    """Fits one of the `GIVEN` models, which know the weights of the true reward, to each dataset."""
    from prefront.preferences.expanded_regret import ExpandedRegret, Form

    forms: dict[str, Form] = {"expanded_regret": "expanded", "regret": "regret", "partial_return": "partial_return"}
    model = ExpandedRegret(mdp, known_weights, forms[name], gamma)
    return [model.fit(dataset) for dataset in datasets]


def fit_learned(
    name: str, task: Task, datasets: Sequence[PreferenceDataset], rng: np.random.Generator
) -> list[RewardModel]:
    """Fits one of the `LEARNED` models to each dataset.

    Regret learners first choose their learning rate for each dataset: the one that predicts a held-out fifth of this
    dataset best. Nothing else than the dataset itself enters the choice.

    Args:
        name: Which model.
        task: The task.
        datasets: What people chose.
        rng: Source of random numbers.

    Returns:
        Fitted models in the same order.
    """
    from prefront.preferences.advantage_models import ContrastivePolicy, OptimalAdvantage
    from prefront.preferences.neural_models import NeuralReward
    from prefront.preferences.reward_models import PartialReturn, fit_many

    if name in REGRETS:
        return _fit_regret(name, task, datasets, rng)
    places = np.stack(np.unravel_index(np.arange(len(task.mdp.terminal)), (10, 10)), 1)
    models: dict[str, Callable[[], RewardModel]] = {
        "partial_return": PartialReturn,
        "network": lambda: NeuralReward(4, hidden=(32,), steps=300, observations=places),
        "optimal_advantage": lambda: OptimalAdvantage(task.mdp),
        "contrastive": lambda: ContrastivePolicy(task.mdp),
    }
    return fit_many([models[name]()] * len(datasets), datasets)


def _fit_regret(
    name: str, task: Task, datasets: Sequence[PreferenceDataset], rng: np.random.Generator
) -> list[RewardModel]:
    from prefront.preferences.reward_models import cross_entropy, fit_many

    kept, held = [], []
    for dataset in datasets:
        order, count = rng.permutation(len(dataset)), len(dataset) // INNER_FOLDS
        kept.append(dataset[order[count:]])
        # Fewer than five preferences are all there is to learn from and to choose by.
        held.append(dataset[order[:count]] if count else dataset)
    losses = []
    for rate in task.learning_rates:
        fitted = fit_many([_regret_model(name, task, rate)] * len(datasets), kept)
        losses.append([cross_entropy(model, some) for model, some in zip(fitted, held, strict=True)])
    chosen = np.argmin(losses, axis=0)
    found: dict[int, RewardModel] = {}
    for number in np.unique(chosen):
        rows = np.flatnonzero(chosen == number).tolist()
        model = _regret_model(name, task, task.learning_rates[number])
        found |= zip(rows, fit_many([model] * len(rows), [datasets[row] for row in rows]), strict=True)
    return [found[row] for row in range(len(datasets))]


def _regret_model(name: str, task: Task, learning_rate: float) -> RewardModel:
    from prefront.preferences.exact_regret import ExactRegret
    from prefront.preferences.logistic import Descent
    from prefront.preferences.regret_models import SuccessorFeatureRegret

    if name == "regret_exact":
        return ExactRegret(task.mdp, task.gamma, learning_rate=learning_rate)
    features = task.random_features if name == "regret" else task.coverage
    return SuccessorFeatureRegret(task.mdp, features, gamma=task.gamma, descent=Descent(learning_rate, STEPS, PATIENCE))


def differences(model: RewardModel, dataset: PreferenceDataset) -> np.ndarray:
    """Returns by how much a fitted model likes the first segments more, in log-odds, shape (n,)."""
    return np.asarray(model.scores(dataset.first) - model.scores(dataset.second))


def policies(task: Task, models: Sequence[RewardModel]) -> np.ndarray:
    """Returns the policies that follow from fitted models, uniform over ties, shape (N, S, A).

    Those of learned rewards are optimal for them; an advantage or a policy is followed greedily.
    """
    from prefront.exact.mdp import optimal_policy, solve
    from prefront.preferences.advantage_models import TableModel

    if all(isinstance(model, TableModel) for model in models):
        return np.stack([model.greedy_policy() for model in models if isinstance(model, TableModel)])
    rewards = np.stack([model.reward_table(task.mdp) for model in models])
    return optimal_policy(solve(task.mdp, rewards, task.gamma).action_values)
