"""The command line: one sub-command per rule of the workflow, and a few for people.

Each command imports what it needs when it runs: torch and SMP cost seconds that `check` should not pay.
Rules pass their settings as one JSON literal, so the command that Snakemake prints can be pasted into a shell.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from tgs_salt import __version__, files, log, signals
from tgs_salt.errors import UserError
from tgs_salt.settings import LARGEST_TILE, Ensemble, Folds, Model, Predict, Runtime, Survey, Threshold, section

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="From a seismic survey to a Kaggle submission. `snakemake` runs these commands in order.",
)  # fmt: skip

Json = Annotated[str, typer.Option("--settings", help="sections of the settings, as a JSON object")]
Gpus = Annotated[str, typer.Option(help="0: compute on the CPU; 1: on one GPU; auto: on the GPU a scheduler gave")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads")]


def main() -> None:
    """Run a command. The last line says how it ended: a UserError with code 1, a signal with 128 and its number,
    anything else, after its traceback, with 2."""
    signals.listen()
    try:
        app()
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(1) from None
    except signals.Stopped as stop:
        print(f"error: {stop}", file=sys.stderr)
        raise SystemExit(stop.code) from None
    except BrokenPipeError:
        raise SystemExit(130) from None
    except MemoryError:
        print("error: out of memory; run fewer jobs at once (--cores), or on a machine with more.", file=sys.stderr)
        raise SystemExit(1) from None
    except Exception as problem:
        if isinstance(problem, OSError) and (lack := files.lack_of_room(problem)):
            print(f"error: {lack}", file=sys.stderr)
            raise SystemExit(1) from None
        traceback.print_exc()
        print(
            f"error: {type(problem).__name__}: {problem} (a bug in tgs-salt {__version__}; the lines above tell where)",
            file=sys.stderr,
        )
        raise SystemExit(2) from None


def runtime() -> Runtime:
    """Settings that must never cause a rerun reach a job by its environment, not by its parameters."""
    return section(os.environ.get("TGS_SALT_RUNTIME", '{"runtime": {}}'), "runtime", Runtime)


def granted(gpus: str) -> str:
    """`--gpus` as Snakemake grants it, or auto where Snakemake knows of none (runtime.gpus)."""
    return "auto" if runtime().gpus == "auto" else gpus


@app.callback()
def _set_up() -> None:
    log.set_up(runtime().log_level)


@app.command()
def settings(
    config: Annotated[
        list[Path] | None, typer.Argument(help="configuration files, later ones over earlier ones")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON schema of config.yaml instead")] = False,
) -> None:
    """Print the effective settings with all defaults (config.yaml, or the files given)."""
    import yaml

    from tgs_salt.settings import json_schema, load_files

    if schema:
        print(json.dumps(json_schema(), indent=2))
        return
    print(yaml.safe_dump(load_files(*(config or [Path("config.yaml")])).model_dump(), sort_keys=False), end="")


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


@app.command()
def train(
    settings: Json,
    model: Annotated[str, typer.Option(help="name of the model, for messages")],
    fold: Annotated[int, typer.Option(min=0, help="the fold that is held out")],
    images: Annotated[Path, typer.Option()],
    masks: Annotated[Path, typer.Option()],
    tiles: Annotated[Path, typer.Option()],
    folds: Annotated[Path, typer.Option()],
    output: Annotated[Path, typer.Option(help="model.pt; history.csv and timing.json go beside it")],
    init_from: Annotated[Path | None, typer.Option(help="model.pt to start from")] = None,
    teacher_oof: Annotated[Path | None, typer.Option(help="the teacher's oof.npy of the same fold")] = None,
    teacher_test: Annotated[Path | None, typer.Option(help="the teacher's test.npy of the same fold")] = None,
    test_images: Annotated[Path | None, typer.Option(help="the tiles of --teacher-test")] = None,
    gpus: Gpus = "0",
) -> None:
    """Train one model on all folds but one; goes on where an earlier run was killed."""
    from tgs_salt.learning import cpu

    chosen = section(settings, "model", Model)
    gpus = granted(gpus)
    cpu.prepare(gpus)
    from tgs_salt.learning.data import Teacher
    from tgs_salt.learning.train import Inputs, train

    teacher = None
    if teacher_oof or teacher_test:
        if not (teacher_oof and teacher_test and test_images):
            raise UserError("--teacher-oof, --teacher-test and --test-images go together.")
        teacher = Teacher(teacher_oof, teacher_test, test_images)
    inputs = Inputs(images, masks, tiles, folds, init_from, teacher)
    train(
        model, fold, chosen, inputs, output,
        gpus=gpus, slots=runtime().slots_per_device, minutes=runtime().checkpoint_minutes,
    )  # fmt: skip


@app.command()
def predict(
    settings: Json,
    split: Annotated[str, typer.Option(help="oof: the fold's own tiles; test: the test tiles")],
    model: Annotated[Path, typer.Option(help="model.pt")],
    images: Annotated[Path, typer.Option()],
    tiles: Annotated[Path, typer.Option()],
    folds: Annotated[Path, typer.Option()],
    output: Annotated[Path, typer.Option()],
    shard: Annotated[str, typer.Option(help="k/n: the k-th, from 0, of n parts of the tiles")] = "0/1",
    gpus: Gpus = "0",
) -> None:
    """Write one fold's probabilities as bytes."""
    from tgs_salt.learning import cpu

    if split not in ("oof", "test"):
        raise UserError(f"--split: expected oof or test, found {split!r}.")
    part, _, parts = shard.partition("/")
    if not (part.isdigit() and parts.isdigit() and int(part) < int(parts)):
        raise UserError(f"--shard: expected k/n with k from 0 to n - 1, such as 0/4, found {shard!r}.")
    chosen = section(settings, "predict", Predict)
    gpus = granted(gpus)
    cpu.prepare(gpus)
    from tgs_salt.learning.predict import predict

    predict(
        split, chosen, model=model, images=images, tiles=tiles, folds=folds, output=output,
        gpus=gpus, slots=runtime().slots_per_device, shard=(int(part), int(parts)),
    )  # fmt: skip


