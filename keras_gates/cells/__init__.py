"""What one step of a cell computes: its signals, equations and states.

A kind of cell is one file here, and the rest of the package asks that file. May import
`vocabulary` and `checks`.
"""
