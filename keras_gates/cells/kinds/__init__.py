"""The kinds of cells, one in each file of this folder.

A file defines one `Kind`, and is found without being listed anywhere. It may import
`cells.kind`, `cells.shared_equations` and `vocabulary`.
"""
