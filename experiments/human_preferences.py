"""Which model predicts what people choose, and whose reward leads to good policies, on published human preferences.

People compared pairs of segments of the delivery task. With the task's true reward given, models of one scale (and of
three, for expanded regret) are fitted and scored by 10-fold cross-validation; so are models that learn the reward. Then
rewards are learned from few preferences, and the policies optimal for them are evaluated exactly under the true reward.

The preferences carry no licence and are not part of this package: `--data` names the folder that holds them. With
`--data simulated` a teacher by regret answers instead of people, through files of the same format.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prefront import plots, statistics
from prefront.claims import Claim, judge
from prefront.experiment import Job, Results, Rows
from prefront.tables import Table

if TYPE_CHECKING:
    from prefront.exact.mdp import TabularMDP
    from prefront.preferences.datasets import PreferenceDataset
    from prefront.preferences.reward_models import LinearRewardModel

PAPER = "Knox et al. (2024), section 6.3"
SIMULATED = "simulated"
NEAR_OPTIMAL = 0.9
# Models that are given the true reward and learn scales only, then models that learn the reward.
GIVEN = {"partial_return": "partial return", "regret": "regret", "expanded_regret": "expanded regret"}
LEARNED = {"partial_return": "partial return", "regret": "regret", "regret_exact": "regret, exact values"}
COMPARED = ("partial_return", "regret")
# 10-fold cross-entropy by one scale, measured by an independent implementation.
REFERENCE = {"Privileged-Control": {"partial_return": 0.620, "regret": 0.573}}
TOLERANCE = 0.005
WHERE_FROM = """The human preferences are not part of this package, because they carry no licence. They come with
"Influencing humans to conform to preference models for RLHF" (Hatgis-Kessell et al., 2025, arXiv 2501.06416), as three
NumPy files for each condition:
  NAME_X.npy              (n, 3): difference of partial return, of V*(start) and of V*(end), second minus first segment
  NAME_Y.npy              (n,): 1 where the second was preferred, 0 where the first was, 0.5 where neither
  NAME_segment_pairs.npy  (n, 2, 4, 2): the start (row, column) of each segment, then its moves (rows, columns)
Put them into one folder and name it, with the beginning of their names: --data FOLDER --condition Privileged-Control
To see the study without them: --data simulated"""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        data: Folder of the published files, or "simulated".
        condition: What the names of the files begin with.
        folds: Number of folds of the cross-validation.
        preferences: Numbers of preferences from which rewards are learned.
        draws: How often so many preferences are drawn, without replacement.
        random_rewards: Random rewards whose optimal policies give the regret learner its successor features.
        learning_rate: Of regret learners. The published 0.5 stalls on people, whose choices are so noisy that rewards
            in log-odds are small; on all of them 0.1 to 0.005 reach nearly the same loss. The value was chosen on the
            published data itself, by loss and by true return.
        simulated_preferences: Number of preferences where they are simulated.
        gamma: Discount of values and returns.
    """

    data: str = ""
    condition: str = "Privileged-Control"
    folds: int = 10
    preferences: tuple[int, ...] = (10, 50, 100, 300, 1000)
    draws: int = 20
    random_rewards: int = 60
    learning_rate: float = 0.02
    simulated_preferences: int = 500
    gamma: float = 0.999

    def __post_init__(self) -> None:
        for name in ("draws", "random_rewards", "simulated_preferences"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}.")
        if self.folds < 2:
            raise ValueError(f"folds must be at least 2, got {self.folds}.")
        if min(self.preferences, default=0) < 1 or len(set(self.preferences)) < len(self.preferences):
            raise ValueError(f"preferences must be different numbers from 1, got {self.preferences}.")


_SMALL = Settings(data=SIMULATED, folds=3, preferences=(30,), draws=3, random_rewards=8, simulated_preferences=120)
PRESETS = {"paper": Settings(), "smoke": _SMALL}
SEEDS = {"paper": 1, "smoke": 1}


