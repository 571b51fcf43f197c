"""Compare the files of `threshold` (decision, curve and scores) with plain loops."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.command_line import tgs_salt
from helpers.reference_ensemble import iou_tenths, reference_mean, reference_weights

from tgs_salt import files
from tgs_salt.data.folds import assign_folds
from tgs_salt.errors import UserError
from tgs_salt.postprocessing.threshold import threshold
from tgs_salt.settings import Folds, Threshold

SIDE = 5
TILES = 24


def score_tenths(probabilities: np.ndarray, masks: np.ndarray, threshold: int, min_area: int) -> int:
    """Return tenths of score, summed over tiles."""
    salt = probabilities >= threshold
    salt[salt.sum(axis=(1, 2)) < min_area] = False
    intersections, unions = (salt & masks).sum(axis=(1, 2)), (salt | masks).sum(axis=(1, 2))
    return sum(map(iou_tenths, intersections.tolist(), unions.tolist()))


def reference_table(probabilities: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return tenths of score at each [threshold, min_area]; pairs that give the same masks are scored once."""
    values = np.unique(probabilities)
    areas = (probabilities[:, None] >= values[:, None, None]).sum(axis=(2, 3))
    cached: dict[tuple[int, int], int] = {}
    table = np.zeros((256, SIDE * SIDE + 1), int)
    for threshold_value in range(256):
        index = int(np.searchsorted(values, threshold_value))
        for min_area in range(SIDE * SIDE + 1):
            emptied = int((areas[:, index] < min_area).sum()) if index < len(values) else 0
            if (index, emptied) not in cached:
                cached[index, emptied] = score_tenths(probabilities, masks, threshold_value, min_area)
            table[threshold_value, min_area] = cached[index, emptied]
    return table


