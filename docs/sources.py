"""What the site is made from: the registry, the catalogue, docstrings and stored results. Nothing here writes."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import prefront
from prefront.runs.catalogue import AGENTS, EXPERIMENTS, MODELS, CatalogEntry
from prefront.tasks.registry import ENVIRONMENTS, EnvironmentEntry, load

DOCS = Path(__file__).parent
ROOT = DOCS.parent
RESULTS = ROOT / "benchmarks" / "results"
FIGURE = re.compile(r"!\[[^\]]*\]\(figures/(\w+)\.png\)\n\n(.*?)(?:\n\n|\Z)", re.DOTALL)
SECTION = re.compile(r"^(Attributes|Args|Returns|Raises|Yields):$")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One thing that has a page.

    Attributes:
        name: What the user types.
        module: The module that holds it.
        summary: One line for the tables.
        docstring: Its documentation, in Markdown.
    """

    name: str
    module: str
    summary: str
    docstring: str

    @property
    def file(self) -> str:
        """The page's file, without folder."""
        return f"{self.name}.md"


@dataclasses.dataclass(frozen=True)
class Family:
    """An environment class with all its registered variants."""

    entry: Entry
    variants: tuple[EnvironmentEntry, ...]


@dataclasses.dataclass(frozen=True)
class Stored:
    """The stored results of one study.

    Attributes:
        folder: Where they lie.
        environment: Commit, versions and hardware.
        config: Preset, seeds and settings.
        claims: The ledger, a Markdown table.
        summary: What a paper would print, a Markdown table.
    """

    folder: Path
    environment: dict[str, Any]
    config: dict[str, Any]
    claims: str
    summary: str

    def origin(self, study: str) -> str:
        """Returns one sentence with command, seeds, commit and hardware."""
        data = " --data FOLDER" if study in ("human_preferences", "learning_from_people") else ""
        return (
            f"`prefront run {study} --preset {self.config['preset']}{data}`, seeds: {self.config['seeds']}, "
            f"commit {self.environment['commit'][:7]}, hardware: {hardware(self.environment)}."
        )


def hardware(environment: dict[str, Any]) -> str:
    """Returns the hardware of a stored or present environment, in words."""
    here = environment["hardware"]
    return f"{here['cores']} cores of an {here['processor']}, {here['memory_gib']} GiB, {here['device']}"


def families() -> list[Family]:
    """Returns the environment classes in the order of the registry."""
    by_path: dict[str, list[EnvironmentEntry]] = {}
    for entry in ENVIRONMENTS.values():
        by_path.setdefault(entry.path, []).append(entry)
    made = []
    for path, variants in by_path.items():
        docstring = inspect.getdoc(load(path)) or ""
        entry = Entry(path.partition(":")[2], path.partition(":")[0], docstring.split("\n")[0], docstring)
        made.append(Family(entry, tuple(variants)))
    return made


def agents() -> list[Entry]:
    """Returns the agents of the catalogue; their docstrings are those of their modules."""
    return [_of_catalogue(entry) for entry in AGENTS.values()]


def studies() -> list[Entry]:
    """Returns the studies of the catalogue; their docstrings are those of their modules."""
    return [_of_catalogue(entry) for entry in EXPERIMENTS.values()]


def preference_models() -> list[Entry]:
    """Returns the preference models of the catalogue."""
    classes = [(entry, getattr(importlib.import_module(entry.module), entry.name)) for entry in MODELS.values()]
    return [Entry(entry.name, entry.module, entry.summary, inspect.getdoc(one) or "") for entry, one in classes]


def settings_of(agent: Entry) -> list[Entry]:
    """Returns the dataclasses of settings that an agent's module offers."""
    module = importlib.import_module(agent.module)
    named = [getattr(module, name) for name in getattr(module, "__all__", vars(module))]
    classes = [one for one in named if inspect.isclass(one) and dataclasses.is_dataclass(one)]
    chosen = [one for one in classes if one.__name__.endswith(("Config", "Settings"))]
    return [Entry(one.__name__, one.__module__, "", inspect.getdoc(one) or "") for one in chosen]


def stored(study: str) -> Stored | None:
    """Returns the stored results of a study, or None where there are none."""
    for claims in sorted(RESULTS.rglob("claims.md")):
        if claims.parent.name == study:
            folder = claims.parent
            facts = [json.loads((folder / name).read_text()) for name in ("environment.json", "config.json")]
            return Stored(folder, *facts, claims.read_text(), (folder / "summary.md").read_text())
    return None


def figure(study: str) -> tuple[Path, str] | None:
    """Returns the stored figure of a study and its caption, which a hand-written page states; None where there is none.

    The caption is the paragraph in italics under the figure; it names command, commit, hardware and seeds.
    """
    for page in sorted(DOCS.glob("*.md")):
        for name, caption in FIGURE.findall(page.read_text()):
            if name == study:
                return DOCS / "figures" / f"{name}.png", caption
    return None


def rooms() -> list[ModuleType]:
    """Returns the packages of `prefront`, each of which has a page of the API reference."""
    names = [info.name for info in pkgutil.iter_modules(prefront.__path__) if info.ispkg]
    return [importlib.import_module(f"prefront.{name}") for name in sorted(names)]


def modules(package: str) -> Iterator[ModuleType]:
    """Yields the modules of a package, those of its sub-packages included."""
    parent = importlib.import_module(package)
    for info in sorted(pkgutil.walk_packages(parent.__path__, f"{package}."), key=lambda info: info.name):
        if not info.ispkg:
            yield importlib.import_module(info.name)


def markdown(docstring: str) -> str:
    """Turns the Google sections of a docstring into Markdown lists, and leaves the rest as it is."""
    lines: list[str] = []
    within = False
    for line in docstring.split("\n"):
        if heading := SECTION.match(line):
            within = True
            lines += [f"**{heading[1]}**", ""]
        elif within and (item := re.match(r"^    (\S[^:]*): (.*)$", line)):
            lines.append(f"- `{item[1]}`: {item[2]}")
        elif within and line.startswith("    "):
            lines.append("  " + line.strip())
        else:
            within = within and not line
            lines.append(line)
    return "\n".join(lines).rstrip()


def _of_catalogue(entry: CatalogEntry) -> Entry:
    docstring = inspect.getdoc(importlib.import_module(entry.module)) or ""
    return Entry(entry.name, entry.module, entry.summary, docstring)
