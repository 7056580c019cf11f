"""Writes the pages of the site: those written by hand, and those made from the code and its stored results.

    python docs/generate.py FOLDER [--quick]

`--quick` leaves out the exact answers, which take most of the time.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import sources
from PIL import Image
from sources import DOCS, RESULTS, ROOT, Entry, Family, Stored

from prefront.exact.mdp import random_policy, successor_features
from prefront.reports.plots import new_figure, plot_exact_front, plot_parallel, style
from prefront.system.provenance import describe
from prefront.tasks.environment import Environment
from prefront.tasks.finite import FiniteEnvironment
from prefront.tasks.registry import make

ROOT_PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
CELL = re.compile(r"^# %%( \[markdown\])?.*\n", re.MULTILINE)
EPISODES = 256
FEWEST_PARALLEL = 4  # From this number of objectives on, pairs of them would be too many pictures.


@dataclasses.dataclass(frozen=True)
class Answer:
    """What an environment knows of its Pareto front.

    Attributes:
        points: Return vectors, shape (points, objectives); None where there is no front.
        hypervolume: Against the environment's reference point, at its discount.
        random: Mean returns of the uniformly random policy, shape (objectives,).
        known: How these are known.
        reason: Why there is no front.
    """

    points: np.ndarray | None
    hypervolume: float
    random: np.ndarray
    known: str
    reason: str = ""


def answer(id: str) -> Answer:
    """Computes the front of a registered environment, and its random returns, under its own discount."""
    environment = make(id)
    random = random_returns(environment)
    try:
        return Answer(environment.pareto_front(), environment.max_hypervolume(), *random)
    except NotImplementedError as reason:
        return Answer(None, np.nan, *random, str(reason))


def random_returns(environment: Environment) -> tuple[np.ndarray, str]:
    """Returns the mean returns of the uniformly random policy, and how they are known."""
    if isinstance(environment, FiniteEnvironment):
        table = environment.table()
        features = successor_features(table, random_policy(table), environment.discount)
        return table.initial @ features, "exact, without a time limit"
    envs = gym.make_vec(environment.id, num_envs=EPISODES)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    returns, running, weight = 0.0, np.ones(EPISODES, bool), 1.0
    while running.any():
        _, reward, terminated, truncated, _ = envs.step(envs.action_space.sample())
        returns += np.where(running[:, None], weight * np.asarray(reward, np.float64), 0.0)
        running &= ~(terminated | truncated)
        weight *= environment.discount
    return np.mean(returns, 0), f"mean of {EPISODES} episodes, seed 0"


def pages(answers: dict[str, Answer]) -> dict[str, str]:
    """Returns the Markdown of every page by its path in the site.

    Args:
        answers: The fronts by environment id; those that are missing are left out of the pages.
    """
    made = {path.name: path.read_text() for path in DOCS.glob("*.md")}
    made |= {name: (ROOT / name).read_text() for name in ROOT_PAGES}
    for path in RESULTS.rglob("*.md"):
        text = path.read_text()
        place = f"results/{path.relative_to(RESULTS)}"
        made[place] = text if text.startswith("# ") else f"# {path.parent.name}: {path.stem}\n\n{text}"
    made |= {f"environments/{one.entry.file}": environment_page(one, answers) for one in sources.families()}
    made |= {f"agents/{one.file}": agent_page(one) for one in sources.agents()}
    made |= {f"models/{one.file}": model_page(one) for one in sources.preference_models()}
    made |= {f"studies/{one.file}": study_page(one) for one in sources.studies()}
    made |= {f"examples/{path.stem}.md": example_page(path) for path in sorted((ROOT / "examples").glob("*.py"))}
    made |= {f"api/{room.__name__}.md": room_page(room) for room in sources.rooms()}
    made |= index_pages(made)
    return {path: relinked(path, text) for path, text in made.items()}


def relinked(path: str, text: str) -> str:
    """Turns links between the repository's files into links between pages."""
    up = "../" * path.count("/")
    text = re.sub(r"\]\((?:\.\./)*benchmarks/results/([^)]*\.md)", rf"]({up}results/\1", text)
    text = re.sub(rf"\]\((?:\.\./)+({'|'.join(ROOT_PAGES)})", rf"]({up}\1", text)
    # What is no page stays a name: the repository is where the reader has it from.
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)(?![^)]*\.md)[^)]*\)", r"\1", text)


