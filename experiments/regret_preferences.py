"""Rewards learned from choices by regret or partial return: every learner on the data of every generator.

The tasks are random delivery maps. Teachers of both kinds answer the same pairs of segments, with and without noise;
both learners are fitted to the answers of both, and the policies that are optimal for what they learned are evaluated
exactly under the true reward. A policy is near-optimal when its scaled return is at least 0.9. Means of scaled returns
say nothing, because single failures reach -1000; shares of near-optimal tasks and medians are reported instead.

The regret learner searches for weights of low loss (`prefront.preferences.models.regret_search`). By Adam from zero, as
published, its loss at 100 logistic preferences exceeded that of the true weights in half of 40 tasks of another key; by
the search in 5 % of 80 tasks of a third key.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from prefront.experiments.regret_preferences_report import claims, plot, summary
from prefront.runs.study import Job, Rows, Study
from prefront.system.checks import MANY, check_between, check_distinct, check_least, check_most, check_types

if TYPE_CHECKING:
    from prefront.exact.tables import TabularMDP
    from prefront.preferences.comparisons import Comparisons
    from prefront.preferences.segment_scores import Statistic

Question = Literal["matrix", "lengths", "risky"]
Labels = Literal["noiseless", "stochastic"]
Learner = Literal["partial_return", "regret", "regret_coverage", "regret_exact", "regret_deterministic"]
MOST_TASKS = 100_000
# Which learners meet the data of which generators, own data first.
CELLS: dict[str, tuple[tuple[Learner, str], ...]] = {
    "matrix": (
        ("regret", "regret"),
        ("partial_return", "partial_return"),
        ("partial_return", "regret"),
        ("regret", "partial_return"),
        ("regret_coverage", "regret"),
        ("regret_exact", "regret"),
    ),
    "lengths": (("regret", "regret"), ("partial_return", "partial_return")),
    "risky": (
        ("regret", "regret"),
        ("partial_return", "partial_return"),
        ("partial_return", "regret"),
        ("regret_deterministic", "regret"),
    ),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        studies: "matrix": all learners and generators. "lengths": both on their own data, by the length of segments.
            "risky": tasks with stochastic transitions.
        mdps: Random tasks of each seed.
        risky_mdps: Random tasks with stochastic transitions.
        chunk: Tasks in one piece of work.
        labels: "noiseless", or "stochastic": logistic with temperature 1.
        learners: Which learners, of those that a study has: "partial_return"; "regret" with successor features of
            random rewards; "regret_coverage" with those of the exact coverage set; "regret_exact" with the exact V*
            of what is learned; "regret_deterministic", which takes stochastic transitions for deterministic ones.
        preferences: Numbers of preferences in the matrix; each larger set holds the smaller.
        features_preferences: Those of these numbers at which other ways to values are compared in the matrix, as far
            as they are there: a coverage set, and exact values.
        length: Transitions of a segment, in the matrix and in risky tasks.
        lengths: Transitions of a segment, in the study of lengths.
        lengths_preferences: Number of preferences in the study of lengths.
        risky_preferences: Numbers of preferences in risky tasks.
        random_rewards: Random rewards whose optimal policies give the regret learner its successor features.
        risky_rewards: The same for tasks with stochastic transitions, which take much longer to solve.
        test_preferences: Fresh preferences on which each fit is scored.
        gamma: Discount of values and returns.
    """

    studies: tuple[Question, ...] = ("matrix", "lengths", "risky")
    mdps: int = 200
    risky_mdps: int = 200
    chunk: int = 10
    labels: tuple[Labels, ...] = ("noiseless", "stochastic")
    learners: tuple[Learner, ...] = (
        "partial_return", "regret", "regret_coverage", "regret_exact", "regret_deterministic",
    )  # fmt: skip
    preferences: tuple[int, ...] = (3, 10, 30, 100, 300, 1000, 3000)
    features_preferences: tuple[int, ...] = (300, 3000)
    length: int = 3
    lengths: tuple[int, ...] = (1, 3, 6, 9, 12, 15)
    lengths_preferences: int = 100
    risky_preferences: tuple[int, ...] = (10, 100, 300)
    random_rewards: int = 100
    risky_rewards: int = 40
    test_preferences: int = 500
    gamma: float = 0.999

    def __post_init__(self) -> None:
        check_types(self)
        check_distinct(self, "studies", "labels", "learners", "preferences", "lengths", "risky_preferences")
        check_least(self, 1, "mdps", "risky_mdps", "chunk", "length", "random_rewards", "risky_rewards")
        check_least(self, 1, "preferences", "lengths", "lengths_preferences", "risky_preferences", "test_preferences")
        check_most(self, MOST_TASKS, "mdps", "risky_mdps", "random_rewards", "risky_rewards")
        check_most(self, 1000, "length", "lengths")
        check_most(self, MANY, "preferences", "lengths_preferences", "risky_preferences", "test_preferences")
        check_between(self, 0, 1, "gamma")
        for study in self.studies:
            if not any(self.sizes(study, learner) for learner, _ in self.cells(study)):
                raise ValueError(f"The study {study!r} has nothing to fit with learners = {self.learners}.")

    def sizes(self, study: str, learner: str = "regret") -> tuple[int, ...]:
        """Returns the numbers of preferences at which a learner is fitted in a study."""
        if study == "matrix" and learner in ("regret_coverage", "regret_exact"):
            return tuple(size for size in self.preferences if size in self.features_preferences)
        sizes = {"matrix": self.preferences, "lengths": (self.lengths_preferences,), "risky": self.risky_preferences}
        return sizes[study]

    def tasks(self, study: str) -> int:
        """Returns the number of tasks of each seed in a study."""
        return self.risky_mdps if study == "risky" else self.mdps

    def cells(self, study: str) -> list[tuple[Learner, str]]:
        """Returns the pairs of learner and generator in a study."""
        return [cell for cell in CELLS[study] if cell[0] in self.learners]


