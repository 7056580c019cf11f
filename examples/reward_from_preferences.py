# %% [markdown]
# # A reward learned from preferences
#
# Somebody who owns a true reward compares pairs of segments; a model sees the answers alone. Because the task is
# finite, the policy that is optimal for what was learned is evaluated exactly under the true reward: 1 is optimal, 0 is
# the random policy.

# %%
import gymnasium as gym
import numpy as np

from prefront.preferences.choice import Linear
from prefront.preferences.evaluation import evaluate_model
from prefront.preferences.models.exact_regret import ExactRegret
from prefront.preferences.models.partial_return import PartialReturn
from prefront.preferences.segment_scores import segment_margin
from prefront.preferences.segments import sample_segments
from prefront.preferences.teachers import Teacher
from prefront.tasks.gymnasium_tables import from_gymnasium

mdp, true_weights = from_gymnasium(gym.make("FrozenLake-v1"))
rng = np.random.default_rng(0)
anywhere = mdp._replace(initial=~mdp.terminal / (~mdp.terminal).sum())
first, second = (sample_segments(anywhere, 300, 3, rng, absorbing=True) for _ in range(2))
teacher = Teacher(segment_margin("general_regret", Linear(true_weights), mdp=mdp))
answers = teacher.ask(first, second, rng)

# %% [markdown]
# The teacher chooses by regret. One model assumes that; the other assumes that people add up the rewards they see.

# %%
qualities = {}
for model in (ExactRegret(mdp, statistic="general_regret"), PartialReturn()):
    fitted = model.fit(answers)
    qualities[type(model).__name__] = evaluate_model(fitted, mdp, true_weights)
    print(type(model).__name__, qualities[type(model).__name__].scaled_return)
assert qualities["ExactRegret"].scaled_return > 0.99
