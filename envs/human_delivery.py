"""Human preferences between segments of the delivery task, as published.

The data come with "Influencing humans to conform to preference models for RLHF" (Hatgis-Kessell et al., 2025, arXiv
2501.06416): for each condition three NumPy files, `NAME_X.npy`, `NAME_Y.npy` and `NAME_segment_pairs.npy`. They
carry no licence and are not part of this package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from prefront.exact.tables import TabularMDP
from prefront.preferences.comparisons import LABELS, Comparisons
from prefront.preferences.segments import Segments
from prefront.system.files import DamagedFileError

PARTS = ("X", "Y", "segment_pairs")
# What names of published files have between condition and part.
FILTERED = "_full_filtered"
# In the order of the task's actions.
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))


def find_conditions(folder: str | Path) -> list[str]:
    """Returns the names of all conditions whose files lie in a folder, in alphabetical order.

    Raises:
        DamagedFileError: There is none, or a condition lacks one of its three files; the message names it.
    """
    names = {
        part: {path.name.removesuffix(f"_{part}.npy") for path in Path(folder).glob(f"*_{part}.npy")} for part in PARTS
    }
    found = sorted(set.union(*names.values()))
    if not found:
        raise DamagedFileError(f"No files NAME_X.npy, NAME_Y.npy and NAME_segment_pairs.npy lie in {folder}.")
    for name in found:
        for part in PARTS:
            if name not in names[part]:
                raise DamagedFileError(f"{folder} lacks {name}_{part}.npy, but holds other files of that condition.")
    return sorted(name.removesuffix(FILTERED) for name in found)


def load_human_delivery(
    folder: str | Path, condition: str, mdp: TabularMDP, weights: Any, columns: int = 10
) -> Comparisons[Segments]:
    """Reads one condition and checks every row against the task, difference of return included.

    Args:
        folder: Where the three files lie.
        condition: Their name, or what it begins with, such as "Privileged-Control".
        mdp: `Delivery().table()` of `prefront.envs.delivery`, whose state number is row * columns + column.
        weights: `PUBLISHED_WEIGHTS` of `prefront.envs.delivery`.
        columns: Columns of the map.

    Returns:
        The preferences in the order of the files. Their second segment is our first, because the files count
        differences and labels for the second. Segments go on in terminal states.

    Raises:
        DamagedFileError: A file is missing, cut short or of the wrong shape; the message names it.
        ValueError: A row is wrong; the message names file, row and value.
    """
    paths = {part: _find(Path(folder), condition, part) for part in PARTS}
    differences, labels, pairs = (_read(paths[part]) for part in PARTS)
    count = len(labels)
    moves = pairs.shape[2] - 1 if pairs.ndim == 4 else 0
    shapes = {"X": (count, 3), "Y": (count,), "segment_pairs": (count, 2, moves + 1, 2)}
    for part, array in zip(PARTS, (differences, labels, pairs), strict=True):
        if array.shape != shapes[part] or count == 0 or moves < 1:
            raise DamagedFileError(f"{paths[part]} has shape {array.shape}, but {shapes[part]} was expected.")
    for row in np.flatnonzero(~np.isin(labels, LABELS)):
        raise ValueError(f"{paths['Y']}, row {row}: the label must be 0, 0.5 or 1, got {labels[row]!r}.")
    for row, column in np.argwhere(~np.isfinite(differences)):
        raise ValueError(f"{paths['X']}, row {row}: {differences[row, column]!r} in column {column} is not finite.")
    shown = [_follow(pairs[:, i], mdp, columns, f"{paths['segment_pairs']}, segment {i}") for i in (0, 1)]
    returns = [segments.features() @ np.asarray(weights, np.float64) for segments in shown]
    # Rewards are whole numbers, so the sums are exact.
    for row in np.flatnonzero(returns[1] - returns[0] != differences[:, 0]):
        raise ValueError(
            f"{paths['X']}, row {row}: the difference of return is {differences[row, 0]:g}, "
            f"but the segments give {returns[1][row] - returns[0][row]:g}."
        )
    return Comparisons(shown[1], shown[0], labels, names=("people",))


def _find(folder: Path, condition: str, part: str) -> Path:
    found = sorted(path for path in folder.glob(f"*_{part}.npy") if path.name.startswith(condition))
    # One condition's name may begin another's.
    whole = (f"{condition}_{part}.npy", f"{condition}{FILTERED}_{part}.npy")
    found = [path for path in found if path.name in whole] or found
    if len(found) != 1:
        known = sorted({path.name.removesuffix("_X.npy") for path in folder.glob("*_X.npy")})
        raise DamagedFileError(
            f"{len(found)} files {condition}*_{part}.npy lie in {folder}, where 1 was expected. "
            f"Conditions there: {known}."
        )
    return found[0]


def _read(path: Path) -> np.ndarray:
    try:
        array = np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise DamagedFileError(f"{path} is cut short or no NumPy file: {error}") from error
    if array.dtype.kind not in "iuf":
        raise DamagedFileError(f"{path} holds {array.dtype}, not numbers.")
    return array


def _follow(paths: np.ndarray, mdp: TabularMDP, columns: int, name: str) -> Segments:
    """Plays starts and moves back on the table; paths has shape (n, T + 1, 2)."""
    terminal = np.asarray(mdp.terminal)
    rows = len(terminal) // columns
    start = paths[:, 0]
    outside = (start < 0).any(1) | (start[:, 0] >= rows) | (start[:, 1] >= columns) | (start % 1 != 0).any(1)
    for row in np.flatnonzero(outside):
        raise ValueError(f"{name}, row {row}: the start {start[row].tolist()} lies outside the {rows} x {columns} map.")
    state = (start[:, 0] * columns + start[:, 1]).astype(np.int32)
    for row in np.flatnonzero(terminal[state]):
        raise ValueError(f"{name}, row {row}: nobody can start at {start[row].tolist()}.")
    states, actions, features = [state], [], []
    for step in range(1, paths.shape[1]):
        move = paths[:, step]
        which = (move[:, None] == np.array(MOVES)).all(-1)
        ended, still = terminal[state], (move == 0).all(1)
        for row in np.flatnonzero(np.where(ended, ~(which.any(1) | still), ~which.any(1))):
            raise ValueError(f"{name}, row {row}: {move[row].tolist()} is no move, at step {step - 1}.")
        action = which.argmax(1)
        gained = np.asarray(mdp.rewards)[state, action, 0]
        features.append(np.where(ended[:, None], 0.0, gained))
        state = np.where(ended, state, np.asarray(mdp.successors)[state, action, 0]).astype(np.int32)
        states.append(state)
        actions.append(action.astype(np.int32))
    length = np.full(len(paths), len(actions), np.int32)
    return Segments(np.stack(states, 1), np.stack(actions, 1), np.stack(features, 1), length, terminal[state], True)
