"""Commands for the submission: submission, check-submission, submit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tgs_salt.cli.app import Threads, Tiles, app
from tgs_salt.layout import ExperimentPaths
from tgs_salt.settings import MAX_TILE_SIZE, Data

TileSize = Annotated[int, typer.Option(min=1, max=MAX_TILE_SIZE, help="Height and width of a tile in pixels.")]


@app.command()
def submission(
    test: Annotated[Path, typer.Option(help="Test predictions of the ensemble (ensemble/test.npy).")],
    threshold: Annotated[Path, typer.Option(help="Threshold and minimum area (threshold.json).")],
    tiles: Tiles,
    output: Annotated[Path, typer.Option(help="Output file, submission.csv.")],
    threads: Threads = 1,
) -> None:
    """Write the submission CSV and check it."""
    from tgs_salt.postprocessing.submission import write_submission

    write_submission(test, threshold, tiles, output, threads)


@app.command()
def check_submission(
    submission: Annotated[Path, typer.Argument(help="Submission CSV.")],
    sample: Annotated[Path, typer.Argument(help="The competition's sample_submission.csv.")],
    tile_size: TileSize = 101,
) -> None:
    """Check a submission CSV as strictly as Kaggle does.

    Also rejects run-length encodings whose runs are unsorted or could be merged.
    """
    from tgs_salt.postprocessing.submission import check_submission

    empty = check_submission(submission, sample, (tile_size, tile_size))
    print(f"{submission}: valid, {empty:,} masks without salt")


@app.command()
def submit(
    submission: Annotated[Path, typer.Option(help="Submission CSV.")],
    competition: Annotated[str, typer.Option(help="Name of the competition in its Kaggle URL.")] = str(
        Data.model_fields["competition"].default
    ),
    experiment: Annotated[
        str | None, typer.Option(help="Experiment name in the submission message (default: the name of the folder).")
    ] = None,
    receipt: Annotated[
        Path | None, typer.Option(help="Receipt to write (default: submitted.json next to the submission).")
    ] = None,
    tiles: Annotated[
        Path | None,
        typer.Option(help="Table of tiles to check against (default: data/tiles.csv next to the submission)."),
    ] = None,
    tile_size: TileSize = 101,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent without sending it.")] = False,
    wait: Annotated[float, typer.Option(min=0, help="Maximum time to wait for the score, in seconds.")] = 900,
) -> None:
    """Upload a submission to Kaggle and wait for its score.

    A file that was already submitted is not sent again.
    """
    from tgs_salt.data.tiles import read_tiles
    from tgs_salt.kaggle.submit import submit
    from tgs_salt.postprocessing.submission import check_rows

    paths = ExperimentPaths(submission.parent)
    ids = list(read_tiles(tiles or paths.tiles_csv, "test")["id"])
    check_rows(submission, ids, (tile_size, tile_size))
    submit(
        submission, competition=competition, experiment=experiment or paths.folder.resolve().name,
        receipt=receipt or paths.receipt, dry_run=dry_run, wait=wait,
    )  # fmt: skip
