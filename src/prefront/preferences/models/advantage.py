"""Tables over states and actions: the optimal advantage, its two uses, and contrastive preference learning."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np
from scipy.special import logsumexp

from prefront.exact.mdp import TIE_TOLERANCE, optimal_policy
from prefront.exact.tables import TabularMDP
from prefront.preferences.comparisons import Comparisons
from prefront.preferences.models.base import RewardModel, check_table
from prefront.preferences.models.fitting import Descent, Fit, choice_losses, descend, padded_size, padded_to
from prefront.preferences.segment_scores import check_state_numbers
from prefront.preferences.segments import Segments

DESCENT = Descent(1.0, 2000, 2000)


class Visits(NamedTuple):
    """Entries of a flat table that n segments visit, and what each visit counts, 0 in terminal states; shape (n, T)."""

    places: Any
    powers: Any


@dataclasses.dataclass(frozen=True, eq=False)
class TableModel(RewardModel):
    """A model whose scores are sums over transitions of a table of states and actions.

    Transitions from terminal states score 0: nothing is won or lost there.

    Attributes:
        mdp: The table that segments refer to.
        discount: Discount inside segments.
        descent: How to descend.
        table: What was learned, shape (S, A), float64, 0 in terminal states; None before `fit`.
    """

    result: ClassVar[str] = "table"
    mdp: TabularMDP
    discount: float = 1.0
    descent: Descent = DESCENT
    table: np.ndarray | None = dataclasses.field(default=None, kw_only=True)

    def scores(self, segments: Segments) -> np.ndarray:
        """Returns the sums of learned numbers along segments, shape (n,)."""
        visits = _visits(segments, self.mdp, self.discount)
        return np.asarray((self.learned().ravel()[visits.places] * visits.powers).sum(1))

    def greedy_policy(self, tolerance: float = TIE_TOLERANCE) -> np.ndarray:
        """Returns the policy that takes the largest number, uniform over ties, shape (S, A).

        Args:
            tolerance: Actions tie when they lie within this share of the table's largest absolute number. What is
                learned from few answers is an estimate: one wrong action in one state can close a loop that never
                ends, and to mix actions that the estimate hardly tells apart leaves no such loop.

        Raises:
            ValueError: `tolerance` is negative.
        """
        if not tolerance >= 0:
            raise ValueError(f"tolerance must not be negative, got {tolerance!r}.")
        return optimal_policy(self.learned(), tolerance)

    def reward_table(self, mdp: TabularMDP) -> np.ndarray:
        """Returns what was learned as if it were a reward, shape (S, A)."""
        table: np.ndarray = self.learned()
        if np.shape(mdp.successors)[:2] != table.shape:
            raise ValueError(f"The table has shape {table.shape}, the MDP {np.shape(mdp.successors)[:2]}.")
        return table


@dataclasses.dataclass(frozen=True, eq=False)
class OptimalAdvantage(TableModel):
    """Assumes a teacher by `optimal_advantage`, minus the general regret: one number for each state and action.

    The table is fitted as rewards are under the partial-return model, without prior or regulariser. What is learned
    from regret preferences is the optimal advantage (Knox et al., "Learning optimal advantage from preferences and
    mistaking it for reward", AAAI 2024). It has two uses: `greedy_policy`, which is right, and `reward_table`, the
    mistake, which is harmless as long as the largest number of each state is near 0. Segments of equal length without
    transitions from terminal states leave an additive constant undetermined, and with it that.

    Noiseless answers are separable, and nothing tells a model of log-odds that a strict answer was close: a person who
    prefers by a thousandth of a unit of reward, which is what discounting alone does to two optimal segments, is
    explained by log-odds as large as one who prefers by ten units. Where such differences are answered as ties
    (`Choice(equal_within=...)`), the table is much nearer to the advantage.
    """

    assumes: ClassVar[str] = "optimal_advantage"

    def fit(self, dataset: Comparisons[Any], key: jax.Array | int = 0) -> OptimalAdvantage:
        """Returns the model with the table of the lowest loss that Adam meets."""
        return dataclasses.replace(self, table=_fit(self, dataset))


@dataclasses.dataclass(frozen=True, eq=False)
class ContrastivePolicy(TableModel):
    """Assumes a teacher by `optimal_advantage` whose best policy is of maximum entropy: A* = alpha log pi*.

    Contrastive preference learning (Hejna et al., ICLR 2024, section 3): no reward and no values, only a policy, whose
    loss is -log [e^S+ / (e^S+ + e^(bias S-))], S the discounted sum of alpha log pi. A bias below 1 keeps what was
    never shown unlikely; ties count half for each order. `table` holds alpha log pi. Probabilities are those of the
    choice model, bias 1.

    Attributes:
        alpha: Temperature of the policy.
        bias: Called lambda in the paper, in (0, 1].
    """

    assumes: ClassVar[str] = "optimal_advantage"
    alpha: float = 0.1
    bias: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.alpha > 0 or not 0 < self.bias <= 1:
            raise ValueError(f"alpha must be positive and bias in (0, 1], got {self.alpha!r} and {self.bias!r}.")

    def fit(self, dataset: Comparisons[Any], key: jax.Array | int = 0) -> ContrastivePolicy:
        """Returns the model with the policy of the lowest loss."""
        logits = _fit(self, dataset, (self.alpha, self.bias))
        table = self.alpha * (logits - logsumexp(logits, axis=1, keepdims=True))
        return dataclasses.replace(self, table=np.where(np.asarray(self.mdp.terminal)[:, None], 0.0, table))

    def policy(self) -> np.ndarray:
        """Returns the learned probabilities of actions, shape (S, A); uniform in terminal states."""
        likely = np.exp(self.learned() / self.alpha)
        return np.asarray(likely / likely.sum(1, keepdims=True))


def contrastive_loss(first: jax.Array, second: jax.Array, labels: jax.Array, bias: float) -> jax.Array:
    """Returns the loss of each pair, given the sums S of its segments; label 1 where the first was preferred."""
    for_first = jax.nn.softplus(bias * second - first)
    for_second = jax.nn.softplus(bias * first - second)
    return labels * for_first + (1 - labels) * for_second


def _visits(segments: Segments, mdp: TabularMDP, discount: float) -> Visits:
    states, actions = np.shape(mdp.successors)[:2]
    check_state_numbers(segments, states, actions)
    before = np.where(segments.mask, np.asarray(segments.states)[:, :-1], 0)
    counts = segments.mask & ~np.asarray(mdp.terminal)[before]
    places = before * actions + np.where(segments.mask, segments.actions, 0)
    return Visits(places.astype(np.int32), np.where(counts, discount ** np.arange(before.shape[1]), 0.0))


def fit_table(
    initial: jax.Array,
    first: Visits,
    second: Visits,
    labels: jax.Array,
    weights: jax.Array,
    descent: Descent = DESCENT,
    contrast: tuple[float, float] | None = None,
) -> Fit:
    """Fits a table of states and actions to choices; pure JAX, full batch.

    Args:
        initial: Table to start from, shape (S, A).
        first: Transitions of the first segment of each pair.
        second: Those of the second.
        labels: Shape (n,).
        weights: Weight of each pair, 0 for padding, shape (n,).
        descent: How to descend.
        contrast: alpha and bias of contrastive preference learning, where the table holds logits of a policy; None
            for the logistic loss of differences, where it holds what is summed.
    """
    share = weights / weights.sum()

    def loss(table: jax.Array) -> jax.Array:
        if contrast is not None:
            table = contrast[0] * jax.nn.log_softmax(table, axis=1)
        one, other = ((table.ravel()[visits.places] * visits.powers).sum(1) for visits in (first, second))
        if contrast is not None:
            return share @ contrastive_loss(one, other, labels, contrast[1])
        return share @ choice_losses(one - other, labels)

    return descend(loss, initial, descent)


def _fit(model: TableModel, dataset: Comparisons[Segments], contrast: tuple[float, float] | None = None) -> np.ndarray:
    check_table(model.mdp, dataset)
    labels = np.asarray(dataset.labels)
    count = padded_size(len(labels))
    sides = []
    for segments in (dataset.first, dataset.second):
        visits = _visits(segments, model.mdp, model.discount)
        sides.append(Visits(padded_to(visits.places, count), padded_to(visits.powers, count)))
    rows = padded_to(labels, count), padded_to(np.ones(len(labels)), count)
    initial = np.zeros(np.shape(model.mdp.successors)[:2])
    with jax.enable_x64(True):
        return np.asarray(_compiled(initial, *sides, *rows, descent=model.descent, contrast=contrast).weights)


_compiled = partial(jax.jit, static_argnames=("descent", "contrast"))(fit_table)
