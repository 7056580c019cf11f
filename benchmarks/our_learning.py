"""Trains our C-MORL on one task and prints what it reached, as a JSON line.

CPU-seconds and memory count from the start of the process: imports, cold compilation and evaluation included, the
comparison with the true front at the end left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import time

from prefront.system.runtime import peak_memory_mb, use_one_thread

use_one_thread()


class EnoughError(Exception):
    """The run's target hypervolume, or its CPU budget, is reached."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--id", required=True)
    parser.add_argument("--target", type=float, default=math.inf, help="hypervolume that ends the run")
    parser.add_argument("--budget", type=float, default=math.inf, help="CPU-seconds")
    parser.add_argument("--preset", default="tuned")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    import prefront
    from prefront.agents.cmorl import config_for, train
    from prefront.policies.scores import ReferenceFront

    curve: list[tuple[float, int, float]] = []

    def record(done: int, total: int, hypervolume: float, points: int) -> None:
        curve.append((time.process_time(), done, hypervolume))
        if hypervolume >= arguments.target or time.process_time() >= arguments.budget:
            raise EnoughError

    environment, result = prefront.make(arguments.id), None
    with contextlib.suppress(EnoughError):
        result = train(environment, config_for(arguments.id, arguments.preset), arguments.seed, report=record)
    spent = {"cpu_seconds": time.process_time(), "peak_memory_mb": peak_memory_mb()}
    _, steps, hypervolume = curve[-1]
    print(json.dumps({
        **spent,
        "environment_steps": steps,
        "evaluation_steps": None if result is None else result.evaluation_steps,
        "hypervolume": hypervolume,
        "steps_per_cpu_second_after_compilation": _rate(curve),
        "curve": curve,
        **({} if result is None else ReferenceFront.of(environment).score(result.solution.returns)),
    }))  # fmt: skip


def _rate(curve: list[tuple[float, int, float]]) -> float | None:
    """Steps per CPU-second between the first and the last report, which leaves compilation out."""
    if len(curve) < 2 or curve[-1][0] == curve[0][0]:
        return None
    return (curve[-1][1] - curve[0][1]) / (curve[-1][0] - curve[0][0])


if __name__ == "__main__":
    main()
