"""Commands that use trained models: export, segment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tgs_salt.cli.app import ExperimentDir, Gpus, SettingsJson, app, resolve_gpus, runtime
from tgs_salt.layout import ExperimentPaths
from tgs_salt.settings import Predict, parse_section


@app.command()
def export(
    experiment: ExperimentDir,
    output: Annotated[
        Path | None, typer.Option(help="Output file (default: bundle.zip in the results folder).")
    ] = None,
    settings: SettingsJson = '{"predict": {}}',
) -> None:
    """Bundle the ensemble and its threshold for `segment`.

    The bundle contains no training data.
    """
    from tgs_salt.inference.bundle import export

    export(experiment, parse_section(settings, "predict", Predict), output or ExperimentPaths(experiment).bundle)


@app.command()
def segment(
    bundle: Annotated[Path, typer.Argument(help="Bundle written by `tgs-salt export`.")],
    inputs: Annotated[
        list[Path], typer.Argument(help="Images or 2-D uint8 .npy arrays of any size, or folders of them.")
    ],
    output: Annotated[Path, typer.Option(help="Output folder.")],
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="Output format, repeatable. mask (default): 1-bit PNG; overlay: PNG with tinted salt; rle: masks.csv.",
        ),
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(help="Overlap of neighboring windows in pixels (default: a quarter of a tile).")
    ] = None,
    depth: Annotated[
        float | None,
        typer.Option(help="Depth as in depths.csv, for models with depth_channels (default: the mean depth)."),
    ] = None,
    gpus: Gpus = "0",
    threads: Annotated[int | None, typer.Option(min=1, help="Number of CPU threads (default: all cores).")] = None,
) -> None:
    """Segment salt in images of any size.

    Images larger than a tile are processed in overlapping windows.
    """
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
        jobs_per_gpu=runtime().jobs_per_gpu,
        threads=threads,
    )
