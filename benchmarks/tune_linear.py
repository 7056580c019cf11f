"""Compares settings of linear scalarisation at equal steps, one line of JSON per run.

    python benchmarks/tune_linear.py --environments MOMountainCar BreakableBottles --seeds 100 101 102

The fronts are measured as in the study `pareto_discovery`: by the exact or best known front, and by fresh episodes
where the environment is random.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time


def main() -> None:
    """Trains every candidate on every environment and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", nargs="+", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[100, 101, 102])
    parser.add_argument("--candidates", nargs="+", default=["as C-MORL", "2 restarts", "2 populations", "decay"])
    parser.add_argument("--budget", type=float, default=1.0, help="share of the tuned steps")
    arguments = parser.parse_args()

    from prefront.agents.cmorl import config_for, train
    from prefront.experiments.pareto_discovery import _task, _test

    for name in arguments.environments:
        environment, truth = _task(name)
        own = config_for(f"prefront/{name}-v0")
        own = dataclasses.replace(own, extension="none", total_steps=round(own.total_steps * arguments.budget))
        candidates = {
            "as C-MORL": {},
            "2 restarts": {"restarts": 2 * own.restarts},
            "2 populations": {"population": 2 * own.population},
            "decay": {"linear_decay": 1.0 if own.linear_decay < 1.0 else 0.5},
        }
        for seed in arguments.seeds:
            for candidate in arguments.candidates:
                start = time.process_time()
                result = train(f"prefront/{name}-v0", dataclasses.replace(own, **candidates[candidate]), seed)
                row = truth.score(_test(result.solution, environment, 200))
                facts = {"environment": name, "candidate": candidate, "seed": seed, "share": row["share"]}
                facts |= {"cardinality": row["cardinality"], "expected_utility": row["expected_utility"]}
                facts |= {"steps": int(result.environment_steps), "cpu_seconds": time.process_time() - start}
                print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
