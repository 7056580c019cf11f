"""Settings as a run folder stores them: nested dicts, lists and plain values."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any


def settings_to_dict(settings: Any) -> dict[str, Any]:
    """Turns settings into nested dicts, lists and plain values, as JSON stores them."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        if isinstance(value, tuple | list):
            return [plain(one) for one in value]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"Settings hold numbers, strings, truth values, tuples and dataclasses, got {value!r}.")

    stored: dict[str, Any] = plain(settings)
    return stored


def settings_from_dict(kind: type, stored: Mapping[str, Any]) -> Any:
    """Turns what `settings_to_dict` made into settings of the given dataclass.

    Raises:
        TypeError: The fields differ from the dataclass's; the message names them.
    """
    hints = typing.get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}
    if names != set(stored):
        raise TypeError(f"The stored settings and {kind.__qualname__} differ in {sorted(names ^ set(stored))}.")
    return kind(**{name: _restore(hints[name], value) for name, value in stored.items()})


def _restore(hint: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        kinds = [
            one for one in (hint, *typing.get_args(hint)) if isinstance(one, type) and dataclasses.is_dataclass(one)
        ]
        return settings_from_dict(kinds[0], value) if kinds else value
    if isinstance(value, list):
        inner = [one for one in typing.get_args(hint) if one is not Ellipsis]
        hints = inner if len(inner) == len(value) else (inner[:1] or [Any]) * len(value)
        return tuple(_restore(one, part) for one, part in zip(hints, value, strict=True))
    return value
