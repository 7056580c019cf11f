"""Tests of compilation at a low level against JAX's own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefront.system import compilation
from prefront.system.compilation import jit

POINTS = jnp.linspace(-1.0, 1.0, 12).reshape(4, 3)


@partial(jit, static_argnames="power")
def _norm(point: jax.Array, power: int = 2) -> jax.Array:
    return (jnp.abs(point) ** power).sum()


@pytest.mark.parametrize("transformed", [jax.vmap(_norm), jax.jit(jax.vmap(_norm)), lambda x: jax.lax.map(_norm, x)])
def test_a_compiled_function_can_be_part_of_another_program(transformed) -> None:
    np.testing.assert_allclose(transformed(POINTS), (np.asarray(POINTS) ** 2).sum(1), rtol=1e-6)


def test_a_compiled_function_can_be_differentiated_and_keeps_its_static_arguments() -> None:
    np.testing.assert_allclose(jax.grad(_norm)(POINTS[0]), 2 * POINTS[0], rtol=1e-6)
    np.testing.assert_allclose(_norm(POINTS[0], power=3), (np.abs(POINTS[0]) ** 3).sum(), rtol=1e-6)


def test_the_low_level_reaches_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    compile_with_jax = jax.jit

    def record(function, **options):
        asked.append(options["compiler_options"])
        return compile_with_jax(function, **options)

    monkeypatch.setattr(jax, "jit", record)
    doubled = jit(lambda x: 2 * x, level=0)
    assert doubled(3.0) == 6.0
    np.testing.assert_array_equal(jax.vmap(doubled)(jnp.arange(3.0)), [0.0, 2.0, 4.0])
    low = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    assert asked == [low, None]


def test_fused_loops_may_be_emitted_in_either_way_where_the_compiler_leaves_the_choice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def waves(x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ x.T).sum(0)

    expected = np.tanh(np.asarray(POINTS) @ np.asarray(POINTS).T).sum(0)
    np.testing.assert_allclose(jit(waves, fusion_emitters=False)(POINTS), expected, rtol=1e-5)
    # As for a compiler that has no such switch.
    monkeypatch.setattr(compilation, "FUSION_EMITTERS", "xla_cpu_no_such_option")
    np.testing.assert_allclose(jit(waves, fusion_emitters=False)(POINTS), expected, rtol=1e-5)
