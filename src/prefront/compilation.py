"""Compilation at low levels of optimisation, for programs that would take longer to compile well than to run."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax


def jit(function: Callable[..., Any], level: int = 1, **options: Any) -> Callable[..., Any]:
    """Compiles with a low optimisation level of LLVM on CPUs.

    Level 1 gives programs as fast as the default's for a third of the time to compile; level 0 is for what runs once.
    Such a program cannot be part of another one. The device is asked for at the first call, not before.

    Args:
        function: The function.
        level: Optimisation level.
        **options: Those of `jax.jit`.
    """

    @functools.cache
    def compiled() -> Callable[..., Any]:
        compiler_options = {"xla_backend_optimization_level": level} if jax.default_backend() == "cpu" else None
        return jax.jit(function, compiler_options=compiler_options, **options)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return compiled()(*args, **kwargs)

    return call
