"""Common claims about LSTM and GRU, compared with measurements.

Each claim is an entry of the catalogue, with the function that measures it. May import
`study` and the folders before it.
"""
