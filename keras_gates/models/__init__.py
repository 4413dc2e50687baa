"""A user's model: its recurrent layers, and what it takes as input.

It finds the layers, turns them into gate layers and back, and puts inputs in batches.
Nothing here reads a value of a gate. May import `layers` and the folders before it.
"""
