"""Paths of the files of an experiment, results/{name}. Only the rules in workflow/rules/*.smk spell them as well.

Standard library only: every process that parses the Snakefile imports this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FoldPaths:
    """Paths of one model and fold; `folder` is results/{name}/models/{model}/fold{fold}."""

    folder: Path

    @property
    def model_file(self) -> Path:
        """The trained weights."""
        return self.folder / "model.pt"

    @property
    def history(self) -> Path:
        """A row for each epoch."""
        return self.folder / "history.csv"

    @property
    def timing(self) -> Path:
        """Duration, device and code version of the training."""
        return self.folder / "timing.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of an unfinished training; removed when training ends."""
        return self.folder / "checkpoints"

    def predictions(self, split: str) -> Path:
        """Return the predictions of a split, "oof" or "test"."""
        return self.folder / f"{split}.npy"

    def shard(self, shard: int, shards: int) -> Path:
        """Return one of `shards` parts of the test predictions, counted from 0."""
        return self.folder / "test" / f"{shard}-of-{shards}.npy"


@dataclass(frozen=True)
class ExperimentPaths:
    """Paths of one experiment; `folder` is results/{name}."""

    folder: Path

    @property
    def train_images(self) -> Path:
        """Images of the training tiles."""
        return self.folder / "data" / "train_images.npy"

    @property
    def train_masks(self) -> Path:
        """Masks of the training tiles."""
        return self.folder / "data" / "train_masks.npy"

    @property
    def test_images(self) -> Path:
        """Images of the test tiles."""
        return self.folder / "data" / "test_images.npy"

    @property
    def tiles_csv(self) -> Path:
        """A row for each tile."""
        return self.folder / "data" / "tiles.csv"

    @property
    def folds_csv(self) -> Path:
        """The fold of each training tile."""
        return self.folder / "folds.csv"

    @property
    def models(self) -> Path:
        """The folder of all models."""
        return self.folder / "models"

    def fold(self, model: str, fold: int | str) -> FoldPaths:
        """Return the paths of one model and fold."""
        return FoldPaths(self.models / model / f"fold{fold}")

    def ensemble(self, split: str) -> Path:
        """Return the predictions of the ensemble for a split, "oof" or "test"."""
        return self.folder / "ensemble" / f"{split}.npy"

    @property
    def weights_json(self) -> Path:
        """Models, folds and weights of the ensemble."""
        return self.folder / "ensemble" / "weights.json"

    @property
    def threshold_json(self) -> Path:
        """The threshold, the minimum area and their scores."""
        return self.folder / "threshold.json"

    @property
    def threshold_csv(self) -> Path:
        """The score at each threshold."""
        return self.folder / "threshold.csv"

    @property
    def scores_csv(self) -> Path:
        """The scores of each model and fold."""
        return self.folder / "scores.csv"

    @property
    def submission(self) -> Path:
        """The submission file."""
        return self.folder / "submission.csv"

    @property
    def receipt(self) -> Path:
        """The receipt of `submit`."""
        return self.folder / "submitted.json"

    @property
    def bundle(self) -> Path:
        """The models that `export` packs for use elsewhere."""
        return self.folder / "bundle.zip"

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / "report.html"

    @property
    def settings(self) -> Path:
        """The settings in effect, written when the workflow starts."""
        return self.folder / "settings.json"
