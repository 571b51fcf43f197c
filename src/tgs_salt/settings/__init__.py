"""Settings of an experiment: `schema` and `model` define the keys, `load` reads and validates them."""

from tgs_salt.settings.load import json_schema, load, load_files, parse_section, read_yaml, validate
from tgs_salt.settings.loss import parse_loss
from tgs_salt.settings.model import Augment, Model
from tgs_salt.settings.schema import (
    Data,
    Ensemble,
    Folds,
    Predict,
    Runtime,
    Settings,
    Threshold,
)
from tgs_salt.settings.types import MAX_TILE_SIZE

__all__ = [
    "MAX_TILE_SIZE",
    "Augment",
    "Data",
    "Ensemble",
    "Folds",
    "Model",
    "Predict",
    "Runtime",
    "Settings",
    "Threshold",
    "json_schema",
    "load",
    "load_files",
    "parse_loss",
    "parse_section",
    "read_yaml",
    "validate",
]  # fmt: skip
