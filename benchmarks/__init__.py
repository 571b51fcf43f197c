"""Ours and the peers side by side, as ratios; simple_rules says how hard a synthetic dataset is."""
