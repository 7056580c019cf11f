"""Checks of settings; each error names the setting, its value and what is allowed."""

from __future__ import annotations

from typing import Any


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
