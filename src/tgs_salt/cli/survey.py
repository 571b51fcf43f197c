"""Commands of the rules that bring the tiles: synthesise, download, pack, folds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tgs_salt.cli.base import Json, Threads, app
from tgs_salt.errors import UserError
from tgs_salt.settings import Folds, Survey, section


@app.command()
def synthesise(settings: Json, output: Annotated[Path, typer.Option(help="folder for the survey")]) -> None:
    """Draw a synthetic survey in Kaggle's layout."""
    from tgs_salt.survey.synthesise import synthesise

    survey = section(settings, "survey", Survey)
    if survey.train_tiles is None or survey.test_tiles is None:
        raise UserError("survey.train_tiles and survey.test_tiles: say how many tiles to draw.")
    synthesise(
        output,
        seed=survey.seed,
        train_tiles=survey.train_tiles,
        test_tiles=survey.test_tiles,
        tile_size=survey.tile_size,
    )


@app.command()
def download(
    competition: Annotated[str, typer.Option(help="Kaggle's name of the competition")],
    archive: Annotated[Path, typer.Option(help="where the zip goes; one that lies there already is checked and used")],
    settings: Json = '{"survey": {}}',
    timeout: Annotated[float, typer.Option(min=1, help="seconds that the whole download may take")] = 3600,
    stall: Annotated[float, typer.Option(min=1, help="seconds without a byte after which it is tried again")] = 180,
) -> None:
    """Fetch the competition's archive with the official kaggle client, verified."""
    from tgs_salt.survey.download import download
    from tgs_salt.survey.pack import find

    survey = section(settings, "survey", Survey)
    download(competition, archive, timeout=timeout, stall=stall, verify=lambda path: find(path, survey))


@app.command()
def pack(
    settings: Json,
    source: Annotated[Path, typer.Option(help="folder or zip in Kaggle's layout")],
    output: Annotated[Path, typer.Option(help="folder for the arrays and tiles.csv")],
    threads: Threads = 2,
) -> None:
    """Turn the survey's PNGs into checked uint8 arrays and one table."""
    from tgs_salt.survey.pack import pack

    pack(source, output, section(settings, "survey", Survey), threads)


@app.command()
def folds(settings: Json, tiles: Annotated[Path, typer.Option()], output: Annotated[Path, typer.Option()]) -> None:
    """Assign a fold to each labelled tile, stratified by depth and coverage."""
    from tgs_salt.survey.folds import folds

    folds(tiles, output, section(settings, "folds", Folds))
