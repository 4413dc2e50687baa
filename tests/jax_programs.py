"""Settings for how JAX compiles for the tests, and where it keeps compiled programs.

The name of a kept program depends on the program, the compiler and its options, so a
changed program, or another version of JAX, is compiled again. A kept program gives the
same results, to the bit. The folder may be removed at any time.
"""

import pathlib

SETTINGS = {
    "JAX_COMPILATION_CACHE_DIR": str(
        pathlib.Path(__file__).parents[1] / ".jax_programs"
    ),
    # There are many programs that compile quickly; they are kept, too.
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    # Compiling takes most of the time. CI uses 0, as in the programs of users, for the
    # tests of layers and models that compare with Keras to the bit.
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
}
"""Variables of the environment, to be set before JAX is imported."""
