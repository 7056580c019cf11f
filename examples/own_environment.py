# %% [markdown]
# # The exact front of an environment of your own
#
# An environment with finitely many states states its law once: `outcomes` lists what an action can lead to, with
# probabilities. Sampling, the transition table, the exact Pareto front and the Gymnasium API follow from it.
#
# Here somebody walks along five orchards. Each is richer than the one before, every step costs time, and whoever picks
# goes home. Now and then a cart comes by and takes the walker one orchard further.

# %%
import gymnasium as gym
import jax.numpy as jnp
import numpy as np

from prefront.tasks.finite import FiniteEnvironment
from prefront.testing import check_environment

FRUIT = jnp.array([1.0, 2.0, 4.0, 5.0, 8.0])
WALK, PICK = 0, 1


class Orchards(FiniteEnvironment):
    """Pick here, or walk on to a richer orchard. The state holds the orchard and whether the picking is done."""

    objective_names = ("fruit", "time")
    discount = 0.95
    max_episode_steps = 50

    def __init__(self, cart: float = 0.2) -> None:
        self.cart = cart
        super().__init__()
        self.observation_space = gym.spaces.MultiDiscrete([5, 2], dtype=np.int32)
        self.action_space = gym.spaces.Discrete(2)
        self.reward_space = gym.spaces.Box(np.array([0, -1], np.float32), np.array([8, -1], np.float32))
        self.reference_point = np.array([0.0, -20.0])

    def get_default_params(self, **kwargs):
        return jnp.float32(self.cart)

    def initial_outcomes(self, params=None):
        return jnp.ones(1), jnp.zeros((1, 2), jnp.int32)

    def outcomes(self, state, action, params=None):
        walked, driven = (jnp.stack([jnp.minimum(state[0] + far, 4), 0]) for far in (1, 2))
        picked = jnp.stack([state[0], 1])
        luck = jnp.where(action == WALK, self.resolve(params), 0.0)
        usual = jnp.where(action == WALK, walked, picked)
        return jnp.stack([1 - luck, luck]), jnp.stack([usual, driven]).astype(jnp.int32)

    def observation(self, state, rng, params=None):
        return state

    def reward(self, state, action, next_state, rng, params=None):
        return jnp.stack([FRUIT[next_state[0]] * next_state[1], -1.0]).astype(jnp.float32)

    def terminal(self, state, rng, params=None):
        return state[1] == 1


# %% [markdown]
# The front comes from set-valued dynamic programming over the table. Without carts there is one point for each orchard,
# and arithmetic gives the same: whoever picks in orchard k does so in step k + 1.

# %%
steps = np.arange(5)
by_hand = np.stack([0.95**steps * FRUIT, -(1 - 0.95 ** (steps + 1)) / 0.05], axis=1)
assert np.allclose(Orchards(cart=0.0).pareto_front(), by_hand, atol=1e-5)

orchards = Orchards()
print(orchards.pareto_front().round(3))
print("hypervolume", orchards.max_hypervolume(), "at discount", orchards.discount)

# %% [markdown]
# The checks that run over every environment of Prefront run over this one too.

# %%
for check in check_environment(orchards):
    print(check)
