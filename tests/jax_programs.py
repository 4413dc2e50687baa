"""Keeps what JAX has compiled for the tests on disk, for other tests and later runs.

A program is found under a name that is made of the program itself, the compiler and its
options, so another program, or another JAX, is compiled. What was kept is the compiled
program, and computes the same to the bit. The folder `.jax_programs` may be removed at
any time.
"""

import os
import pathlib


def keep():
    """Sets it for this process and those that it starts, before JAX is imported."""
    folder = pathlib.Path(__file__).parents[1] / ".jax_programs"
    for name, value in {
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        # Also of the programs that are compiled at once: there are many.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }.items():
        os.environ.setdefault(name, value)
