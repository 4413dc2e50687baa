"""The page of `report`: its content, in Python, and its behaviour, in scripts.

Python computes every statistic, chooses the values that fit on the page and packs them.
The scripts only choose, sort, compare with a threshold and draw. May import `recording`
and the folders before it.
"""
