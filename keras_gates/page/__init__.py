"""What `report` is made of: what is on the page, in Python, and what it does there.

Python computes every statistic, chooses what fits on the page and packs it. The scripts
beside it only choose, sort, compare with a threshold and draw. May import `recording`
and the folders before it.
"""
