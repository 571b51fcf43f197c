"""Read the files of a finished or running experiment. Files that do not exist yet are read as None."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tgs_salt import files
from tgs_salt.data.folds import COLUMNS as FOLD_COLUMNS
from tgs_salt.data.folds import read_folds
from tgs_salt.data.tiles import read_masks, read_table, read_tiles
from tgs_salt.errors import UserError
from tgs_salt.layout import ExperimentPaths, FoldPaths
from tgs_salt.records import EnsembleWeights, ThresholdReport, read_record

SCORES_COLUMNS = {
    "model": "str",
    "fold": "int64",
    "tiles": "int64",
    "score_at_half": "float64",
    "cross_fitted_score": "float64",
}
HISTORY_COLUMNS = {"epoch": "int64", "learning_rate": "float64", "loss": "float64", "score": "float64"}


@dataclass(frozen=True)
class TrainingRun:
    """The training of one model on one fold: finished, running or not started."""

    model: str
    fold: int
    paths: FoldPaths

    @property
    def folder(self) -> Path:
        """The folder of the model and fold."""
        return self.paths.folder

    @property
    def title(self) -> str:
        """The name in reports, such as "unet fold 0"."""
        return f"{self.model} fold {self.fold}"

    @property
    def done(self) -> bool:
        """Whether the training has finished."""
        return self.paths.model_file.exists()

    @property
    def started(self) -> bool:
        """Whether there are checkpoints: the training is running or was interrupted."""
        return self.paths.checkpoints.is_dir()

    def history(self) -> pd.DataFrame | None:
        """Return a row for each epoch; of a running training, the epochs up to its last checkpoint."""
        checkpoint = self.paths.checkpoints / self.paths.history.name
        path = checkpoint if checkpoint.exists() and not self.done else self.paths.history
        return read_table(path, HISTORY_COLUMNS) if path.exists() else None

    def timing(self) -> dict[str, Any] | None:
        """Return timing.json: duration, device and code version."""
        return _read_json_if_exists(self.paths.timing)

    def predictions(self, split: str) -> Path:
        """Return the path of the predictions of a split."""
        return self.paths.predictions(split)


class Experiment:
    """The files of one experiment, read on first use.

    Raises UserError if the folder does not exist, and on access if a file is damaged.
    """

    def __init__(self, folder: Path, settings: str | None = None) -> None:
        """Take the effective settings as JSON; None reads settings.json, which the workflow writes."""
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; name an experiment's results, such as results/demo.")
        self.folder = folder
        self.paths = ExperimentPaths(folder)
        self._settings_json = settings

    @property
    def name(self) -> str:
        """The name of the experiment, which is that of its folder."""
        return self.folder.resolve().name

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The effective settings, of trained models only and without `runtime`; empty if there is no settings.json."""
        if self._settings_json is None:
            settings = _read_json_if_exists(self.paths.settings)
        else:
            try:
                settings = json.loads(self._settings_json)
            except ValueError as error:
                raise UserError(f"--settings: not JSON ({error}).") from None
        return settings if isinstance(settings, dict) else {}

    @cached_property
    def decision(self) -> dict[str, Any] | None:
        """The contents of threshold.json."""
        path = self.paths.threshold_json
        return read_record(path, ThresholdReport).model_dump() if path.exists() else None

    @cached_property
    def scores(self) -> pd.DataFrame | None:
        """The table of scores.csv, checked against the models and folds of threshold.json."""
        path = self.paths.scores_csv
        if not path.exists():
            return None
        table = read_table(path, SCORES_COLUMNS)
        if self.decision is not None:
            rows = [
                (model, fold) for model in ("ensemble", *self.decision["models"]) for fold in self.decision["folds"]
            ]
            if list(zip(table["model"], table["fold"], strict=True)) != rows:
                raise UserError(
                    f"{path}: expected one row for each model and fold of threshold.json, {len(rows)} rows in total; "
                    "delete scores.csv and run snakemake again."
                )
        return table

    @cached_property
    def weights(self) -> dict[str, int]:
        """The weight of each model in the ensemble; empty if there is no weights.json."""
        path = self.paths.weights_json
        return read_record(path, EnsembleWeights).weights if path.exists() else {}

    @cached_property
    def receipt(self) -> dict[str, Any] | None:
        """The contents of submitted.json."""
        return _read_json_if_exists(self.paths.receipt)

    @cached_property
    def tiles(self) -> pd.DataFrame | None:
        """The table of all tiles."""
        return read_tiles(self.paths.tiles_csv) if self.paths.tiles_csv.exists() else None

    def split(self, name: str) -> pd.DataFrame:
        """Return the tiles of a split in the row order of its arrays; an empty table if there is no tiles.csv."""
        if self.tiles is None:
            return pd.DataFrame({"id": [], "depth": [], "coverage": [], "blank": []})
        return self.tiles[self.tiles["split"] == name].reset_index(drop=True)

    @cached_property
    def folds(self) -> pd.DataFrame | None:
        """The table of folds.csv."""
        path = self.paths.folds_csv
        if path.exists() and self.tiles is not None:
            read_folds(path, self.split("train")["id"])  # raises UserError unless the ids are those of tiles.csv
        return read_table(path, FOLD_COLUMNS) if path.exists() else None

    @cached_property
    def training_runs(self) -> list[TrainingRun]:
        """Each model and fold of the settings; without settings, those that have a folder."""
        if "models" in self.settings and "folds" in self.settings:
            folds = self.settings["folds"]
            selected = folds["selected"] if folds.get("selected") is not None else range(folds["n_splits"])
            pairs = [(model, fold) for model in self.settings["models"] for fold in sorted(selected)]
        else:
            folders = self.paths.models.glob("*/fold*")
            numbered = [(path.parent.name, path.name.removeprefix("fold")) for path in folders]
            pairs = sorted((model, int(fold)) for model, fold in numbered if fold.isdigit())
        return [self._training_run(model, fold) for model, fold in pairs]

    @property
    def ensemble_runs(self) -> list[TrainingRun]:
        """Each model and fold of the ensemble, all folds of the first model first; empty if there is no threshold."""
        if self.decision is None:
            return []
        return [self._training_run(model, fold) for model in self.decision["models"] for fold in self.decision["folds"]]

    def array(self, path: Path) -> np.ndarray | None:
        """Return the array at `path`, such as `paths.ensemble("oof")`, as a memory map, uint8 (tiles, height, width).

        Raises UserError unless it has a row for each tile of its split and the tile size of the masks.
        """
        count = None if self.tiles is None else len(self.split("test" if path.name.startswith("test") else "train"))
        read = read_masks if path == self.paths.train_masks else files.read_array
        return read(path, (count, *self._tile_shape)) if path.exists() else None

    @cached_property
    def _tile_shape(self) -> tuple[int | None, ...]:
        path = self.paths.train_masks
        return files.read_array(path, (None, None, None)).shape[1:] if path.exists() else (None, None)

    def _training_run(self, model: str, fold: int) -> TrainingRun:
        return TrainingRun(model, fold, self.paths.fold(model, fold))


def is_newer(path: Path, other: Path) -> bool:
    """Return whether both files exist and `path` was modified later than `other`."""
    return path.exists() and other.exists() and path.stat().st_mtime > other.stat().st_mtime


def _read_json_if_exists(path: Path) -> Any:
    return files.read_json(path) if path.exists() else None
