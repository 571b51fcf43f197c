"""A pipeline for the TGS salt challenge: dataset, folds, train, predict, ensemble, threshold, submission."""

__version__ = "0.1.0"
