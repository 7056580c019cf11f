"""Reward models and gold of one's own: a plain Python function or a torch module, called from compiled programs.

`prefront.tasks.generation.CustomRewards` takes functions of a task and sequences as `reward_function` and
`gold_function`. Functions of JAX arrays fit as they are and are compiled with the rest. Anything else is wrapped here:
it runs on the host, on NumPy arrays, once per batch of sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from prefront.tasks.generation import Evaluation

if TYPE_CHECKING:
    import torch


def from_python(function: Callable[[np.ndarray], Any], outputs: int | None = None) -> Evaluation:
    """Wraps a function of NumPy arrays.

    Args:
        function: Maps sequences, int32 of shape (n, L + 1) with the context first, to values of shape (n, `outputs`),
            or (n,) where `outputs` is None. It must depend on nothing but the sequences.
        outputs: Number of rewards K of a reward function; None for gold.

    Returns:
        A function for `reward_function` or `gold_function`. Called inside a compiled program, it raises a ValueError
        (wrapped in JAX's error for callbacks) where the function returns another shape or values that are no numbers.

    Raises:
        ValueError: `outputs` is below 1.
    """
    if outputs is not None and outputs < 1:
        raise ValueError(f"outputs must be at least 1, or None for gold, got {outputs}.")
    name = getattr(function, "__name__", type(function).__name__)
    tail = () if outputs is None else (outputs,)

    def on_host(sequences: Any) -> np.ndarray:
        given = np.asarray(sequences)
        flat = given.reshape(-1, given.shape[-1])
        values = np.asarray(function(flat), np.float32)
        if values.shape != (len(flat), *tail):
            raise ValueError(f"{name} must return shape {(len(flat), *tail)}, got {values.shape}.")
        return values.reshape(*given.shape[:-1], *tail)

    def evaluate(world: Any, sequences: jax.Array) -> jax.Array:
        shape = jax.ShapeDtypeStruct((*sequences.shape[:-1], *tail), np.float32)
        # Runs that are trained together become one call with all their sequences.
        values: jax.Array = jax.pure_callback(on_host, shape, sequences, vmap_method="expand_dims")
        return values

    return evaluate


def from_torch(
    module: torch.nn.Module, outputs: int | None = None, *, device: str | None = None, batch_size: int = 4096
) -> Evaluation:
    """Wraps a torch module; needs `pip install "prefront[torch]"`.

    The module is put into evaluation mode and called without gradients.

    Args:
        module: Maps sequences, an int64 tensor (n, L + 1) with the context first, to (n, `outputs`), or (n,) where
            `outputs` is None. Where there is no prompt the context is the start symbol, V: an embedding needs V + 1
            rows.
        outputs: Number of rewards K of a reward function; None for gold.
        device: Where it is moved to and called; where it is by default.
        batch_size: Largest number of sequences per call.

    Returns:
        A function for `reward_function` or `gold_function`; see `from_python`.

    Raises:
        ValueError: `outputs` or `batch_size` is below 1.
        ImportError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError('A torch module needs torch: pip install "prefront[torch]".') from error
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    module = module.to(device) if device is not None else module
    module.eval()
    place = next((one.device for one in module.parameters()), torch.device(device or "cpu"))

    def call(sequences: np.ndarray) -> np.ndarray:
        tokens = torch.as_tensor(sequences.astype(np.int64), device=place)
        with torch.no_grad():
            parts = [module(part) for part in tokens.split(batch_size)]
        values: np.ndarray = torch.cat(parts).float().cpu().numpy()
        return values

    call.__name__ = type(module).__name__
    return from_python(call, outputs)
