"""What lies in an experiment's folder, as far as it is there: what is not made yet reads as None."""

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
from tgs_salt.records import ThresholdReport, Weights, read_record

SCORES = {
    "model": "str",
    "fold": "int64",
    "tiles": "int64",
    "score_at_half": "float64",
    "cross_fitted_score": "float64",
}
HISTORY = {"epoch": "int64", "learning_rate": "float64", "loss": "float64", "score": "float64"}


@dataclass(frozen=True)
class Training:
    """One model on one fold, trained, in training or waiting."""

    model: str
    fold: int
    folder: Path

    @property
    def title(self) -> str:
        return f"{self.model} fold {self.fold}"

    @property
    def done(self) -> bool:
        return (self.folder / "model.pt").exists()

    @property
    def started(self) -> bool:
        return (self.folder / "checkpoints").is_dir()

    def history(self) -> pd.DataFrame | None:
        """Epochs so far: of a training under way those up to its last checkpoint."""
        running = self.folder / "checkpoints" / "history.csv"
        path = running if running.exists() and not self.done else self.folder / "history.csv"
        return read_table(path, HISTORY) if path.exists() else None

    def timing(self) -> dict[str, Any] | None:
        path = self.folder / "timing.json"
        return files.read_json(path) if path.exists() else None

    def predictions(self, split: str) -> Path:
        return self.folder / f"{split}.npy"


class Experiment:
    """The artefacts of one experiment. Raises UserError if its folder is not there, or a file of it is damaged."""

    def __init__(self, folder: Path, settings: str | None = None) -> None:
        """`settings`: the effective ones as JSON; None: those that the workflow left in settings.json."""
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; name an experiment's results, such as results/demo.")
        self.folder = folder
        self._given = settings

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The effective settings without `runtime`, of the models that are needed; empty if nobody wrote them down."""
        if self._given is None:
            found = self._json("settings.json")
        else:
            try:
                found = json.loads(self._given)
            except ValueError as problem:
                raise UserError(f"--settings: not JSON ({problem}).") from None
        return found if isinstance(found, dict) else {}

    @cached_property
    def decision(self) -> dict[str, Any] | None:
        path = self.folder / "threshold.json"
        return read_record(path, ThresholdReport).model_dump() if path.exists() else None

    @cached_property
    def scores(self) -> pd.DataFrame | None:
        path = self.folder / "scores.csv"
        if not path.exists():
            return None
        table = read_table(path, SCORES)
        if self.decision is not None:
            evaluation = [(m, k) for m in ("ensemble", *self.decision["models"]) for k in self.decision["folds"]]
            if list(zip(table["model"], table["fold"], strict=True)) != evaluation:
                raise UserError(
                    f"{path}: expected a row for each model and fold of threshold.json, {len(evaluation)} in all; delete "
                    "scores.csv and run snakemake again."
                )
        return table

    @cached_property
    def weights(self) -> dict[str, int]:
        """The votes of each model; empty before there is an ensemble."""
        path = self.folder / "ensemble" / "weights.json"
        return read_record(path, Weights).weights if path.exists() else {}

    @cached_property
    def receipt(self) -> dict[str, Any] | None:
        return self._json("submitted.json")

    @cached_property
    def tiles(self) -> pd.DataFrame | None:
        path = self.folder / "data" / "tiles.csv"
        return read_tiles(path) if path.exists() else None

    def split(self, name: str) -> pd.DataFrame:
        """The tiles of a split, in the order of its arrays; none where the dataset is not packed."""
        if self.tiles is None:
            return pd.DataFrame({"id": [], "depth": [], "coverage": [], "blank": []})
        return self.tiles[self.tiles["split"] == name].reset_index(drop=True)

    @cached_property
    def folds(self) -> pd.DataFrame | None:
        path = self.folder / "folds.csv"
        if path.exists() and self.tiles is not None:
            read_folds(path, self.split("train")["id"])  # which sees to it that they are of these tiles
        return read_table(path, FOLD_COLUMNS) if path.exists() else None

    @cached_property
    def trainings(self) -> list[Training]:
        """Each model and fold that the settings ask for, or whatever has a folder where there are no settings."""
        models = self.folder / "models"
        if "models" in self.settings and "folds" in self.settings:
            folds = self.settings["folds"]
            used = folds["selected"] if folds.get("selected") is not None else range(folds["n_splits"])
            pairs = [(model, fold) for model in self.settings["models"] for fold in sorted(used)]
        else:
            found = [path for path in models.glob("*/fold*") if path.name.removeprefix("fold").isdigit()]
            pairs = sorted((path.parent.name, int(path.name.removeprefix("fold"))) for path in found)
        return [Training(model, fold, models / model / f"fold{fold}") for model, fold in pairs]

    @property
    def voters(self) -> list[Training]:
        """Those that the decision rests on, each model in turn."""
        if self.decision is None:
            return []
        return [
            Training(model, fold, self.folder / "models" / model / f"fold{fold}")
            for model in self.decision["models"]
            for fold in self.decision["folds"]
        ]

    def array(self, name: str) -> np.ndarray | None:
        """A stack of tiles (n, h, w) uint8 as a memory map, such as `ensemble/oof.npy`, as long as its split and with
        the sides of the masks."""
        path = self.folder / name
        count = None if self.tiles is None else len(self.split("test" if path.name.startswith("test") else "train"))
        read = read_masks if path.name == "train_masks.npy" else files.read_array
        return read(path, (count, *self._sides)) if path.exists() else None

    @cached_property
    def _sides(self) -> tuple[int | None, ...]:
        path = self.folder / "data" / "train_masks.npy"
        return files.read_array(path, (None, None, None)).shape[1:] if path.exists() else (None, None)

    def _json(self, name: str) -> Any:
        path = self.folder / name
        return files.read_json(path) if path.exists() else None


def is_newer(one: Path, other: Path) -> bool:
    """Whether both are there and `one` was made later than `other`."""
    return one.exists() and other.exists() and one.stat().st_mtime > other.stat().st_mtime
