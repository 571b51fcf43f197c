"""Commands of the rules from predictions to a decision: gather, ensemble, threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tgs_salt.cli.app import Json, Threads, app
from tgs_salt.settings import Ensemble, Folds, Threshold, section


@app.command()
def merge_shards(
    part: Annotated[list[Path], typer.Option(help="once for each part of the tiles, in order")],
    output: Annotated[Path, typer.Option()],
) -> None:
    """Join the parts of a prediction (predict.shards)."""
    from tgs_salt.inference.merge_shards import merge_shards

    merge_shards(part, output)


@app.command()
def ensemble(
    settings: Json,
    models: Annotated[str, typer.Option(help="names of the voting models, with commas")],
    tiles: Annotated[Path, typer.Option()],
    folds: Annotated[Path, typer.Option()],
    oof: Annotated[list[Path], typer.Option(help="once for each model in turn, and each fold within it")],
    test: Annotated[list[Path], typer.Option(help="likewise")],
    masks: Annotated[Path, typer.Option(help="what searched weights are judged by")],
    output: Annotated[Path, typer.Option(help="folder for oof.npy, test.npy and weights.json")],
    threads: Threads = 1,
) -> None:
    """Average the votes of all models and folds."""
    from tgs_salt.postprocessing.ensemble import ensemble

    ensemble(
        section(settings, "ensemble", Ensemble), models=models.split(","), used=section(settings, "folds", Folds).used,
        oof=oof, test=test, masks=masks, tiles=tiles, folds=folds, output=output, threads=threads,
    )  # fmt: skip


@app.command()
def threshold(
    settings: Json,
    models: Annotated[str, typer.Option(help="names of the voting models, with commas")],
    ensemble: Annotated[Path, typer.Option(help="the ensemble's oof.npy")],
    oof: Annotated[list[Path], typer.Option(help="once for each model in turn, and each fold within it")],
    masks: Annotated[Path, typer.Option()],
    tiles: Annotated[Path, typer.Option()],
    folds: Annotated[Path, typer.Option()],
    output: Annotated[Path, typer.Option(help="folder for threshold.json, threshold.csv and scores.csv")],
    threads: Threads = 1,
) -> None:
    """Find the best threshold and minimum area, and what they are worth."""
    from tgs_salt.postprocessing.threshold import threshold

    threshold(
        section(settings, "threshold", Threshold), section(settings, "folds", Folds), models=models.split(","),
        ensemble=ensemble, oof=oof, masks=masks, tiles=tiles, folds=folds, output=output,
        votes_searched=section(settings, "ensemble", Ensemble).weights == "search", threads=threads,
    )  # fmt: skip
