"""Evaluation of an experiment from its result files."""
