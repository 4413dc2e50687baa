"""A model over several devices gives the gates of the same model on one."""

import os
import pathlib
import subprocess
import sys

import keras

SCRIPT = pathlib.Path(__file__).parents[1] / "several_devices.py"


def test_a_model_over_several_devices_gives_the_same_gates():
    environment = {**os.environ, "KERAS_BACKEND": keras.backend.backend()}
    subprocess.run([sys.executable, SCRIPT], check=True, env=environment)
