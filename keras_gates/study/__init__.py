"""The paired comparison of architectures.

What is trained, by whom, where it is kept, and what came out. Intervals are over seeds,
and differences within pairs. May import `page` and the folders before it.
"""
