"""From a seismic dataset to a Kaggle submission: dataset, folds, train, predict, ensemble, threshold, submission."""

__version__ = "0.1.0"
