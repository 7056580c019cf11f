"""What people chose: pairs of items, answers and who gave them. Nothing here knows a reward."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

import jax
import numpy as np

from prefront.preferences.items import Items, Options, Sequences
from prefront.preferences.segments import Segments
from prefront.system.files import DamagedFileError, load_arrays, save_arrays
from prefront.system.shapes import ShapeError, restored

LABELS = (0.0, 0.5, 1.0)
FORMAT, EARLIER = "prefront comparisons 1", "prefront preferences"
KINDS: dict[str, type[Items]] = {kind.__name__: kind for kind in (Options, Segments, Sequences)}

Kind = TypeVar("Kind", bound=Items)


@dataclasses.dataclass(frozen=True, eq=False)
class Comparisons(Generic[Kind]):
    """n answered comparisons: all that a model of people's choices gets to see.

    A pytree, which compiled programs can make and take, also with more leading axes. What they hold cannot be checked
    there; whatever is made outside is checked.

    Attributes:
        first: The first item of each pair.
        second: The second item of each pair.
        labels: 1 where the first was preferred, 0 where the second was, 0.5 where neither, shape (n,), float64.
        person: Who answered, as index into `names`, shape (n,); by default one person.
        names: The persons; each has at least one answer.
        notes: What else is known of each answer, such as its certainty: numbers of shape (n,), by name.
        variable_horizon: Whether the two segments of a pair may differ in length.

    Raises:
        ValueError: Something is wrong; the message names the row and its value.
    """

    first: Kind
    second: Kind
    labels: Any
    person: Any = None
    names: tuple[str, ...] = ("person 0",)
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    variable_horizon: bool = False

    def __post_init__(self) -> None:
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(_children(self))):
            return
        first, second = self.first.checked("first"), self.second.checked("second")
        labels = np.asarray(self.labels, np.float64)
        person = np.zeros(labels.shape[:1], np.int32) if self.person is None else np.asarray(self.person)
        for name, array in (("labels", labels), ("person", person)):
            if array.ndim != 1:
                raise ValueError(f"{name} must have shape (n,), got {array.shape}.")
        count = len(first)
        if count == 0 or not len(second) == count == len(labels) == len(person):
            sizes = f"{count}, {len(second)}, {len(labels)}, {len(person)}"
            raise ValueError(f"first, second, labels and person must be equally many, and some: got {sizes}.")
        if type(first) is not type(second) or first.kind != second.kind:
            sides = " and ".join(f"{type(side).__name__} {side.kind}" for side in (first, second))
            raise ValueError(f"first and second must be of one kind, got {sides}.")
        for row in np.flatnonzero(~np.isin(labels, LABELS)):
            raise ValueError(f"row {row}: the label must be 0, 0.5 or 1, got {labels[row]:g}.")
        if isinstance(first, Segments) and isinstance(second, Segments) and not self.variable_horizon:
            for row in np.flatnonzero(first.lengths != second.lengths):
                raise ValueError(
                    f"row {row}: the segments have lengths {first.lengths[row]} and {second.lengths[row]}, which must "
                    "be equal unless variable_horizon=True."
                )
        if person.dtype.kind not in "iu":
            raise ValueError(f"person must hold integers, got {person.dtype}.")
        for row in np.flatnonzero((person < 0) | (person >= len(self.names))):
            raise ValueError(f"row {row}: person must lie in [0, {len(self.names)}), got {person[row]}.")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"Names of persons must differ, got {self.names}.")
        for i in np.flatnonzero(np.bincount(person, minlength=len(self.names)) == 0):
            raise ValueError(f"Person {i}, {self.names[i]!r}, has no answers.")
        notes = {name: np.asarray(numbers) for name, numbers in self.notes.items()}
        for name, numbers in notes.items():
            if numbers.shape != (count,) or numbers.dtype.kind not in "biuf":
                raise ValueError(f"Note {name!r} must be {count} numbers, got {numbers.dtype} {numbers.shape}.")
        own = {"first": first, "second": second, "labels": labels, "person": person.astype(np.int32), "notes": notes}
        for name, value in {**own, "names": tuple(self.names)}.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Any) -> Comparisons[Kind]:
        """Returns some of the comparisons (a slice, indices or a mask), with the persons who answered them."""
        rows = np.atleast_1d(np.arange(len(self))[rows])
        kept, person = np.unique(self.person[rows], return_inverse=True)
        return dataclasses.replace(
            self,
            first=self.first[rows],
            second=self.second[rows],
            labels=self.labels[rows],
            person=person,
            names=tuple(self.names[i] for i in kept),
            notes={name: numbers[rows] for name, numbers in self.notes.items()},
        )

    def by_person(self) -> dict[str, Comparisons[Kind]]:
        """Returns each person's own comparisons, by name."""
        return {name: self[self.person == i] for i, name in enumerate(self.names)}

    def save(self, path: str | Path) -> str:
        """Writes the comparisons as one safetensors file with its checksum; returns the SHA-256 of the file."""
        tree: dict[str, Any] = {"labels": self.labels, "person": self.person}
        if self.notes:
            tree["notes"] = dict(self.notes)
        for name, items in (("first", self.first), ("second", self.second)):
            fields = {field: getattr(items, field) for field in _fields(type(items), static=False)}
            tree[name] = {field: array for field, array in fields.items() if array is not None}
        settings = {field: getattr(self.first, field) for field in _fields(type(self.first), static=True)}
        facts = {"items": type(self.first).__name__, "settings": settings, "variable_horizon": self.variable_horizon}
        return save_arrays(path, tree, {"format": FORMAT, "names": list(self.names), **facts})


