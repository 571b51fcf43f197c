"""Settings of an experiment: `keys` defines them, `load` reads and checks them."""

from tgs_salt.settings.keys import (
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
from tgs_salt.settings.load import json_schema, load, load_files, section, validate
from tgs_salt.settings.loss import parse_loss

__all__ = [
    "Augment", "Ensemble", "Folds", "Model", "Predict", "Runtime", "Settings", "Survey", "Threshold",
    "json_schema", "load", "load_files", "parse_loss", "section", "validate",
]  # fmt: skip
