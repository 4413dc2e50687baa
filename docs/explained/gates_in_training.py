"""
Gates in training
=================

:doc:`The first part </understand/gates_explained>` sets the weights of single units
manually. In this part, gates are learned: by two networks that forecast a series, and
by one that reads handwritten digits.
"""

# %%
# Two networks that forecast a series
# -----------------------------------
#
# The series is a noisy sum of two sine waves, and two networks are to forecast its next
# point. Before any training, both read a stretch of it.

# sphinx_gallery_start_ignore
import pathlib

# sphinx_gallery_end_ignore
import keras
import numpy as np

import keras_gates
from keras_gates import plots, stats, tasks

UNITS = 16
series = tasks.sine_waves(3000)
windows, targets = tasks.sliding_windows(series, sequence_length=50)
(windows, targets), _ = tasks.chronological_split(windows, targets, gap=51)
stretch = series[None, 2500:2900, None]


def forecaster(layer):
    model = keras.Sequential([keras.Input((None, 1)), layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.005), "mse")
    return model


keras.utils.set_random_seed(0)
lstm_model = forecaster(keras.layers.LSTM(UNITS, name="lstm"))
gru_model = forecaster(keras.layers.GRU(UNITS, name="gru"))

untrained_lstm = keras_gates.capture(lstm_model, stretch)["lstm"]
untrained_gru = keras_gates.capture(gru_model, stretch)["gru"]
before = plots.compare_layers(untrained_lstm, untrained_gru)
# sphinx_gallery_start_ignore
before.set_label(
    "Before training: the signals of an LSTM (left) and a GRU (right) over the same "
    "400 points. Signals with the same role are side by side."
)
# sphinx_gallery_end_ignore

# %%
# The update gate is next to the forget gate: both are the fraction of the old state
# that is kept. 1 - update is next to the input gate: the fraction of the candidate that
# is written. The output gate, the reset gate and the cell state have no counterpart.
#
# Before training, the gates stay close to their initial value, 0.73 for the forget gate
# and 0.5 for the others, and all units are alike. Nevertheless, candidate and states
# follow the slow wave: even a random network echoes its input.

for model in (lstm_model, gru_model):
    history = model.fit(windows, targets, epochs=8, batch_size=64, verbose=0).history
    print(model.layers[0].name, "error:", round(history["loss"][-1], 4))

lstm = keras_gates.capture(lstm_model, stretch)["lstm"]
gru = keras_gates.capture(gru_model, stretch)["gru"]
after = plots.compare_layers(lstm, gru)
# sphinx_gallery_start_ignore
after.set_label("The same after training.")
# sphinx_gallery_end_ignore

# %%
# After training (the noise alone has an error of 0.01) the GRU's units differ from each
# other: some update gates keep nearly everything, some little, and some follow the
# wave. The LSTM's forget gates stay near their initial value: the LSTM can do this task
# without moving them. Their mean absolute change:

for name, trained, untrained in (
    ("forget", lstm, untrained_lstm),
    ("update", gru, untrained_gru),
):
    moved = abs(trained[name] - untrained[name]).mean()
    print(f"{name}: {float(moved):.3f}")

# %%
# Compare an LSTM with a GRU
# --------------------------
#
# Do the two networks keep the same fraction of their states? ``match_units`` compares
# the distributions: at a distance of 0, the two gates take the same values equally
# often.

between = stats.match_units(lstm, gru)
print(between["distance"].to_series().round(3).to_string())

# %%
# An LSTM controls separately what it keeps and what it writes. In a GRU the two always
# add up to 1. How close does the LSTM come to that rule? At a correlation of 1 between
# ``input`` and 1 - ``forget``, a unit writes exactly when it erases.

correlation = stats.gate_correlation(lstm)["gate_correlation"]
print("smallest, median, largest:", np.quantile(correlation, [0, 0.5, 1]).round(2))

# %%
# Some units come close, and some do the opposite. The correlations are far from 0
# because all gates follow the one slow wave.
#
# Record gates during training
# ----------------------------
#
# If a task requires decisions, the gates move. The next LSTM learns to classify
# handwritten digits, which it reads row by row, while a recorder observes it without
# changing the model.

images, digits = tasks.digits_by_row()
reader = keras.Sequential(
    [
        keras.Input((8, 8)),
        keras.layers.LSTM(32, name="lstm"),
        keras.layers.Dense(10, activation="softmax"),
    ],
    name="reader",
)
reader.compile(
    keras.optimizers.Adam(0.01),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
recorder = keras_gates.GateRecorder(probe=images[-64:], samples_per_batch="all")
history = reader.fit(
    images[:1500],
    digits[:1500],
    validation_data=(images[1500:], digits[1500:]),
    epochs=15,
    verbose=0,
    callbacks=[recorder],
).history
print(f"accuracy on new images: {100 * history['val_accuracy'][-1]:.0f} %")

evolved = plots.evolution(recorder.traces["lstm/forget"])
# sphinx_gallery_start_ignore
evolved.figure.set_label(
    "The forget gate on the same 64 images, before training and after each epoch. The "
    "line is the median; the bands contain the middle half and nine tenths of the "
    "values."
)
# sphinx_gallery_end_ignore

# %%
# The bands widen, as gates begin to differ from time step to time step and from unit to
# unit.
#
# The next figure shows the distribution itself, in the training batches:

ridges = plots.ridges(recorder.statistics["lstm"], gate="forget")
# sphinx_gallery_start_ignore
ridges.figure.set_label("Histograms of the forget gate in training, epoch by epoch.")
# sphinx_gallery_end_ignore

# %%
# Saturation
# ----------
#
# Karpathy, Johnson and Li (2015) ask how often a gate is *saturated*: closed, below
# 0.1, or open, above 0.9.

gates = keras_gates.capture(reader, images[1500:])
switches = plots.saturation(gates["lstm"])
# sphinx_gallery_start_ignore
switches.figure.set_label(
    "One dot for each unit: to the right if the gate is often closed, upwards if it is "
    "often open."
)
# sphinx_gallery_end_ignore

# %%
# A unit in the upper left corner of the forget gate carries its state along nearly
# unchanged. A unit on the diagonal line is always at one of the two ends, like a
# switch. A unit at the origin always blends.
#
# The fraction over all time steps and units:

shares = stats.saturation(gates["lstm"].to_dataset()).mean("unit")
print(shares.to_dataframe().round(2).to_string())

# %%
# It is not a fault if gates are far from both ends. A gate in the middle keeps a part
# of the state, which was sufficient for the slow wave above.
#
# Explore the gates
# -----------------
#
# ``report`` writes a page with all of this for each layer, in which you can hover, zoom
# and select:

keras_gates.report(gates, "report.html", inputs=images[1500:])
# sphinx_gallery_start_ignore
static = pathlib.Path("../static")  # It is there if the documentation is built.
if static.is_dir():
    pathlib.Path("report.html").replace(static / "report.html")
# sphinx_gallery_end_ignore

# %%
# .. raw:: html
#
#    <iframe src="../_static/report.html" title="An interactive report of the gates"
#      loading="lazy" style="width: 100%; height: 800px; border: 1px solid #ccc">
#    </iframe>
#
# Next steps
# ----------
#
# - What gates do, by experiment: :doc:`/understand/what_gates_do`.
# - Record your own training: :doc:`/howto/training`.
# - The meaning of a finding: :doc:`/howto/diagnosis`.
# - The definition of each measure: :doc:`/measures`.
#
# References
# ----------
#
# - Karpathy, Johnson and Li (2015), Visualizing and understanding recurrent networks,
#   arXiv:1506.02078.
