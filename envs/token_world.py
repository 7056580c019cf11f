"""Token world: generation of token sequences under learned reward models, with gold kept apart."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from prefront.envs.token_report import report
from prefront.envs.token_settings import TokenWorldSettings
from prefront.envs.token_task import TokenTask, make_world
from prefront.exact import kl_constrained
from prefront.system.checks import check_discount, nearest_names
from prefront.tasks.environment import Environment
from prefront.tasks.rendering import FLOOR, GOLD, draw_grid

__all__ = ["TokenState", "TokenTask", "TokenWorld", "TokenWorldSettings", "make_world", "report"]


class TokenState(NamedTuple):
    """A partial sequence.

    Attributes:
        step: Tokens written so far, int32 scalar.
        tokens: Context first, then the tokens so far, then V + 1 as padding; shape (L + 1,), int32.
    """

    step: jax.Array
    tokens: jax.Array


class TokenWorld(Environment):
    """A policy writes a sequence token by token; K learned reward models judge it, and gold, which nobody sees.

    ## Description
    The testbed of reward-model overoptimization (Gao, Schulman and Hilton, 2022) and constrained RLHF (Moskovitz et
    al., 2024) in a world small enough for an exact answer. The reference policy is a bigram model. Gold is the mean of
    K random nonlinear attributes, with given correlations under the reference policy, minus `unseen_weight` times the
    standardised share of repeated bigrams. Annotator k compares pairs of reference sequences by attribute k, with
    logistic noise and mistakes; reward model k is fitted to these choices (Bradley and Terry, 1952) and standardised
    under the reference policy. Rewards therefore agree with gold near the reference policy, and less the further a
    policy moves away from it.

    ## Observation Space
    `MultiDiscrete` of L + 3 integers: the number of tokens so far; the previous token; then the sequence so far: its
    context (a prompt token, or V, the start symbol), the tokens, and V + 1 as padding. Tabular policies over (step,
    previous token) need the first two, n-gram policies and transformers the rest.

    ## Action Space
    `Discrete(V)`: the next token.

    ## Rewards
    `model_1` ... `model_K`: the standardised rewards of the whole sequence with its last token, otherwise 0. With
    `per_token` what each token adds, which needs linear reward models; the sum is the same.

    ## Info
    `reference_log_probabilities`: the reference policy's log-probabilities of the next token, shape (V,), from which an
    agent forms the KL reward of its own policy.

    ## Starting State
    The empty sequence, at a prompt drawn uniformly or at the start symbol.

    ## Episode End
    Terminates after L tokens.

    ## Arguments
    `settings`: a `TokenWorldSettings`, or its fields as keyword arguments (`vocabulary`, `length`, `components`,
    `correlation`, `pairs`, `label_noise`, `rationality`, `unseen_weight`, `prompts`, `per_token`, `reward_model`, ...).
    `seed`: which world.

    ## Exact Answer
    With linear reward models the convex coverage set, by optimistic linear support over Viterbi's algorithm, and the
    KL-regularised and constrained optima, by `prefront.exact.kl_regularised` and `prefront.exact.kl_constrained` on
    `params.reference` and `params.answer`. The Pareto front of single sequences is not computed. With mlp and
    transformer models nothing is known. The reference point lies ten standard deviations of reference sequences below
    their mean.

    ## Version History
    v0: first version.
    """

    discount = 1.0

    def __init__(self, settings: TokenWorldSettings | None = None, *, seed: int = 0, **changes: Any) -> None:
        known = [field.name for field in dataclasses.fields(TokenWorldSettings)]
        for name in changes:
            if name not in known:
                raise TypeError(f"TokenWorld has no setting {name!r}. {nearest_names(name, known)}")
        self.settings = dataclasses.replace(settings or TokenWorldSettings(), **changes)
        self.seed = seed
        super().__init__()
        v, length, components = self.settings.vocabulary, self.settings.length, self.settings.components
        self.max_episode_steps = length
        self.objective_names = tuple(f"model_{k + 1}" for k in range(components))
        self.reference_point = np.full(components, -10.0)
        self.observation_space = gym.spaces.MultiDiscrete([length + 1, v + 1, *(length + 1) * [v + 2]], dtype=np.int32)
        self.action_space = gym.spaces.Discrete(v)
        self.reward_space = gym.spaces.Box(-np.inf, np.inf, (components,), np.float32)

    def get_default_params(self, **kwargs: Any) -> TokenTask:
        """Returns the world of the settings and the seed."""
        return _made(self.settings, self.seed)

    def initial(self, rng: jax.Array, params: Any = None) -> TokenState:
        """Draws the context."""
        padding = jnp.full(self.settings.length + 1, self.settings.vocabulary + 1, jnp.int32)
        return TokenState(jnp.int32(0), padding.at[0].set(self.resolve(params).prompts(rng, 1)[0]))

    def transition(self, state: TokenState, action: jax.Array, rng: jax.Array, params: Any = None) -> TokenState:
        """Appends a token; a complete sequence stays as it is."""
        length = self.settings.length
        written = state.tokens.at[state.step + 1].set(jnp.asarray(action, jnp.int32), mode="drop")
        return TokenState(jnp.minimum(state.step + 1, length), written)

    def observation(self, state: TokenState, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns step, previous token and the sequence so far."""
        return jnp.concatenate([jnp.stack([state.step, state.tokens[state.step]]), state.tokens])

    def reward(
        self,
        state: TokenState,
        action: jax.Array,
        next_state: TokenState,
        rng: jax.Array,
        params: Any = None,
    ) -> jax.Array:
        """Returns the models' rewards of the finished sequence, or what the token adds."""
        task = self.resolve(params)
        if self.settings.per_token:
            rewards = task.answer
            previous, token = state.tokens[state.step], next_state.tokens[next_state.step]
            added = rewards.scores[:, previous, token] + rewards.offset / self.settings.length
            return jnp.where(state.step < self.settings.length, added, 0.0).astype(jnp.float32)
        finishes = state.step == self.settings.length - 1
        # Tokens that are still to come are padding, which no model knows; their value is not used.
        whole = jnp.minimum(next_state.tokens, self.settings.vocabulary - 1).at[0].set(next_state.tokens[0])
        return jnp.where(finishes, task.rewards(whole), 0.0).astype(jnp.float32)

    def terminal(self, state: TokenState, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns whether the sequence is complete."""
        return state.step >= self.settings.length

    def state_info(self, state: TokenState, params: Any = None) -> dict[str, Any]:
        """Returns the reference policy's log-probabilities of the next token."""
        return {"reference_log_probabilities": self.reference_log_probabilities(state, params)}

    def transition_info(
        self, state: TokenState, action: Any, next_state: TokenState, params: Any = None
    ) -> dict[str, Any]:
        """Returns the reference policy's log-probabilities of the token after `next_state`."""
        return self.state_info(next_state, params)

    def reference_log_probabilities(self, state: TokenState, params: Any = None) -> jax.Array:
        """Returns the reference policy's log-probabilities of the next token, shape (V,)."""
        return self.resolve(params).reference.log_transitions[state.tokens[state.step]]

    def coverage_set(self, gamma: float | None = None) -> np.ndarray:
        """Returns the convex coverage set of expected rewards, exactly, for linear reward models.

        Raises:
            NotImplementedError: The reward models are not linear.
        """
        task = self.default_params
        if task.answer is None:
            raise NotImplementedError(f"No coverage set is known for {task.reward_model.kind} reward models.")
        gamma, length = check_discount(self.discount if gamma is None else gamma), self.settings.length
        discounts = gamma ** (np.arange(length) if self.settings.per_token else np.full(length, length - 1))
        return kl_constrained.coverage_set(task.reference, task.answer, length, discounts)

    def render_image(self, state: Any, render_state: Any, params: Any = None) -> tuple[Any, np.ndarray]:
        """Draws the context, the tokens so far, and empty cells for those to come."""
        tokens = np.asarray(state.tokens)
        colours = np.full((1, len(tokens), 3), FLOOR)
        colours[0, 0] = GOLD
        names = {self.settings.vocabulary: "start", self.settings.vocabulary + 1: ""}
        labels = {(0, i): names.get(int(token), str(token)) for i, token in enumerate(tokens)}
        return render_state, draw_grid(colours, None, labels)


@functools.lru_cache(maxsize=8)
def _made(settings: TokenWorldSettings, seed: int) -> TokenTask:
    return make_world(settings, seed)
