# %% [markdown]
# # A Pareto front in twenty seconds
#
# C-MORL trains a population of policies on deep sea treasure, whose front is known, and says how much of it was found.

# %%
import prefront
from prefront.agents.cmorl import config_for, train

environment = prefront.make("DeepSeaTreasure-v0")
result = train(environment, config_for("DeepSeaTreasure-v0"), seed=0)
print(len(result.solution), "policies in", result.environment_steps, "steps")
print(result.solution.hypervolume() / environment.max_hypervolume(), "of the exact hypervolume")
result.solution.save("my-front")
