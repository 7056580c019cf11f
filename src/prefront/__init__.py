"""Prefront: a gym for multi-objective reinforcement learning and preferences, where the right answer is known."""

from __future__ import annotations

from prefront.tasks.registry import make, register_environments

__version__ = "0.1.0"
__all__ = ["__version__", "make"]

register_environments()
