"""The agents and experiments by name; none of them is imported before it is used.

An agent is entered here. A study is found: its name is its module's, and its summary the first line of the docstring.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import re
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class CatalogEntry:
    """One agent or experiment.

    Attributes:
        name: What the user types.
        module: The module that holds it.
        summary: One line for `prefront list`.
    """

    name: str
    module: str
    summary: str


AGENTS: dict[str, CatalogEntry] = {
    entry.name: entry
    for entry in (
        CatalogEntry(
            "cmorl",
            "prefront.agents.cmorl",
            "C-MORL: a population of PPO learners, then extension under constraints on returns (Liu et al., 2025)",
        ),
        CatalogEntry(
            "conditioned_ppo",
            "prefront.agents.conditioned_ppo",
            "conditioned PPO: one network that is shown the weights answers all of them (after Abels et al., 2019)",
        ),
        CatalogEntry(
            "constrained_rlhf",
            "prefront.agents.constrained_rlhf",
            "constrained RLHF on token worlds: PPO, PPO-SAT, mu-, All- and xi-PPO (Moskovitz et al., 2024)",
        ),
    )
}


def find_studies(package: str) -> dict[str, CatalogEntry]:
    """Returns the studies of a package: its modules that define `STUDY`, by name, without importing any.

    Args:
        package: Dotted name of the package. The first line of a module's docstring is its study's summary.

    Raises:
        ValueError: A study has no docstring; the message names its file.
    """
    spec = importlib.util.find_spec(package)
    found: dict[str, CatalogEntry] = {}
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for path in sorted(Path(folder).glob("*.py")):
            text = path.read_text(encoding="utf-8")
            if not re.search(r"^STUDY\b", text, re.MULTILINE):
                continue
            title = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0].removesuffix(".")
            if not title:
                raise ValueError(f"{path} defines a study and has no docstring, whose first line would be its summary.")
            # Only the capital that begins a sentence is made small: not that of PPO or C-MORL.
            summary = title[0].lower() + title[1:] if re.match(r"[A-Z]?[a-z ]", title) else title
            found[path.stem] = CatalogEntry(path.stem, f"{package}.{path.stem}", summary)
    return found


EXPERIMENTS: dict[str, CatalogEntry] = find_studies("prefront.experiments")
