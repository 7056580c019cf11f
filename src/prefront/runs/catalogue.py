"""The agents, preference models and experiments by name: found in their files, and imported when they are used.

An agent is a module of `prefront.agents` with a function `train`, a study one of `prefront.experiments` with the object
`STUDY`; its name is its module's, and its summary the first line of the docstring. A preference model is a class of
`prefront.preferences.models` with a method `fit`, its own or inherited, that no other class there refines.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class CatalogEntry:
    """One agent, preference model or experiment.

    Attributes:
        name: What the user types.
        module: The module that holds it.
        summary: One line for `prefront list`.
    """

    name: str
    module: str
    summary: str


def find_modules(package: str, mark: str) -> dict[str, CatalogEntry]:
    """Returns the modules of a package that define something, by name, without importing any.

    Args:
        package: Dotted name of the package.
        mark: Regular expression that a line of the module begins with, such as "STUDY".

    Raises:
        ValueError: A module has no docstring, whose first line is its summary; the message names its file.
    """
    found: dict[str, CatalogEntry] = {}
    for path in _files(package):
        text = path.read_text(encoding="utf-8")
        if re.search(rf"^{mark}", text, re.MULTILINE):
            found[path.stem] = CatalogEntry(path.stem, f"{package}.{path.stem}", _summary(ast.parse(text), path))
    return found


def find_models(package: str) -> dict[str, CatalogEntry]:
    """Returns the models of a package by class name, without importing any.

    Raises:
        ValueError: A model has no docstring; the message names its file.
    """
    classes = [
        (node, path)
        for path in _files(package)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    bases = {node.name: {ast.unparse(base).partition("[")[0] for base in node.bases} for node, _ in classes}
    refined = set().union(*bases.values())

    def fits(node: ast.ClassDef) -> bool:
        own = any(isinstance(one, ast.FunctionDef) and one.name == "fit" for one in node.body)
        return own or any(fits(other) for other, _ in classes if other.name in bases[node.name])

    return {
        node.name: CatalogEntry(node.name, f"{package}.{path.stem}", _summary(node, path))
        for node, path in classes
        if node.name not in refined and fits(node)
    }


def _files(package: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations if spec else None) or ():
        yield from sorted(Path(folder).glob("*.py"))


def _summary(node: ast.Module | ast.ClassDef, path: Path) -> str:
    title = (ast.get_docstring(node) or "").partition("\n")[0].removesuffix(".")
    if not title:
        raise ValueError(f"{path} defines something for the catalogue without a docstring, whose first line it shows.")
    # Only the capital that begins a sentence is made small: not that of PPO or C-MORL.
    return title[0].lower() + title[1:] if re.match(r"[A-Z]?[a-z ]", title) else title


AGENTS = find_modules("prefront.agents", r"def train\b")
MODELS = find_models("prefront.preferences.models")
EXPERIMENTS = find_modules("prefront.experiments", r"STUDY\b")