def parts(settings: Settings) -> list[str]:
    """Names one piece for cross-validation, and one for each number of preferences.

    Raises:
        ValueError: No data are named, or the folder does not exist; the message says where data come from.
    """
    if not settings.data:
        raise ValueError(WHERE_FROM)
    if settings.data != SIMULATED and not Path(settings.data).is_dir():
        raise ValueError(f"There is no folder {settings.data!r}.\n{WHERE_FROM}")
    return ["prediction", *(f"learning.{size}" for size in settings.preferences)]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Cross-validates the models, or learns rewards from so many preferences.

    Returns:
        `folds`: one row per model and fold, with the number of preferences held out, their cross-entropy in nats and
        the accuracy on strict ones. `learning`: one row per model and draw, with the exact scaled return.
    """
    mdp = _task()
    dataset, features = _dataset(settings, seed, mdp), _random_features(settings, seed, mdp)
    kind, _, size = job.part.partition(".")
    rng = np.random.default_rng((seed, int(size or 0)))
    if kind == "prediction":
        return {"folds": _folds(settings, mdp, dataset, features, rng)}
    return {"learning": _learning(settings, mdp, dataset, features, int(size), rng)}


@functools.cache
def _task() -> TabularMDP:
    from prefront.envs.delivery import Delivery

    return Delivery().table()


def _dataset(settings: Settings, seed: int, mdp: TabularMDP) -> PreferenceDataset:
    import tempfile

    from prefront.envs.delivery import PUBLISHED_WEIGHTS
    from prefront.preferences.human import load_human_delivery

    if settings.data != SIMULATED:
        return load_human_delivery(settings.data, settings.condition, mdp, PUBLISHED_WEIGHTS)
    with tempfile.TemporaryDirectory() as folder:
        _write_simulated(Path(folder), settings, seed, mdp)
        return load_human_delivery(folder, SIMULATED, mdp, PUBLISHED_WEIGHTS)


def _write_simulated(folder: Path, settings: Settings, seed: int, mdp: TabularMDP) -> None:
    """Writes answers of a teacher by regret in the published format."""
    from prefront.envs.delivery import MOVES, PUBLISHED_WEIGHTS
    from prefront.preferences.choices import Choice, Linear
    from prefront.preferences.segments import sample_segments
    from prefront.preferences.teachers import Teacher

    rng = np.random.default_rng((seed, 2**16))
    shown = [sample_segments(mdp, settings.simulated_preferences, 3, rng, absorbing=True) for _ in range(2)]
    choice = Choice(rationality=0.3, scale=1.0)
    teacher = Teacher("deterministic_regret", Linear(PUBLISHED_WEIGHTS), choice, mdp=mdp, gamma=settings.gamma)
    answers = teacher.ask(shown[1], shown[0], rng)
    paths = []
    for segments in shown:
        begin = np.stack(np.unravel_index(segments.start, (10, 10)), 1)
        paths.append(np.concatenate([begin[:, None], MOVES[segments.actions]], 1))
    np.save(folder / f"{SIMULATED}_X.npy", _statistics(mdp, settings.gamma, answers))
    np.save(folder / f"{SIMULATED}_Y.npy", answers.labels)
    np.save(folder / f"{SIMULATED}_segment_pairs.npy", np.stack(paths, 1))


def _statistics(mdp: TabularMDP, gamma: float, dataset: PreferenceDataset) -> np.ndarray:
    """Returns first minus second: partial return, V*(start) and V*(end) under the true reward, shape (n, 3)."""
    from prefront.envs.delivery import PUBLISHED_WEIGHTS
    from prefront.exact.mdp import expected_rewards, solve

    values = solve(mdp, expected_rewards(mdp, PUBLISHED_WEIGHTS), gamma).values
    columns = [
        np.stack([segments.returns() @ PUBLISHED_WEIGHTS, values[segments.start], values[segments.end]], 1)
        for segments in (dataset.first, dataset.second)
    ]
    return np.asarray(columns[0] - columns[1])


def _random_features(settings: Settings, seed: int, mdp: TabularMDP) -> np.ndarray:
    from prefront.envs.delivery import PUBLISHED_WEIGHTS
    from prefront.exact.mdp import optimal_successor_features
    from prefront.preferences.successor_sets import drop_policy, random_reward_features

    rng = np.random.default_rng((seed, 2**17))
    found = random_reward_features(mdp, rng, settings.random_rewards, settings.gamma)
    return drop_policy(found, optimal_successor_features(mdp, PUBLISHED_WEIGHTS[None], settings.gamma)[0])


def _reward_model(settings: Settings, mdp: TabularMDP, features: np.ndarray, name: str) -> LinearRewardModel:
    from prefront.preferences.exact_regret import ExactRegret
    from prefront.preferences.logistic import Descent
    from prefront.preferences.regret_models import SuccessorFeatureRegret
    from prefront.preferences.reward_models import PartialReturn

    if name == "partial_return":
        return PartialReturn()
    if name == "regret_exact":
        return ExactRegret(mdp, settings.gamma, learning_rate=settings.learning_rate)
    descent = Descent(settings.learning_rate, 1000, 200)
    return SuccessorFeatureRegret(mdp, features, gamma=settings.gamma, descent=descent)


def _folds(
    settings: Settings, mdp: TabularMDP, dataset: PreferenceDataset, features: np.ndarray, rng: np.random.Generator
) -> list[dict[str, Any]]:
    from prefront.preferences.logistic import fit_logistic

    found = _statistics(mdp, settings.gamma, dataset)
    regret = found @ np.array([1.0, -1.0, 1.0])
    given = {"partial_return": found[:, :1], "regret": regret[:, None], "expanded_regret": found}
    labels = np.asarray(dataset.labels)
    rows = []
    for fold, held in enumerate(np.array_split(rng.permutation(len(dataset)), settings.folds)):
        kept = np.setdiff1d(np.arange(len(dataset)), held)
        common = {"fold": fold, "held_out": len(held)}
        for name, columns in given.items():
            difference = columns[held] @ fit_logistic(columns[kept], labels[kept]).weights
            rows.append({**common, "reward": "given", "model": name, **_score(difference, labels[held])})
        for name in LEARNED:
            model = _reward_model(settings, mdp, features, name).fit(dataset[kept])
            difference = model.scores(dataset[held].first) - model.scores(dataset[held].second)
            rows.append({**common, "reward": "learned", "model": name, **_score(difference, labels[held])})
    return rows


def _score(difference: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Returns mean cross-entropy, and accuracy on strict answers, where indifference counts one half."""
    loss = np.logaddexp(0.0, difference) - labels * difference
    right = (np.sign(difference) * np.sign(labels - 0.5) + 1)[labels != 0.5] / 2
    return {"cross_entropy": float(loss.mean()), "accuracy": float(right.mean())}


