"""What people chose: pairs of segments, answers and who gave them. Nothing here knows a reward."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from prefront.preferences.segments import Segments
from prefront.system.files import DamagedFileError, load_arrays, save_arrays
from prefront.system.shapes import ShapeError, restored

LABELS = (0.0, 0.5, 1.0)
FORMAT = "prefront preferences 2"
FIELDS = ("states", "actions", "rewards", "lengths", "ended")


class SequenceComparisons(NamedTuple):
    """Choices between n pairs of sequences.

    Attributes:
        first: Shape (n, L + 1).
        second: Shape (n, L + 1).
        choice: 1 where the first was preferred, otherwise 0, shape (n,), float32.
    """

    first: jax.Array
    second: jax.Array
    choice: jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class PreferenceDataset:
    """n answered comparisons, checked: all that a reward model gets to see.

    Models that need values of states find the numbers of first and last states in `first.start`, `first.end`, and take
    `first.ended` for terminal ones.

    Attributes:
        first: The first segment of each pair.
        second: The second segment of each pair.
        labels: 1 where the first was preferred, 0 where the second was, 0.5 where neither, shape (n,), float64.
        person: Who answered, as index into `names`, shape (n,); by default one person.
        names: The persons; each has at least one answer.
        variable_horizon: Whether the two segments of a pair may differ in length.

    Raises:
        ValueError: Something is wrong; the message names the row and its value.
    """

    first: Segments
    second: Segments
    labels: Any
    person: Any = None
    names: tuple[str, ...] = ("person 0",)
    variable_horizon: bool = False

    def __post_init__(self) -> None:
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
        if first.kind != second.kind:
            raise ValueError(f"first and second must be of one kind, got {first.kind} and {second.kind}.")
        for row in np.flatnonzero(~np.isin(labels, LABELS)):
            raise ValueError(f"row {row}: the label must be 0, 0.5 or 1, got {labels[row]:g}.")
        if not self.variable_horizon:
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
        own = {"first": first, "second": second, "labels": labels, "person": person.astype(np.int32)}
        for name, value in {**own, "names": tuple(self.names)}.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Any) -> PreferenceDataset:
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
        )

    def by_person(self) -> dict[str, PreferenceDataset]:
        """Returns each person's own comparisons, by name."""
        return {name: self[self.person == i] for i, name in enumerate(self.names)}

    def save(self, path: str | Path) -> str:
        """Writes the dataset as one safetensors file, which holds its checksum; returns the SHA-256 of the file."""
        tree: dict[str, Any] = {"labels": self.labels, "person": self.person}
        for name, segments in (("first", self.first), ("second", self.second)):
            tree[name] = {field: np.asarray(getattr(segments, field)) for field in FIELDS}
        facts = {"absorbing": self.first.absorbing, "variable_horizon": self.variable_horizon}
        return save_arrays(path, tree, {"format": FORMAT, "names": list(self.names), **facts})


@dataclasses.dataclass(frozen=True)
class _Facts:
    format: str
    names: tuple[str, ...]
    absorbing: bool
    variable_horizon: bool


def load_dataset(path: str | Path, checksum: str | None = None) -> PreferenceDataset:
    """Reads what `PreferenceDataset.save` wrote, and checks every row.

    Args:
        path: The file.
        checksum: What `save` returned; a whole file that is another one is refused too.

    Raises:
        DamagedFileError: The file is missing, was altered, or is no dataset; the message names it.
        ValueError: A row is wrong; the message names file, row and value.
    """
    tree, facts = load_arrays(path, checksum)
    if facts.get("format") != FORMAT:
        raise DamagedFileError(
            f"{path} is no preference dataset: its format is {facts.get('format')!r}, not {FORMAT!r}."
        )
    try:
        stored = restored(facts, _Facts)
        first, second = (
            Segments(**{field: tree[name][field] for field in FIELDS}, absorbing=stored.absorbing)
            for name in ("first", "second")
        )
        labels, person = tree["labels"], tree["person"]
    except ShapeError as error:
        raise DamagedFileError(f"{path} is no preference dataset: {error}") from error
    except (KeyError, TypeError, IndexError) as error:
        raise DamagedFileError(f"{path} lacks {error}.") from error
    try:
        return PreferenceDataset(first, second, labels, person, stored.names, stored.variable_horizon)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def merge(datasets: Sequence[PreferenceDataset]) -> PreferenceDataset:
    """Joins datasets; persons of the same name are the same person.

    Raises:
        ValueError: There are none, or they disagree on absorbing transitions.
    """
    if not datasets:
        raise ValueError("There are no datasets to merge.")
    names = tuple(dict.fromkeys(name for dataset in datasets for name in dataset.names))
    return PreferenceDataset(
        Segments.concatenate([dataset.first for dataset in datasets]),
        Segments.concatenate([dataset.second for dataset in datasets]),
        np.concatenate([dataset.labels for dataset in datasets]),
        np.concatenate([np.array([names.index(name) for name in part.names])[part.person] for part in datasets]),
        names,
        any(dataset.variable_horizon for dataset in datasets),
    )
