"""Commands about the file for Kaggle: write, check, send."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tgs_salt.cli.app import Threads, app
from tgs_salt.settings import MAX_TILE_SIZE, Data


@app.command()
def submission(
    test: Annotated[Path, typer.Option(help="the ensemble's test.npy")],
    decision: Annotated[Path, typer.Option(help="threshold.json")],
    tiles: Annotated[Path, typer.Option()],
    output: Annotated[Path, typer.Option()],
    threads: Threads = 1,
) -> None:
    """Write the CSV for Kaggle, and check it."""
    from tgs_salt.postprocessing.submission import write_submission

    write_submission(test, decision, tiles, output, threads)


@app.command()
def check_submission(
    submission: Annotated[Path, typer.Argument()],
    sample: Annotated[Path, typer.Argument(help="the competition's sample_submission.csv")],
    tile_size: Annotated[int, typer.Option(min=1, max=MAX_TILE_SIZE)] = 101,
) -> None:
    """Check a submission as strictly as Kaggle would, and more."""
    from tgs_salt.postprocessing.submission import check_submission

    empty = check_submission(submission, sample, (tile_size, tile_size))
    print(f"{submission}: valid, {empty:,} masks without salt")


@app.command()
def submit(
    submission: Annotated[Path, typer.Option()],
    competition: Annotated[str, typer.Option()] = str(Data.model_fields["competition"].default),
    experiment: Annotated[str | None, typer.Option(help="its name, for the message; default: the folder's")] = None,
    receipt: Annotated[Path | None, typer.Option(help="default: submitted.json beside the submission")] = None,
    tiles: Annotated[
        Path | None, typer.Option(help="to check the submission against; default: data/tiles.csv beside it")
    ] = None,
    side: Annotated[int, typer.Option("--tile-size", min=1, max=MAX_TILE_SIZE)] = 101,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would be sent, and send nothing")] = False,
    wait: Annotated[float, typer.Option(min=0, help="seconds to wait for the score")] = 900,
) -> None:
    """Send a submission to Kaggle, once, and wait for its score."""
    from tgs_salt.data.tiles import read_tiles
    from tgs_salt.kaggle.submit import submit
    from tgs_salt.postprocessing.submission import check_rows

    folder = submission.parent
    check_rows(submission, list(read_tiles(tiles or folder / "data" / "tiles.csv", "test")["id"]), (side, side))
    submit(
        submission, competition=competition, experiment=experiment or folder.resolve().name,
        receipt=receipt or folder / "submitted.json", dry_run=dry_run, wait=wait,
    )  # fmt: skip
