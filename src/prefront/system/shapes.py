"""JSON of a known shape: values become what a type describes, or are refused with the place and what stands there."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal


class ShapeError(ValueError):
    """JSON has another shape than it must; the message names the place."""


def restored(value: Any, shape: Any, place: str = "the content") -> Any:
    """Turns a JSON value into what a type describes, and refuses any other value.

    Args:
        value: What `json.loads` returned.
        shape: `Any`, `None`, bool, int, float, str, a literal, a union, a dict with string keys, a list, a tuple, or a
            dataclass of such fields. Nothing but these is ever called.
        place: Where the value stands, for the message.

    Returns:
        The value: whole numbers as floats where floats are asked for, and null as not-a-number, which JSON cannot hold;
        lists as tuples, dicts as dataclasses.

    Raises:
        ShapeError: The value has another shape, or the dataclass refuses it.
    """
    kind, inner = typing.get_origin(shape), typing.get_args(shape)
    if shape is Any:
        return value
    if kind in (typing.Union, types.UnionType):
        return _first_that_fits(value, inner, place)
    if kind is Literal and any(type(value) is type(one) and value == one for one in inner):
        return value
    if shape in (None, type(None)) and value is None:
        return None
    if shape in (bool, int, str) and type(value) is shape:
        return value
    if shape is float and (value is None or type(value) in (int, float)):
        return math.nan if value is None else _float(value, place)
    if (kind or shape) in (dict, Mapping) and isinstance(value, dict):
        return {name: restored(one, inner[1] if inner else Any, f"{place}[{name!r}]") for name, one in value.items()}
    if kind is list and isinstance(value, list):
        return [restored(one, inner[0], f"{place}[{i}]") for i, one in enumerate(value)]
    if kind is tuple and isinstance(value, list) and (inner[1:] == (...,) or len(inner) == len(value)):
        shapes = inner[:1] * len(value) if inner[1:] == (...,) else inner
        pairs = zip(value, shapes, strict=True)
        return tuple(restored(one, part, f"{place}[{i}]") for i, (one, part) in enumerate(pairs))
    if dataclasses.is_dataclass(shape) and isinstance(shape, type) and isinstance(value, dict):
        return _dataclass(value, shape, place)
    raise ShapeError(f"{place} must be {_name(shape)}, got {_short(value)}.")


def _dataclass(value: dict[str, Any], shape: Any, place: str) -> Any:
    hints, fields = typing.get_type_hints(shape), dataclasses.fields(shape)
    none = dataclasses.MISSING
    needed = {field.name for field in fields if field.default is none and field.default_factory is none}
    if wrong := sorted((value.keys() - {field.name for field in fields}) | (needed - value.keys())):
        raise ShapeError(f"{place} and {shape.__name__} differ in {wrong}.")
    try:
        return shape(**{name: restored(one, hints[name], f"{place}[{name!r}]") for name, one in value.items()})
    except ShapeError:
        raise
    except (ValueError, TypeError) as error:
        raise ShapeError(f"{place} is no {shape.__name__}: {error}") from error


def _first_that_fits(value: Any, shapes: tuple[Any, ...], place: str) -> Any:
    if value is None and type(None) in shapes:
        return None
    for shape in shapes:
        try:
            return restored(value, shape, place)
        except ShapeError as error:
            refusal = error
    raise refusal


def _float(value: int | float, place: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ShapeError(f"{place} is too large for a float.") from error


def _name(shape: Any) -> str:
    return shape.__name__ if isinstance(shape, type) and typing.get_origin(shape) is None else str(shape)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
