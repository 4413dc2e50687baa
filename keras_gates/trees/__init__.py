"""Captured signals as labelled data: trees of xarray datasets.

This folder contains labels, the walk over the layers of a tree, the choice of one layer
or sample, and the appearance of signals. From here on, the data have names. May import
`models` and the folders before it.
"""
