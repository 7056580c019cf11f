"""What pairs, label noise and the width of reward models do to the peak of gold and to its fall.

Reward models learn from more or fewer comparisons and from people who answer more or less reliably, where the whole
curve of gold is known exactly; and they are wider or narrower networks, which have no exact path, so that PPO with an
annealed KL coefficient and best-of-n sampling stand for it. Beside each curve: what the models are worth on held-out
pairs.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prefront.experiments import token_worlds
from prefront.experiments.overoptimization import GAO, SOURCES, check_curves
from prefront.experiments.token_worlds import LearnerSettings, WorldSettings
from prefront.reports.bands import curves, draw_panels
from prefront.reports.claim_forms import Way, trend
from prefront.reports.claims import Claim
from prefront.reports.overoptimization import averages, peaks
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system.checks import check_distinct, check_types
from prefront.system.tables import Table

Varied = Literal["pairs", "label_noise", "model"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        world: The worlds.
        learner: How learners train.
        pairs: Numbers of comparisons per reward model.
        label_noises: Rates of mistakes.
        models: Reward models, each "linear" or a form and its width, such as "mlp-32".
        points: Points of an exact path.
        samples: Sequences from which gold is estimated at each point.
        largest_n: Largest n of best-of-n, a power of two, and the reference sequences in a pool.
        pools: Independent pools of reference sequences.
    """

    world: WorldSettings = dataclasses.field(default_factory=WorldSettings)
    learner: LearnerSettings = dataclasses.field(default_factory=LearnerSettings)
    pairs: tuple[int, ...] = (125, 250, 500, 1000, 2000)
    label_noises: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3)
    models: tuple[str, ...] = ("linear", "mlp-8", "mlp-32", "transformer-16", "transformer-32")
    points: int = 33
    samples: int = 2048
    largest_n: int = 4096
    pools: int = 8

    def __post_init__(self) -> None:
        check_types(self)
        check_distinct(self, "pairs", "label_noises", "models")
        check_curves(self)

    def check(self) -> None:
        """Builds the settings of all worlds."""
        for world in (*self.worlds("pairs"), *self.worlds("label_noise")):
            token_worlds.whole_settings(world)
        for model in self.models:
            token_worlds.whole_settings(self.world, model)

    def worlds(self, varied: Varied) -> list[WorldSettings]:
        """Returns the worlds that differ in what reward models learn from."""
        levels = self.pairs if varied == "pairs" else self.label_noises
        return [dataclasses.replace(self.world, **{varied: level}) for level in levels]  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One piece of work: exact paths by pairs or by label noise, or a learner and best-of-n with one reward model."""

    varied: Varied
    model: str = "linear"


def cells(settings: Settings) -> list[Cell]:
    """Returns the pieces of work."""
    return [Cell("pairs"), Cell("label_noise"), *(Cell("model", model) for model in settings.models)]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Computes the curves of one piece.

    Returns:
        `curves`: one row per point, with the columns of `prefront.experiments.token_worlds`, `varied` and its level
        under that name, `source` ("exact", "ppo_annealed_kl" or "best_of_n"), and `iteration` or `n` where they apply.
        `models`: by `model` and `component`, what the reward models are worth on held-out pairs.
    """
    cell: Cell = job.cell
    if cell.varied != "model":
        return {
            "curves": [
                {"varied": cell.varied, cell.varied: getattr(world, cell.varied), "source": "exact", **row}
                for world in settings.worlds(cell.varied)
                for row in token_worlds.exact_path(world, seed, (1.0, 1.0), settings.points, settings.samples)
            ]
        }
    from prefront.agents.constrained_rlhf import method_settings

    world, method, model = settings.world, method_settings("ppo_annealed_kl"), cell.model
    found = {
        "ppo_annealed_kl": token_worlds.learned_curve(settings, seed, job, method, model=model),
        "best_of_n": token_worlds.best_of_n_curve(world, seed, settings.largest_n, settings.pools, model),
    }
    labels = {"varied": "model", "model": model}
    rows = [{**labels, "source": source, **row} for source, curve in found.items() for row in curve]
    return {"curves": rows, "models": _held_out(world, seed, model)}


