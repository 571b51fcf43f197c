"""Commands of the rules that train and predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tgs_salt.cli.app import Gpus, Json, app, resolve_gpus, runtime
from tgs_salt.errors import UserError
from tgs_salt.settings import Model, Predict, section


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
    from tgs_salt.compute import cpu_env

    chosen = section(settings, "model", Model)
    gpus = resolve_gpus(gpus)
    cpu_env.prepare(gpus)
    from tgs_salt.training.fit import Inputs, train
    from tgs_salt.training.fold_data import Teacher

    teacher = None
    if teacher_oof or teacher_test:
        if not (teacher_oof and teacher_test and test_images):
            raise UserError("--teacher-oof, --teacher-test and --test-images go together.")
        teacher = Teacher(teacher_oof, teacher_test, test_images)
    inputs = Inputs(images, masks, tiles, folds, init_from, teacher)
    train(
        model, fold, chosen, inputs, output,
        gpus=gpus, slots=runtime().jobs_per_gpu, minutes=runtime().checkpoint_minutes,
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
    from tgs_salt.compute import cpu_env

    if split not in ("oof", "test"):
        raise UserError(f"--split: expected oof or test, found {split!r}.")
    part, _, parts = shard.partition("/")
    if not (part.isdigit() and parts.isdigit() and int(part) < int(parts)):
        raise UserError(f"--shard: expected k/n with k from 0 to n - 1, such as 0/4, found {shard!r}.")
    chosen = section(settings, "predict", Predict)
    gpus = resolve_gpus(gpus)
    cpu_env.prepare(gpus)
    from tgs_salt.inference.predict import predict

    predict(
        split, chosen, model=model, images=images, tiles=tiles, folds=folds, output=output,
        gpus=gpus, slots=runtime().jobs_per_gpu, shard=(int(part), int(parts)),
    )  # fmt: skip
