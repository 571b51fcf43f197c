"""Numba kernels for stacks of tiles: run-length encoding, the competition's score and threshold search."""
