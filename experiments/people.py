"""What the studies of published human preferences share: the data, their task, models that learn, and conditions.

The preferences carry no licence and are not part of this package: `--data` names the folder that holds them. With
`--data simulated` a teacher by regret answers instead of people.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prefront.experiments.delivery_learners import Task, build
from prefront.reports.claim_forms import larger
from prefront.reports.claims import Claim
from prefront.reports.near_optimality import Where
from prefront.system.checks import MANY, check_between, check_distinct, check_least, check_most, check_types
from prefront.system.checks import nearest_names as nearest
from prefront.system.tables import Table

if TYPE_CHECKING:
    from prefront.exact.tables import TabularMDP
    from prefront.preferences.comparisons import Comparisons
    from prefront.preferences.models.base import RewardModel

PAPER = "Knox et al. (2024), section 6.3"
SIMULATED = "simulated"
PUBLISHED_CONDITIONS = 9
# Models that learn what people like.
LEARNED = {
    "partial_return": "partial return",
    "network": "partial return, network",
    "regret": "regret, random features",
    "regret_coverage": "regret, coverage set",
    "regret_exact": "regret, exact values",
    "optimal_advantage": "optimal advantage",
    "contrastive": "contrastive policy",
}
REGRETS = {name: label.removeprefix("regret, ") for name, label in LEARNED.items() if name.startswith("regret")}
WHERE_FROM = """The human preferences are not part of this package, because they carry no licence. They come with
"Influencing humans to conform to preference models for RLHF" (Hatgis-Kessell et al., 2025, arXiv 2501.06416), as three
NumPy files for each condition:
  NAME_X.npy              (n, 3): difference of partial return, of V*(start) and of V*(end), second minus first segment
  NAME_Y.npy              (n,): 1 where the second was preferred, 0 where the first was, 0.5 where neither
  NAME_segment_pairs.npy  (n, 2, 4, 2): the start (row, column) of each segment, then its moves (rows, columns)