def environment_page(family: Family, answers: dict[str, Answer]) -> str:
    """Returns the page of an environment class: facts, fronts, and its docstring."""
    first, _, rest = family.entry.docstring.partition("\n")
    rows, figures = [], []
    for variant in family.variants:
        environment, found = make(variant.id), answers.get(variant.id)
        point = vector(np.atleast_1d(environment.reference_point))
        known = found is not None and found.points is not None
        rows.append(
            [f"`{variant.id}`", f"{environment.discount:g}", point if known or found is None else "-",
             environment.front_kind, f"{len(found.points)}" if known else "-",
             f"{found.hypervolume:,.7g}" if known else "-", vector(found.points.max(0)) if known else "-",
             "-" if found is None else vector(found.random)]
        )  # fmt: skip
        if found is not None and variant is family.variants[0]:
            name = variant.id.rpartition("/")[2]
            figures.append(
                f"![The start of {name}](../figures/start-{name}.png)\n\n*The start of `{variant.id}`: "
                f'`gym.make("{variant.id}", render_mode="rgb_array")`, seed 0. {built_on()}*'
            )
        if known:
            name = variant.id.rpartition("/")[2]
            figures.append(f"![Front of {name}](../figures/front-{name}.png)\n\n{front_caption(environment)}")
        elif found is not None and found.reason:
            figures.append(f"No front: {found.reason}")
    heads = ["id", "discount", "reference point", "front", "points", "max hypervolume", "best in each objective"]
    heads.append("random policy")
    objectives = f"{len(environment.objective_names)} objectives: {', '.join(environment.objective_names)}."
    made = [f"# {family.entry.name}", first, objectives, table(heads, rows), *dict.fromkeys(figures)]
    if (found := answers.get(family.variants[0].id)) is not None:
        made.insert(4, f"Returns of the uniformly random policy: {found.known}.")
    made += [f"Module `{family.entry.module}`.", sources.markdown(rest.strip())]
    return "\n\n".join(made) + "\n"


def vector(numbers: np.ndarray) -> str:
    """Returns a return vector as text."""
    return "(" + ", ".join(f"{x:.4g}" for x in numbers) + ")"


def front_caption(environment: Environment) -> str:
    """Returns what the picture of a front shows, and where it comes from."""
    name = environment.id.rpartition("/")[2]
    bound = "" if environment.front_kind == "exact" else ", a lower bound"
    return (
        f"*{environment.front_kind.capitalize()} front of `{environment.id}` at discount "
        f"{environment.discount:g}{bound}: `prefront.make({name!r}).pareto_front()`, computed for this page; "
        f"no seeds, nothing is sampled or trained. {built_on()}*"
    )


@functools.cache
def built_on() -> str:
    """Returns one sentence with the commit and the hardware of this build."""
    here = describe()
    commit = (here["commit"] or "unknown")[:7]
    return f"Commit {commit}, hardware: {sources.hardware(here)}."


def agent_page(entry: Entry) -> str:
    """Returns an agent's page, which is written by hand, with its settings and stored results after it."""
    written = DOCS / "agents" / entry.file
    made = [written.read_text() if written.exists() else f"# {entry.name}\n\n{entry.summary}"]
    for study in dict.fromkeys(re.findall(r"^    prefront run (\w+)", made[0], re.MULTILINE)):
        if (results := sources.stored(study)) is not None:
            made += [f"From {results.origin(study)}", results.summary]
    made += ["## How it is built", f"From the docstring of `{entry.module}`.", sources.markdown(entry.docstring)]
    made.append("## Settings")
    made += [f"### `{one.name}`\n\n{sources.markdown(one.docstring)}" for one in sources.settings_of(entry)]
    return "\n\n".join(made) + "\n"


def model_page(entry: Entry) -> str:
    """Returns the page of a preference model, its docstring."""
    return f"# {entry.name}\n\n{sources.markdown(entry.docstring)}\n\nModule `{entry.module}`.\n"


def study_page(entry: Entry) -> str:
    """Returns the page of a study: its question, command, figure and claims."""
    made = [f"# {entry.name}", sources.markdown(entry.docstring), "## Run"]
    made.append(f"```\nprefront run {entry.name}\nprefront run {entry.name} --help\n```")
    if (shown := sources.figure(entry.name)) is not None:
        made += ["## Figure", f"![{entry.summary}](../figures/{shown[0].name})", shown[1]]
    results = sources.stored(entry.name)
    if results is None:
        made += ["## Claims", "No run of this study is stored; run it, and `prefront claims` shows its ledger."]
    else:
        made += result_sections(entry.name, results)
    return "\n\n".join(made) + "\n"


def result_sections(study: str, results: Stored) -> list[str]:
    """Returns claims and summary of a study, each with its origin."""
    origin = f"From {results.origin(study)}"
    return ["## Claims", origin, results.claims, "## Summary", origin, results.summary]


