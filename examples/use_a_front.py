# %% [markdown]
# # A trained front, used and saved
#
# A front is a finite set of policies, none of which is beaten by another. You choose a policy by weights, when you know
# what you want; you need not know it when you train.

# %%
import dataclasses

import gymnasium as gym
import numpy as np

import prefront
from prefront.agents.cmorl import config_for, train

task = prefront.make("FruitTree-v0", depth=5)
config = dataclasses.replace(config_for("FruitTree-v0"), total_steps=400_000)
front = train(task, config, seed=0).solution
print(len(front), "policies,", front.hypervolume() / task.max_hypervolume(), "of the exact hypervolume")

# %% [markdown]
# Saved are numbers and JSON, with a checksum over both. Nothing is pickled, so a file can run no code when it is read.

# %%
front.save("fruit-front")
again = prefront.Front.load("fruit-front")
assert np.array_equal(again.returns, front.returns)

# %% [markdown]
# Somebody who cares for the first nutrient above all gets the policy for that, and follows it in any copy of the task.

# %%
weights = [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]
policy = again.select(weights)
env = gym.make("prefront/FruitTree-v0", depth=5)
observation, _ = env.reset(seed=0)
total, factor, ended = np.zeros(6), 1.0, False
while not ended:
    observation, reward, terminated, truncated, _ = env.step(policy(observation))
    total, factor, ended = total + factor * reward, factor * task.discount, terminated or truncated
print("promised", policy.returns.round(3), "got", total.round(3))
assert np.allclose(total, policy.returns, atol=1e-4)
