"""How JAX compiles for the tests, and where it keeps that for others and later runs.

A program is found under a name that is made of the program itself, the compiler and its
options, so another program, or another JAX, is compiled. What was kept is the compiled
program, and computes the same to the bit. The folder may be removed at any time.
"""

import pathlib

SETTINGS = {
    "JAX_COMPILATION_CACHE_DIR": str(
        pathlib.Path(__file__).parents[1] / ".jax_programs"
    ),
    # Also programs that are compiled quickly: there are many.
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    # Compiling costs the most. CI runs the tests that compare with Keras to the bit, of
    # layers and models, with 0: as a user's programs are compiled.
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
}
"""Variables of the environment, to be set before JAX is imported."""
