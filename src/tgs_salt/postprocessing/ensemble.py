"""`ensemble`: the votes of all models and folds, as one probability byte a pixel.

    python -m tgs_salt ensemble --settings '{"ensemble": {...}, "folds": {...}}' --oof ... --test ... --output ...

Votes are whole numbers (`ensemble.weights`: equal, as set, or searched) and so is the mean: the same bytes on every
machine.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tgs_salt import files
from tgs_salt.data.folds import read_folds
from tgs_salt.data.tiles import read_masks, read_tiles
from tgs_salt.errors import UserError
from tgs_salt.log import logger, progress
from tgs_salt.postprocessing.ensemble_selection import Scores, out_of_fold, weighted_mean
from tgs_salt.settings import Ensemble

CHUNK = 1024


def ensemble(
    settings: Ensemble, *, models: list[str], used: list[int], oof: list[Path], test: list[Path],
    masks: Path, tiles: Path, folds: Path, output: Path, threads: int = 1,
) -> None:  # fmt: skip
    """Write oof.npy and test.npy, uint8 (n, side, side) in tiles.csv order, and weights.json into `output`.

    `oof` and `test` are the predictions of each model in turn, and of each used fold within it. A train tile gets the
    vote of the models that did not see it; tiles of folds that are not used stay zero. Weights are equal, as set, or
    searched: those that score best out of fold against `masks`. Raises UserError if an array does not fit its tiles.
    """
    wanted = len(models) * len(used)
    if len(oof) != wanted or len(test) != wanted:
        raise UserError(
            f"ensemble: {len(models)} models on {len(used)} folds make {wanted} predictions, "
            f"found {len(oof)} --oof and {len(test)} --test."
        )
    train = read_tiles(tiles, "train")
    fold_of = read_folds(folds, train["id"])
    count = len(read_tiles(tiles, "test"))
    side = files.read_array(test[0], (count, None, None)).shape[1:]

    by_model = [oof[first : first + len(used)] for first in range(0, wanted, len(used))]
    if settings.weights == "search":
        rows = np.flatnonzero(np.isin(fold_of, used))
        truth = np.asarray(read_masks(masks, (len(train), *side))[rows]).view(bool)
        votes = [out_of_fold(paths, used, fold_of[rows], side) for paths in by_model]
        weights = list(Scores(votes, truth, fold_of[rows], threads).search())
        del votes
    else:
        weights = [settings.weights.get(model, 1) for model in models]
    with (
        files.create_memmap(output / "oof.npy", (len(train), *side)) as filled,
        progress("ensemble oof", wanted) as done,
    ):
        for index, fold in enumerate(used):
            rows = np.flatnonzero(fold_of == fold)
            votes = [files.read_array(paths[index], (len(rows), *side)) for paths in by_model]
            for part in _parts(len(rows)):
                filled[rows[part]] = weighted_mean([vote[part] for vote in votes], weights, threads)
            done.advance(len(votes))

    every = [files.read_array(path, (count, *side)) for path in test]
    every_weight = [weight for weight in weights for _ in used]
    with files.create_memmap(output / "test.npy", (count, *side)) as filled, progress("ensemble test", count) as done:
        for part in _parts(count):
            filled[part] = weighted_mean([vote[part] for vote in every], every_weight, threads)
            done.advance(part.stop - part.start)
            files.release_pages(filled, *every)
    files.write_json(output / "weights.json", {"weights": dict(zip(models, weights, strict=True)), "folds": used})
    how = "searched" if settings.weights == "search" else "as set"
    logger.info(f"ensemble of {', '.join(f'{w} x {m}' for m, w in zip(models, weights, strict=True))} ({how})")


def _parts(count: int) -> list[slice]:
    return [slice(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