def best_pair(table: np.ndarray, threshold: Any, min_area: Any) -> tuple[int, int]:
    thresholds = range(256) if threshold == "search" else [threshold]
    areas = range(SIDE * SIDE + 1) if min_area == "search" else [min_area]
    best = max(table[a, b] for a in thresholds for b in areas)
    smallest = min(b for b in areas if any(table[a, b] == best for a in thresholds))
    runs: list[list[int]] = [[]]
    for a in thresholds:
        if table[a, smallest] == best:
            runs[-1].append(a)
        else:
            runs.append([])
    longest = max(runs, key=len)
    return longest[(len(longest) - 1) // 2], smallest


class Inputs:
    """tiles.csv, folds.csv, masks, predictions of two models with few distinct bytes, and their mean."""

    models = ("a", "b")

    def __init__(
        self,
        folder: Path,
        selected_folds: list[int],
        n_splits: int = 3,
        noise: tuple[float, float] = (0.25, 0.4),
        seed: int = 5,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.folder, self.selected_folds, self.n_splits = folder, selected_folds, n_splits
        self.masks = rng.random((TILES, SIDE, SIDE)) < rng.choice([0, 0.3, 0.7], (TILES, 1, 1))
        self.fold = np.concatenate([rng.permutation(n_splits) for _ in range(TILES // n_splits)])
        ids = [f"{k:03d}" for k in rng.permutation(TILES)]
        coverage = self.masks.mean(axis=(1, 2))
        depth = rng.integers(50, 90, TILES).astype(float)
        train = pd.DataFrame({"id": ids, "split": "train", "row": range(TILES), "depth": depth, "coverage": coverage})
        test = pd.DataFrame({"id": ["u"], "split": "test", "row": [0], "depth": 60.0})
        pd.concat([train, test]).assign(blank=False).to_csv(folder / "tiles.csv", index=False)
        self.table = pd.DataFrame(
            {"id": ids, "depth": depth, "coverage_class": np.ceil(coverage * 10).astype(int), "fold": self.fold}
        )
        self.table.to_csv(folder / "folds.csv", index=False)
        files.write_array(folder / "masks.npy", self.masks.astype(np.uint8))
        self.predictions: dict[str, np.ndarray] = {}
        for model, share in zip(self.models, noise, strict=True):
            wrong = rng.random(self.masks.shape) < share
            # The best threshold differs between folds, so that the one chosen on other folds is not the best.
            shift = 12 * self.fold[:, None, None]
            values = rng.choice([20, 60, 100, 140, 180], self.masks.shape)
            probabilities = (np.where(self.masks ^ wrong, values + 30, values // 2) + shift).astype(np.uint8)
            probabilities[~np.isin(self.fold, selected_folds)] = 0
            self.predictions[model] = probabilities
            for fold in selected_folds:
                files.write_array(self.path(model, fold), probabilities[self.fold == fold])
        mean = sum(array.astype(int) for array in self.predictions.values()) // 2
        self.predictions["ensemble"] = mean.astype(np.uint8)
        files.write_array(folder / "oof.npy", self.predictions["ensemble"])

    def path(self, model: str, fold: int) -> Path:
        return self.folder / "models" / model / f"fold{fold}" / "oof.npy"

    @property
    def oof(self) -> list[Path]:
        return [self.path(model, fold) for model in self.models for fold in self.selected_folds]

    def run(self, settings: Threshold, **replaced: Any) -> dict[str, Any]:
        arguments = {"ensemble": self.folder / "oof.npy", "oof": self.oof, "masks": self.folder / "masks.npy"}
        threshold(
            settings, Folds(n_splits=self.n_splits, selected=self.selected_folds, seed=4), models=list(self.models),
            tiles=self.folder / "tiles.csv", folds=self.folder / "folds.csv", output=self.folder / "out",
            **{**arguments, **replaced},
        )  # fmt: skip
        return json.loads((self.folder / "out" / "threshold.json").read_text())

    def rows(self, name: str) -> list[dict[str, str]]:
        with open(self.folder / "out" / name, newline="") as stream:
            return list(csv.DictReader(stream))

    def expected(self, name: str, split_of: np.ndarray, settings: Threshold) -> dict[str, Any]:
        """Return the choice and the cross-fitted scores of a model; `split_of` is -1 for tiles that do not count."""
        probabilities, masks = self.predictions[name], self.masks
        tables = {
            k: reference_table(probabilities[split_of == k], masks[split_of == k])
            for k in np.unique(split_of[split_of >= 0]).tolist()
        }
        total = sum(tables.values())
        pair = best_pair(total, settings.value, settings.min_area)
        tenths = {
            k: int(table[best_pair(total - table, settings.value, settings.min_area)]) for k, table in tables.items()
        }
        tiles = {k: int((split_of == k).sum()) for k in tables}
        return {
            "pair": pair,
            "score": total[pair] / (10 * sum(tiles.values())),
            "by_split": {k: tenths[k] / (10 * tiles[k]) for k in tables},
            "cross_fitted": sum(tenths.values()) / (10 * sum(tiles.values())),
            "table": total,
        }


SETTINGS = [
    Threshold(), Threshold(value=128), Threshold(min_area=0), Threshold(min_area=3), Threshold(value=90, min_area=2),
]  # fmt: skip


@pytest.mark.parametrize("selected_folds", [[0, 1, 2], [0, 2]])
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: f"{s.value}-{s.min_area}")
def test_several_folds(tmp_path: Path, selected_folds: list[int], settings: Threshold) -> None:
    inputs = Inputs(tmp_path, selected_folds)
    decision = inputs.run(settings)
    split_of = np.where(np.isin(inputs.fold, selected_folds), inputs.fold, -1)
    expected = {name: inputs.expected(name, split_of, settings) for name in ("ensemble", *inputs.models)}
    at_half = {
        name: {k: score_tenths(array[split_of == k], inputs.masks[split_of == k], 128, 0) / 10 for k in selected_folds}
        for name, array in inputs.predictions.items()
    }
    tiles = int((split_of >= 0).sum())
    assert decision == {
        "score": expected["ensemble"]["score"],
        "cross_fitted_score": expected["ensemble"]["cross_fitted"],
        "cross_fitted_over": "folds",
        "threshold": expected["ensemble"]["pair"][0],
        "min_area": expected["ensemble"]["pair"][1],
        "score_at_half": pytest.approx(sum(at_half["ensemble"].values()) / tiles, abs=1e-12),
        "tiles": tiles,
        "folds": selected_folds,
        "models": ["a", "b"],
    }
    assert [(row["model"], int(row["fold"]), int(row["tiles"])) for row in inputs.rows("scores.csv")] == [
        (name, fold, int((split_of == fold).sum())) for name in ("ensemble", "a", "b") for fold in selected_folds
    ]
    for row in inputs.rows("scores.csv"):
        name, fold = row["model"], int(row["fold"])
        assert float(row["score_at_half"]) == pytest.approx(at_half[name][fold] / int(row["tiles"]), abs=1e-12)
        assert float(row["cross_fitted_score"]) == pytest.approx(expected[name]["by_split"][fold], abs=1e-12)


@pytest.mark.parametrize(("selected_folds", "split_kind"), [([0, 1, 2], "folds"), ([1], "inner_splits")])
def test_weights_are_searched_without_the_scored_split(
    tmp_path: Path, selected_folds: list[int], split_kind: str
) -> None:
    inputs = Inputs(tmp_path, selected_folds, noise=(0.1, 0.15))
    settings = Threshold(inner_splits=2)
    fixed, searched = inputs.run(settings), inputs.run(settings, weights_searched=True)
    rows = np.flatnonzero(np.isin(inputs.fold, selected_folds))
    split_of = inputs.fold[rows] if split_kind == "folds" else assign_folds(inputs.table.iloc[rows], 2, 4)
    predictions, masks = [inputs.predictions[model][rows] for model in inputs.models], inputs.masks[rows]
    weights, tenths = {}, {}
    for split in np.unique(split_of).tolist():
        own, rest = split_of == split, split_of != split
        weights[split] = reference_weights([array[rest] for array in predictions], masks[rest])
        mean = reference_mean(predictions, weights[split])
        pair = best_pair(reference_table(mean[rest], masks[rest]), "search", "search")
        tenths[split] = score_tenths(mean[own], masks[own], *pair)
    assert searched.pop("cross_fitted_weights") == {
        str(split): dict(zip(inputs.models, split_weights, strict=True)) for split, split_weights in weights.items()
    }
    assert len(set(weights.values())) > 1, "the splits have different weights"
    assert searched.pop("cross_fitted_score") == sum(tenths.values()) / (10 * len(rows))
    del fixed["cross_fitted_score"]
    assert searched == fixed, "the decision is that of the ensemble's predictions"
    for row in inputs.rows("scores.csv")[: len(selected_folds)]:
        own = [tenths[int(row["fold"])]] if split_kind == "folds" else list(tenths.values())
        assert row["model"] == "ensemble"
        assert float(row["cross_fitted_score"]) == pytest.approx(sum(own) / (10 * int(row["tiles"])), abs=1e-12)


def test_curve(tmp_path: Path) -> None:
    inputs = Inputs(tmp_path, [0, 1, 2])
    decision = inputs.run(Threshold())
    table = reference_table(inputs.predictions["ensemble"], inputs.masks) / (10 * TILES)
    rows = inputs.rows("threshold.csv")
    assert [int(row["threshold"]) for row in rows] == list(range(256))
    for threshold_value, row in enumerate(rows):
        assert float(row["score"]) == pytest.approx(table[threshold_value, decision["min_area"]], abs=1e-12)
        assert float(row["score_without_min_area"]) == pytest.approx(table[threshold_value, 0], abs=1e-12)
        assert float(row["best_score"]) == pytest.approx(table[threshold_value].max(), abs=1e-12)
        assert int(row["best_min_area"]) == int(table[threshold_value].argmax())
    best = max(float(row["best_score"]) for row in rows)
    assert float(rows[decision["threshold"]]["score"]) == decision["score"] == best


@pytest.mark.parametrize(("fold", "inner_splits"), [(0, 3), (2, 2), (1, 5)])
def test_single_fold_is_split(tmp_path: Path, fold: int, inner_splits: int) -> None:
    inputs = Inputs(tmp_path, [fold])
    settings = Threshold(inner_splits=inner_splits)
    decision = inputs.run(settings)
    rows = np.flatnonzero(inputs.fold == fold)
    split_of = np.full(TILES, -1)
    split_of[rows] = assign_folds(inputs.table.iloc[rows], inner_splits, 4)
    assert len(np.unique(split_of[rows])) == inner_splits
    expected = inputs.expected("ensemble", split_of, settings)
    assert (decision["threshold"], decision["min_area"]) == expected["pair"]
    assert decision["score"] == expected["score"]
    assert decision["cross_fitted_score"] == expected["cross_fitted"]
    assert decision["cross_fitted_over"] == "inner_splits"
    assert (decision["tiles"], decision["folds"]) == (len(rows), [fold])
    scores = inputs.rows("scores.csv")
    assert [row["model"] for row in scores] == ["ensemble", "a", "b"]
    for row in scores:
        cross_fitted = inputs.expected(row["model"], split_of, settings)["cross_fitted"]
        assert float(row["cross_fitted_score"]) == pytest.approx(cross_fitted, abs=1e-12)


def test_tiles_of_other_folds_do_not_count(tmp_path: Path) -> None:
    inputs = Inputs(tmp_path, [0, 2])
    names = ("threshold.json", "threshold.csv", "scores.csv")
    inputs.run(Threshold())
    before = [(tmp_path / "out" / name).read_bytes() for name in names]
    predictions = inputs.predictions["ensemble"].copy()
    assert not predictions[inputs.fold == 1].any()
    predictions[inputs.fold == 1] = 255
    files.write_array(tmp_path / "oof.npy", predictions)
    files.write_array(tmp_path / "masks.npy", (inputs.masks ^ (inputs.fold == 1)[:, None, None]).astype(np.uint8))
    inputs.run(Threshold())
    assert [(tmp_path / "out" / name).read_bytes() for name in names] == before


def test_cross_fitted_score_is_lower_than_the_in_sample_score(tmp_path: Path) -> None:
    decision = Inputs(tmp_path, [0, 1, 2]).run(Threshold())
    assert decision["cross_fitted_score"] < decision["score"]


@pytest.mark.parametrize("count", [5, 7])
def test_wrong_number_of_predictions(tmp_path: Path, count: int) -> None:
    inputs = Inputs(tmp_path, [0, 1, 2])
    message = f"threshold: 2 models on 3 folds need 6 --oof files, found {count}."
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        inputs.run(Threshold(), oof=[*inputs.oof, *inputs.oof][:count])
    assert not (tmp_path / "out").exists()


def test_predictions_of_other_tiles(tmp_path: Path) -> None:
    inputs = Inputs(tmp_path, [0, 1, 2])
    bad = inputs.path("b", 2)
    files.write_array(bad, np.zeros((11, SIDE, SIDE), np.uint8))
    message = f"{bad}: expected uint8 8x5x5, found uint8 11x5x5; delete this file and run snakemake again."
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        inputs.run(Threshold())
    files.write_array(tmp_path / "masks.npy", np.zeros((TILES + 1, SIDE, SIDE), np.uint8))
    with pytest.raises(UserError, match=r"masks\.npy: expected uint8 24xnxn, found uint8 25x5x5; delete this file"):
        inputs.run(Threshold())


def test_more_inner_splits_than_tiles(tmp_path: Path) -> None:
    inputs = Inputs(tmp_path, [1])
    message = (
        "threshold.inner_splits: 20 splits need at least 20 tiles, but fold 1 has 8; set fewer splits, or train more "
        "folds."
    )
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        inputs.run(Threshold(inner_splits=20))


def test_command(tmp_path: Path) -> None:
    inputs = Inputs(tmp_path, [0, 1, 2])
    decision = inputs.run(Threshold(), weights_searched=True)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    settings = {"threshold": {}, "folds": {"n_splits": 3, "seed": 4}, "ensemble": {"weights": "search"}}
    (tmp_path / "out").rename(tmp_path / "expected")
    arguments = [
        "threshold", "--settings", json.dumps(settings), "--models", "a,b",
        "--ensemble", tmp_path / "oof.npy", *(argument for path in inputs.oof for argument in ("--oof", path)),
        "--masks", tmp_path / "masks.npy", "--tiles", tmp_path / "tiles.csv", "--folds", tmp_path / "folds.csv",
        "--output", tmp_path / "out",
    ]  # fmt: skip
    process = tgs_salt(*arguments)
    assert process.returncode == 0, process.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert f"cross-fitted score {decision['cross_fitted_score']:.4f} over folds" in process.stdout
