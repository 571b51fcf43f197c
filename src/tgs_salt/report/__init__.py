"""Report page, tile plots, status and comparison of experiments."""
