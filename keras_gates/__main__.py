"""Runs the command line: `python -m keras_gates`."""

import sys

from keras_gates.cli import main

sys.exit(main())
