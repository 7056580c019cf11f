"""JSON of a known shape: what fits comes back as what the type describes, and all else is refused with its place."""

import dataclasses
import math
from typing import Any, Literal

import pytest

from prefront.system.shapes import ShapeError, restored


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float

    def __post_init__(self):
        if self.rate < 0:
            raise ValueError(f"the rate must not be negative, got {self.rate}")


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner
    pair: tuple[int, str]
    kind: Literal["a", "b"]
    many: tuple[float, ...] = ()
    maybe: float | None = None
    free: dict[str, Any] = dataclasses.field(default_factory=dict)


GOOD = {"inner": {"rate": 1}, "pair": [3, "x"], "kind": "a"}


def test_what_fits_comes_back_as_the_type_describes():
    more = {"many": [1, 2.5, None], "maybe": None, "free": {"x": [{}]}}
    found = restored({**GOOD, **more}, Outer)
    assert (found.inner, found.pair, found.maybe, found.free) == (Inner(1.0), (3, "x"), None, {"x": [{}]})
    assert found.many[:2] == (1.0, 2.5)
    assert math.isnan(found.many[2])
    assert restored(GOOD, Outer) == Outer(Inner(1.0), (3, "x"), "a")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"inner": {"rate": "fast"}}, r"\['inner'\]\['rate'\] must be float, got 'fast'"),
        ({"inner": {"rate": True}}, "must be float, got True"),
        ({"inner": {"rate": -1}}, "is no Inner: the rate must not be negative"),
        ({"inner": {"rate": 10**400}}, "too large"),
        ({"inner": {}}, r"Inner differ in \['rate'\]"),
        ({"inner": 3}, r"\['inner'\] must be Inner, got 3"),
        ({"pair": [3]}, r"\['pair'\] must be tuple\[int, str\], got \[3\]"),
        ({"pair": [3.0, "x"]}, r"\['pair'\]\[0\] must be int, got 3\.0"),
        ({"kind": "c"}, r"\['kind'\] must be .*, got 'c'"),
        ({"maybe": []}, r"\['maybe'\] must be"),
        ({"free": []}, r"\['free'\] must be"),
        ({"strange": 1}, r"differ in \['strange'\]"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(change, place):
    with pytest.raises(ShapeError, match=place):
        restored({**GOOD, **change}, Outer)
