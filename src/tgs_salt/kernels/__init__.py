"""Numba kernels over stacks of tiles: run-length text, the competition's score, threshold search."""
