"""The records of gates during training, and the callback that makes them.

It records statistics inside the training step, traces of a probe, alarms, and event
files for TensorBoard. The data go to memory or to a store. May import `plots` and the
folders before it.
"""
