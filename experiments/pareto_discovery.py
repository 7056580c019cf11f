"""C-MORL against linear scalarisation on every discrete environment, scored by the exact fronts.

Each environment is trained with both stages of C-MORL and, with the same budget of environment steps, with stage 1
alone, which is linear scalarisation by a population of learners. The preset "tuned" has our settings, "published" those
of the authors' scripts. Fronts hold discounted returns of deterministic policies and are scored against the exact front
of deterministic policies, or the best known one where none is proven.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from prefront.pareto import indicators
from prefront.reports.claim_forms import at_the_ceiling, bounded, in_every, larger
from prefront.reports.claims import Claim
from prefront.reports.fronts import draw_fronts, summarise_fronts
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system import checks
from prefront.system.tables import Table
from prefront.tasks.registry import ENVIRONMENTS, make

if TYPE_CHECKING:
    from prefront.agents.cmorl import CMORLConfig
    from prefront.policies.front import Front
    from prefront.policies.scores import ReferenceFront
    from prefront.tasks.environment import Environment

PAPER = "Liu et al. (2025), C-MORL"
STATED_GAIN = "up to 35 % over other MORL methods; of linear scalarisation it states nothing"
Method = Literal["C-MORL", "linear"]
METHODS = {"C-MORL": "C-MORL", "linear": "linear scalarisation"}
FULL = 1 - 1e-9
MOST_VIOLATIONS = 0.1
TEST_SEED = 2**31 - 1  # No training run has this seed or the one before.
DISCRETE = (
    "DeepSeaTreasure", "DeepSeaTreasureConcave", "DeepSeaTreasureMirrored", "FruitTree", "ResourceGathering",
    "FourRoom", "BreakableBottles", "Minecart", "MinecartDeterministic", "MOMountainCar",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        environments: Names of our environments, without `prefront/` and `-v0`.
        methods: "C-MORL" (both stages) and "linear" (stage 1 alone, all steps).
        agent_preset: "tuned" (our settings; the rival's are those of stage 1 alone) or "published" (the settings
            of the authors of C-MORL; linear scalarisation takes the same ones).
        budget: Training steps as a share of the agent preset's.
        test_episodes: Fresh episodes by which each policy of a finished front is measured where the environment is
            random, so that no policy is in the front for its luck in training; as many more decide which policies are
            dominated.
    """

    environments: tuple[str, ...] = DISCRETE
    methods: tuple[Method, ...] = ("C-MORL", "linear")
    agent_preset: Literal["tuned", "published"] = "tuned"
    budget: float = 1.0
    test_episodes: int = 200

    def __post_init__(self) -> None:
        checks.check_types(self)
        checks.check_distinct(self, "environments", "methods")
        checks.check_names(
            "prefront environment", self.environments, [id[len("prefront/") : -len("-v0")] for id in ENVIRONMENTS]
        )
        checks.check_positive(self, "budget")
        checks.check_least(self, 1, "test_episodes")
        checks.check_most(self, checks.MANY, "test_episodes")

    def check(self) -> None:
        """Builds the agent's settings."""
        for name in self.environments:
            for method in self.methods:
                _config(self, name, method)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One piece of work: the training of one method on one environment."""

    environment: str
    method: Method


def cells(settings: Settings) -> list[Cell]:
    """Returns one piece of work per environment and method."""
    return [Cell(name, method) for name in settings.environments for method in settings.methods]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Trains one method on one environment; the front goes to `front/` in the job's folder.

    Returns:
        `metrics` (one row; `finished_violations` is the share of learners that ended an extension in violation of a
        constraint by more than 2 % of the objective's range, NaN without an extension), `curves` (hypervolume by
        steps, as the archive saw it), `points` (the front found) and `exact` (the true front).
    """
    from prefront.agents.cmorl import train

    name, method = job.cell.environment, job.cell.method
    environment, truth = _task(name)
    id = f"prefront/{name}-v0"
    config = _config(settings, name, method)

    result = train(id, config, seed, report=job.report, checkpoint=job.checkpoint)
    result.solution.save(job.folder / "front")
    history = result.history
    finished = np.isfinite(history["finished_violations"])
    labels, found = {"environment": name, "method": method}, _test(result.solution, environment, settings.test_episodes)
    facts = {
        **labels,
        "id": id,
        "objectives": ";".join(environment.objective_names),
        "gamma": environment.discount,
        "reference_point": " ".join(f"{part:g}" for part in environment.reference_point),
        "policies": "deterministic",
        "archived": len(result.solution),
        "environment_steps": int(result.environment_steps),
        "evaluation_steps": int(result.evaluation_steps),
        "finished_learners": config.population * int(finished.sum()),
        "finished_violations": float(history["finished_violations"][finished].mean()) if finished.any() else math.nan,
    }
    columns = ("environment_steps", "evaluation_steps", "hypervolume", "share", "cardinality", "stage")
    curve = [
        {**labels, **{name: {**row, "share": row["hypervolume"] / truth.hypervolume}[name] for name in columns}}
        for row in history.rows()
    ]
    # One copy per seed is enough, so the first method brings it.
    exact = truth.front if method == settings.methods[0] else ()
    return {
        "metrics": [{**facts, **truth.score(found)}],
        "curves": curve,
        "points": [{**labels, **_point(point)} for point in found],
        "exact": [{"environment": name, "kind": truth.kind, **_point(point)} for point in exact],
    }


