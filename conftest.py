"""What holds for tests and for the examples in docstrings."""

import pytest


@pytest.fixture(autouse=True)
def _registered_cells_are_forgotten():
    from keras_gates.cells import registry

    before = dict(registry.KINDS)
    yield
    registry.KINDS.clear()
    registry.KINDS.update(before)
