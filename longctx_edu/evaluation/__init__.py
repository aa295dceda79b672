"""Measuring: the registry of figures, recorded results, and the machine they were taken on.

A module ``bench_NAME`` in this folder is what ``longctx bench NAME`` runs.
Nothing here imports torch before a measurement needs it.
"""
