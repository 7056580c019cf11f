"""Prefront: a gym for multi-objective reinforcement learning and preferences, where the right answer is known."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from prefront.tasks.registry import make, register_environments

if TYPE_CHECKING:
    from prefront.policies.front import Front
    from prefront.policies.solution import load
    from prefront.tasks.checker import check_environment

__version__ = "0.1.0"
__all__ = ["Front", "__version__", "check_environment", "load", "make"]

# What needs jax is imported when it is first used.
LAZY = {
    "Front": "prefront.policies.front",
    "check_environment": "prefront.tasks.checker",
    "load": "prefront.policies.solution",
}

register_environments()


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f"module 'prefront' has no attribute {name!r}")
    return getattr(importlib.import_module(LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *LAZY})
