"""Measures how many steps per CPU-second one environment takes under uniformly random actions, as a JSON line."""

from __future__ import annotations

import argparse
import json
import time

from prefront.system.runtime import use_one_thread

use_one_thread()

PEERS = {
    "prefront/DeepSeaTreasure-v0": "deep-sea-treasure-v0",
    "prefront/DeepSeaTreasureConcave-v0": "deep-sea-treasure-concave-v0",
    "prefront/DeepSeaTreasureMirrored-v0": "deep-sea-treasure-mirrored-v0",
    "prefront/FruitTree-v0": "fruit-tree-v0",
    "prefront/ResourceGathering-v0": "resource-gathering-v0",
    "prefront/FourRoom-v0": "four-room-v0",
    "prefront/BreakableBottles-v0": "breakable-bottles-v0",
    "prefront/Minecart-v0": "minecart-v0",
    "prefront/MinecartDeterministic-v0": "minecart-deterministic-v0",
    "prefront/MOMountainCar-v0": "mo-mountaincar-v0",
}


def native(id: str, seconds: float, batch: int, length: int = 512) -> float:
    """Steps a vmapped batch inside one compiled program, resetting where episodes end; compilation is not timed."""
    import jax
    import jax.numpy as jnp

    import prefront
    from prefront.tasks import environment as functional

    environment = prefront.make(id)
    actions = environment.action_space.n

    def one(state, elapsed, action, rng):
        for_step, for_reset = jax.random.split(rng)
        taken = functional.step(environment, state, action, for_step)
        fresh, _ = functional.reset(environment, for_reset)
        ended = taken.terminated | (elapsed + 1 >= environment.max_episode_steps)
        state = functional.select(ended, fresh, taken.state)
        observed = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(taken.observation))
        return (state, jnp.where(ended, 0, elapsed + 1)), taken.reward.sum() + observed

    @jax.jit
    def many(carry, rng):
        for_actions, for_environments = jax.random.split(rng)
        # 16 random bits an action leave a bias below 1e-4 for up to 6 actions, and cost an eighth of `randint`.
        bits = jax.random.bits(for_actions, (length, batch), jnp.uint16)
        drawn = (bits % actions).astype(jnp.int32)

        def body(carry, now):
            action, rng = now
            carry, out = jax.vmap(one)(*carry, action, jax.random.split(rng, batch))
            return carry, out.mean()

        return jax.lax.scan(body, carry, (drawn, jax.random.split(for_environments, length)))

    states, _ = jax.vmap(lambda rng: functional.reset(environment, rng))(jax.random.split(jax.random.key(0), batch))
    carry, out = many((states, jnp.zeros(batch, jnp.int32)), jax.random.key(1))
    out.block_until_ready()
    started, rounds = time.process_time(), 0
    while time.process_time() - started < seconds:
        carry, out = many(carry, jax.random.key(rounds))
        out.block_until_ready()
        rounds += 1
    return rounds * batch * length / (time.process_time() - started)


def peer(id: str, seconds: float) -> float:
    """Steps MO-Gymnasium's environment in a Python loop."""
    import mo_gymnasium as mo_gym
    import numpy as np

    env = mo_gym.make(PEERS[id])
    actions = np.random.default_rng(0).integers(int(env.action_space.n), size=10_000).tolist()
    env.reset(seed=0)
    started, steps = time.process_time(), 0
    while time.process_time() - started < seconds:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        steps += len(actions)
    return steps / (time.process_time() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--id", choices=PEERS, required=True)
    parser.add_argument("--side", choices=("native", "peer"), required=True)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    if arguments.side == "peer":
        print(json.dumps({"steps_per_cpu_second": peer(arguments.id, arguments.seconds)}))
        return
    # Light dynamics run best while the batch fits the fast caches, heavy ones where the batch fills vector units.
    rates = {batch: native(arguments.id, arguments.seconds, batch) for batch in (1024, 4096)}
    best = max(rates, key=lambda batch: rates[batch])
    print(json.dumps({"steps_per_cpu_second": rates[best], "batch": best}))


if __name__ == "__main__":
    main()
