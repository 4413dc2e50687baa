"""The command line `keras-gates`: a file for each command.

The words of each command, the files it reads and writes, and how an error ends in a
sentence and an exit status. May import every other folder.
"""
