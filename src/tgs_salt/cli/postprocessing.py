"""Commands from predictions to a threshold: merge-shards, ensemble, threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tgs_salt.cli.app import FoldsCsv, Masks, SettingsJson, Threads, Tiles, app
from tgs_salt.settings import Ensemble, Folds, Threshold, parse_section

Models = Annotated[str, typer.Option(help="Names of the ensemble's models, separated by commas.")]
Oof = Annotated[
    list[Path],
    typer.Option(help="Out-of-fold predictions (oof.npy), repeated for each model and, within a model, each fold."),
]


@app.command()
def merge_shards(
    shard: Annotated[list[Path], typer.Option(help="Predictions of one shard, repeated for each shard in order.")],
    output: Annotated[Path, typer.Option(help="Output array, test.npy.")],
) -> None:
    """Concatenate the shards of a prediction (predict.shards)."""
    from tgs_salt.inference.merge_shards import merge_shards

    merge_shards(shard, output)


@app.command()
def ensemble(
    settings: SettingsJson,
    models: Models,
    tiles: Tiles,
    folds: FoldsCsv,
    oof: Oof,
    test: Annotated[list[Path], typer.Option(help="Test predictions (test.npy), in the same order as --oof.")],
    masks: Masks,
    output: Annotated[Path, typer.Option(help="Output folder of oof.npy, test.npy and weights.json.")],
    threads: Threads = 1,
) -> None:
    """Average the predictions of all models and folds."""
    from tgs_salt.postprocessing.ensemble import ensemble

    ensemble(
        parse_section(settings, "ensemble", Ensemble), models=models.split(","),
        selected_folds=parse_section(settings, "folds", Folds).selected_folds,
        oof=oof, test=test, masks=masks, tiles=tiles, folds=folds, output=output, threads=threads,
    )  # fmt: skip


@app.command()
def threshold(
    settings: SettingsJson,
    models: Models,
    ensemble: Annotated[Path, typer.Option(help="Out-of-fold predictions of the ensemble (ensemble/oof.npy).")],
    oof: Oof,
    masks: Masks,
    tiles: Tiles,
    folds: FoldsCsv,
    output: Annotated[Path, typer.Option(help="Output folder of threshold.json, threshold.csv and scores.csv.")],
    threads: Threads = 1,
) -> None:
    """Search the best threshold and minimum area.

    Also writes the out-of-fold and cross-fitted scores.
    """
    from tgs_salt.postprocessing.threshold import threshold

    threshold(
        parse_section(settings, "threshold", Threshold), parse_section(settings, "folds", Folds),
        models=models.split(","), ensemble=ensemble, oof=oof, masks=masks, tiles=tiles, folds=folds, output=output,
        weights_searched=parse_section(settings, "ensemble", Ensemble).weights == "search", threads=threads,
    )  # fmt: skip