def _config(settings: Settings, name: str, method: str) -> CMORLConfig:
    from prefront.agents.cmorl import config_for

    extension: Any = None if method == "C-MORL" else "none"
    config = config_for(f"prefront/{name}-v0", settings.agent_preset, extension)
    steps = max(1, round(config.total_steps * settings.budget))
    return dataclasses.replace(config, total_steps=steps)


def _test(front: Front, environment: Environment, episodes: int) -> np.ndarray:
    """Returns fresh returns of the policies that are not dominated, shape (points, objectives).

    Which are not dominated is decided by other fresh episodes than those by which they are reported.
    """
    chosen = front.evaluate(environment, episodes=episodes, seed=TEST_SEED)
    # Where nothing is random, archived returns are exact, and a mean over many episodes only adds rounding.
    if np.allclose(front.returns, chosen, rtol=1e-5, atol=1e-6):
        return np.asarray(front.returns[indicators.non_dominated(front.returns)], np.float64)
    # Episodes that chose the policies would flatter them.
    fresh = front.evaluate(environment, episodes=episodes, seed=TEST_SEED - 1)
    return np.asarray(fresh[indicators.non_dominated(chosen)], np.float64)


@functools.cache
def _task(name: str) -> tuple[Environment, ReferenceFront]:
    from prefront.policies.scores import ReferenceFront

    environment = make(f"prefront/{name}-v0")
    return environment, ReferenceFront.of(environment)


def _point(point: np.ndarray) -> dict[str, float]:
    return {f"return_{i}": float(part) for i, part in enumerate(point)}


def claims(results: Results) -> list[Claim]:
    """Decides for each environment whether C-MORL finds the front, beats linear scalarisation, keeps constraints."""
    knowledge, ledger = _knowledge(results.settings.agent_preset), []
    for name in results.settings.environments:
        ours, theirs = (results["metrics"].where(environment=name, method=method) for method in METHODS)
        if len(ours):
            more = _more_hypervolume(name, ours, theirs) if len(theirs) else None
            ledger += [_whole_front(name, ours), more, _few_violations(name, ours)]
    decided = [claim for claim in ledger if claim is not None]
    return [dataclasses.replace(claim, conditions=f"{claim.conditions}; {knowledge}") for claim in decided]


