"""Labelled data on disk, in Zarr stores that stay valid if the writer is killed.

This folder defines where a store may be, which files in a folder belong to it, and how
it is written so that a reader never sees an incomplete step. Captures and recorders
write through it. May import `trees` and the folders before it.
"""
