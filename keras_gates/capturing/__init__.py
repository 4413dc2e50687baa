"""Runs a model on inputs and returns a tree of its signals.

Here, masked steps become NaN, time gets the order of the input, and the values of a
tree are verified by the equations. May import `stores` and the folders before it.
"""
