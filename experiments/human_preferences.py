"""Models of choice fitted to published human preferences, and rewards learned from few of them.

People compared pairs of segments of the delivery task. With the task's true reward given, models of one scale (and of
three, for expanded regret) are fitted and scored by 10-fold cross-validation; so are models that learn what people
like. Then these learn from few preferences, and the policies that follow are evaluated exactly under the true reward.

Every condition in the folder is a study of its own; the ledger says on how many of the published nine it stands, and
where there are several it also decides over them, a condition being one observation. They need not agree: people of
some conditions were taught one of the models that are compared.

Nothing is tuned to people: settings are published ones or defaults. Folds share training data and draws share
preferences, so tests over them treat as independent what is nearly so.

The preferences carry no licence and are not part of this package: `--data` names the folder that holds them. With
`--data simulated` a teacher by regret answers instead of people, through files of the same format.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from prefront.experiments import human_preferences_models as models
from prefront.experiments.human_preferences_report import SIMULATED, claims, plot, summary
from prefront.runs.study import Job, Rows, Study
from prefront.system.checks import (
    MANY,
    check_between,
    check_distinct,
    check_least,
    check_most,
    check_types,
    nearest_names,
)

if TYPE_CHECKING:
    from prefront.exact.tables import TabularMDP
    from prefront.preferences.comparisons import Comparisons

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
class Settings:
    """What is compared.

    Attributes:
        data: Folder of the published files, or "simulated".
        conditions: Conditions that are studied, by the names of their files; none named are all that the folder holds.
        folds: Number of folds of the cross-validation.
        preferences: Numbers of preferences from which models learn; those larger than the data are left out.
        draws: How often so many preferences are drawn, without replacement.
        random_rewards: Random rewards whose optimal policies give regret learners their successor features, as
            published.
        simulated_preferences: Number of preferences where they are simulated.
        gamma: Discount of values and returns.
    """

    data: str = ""
    conditions: tuple[str, ...] = ()
    folds: int = 10
    preferences: tuple[int, ...] = (10, 50, 100, 300, 1000)
    draws: int = 20
    random_rewards: int = 100
    simulated_preferences: int = 500
    gamma: float = 0.999

    def __post_init__(self) -> None:
        check_types(self)
        check_distinct(self, "preferences")
        check_distinct(self, "conditions", empty=True)
        check_most(self, 1000, "draws", "folds")
        check_most(self, 100_000, "random_rewards")
        check_most(self, MANY, "preferences", "simulated_preferences")
        check_least(self, 1, "preferences", "draws", "random_rewards", "simulated_preferences")
        check_least(self, 2, "folds")
        check_between(self, 0, 1, "gamma")

    def check(self) -> None:
        """Reads the data.

        Raises:
            ValueError: There are none, they are damaged, or too few; the message says where data come from.
        """
        counts = dict.fromkeys(_conditions(self), self.simulated_preferences)
        if self.data != SIMULATED:
            counts = {name: len(_dataset(self, 0, _task(), name)) for name in counts}
        for name, count in counts.items():
            if self.folds > count:
                raise ValueError(f"The {count} preferences of {name} cannot be cut into folds = {self.folds}.")
            if min(self.preferences) > count:
                raise ValueError(f"preferences must hold a number up to {count}, those of {name}: {self.preferences}.")


_SMALL = Settings(
    data=SIMULATED, folds=3, preferences=(30,), draws=3, random_rewards=8, simulated_preferences=120,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Cell:
    """One piece of work in one condition.

    Attributes:
        condition: The condition.
        kind: "given" and "learned": cross-validation with the true reward given or a learned one; "learning": what is
            learned from few preferences.
        preferences: How few.
    """

    condition: str
    kind: Literal["given", "learned", "learning"]
    preferences: int | None = None


def cells(settings: Settings) -> list[Cell]:
    """Returns for each condition two pieces for cross-validation, and one for each number of preferences.

    Raises:
        ValueError: No data are named, the folder does not exist, or it lacks a condition; the message says where data
            come from, or which conditions there are.
        DamagedFileError: A condition lacks a file.
    """
    found: list[Cell] = []
    for condition in _conditions(settings):
        found += [Cell(condition, "given"), Cell(condition, "learned")]
        found += [Cell(condition, "learning", size) for size in settings.preferences]
    return found


def _conditions(settings: Settings) -> list[str]:
    from prefront.envs.human_delivery import find_conditions

    if not settings.data:
        raise ValueError(WHERE_FROM)
    if settings.data != SIMULATED and not Path(settings.data).is_dir():
        raise ValueError(
            f"There is no folder {settings.data!r}: data must name that of the published files, or be {SIMULATED!r}."
        )
    if settings.data == SIMULATED:
        return [SIMULATED]
    found = find_conditions(settings.data)
    for name in settings.conditions:
        if name not in found:
            raise ValueError(f"No condition {name!r} lies in {settings.data}. {nearest_names(name, found)}")
    return list(settings.conditions) or found


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Cross-validates the models, or lets them learn from so many preferences.

    Returns:
        `folds`: one row per condition, model and fold, with the number of preferences held out, their cross-entropy in
        nats and the accuracy on strict ones. `learning`: one row per condition, model and draw, with the exact scaled
        return.
    """
    mdp = _task()
    cell: Cell = job.cell
    dataset = _dataset(settings, seed, mdp, cell.condition)
    if cell.preferences is None:
        table, rows = "folds", _folds(settings, seed, dataset, cell.kind, job)
    else:
        table, rows = "learning", _learning(settings, seed, dataset, cell.preferences, job)
    return {table: [{"condition": cell.condition, **row} for row in rows]}