class _Task(NamedTuple):
    """One task as the learners see it, and apart from that its true reward weights."""

    mdp: TabularMDP
    truth: np.ndarray
    random_features: np.ndarray
    coverage: np.ndarray


class _Fit(NamedTuple):
    """Reward weights learned in one condition, and how well they predict fresh answers."""

    facts: dict[str, Any]
    weights: np.ndarray
    accuracy: float
    cross_entropy: float


@dataclasses.dataclass(frozen=True)
class Cell:
    """One piece of work: a chunk of tasks in one study."""

    study: Question
    chunk: int


def cells(settings: Settings) -> list[Cell]:
    """Returns one piece of work per study and chunk of tasks."""
    return [
        Cell(study, chunk) for study in settings.studies for chunk in range(-(-settings.tasks(study) // settings.chunk))
    ]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Fits all learners of a study in a chunk of tasks.

    Returns:
        `fits`: one row per task, learner, generator, kind of answers, length and number of preferences, with the exact
        scaled return, and accuracy and cross-entropy on fresh preferences; `tasks`: one row per task.
    """
    from prefront.preferences.evaluation import evaluate_reward

    study, chunk = job.cell.study, job.cell.chunk
    tasks = _tasks(settings, seed, chunk, study)
    lengths = settings.lengths if study == "lengths" else (settings.length,)
    conditions = [(labels, length) for labels in settings.labels for length in lengths]
    found: list[list[_Fit]] = [[] for _ in tasks]
    for done, (labels, length) in enumerate(conditions):
        for row, fit in _fits(settings, (seed, chunk), study, labels, tasks, length):
            found[row].append(fit)
        job.report(done + 1, len(conditions))
    rows, facts = [], []
    for row, (task, fits) in enumerate(zip(tasks, found, strict=True)):
        common = {"study": study, "task": chunk * settings.chunk + row}
        weights = np.array([fit.weights for fit in fits])
        reached = evaluate_reward(task.mdp, weights, task.truth, settings.gamma).scaled_return
        rows += [
            {
                **common,
                **fit.facts,
                "scaled_return": float(value),
                "accuracy": fit.accuracy,
                "cross_entropy": fit.cross_entropy,
            }
            for fit, value in zip(fits, reached, strict=True)
        ]
        facts.append(
            {
                **common,
                "states": int((~task.mdp.terminal).sum()),
                "random_policies": len(task.random_features),
                "coverage_policies": len(task.coverage),
            }
        )
    return {"fits": rows, "tasks": facts}


def _tasks(settings: Settings, seed: int, chunk: int, study: str) -> list[_Task]:
    """Draws the tasks of a chunk, the same for every study of one family, and the features for regret learners."""
    import jax

    from prefront.envs.random_delivery import RandomDelivery, generate
    from prefront.exact.mdp import optimal_successor_features
    from prefront.exact.successor_sets import successor_coverage
    from prefront.exact.tables import unstack
    from prefront.preferences.successor_sets import drop_policy, random_reward_features

    family = "risky" if study == "risky" else "deterministic"
    count = min(settings.chunk, settings.tasks(study) - chunk * settings.chunk)
    params, truths = generate(jax.random.fold_in(jax.random.key(seed), chunk), count, family)
    batch = RandomDelivery(family).table(params)
    rng = np.random.default_rng((seed, chunk, 0))
    rewards = settings.risky_rewards if study == "risky" else settings.random_rewards
    features = random_reward_features(batch, rng, rewards, settings.gamma)
    optimal = optimal_successor_features(batch, truths[:, None], settings.gamma)[:, 0]
    tasks = []
    for row, (mdp, truth) in enumerate(zip(unstack(batch), truths, strict=True)):
        # As published, lest the features give the true optimal policy away.
        random_features = drop_policy(features[row], optimal[row])
        covers = study == "matrix" and "regret_coverage" in settings.learners
        coverage = successor_coverage(mdp, settings.gamma).features if covers else np.empty((0, 0, 0))
        tasks.append(_Task(mdp, truth, random_features, coverage))
    return tasks


def _fits(
    settings: Settings, seeds: tuple[int, int], study: str, labels: str, tasks: list[_Task], length: int
) -> Iterator[tuple[int, _Fit]]:
    """Yields row of the task and fit, for every learner, generator and number of preferences."""
    from prefront.preferences.models.base import accuracy, cross_entropy, fit_many

    sizes, cells = settings.sizes(study), settings.cells(study)
    answers: dict[str, list[tuple[Comparisons[Any], Comparisons[Any]]]] = {}
    for generator in dict.fromkeys(generator for _, generator in cells):
        answers[generator] = [
            _ask(settings, study, labels, generator, task, length, max(sizes), (*seeds, row))
            for row, task in enumerate(tasks)
        ]
    for learner, generator in cells:
        models = [_model(settings, study, learner, task) for task in tasks]
        for size in settings.sizes(study, learner):
            fitted = fit_many(models, [training[:size] for training, _ in answers[generator]])
            facts: dict[str, Any] = {"labels": labels, "length": length, "preferences": size}
            facts |= {"generator": generator, "learner": learner}
            for row, (model, (_, fresh)) in enumerate(zip(fitted, answers[generator], strict=True)):
                strict = bool((fresh.labels != 0.5).any())
                right = accuracy(model, fresh) if strict else float("nan")
                yield row, _Fit(facts, model.learned(), right, cross_entropy(model, fresh))


def _ask(
    settings: Settings,
    study: str,
    labels: str,
    generator: str,
    task: _Task,
    length: int,
    size: int,
    seeds: tuple[int, ...],
) -> tuple[Comparisons[Any], Comparisons[Any]]:
    """Returns preferences for training and fresh ones; both generators and both kinds of answers get the same pairs."""
    from prefront.preferences.choice import Choice, Linear
    from prefront.preferences.segment_scores import segment_margin
    from prefront.preferences.segments import sample_segments
    from prefront.preferences.teachers import Teacher

    choice = Choice(rationality=None if labels == "noiseless" else 1.0)
    regret: Statistic = "general_regret" if study == "risky" else "deterministic_regret"
    statistic: Statistic = "partial_return" if generator == "partial_return" else regret
    margin = segment_margin(statistic, Linear(task.truth), mdp=task.mdp, gamma=settings.gamma)
    teacher = Teacher(margin, choice)
    rng = np.random.default_rng((*seeds, length))
    total = size + settings.test_preferences
    first, second = (sample_segments(task.mdp, total, length, rng, absorbing=True) for _ in range(2))
    answered = teacher.ask(first, second, rng)
    return answered[:size], answered[size:]


def _model(settings: Settings, study: str, learner: str, task: _Task) -> Any:
    from prefront.preferences.models.exact_regret import ExactRegret
    from prefront.preferences.models.partial_return import PartialReturn
    from prefront.preferences.models.regret import SuccessorFeatureRegret

    if learner == "partial_return":
        return PartialReturn()
    if learner == "regret_exact":
        return ExactRegret(task.mdp, settings.gamma)
    return SuccessorFeatureRegret(
        task.mdp,
        task.coverage if learner == "regret_coverage" else task.random_features,
        gamma=settings.gamma,
        statistic="general_regret" if study == "risky" and learner == "regret" else "deterministic_regret",
    )


STUDY = Study(
    presets={
        "paper": Settings(),
        "smoke": Settings(
            mdps=4,
            risky_mdps=2,
            chunk=4,
            preferences=(3, 30),
            features_preferences=(30,),
            lengths=(1, 6),
            lengths_preferences=30,
            risky_preferences=(30,),
            random_rewards=6,
            risky_rewards=6,
            test_preferences=100,
        ),
    },
    seeds={"paper": range(1000, 1001), "smoke": range(1)},
    run=run,
    cells=cells,
    claims=[claims],
    figures=[plot],
    summary=summary,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "regret_preferences", *sys.argv[1:]]))
