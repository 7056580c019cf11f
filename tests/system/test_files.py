"""Atomic writes, checksums and safetensors pytrees."""

import hashlib
import os
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from prefront.system import files

names = st.text(st.characters(blacklist_characters="/", blacklist_categories=["Cs"]), min_size=1, max_size=5)
dtypes = st.sampled_from([np.float64, np.float32, np.int32, np.int64, np.uint8, np.bool_])
arrays = dtypes.flatmap(lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_side=3)))
trees = st.recursive(
    st.dictionaries(names, arrays, min_size=1, max_size=3),
    lambda inner: st.dictionaries(names, inner, min_size=1, max_size=3),
    max_leaves=6,
)


def equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@settings(max_examples=40)
@given(tree=trees)
def test_arrays_come_back_bit_identical_and_equal_content_has_equal_bytes(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("arrays")
    metadata = {"b": [1, 2.5, None], "a": {"x": "ü"}}
    first = files.save_arrays(folder / "a.safetensors", tree, metadata)
    second = files.save_arrays(folder / "b.safetensors", tree, dict(reversed(metadata.items())))
    assert first == second == files.sha256(folder / "a.safetensors")
    loaded, facts = files.load_arrays(folder / "a.safetensors", first)
    assert equal(tree, loaded)
    assert facts == metadata


def test_jax_arrays_and_strided_arrays_are_stored(tmp_path):
    strided = np.arange(12.0).reshape(3, 4).T[::2]
    files.save_arrays(tmp_path / "x", {"a": jnp.arange(3), "b": {"c": strided, "d": 2.5}})
    loaded, _ = files.load_arrays(tmp_path / "x")
    assert np.array_equal(loaded["a"], [0, 1, 2])
    assert np.array_equal(loaded["b"]["c"], strided)
    assert loaded["b"]["d"].shape == ()


@pytest.mark.parametrize("tree", [{}, {"a": {}}, {"a/b": np.ones(1)}, {"": np.ones(1)}, {1: np.ones(1)}])
def test_trees_that_would_not_come_back_are_refused(tree, tmp_path):
    with pytest.raises(ValueError, match="empty"):
        files.save_arrays(tmp_path / "x", tree)
    assert not list(tmp_path.iterdir())


def test_damage_is_refused_with_both_checksums(tmp_path):
    path = tmp_path / "x.safetensors"
    checksum = files.save_arrays(path, {"a": np.arange(5.0)})
    content = path.read_bytes()
    for damaged in (content[:-1], content[:4], b"", content[:-1] + bytes([content[-1] ^ 1])):
        path.write_bytes(damaged)
        actual = hashlib.sha256(damaged).hexdigest()
        with pytest.raises(files.DamagedFileError, match=rf"x\.safetensors.*{checksum}.*{actual}"):
            files.load_arrays(path, checksum)
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        with pytest.raises(files.DamagedFileError, match=r"x\.safetensors is (truncated|damaged: expected SHA-256)"):
            files.load_arrays(path)
        path.write_bytes(content[:cut] + bytes([content[cut] ^ 1]) + content[cut + 1 :])
        with pytest.raises(files.DamagedFileError, match=r"x\.safetensors"):
            files.load_arrays(path)
    path.unlink()
    with pytest.raises(files.DamagedFileError, match=r"x\.safetensors is missing"):
        files.load_arrays(path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "note.txt"
    assert files.write_atomically(path, "old") == hashlib.sha256(b"old").hexdigest()

    def full(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        files.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_never_leaves_a_part(tmp_path):
    path = tmp_path / "big"
    contents = (b"a" * 3_000_000, b"b" * 3_000_000)
    files.write_atomically(path, contents[0])
    program = (
        "import sys; from prefront.system.files import write_atomically\n"
        "while True:\n"
        "    for letter in (b'a', b'b'): write_atomically(sys.argv[1], letter * 3_000_000)"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(path)])
    deadline = time.monotonic() + 20
    while path.read_bytes() == contents[0] and time.monotonic() < deadline:
        time.sleep(0.01)
    for _ in range(20):
        assert path.read_bytes() in contents
    writer.kill()
    writer.wait()
    assert path.read_bytes() in contents


def test_equal_content_packs_to_equal_bytes_whatever_the_order_of_keys():
    a = files.pack_arrays({"x": np.ones(2), "y": {"z": np.zeros(3)}})
    assert a == files.pack_arrays({"y": {"z": np.zeros(3)}, "x": np.ones(2)})
