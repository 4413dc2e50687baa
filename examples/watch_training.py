"""Watch a gate while a model trains, and stop when it has stopped moving.

The model is a stock one: nothing in it knows of keras_gates. The recorder adds figures
of every gate, as they were in training, to the logs, where any callback that comes
after it can see them.

    python examples/watch_training.py evolution.png
"""

import sys

import keras

import keras_gates
from keras_gates import plots, tasks


def main(path="evolution.png", epochs=100):
    keras.utils.set_random_seed(0)
    x, y = tasks.digits_by_row()
    model = keras.Sequential(
        [
            keras.Input((8, 8)),
            keras.layers.GRU(32, name="gru"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    recorder = keras_gates.GateRecorder(probe=x[-64:], logs="all")
    stop = keras.callbacks.EarlyStopping(
        "gru/saturation", mode="max", min_delta=0.005, patience=3
    )
    history = model.fit(
        x[:1400], y[:1400], epochs=epochs, verbose=0, callbacks=[recorder, stop]
    ).history
    for name in ("accuracy", "gru/update/mean", "gru/saturation"):
        print(
            f"{name}: {history[name][0]:.3f} after one epoch, "
            f"{history[name][-1]:.3f} after {len(history[name])}"
        )
    axes = plots.evolution(recorder.traces["gru/update"])
    axes.figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main(*sys.argv[1:])
