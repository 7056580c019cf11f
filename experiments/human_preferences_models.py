"""The models that the study `human_preferences` fits to people's choices, and the policies that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from prefront.exact.tables import TabularMDP
    from prefront.preferences.comparisons import Comparisons
    from prefront.preferences.models.base import RewardModel

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


class Task(NamedTuple):
    """The delivery task as learners see it: dynamics and features, not the true reward.

    Attributes:
        mdp: Its table.
        random_features: Successor features of the optimal policies of random rewards, shape (K, S, d).
        coverage: Those of a coverage set, shape (K, S, d). Both lack the optimal policy of the true reward.
        gamma: Discount.
    """

    mdp: TabularMDP
    random_features: np.ndarray
    coverage: np.ndarray
    gamma: float


def fit_given(
    name: str, mdp: TabularMDP, known_weights: Any, gamma: float, datasets: Sequence[Comparisons[Any]]
) -> list[RewardModel]:
    """Fits one of the `GIVEN` models, which know the weights of the true reward, to each dataset."""
    from prefront.preferences.models.expanded_regret import ExpandedRegret, Form

    forms: dict[str, Form] = {"expanded_regret": "expanded", "regret": "regret", "partial_return": "partial_return"}
    model = ExpandedRegret(mdp, known_weights, forms[name], gamma)
    return [model.fit(dataset) for dataset in datasets]


def fit_learned(name: str, task: Task, datasets: Sequence[Comparisons[Any]]) -> list[RewardModel]:
    """Fits one of the `LEARNED` models to each dataset.

    Regret learners search for the weights of the lowest loss, as on synthetic answers, without a prior. On the
    published preferences, in folds apart from those of the study, held-out cross-entropy is .553 nats with a coverage
    set or exact values, and .557 with random features. Adam from zero with a learning rate chosen by a held-out fifth
    gives .565 to .567 (random features: .58 to .67, by which are drawn), at four times the cost: answers of people are
    noisy, but many for six weights. Only from 50 preferences, where to stop early is a prior, is the order reversed
    (exact values: .634 and .607). A Gaussian prior of deviation 1 or 3 is no substitute: with random features it gives
    .576 and .574, and rewards that are near-optimal no more often.
    """
    from prefront.preferences.models.advantage import ContrastivePolicy, OptimalAdvantage
    from prefront.preferences.models.base import fit_many
    from prefront.preferences.models.exact_regret import ExactRegret
    from prefront.preferences.models.network import NeuralReward
    from prefront.preferences.models.partial_return import PartialReturn
    from prefront.preferences.models.regret import SuccessorFeatureRegret

    places = np.stack(np.unravel_index(np.arange(len(task.mdp.terminal)), (10, 10)), 1)
    models: dict[str, Callable[[], RewardModel]] = {
        "partial_return": PartialReturn,
        "network": lambda: NeuralReward(4, hidden=(32,), steps=300, observations=places),
        "regret": lambda: SuccessorFeatureRegret(task.mdp, task.random_features, task.gamma),
        "regret_coverage": lambda: SuccessorFeatureRegret(task.mdp, task.coverage, task.gamma),
        "regret_exact": lambda: ExactRegret(task.mdp, task.gamma),
        "optimal_advantage": lambda: OptimalAdvantage(task.mdp),
        "contrastive": lambda: ContrastivePolicy(task.mdp),
    }
    return fit_many([models[name]()] * len(datasets), datasets)


def differences(model: RewardModel, dataset: Comparisons[Any]) -> np.ndarray:
    """Returns by how much a fitted model likes the first segments more, in log-odds, shape (n,)."""
    return np.asarray(model.scores(dataset.first) - model.scores(dataset.second))


def policies(task: Task, models: Sequence[RewardModel]) -> np.ndarray:
    """Returns the policies that follow from fitted models, uniform over ties, shape (N, S, A).

    Those of learned rewards are optimal for them; an advantage or a policy is followed greedily.
    """
    from prefront.exact.mdp import optimal_policy, solve
    from prefront.preferences.models.advantage import TableModel

    if all(isinstance(model, TableModel) for model in models):
        return np.stack([model.greedy_policy() for model in models if isinstance(model, TableModel)])
    rewards = np.stack([model.reward_table(task.mdp) for model in models])
    return optimal_policy(solve(task.mdp, rewards, task.gamma).action_values)
