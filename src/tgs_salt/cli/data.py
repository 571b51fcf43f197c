"""Commands that make the dataset: synthesize, download, preprocess, folds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tgs_salt.cli.app import SettingsJson, Threads, Tiles, app
from tgs_salt.errors import UserError
from tgs_salt.settings import Data, Folds, parse_section


@app.command()
def synthesize(
    settings: SettingsJson, output: Annotated[Path, typer.Option(help="Output folder of the dataset.")]
) -> None:
    """Generate a synthetic dataset in Kaggle's layout."""
    from tgs_salt.synthetic.synthesize import synthesize

    data = parse_section(settings, "data", Data)
    if data.train_tiles is None or data.test_tiles is None:
        raise UserError("data.train_tiles and data.test_tiles: set the number of tiles to generate.")
    synthesize(
        output,
        seed=data.seed,
        train_tiles=data.train_tiles,
        test_tiles=data.test_tiles,
        tile_size=data.tile_size,
    )


@app.command()
def download(
    competition: Annotated[str, typer.Option(help="Name of the competition in its Kaggle URL.")],
    archive: Annotated[Path, typer.Option(help="Path of the zip; an existing file is verified and used.")],
    settings: SettingsJson = '{"data": {}}',
    timeout: Annotated[float, typer.Option(min=1, help="Time limit of the whole download, in seconds.")] = 3600,
    stall: Annotated[float, typer.Option(min=1, help="Retry after this many seconds without receiving data.")] = 180,
) -> None:
    """Download and verify the competition's archive.

    Uses the official kaggle client.
    """
    from tgs_salt.data.preprocess import open_dataset
    from tgs_salt.kaggle.download import download

    data = parse_section(settings, "data", Data)
    download(competition, archive, timeout=timeout, stall_timeout=stall, verify=lambda path: open_dataset(path, data))


@app.command()
def preprocess(
    settings: SettingsJson,
    source: Annotated[Path, typer.Option(help="Dataset in Kaggle's layout, a folder or zip.")],
    output: Annotated[Path, typer.Option(help="Output folder of the arrays and tiles.csv.")],
    threads: Threads = 2,
) -> None:
    """Convert the dataset to uint8 arrays and tiles.csv."""
    from tgs_salt.data.preprocess import preprocess

    preprocess(source, output, parse_section(settings, "data", Data), threads)


@app.command()
def folds(
    settings: SettingsJson,
    tiles: Tiles,
    output: Annotated[Path, typer.Option(help="Output table of folds, folds.csv.")],
) -> None:
    """Assign each labeled tile to a cross-validation fold.

    Folds are stratified by depth and coverage.
    """
    from tgs_salt.data.folds import folds

    folds(tiles, output, parse_section(settings, "folds", Folds))
