"""The paired comparison of architectures.

Builds and trains the models of a study, keeps the finished runs, and gathers the
results. Intervals are over seeds, and differences within pairs. May import `page` and
the folders before it.
"""
