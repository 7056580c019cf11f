"""A checkpoint gives back what was stored, bit for bit and in its structure, to the run that it belongs to alone."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefront.learning.checkpoints import Checkpoint
from prefront.system.files import DamagedFileError

OWNER = {"task": "sea", "seed": 3, "sizes": (1, 2)}


class Carried(NamedTuple):
    weights: Any
    nothing: Any
    count: Any


def carried(value=0.1):
    return Carried({"b": jnp.full((2, 3), value), "a": jnp.arange(3)}, None, jnp.uint32(7))


def test_what_is_stored_comes_back_bit_for_bit_in_its_structure(tmp_path):
    checkpoint = Checkpoint(tmp_path, OWNER)
    assert checkpoint.stored is None
    assert checkpoint.restore({"run": carried()}) is None
    history = {"loss": np.array([1.0, np.nan])}
    path = checkpoint.save({"run": carried(), "history": history, "one": np.float64(2)}, {"steps": (4, 5)})
    tree, facts = Checkpoint(tmp_path, OWNER).restore({"run": carried(0.0), "one": np.float64(0)})
    assert checkpoint.stored == path
    assert jax.tree.structure(tree["run"]) == jax.tree.structure(carried())
    for a, b in zip(jax.tree.leaves(tree["run"]), jax.tree.leaves(carried()), strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == np.asarray(b).tobytes()
    assert np.array_equal(tree["history"]["loss"], history["loss"], equal_nan=True)
    assert (tree["one"], facts) == (2.0, {"steps": [4, 5]})


def test_the_last_state_replaces_those_before_and_equal_states_give_equal_bytes(tmp_path):
    checkpoint = Checkpoint(tmp_path, OWNER)
    first = checkpoint.save({"run": carried()}, {}).read_bytes()
    assert checkpoint.save({"run": carried(2.0)}, {}).read_bytes() != first
    tree, _ = checkpoint.restore({"run": carried()})
    assert tree["run"].weights["b"][0, 0] == 2.0
    assert checkpoint.save({"run": carried()}, {}).read_bytes() == first
    assert len(list(tmp_path.iterdir())) == 1


def test_without_a_folder_nothing_is_stored():
    checkpoint = Checkpoint(None, OWNER)
    assert checkpoint.save({"run": carried()}, {}) is None
    assert checkpoint.stored is checkpoint.restore({"run": carried()}) is None


def test_the_state_of_another_run_and_of_another_shape_is_refused_by_name(tmp_path):
    Checkpoint(tmp_path, OWNER).save({"run": carried()}, {})
    with pytest.raises(ValueError, match=r"another run.*seed"):
        Checkpoint(tmp_path, {**OWNER, "seed": 4}).restore({"run": carried()})
    wider = carried()._replace(weights={"a": jnp.arange(3), "b": jnp.zeros((2, 4))})
    for like, message in (({"run": wider}, r"state\.safetensors.*\(2, 4\)"), ({"walk": wider}, "no 'walk'")):
        with pytest.raises(DamagedFileError, match=message):
            Checkpoint(tmp_path, OWNER).restore(like)


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    leftover = tmp_path / ".state.safetensors.1.abcd.tmp"
    leftover.write_bytes(b"part")
    Checkpoint(tmp_path)
    assert not leftover.exists()
