"""The kinds of cells: each file of this folder is one.

A file defines one `Kind`, and is found without being named anywhere else. It may import
`cells.kind`, `cells.shared_equations` and `vocabulary`.
"""
