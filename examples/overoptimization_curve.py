# %% [markdown]
# # The exact overoptimization curve of a token world
#
# Two reward models were fitted to choices between token sequences. The policy that is best for their sum at any KL from
# the reference policy has a closed form, so the whole curve of proxy and KL is exact. Gold, which no agent sees, rises
# along it and then falls.

# %%
import jax
import numpy as np

from prefront.agents.proxy_points import exact_sweep
from prefront.envs.token_world import TokenWorldSettings, make_world

world = make_world(TokenWorldSettings(), 0)
curve = exact_sweep(world, jax.random.key(0), directions=[[1.0, 1.0]], scales=np.linspace(0, 8, 25))

# %% [markdown]
# Gold is the mean over sequences drawn from the exact policies; rewards and KL are exact.

# %%
gold, divergence, proxy = curve.gold[0], curve.divergence[0], curve.rewards[0].sum(-1)
for i in range(0, len(gold), 4):
    print(f"KL {divergence[i]:5.1f}   proxy {proxy[i]:5.2f}   gold {gold[i]:5.2f}")
peak = gold.argmax()
print(f"gold peaks at {gold[peak]:.2f}, at KL {divergence[peak]:.1f}, and ends at {gold[-1]:.2f}")
assert 0 < peak < len(gold) - 1
assert (np.diff(proxy) > 0).all()
