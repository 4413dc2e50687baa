"""A model and its inputs become a tree of signals.

Masked steps become NaN here, time gets the order of the input, and the numbers of a
tree are proved by the equations. May import `stores` and the folders before it.
"""
