"""Runs the command line: `python -m keras_gates`."""

import sys

from keras_gates.cli.main import main

if __name__ == "__main__":  # And not where a new process imports it.
    sys.exit(main())
