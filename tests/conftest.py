"""Settings that every test needs, made before jax is imported."""

from prefront.runtime import use_compilation_cache, use_one_thread

use_one_thread()
use_compilation_cache()
