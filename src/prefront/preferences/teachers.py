"""Teachers: simulated people who own a true reward and compare segments by it.

A teacher is the only thing that knows the reward. It has no attribute that shows it, refuses to be copied or stored,
and what it hands out is a `Comparisons`: segments, answers and names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, get_args

import numpy as np

from prefront.exact.mdp import expected_rewards, solve
from prefront.exact.tables import TabularMDP, check_mdp
from prefront.preferences.choice import Choice, Linear, Utility
from prefront.preferences.comparisons import Comparisons
from prefront.preferences.segment_scores import check_state_numbers
from prefront.preferences.segments import Segments
from prefront.system.checks import nearest_names

Statistic = Literal["partial_return", "deterministic_regret", "general_regret", "optimal_advantage"]
STATISTICS: tuple[str, ...] = get_args(Statistic)
Score = Callable[[Segments, int], np.ndarray]


class Teacher:
    """One person, or a population, who compares segments by a statistic of the true reward.

    The statistics, of which more is always better (Knox et al., 2024, sections 2 and 3; V*, Q* at discount `gamma`,
    delta the `discount` inside a segment of states s_0 to s_T):

    * `partial_return`: sum_t delta^t r_t.
    * `deterministic_regret`: -(V*(s_0) - sum_t delta^t r_t - delta^T V*(s_T)), minus the regret.
    * `general_regret`: -sum_t delta^t (V*(s_t) - Q*(s_t, a_t)), minus the regret.
    * `optimal_advantage`: sum_t delta^t A*(s_t, a_t), which is minus the general regret: the same teacher by the
      name of what "Learning optimal advantage from preferences and mistaking it for reward" (2024) learns from it.

    The two regrets are equal on deterministic transitions when delta = gamma. With delta = 1, as in the paper's
    experiments, they differ by (1 - gamma) times the values along the segment.

    A linear utility makes one reward of the features, of which the statistic is taken. Any other utility is applied to
    the statistics of every objective by itself, where V* is that of the best policy for this one objective.

    Args:
        statistic: Which of the four.
        utility: Whose weights are the true reward; weights of shape (P, d) make a population of P persons.
        choice: How an answer follows from two statistics.
        mdp: The table that segments refer to by state number; `partial_return` needs none.
        gamma: Discount of V* and Q*, in (0, 1).
        discount: Discount inside segments, in (0, 1]; 1 as in the paper.
        reference: Segments that define the unit of statistics for `Choice(scale="reference")`.
        names: Names of the persons; "person 0" and so on by default.

    Raises:
        ValueError: An argument is wrong, or one that others need is missing; the message names it.
    """

    __slots__ = ("__score", "__units", "choice", "names", "statistic")

    def __init__(
        self,
        statistic: Statistic,
        utility: Utility,
        choice: Choice | None = None,
        *,
        mdp: TabularMDP | None = None,
        gamma: float = 0.999,
        discount: float = 1.0,
        reference: Segments | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        if statistic not in STATISTICS:
            raise ValueError(f"No statistic {statistic!r}. {nearest_names(statistic, list(STATISTICS))}")
        if statistic != "partial_return" and mdp is None:
            raise ValueError(f"A teacher by {statistic} needs the values of states: pass mdp.")
        if not 0 < discount <= 1:
            raise ValueError(f"discount must lie in (0, 1], got {discount!r}.")
        weights = np.atleast_2d(np.array(utility.weights, np.float64))
        self.statistic, self.choice = statistic, choice or Choice()
        self.names = tuple(f"person {i}" for i in range(len(weights))) if names is None else tuple(names)
        if len(self.names) != len(weights):
            raise ValueError(f"{len(self.names)} names were given for {len(weights)} persons.")
        self.__score = _scorer(statistic, utility, weights, self.choice.myopia, mdp, gamma, discount)
        self.__units = self.__measure(reference)

    def __measure(self, reference: Segments | None) -> np.ndarray:
        """Returns the unit of statistics of each person."""
        if not self.choice.needs_scale or self.choice.scale != "reference":
            scale = 1.0 if self.choice.scale == "reference" else self.choice.scale
            return np.full(len(self.names), scale, np.float64)
        if reference is None:
            raise ValueError(
                'Choice(scale="reference") needs reference segments: pass reference, or a number as scale.'
            )
        checked = reference.checked("reference")
        units = np.array([self.__score(checked, person).std() for person in range(len(self.names))])
        for person in np.flatnonzero(~(units > 0)):
            raise ValueError(f"The statistic of {self.names[person]!r} does not vary over the reference segments.")
        return units

    def ask(
        self,
        first: Segments,
        second: Segments,
        rng: np.random.Generator,
        *,
        person: Any = None,
    ) -> Comparisons[Segments]:
        """Asks for n comparisons.

        Args:
            first: The first segment of each pair.
            second: The second segment of each pair.
            rng: Source of random numbers; the same state gives the same answers.
            person: Who is asked, index of a name, shape (n,); drawn uniformly by default.

        Returns:
            The answers, without pairs that were skipped, and with the names of those who answered any.

        Raises:
            ValueError: Segments or persons are wrong, or every pair was skipped.
        """
        count, people = len(first), len(self.names)
        if not count:
            raise ValueError("A teacher is asked about one or more pairs, got 0.")
        asked = rng.integers(people, size=count) if person is None else np.broadcast_to(np.asarray(person), count)
        chances = self.choice_probabilities(first, second, person=asked)
        column = (rng.random((count, 1)) >= np.cumsum(chances, 1)[:, :3]).sum(1)
        rows = np.flatnonzero(column < 3)
        if not len(rows):
            raise ValueError(
                f"All {count} pairs were skipped: no statistic reaches skip_below={self.choice.skip_below}, in units "
                f"of {self.__units[asked].max():.4g}. Lower skip_below, or ask about better segments."
            )
        kept, who = np.unique(asked[rows], return_inverse=True)
        return Comparisons(
            first[rows],
            second[rows],
            column[rows] / 2,
            who,
            tuple(self.names[i] for i in kept),
            variable_horizon=not first.absorbing,
        )

    def choice_probabilities(self, first: Segments, second: Segments, *, person: Any = 0) -> np.ndarray:
        """Returns the probabilities of the answers 0, 0.5, 1 and of no answer, shape (n, 4).

        Args:
            first: The first segment of each pair.
            second: The second segment of each pair.
            person: Who is asked, index of a name or one for each pair.

        Raises:
            ValueError: A person does not exist, or segments do not fit the teacher.
        """
        first, second = first.checked("first"), second.checked("second")
        if len(first) != len(second):
            raise ValueError(f"{len(first)} first and {len(second)} second segments do not make pairs.")
        asked = np.broadcast_to(np.asarray(person), len(first))
        for row in np.flatnonzero((asked < 0) | (asked >= len(self.names))):
            raise ValueError(f"row {row}: person must lie in [0, {len(self.names)}), got {asked[row]}.")
        chances = np.zeros((len(first), 4))
        for who in np.unique(asked):
            rows = np.flatnonzero(asked == who)
            liked = self.__score(first[rows], int(who)), self.__score(second[rows], int(who))
            chances[rows] = self.choice.probabilities(*liked, self.__units[who])
        return chances

    def relabel(self, dataset: Comparisons[Segments], rng: np.random.Generator) -> Comparisons[Segments]:
        """Asks this teacher for the pairs of a dataset, each the person of the same name where all names are known."""
        known = {name: i for i, name in enumerate(self.names)}
        same = set(dataset.names) <= set(known)
        person = np.array([known[name] for name in dataset.names])[dataset.person] if same else None
        return self.ask(dataset.first, dataset.second, rng, person=person)

    def __repr__(self) -> str:
        return f"Teacher({self.statistic!r}, {len(self.names)} persons, {self.choice})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("A teacher owns the true reward and is neither copied nor stored; store what it was made from.")


def _scorer(
    statistic: str,
    utility: Utility,
    weights: np.ndarray,
    myopia: float,
    mdp: TabularMDP | None,
    gamma: float,
    discount: float,
) -> Score:
    """Makes the function from segments and a person to statistics, shape (n,); it alone holds the true reward."""
    d = weights.shape[1]
    linear = isinstance(utility, Linear)
    # Rows of rewards: one a person where rewards are linear, otherwise one an objective.
    rewards = weights if linear else np.eye(d)
    tables = None
    if statistic != "partial_return":
        assert mdp is not None
        checked = check_mdp(mdp)
        if checked.terminal.ndim != 1 or checked.rewards.shape[-1] != d:
            raise ValueError(f"mdp must be one MDP with {d} features, got features {checked.rewards.shape}.")
        solution = solve(checked, expected_rewards(checked, rewards), gamma)
        tables = solution.values, solution.action_values - solution.values[..., None]

    def by_reward(segments: Segments, row: int) -> np.ndarray:
        features = np.asarray(segments.rewards, np.float64)
        if features.shape[-1] != d:
            raise ValueError(f"Segments have {features.shape[-1]} features, the teacher's reward has {d}.")
        steps = np.arange(features.shape[1])
        length = np.asarray(segments.lengths)[:, None]
        importance = discount**steps * myopia ** np.maximum(length - 1 - steps, 0.0)
        terms = features @ rewards[row]
        if tables is not None:
            check_state_numbers(segments, *tables[1].shape[1:])
            values, advantages = tables[0][row], tables[1][row]
            if statistic != "deterministic_regret":
                # Padding may hold anything, numbers of no state included.
                before, acted = (np.where(segments.mask, x, 0) for x in (segments.states[:, :-1], segments.actions))
                terms = advantages[before, acted]
        score = (np.where(segments.mask, terms, 0.0) * importance).sum(1)
        if statistic == "deterministic_regret":
            score += discount ** length[:, 0] * values[segments.end] - values[segments.start]
        return np.asarray(score)

    def score(segments: Segments, person: int) -> np.ndarray:
        if isinstance(utility, Linear):
            return by_reward(segments, person)
        return utility.combine(np.stack([by_reward(segments, i) for i in range(d)], 1), weights[person])

    return score
