"""Process-wide settings that must be made before jax is imported (threads, cache, platform), and memory used."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

ONE_THREAD_FLAGS = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
PLATFORMS = {"cpu": "cpu", "gpu": "cuda"}


def use_one_thread() -> None:
    """Gives XLA's CPU client one thread, which is both faster and safer for many small programs.

    The multi-threaded CPU client of jaxlib can stall for minutes on machines with few cores. The command line, the
    tests and the benchmarks call this first; importing `prefront` never does, so a user's own settings
    stay.

    Raises:
        RuntimeError: jax is imported already, so the setting would have no effect.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_multi_thread_eigen" in flags:
        return
    if "jax" in sys.modules:
        raise RuntimeError("use_one_thread() must be called before jax is imported.")
    os.environ["XLA_FLAGS"] = f"{flags} {ONE_THREAD_FLAGS}".strip()


def use_compilation_cache(folder: str | Path | None = None) -> None:
    """Keeps compiled programs on disk, so that the second process starts several times faster.

    Args:
        folder: Where they are kept; the default is `prefront/xla` under the user's cache folder (`XDG_CACHE_HOME` or
            `~/.cache`). An existing `JAX_COMPILATION_CACHE_DIR` wins.
    """
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "prefront" / "xla"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder or default))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def use_device(device: str) -> None:
    """Chooses the device that jax will compute on; an existing `JAX_PLATFORMS` wins.

    Args:
        device: "cpu" or "gpu" (NVIDIA).

    Raises:
        ValueError: The device is neither.
    """
    if device not in PLATFORMS:
        raise ValueError(f"The device must be one of {', '.join(PLATFORMS)}, got {device!r}.")
    os.environ.setdefault("JAX_PLATFORMS", PLATFORMS[device])
    # Several processes share one GPU; each takes memory as it needs it.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def peak_memory_mb() -> float:
    """Returns the most memory that this process has held at once, in megabytes (10**6 bytes).

    It counts from the start of the process, or from the last `forget_peak_memory`. NaN where the system does not say
    (Windows).
    """
    try:
        # A process starts with its parent's `ru_maxrss`, but with a high-water mark of its own.
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6
    except (OSError, StopIteration):
        try:
            import resource  # Only Unix has it.
        except ImportError:
            return math.nan
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def forget_peak_memory() -> None:
    """Lets `peak_memory_mb` count anew from here, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


_process_of_jax: int | None = None


def note_process() -> None:
    """Remembers that this process uses jax, so that `check_process` can tell those that are forked from it."""
    global _process_of_jax
    if _process_of_jax is None:
        _process_of_jax = os.getpid()


def check_process() -> None:
    """Refuses to run compiled programs in a process that was forked from one that used jax: they would never return.

    Raises:
        RuntimeError: This process was forked from one that used jax.
    """
    note_process()
    if _process_of_jax != os.getpid():
        raise RuntimeError(
            "This process was forked from one that had used jax, whose threads a fork does not copy: compiled programs "
            'would hang here. Start it with context="spawn", as in AsyncVectorEnv(env_fns, context="spawn"), or step '
            "many copies in one process by gym.make_vec."
        )
