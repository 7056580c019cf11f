"""Checks of what callers hand to the Gymnasium faces: actions, seeds and masks, before any of them is converted."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import jax
import numpy as np

SEED_BOUND = 2**32


def checked_action(space: gym.Space[Any], action: Any) -> np.ndarray:
    """Returns an action, or a batch of them, in the space's dtype.

    Raises:
        ValueError: It is no element of the space. Spaces of integers hold neither fractions nor booleans nor text.
    """
    kinds = "iu" if np.issubdtype(space.dtype, np.integer) else "iuf"
    try:
        given = np.asarray(action)
    except (TypeError, ValueError):
        given = np.asarray(None)
    if given.dtype.kind in kinds:
        converted = given.astype(space.dtype)
        # What does not fit into an integer dtype would wrap around.
        if space.contains(converted) and (kinds != "iu" or np.array_equal(converted, given)):
            return converted
    raise ValueError(f"The action {action!r} lies outside {space}.")


def checked_seed(seed: Any) -> int:
    """Returns one seed as an int.

    Raises:
        ValueError: It is no whole number of at least 0.
    """
    try:
        whole = -1 if isinstance(seed, bool | np.bool_) else operator.index(seed)
    except TypeError:
        whole = -1
    if whole < 0:
        raise ValueError(f"A seed must be a whole number of at least 0, got {seed!r}.")
    return whole


def checked_seeds(seed: Any, num_envs: int) -> tuple[int | None, np.ndarray, np.ndarray]:
    """Returns the seeds of a vector environment.

    Args:
        seed: None, a whole number s, which gives environment i the seed `s + i`, or a sequence or array with one seed
            or None for each environment.
        num_envs: Number of environments.

    Returns:
        The whole number where one was given; the seed of each environment, uint32; and which have one.

    Raises:
        ValueError: A seed is no whole number of at least 0, or their number is wrong.
    """
    if isinstance(seed, np.ndarray | jax.Array):
        seed = np.asarray(seed).tolist()
    if not isinstance(seed, Sequence) or isinstance(seed, str | bytes):
        one = None if seed is None else checked_seed(seed)
        rows = [None if one is None else one + i for i in range(num_envs)]
    else:
        one, rows = None, [None if entry is None else checked_seed(entry) for entry in seed]
        if len(rows) != num_envs:
            raise ValueError(f"{len(rows)} seeds were given for num_envs={num_envs}: {seed!r}.")
    by_environment = np.array([0 if entry is None else entry % SEED_BOUND for entry in rows], np.uint32)
    return one, by_environment, np.array([entry is not None for entry in rows], bool)


def checked_mask(mask: Any, num_envs: int, first: bool) -> np.ndarray:
    """Returns which environments are to be reset, shape (num_envs,); all of them where no mask is given.

    Raises:
        ValueError: It is no boolean array of this shape, marks none, or leaves one out at the first reset.
    """
    if mask is None:
        return np.ones(num_envs, bool)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (num_envs,):
        raise ValueError(f"reset_mask must be a boolean NumPy array of shape ({num_envs},), got {mask!r}.")
    if not mask.any():
        raise ValueError(f"reset_mask must mark at least one environment, got {mask!r}.")
    if first and not mask.all():
        raise ValueError(f"The first reset must start all {num_envs} environments, got reset_mask {mask!r}.")
    return mask.copy()
