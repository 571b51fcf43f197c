"""Commands for who uses what was trained: export, segment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tgs_salt.cli.app import Gpus, Json, app, resolve_gpus, runtime
from tgs_salt.settings import Predict, section


@app.command()
def export(
    experiment: Annotated[Path, typer.Argument(help="results folder of a finished experiment, such as results/demo")],
    output: Annotated[Path | None, typer.Option(help="the bundle; bundle.zip in that folder if not given")] = None,
    settings: Json = '{"predict": {}}',
) -> None:
    """Write the voting models and the decision into one file, for `segment`; no training data."""
    from tgs_salt.inference.bundle import export

    export(experiment, section(settings, "predict", Predict), output or experiment / "bundle.zip")


@app.command()
def segment(
    bundle: Annotated[Path, typer.Argument(help="what `export` wrote")],
    inputs: Annotated[list[Path], typer.Argument(help="pictures of any size (.npy too), and folders of them")],
    output: Annotated[Path, typer.Option(help="folder for what is written")],
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="mask (if none is given): 1-bit PNGs; overlay; rle: masks.csv")
    ] = None,
    overlap: Annotated[int | None, typer.Option(help="pixels that windows share; else a quarter")] = None,
    depth: Annotated[
        float | None, typer.Option(help="as in depths.csv, where a network takes it; else the mean")
    ] = None,
    gpus: Gpus = "0",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores if not given")] = None,
) -> None:
    """Find the salt in pictures: tiles, or whole sections, which are read in overlapping windows."""
    from tgs_salt.compute import cpu_env

    gpus = resolve_gpus(gpus)
    cpu_env.prepare(gpus)
    from tgs_salt.inference.segment import segment

    segment(
        bundle,
        inputs,
        output,
        formats or ["mask"],
        overlap=overlap,
        depth=depth,
        gpus=gpus,
        slots=runtime().jobs_per_gpu,
        threads=threads,
    )
