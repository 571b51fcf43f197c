"""The mean of the votes against exact fractions, and the arrays against the tiles that they belong to."""

from __future__ import annotations

import json
import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.command_line import tgs_salt
from helpers.reference_ensemble import mean_of, search_by_hand
from hypothesis import given
from hypothesis import strategies as st

from tgs_salt import files
from tgs_salt.errors import UserError
from tgs_salt.postprocessing import ensemble as module
from tgs_salt.postprocessing.ensemble import ensemble, weighted_mean
from tgs_salt.settings import Ensemble

SIDE = 4
FOLD_OF = [2, 0, 1, 0, 2, 1, 1, 0, 2, 0, 1]  # of the train tiles, in tiles.csv order
TESTS = 3


def half_up(votes: list[int], weights: list[int]) -> int:
    mean = Fraction(sum(v * w for v, w in zip(votes, weights, strict=True)), sum(weights))
    return math.floor(mean + Fraction(1, 2))


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(1, 1000)), min_size=1, max_size=8),
    st.lists(st.integers(0, 255), min_size=1, max_size=8),
)
def test_the_mean_is_exact(first: list[tuple[int, int]], more: list[int]) -> None:
    weights = [weight for _, weight in first]
    pixels = [[vote for vote, _ in first], [0] * len(first), [255] * len(first), (more * 8)[: len(first)]]
    votes = [np.array([[pixel[k] for pixel in pixels]], np.uint8) for k in range(len(first))]
    found = weighted_mean(votes, weights)
    assert found.dtype == np.uint8
    assert found.tolist() == [[half_up(pixel, weights) for pixel in pixels]]
    assert found[0, 1] == 0 and found[0, 2] == 255, "what all agree on stays"


@pytest.mark.parametrize(
    ("votes", "weights", "mean"),
    [([0, 1], [1, 1], 1), ([0, 1], [2, 1], 0), ([0, 1], [1, 2], 1), ([1, 2], [1, 1], 2), ([0, 0, 1], [1, 1, 1], 0),
     ([254, 255], [1, 1], 255), ([10, 20, 30], [1, 1, 4], 25), ([127, 128, 128, 127], [1, 1, 1, 1], 128),
     ([255, 255], [4_000_000, 4_000_000], 255)],
)  # fmt: skip
def test_halves_go_up(votes: list[int], weights: list[int], mean: int) -> None:
    assert half_up(votes, weights) == mean
    assert weighted_mean([np.array([vote], np.uint8) for vote in votes], weights).tolist() == [mean]


def test_votes_beyond_whole_numbers_of_the_mean() -> None:
    """Weights so large that a sum of bytes would overflow are refused, not rounded."""
    with pytest.raises(UserError, match=r"^ensemble\.weights: 9,000,000 votes are too many; .*\.$"):
        weighted_mean([np.array([255], np.uint8)], [9_000_000])


