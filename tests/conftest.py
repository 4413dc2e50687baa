import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis
import keras
import numpy as np
import pytest

# The first example of a property compiles; time says nothing about correctness here.
hypothesis.settings.register_profile("keras_gates", deadline=None, max_examples=40)
hypothesis.settings.load_profile("keras_gates")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def seeded():
    """Every test draws the same weights, in whatever order the tests run."""
    keras.utils.set_random_seed(0)
