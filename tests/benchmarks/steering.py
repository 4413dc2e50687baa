"""Edits the cell state of a trained network that counts, where the effect is known.

    KERAS_BACKEND=jax python tests/benchmarks/steering.py

Networks of six units learn a^n b^n with n up to 20. After the last `a`, an edit adds to
the cell state k times the amount that one `a` adds; the network must then expect n + k
`b`s. This must succeed in at least 38 of 40 cases, over 5 seeds and k = ±1, ±2, ±4, ±8.
For each seed, the cell that counts most, alone or in a group, must also be among the
first three clamps that `importance` finds. It takes half a minute on two cores with
JAX. The exit status is 1 if one of the two fails.
"""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_gates
from keras_gates import edits, tasks

SHIFTS = (1, -1, 2, -2, 4, -4, 8, -8)
SEEDS, LETTERS, LONGEST, WANTED = 5, 12, 40, 38
BOUNDARY, A, B = range(3)
ALL = "all units"


def trained(seed):
    """Returns a network that counts."""
    keras.utils.set_random_seed(seed)
    x, y = tasks.anbn(256, largest=20, seed=seed)
    model = keras.Sequential(
        [
            keras.Input((None, 3)),
            keras.layers.Masking(),
            keras.layers.LSTM(6, return_sequences=True, name="lstm"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.03), "categorical_crossentropy")
    model.fit(x, y, epochs=60, batch_size=16, verbose=0)
    model.optimizer.learning_rate.assign(0.006)
    model.fit(x, y, epochs=40, batch_size=16, verbose=0)
    return model


def expected_letters(model, word):
    """Returns the number of b's after which the network expects the end of the word."""
    symbols = model.predict(word, verbose=0)[0, LETTERS + 1 :].argmax(-1)
    ends = np.flatnonzero(symbols == BOUNDARY)
    return int(ends[0]) + 1 if len(ends) else None


def main():
    codes = [BOUNDARY, *[A] * LETTERS, *[B] * LONGEST]
    word = np.eye(3, dtype="float32")[codes][None]
    right = late = 0
    for seed in range(SEEDS):
        model = trained(seed)
        cell = keras_gates.capture(model, word)["lstm/cell"].values[0]
        # The first two letters are left out: the count begins there.
        increment = (cell[LETTERS] - cell[2]) / (LETTERS - 2)
        found = []
        for shift in SHIFTS:
            steered = {"lstm/cell": edits.add(shift * increment, time=LETTERS)}
            with keras_gates.edit(model, steered):
                found.append(expected_letters(model, word))
        wanted = [LETTERS + shift for shift in SHIFTS]
        right += sum(n == m for n, m in zip(found, wanted, strict=True))
        unseen = tasks.anbn(128, largest=20, seed=seed + 100)
        table = keras_gates.importance(model, *unseen, signals=["cell"])
        counter = int(np.abs(increment).argmax())
        found_in = [counter in units for units in table["units"][table["group"] != ALL]]
        place = found_in.index(True) + 1
        late += place > 3
        print(f"seed {seed}: the counter is in clamp {place} of {len(found_in)}")
        print(f"seed {seed}: expected {wanted}, found {found}", flush=True)
    print(f"{right} of {SEEDS * len(SHIFTS)} cases are right; {WANTED} are required")
    sys.exit(right < WANTED or late > 0)


if __name__ == "__main__":
    main()
