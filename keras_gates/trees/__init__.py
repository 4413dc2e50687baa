"""Captured signals as labelled data: trees of xarray datasets.

Labels, the walk over the layers of a tree, the choice of one layer or sample, and how a
signal is drawn. From here on, the data have names. May import `models` and the folders
before it.
"""
