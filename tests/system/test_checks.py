"""Checks of settings: what lies on a bound passes, what lies beyond is named."""

import dataclasses

import pytest

from prefront.system.checks import check_between, check_distinct, check_least, nearest_names


@dataclasses.dataclass(frozen=True)
class Settings:
    count: float = 1
    sizes: tuple[int, ...] = (3, 1)
    gamma: float = 0.5


@pytest.mark.parametrize(
    ("settings", "check", "message"),
    [
        (Settings(count=0), lambda s: check_least(s, 1, "sizes", "count"), "^count must be at least 1, got 0.$"),
        (Settings(count=float("nan")), lambda s: check_least(s, 0, "count"), "^count must be at least 0, got nan.$"),
        (Settings(), lambda s: check_least(s, 2, "sizes"), r"^sizes must be at least 2, got \(3, 1\).$"),
        (Settings(sizes=()), lambda s: check_distinct(s, "sizes"), r"one or more different values, got \(\).$"),
        (Settings(sizes=(2, 2)), lambda s: check_distinct(s, "sizes"), r"different values, got \(2, 2\).$"),
        (Settings(gamma=1), lambda s: check_between(s, 0, 1, "gamma"), r"^gamma must lie in \(0, 1\), got 1.$"),
        (Settings(gamma=float("nan")), lambda s: check_between(s, 0, 1, "gamma"), "got nan"),
    ],
)
def test_what_is_refused_is_named(settings, check, message):
    with pytest.raises(ValueError, match=message):
        check(settings)


def test_what_is_allowed_passes():
    check_least(Settings(), 1, "count", "sizes")
    check_distinct(Settings(), "sizes")
    check_between(Settings(), 0, 1, "gamma")


@pytest.mark.parametrize("name", [None, 3, float("nan"), ["linear"], b"linear"])
def test_what_is_no_text_is_near_no_name(name: object) -> None:
    assert nearest_names(name, ["linear", "table"]) == "Known: linear, table."


def test_near_names_are_named_whatever_their_case() -> None:
    assert nearest_names("LINEAr", ["linear", "table"]) == "Did you mean linear?"
