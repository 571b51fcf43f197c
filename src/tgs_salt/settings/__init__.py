"""Settings of an experiment: `keys` and `model` define them, `load` reads and checks them."""

from tgs_salt.settings.keys import (
    Ensemble,
    Folds,
    Predict,
    Runtime,
    Settings,
    Survey,
    Threshold,
)
from tgs_salt.settings.kinds import LARGEST_TILE
from tgs_salt.settings.load import json_schema, load, load_files, read_yaml, section, validate
from tgs_salt.settings.loss import parse_loss
from tgs_salt.settings.model import Augment, Model

__all__ = [
    "LARGEST_TILE",
    "Augment", "Ensemble", "Folds", "Model", "Predict", "Runtime", "Settings", "Survey", "Threshold",
    "json_schema", "load", "load_files", "parse_loss", "read_yaml", "section", "validate",
]  # fmt: skip