def _learning(
    settings: Settings,
    mdp: TabularMDP,
    dataset: PreferenceDataset,
    features: np.ndarray,
    size: int,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    from prefront.envs.delivery import PUBLISHED_WEIGHTS
    from prefront.preferences.reward_evaluation import evaluate_reward
    from prefront.preferences.reward_models import fit_many

    if size > len(dataset):
        raise ValueError(f"{size} preferences cannot be drawn from {len(dataset)}.")
    drawn = [dataset[rng.permutation(len(dataset))[:size]] for _ in range(settings.draws)]
    rows = []
    for name in LEARNED:
        fitted = fit_many([_reward_model(settings, mdp, features, name)] * settings.draws, drawn)
        weights = np.array([model.learned() for model in fitted])
        reached = evaluate_reward(mdp, weights, PUBLISHED_WEIGHTS, settings.gamma).scaled_return
        rows += [
            {"preferences": size, "draw": draw, "model": name, "scaled_return": float(value)}
            for draw, value in enumerate(reached)
        ]
    return rows


def _source(results: Results) -> str:
    settings: Settings = results.settings
    count = int(results["folds"].where(model="regret", reward="given", seed=0)["held_out"].sum())
    if settings.data == SIMULATED:
        return f"{count:,} preferences of a simulated teacher by regret (no people)"
    return f"{count:,} human preferences, condition {settings.condition}"


def claims(results: Results) -> list[Claim]:
    """Decides which model predicts better, whether reference figures are met, and who learns from less."""
    settings: Settings = results.settings
    conditions = f"{_source(results)}; delivery task, discount {settings.gamma:g}"
    ledger = []
    for reward, words in (("given", "with the true reward and one scale"), ("learned", "with a learned reward")):
        scores = {name: _column(results, reward, name, "cross_entropy") for name in COMPARED}
        gains = scores["partial_return"] - scores["regret"]
        interval = statistics.stratified_bootstrap(gains, np.mean)
        tests = _one_sided(scores["partial_return"], scores["regret"])
        ledger.append(
            Claim(
                sentence=f"Regret predicts preferences better than partial return, {words}.",
                paper=PAPER,
                stated="lower cross-entropy",
                measured=interval.estimate,
                quantity="nats lower",
                seeds=len(gains),
                verdict=judge(*tests),
                interval=(interval.low, interval.high),
                p_value=tests[0],
                test="Wilcoxon signed-rank over folds, one-sided; 95 % bootstrap interval",
                conditions=f"{conditions}; {settings.folds}-fold cross-validation",
            )
        )
    reference = REFERENCE.get(settings.condition, {}) if settings.data != SIMULATED else {}
    for name, stated in reference.items():
        mean = _weighted(results, "given", name, "cross_entropy")
        claim = Claim(
            sentence=f"The cross-entropy of {GIVEN[name]} with one scale is {stated:.3f} within {TOLERANCE:g}.",
            paper="an independent implementation on the same data",
            stated=f"{stated:.3f}",
            measured=mean,
            quantity="nats",
            seeds=settings.folds,
            verdict="holds" if abs(mean - stated) <= TOLERANCE else "fails",
            test="mean over all held-out preferences",
            conditions=f"{conditions}; {settings.folds}-fold cross-validation",
        )
        ledger.append(claim)
    return ledger + [_learns_more(results, size, conditions) for size in settings.preferences]


def _learns_more(results: Results, size: int, conditions: str) -> Claim:
    reached = {name: np.round(_scaled(results, name, size), 6) for name in COMPARED}
    near = {name: 100.0 * (values >= NEAR_OPTIMAL) for name, values in reached.items()}
    interval = statistics.stratified_bootstrap(near["regret"] - near["partial_return"], np.mean)
    tests = _one_sided(reached["regret"], reached["partial_return"])
    shares = f"{near['regret'].mean():.0f} and {near['partial_return'].mean():.0f} %"
    return Claim(
        sentence=f"From {size:,} preferences, the regret learner's policies are better than the partial return "
        "learner's.",
        paper=PAPER,
        stated="",
        measured=interval.estimate,
        quantity=f"points near-optimal ({shares})",
        seeds=len(near["regret"]),
        verdict=judge(*tests),
        interval=(interval.low, interval.high),
        p_value=tests[0],
        test="Wilcoxon signed-rank of scaled returns, paired by draw, one-sided; 95 % bootstrap interval",
        conditions=f"{conditions}; draws without replacement from the same preferences",
    )


def _one_sided(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Returns the p-values of signed-rank tests that the first is greater, and that it is less."""
    greater, less = (statistics.wilcoxon_test(first, second, side) for side in ("greater", "less"))
    return greater.p_value, less.p_value


def _column(results: Results, reward: str, model: str, column: str) -> np.ndarray:
    return results["folds"].where(reward=reward, model=model)[column]


def _weighted(results: Results, reward: str, model: str, column: str) -> float:
    """Returns the mean over folds, weighted by their sizes."""
    weights = _column(results, reward, model, "held_out")
    return float(np.average(_column(results, reward, model, column), weights=weights))


def _scaled(results: Results, model: str, size: int) -> np.ndarray:
    return results["learning"].where(model=model, preferences=size)["scaled_return"]


def summary(results: Results) -> Table:
    """Returns cross-entropy and strict accuracy of each model, and of those that learn rewards near-optimality."""
    rows = []
    for reward, models in (("given", GIVEN), ("learned", LEARNED)):
        for name, label in models.items():
            row: dict[str, Any] = {
                "model": label,
                "reward": reward,
                "cross-entropy": _weighted(results, reward, name, "cross_entropy"),
                "strict accuracy": _weighted(results, reward, name, "accuracy"),
            }
            for size in results.settings.preferences:
                near = (
                    f"{100 * np.mean(_scaled(results, name, size) >= NEAR_OPTIMAL):.0f}" if reward == "learned" else ""
                )
                row[f"% near-optimal from {size:,}"] = near
            rows.append(row)
    return Table.from_rows(rows)


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws cross-entropies by model, and near-optimality by number of preferences."""
    settings: Settings = results.settings
    names = GIVEN | LEARNED
    with plots.style():
        figure, (left, right) = plots.new_figure(columns=2, height=2.3)
        for number, (reward, models) in enumerate((("given", GIVEN), ("learned", LEARNED))):
            estimates = [(np.nan, np.nan, np.nan)] * len(names)
            for name in models:
                interval = statistics.stratified_bootstrap(_column(results, reward, name, "cross_entropy"), np.mean)
                estimates[list(names).index(name)] = (interval.estimate, interval.low, interval.high)
            plots.plot_intervals(left, list(names.values()), estimates, number, 2, f"reward {reward}")
        left.axvline(np.log(2), color=plots.EXACT, linewidth=0.8, linestyle=":")
        left.set_xlabel("held-out cross-entropy, nats\n(mean, 95 % interval over folds; dotted: chance)")
        left.legend(loc="upper left")
        for number, (name, label) in enumerate(LEARNED.items()):
            shares = [
                statistics.share_interval(_scaled(results, name, size) >= NEAR_OPTIMAL) for size in settings.preferences
            ]
            plots.plot_estimates(right, settings.preferences, shares, number, label)
        right.set_xscale("log")
        right.set_xticks(settings.preferences, [f"{size:,}" for size in settings.preferences])
        right.minorticks_off()
        right.set_ylim(0, 1.02)
        right.set_xlabel("preferences")
        right.set_ylabel("share of draws near-optimal")
        right.legend(loc="lower right")
        return plots.save(figure, folder, "human_preferences")


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "human_preferences", *sys.argv[1:]]))
