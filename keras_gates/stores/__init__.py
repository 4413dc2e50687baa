"""Labelled data on disk, in Zarr stores that survive being killed.

Where a store may be, what in a folder belongs to it, and how it is written so that a
reader never sees half a step. Captures and recorders write through it. May import
`trees` and the folders before it.
"""
