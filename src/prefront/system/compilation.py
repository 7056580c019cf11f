"""Compilation at low levels of optimisation, for programs that would take longer to compile well than to run."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from prefront.system.runtime import check_process

FUSION_EMITTERS = "xla_cpu_use_fusion_emitters"


def jit(
    function: Callable[..., Any], level: int = 1, fusion_emitters: bool = True, **options: Any
) -> Callable[..., Any]:
    """Compiles with a low optimisation level of LLVM on CPUs.

    Level 1 gives programs as fast as the default's for a third of the time to compile; level 0 is for what runs once.
    The device is asked for at the first call, not before. A call with traced arguments becomes part of the caller's
    program and is compiled as that is.

    Args:
        function: The function.
        level: Optimisation level.
        fusion_emitters: Whether XLA emits fused loops by way of MLIR. Programs of sequences compile in two thirds of
            the time without, and run as fast; the last digits of their results may differ. A version of jax that
            does not know the choice is left to its own.
        **options: Those of `jax.jit`.
    """

    @functools.cache
    def compiled(traced: bool) -> Callable[..., Any]:
        # Options of the compiler are refused inside another program.
        asked = None if traced else compiler_options(level)
        if asked and not fusion_emitters and _is_known(FUSION_EMITTERS):
            asked[FUSION_EMITTERS] = False
        return jax.jit(function, compiler_options=asked, **options)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        check_process()
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((args, kwargs)))
        return compiled(traced)(*args, **kwargs)

    return call


def compiler_options(level: int = 1) -> dict[str, Any] | None:
    """Returns what `jax.jit` takes for a low optimisation level on CPUs, see `jit`; asks for the device."""
    return {"xla_backend_optimization_level": level} if jax.default_backend() == "cpu" else None


@functools.cache
def _is_known(option: str) -> bool:
    """Whether this version's compiler has a switch of that name."""
    try:
        jax.jit(lambda: 0, compiler_options={option: False})()
    except jax.errors.JaxRuntimeError:
        return False
    return True
