import gc
import os

import jax_programs

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.update(jax_programs.SETTINGS | os.environ)

import hypothesis
import keras
import numpy as np
import pytest

# The first example of a property compiles, so there is no deadline.
hypothesis.settings.register_profile("keras_gates", deadline=None, max_examples=40)
hypothesis.settings.load_profile("keras_gates")


def pytest_collection_finish():
    """Excludes imported objects from garbage collection, to save 10 % of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 10)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def seeded():
    """Gives every test the same weights, in any order of the tests."""
    keras.utils.set_random_seed(0)


@pytest.fixture
def no_global_state():
    """Checks that a test leaves no figure in pyplot and changes no setting."""
    import matplotlib
    from matplotlib import pyplot

    settings = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == settings
    assert pyplot.get_fignums() == []


@pytest.fixture
def double_precision():
    """Lets layers compute in float64, which JAX must be configured for."""
    floatx = keras.config.floatx()
    jax = pytest.importorskip("jax") if keras.backend.backend() == "jax" else None
    keras.config.set_floatx("float64")
    if jax:
        jax.config.update("jax_enable_x64", True)
    yield
    if jax:
        jax.config.update("jax_enable_x64", False)
    keras.config.set_floatx(floatx)
