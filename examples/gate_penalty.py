"""A penalty on a gate: an LSTM that is asked to forget as little as it can.

`return_gates=True` hands out the gates as tensors, so they can stand in a loss. Here
the loss adds the mean of 1 - forget; without the penalty the forget gate stays where
it began.

    python examples/gate_penalty.py
"""

import keras
from keras import ops

import keras_gates
from keras_gates import tasks


class Patient(keras.Model):
    """Forecasts the next point, and pays for every bit of memory it erases."""

    def __init__(self, price):
        super().__init__()
        self.price = price
        self.recurrent = keras_gates.GateLSTM(16, return_gates=True, name="lstm")
        self.head = keras.layers.Dense(1)

    def call(self, x):
        output, gates = self.recurrent(x)
        self.add_loss(self.price * ops.mean(1.0 - gates["forget"]))
        return self.head(output)


def main(epochs=5):
    x, y = tasks.sliding_windows(tasks.sine_waves(2000), length=30)
    (x, y), (x_test, y_test) = tasks.time_split(x, y, gap=31)
    for price in (0.0, 1.0):
        keras.utils.set_random_seed(0)
        model = Patient(price)
        model.compile(keras.optimizers.Adam(0.01), "mse")
        model.fit(x, y, epochs=epochs, batch_size=32, verbose=0)
        gates = keras_gates.capture(model, x_test)
        error = float(ops.mean((model.predict(x_test, verbose=0) - y_test) ** 2))
        print(
            f"price {price:g}: mean forget {float(gates['lstm/forget'].mean()):.3f}, "
            f"median time scale "
            f"{float(keras_gates.stats.timescale(gates)['lstm/forget'].median()):.1f} "
            f"steps, test error {error:.4f}"
        )


if __name__ == "__main__":
    main()
