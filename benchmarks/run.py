"""Measures speed and quality beside the peers, in paired processes, and writes the results with hardware and commit.

    python benchmarks/run.py            everything (about an hour on one core)
    python benchmarks/run.py --part steps --repeats 3
    python benchmarks/run.py --part fronts --only DeepSeaTreasure

Each figure comes from a process of its own; ours and the peer's take turns, so that a drift of the machine's speed
meets both. The peers (morl-baselines) live in `.venv-peers`, which `make benchmark` prepares.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from prefront.system import provenance
from prefront.system.runtime import use_one_thread

use_one_thread()

HERE = Path(__file__).parent
ROOT = HERE.parent
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
# id, peer's id, discount, reference point, the peers that apply.
LEARNING = (
    ("prefront/DeepSeaTreasure-v0", "deep-sea-treasure-v0", 0.99, (0.0, -50.0), ("PCN", "Envelope", "MPMOQL")),
    ("prefront/FruitTree-v0", "fruit-tree-v0", 0.99, (-1.0,) * 6, ("PCN", "Envelope")),
)
SHARE_OF_EXACT = 0.99
# What rounding may leave of a whole front's hypervolume.
WHOLE = 1 - 1e-6
PROCESS_LIMIT_SECONDS = 3600


class Promise(NamedTuple):
    """What C-MORL with its "exact" settings must reach with the seeds 0 to `seeds` - 1.

    Every seed finds all points of the exact front within the CPU-seconds; or, where a hypervolume is given, the median
    over seeds reaches it, in a median of as many CPU-seconds. No process takes more memory than `MEMORY_MB`.
    """

    environment: str
    seeds: int
    cpu_seconds: float
    hypervolume: float | None = None


MEMORY_MB = 4000
PROMISES = (
    Promise("FruitTree", 5, 20),
    Promise("DeepSeaTreasure", 5, 40),
    Promise("DeepSeaTreasureConcave", 5, 30),
    Promise("ResourceGathering", 5, 40),
    Promise("MinecartDeterministic", 3, 200, hypervolume=700.0),
)


def measured(command: list[str], timeout: float) -> dict[str, Any]:
    """Runs one worker without any cache of compiled programs and returns the JSON object of its last line."""
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=ROOT, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def steps(repeats: int) -> list[dict[str, Any]]:
    """Steps per CPU-second of each native environment and of MO-Gymnasium's, in turn."""
    from steps_per_second import PEERS

    rows = []
    for id in PEERS:
        rates: dict[str, list[float]] = {"native": [], "peer": []}
        batch = 0
        for _ in range(repeats):
            for side, values in rates.items():
                command = [sys.executable, str(HERE / "steps_per_second.py"), "--id", id, "--side", side]
                figures = measured(command, 300)
                values.append(figures["steps_per_cpu_second"])
                batch = figures.get("batch", batch)
        row = {
            "environment": id,
            "batch": batch,
            "native": statistics.median(rates["native"]),
            "mo_gymnasium": statistics.median(rates["peer"]),
            "ratio": statistics.median(a / b for a, b in zip(rates["native"], rates["peer"], strict=True)),
            "runs": rates,
        }
        print(f"{id:40} {row['native']:14,.0f} {row['mo_gymnasium']:12,.0f} {row['ratio']:8,.0f}x", flush=True)
        rows.append(row)
    return rows


