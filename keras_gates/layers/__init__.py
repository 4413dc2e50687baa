"""The gate layers: those of Keras, which also hand out their signals.

A layer computes with Keras's own code; its gates follow from what it put out, and go to
whoever collects. May import `cells`, `backend` and what those may.
"""
