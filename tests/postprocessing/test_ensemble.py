"""Compare the weighted mean with exact fractions, and the arrays with the tiles that they belong to."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.command_line import tgs_salt
from helpers.reference_ensemble import reference_mean, reference_weights, rounded_mean
from hypothesis import given
from hypothesis import strategies as st

from tgs_salt import files
from tgs_salt.errors import UserError
from tgs_salt.postprocessing import ensemble as module
from tgs_salt.postprocessing.ensemble import ensemble
from tgs_salt.postprocessing.ensemble_selection import weighted_mean
from tgs_salt.settings import Ensemble

SIDE = 4
FOLD_OF = [2, 0, 1, 0, 2, 1, 1, 0, 2, 0, 1]  # fold of each train tile, in tiles.csv order
TEST_TILES = 3


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(1, 1000)), min_size=1, max_size=8),
    st.lists(st.integers(0, 255), min_size=1, max_size=8),
)
def test_weighted_mean_is_exact(first: list[tuple[int, int]], more: list[int]) -> None:
    weights = [weight for _, weight in first]
    pixels = [[value for value, _ in first], [0] * len(first), [255] * len(first), (more * 8)[: len(first)]]
    predictions = [np.array([[pixel[k] for pixel in pixels]], np.uint8) for k in range(len(first))]
    mean = weighted_mean(predictions, weights)
    assert mean.dtype == np.uint8
    assert mean.tolist() == [[rounded_mean(tuple(pixel), tuple(weights)) for pixel in pixels]]
    assert mean[0, 1] == 0 and mean[0, 2] == 255, "the mean of equal values is that value"


@pytest.mark.parametrize(
    ("values", "weights", "mean"),
    [([0, 1], [1, 1], 1), ([0, 1], [2, 1], 0), ([0, 1], [1, 2], 1), ([1, 2], [1, 1], 2), ([0, 0, 1], [1, 1, 1], 0),
     ([254, 255], [1, 1], 255), ([10, 20, 30], [1, 1, 4], 25), ([127, 128, 128, 127], [1, 1, 1, 1], 128),
     ([255, 255], [4_000_000, 4_000_000], 255)],
)  # fmt: skip
def test_halves_are_rounded_up(values: list[int], weights: list[int], mean: int) -> None:
    assert rounded_mean(tuple(values), tuple(weights)) == mean
    assert weighted_mean([np.array([value], np.uint8) for value in values], weights).tolist() == [mean]


def test_weights_that_would_overflow_raise() -> None:
    message = r"^ensemble\.weights: the weights add up to 9,000,000, expected at most 8,405,024; .*\.$"
    with pytest.raises(UserError, match=message):
        weighted_mean([np.array([255], np.uint8)], [9_000_000])


class Inputs:
    """tiles.csv, folds.csv and a prediction of each model, fold and split; row 1 of the test tiles is blank."""

    def __init__(self, folder: Path, models: list[str], selected_folds: list[int], seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.folder, self.models, self.selected_folds = folder, models, selected_folds
        ids = [f"t{k}" for k in range(len(FOLD_OF))]
        train = pd.DataFrame({"id": ids, "split": "train", "row": range(len(ids)), "depth": 100.0, "coverage": 0.5})
        test = pd.DataFrame(
            {"id": [f"u{k}" for k in range(TEST_TILES)], "split": "test", "row": range(TEST_TILES), "depth": 1.0}
        )
        pd.concat([train, test]).assign(blank=False).to_csv(folder / "tiles.csv", index=False)
        pd.DataFrame({"id": ids, "depth": 100.0, "coverage_class": 5, "fold": FOLD_OF}).to_csv(
            folder / "folds.csv", index=False
        )
        self.oof: dict[tuple[str, int], np.ndarray] = {}
        self.test: dict[tuple[str, int], np.ndarray] = {}
        for model in models:
            for fold in selected_folds:
                oof = rng.integers(0, 256, (FOLD_OF.count(fold), SIDE, SIDE)).astype(np.uint8)
                oof[0] = 0
                test_prediction = rng.integers(0, 256, (TEST_TILES, SIDE, SIDE)).astype(np.uint8)
                test_prediction[1] = 0
                self.oof[model, fold], self.test[model, fold] = oof, test_prediction
                files.write_array(self.path(model, fold, "oof"), oof)
                files.write_array(self.path(model, fold, "test"), test_prediction)
        self.masks = self.full_oof(models[0]) > rng.integers(0, 256, (len(FOLD_OF), SIDE, SIDE))
        files.write_array(folder / "masks.npy", self.masks.astype(np.uint8))

    def path(self, model: str, fold: int, split: str) -> Path:
        return self.folder / "models" / model / f"fold{fold}" / f"{split}.npy"

    def full_oof(self, model: str) -> np.ndarray:
        """Return the out-of-fold predictions of a model in tiles.csv order."""
        oof = np.zeros((len(FOLD_OF), SIDE, SIDE), np.uint8)
        for fold in self.selected_folds:
            oof[np.array(FOLD_OF) == fold] = self.oof[model, fold]
        return oof

    def run(self, settings: Ensemble, **replaced: list[Path]) -> tuple[np.ndarray, np.ndarray]:
        paths = {
            split: [self.path(model, fold, split) for model in self.models for fold in self.selected_folds]
            for split in ("oof", "test")
        }
        ensemble(
            settings, models=self.models, selected_folds=self.selected_folds, masks=self.folder / "masks.npy",
            tiles=self.folder / "tiles.csv", folds=self.folder / "folds.csv", output=self.folder / "ensemble",
            **{**paths, **replaced},
        )  # fmt: skip
        return tuple(np.load(self.folder / "ensemble" / f"{split}.npy") for split in ("oof", "test"))


@pytest.mark.parametrize(
    ("models", "selected_folds", "weights"),
    [
        (["a"], [0, 1, 2], {}),
        (["a", "b"], [0, 1, 2], {}),
        (["a", "b", "c"], [0, 1, 2], {"b": 3, "c": 2}),
        (["a", "b"], [0, 2], {"a": 2}),
        (["a", "b"], [1], {}),
    ],
)
@pytest.mark.parametrize("chunk", [1024, 2])
def test_ensemble_arrays(
    tmp_path: Path, models: list[str], selected_folds: list[int], weights: dict[str, int], chunk: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "CHUNK", chunk)
    inputs = Inputs(tmp_path, models, selected_folds)
    oof, test = inputs.run(Ensemble(weights=weights))
    assert oof.dtype == test.dtype == np.uint8
    assert oof.shape == (len(FOLD_OF), SIDE, SIDE) and test.shape == (TEST_TILES, SIDE, SIDE)

    expected_weights = tuple(weights.get(model, 1) for model in models)
    test_weights = tuple(weight for weight in expected_weights for _ in selected_folds)
    position = dict.fromkeys(selected_folds, 0)
    for row, fold in enumerate(FOLD_OF):
        if fold not in selected_folds:
            assert not oof[row].any(), "tiles of other folds have no prediction"
            continue
        for pixel in np.ndindex(SIDE, SIDE):
            values = tuple(int(inputs.oof[model, fold][position[fold]][pixel]) for model in models)
            assert oof[row][pixel] == rounded_mean(values, expected_weights)
        position[fold] += 1
    for row in range(TEST_TILES):
        for pixel in np.ndindex(SIDE, SIDE):
            values = tuple(int(inputs.test[model, fold][row][pixel]) for model in models for fold in selected_folds)
            assert test[row][pixel] == rounded_mean(values, test_weights)
    assert not test[1].any() and test[0].any(), "blank tiles stay zero"
    written = json.loads((tmp_path / "ensemble" / "weights.json").read_text())
    assert written == {"weights": dict(zip(models, expected_weights, strict=True)), "folds": selected_folds}
    assert sorted(path.name for path in (tmp_path / "ensemble").iterdir()) == ["oof.npy", "test.npy", "weights.json"]


@pytest.mark.parametrize("selected_folds", [[0, 1, 2], [0, 2]])
def test_searched_weights(tmp_path: Path, selected_folds: list[int]) -> None:
    inputs = Inputs(tmp_path, ["a", "b", "c"], selected_folds, seed=4)
    oof, test = inputs.run(Ensemble(weights="search"))
    rows = np.isin(FOLD_OF, selected_folds)
    weights = reference_weights([inputs.full_oof(model)[rows] for model in inputs.models], inputs.masks[rows])
    assert weights != (1, 1, 1)
    written = json.loads((tmp_path / "ensemble" / "weights.json").read_text())
    assert written == {"weights": dict(zip(inputs.models, weights, strict=True)), "folds": selected_folds}
    assert np.array_equal(oof[rows], reference_mean([inputs.full_oof(model)[rows] for model in inputs.models], weights))
    assert not oof[~rows].any()
    predictions = [inputs.test[model, fold] for model in inputs.models for fold in selected_folds]
    test_weights = tuple(weight for weight in weights for _ in selected_folds)
    assert np.array_equal(test, reference_mean(predictions, test_weights))


def test_only_ratios_of_weights_of_ensemble_models_matter(tmp_path: Path) -> None:
    inputs = Inputs(tmp_path, ["a", "b"], [0, 1, 2])
    equal = [array.tobytes() for array in inputs.run(Ensemble())]
    assert [array.tobytes() for array in inputs.run(Ensemble(weights={"z": 9}))] == equal
    assert [array.tobytes() for array in inputs.run(Ensemble(weights={"a": 5, "b": 5}))] == equal
    assert [array.tobytes() for array in inputs.run(Ensemble(weights={"a": 2}))] != equal


@pytest.mark.parametrize(("split", "found"), [("oof", "5 and 6"), ("test", "6 and 5")])
def test_missing_prediction(tmp_path: Path, split: str, found: str) -> None:
    inputs = Inputs(tmp_path, ["a", "b"], [0, 1, 2])
    paths = [inputs.path(model, fold, split) for model in "ab" for fold in range(3)][:-1]
    message = f"ensemble: 2 models on 3 folds need 6 --oof and 6 --test files, found {found}."
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        inputs.run(Ensemble(), **{split: paths})
    assert not (tmp_path / "ensemble").exists()


def test_prediction_of_other_tiles(tmp_path: Path) -> None:
    inputs = Inputs(tmp_path, ["a", "b"], [0, 1, 2])
    before = [array.tobytes() for array in inputs.run(Ensemble())]
    bad = inputs.path("b", 1, "oof")
    files.write_array(bad, np.zeros((9, SIDE, SIDE), np.uint8))
    message = f"{bad}: expected uint8 4x4x4, found uint8 9x4x4; delete this file and run snakemake again."
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        inputs.run(Ensemble())
    files.write_array(inputs.path("b", 1, "oof"), inputs.oof["b", 1])
    inputs.path("a", 2, "test").unlink()
    with pytest.raises(UserError, match=r"a/fold2/test\.npy: no such file; run the step that creates it\.$"):
        inputs.run(Ensemble())
    after = [np.load(tmp_path / "ensemble" / f"{split}.npy").tobytes() for split in ("oof", "test")]
    assert after == before, "existing results are not overwritten"


def test_folds_of_other_tiles(tmp_path: Path) -> None:
    inputs = Inputs(tmp_path, ["a"], [0, 1, 2])
    table = pd.read_csv(tmp_path / "folds.csv")
    table.iloc[::-1].to_csv(tmp_path / "folds.csv", index=False)
    with pytest.raises(UserError, match=r"folds\.csv: its tiles differ from those of tiles\.csv"):
        inputs.run(Ensemble())


def test_command(tmp_path: Path) -> None:
    inputs = Inputs(tmp_path, ["a", "b"], [0, 2], seed=4)
    inputs.run(Ensemble(weights="search"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "ensemble").iterdir()}
    (tmp_path / "ensemble").rename(tmp_path / "expected")
    paths = [(model, fold) for model in "ab" for fold in (0, 2)]
    settings = {"ensemble": {"weights": "search"}, "folds": {"n_splits": 3, "selected": [0, 2]}}
    process = tgs_salt(
        "ensemble", "--settings", json.dumps(settings), "--models", "a,b",
        *(argument for pair in paths for argument in ("--oof", inputs.path(*pair, "oof"))),
        *(argument for pair in paths for argument in ("--test", inputs.path(*pair, "test"))),
        "--masks", tmp_path / "masks.npy", "--tiles", tmp_path / "tiles.csv", "--folds", tmp_path / "folds.csv",
        "--output", tmp_path / "ensemble", "--threads", 2,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "ensemble").iterdir()} == before
    assert "(searched)" in process.stderr
