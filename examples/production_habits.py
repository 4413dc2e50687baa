"""A forecast with the habits that keep a model honest, from the data to the file.

- Split in time order, before anything is fitted.
- Standardise with the mean and the spread of the training part alone.
- Stop early, and take the best weights back; lower the learning rate on a plateau.
- Judge by a test part that decided nothing, against a forecast that needs no model.
- Save in the .keras format, load the file, and check that it is the same model.

The gates are recorded on the way, and tell whether the network used its memory.

    python examples/production_habits.py forecast.keras
"""

import sys

import keras
import numpy as np
from sklearn.preprocessing import StandardScaler

import keras_gates
from keras_gates import tasks

WINDOW = 50


def windows(series, scaler):
    """Cuts one part of the series into standardised windows, each with its target."""
    return tasks.sliding_windows(scaler.transform(series[:, None]), WINDOW)


def main(path="forecast.keras", epochs=60):
    keras.utils.set_random_seed(0)
    # Say, degrees: noise of half a degree on two waves around 20.
    series = 20 + 5 * tasks.sine_waves(5000)
    train, validation, test = np.split(series, [3000, 4000])
    scaler = StandardScaler().fit(train[:, None])
    x, y = windows(train, scaler)
    x_test, y_test = windows(test, scaler)

    model = keras.Sequential(
        [
            keras.Input((WINDOW, 1)),
            keras.layers.GRU(32, name="gru"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    recorder = keras_gates.GateRecorder(probe=x_test[::100])
    history = model.fit(
        x,
        y,
        epochs=epochs,
        batch_size=64,
        validation_data=windows(validation, scaler),
        callbacks=[
            keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=2),
            keras.callbacks.EarlyStopping(patience=6, restore_best_weights=True),
            recorder,
        ],
        verbose=0,
    ).history
    losses = history["val_loss"]
    print(f"epochs: {len(losses)}, the best one {1 + int(np.argmin(losses))}")
    print(f"learning rate: {history['learning_rate'][-1]:.2g} in the end")

    model.save(path)
    loaded = keras.saving.load_model(path)
    predicted = loaded.predict(x_test, verbose=0)
    same = np.array_equal(predicted, model.predict(x_test, verbose=0))
    print(f"the loaded file predicts the same: {same}")

    def error(forecast):
        """Root mean squared error, in degrees."""
        difference = scaler.inverse_transform(forecast) - scaler.inverse_transform(
            y_test
        )
        return np.sqrt(np.mean(difference**2))

    print(f"error of the model: {error(predicted):.2f} degrees")
    print(f"error of repeating the last point: {error(x_test[:, -1]):.2f} degrees")
    memory = keras_gates.stats.timescale(recorder.traces["gru"])
    first, last = memory.median("unit")["update"].values[[0, -1]]
    print(f"median time scale of the memory: {first:.1f} steps, then {last:.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
