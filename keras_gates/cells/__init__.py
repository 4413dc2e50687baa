"""The computation of one step of a cell: its signals, equations and states.

Each kind of cell is described in one file of `kinds`, and the rest of the package uses
that description. May import `vocabulary` and `checks`.
"""
