"""The gate layers: Keras's layers, which also emit their signals.

A layer computes with Keras's own code. Its gates follow from its outputs, and go to
the active collectors. May import `cells`, `backend` and whatever those may import.
"""