@functools.cache
def _task() -> TabularMDP:
    from prefront.envs.delivery import Delivery

    return Delivery().table()


def _dataset(settings: Settings, seed: int, mdp: TabularMDP, condition: str) -> Comparisons[Any]:
    import tempfile

    from prefront.envs.delivery import PUBLISHED_WEIGHTS
    from prefront.envs.human_delivery import load_human_delivery

    if settings.data != SIMULATED:
        return load_human_delivery(settings.data, condition, mdp, PUBLISHED_WEIGHTS)
    with tempfile.TemporaryDirectory() as folder:
        _write_simulated(Path(folder), settings, seed, mdp)
        return load_human_delivery(folder, SIMULATED, mdp, PUBLISHED_WEIGHTS)


def _write_simulated(folder: Path, settings: Settings, seed: int, mdp: TabularMDP) -> None:
    """Writes answers of a teacher by regret in the published format."""
    from prefront.envs.delivery import MOVES, PUBLISHED_WEIGHTS
    from prefront.preferences.choice import Choice, Linear
    from prefront.preferences.segment_scores import segment_margin
    from prefront.preferences.segments import sample_segments
    from prefront.preferences.teachers import Teacher

    rng = np.random.default_rng((seed, 2**16))
    shown = [sample_segments(mdp, settings.simulated_preferences, 3, rng, absorbing=True) for _ in range(2)]
    margin = segment_margin("deterministic_regret", Linear(PUBLISHED_WEIGHTS), mdp=mdp, gamma=settings.gamma)
    teacher = Teacher(margin, Choice(rationality=0.3))
    answers = teacher.ask(shown[1], shown[0], rng)
    paths = []
    for segments in shown:
        begin = np.stack(np.unravel_index(segments.start, (10, 10)), 1)
        paths.append(np.concatenate([begin[:, None], MOVES[segments.actions]], 1))
    np.save(folder / f"{SIMULATED}_X.npy", _statistics(mdp, settings.gamma, answers))
    np.save(folder / f"{SIMULATED}_Y.npy", answers.labels)
    np.save(folder / f"{SIMULATED}_segment_pairs.npy", np.stack(paths, 1))


def _statistics(mdp: TabularMDP, gamma: float, dataset: Comparisons[Any]) -> np.ndarray:
    """Returns first minus second: partial return, V*(start) and V*(end) under the true reward, shape (n, 3)."""
    from prefront.envs.delivery import PUBLISHED_WEIGHTS
    from prefront.exact.mdp import expected_rewards, solve

    values = solve(mdp, expected_rewards(mdp, PUBLISHED_WEIGHTS), gamma).values
    columns = [
        np.stack([segments.features() @ PUBLISHED_WEIGHTS, values[segments.start], values[segments.end]], 1)
        for segments in (dataset.first, dataset.second)
    ]
    return np.asarray(columns[0] - columns[1])