def _held_out(world: WorldSettings, seed: int, model: str) -> list[dict[str, Any]]:
    import jax

    from prefront.envs.token_report import report

    found = jax.device_get(report(token_worlds.made_world(world, seed, model), seed + 2**20))
    names = [name for name in found._fields if name != "model_correlation"]
    return [
        {"model": model, "component": i + 1, **{name: float(getattr(found, name)[i]) for name in names}}
        for i in range(len(found.accuracy))
    ]


def claims(results: Results) -> list[Claim]:
    """Decides what moves the height of the peak."""
    settings = results.settings
    on = token_worlds.conditions(settings, f"{settings.world.pairs} pairs")
    widths = {form: tuple(one for one in settings.models if one.startswith(form)) for form in ("mlp", "transformer")}
    studied: list[tuple[str, Varied, tuple[Any, ...], Way, str, str]] = [
        ("exact", "pairs", settings.pairs, "rises", "the comparisons per reward model", GAO),
        ("exact", "label_noise", settings.label_noises, "falls", "label noise", ""),
    ]
    for form, levels in widths.items():
        studied.append(("ppo_annealed_kl", "model", levels, "rises", f"the width of {form} reward models", GAO))
    ledger = []
    for source, varied, levels, way, what, paper in studied:
        if len(levels) > 1:
            found = _peaks(results, varied).where(source=source)
            values = np.column_stack([found.where(**{varied: level})["gold"] for level in levels])
            sentence = f"{SOURCES[source]}: gold at its peak {way} with {what}."
            ledger.append(trend(values, way, levels=levels, sentence=sentence, paper=paper, conditions=on))
    return ledger


def _peaks(results: Results, varied: Varied) -> Table:
    return peaks(results["curves"].where(varied=varied), "source", varied)


def _text(level: float | str) -> str:
    return level if isinstance(level, str) else f"{level:g}"


def summary(results: Results) -> Table:
    """Returns one row per curve: means over seeds of the peak and the fall."""
    names = {"gold": "peak gold", "fall": "fall", "kl": "KL at peak", "proxy": "proxy at peak"}
    return Table.from_rows(
        {"curve": SOURCES[source], "varied": varied, "level": _text(level), **averages(rows, names)}
        for varied in ("pairs", "label_noise", "model")
        for (source, level), rows in _peaks(results, varied).groups("source", varied)
    )


def draw(results: Results, folder: Path) -> list[Path]:
    """Draws gold against distance by what reward models learn from, and by reward model."""
    panels = []
    for varied, source in (
        ("pairs", "exact"),
        ("label_noise", "exact"),
        ("model", "ppo_annealed_kl"),
        ("model", "best_of_n"),
    ):
        rows = results["curves"].where(varied=varied, source=source)
        series = {_text(level): table for (level,), table in rows.groups(varied)}
        title = f"{varied.replace('_', ' ')}, {SOURCES[source]}"
        panels.append(curves(series, "kl", "gold", level=0.0, title=title))
    return draw_panels(folder, "data_and_models", panels, columns=2)


STUDY = Study(
    presets={
        "smoke": Settings(
            learner=LearnerSettings(iterations=20, sequences=128, evaluation_sequences=256),
            pairs=(250, 500),
            label_noises=(0.1, 0.3),
            models=("linear",),
            points=13,
            samples=512,
            largest_n=256,
            pools=2,
        ),
        "paper": Settings(),
    },
    seeds={"smoke": range(2), "paper": range(1000, 1010)},
    run=run,
    cells=cells,
    claims=[claims],
    figures=[draw],
    summary=summary,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "reward_model_quality", *sys.argv[1:]]))
