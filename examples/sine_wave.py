"""An LSTM and a GRU on a noisy sine wave, and what their gates do on it.

Both learn to forecast the next point from the 50 before it. Then each reads a long
stretch of the series in one go, and its gates are drawn, one beside the other.

    python examples/sine_wave.py pair.png
"""

import sys

import keras

import keras_gates
from keras_gates import plots, tasks


def build(recurrent):
    model = keras.Sequential([keras.Input((None, 1)), recurrent, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.005), "mse")
    return model


def main(path="pair.png"):
    keras.utils.set_random_seed(0)
    series = tasks.sine_waves(5000)
    x, y = tasks.sliding_windows(series, length=50)
    (x, y), _ = tasks.time_split(x, y, gap=51)

    nodes = []
    for name, layer in (("lstm", keras.layers.LSTM), ("gru", keras.layers.GRU)):
        model = build(layer(16, name=name))
        model.fit(x, y, epochs=20, batch_size=64, verbose=2)
        stretch = series[None, 4000:4600, None]
        gates = keras_gates.capture(model, stretch)
        print(keras_gates.verify(gates))
        print(keras_gates.stats.summary(gates).round(3))
        nodes.append(gates[name])
    plots.pair(*nodes).savefig(path, dpi=150)


if __name__ == "__main__":
    main(*sys.argv[1:])
