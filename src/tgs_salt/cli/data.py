"""Commands of the rules that bring the tiles: synthesize, download, pack, folds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tgs_salt.cli.app import Json, Threads, app
from tgs_salt.errors import UserError
from tgs_salt.settings import Data, Folds, section


@app.command()
def synthesize(settings: Json, output: Annotated[Path, typer.Option(help="folder for the dataset")]) -> None:
    """Draw a synthetic dataset in Kaggle's layout."""
    from tgs_salt.synthetic.synthesize import synthesize

    data = section(settings, "data", Data)
    if data.train_tiles is None or data.test_tiles is None:
        raise UserError("data.train_tiles and data.test_tiles: say how many tiles to draw.")
    synthesize(
        output,
        seed=data.seed,
        train_tiles=data.train_tiles,
        test_tiles=data.test_tiles,
        tile_size=data.tile_size,
    )


@app.command()
def download(
    competition: Annotated[str, typer.Option(help="Kaggle's name of the competition")],
    archive: Annotated[Path, typer.Option(help="where the zip goes; one that lies there already is checked and used")],
    settings: Json = '{"data": {}}',
    timeout: Annotated[float, typer.Option(min=1, help="seconds that the whole download may take")] = 3600,
    stall: Annotated[float, typer.Option(min=1, help="seconds without a byte after which it is tried again")] = 180,
) -> None:
    """Fetch the competition's archive with the official kaggle client, verified."""
    from tgs_salt.data.preprocess import find
    from tgs_salt.kaggle.download import download

    data = section(settings, "data", Data)
    download(competition, archive, timeout=timeout, stall=stall, verify=lambda path: find(path, data))


@app.command()
def preprocess(
    settings: Json,
    source: Annotated[Path, typer.Option(help="folder or zip in Kaggle's layout")],
    output: Annotated[Path, typer.Option(help="folder for the arrays and tiles.csv")],
    threads: Threads = 2,
) -> None:
    """Turn the dataset's PNGs into checked uint8 arrays and one table."""
    from tgs_salt.data.preprocess import preprocess

    preprocess(source, output, section(settings, "data", Data), threads)


@app.command()
def folds(settings: Json, tiles: Annotated[Path, typer.Option()], output: Annotated[Path, typer.Option()]) -> None:
    """Assign a fold to each labelled tile, stratified by depth and coverage."""
    from tgs_salt.data.folds import folds

    folds(tiles, output, section(settings, "folds", Folds))
