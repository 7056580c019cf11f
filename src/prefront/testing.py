"""Checks of environments, also of those outside this project."""

from prefront.tasks.checker import check_environment

__all__ = ["check_environment"]