def learning(repeats: int, budget: float) -> list[dict[str, Any]]:
    """CPU-seconds to 99 % of the exact hypervolume, ours and each peer's, in turn, one seed a repeat."""
    import prefront

    rows = []
    for id, peer_id, gamma, reference, peers in LEARNING:
        target = SHARE_OF_EXACT * prefront.make(id).max_hypervolume(gamma)
        common = ["--target", str(target), "--budget", str(budget)]
        for seed in range(repeats):
            ours = [sys.executable, str(HERE / "our_learning.py"), "--id", id, *common, "--seed", str(seed)]
            commands = {"C-MORL (prefront)": ours}
            for agent in peers:
                commands[agent] = [
                    str(PEERS_PYTHON), str(HERE / "peer_learning.py"), "--agent", agent, "--id", peer_id, *common,
                    "--gamma", str(gamma), "--seed", str(seed), "--reference", *map(str, reference),
                ]  # fmt: skip
            for agent, command in commands.items():
                result = measured(command, 20 * budget)
                row = {
                    "environment": id,
                    "agent": agent,
                    "seed": seed,
                    "gamma": gamma,
                    "reference_point": reference,
                    "target_hypervolume": target,
                    "share_of_exact": result["hypervolume"] / target * SHARE_OF_EXACT,
                    "reached": result["hypervolume"] >= target,
                    "steps_per_cpu_second": result["environment_steps"] / result["cpu_seconds"],
                    **result,
                }
                print(
                    f"{id:30} {agent:18} seed {seed} {row['cpu_seconds']:7.1f} CPU-s "
                    f"{row['environment_steps']:10,} steps {row['steps_per_cpu_second']:10,.0f}/CPU-s "
                    f"{row['share_of_exact']:7.1%} of the exact hypervolume",
                    flush=True,
                )
                rows.append(row)
    return rows


def fronts(only: list[str] | None) -> list[dict[str, Any]]:
    """What each whole training run finds and takes, one cold process per environment and seed, beside its promise."""
    rows = []
    for promise in PROMISES:
        if only and promise.environment not in only:
            continue
        runs = []
        for seed in range(promise.seeds):
            id = f"prefront/{promise.environment}-v0"
            worker = [sys.executable, str(HERE / "our_learning.py"), "--id", id, "--seed", str(seed)]
            run = measured(worker, PROCESS_LIMIT_SECONDS)
            curve = run.pop("curve")
            reached = [seconds for seconds, _, volume in curve if volume >= WHOLE * run["true_hypervolume"]]
            runs.append({"seed": seed, "cpu_seconds_to_whole_front": reached[0] if reached else None, **run})
            print(
                f"{promise.environment:24} seed {seed} {run['cpu_seconds']:7.1f} CPU-s {run['peak_memory_mb']:6.0f} MB "
                f"{run['points_found']:4} of {run['true_points']} points, hypervolume {run['hypervolume']:.6g}, whole "
                f"after {f'{reached[0]:.1f} CPU-s' if reached else 'never'}",
                flush=True,
            )
        row = {**promise._asdict(), "kept": _kept(promise, runs), "runs": runs}
        print(f"{promise.environment:24} {'keeps' if row['kept'] else 'breaks'} its promise", flush=True)
        rows.append(row)
    return rows


def _kept(promise: Promise, runs: list[dict[str, Any]]) -> bool:
    if max(run["peak_memory_mb"] for run in runs) > MEMORY_MB:
        return False
    seconds = [run["cpu_seconds"] for run in runs]
    if promise.hypervolume is None:
        return max(seconds) <= promise.cpu_seconds and all(run["points_found"] == run["true_points"] for run in runs)
    volume = statistics.median(run["hypervolume"] for run in runs)
    return statistics.median(seconds) <= promise.cpu_seconds and volume >= promise.hypervolume


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("all", "steps", "learning", "fronts"), default="all")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side; for learning also the seeds")
    parser.add_argument("--budget", type=float, default=120.0, help="CPU-seconds after which a learning run gives up")
    names = [promise.environment for promise in PROMISES]
    parser.add_argument("--only", nargs="+", choices=names, help="environments of the part `fronts`; all by default")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    if arguments.part in ("all", "learning") and not PEERS_PYTHON.exists():
        parser.error("The peers are not installed; `make benchmark` prepares .venv-peers and runs this.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    parts = {
        "steps": lambda: steps(arguments.repeats),
        "learning": lambda: learning(arguments.repeats, arguments.budget),
        "fronts": lambda: fronts(arguments.only),
    }
    for name, measure in parts.items():
        if arguments.part in ("all", name):
            document = {
                "command": " ".join(["python benchmarks/run.py", *sys.argv[1:]]),
                "date": datetime.date.today().isoformat(),
                "threads_per_process": 1,
                **provenance.describe(),
                "peers": "morl-baselines 1.3.0, torch 2.13.0 (CPU)",
                "rows": measure(),
            }
            (arguments.out / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
            print(f"wrote {arguments.out / f'{name}.json'}")


if __name__ == "__main__":
    main()
