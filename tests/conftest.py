"""Settings that every test needs, made before jax is imported."""

from hypothesis import settings

from prefront.system.runtime import use_compilation_cache, use_one_thread

use_one_thread()
use_compilation_cache()

# Equal code gives equal verdicts; new examples are sought with --hypothesis-profile=explore.
settings.register_profile("reproducible", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=500)
settings.load_profile("reproducible")
