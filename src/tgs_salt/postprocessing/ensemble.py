"""`ensemble`: average the predictions of all models and folds, as probability bytes.

    python -m tgs_salt ensemble --settings '{"ensemble": {...}, "folds": {...}}' --oof ... --test ... --output ...

The weights (`ensemble.weights`: equal, set by the user, or searched) are integers, and the mean is computed in
integers, so the output is identical on every machine.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tgs_salt import files
from tgs_salt.data.folds import read_folds
from tgs_salt.data.tiles import read_masks, read_tiles
from tgs_salt.errors import UserError
from tgs_salt.log import logger, progress
from tgs_salt.postprocessing.ensemble_selection import EnsembleScorer, assemble_oof, weighted_mean
from tgs_salt.settings import Ensemble

CHUNK = 1024  # tiles averaged at a time


def ensemble(
    settings: Ensemble, *, models: list[str], selected_folds: list[int], oof: list[Path], test: list[Path],
    masks: Path, tiles: Path, folds: Path, output: Path, threads: int = 1,
) -> None:  # fmt: skip
    """Write oof.npy and test.npy, uint8 (n, h, w) in tiles.csv order, and weights.json to the folder `output`.

    A train tile gets the mean of the models that were not trained on it. Tiles of other folds than `selected_folds`
    stay zero. Searched weights are those with the best out-of-fold score against `masks`.

    Args:
        settings: Section `ensemble`.
        models: Names of the models.
        selected_folds: Folds that the models were trained for.
        oof: Out-of-fold predictions, ordered by model, then by fold.
        test: Test predictions in the same order.
        masks: train_masks.npy.
        tiles: tiles.csv.
        folds: folds.csv.
        output: Folder of the results.
        threads: Number of threads.

    Raises:
        UserError: If the number of predictions is wrong or an array does not match its tiles.
    """
    expected = len(models) * len(selected_folds)
    if len(oof) != expected or len(test) != expected:
        raise UserError(
            f"ensemble: {len(models)} models on {len(selected_folds)} folds need {expected} --oof and "
            f"{expected} --test files, found {len(oof)} and {len(test)}."
        )
    train = read_tiles(tiles, "train")
    fold_of = read_folds(folds, train["id"])
    count = len(read_tiles(tiles, "test"))
    tile_shape = files.read_array(test[0], (count, None, None)).shape[1:]

    oof_of_model = [oof[first : first + len(selected_folds)] for first in range(0, expected, len(selected_folds))]
    if settings.weights == "search":
        rows = np.flatnonzero(np.isin(fold_of, selected_folds))
        train_masks = np.asarray(read_masks(masks, (len(train), *tile_shape))[rows]).view(bool)
        predictions = [assemble_oof(paths, selected_folds, fold_of[rows], tile_shape) for paths in oof_of_model]
        weights = list(EnsembleScorer(predictions, train_masks, fold_of[rows], threads).search())
        del predictions  # free the copies of all out-of-fold predictions
    else:
        weights = [settings.weights.get(model, 1) for model in models]
    with (
        files.create_memmap(output / "oof.npy", (len(train), *tile_shape)) as result,
        progress("ensemble oof", expected) as reporter,
    ):
        for index, fold in enumerate(selected_folds):
            rows = np.flatnonzero(fold_of == fold)
            predictions = [files.read_array(paths[index], (len(rows), *tile_shape)) for paths in oof_of_model]
            for chunk in _chunks(len(rows)):
                result[rows[chunk]] = weighted_mean([array[chunk] for array in predictions], weights, threads)
            reporter.advance(len(predictions))

    predictions = [files.read_array(path, (count, *tile_shape)) for path in test]
    test_weights = [weight for weight in weights for _ in selected_folds]
    with (
        files.create_memmap(output / "test.npy", (count, *tile_shape)) as result,
        progress("ensemble test", count) as reporter,
    ):
        for chunk in _chunks(count):
            result[chunk] = weighted_mean([array[chunk] for array in predictions], test_weights, threads)
            reporter.advance(chunk.stop - chunk.start)
            files.release_pages(result, *predictions)
    content = {"weights": dict(zip(models, weights, strict=True)), "folds": selected_folds}
    files.write_json(output / "weights.json", content)
    origin = "searched" if settings.weights == "search" else "from the settings"
    logger.info(f"ensemble weights ({origin}): {', '.join(f'{m} {w}' for m, w in zip(models, weights, strict=True))}")


def _chunks(count: int) -> list[slice]:
    return [slice(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
