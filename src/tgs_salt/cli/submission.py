"""Commands about the file for Kaggle: write, check, send."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tgs_salt.cli.base import Threads, app
from tgs_salt.settings import LARGEST_TILE, Survey


@app.command()
def submission(
    test: Annotated[Path, typer.Option(help="the ensemble's test.npy")],
    decision: Annotated[Path, typer.Option(help="threshold.json")],
    tiles: Annotated[Path, typer.Option()],
    output: Annotated[Path, typer.Option()],
    threads: Threads = 1,
) -> None:
    """Write the CSV for Kaggle, and check it."""
    from tgs_salt.submission.table import write

    write(test, decision, tiles, output, threads)


@app.command()
def check(
    submission: Annotated[Path, typer.Argument()],
    sample: Annotated[Path, typer.Argument(help="the competition's sample_submission.csv")],
    tile_size: Annotated[int, typer.Option(min=1, max=LARGEST_TILE)] = 101,
) -> None:
    """Check a submission as strictly as Kaggle would, and more."""
    from tgs_salt.submission.table import check

    empty = check(submission, sample, (tile_size, tile_size))
    print(f"{submission}: valid, {empty:,} masks without salt")


@app.command()
def submit(
    submission: Annotated[Path, typer.Option()],
    competition: Annotated[str, typer.Option()] = str(Survey.model_fields["competition"].default),
    experiment: Annotated[str | None, typer.Option(help="its name, for the message; default: the folder's")] = None,
    receipt: Annotated[Path | None, typer.Option(help="default: submitted.json beside the submission")] = None,
    tiles: Annotated[
        Path | None, typer.Option(help="to check the submission against; default: survey/tiles.csv beside it")
    ] = None,
    side: Annotated[int, typer.Option("--tile-size", min=1, max=LARGEST_TILE)] = 101,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would be sent, and send nothing")] = False,
    wait: Annotated[float, typer.Option(min=0, help="seconds to wait for the score")] = 900,
) -> None:
    """Send a submission to Kaggle, once, and wait for its score."""
    from tgs_salt.submission.submit import submit
    from tgs_salt.submission.table import check_rows
    from tgs_salt.survey.tiles import read_tiles

    folder = submission.parent
    check_rows(submission, list(read_tiles(tiles or folder / "survey" / "tiles.csv", "test")["id"]), (side, side))
    submit(
        submission, competition=competition, experiment=experiment or folder.resolve().name,
        receipt=receipt or folder / "submitted.json", dry_run=dry_run, wait=wait,
    )  # fmt: skip
