"""Checks of settings; each error names the setting, its value and what is allowed.

A settings dataclass calls `check_types` first in its `__post_init__`, which reads its type hints, and then the checks
of ranges for what types cannot say. These pass over None, which the types allow or refuse.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import numbers
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Union

import numpy as np

INFINITE = {"infinite": True}
"""Metadata of a field whose numbers may be infinite: `dataclasses.field(default=..., metadata=INFINITE)`."""

MANY = 1_000_000
"""A bound for counts that are work or memory: far beyond what anybody needs, and soon refused instead of tried."""

LARGEST = 1e30
"""Numbers are smaller: beyond 3e38 those of 32 bits are infinite."""

Closed = Literal["neither", "left", "right", "both"]

_COUNTABLE = 2**31
_WORDS: dict[Any, str] = {
    int: "a whole number below 2**31",
    float: "a finite number below 1e30 in size",
    bool: "True or False",
    str: "text",
    Path: "a path",
    types.NoneType: "None",
}


def check_types(settings: Any, without: Sequence[str] = ()) -> None:
    """Refuses values that do not fit a dataclass's own type hints.

    Fields of `int` take whole numbers (neither truth values nor fractions) below 2**31, those of `float` finite numbers
    below 1e30 in size (infinite ones where the field has the metadata `INFINITE`, never NaN), those of `Literal` one of
    the names. `bool`, `str`, `Path`, dataclasses, tuples (named or not) and unions of all these are checked too; other
    hints are not.

    Args:
        settings: A dataclass.
        without: Fields that are no settings, such as what was learned.

    Raises:
        ValueError: A value does not fit; the message names the field, the value and what is allowed.
    """
    kind: Any = type(settings)
    hints = _hints(kind)
    for field in dataclasses.fields(settings):
        if field.name in without:
            continue
        hint, value, infinite = hints[field.name], getattr(settings, field.name), bool(field.metadata.get("infinite"))
        if not _fits(hint, value, infinite):
            if typing.get_origin(hint) is Literal:
                known = [str(one) for one in typing.get_args(hint)]
                raise ValueError(f"No {field.name} {value!r}. {nearest_names(value, known)}")
            raise ValueError(f"{field.name} must be {_words(hint, infinite)}, got {value!r}.")


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
    _check(settings, names, lambda one: one >= least, f"be at least {least}")


def check_most(settings: Any, most: float, *names: str) -> None:
    """Refuses settings that are more than a bound, or tuples with an entry that is."""
    _check(settings, names, lambda one: one <= most, f"be at most {most}")


def check_positive(settings: Any, *names: str) -> None:
    """Refuses numbers that are not above 0."""
    _check(settings, names, lambda one: one > 0, "be positive")


def check_between(settings: Any, low: float, high: float, *names: str, closed: Closed = "neither") -> None:
    """Refuses numbers outside an interval, of whose ends none, one or both belong to it."""
    left, right = closed in ("left", "both"), closed in ("right", "both")
    interval = f"{'[' if left else '('}{low}, {high}{']' if right else ')'}"

    def inside(one: Any) -> bool:
        return bool(low < one < high or (left and one == low) or (right and one == high))

    _check(settings, names, inside, f"lie in {interval}")


def check_distinct(settings: Any, *names: str, empty: bool = False) -> None:
    """Refuses tuples that hold a value twice or, unless `empty` allows it, none."""
    for name in names:
        values = getattr(settings, name)
        if not (values or empty) or len(set(values)) < len(values):
            raise ValueError(f"{name} must be {'' if empty else 'one or more '}different values, got {values}.")


def check_names(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Refuses names that are not known, with a hint at the nearest ones."""
    for name in names:
        if name not in known:
            raise ValueError(f"No {what} {name!r}. {nearest_names(name, known)}")


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Returns a whole number of at least `least` as an int.

    Raises:
        ValueError: It is something else.
    """
    if not _fits(int, value, infinite=False) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}.")
    return int(value)


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


def _check(settings: Any, names: Sequence[str], allowed: Callable[[Any], bool], demand: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not all(allowed(one) for one in _numbers(value)):
            raise ValueError(f"{name} must {demand}, got {value}.")


def _numbers(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for one in value:
            yield from _numbers(one)
    elif value is not None and not isinstance(value, str):
        yield value


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _fits(hint: Any, value: Any, infinite: bool) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(one, value, infinite) for one in inner)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        every = (inner[0],) * len(value) if inner[-1] is Ellipsis else inner
        return len(every) == len(value) and all(map(_fits, every, value, (infinite,) * len(value)))
    if hint is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) < _COUNTABLE
    if hint is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and _sound(value, infinite)
    if hint in _WORDS or dataclasses.is_dataclass(hint) or hasattr(hint, "_fields"):
        return isinstance(value, hint)
    return True


def _sound(value: Any, infinite: bool) -> bool:
    try:
        number = float(value)
    except OverflowError:
        return False
    return abs(number) < LARGEST or (infinite and math.isinf(number))


def _words(hint: Any, infinite: bool) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(one, infinite) for one in inner)
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin is tuple:
        each = inner[:1] if inner[-1] is Ellipsis else inner
        many = "each" if inner[-1] is Ellipsis else f"{len(inner)} entries"
        return f"a tuple ({many}: {', '.join(dict.fromkeys(_words(one, infinite) for one in each))})"
    if hint is float and infinite:
        return "a number"
    return _WORDS.get(hint) or f"{getattr(hint, '__name__', hint)}"