def _learners(settings: Settings, seed: int) -> models.Task:
    """Returns the task with both sets of successor features."""
    from prefront.envs.delivery import PUBLISHED_WEIGHTS
    from prefront.exact.mdp import optimal_successor_features
    from prefront.exact.successor_sets import successor_coverage
    from prefront.preferences.successor_sets import drop_policy, random_reward_features

    mdp, rng = _task(), np.random.default_rng((seed, 2**17))
    drawn = random_reward_features(mdp, rng, settings.random_rewards, settings.gamma)
    coverage = successor_coverage(mdp, settings.gamma).features
    # As published, lest the features give the true optimal policy away.
    optimal = optimal_successor_features(mdp, PUBLISHED_WEIGHTS[None], settings.gamma)[0]
    kept, covered = drop_policy(drawn, optimal), drop_policy(coverage, optimal)
    return models.Task(mdp, kept, covered, settings.gamma)


def _folds(settings: Settings, seed: int, dataset: Comparisons[Any], reward: str, job: Job) -> list[dict[str, Any]]:
    from prefront.envs.delivery import PUBLISHED_WEIGHTS

    count = len(dataset)
    if settings.folds > count:
        raise ValueError(f"{count} preferences cannot be cut into {settings.folds} folds.")
    held_out = np.array_split(np.random.default_rng((seed, 0)).permutation(count), settings.folds)
    kept = [dataset[np.setdiff1d(np.arange(count), held)] for held in held_out]
    names, task = models.GIVEN, None
    if reward == "learned":
        names, task = models.LEARNED, _learners(settings, seed)
    rows = []
    for number, name in enumerate(names):
        if task is None:
            fitted = models.fit_given(name, _task(), PUBLISHED_WEIGHTS, settings.gamma, kept)
        else:
            fitted = models.fit_learned(name, task, kept)
        for fold, (model, held) in enumerate(zip(fitted, held_out, strict=True)):
            found = _score(models.differences(model, dataset[held]), np.asarray(dataset.labels)[held])
            rows.append({"fold": fold, "held_out": len(held), "reward": reward, "model": name, **found})
        job.report(number + 1, len(names))
    return rows


def _score(difference: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Returns mean cross-entropy, and accuracy on strict answers, where indifference counts one half."""
    loss = np.logaddexp(0.0, difference) - labels * difference
    right = (np.sign(difference) * np.sign(labels - 0.5) + 1)[labels != 0.5] / 2
    return {"cross_entropy": float(loss.mean()), "accuracy": float(right.mean()) if len(right) else float("nan")}


def _learning(settings: Settings, seed: int, dataset: Comparisons[Any], size: int, job: Job) -> list[dict[str, Any]]:
    from prefront.envs.delivery import PUBLISHED_WEIGHTS
    from prefront.preferences.evaluation import evaluate_policy

    if size > len(dataset):
        return []
    rng, task, rows = np.random.default_rng((seed, size)), _learners(settings, seed), []
    drawn = [dataset[rng.permutation(len(dataset))[:size]] for _ in range(settings.draws)]
    for number, name in enumerate(models.LEARNED):
        fitted = models.fit_learned(name, task, drawn)
        reached = evaluate_policy(task.mdp, models.policies(task, fitted), PUBLISHED_WEIGHTS, settings.gamma)
        rows += [
            {"preferences": size, "draw": draw, "model": name, "scaled_return": float(value)}
            for draw, value in enumerate(reached.scaled_return)
        ]
        job.report(number + 1, len(models.LEARNED))
    return rows


STUDY = Study(
    presets={"paper": Settings(), "smoke": _SMALL},
    seeds={"paper": range(1000, 1001), "smoke": range(1)},
    run=run,
    cells=cells,
    claims=[claims],
    figures=[plot],
    summary=summary,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "human_preferences", *sys.argv[1:]]))
