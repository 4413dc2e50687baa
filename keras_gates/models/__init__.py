"""A user's model: its recurrent layers, and its inputs.

This folder finds the layers, converts them to gate layers and back, and puts inputs
in batches. No code here reads a value of a gate. May import `layers` and the folders
before it.
"""
