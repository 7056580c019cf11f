"""Checks of settings; each error names the setting, its value and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np


def check_unmasked(values: Any, name: str) -> None:
    """Raises ValueError if an array has masked entries: as plain numbers they would count."""
    if np.ma.is_masked(values):
        hidden = int(np.ma.getmaskarray(values).sum())
        raise ValueError(f"{name} must not have masked entries, got {hidden} of them; leave out what should not count.")


def check_least(settings: Any, least: float, *names: str) -> None:
    """Refuses settings that are less than a bound, or tuples with an entry that is.

    Args:
        settings: A dataclass.
        least: The bound.
        *names: Which of its fields; numbers, or tuples of numbers.
    """
    for name in names:
        value = getattr(settings, name)
        if not all(one >= least for one in (value if isinstance(value, tuple) else (value,))):
            raise ValueError(f"{name} must be at least {least}, got {value}.")


def check_distinct(settings: Any, *names: str) -> None:
    """Refuses tuples that are empty or hold a value twice."""
    for name in names:
        values = getattr(settings, name)
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{name} must be one or more different values, got {values}.")


def check_between(settings: Any, low: float, high: float, *names: str) -> None:
    """Refuses numbers outside an open interval."""
    for name in names:
        value = getattr(settings, name)
        if not low < value < high:
            raise ValueError(f"{name} must lie in ({low}, {high}), got {value}.")


def check_discount(gamma: float) -> float:
    """Returns the discount as a float.

    Raises:
        ValueError: It lies outside (0, 1].
    """
    if not 0.0 < gamma <= 1.0:
        raise ValueError(f"The discount must lie in (0, 1], got {gamma!r}.")
    return float(gamma)


def nearest_names(name: object, known: Sequence[str]) -> str:
    """Says which known names are nearest to an unknown one, for error messages.

    Args:
        name: What the user wrote; near names are sought for text only.
        known: The names that exist.

    Returns:
        "Did you mean a, b?" or, where nothing is near, "Known: ...".
    """
    by_lower = {candidate.lower(): candidate for candidate in known}
    wanted = name.lower() if isinstance(name, str) else ""
    near = [by_lower[match] for match in difflib.get_close_matches(wanted, list(by_lower), n=3, cutoff=0.5)]
    return f"Did you mean {', '.join(near)}?" if near else f"Known: {', '.join(sorted(known))}."