def _whole_front(name: str, rows: Table) -> Claim | None:
    """Counts the seeds that found every point, or, beside a best known front, compares hypervolumes."""
    if rows["front_kind"][0] == "unknown":
        return None
    how = _conditions(rows)
    if rows["front_kind"][0] != "exact":
        sentence = f"{name}: C-MORL reaches the best known hypervolume."
        quantity = "of it, mean over seeds"
        return bounded(rows["share"], "at least", 1.0, sentence=sentence, quantity=quantity, conditions=how)
    shares = rows["points_found"] / rows["true_points"]
    return in_every(
        shares == 1,
        sentence=f"{name}: C-MORL finds every point of the exact front, in every seed.",
        quantity="of the seeds",
        note=f"{100 * shares.mean():.4g} % of the {rows['true_points'][0]} points on average, "
        f"{100 * shares.min():.4g} % at least",
        conditions=how,
    )


def _more_hypervolume(name: str, ours: Table, theirs: Table) -> Claim:
    """Pairs both methods by seed; the gain is in percent of linear scalarisation's mean hypervolume."""
    first, second = ours["hypervolume"], theirs["hypervolume"]
    some = second.mean() > 0
    words: dict[str, Any] = {
        "sentence": f"{name}: C-MORL finds more hypervolume than linear scalarisation at equal steps.",
        "paper": PAPER,
        "stated": STATED_GAIN,
        "quantity": "%, mean gain" if some else "% of C-MORL's best; linear scalarisation has none",
        "conditions": _conditions(ours),
    }
    if ours["front_kind"][0] == "exact" and min(ours["share"].min(), theirs["share"].min()) >= FULL:
        return at_the_ceiling(len(ours), note="both have the exact front's hypervolume in every seed", **words)
    return larger(first, second, scale=100 / (second.mean() if some else max(first.max(), 1.0)), **words)


def _few_violations(name: str, rows: Table) -> Claim | None:
    """Counts the seeds in which few finished learners have an expected return below a constraint's threshold."""
    rows = rows.at(np.isfinite(rows["finished_violations"]))
    if not len(rows):
        return None
    violations = rows["finished_violations"]
    return in_every(
        violations <= MOST_VIOLATIONS,
        sentence=f"{name}: in every seed, at most 10 % of the extended learners end in violation of a constraint by "
        "more than 2 % of the objective's range.",
        quantity="of the seeds",
        note=f"{100 * violations.mean():.2g} % of all {rows['finished_learners'].sum()} learners in violation, "
        f"{100 * violations.max():.2g} % in the worst seed, stochastic policies",
        conditions=_conditions(rows),
    )


def _knowledge(preset: str) -> str:
    """Says whose settings both methods have."""
    tried = "which no other candidate beat where some were tried (FourRoom, MOMountainCar)"
    tuned = f"settings tuned on other seeds for C-MORL; linear scalarisation has the same, {tried}"
    return tuned if preset == "tuned" else "settings as published, linear scalarisation with those of C-MORL"


def _conditions(rows: Table) -> str:
    row = next(iter(rows.rows()))
    steps = f"{row['environment_steps']:,} training and {row['evaluation_steps']:,} evaluation steps"
    return (
        f"{row['id']}, discount {row['gamma']:g}, reference point ({row['reference_point'].replace(' ', ', ')}), "
        f"{row['policies']} policies, {steps}"
    )


def summary(results: Results) -> Table:
    """Returns one row per environment and method: interquartile means over seeds, with the seconds they took."""
    return summarise_fronts(results["metrics"], results.timing, METHODS)


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws the fronts, and their shares of the true hypervolume."""
    return draw_fronts(results.tables, METHODS, folder)


STUDY = Study(
    presets={
        "smoke": Settings(environments=("DeepSeaTreasure", "FruitTree"), budget=0.02),
        "tuned": Settings(),
        "published": Settings(agent_preset="published"),
    },
    seeds={"smoke": range(2), "tuned": range(1000, 1008), "published": range(1000, 1005)},
    run=run,
    cells=cells,
    claims=[claims],
    figures=[plot],
    summary=summary,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "pareto_discovery", *sys.argv[1:]]))
