"""Steps from predictions to the submission: ensemble, threshold, CSV for Kaggle."""
