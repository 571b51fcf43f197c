"""From a seismic survey to a Kaggle submission: survey, folds, train, predict, ensemble, threshold, submission."""

__version__ = "0.1.0"