class Folder:
    """tiles.csv, folds.csv and a prediction of each model, fold and split; row 1 of the test tiles is blank."""

    def __init__(self, folder: Path, models: list[str], used: list[int], seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.folder, self.models, self.used = folder, models, used
        ids = [f"t{k}" for k in range(len(FOLD_OF))]
        train = pd.DataFrame({"id": ids, "split": "train", "row": range(len(ids)), "depth": 100.0, "coverage": 0.5})
        test = pd.DataFrame({"id": [f"u{k}" for k in range(TESTS)], "split": "test", "row": range(TESTS), "depth": 1.0})
        pd.concat([train, test]).assign(blank=False).to_csv(folder / "tiles.csv", index=False)
        pd.DataFrame({"id": ids, "depth": 100.0, "coverage_class": 5, "fold": FOLD_OF}).to_csv(
            folder / "folds.csv", index=False
        )
        self.oof: dict[tuple[str, int], np.ndarray] = {}
        self.test: dict[tuple[str, int], np.ndarray] = {}
        for model in models:
            for fold in used:
                oof = rng.integers(0, 256, (FOLD_OF.count(fold), SIDE, SIDE)).astype(np.uint8)
                oof[0] = 0
                tested = rng.integers(0, 256, (TESTS, SIDE, SIDE)).astype(np.uint8)
                tested[1] = 0
                self.oof[model, fold], self.test[model, fold] = oof, tested
                files.write_array(self.path(model, fold, "oof"), oof)
                files.write_array(self.path(model, fold, "test"), tested)
        self.truth = self.together(models[0]) > rng.integers(0, 256, (len(FOLD_OF), SIDE, SIDE))
        files.write_array(folder / "masks.npy", self.truth.astype(np.uint8))

    def path(self, model: str, fold: int, split: str) -> Path:
        return self.folder / "models" / model / f"fold{fold}" / f"{split}.npy"

    def together(self, model: str) -> np.ndarray:
        """A model's out-of-fold predictions in tiles.csv order."""
        every = np.zeros((len(FOLD_OF), SIDE, SIDE), np.uint8)
        for fold in self.used:
            every[np.array(FOLD_OF) == fold] = self.oof[model, fold]
        return every

    def run(self, settings: Ensemble, **changed: list[Path]) -> tuple[np.ndarray, np.ndarray]:
        paths = {
            split: [self.path(model, fold, split) for model in self.models for fold in self.used]
            for split in ("oof", "test")
        }
        ensemble(
            settings, models=self.models, used=self.used, masks=self.folder / "masks.npy",
            tiles=self.folder / "tiles.csv", folds=self.folder / "folds.csv", output=self.folder / "ensemble",
            **{**paths, **changed},
        )  # fmt: skip
        return tuple(np.load(self.folder / "ensemble" / f"{split}.npy") for split in ("oof", "test"))


@pytest.mark.parametrize(
    ("models", "used", "weights"),
    [
        (["a"], [0, 1, 2], {}),
        (["a", "b"], [0, 1, 2], {}),
        (["a", "b", "c"], [0, 1, 2], {"b": 3, "c": 2}),
        (["a", "b"], [0, 2], {"a": 2}),
        (["a", "b"], [1], {}),
    ],
)
@pytest.mark.parametrize("chunk", [1024, 2])
def test_arrays_of_the_ensemble(
    tmp_path: Path, models: list[str], used: list[int], weights: dict[str, int], chunk: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "CHUNK", chunk)
    made = Folder(tmp_path, models, used)
    oof, test = made.run(Ensemble(weights=weights))
    assert oof.dtype == test.dtype == np.uint8
    assert oof.shape == (len(FOLD_OF), SIDE, SIDE) and test.shape == (TESTS, SIDE, SIDE)

    votes = [weights.get(model, 1) for model in models]
    seen = dict.fromkeys(used, 0)
    for row, fold in enumerate(FOLD_OF):
        if fold not in used:
            assert not oof[row].any(), "a tile of a fold that is not used has no prediction"
            continue
        for pixel in np.ndindex(SIDE, SIDE):
            said = [int(made.oof[model, fold][seen[fold]][pixel]) for model in models]
            assert oof[row][pixel] == half_up(said, votes)
        seen[fold] += 1
    for row in range(TESTS):
        for pixel in np.ndindex(SIDE, SIDE):
            said = [int(made.test[model, fold][row][pixel]) for model in models for fold in used]
            assert test[row][pixel] == half_up(said, [weight for weight in votes for _ in used])
    assert not test[1].any() and test[0].any(), "a blank tile stays without salt"
    written = json.loads((tmp_path / "ensemble" / "weights.json").read_text())
    assert written == {"weights": dict(zip(models, votes, strict=True)), "folds": used}
    assert sorted(path.name for path in (tmp_path / "ensemble").iterdir()) == ["oof.npy", "test.npy", "weights.json"]


@pytest.mark.parametrize("used", [[0, 1, 2], [0, 2]])
def test_searched_weights(tmp_path: Path, used: list[int]) -> None:
    made = Folder(tmp_path, ["a", "b", "c"], used, seed=4)
    oof, test = made.run(Ensemble(weights="search"))
    rows = np.isin(FOLD_OF, used)
    weights = search_by_hand([made.together(model)[rows] for model in made.models], made.truth[rows])
    assert weights != (1, 1, 1)
    written = json.loads((tmp_path / "ensemble" / "weights.json").read_text())
    assert written == {"weights": dict(zip(made.models, weights, strict=True)), "folds": used}
    assert np.array_equal(oof[rows], mean_of([made.together(model)[rows] for model in made.models], weights))
    assert not oof[~rows].any()
    every = [made.test[model, fold] for model in made.models for fold in used]
    assert np.array_equal(test, mean_of(every, tuple(weight for weight in weights for _ in used)))


def test_weights_of_a_model_that_does_not_vote_change_nothing(tmp_path: Path) -> None:
    made = Folder(tmp_path, ["a", "b"], [0, 1, 2])
    plain = [array.tobytes() for array in made.run(Ensemble())]
    assert [array.tobytes() for array in made.run(Ensemble(weights={"z": 9}))] == plain
    assert [array.tobytes() for array in made.run(Ensemble(weights={"a": 5, "b": 5}))] == plain
    assert [array.tobytes() for array in made.run(Ensemble(weights={"a": 2}))] != plain


@pytest.mark.parametrize(("left_out", "found"), [("oof", "5 --oof and 6 --test"), ("test", "6 --oof and 5 --test")])
def test_a_prediction_too_few(tmp_path: Path, left_out: str, found: str) -> None:
    made = Folder(tmp_path, ["a", "b"], [0, 1, 2])
    paths = [made.path(model, fold, left_out) for model in "ab" for fold in range(3)][:-1]
    sentence = f"ensemble: 2 models on 3 folds make 6 predictions, found {found}."
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        made.run(Ensemble(), **{left_out: paths})
    assert not (tmp_path / "ensemble").exists()


def test_a_prediction_of_other_tiles(tmp_path: Path) -> None:
    made = Folder(tmp_path, ["a", "b"], [0, 1, 2])
    before = [array.tobytes() for array in made.run(Ensemble())]
    bad = made.path("b", 1, "oof")
    files.write_array(bad, np.zeros((9, SIDE, SIDE), np.uint8))
    sentence = f"{bad}: expected uint8 4x4x4, found uint8 9x4x4; delete it and run snakemake again."
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        made.run(Ensemble())
    files.write_array(made.path("b", 1, "oof"), made.oof["b", 1])
    made.path("a", 2, "test").unlink()
    with pytest.raises(UserError, match=r"a/fold2/test\.npy: no such file; run the step that makes it\.$"):
        made.run(Ensemble())
    now = [np.load(tmp_path / "ensemble" / f"{split}.npy").tobytes() for split in ("oof", "test")]
    assert now == before, "what was good is not overwritten"


def test_folds_of_other_tiles(tmp_path: Path) -> None:
    made = Folder(tmp_path, ["a"], [0, 1, 2])
    table = pd.read_csv(tmp_path / "folds.csv")
    table.iloc[::-1].to_csv(tmp_path / "folds.csv", index=False)
    with pytest.raises(UserError, match=r"folds\.csv: its tiles are not those of tiles\.csv"):
        made.run(Ensemble())


def test_the_command(tmp_path: Path) -> None:
    made = Folder(tmp_path, ["a", "b"], [0, 2], seed=4)
    made.run(Ensemble(weights="search"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "ensemble").iterdir()}
    (tmp_path / "ensemble").rename(tmp_path / "by function")
    paths = [(model, fold) for model in "ab" for fold in (0, 2)]
    done = tgs_salt(
        "ensemble", "--settings", json.dumps({"ensemble": {"weights": "search"}, "folds": {"n_splits": 3, "selected": [0, 2]}}),
        "--models", "a,b", *(word for pair in paths for word in ("--oof", made.path(*pair, "oof"))),
        *(word for pair in paths for word in ("--test", made.path(*pair, "test"))), "--masks", tmp_path / "masks.npy",
        "--tiles", tmp_path / "tiles.csv", "--folds", tmp_path / "folds.csv", "--output", tmp_path / "ensemble",
        "--threads", 2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "ensemble").iterdir()} == before
    assert "(searched)" in done.stderr
