"""What is recorded while a model trains, and the callback that does it.

Statistics inside the training step, traces of a probe, alarms, and event files for
TensorBoard. The data go to memory or to a store. May import `plots` and the folders
before it.
"""
