"""What is taught about LSTM and GRU, held against measurements.

Each sentence is one entry of the catalogue, with the study that measures it. May import
`study` and the folders before it.
"""