@app.command()
def gather(
    part: Annotated[list[Path], typer.Option(help="once for each part of the tiles, in order")],
    output: Annotated[Path, typer.Option()],
) -> None:
    """Join the parts of a prediction (predict.shards)."""
    from tgs_salt.decision.gather import gather

    gather(part, output)


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
    from tgs_salt.decision.ensemble import ensemble

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
    from tgs_salt.decision.threshold import threshold

    threshold(
        section(settings, "threshold", Threshold), section(settings, "folds", Folds), models=models.split(","),
        ensemble=ensemble, oof=oof, masks=masks, tiles=tiles, folds=folds, output=output,
        votes_searched=section(settings, "ensemble", Ensemble).weights == "search", threads=threads,
    )  # fmt: skip


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


@app.command()
def report(
    experiment: Annotated[Path, typer.Argument(help="results folder of the experiment, such as results/demo")],
    settings: Annotated[
        str | None,
        typer.Option("--settings", help="the effective settings, as a JSON object; settings.json if left out"),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="report.html of the experiment if left out")] = None,
    threads: Threads = 1,
) -> None:
    """Write the experiment's page, of whatever is there."""
    from tgs_salt.report.page import page

    page(experiment, output or experiment / "report.html", settings, threads)


@app.command()
def show(
    experiment: Annotated[Path, typer.Argument(help="results folder of the experiment, such as results/demo")],
    ids: Annotated[list[str], typer.Argument(help="tiles, labelled or not")],
    output: Annotated[
        Path | None, typer.Option(help="folder for the pictures; the experiment's tiles/ if left out")
    ] = None,
) -> None:
    """Draw tiles as PNGs: seismic image, truth, probability, decision, and each fold's probability."""
    from tgs_salt.report.show import show

    for path in show(experiment, ids, output or experiment / "tiles"):
        print(path)


@app.command()
def compare(
    one: Annotated[Path, typer.Argument(metavar="A", help="results folder of an experiment")],
    other: Annotated[
        Path | None, typer.Argument(metavar="[B]", help="that of another; without it A's models are compared")
    ] = None,
    threads: Threads = 1,
) -> None:
    """Put two experiments side by side (settings that differ, score difference tile by tile), or one's models."""
    from tgs_salt.report.artefacts import Experiment
    from tgs_salt.report.compare import compare
    from tgs_salt.report.variants import compare_models

    if other is None:
        compare_models(Experiment(one), threads)
        return
    compare(one, other, threads)


@app.command()
def status(
    experiment: Annotated[Path, typer.Argument(help="results folder of the experiment, such as results/demo")],
    competition: Annotated[str, typer.Option(help="where the submission would go; nothing: nowhere")] = "",
    same: Annotated[str, typer.Option(help="options of snakemake that it was run with, for the commands")] = "",
    watch: Annotated[
        bool, typer.Option("--watch", help="look again every few seconds, until all folds are trained")
    ] = False,
) -> None:
    """Show how far an experiment is, its scores, and what to type next."""
    from tgs_salt.report.status import status
    from tgs_salt.report.status import watch as look_on

    if watch:
        look_on(experiment)
    status(experiment, competition, same)


@app.command()
def export(
    experiment: Annotated[Path, typer.Argument(help="results folder of a finished experiment, such as results/demo")],
    output: Annotated[Path | None, typer.Option(help="the bundle; bundle.zip in that folder if not given")] = None,
    settings: Json = '{"predict": {}}',
) -> None:
    """Write the voting models and the decision into one file, for `segment`; no training data."""
    from tgs_salt.learning.bundle import export

    export(experiment, section(settings, "predict", Predict), output or experiment / "bundle.zip")


@app.command()
def segment(
    bundle: Annotated[Path, typer.Argument(help="what `export` wrote")],
    inputs: Annotated[list[Path], typer.Argument(help="pictures of any size (.npy too), and folders of them")],
    output: Annotated[Path, typer.Option(help="folder for what is written")],
    write: Annotated[
        list[str] | None, typer.Option(help="mask (if none is given): 1-bit PNGs; overlay; rle: masks.csv")
    ] = None,
    overlap: Annotated[int | None, typer.Option(help="pixels that windows share; else a quarter")] = None,
    depth: Annotated[
        float | None, typer.Option(help="as in depths.csv, where a network takes it; else the mean")
    ] = None,
    gpus: Gpus = "0",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores if not given")] = None,
) -> None:
    """Find the salt in pictures: tiles, or whole sections, which are read in overlapping windows."""
    from tgs_salt.learning import cpu

    gpus = granted(gpus)
    cpu.prepare(gpus)
    from tgs_salt.learning.segment import segment

    segment(
        bundle,
        inputs,
        output,
        write or ["mask"],
        overlap=overlap,
        depth=depth,
        gpus=gpus,
        slots=runtime().slots_per_device,
        threads=threads,
    )


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)
