"""The generation contract: what functions of one's own replace in a task, and what stays."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefront.exact.kl_regularised import CountRewards, count_rewards
from prefront.tasks.generation import CustomRewards, known_answer


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Counted:
    """One reward: a number for each token."""

    scores: jax.Array
    reference: None = None
    length: int = dataclasses.field(default=2, metadata={"static": True})
    vocabulary: int = dataclasses.field(default=3, metadata={"static": True})
    per_token: bool = dataclasses.field(default=True, metadata={"static": True})

    @property
    def answer(self):
        return CountRewards(jnp.tile(self.scores, (1, 4, 1)), jnp.zeros(1))

    def prompts(self, key, number):
        return jnp.full(number, 3)

    def rewards(self, sequences):
        return count_rewards(self.answer, sequences)

    def gold(self, sequences):
        return -self.rewards(sequences)[..., 0]


TASK = Counted(jnp.array([0.0, 1.0, 5.0]))
SEQUENCES = jnp.array([[3, 1, 2], [3, 0, 0]])


def test_rewards_of_ones_own_leave_no_exact_answer_and_come_with_the_last_token():
    own = CustomRewards(TASK, lambda task, sequences: 2 * task.rewards(sequences))
    np.testing.assert_allclose(own.rewards(SEQUENCES), [[12.0], [0.0]])
    np.testing.assert_allclose(own.gold(SEQUENCES), [-6.0, 0.0])
    assert own.answer is None and not own.per_token
    assert (own.length, own.vocabulary) == (2, 3) and own.prompts(jax.random.key(0), 4).tolist() == [3] * 4
    with pytest.raises(ValueError, match="No exact answer is known"):
        known_answer(own)


def test_gold_of_ones_own_leaves_rewards_and_their_exact_answer():
    own = CustomRewards(TASK, gold_function=lambda task, sequences: sequences[:, 1] * 1.0)
    np.testing.assert_allclose(own.gold(SEQUENCES), [1.0, 0.0])
    np.testing.assert_allclose(count_rewards(known_answer(own), SEQUENCES), own.rewards(SEQUENCES))
    assert own.per_token


def test_a_batch_of_tasks_is_one_vmap():
    tasks = CustomRewards(Counted(jnp.stack([TASK.scores, 3 * TASK.scores])), gold_function=lambda task, _: task.scores)
    rewards, gold = jax.vmap(lambda one: (one.rewards(SEQUENCES), one.gold(SEQUENCES)))(tasks)
    np.testing.assert_allclose(rewards[:, 0, 0], [6.0, 18.0])
    np.testing.assert_allclose(gold[:, 2], [5.0, 15.0])
