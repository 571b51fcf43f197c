"""Settings of an experiment: `keys` defines them, `load` reads and checks them."""

from tgs_salt.settings.keys import (
    LARGEST_TILE,
    Augment,
    Ensemble,
    Folds,
    Model,
    Predict,
    Runtime,
    Settings,
    Survey,
    Threshold,
)
from tgs_salt.settings.load import json_schema, load, load_files, read_yaml, section, validate
from tgs_salt.settings.loss import parse_loss

__all__ = [
    "LARGEST_TILE",
    "Augment", "Ensemble", "Folds", "Model", "Predict", "Runtime", "Settings", "Survey", "Threshold",
    "json_schema", "load", "load_files", "parse_loss", "read_yaml", "section", "validate",
]  # fmt: skip
