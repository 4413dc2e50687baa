"""The command line `keras-gates`: a file for each command.

Defines the arguments and the help of each command, the files it reads and writes, and
how an error becomes a sentence and an exit status. May import every other folder.
"""