Put those of all conditions that you have into one folder and name it: --data FOLDER. To study some of them only, name
them, such as --conditions Privileged-Control.
To see the study without them: --data simulated"""


@dataclasses.dataclass(frozen=True)
class PeopleSettings:
    """Whose preferences, and what learners are given.

    Attributes:
        data: Folder of the published files, or "simulated".
        conditions: Conditions that are studied, by the names of their files; none named are all that the folder holds.
        random_rewards: Random rewards whose optimal policies give regret learners their successor features, as
            published.
        simulated_preferences: Number of preferences where they are simulated.
        gamma: Discount of values and returns.
    """

    data: str = ""
    conditions: tuple[str, ...] = ()
    random_rewards: int = 100
    simulated_preferences: int = 500
    gamma: float = 0.999

    def __post_init__(self) -> None:
        check_types(self)
        check_distinct(self, "conditions", empty=True)
        check_most(self, 100_000, "random_rewards")
        check_most(self, MANY, "simulated_preferences")
        check_least(self, 1, "random_rewards", "simulated_preferences")
        check_between(self, 0, 1, "gamma")

    def names(self) -> list[str]:
        """Returns the conditions that are studied.

        Raises:
            ValueError: No data are named, the folder does not exist, or it lacks a condition; the message says where
                data come from, or which conditions there are.
            DamagedFileError: A condition lacks a file.
        """
        from prefront.envs.human_delivery import find_conditions

        if not self.data:
            raise ValueError(WHERE_FROM)
        if self.data == SIMULATED:
            return [SIMULATED]
        if not Path(self.data).is_dir():
            raise ValueError(
                f"There is no folder {self.data!r}: data must name that of the published files, or be {SIMULATED!r}."
            )
        found = find_conditions(self.data)
        for name in self.conditions:
            if name not in found:
                raise ValueError(f"No condition {name!r} lies in {self.data}. {nearest(name, found)}")
        return list(self.conditions) or found

    def counts(self) -> dict[str, int]:
        """Reads the data; returns the number of preferences of each condition.

        Raises:
            ValueError: There are none, or they are damaged; the message says where data come from.
        """
        names = self.names()
        if self.data == SIMULATED:
            return dict.fromkeys(names, self.simulated_preferences)
        return {name: len(load(self, 0, name)) for name in names}


@functools.cache
def delivery() -> TabularMDP:
    """Returns the table of the delivery task."""
    from prefront.envs.delivery import Delivery

    return Delivery().table()


def draw_task(settings: PeopleSettings, seed: int) -> Task:
    """Returns the task with both sets of successor features, which lack the optimal policy of the true reward."""
    from prefront.envs.delivery import PUBLISHED_WEIGHTS
    from prefront.exact.mdp import optimal_successor_features
    from prefront.exact.successor_sets import successor_coverage
    from prefront.preferences.successor_sets import drop_policy, random_reward_features

    mdp, rng = delivery(), np.random.default_rng((seed, 2**17))
    drawn = random_reward_features(mdp, rng, settings.random_rewards, settings.gamma)
    coverage = successor_coverage(mdp, settings.gamma).features
    # As published, lest the features give the true optimal policy away.
    optimal = optimal_successor_features(mdp, PUBLISHED_WEIGHTS[None], settings.gamma)[0]
    return Task(mdp, PUBLISHED_WEIGHTS, drop_policy(drawn, optimal), drop_policy(coverage, optimal))


def load(settings: PeopleSettings, seed: int, condition: str) -> Comparisons[Any]:
    """Reads the preferences of a condition, or simulates some."""
    from prefront.envs.delivery import PUBLISHED_WEIGHTS
    from prefront.envs.human_delivery import load_human_delivery
    from prefront.preferences.choice import Choice, Linear
    from prefront.preferences.segment_scores import segment_margin
    from prefront.preferences.segments import sample_segments
    from prefront.preferences.teachers import Teacher

    mdp = delivery()
    if settings.data != SIMULATED:
        return load_human_delivery(settings.data, condition, mdp, PUBLISHED_WEIGHTS)
    rng = np.random.default_rng((seed, 2**16))
    margin = segment_margin("deterministic_regret", Linear(PUBLISHED_WEIGHTS), mdp=mdp, gamma=settings.gamma)
    teacher = Teacher(margin, Choice(rationality=0.3))
    shown = [sample_segments(mdp, settings.simulated_preferences, 3, rng, absorbing=True) for _ in range(2)]
    return teacher.ask(shown[1], shown[0], rng)


def fit_learned(name: str, task: Task, gamma: float, datasets: Sequence[Comparisons[Any]]) -> list[RewardModel]:
    """Fits one of the `LEARNED` models to each dataset; without a prior, as on synthetic answers."""
    from prefront.preferences.models.advantage import ContrastivePolicy, OptimalAdvantage
    from prefront.preferences.models.base import fit_many
    from prefront.preferences.models.fitting import cosine
    from prefront.preferences.models.network import NeuralReward

    places = np.stack(np.unravel_index(np.arange(len(task.mdp.terminal)), (10, 10)), 1)
    others: dict[str, Callable[[], RewardModel]] = {
        "network": lambda: NeuralReward(4, (32,), places, descent=cosine(steps=300)),
        "optimal_advantage": lambda: OptimalAdvantage(task.mdp),
        "contrastive": lambda: ContrastivePolicy(task.mdp),
    }
    model = others[name]() if name in others else build(name, task, gamma)
    return fit_many([model] * len(datasets), datasets)


def claims_of_conditions(
    settings: PeopleSettings,
    rows: Table,
    of_one: Callable[[Any, Table, str], list[Claim]],
    over: Callable[[Table], list[Claim]],
) -> list[Claim]:
    """Returns the claims about each condition and, where there are several, over them.

    Args:
        settings: Whose preferences.
        rows: Rows of all conditions.
        of_one: Makes the claims about one condition from the settings, its rows and its name. Those about people are
            given its name, and say how many of the published conditions there are.
        over: Makes the claims over conditions.
    """
    names, ledger = rows.unique("condition"), []
    for name in names:
        own = of_one(settings, rows.where(condition=name), name)
        if settings.data != SIMULATED:
            own = [
                dataclasses.replace(
                    claim, sentence=f"{name}: {claim.sentence}", conditions=f"{claim.conditions}; {_which(rows)}"
                )
                for claim in own
            ]
        ledger += own
    return ledger + (over(rows) if len(names) > 1 else [])


def _which(rows: Table) -> str:
    names = rows.unique("condition")
    return f"{len(names)} of the {PUBLISHED_CONDITIONS} published conditions studied: {', '.join(names)}"


def given(settings: PeopleSettings, condition: str, count: int) -> str:
    """Says what claims about one condition depend on."""
    source = f"{count:,} human preferences, condition {condition}"
    if settings.data == SIMULATED:
        source = f"{count:,} preferences of a simulated teacher by regret (no people)"
    return f"{source}; delivery task, discount {settings.gamma:g}"


def larger_over(rows: Table, ours: Where, theirs: Where, value: Callable[[Table], float], **words: Any) -> Claim:
    """Claims that a figure of ours is larger in the mean over conditions.

    Args:
        rows: Rows of all conditions.
        ours: What the columns of ours equal.
        theirs: What the columns of theirs equal.
        value: The figure, a function of the rows of one condition.
        **words: Further arguments of `prefront.reports.claim_forms.larger`.
    """
    every = [rows.where(condition=name) for name in rows.unique("condition")]
    first, second = (np.array([value(own.where(**one)) for own in every]) for one in (ours, theirs))
    note = f"paired by condition; larger in {int((first > second).sum())} of {len(every)} conditions"
    return larger(first, second, note=note, conditions=_which(rows), **words)
