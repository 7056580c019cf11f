"""Models on the host: the same values as inside a compiled program, one call per batch, clear errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefront.preferences.models.host import from_python, from_torch

SEQUENCES = jnp.asarray(np.random.default_rng(0).integers(0, 5, (7, 4)), jnp.int32)


def counts(sequences):
    """Two rewards: tokens 0 and tokens 1 after the context."""
    return np.stack([(sequences[:, 1:] == token).sum(1) for token in (0, 1)], axis=1)


def test_values_reach_a_compiled_program_unchanged():
    rewards = from_python(counts, outputs=2)
    compiled = jax.jit(lambda sequences: 2 * rewards(None, sequences))
    assert np.array_equal(compiled(SEQUENCES), 2 * counts(np.asarray(SEQUENCES)))
    gold = from_python(lambda sequences: sequences.sum(1))
    assert np.array_equal(jax.jit(gold)(None, SEQUENCES), np.asarray(SEQUENCES).sum(1))


def test_runs_that_train_together_are_one_call():
    sizes = []

    def counting(sequences):
        sizes.append(len(sequences))
        return counts(sequences)

    batch = jnp.stack([SEQUENCES, SEQUENCES + 1, SEQUENCES])
    got = jax.jit(jax.vmap(from_python(counting, outputs=2), in_axes=(None, 0)))(None, batch)
    assert sizes == [21]
    assert np.array_equal(got, np.stack([counts(np.asarray(one)) for one in batch]))


def test_wrong_shapes_are_named():
    wrong = from_python(counts, outputs=3)
    with pytest.raises(Exception, match=r"counts must return shape \(7, 3\), got \(7, 2\)"):
        jax.block_until_ready(jax.jit(wrong)(None, SEQUENCES))
    with pytest.raises(ValueError, match="got 0"):
        from_python(counts, outputs=0)


def test_a_torch_module_gives_its_own_values_in_evaluation_mode():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)

    class Judge(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(5, 8)
            self.dropout = torch.nn.Dropout(0.5)
            self.head = torch.nn.Linear(8, 2)

        def forward(self, tokens):
            return self.head(self.dropout(self.embedding(tokens)).mean(1))

    module = Judge()
    evaluate = jax.jit(from_torch(module, outputs=2, batch_size=3))
    values = evaluate(None, SEQUENCES)
    with torch.no_grad():
        expected = module(torch.as_tensor(np.asarray(SEQUENCES, np.int64))).numpy()
    assert not module.training
    assert np.allclose(values, expected, atol=1e-6)
    assert np.array_equal(values, evaluate(None, SEQUENCES))  # No dropout is drawn.
    with pytest.raises(ValueError, match="batch_size"):
        from_torch(module, batch_size=0)
