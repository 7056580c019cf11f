"""Under what results were made: versions, hardware, commit; no paths, no names of users or machines."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from prefront.system.files import read_json, signed_json, write_atomically

PACKAGES = (
    "numpy", "scipy", "jax", "jaxlib", "flax", "optax", "gymnasium", "mo-gymnasium", "moocore", "safetensors",
    "matplotlib", "mujoco", "torch", "stable-baselines3",
)  # fmt: skip


def describe(device: str = "cpu") -> dict[str, Any]:
    """Describes this process's surroundings as a JSON-serialisable dict.

    Args:
        device: The device a run was asked to use.

    Returns:
        The project's version and commit, the versions of Python and of every installed package that matters, and the
        hardware.
    """
    return {
        "prefront": _version("prefront"),
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "hardware": {
            "system": platform.system(),
            "machine": platform.machine(),
            "processor": _processor(),
            "cores": _cores(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "device": device,
            "accelerator": _accelerator() if device == "gpu" else None,
        },
    }


def commit() -> str | None:
    """Returns the project's git commit, with "+changes" where files differ from it; None outside a checkout."""
    package = Path(__file__).resolve().parents[1]
    root = package.parent.parent
    if not (root / ".git").exists() or not (root / "pyproject.toml").exists():
        return None
    head = _output("git", "-C", str(root), "rev-parse", "HEAD")
    changes = _output("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no")
    return f"{head}+changes" if head and changes else head or None


def record(folder: Path, device: str) -> None:
    """Writes `environment.json`, or, where a run goes on in other surroundings, the next `environment-N.json`.

    Raises:
        DamagedFileError: One of them that is there is damaged.
    """
    here = describe(device)
    number = 1
    while True:
        path = folder / ("environment.json" if number == 1 else f"environment-{number}.json")
        if not path.exists():
            write_atomically(path, signed_json(here))
            return
        if read_json(path, dict[str, Any]) == here:
            return
        number += 1


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _accelerator() -> str | None:
    return _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader") or None