def example_page(path: Path) -> str:
    """Returns an example's page: its Markdown cells as text, its code cells as code."""
    cells = CELL.split(path.read_text())[1:]
    made = []
    for kind, text in zip(cells[::2], cells[1::2], strict=True):
        lines = [re.sub(r"^# ?", "", line) if kind else line for line in text.strip().split("\n")]
        body = "\n".join(lines)
        made.append(body if kind else f"```python\n{body}\n```")
    return "\n\n".join([*made, f"The file: `examples/{path.name}`."]) + "\n"


def room_page(room: Any) -> str:
    """Returns a page of the API reference: every module of a room."""
    made = [f"# {room.__name__}", (room.__doc__ or "").strip()]
    for module in sources.modules(room.__name__):
        made.append(f"## {module.__name__.removeprefix('prefront.')}")
        made.append(f"```{{eval-rst}}\n.. automodule:: {module.__name__}\n```")
    return "\n\n".join(made) + "\n"


def index_pages(made: dict[str, str]) -> dict[str, str]:
    """Returns the index of each group of pages."""

    def linked(entries: Iterable[Entry]) -> list[list[str]]:
        return [[f"[{one.name}]({one.file})", one.summary] for one in entries]

    environments = [
        [f"`{variant.id}`", f"[{family.entry.name}]({family.entry.file})", variant.summary]
        for family in sources.families()
        for variant in family.variants
    ]
    examples = [[f"[{name}]({name}.md)", title(made[f"examples/{name}.md"])] for name in stems(made, "examples")]
    reference = [[f"[{name}]({name}.md)", made[f"api/{name}.md"].split("\n")[2]] for name in stems(made, "api")]
    heads = ["name", "what it is"]
    return {
        "environments/index.md": group(
            "Environments", table(["id", "page", "what it is"], environments), stems(made, "environments")
        ),
        "agents/index.md": group("Agents", table(heads, linked(sources.agents())), stems(made, "agents")),
        "models/index.md": group(
            "Preference models", table(heads, linked(sources.preference_models())), stems(made, "models")
        ),
        "studies/index.md": group("Studies", table(heads, linked(sources.studies())), stems(made, "studies")),
        "examples/index.md": group("Examples", table(heads, examples), stems(made, "examples")),
        "api/index.md": group("API reference", table(["room", "what it holds"], reference), stems(made, "api")),
        "results/index.md": group(
            "Stored results", "", sorted(path[8:-3] for path in made if path.startswith("results/"))
        ),
    }


def stems(made: dict[str, str], folder: str) -> list[str]:
    """Returns the names of the pages in a folder, in the order in which they were made."""
    return [path.removeprefix(f"{folder}/")[:-3] for path in made if path.startswith(f"{folder}/")]


def title(text: str) -> str:
    """Returns a page's title."""
    return text.split("\n")[0].removeprefix("# ")


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Returns a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def group(name: str, text: str, children: list[str]) -> str:
    """Returns an index page with the pages below it."""
    listed = "\n".join(children)
    return f"# {name}\n\n{text}\n\n```{{toctree}}\n:hidden:\n:maxdepth: 1\n\n{listed}\n```\n"


def picture(id: str, path: Path) -> None:
    """Draws the state in which an environment starts."""
    env = gym.make(id, render_mode="rgb_array")
    env.reset(seed=0)
    Image.fromarray(env.render()).save(path)


def draw(id: str, points: np.ndarray, path: Path) -> None:
    """Draws a front: pairs of objectives, or from four objectives on a line for each point."""
    names = make(id).objective_names
    with style():
        if len(names) >= FEWEST_PARALLEL:
            figure, axes = new_figure()
            plot_parallel(axes[0], points, points, names, 0)
        else:
            pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
            figure, axes = new_figure(columns=len(pairs))
            for axis, (i, j) in zip(axes, pairs, strict=True):
                plot_exact_front(axis, points[:, [i, j]])
                axis.set_xlabel(names[i])
                axis.set_ylabel(names[j])
        figure.savefig(path, dpi=200)


def write(folder: Path, quick: bool = False) -> None:
    """Writes all pages and figures into a folder, which is emptied before."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DOCS / "figures", folder / "figures")
    ids = [variant.id for family in sources.families() for variant in family.variants]
    answers = {} if quick else {id: answer(id) for id in ids}
    for family in sources.families() if answers else []:
        picture(id := family.variants[0].id, folder / "figures" / f"start-{id.rpartition('/')[2]}.png")
    for id, found in answers.items():
        if found.points is not None:
            draw(id, found.points, folder / "figures" / f"front-{id.rpartition('/')[2]}.png")
    for path, text in pages(answers).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    write(arguments.folder, arguments.quick)