def _children(comparisons: Comparisons[Any]) -> tuple[Any, ...]:
    one = comparisons
    return one.first, one.second, one.labels, one.person, one.notes


def _restored(settings: tuple[Any, ...], children: tuple[Any, ...]) -> Comparisons[Any]:
    comparisons: Comparisons[Any] = object.__new__(Comparisons)
    names = ("first", "second", "labels", "person", "notes", "names", "variable_horizon")
    for name, value in zip(names, (*children, *settings), strict=True):
        object.__setattr__(comparisons, name, value)
    return comparisons


# Without the checks: programs put in whatever stands for arrays while they are compiled.
jax.tree_util.register_pytree_node(
    Comparisons, lambda one: (_children(one), (one.names, one.variable_horizon)), _restored
)


def _fields(kind: type[Items], static: bool) -> list[str]:
    assert dataclasses.is_dataclass(kind)
    return [field.name for field in dataclasses.fields(kind) if field.metadata.get("static", False) is static]


def _optional(kind: type[Items]) -> set[str]:
    assert dataclasses.is_dataclass(kind)
    return {field.name for field in dataclasses.fields(kind) if field.default is None}


@dataclasses.dataclass(frozen=True)
class _Facts:
    format: str
    items: str
    settings: dict[str, Any]
    names: tuple[str, ...]
    variable_horizon: bool


def load_comparisons(path: str | Path, checksum: str | None = None) -> Comparisons[Any]:
    """Reads what `Comparisons.save` wrote, and checks every row.

    Args:
        path: The file.
        checksum: What `save` returned; a whole file that is another one is refused too.

    Raises:
        DamagedFileError: The file is missing, was altered, or holds no comparisons; the message names it.
        ValueError: A row is wrong; the message names file, row and value.
    """
    tree, facts = load_arrays(path, checksum)
    if str(facts.get("format")).startswith(EARLIER):
        raise DamagedFileError(
            f"{path} was written by an earlier version of Prefront, as {facts['format']!r}; this one reads {FORMAT!r}."
        )
    if facts.get("format") != FORMAT:
        raise DamagedFileError(f"{path} holds no comparisons: its format is {facts.get('format')!r}, not {FORMAT!r}.")
    try:
        stored = restored(facts, _Facts)
        if stored.items not in KINDS:
            raise ShapeError(f"its items are {stored.items!r}, but must be one of {sorted(KINDS)}.")
        kind = KINDS[stored.items]
        hints, optional = get_type_hints(kind), _optional(kind)
        settings = {name: restored(stored.settings[name], hints[name], name) for name in _fields(kind, static=True)}
        arrays = _fields(kind, static=False)
        first, second = (
            kind(**{name: side.get(name) if name in optional else side[name] for name in arrays}, **settings)
            for side in (tree["first"], tree["second"])
        )
        labels, person, notes = tree["labels"], tree["person"], dict(tree.get("notes", {}))
    except ShapeError as error:
        raise DamagedFileError(f"{path} holds no comparisons: {error}") from error
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise DamagedFileError(f"{path} lacks {error}.") from error
    try:
        return Comparisons(first, second, labels, person, stored.names, notes, stored.variable_horizon)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def merge(parts: Sequence[Comparisons[Kind]]) -> Comparisons[Kind]:
    """Joins comparisons; persons of the same name are the same person.

    Raises:
        ValueError: There are none, or their items or the names of their notes differ.
    """
    if not parts:
        raise ValueError("There are no comparisons to merge.")
    noted = {tuple(sorted(part.notes)) for part in parts}
    if len(noted) > 1:
        raise ValueError(f"Comparisons to merge must have the same notes, got {sorted(noted)}.")
    names = tuple(dict.fromkeys(name for part in parts for name in part.names))
    items = type(parts[0].first)
    return Comparisons(
        items.concatenate([part.first for part in parts]),
        items.concatenate([part.second for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([np.array([names.index(name) for name in part.names])[part.person] for part in parts]),
        names,
        {name: np.concatenate([part.notes[name] for part in parts]) for name in parts[0].notes},
        any(part.variable_horizon for part in parts),
    )
