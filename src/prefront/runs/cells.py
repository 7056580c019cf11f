"""Cells: the pieces into which the work of one seed falls, frozen dataclasses whose names follow from their fields."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any
from urllib.parse import quote

from prefront.system.checks import check_types

MOST_BYTES = 200
"""Length of a name; file systems allow 255 bytes."""

_PLAIN = (str, bool, int, float, types.NoneType)
# No escaped text has "%" before lower-case letters.
_EMPTY, _NONE = "%empty", "%none"


@dataclasses.dataclass(frozen=True)
class Whole:
    """The only cell of a study whose work of one seed does not fall into pieces."""


WHOLE = Whole()


def cell_name(cell: Any) -> str:
    """Returns the name of a cell, which names its folder: the values of its fields, with dots between.

    Equal cells have equal names, and different cells of one class different ones. A name holds letters, digits, "_",
    "-", "+", "~", "%" and single dots between values, whatever text the fields hold. Trailing values that are None
    are left out.

    Args:
        cell: A frozen dataclass of texts, numbers, truth values, None, and further cells.

    Raises:
        TypeError: It is no such dataclass.
        ValueError: A field has a value that does not fit its type hint, or the name is longer than `MOST_BYTES`.
    """
    values = _words(cell)
    while values and values[-1] == _NONE:
        values.pop()
    name = ".".join(values) or ("all" if not dataclasses.fields(cell) else _NONE)
    if len(name) > MOST_BYTES:
        raise ValueError(f"The name of a cell has at most {MOST_BYTES} bytes, got {len(name)}: {name!r}.")
    return name


def _words(cell: Any) -> list[str]:
    if not dataclasses.is_dataclass(cell) or isinstance(cell, type):
        raise TypeError(f"A cell is a frozen dataclass, got {cell!r}.")
    kind: Any = type(cell)
    if not kind.__dataclass_params__.frozen:
        raise TypeError(f"A cell is a frozen dataclass, got {cell!r}, whose class is not frozen.")
    check_types(cell)
    hints = typing.get_type_hints(kind)
    words: list[str] = []
    for field in dataclasses.fields(cell):
        value = getattr(cell, field.name)
        if dataclasses.is_dataclass(value):
            words += _words(value)
        elif type(value) in _PLAIN:
            words.append(_word(value, hints[field.name]))
        else:
            raise TypeError(f"A cell holds texts, numbers, truth values, None and cells, got {field.name} = {value!r}.")
    return words


def _word(value: Any, hint: Any) -> str:
    if value is None:
        return _NONE
    if isinstance(value, str):
        return quote(value, safe="").replace(".", "%2E") or _EMPTY
    if float in (hint, *typing.get_args(hint)):  # A whole number there equals the fraction that it is.
        value = float(value) + 0.0
    return str(value).replace(".", "_")
