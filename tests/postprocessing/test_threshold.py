"""`threshold` from files to files: the decision, the curve and the scores against straightforward loops."""

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
from helpers.reference_ensemble import mean_of, search_by_hand, tenths

from tgs_salt import files
from tgs_salt.data.folds import assign
from tgs_salt.errors import UserError
from tgs_salt.postprocessing.threshold import threshold
from tgs_salt.settings import Folds, Threshold

SIDE = 5
TILES = 24


def score(predicted: np.ndarray, truth: np.ndarray, level: int, area: int) -> int:
    """Tenths of score, summed over tiles."""
    salt = predicted >= level
    salt[salt.sum(axis=(1, 2)) < area] = False
    both, either = (salt & truth).sum(axis=(1, 2)), (salt | truth).sum(axis=(1, 2))
    return sum(map(tenths, both.tolist(), either.tolist()))


def table_of(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Sums at each level and area; levels between two neighbouring bytes mark the same pixels."""
    steps = np.unique(predicted)
    areas = (predicted[:, None] >= steps[:, None, None]).sum(axis=(2, 3))
    rows: dict[tuple[int, int], int] = {}
    table = np.zeros((256, SIDE * SIDE + 1), int)
    for level in range(256):
        like = int(np.searchsorted(steps, level))
        for area in range(SIDE * SIDE + 1):
            # Between two neighbouring areas of the tiles, all minimum areas empty the same ones.
            emptied = int((areas[:, like] < area).sum()) if like < len(steps) else 0
            if (like, emptied) not in rows:
                rows[like, emptied] = score(predicted, truth, level, area)
            table[level, area] = rows[like, emptied]
    return table


def best_pair(table: np.ndarray, level: Any, area: Any) -> tuple[int, int]:
    levels = range(256) if level == "search" else [level]
    areas = range(SIDE * SIDE + 1) if area == "search" else [area]
    best = max(table[a, b] for a in levels for b in areas)
    smallest = min(b for b in areas if any(table[a, b] == best for a in levels))
    runs: list[list[int]] = [[]]
    for a in levels:
        if table[a, smallest] == best:
            runs[-1].append(a)
        else:
            runs.append([])
    longest = max(runs, key=len)
    return longest[(len(longest) - 1) // 2], smallest


class Folder:
    """tiles.csv, folds.csv, masks, predictions of two models and the mean of them, with bytes of few levels."""

    models = ("a", "b")

    def __init__(
        self, folder: Path, used: list[int], count: int = 3, noise: tuple[float, float] = (0.25, 0.4), seed: int = 5
    ) -> None:
        rng = np.random.default_rng(seed)
        self.folder, self.used, self.count = folder, used, count
        self.truth = rng.random((TILES, SIDE, SIDE)) < rng.choice([0, 0.3, 0.7], (TILES, 1, 1))
        self.fold = np.concatenate([rng.permutation(count) for _ in range(TILES // count)])
        ids = [f"{k:03d}" for k in rng.permutation(TILES)]
        coverage = self.truth.mean(axis=(1, 2))
        depth = rng.integers(50, 90, TILES).astype(float)
        train = pd.DataFrame({"id": ids, "split": "train", "row": range(TILES), "depth": depth, "coverage": coverage})
        test = pd.DataFrame({"id": ["u"], "split": "test", "row": [0], "depth": 60.0})
        pd.concat([train, test]).assign(blank=False).to_csv(folder / "tiles.csv", index=False)
        self.table = pd.DataFrame(
            {"id": ids, "depth": depth, "coverage_class": np.ceil(coverage * 10).astype(int), "fold": self.fold}
        )
        self.table.to_csv(folder / "folds.csv", index=False)
        files.write_array(folder / "masks.npy", self.truth.astype(np.uint8))
        self.predicted: dict[str, np.ndarray] = {}
        for model, share in zip(self.models, noise, strict=True):
            wrong = rng.random(self.truth.shape) < share
            # Each fold's network has a taste of its own, so that thresholds found on others are not quite right.
            shift = 12 * self.fold[:, None, None]
            steps = rng.choice([20, 60, 100, 140, 180], self.truth.shape)
            predicted = (np.where(self.truth ^ wrong, steps + 30, steps // 2) + shift).astype(np.uint8)
            predicted[~np.isin(self.fold, used)] = 0
            self.predicted[model] = predicted
            for fold in used:
                files.write_array(self.path(model, fold), predicted[self.fold == fold])
        mean = sum(predicted.astype(int) for predicted in self.predicted.values()) // 2
        self.predicted["ensemble"] = mean.astype(np.uint8)
        files.write_array(folder / "oof.npy", self.predicted["ensemble"])

    def path(self, model: str, fold: int) -> Path:
        return self.folder / "models" / model / f"fold{fold}" / "oof.npy"

    @property
    def oof(self) -> list[Path]:
        return [self.path(model, fold) for model in self.models for fold in self.used]

    def run(self, settings: Threshold, **changed: Any) -> dict[str, Any]:
        arguments = {"ensemble": self.folder / "oof.npy", "oof": self.oof, "masks": self.folder / "masks.npy"}
        threshold(
            settings, Folds(n_splits=self.count, selected=self.used, seed=4), models=list(self.models),
            tiles=self.folder / "tiles.csv", folds=self.folder / "folds.csv", output=self.folder / "out",
            **{**arguments, **changed},
        )  # fmt: skip
        return json.loads((self.folder / "out" / "threshold.json").read_text())

    def rows(self, name: str) -> list[dict[str, str]]:
        with open(self.folder / "out" / name, newline="") as stream:
            return list(csv.DictReader(stream))

    def expected(self, name: str, part: np.ndarray, settings: Threshold) -> dict[str, Any]:
        """Choice and cross-fit of one candidate; `part` holds -1 where a tile does not count."""
        predicted, truth = self.predicted[name], self.truth
        tables = {k: table_of(predicted[part == k], truth[part == k]) for k in np.unique(part[part >= 0]).tolist()}
        total = sum(tables.values())
        pair = best_pair(total, settings.value, settings.min_area)
        reached = {k: int(own[best_pair(total - own, settings.value, settings.min_area)]) for k, own in tables.items()}
        tiles = {k: int((part == k).sum()) for k in tables}
        return {
            "pair": pair,
            "score": total[pair] / (10 * sum(tiles.values())),
            "by_part": {k: reached[k] / (10 * tiles[k]) for k in tables},
            "cross_fitted": sum(reached.values()) / (10 * sum(tiles.values())),
            "table": total,
        }


SETTINGS = [
    Threshold(), Threshold(value=128), Threshold(min_area=0), Threshold(min_area=3), Threshold(value=90, min_area=2),
]  # fmt: skip


@pytest.mark.parametrize("used", [[0, 1, 2], [0, 2]])
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: f"{s.value}-{s.min_area}")
def test_over_folds(tmp_path: Path, used: list[int], settings: Threshold) -> None:
    made = Folder(tmp_path, used)
    found = made.run(settings)
    part = np.where(np.isin(made.fold, used), made.fold, -1)
    counted = part >= 0
    expected = {name: made.expected(name, part, settings) for name in ("ensemble", *made.models)}
    chosen = expected["ensemble"]
    at_half = {
        name: {k: score(p[part == k], made.truth[part == k], 128, 0) / 10 for k in used}
        for name, p in made.predicted.items()
    }
    assert found == {
        "score": chosen["score"],
        "cross_fitted_score": chosen["cross_fitted"],
        "cross_fitted_over": "folds",
        "threshold": chosen["pair"][0],
        "min_area": chosen["pair"][1],
        "score_at_half": pytest.approx(sum(at_half["ensemble"].values()) / counted.sum(), abs=1e-12),
        "tiles": int(counted.sum()),
        "folds": used,
        "models": ["a", "b"],
    }
    assert [(row["model"], int(row["fold"]), int(row["tiles"])) for row in made.rows("scores.csv")] == [
        (name, fold, int((part == fold).sum())) for name in ("ensemble", "a", "b") for fold in used
    ]
    for row in made.rows("scores.csv"):
        name, fold = row["model"], int(row["fold"])
        own = int(row["tiles"])
        assert float(row["score_at_half"]) == pytest.approx(at_half[name][fold] / own, abs=1e-12)
        assert float(row["cross_fitted_score"]) == pytest.approx(expected[name]["by_part"][fold], abs=1e-12)


@pytest.mark.parametrize(("used", "over"), [([0, 1, 2], "folds"), ([1], "parts")])
def test_searched_votes_are_searched_anew_for_each_part(tmp_path: Path, used: list[int], over: str) -> None:
    made = Folder(tmp_path, used, noise=(0.1, 0.15))
    plain, found = made.run(Threshold(inner_splits=2)), made.run(Threshold(inner_splits=2), votes_searched=True)
    rows = np.flatnonzero(np.isin(made.fold, used))
    part = made.fold[rows] if over == "folds" else assign(made.table.iloc[rows], 2, 4)
    votes, truth = [made.predicted[model][rows] for model in made.models], made.truth[rows]
    weights, reached = {}, {}
    for name in np.unique(part).tolist():
        own, rest = part == name, part != name
        weights[name] = search_by_hand([vote[rest] for vote in votes], truth[rest])
        mean = mean_of(votes, weights[name])
        pair = best_pair(table_of(mean[rest], truth[rest]), "search", "search")
        reached[name] = score(mean[own], truth[own], *pair)
    assert found.pop("cross_fitted_weights") == {
        str(name): dict(zip(made.models, given, strict=True)) for name, given in weights.items()
    }
    assert len(set(weights.values())) > 1, "the parts disagree about the votes"
    assert found.pop("cross_fitted_score") == sum(reached.values()) / (10 * len(rows))
    del plain["cross_fitted_score"]
    assert found == plain, "the decision is the ensemble's"
    for row in made.rows("scores.csv")[: len(used)]:
        own = [reached[int(row["fold"])]] if over == "folds" else list(reached.values())
        assert row["model"] == "ensemble"
        assert float(row["cross_fitted_score"]) == pytest.approx(sum(own) / (10 * int(row["tiles"])), abs=1e-12)


def test_the_curve(tmp_path: Path) -> None:
    made = Folder(tmp_path, [0, 1, 2])
    found = made.run(Threshold())
    table = table_of(made.predicted["ensemble"], made.truth) / (10 * TILES)
    rows = made.rows("threshold.csv")
    assert [int(row["threshold"]) for row in rows] == list(range(256))
    for level, row in enumerate(rows):
        assert float(row["score"]) == pytest.approx(table[level, found["min_area"]], abs=1e-12)
        assert float(row["score_without_min_area"]) == pytest.approx(table[level, 0], abs=1e-12)
        assert float(row["best_score"]) == pytest.approx(table[level].max(), abs=1e-12)
        assert int(row["best_min_area"]) == int(np.flatnonzero(table[level] == table[level].max())[0])
    assert float(rows[found["threshold"]]["score"]) == found["score"] == max(float(row["best_score"]) for row in rows)


@pytest.mark.parametrize(("fold", "parts"), [(0, 3), (2, 2), (1, 5)])
def test_a_single_fold_is_parted(tmp_path: Path, fold: int, parts: int) -> None:
    made = Folder(tmp_path, [fold])
    settings = Threshold(inner_splits=parts)
    found = made.run(settings)
    rows = np.flatnonzero(made.fold == fold)
    part = np.full(TILES, -1)
    part[rows] = assign(made.table.iloc[rows], parts, 4)
    assert len(np.unique(part[rows])) == parts
    chosen = made.expected("ensemble", part, settings)
    assert (found["threshold"], found["min_area"], found["score"]) == (*chosen["pair"], chosen["score"])
    assert found["cross_fitted_score"] == chosen["cross_fitted"]
    assert (found["cross_fitted_over"], found["tiles"], found["folds"]) == ("parts", len(rows), [fold])
    scores = made.rows("scores.csv")
    assert [row["model"] for row in scores] == ["ensemble", "a", "b"]
    for row in scores:
        expected = made.expected(row["model"], part, settings)["cross_fitted"]
        assert float(row["cross_fitted_score"]) == pytest.approx(expected, abs=1e-12)


def test_rows_of_unused_folds_do_not_count(tmp_path: Path) -> None:
    made = Folder(tmp_path, [0, 2])
    names = ("threshold.json", "threshold.csv", "scores.csv")
    made.run(Threshold())
    before = [(tmp_path / "out" / name).read_bytes() for name in names]
    spoiled = made.predicted["ensemble"].copy()
    assert not spoiled[made.fold == 1].any()
    spoiled[made.fold == 1] = 255
    files.write_array(tmp_path / "oof.npy", spoiled)
    files.write_array(tmp_path / "masks.npy", made.truth ^ (made.fold == 1)[:, None, None])
    masks = np.load(tmp_path / "masks.npy").astype(np.uint8)
    files.write_array(tmp_path / "masks.npy", masks)
    made.run(Threshold())
    assert [(tmp_path / "out" / name).read_bytes() for name in names] == before


def test_the_cross_fitted_score_is_the_honest_one(tmp_path: Path) -> None:
    found = Folder(tmp_path, [0, 1, 2]).run(Threshold())
    assert found["cross_fitted_score"] < found["score"], "here the choice flatters itself"


@pytest.mark.parametrize("count", [5, 7])
def test_a_prediction_too_few_or_too_many(tmp_path: Path, count: int) -> None:
    made = Folder(tmp_path, [0, 1, 2])
    sentence = f"threshold: 2 models on 3 folds, but {count} predictions (--oof)."
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        made.run(Threshold(), oof=[*made.oof, *made.oof][:count])
    assert not (tmp_path / "out").exists()


def test_predictions_of_other_tiles(tmp_path: Path) -> None:
    made = Folder(tmp_path, [0, 1, 2])
    bad = made.path("b", 2)
    files.write_array(bad, np.zeros((11, SIDE, SIDE), np.uint8))
    sentence = f"{bad}: expected uint8 8x5x5, found uint8 11x5x5; delete it and run snakemake again."
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        made.run(Threshold())
    files.write_array(tmp_path / "masks.npy", np.zeros((TILES + 1, SIDE, SIDE), np.uint8))
    with pytest.raises(UserError, match=r"masks\.npy: expected uint8 24xnxn, found uint8 25x5x5; delete it"):
        made.run(Threshold())


def test_more_parts_than_tiles(tmp_path: Path) -> None:
    made = Folder(tmp_path, [1])
    sentence = "threshold.inner_splits: 20 parts need 20 tiles or more, and fold 1 has 8; set fewer parts, or train more folds."
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        made.run(Threshold(inner_splits=20))


def test_the_command(tmp_path: Path) -> None:
    made = Folder(tmp_path, [0, 1, 2])
    found = made.run(Threshold(), votes_searched=True)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    sections = {"threshold": {}, "folds": {"n_splits": 3, "seed": 4}, "ensemble": {"weights": "search"}}
    (tmp_path / "out").rename(tmp_path / "by function")
    arguments = [
        "threshold", "--settings", json.dumps(sections), "--models", "a,b",
        "--ensemble", tmp_path / "oof.npy", *(word for path in made.oof for word in ("--oof", path)),
        "--masks", tmp_path / "masks.npy", "--tiles", tmp_path / "tiles.csv", "--folds", tmp_path / "folds.csv",
        "--output", tmp_path / "out",
    ]  # fmt: skip
    done = tgs_salt(*arguments)
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert f"cross-fitted score {found['cross_fitted_score']:.4f} over folds" in done.stdout
