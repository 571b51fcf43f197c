"""Benchmarks of this project and its peers, reported as ratios; `simple_rules` measures how hard a dataset is."""
