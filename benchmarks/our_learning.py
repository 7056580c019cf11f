"""Trains our C-MORL on one task and prints what it reached, as a JSON line.

CPU-seconds count from the start of the process: imports, cold compilation and evaluation included.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

from prefront.runtime import use_one_thread

use_one_thread()


class TargetReached(Exception):  # noqa: N818 (it ends a run, it is no error)
    """The run's target hypervolume, or its CPU budget, is reached."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--id", required=True)
    parser.add_argument("--target", type=float, required=True, help="hypervolume that ends the run")
    parser.add_argument("--budget", type=float, default=120.0, help="CPU-seconds")
    parser.add_argument("--preset", default="exact")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    import prefront
    from prefront.agents.cmorl import Progress, config_for, train

    curve: list[tuple[float, int, float]] = []

    def record(progress: Progress) -> None:
        curve.append((time.process_time(), progress.environment_steps, progress.hypervolume))
        if progress.hypervolume >= arguments.target or time.process_time() >= arguments.budget:
            raise TargetReached

    evaluation_steps = None
    try:
        environment = prefront.make(arguments.id)
        result = train(environment, config_for(arguments.id, arguments.preset), arguments.seed, progress=record)
        evaluation_steps = result.evaluation_steps
    except TargetReached:
        pass
    seconds, steps, hypervolume = curve[-1]
    print(json.dumps({
        "cpu_seconds": seconds,
        "environment_steps": steps,
        "evaluation_steps": evaluation_steps,
        "hypervolume": hypervolume,
        "steps_per_cpu_second_after_compilation": _rate(curve),
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "curve": curve,
    }))  # fmt: skip


def _rate(curve: list[tuple[float, int, float]]) -> float | None:
    """Steps per CPU-second between the first and the last report, which leaves compilation out."""
    if len(curve) < 2 or curve[-1][0] == curve[0][0]:
        return None
    return (curve[-1][1] - curve[0][1]) / (curve[-1][0] - curve[0][0])


if __name__ == "__main__":
    main()
