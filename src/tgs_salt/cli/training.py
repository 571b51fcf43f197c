"""Commands that train and predict: train, predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tgs_salt.cli.app import FoldsCsv, Gpus, Masks, SettingsJson, Tiles, app, resolve_gpus, runtime
from tgs_salt.errors import UserError
from tgs_salt.settings import Model, Predict, parse_section


@app.command()
def train(
    settings: SettingsJson,
    model: Annotated[str, typer.Option(help="Name of the model, for log messages.")],
    fold: Annotated[int, typer.Option(min=0, help="Held-out fold.")],
    images: Annotated[Path, typer.Option(help="Images of the labeled tiles (data/train_images.npy).")],
    masks: Masks,
    tiles: Tiles,
    folds: FoldsCsv,
    output: Annotated[Path, typer.Option(help="Output model.pt; history.csv and timing.json are written next to it.")],
    init_from: Annotated[Path | None, typer.Option(help="model.pt whose weights the training starts from.")] = None,
    teacher_oof: Annotated[
        Path | None, typer.Option(help="oof.npy of the teacher, same fold, for pseudo-labels.")
    ] = None,
    teacher_test: Annotated[
        Path | None, typer.Option(help="test.npy of the teacher, same fold, for pseudo-labels.")
    ] = None,
    test_images: Annotated[
        Path | None, typer.Option(help="Images of the test tiles, required by --teacher-test.")
    ] = None,
    gpus: Gpus = "0",
) -> None:
    """Train one model with one fold held out.

    An interrupted training resumes from its last checkpoint.
    """
    from tgs_salt.compute import cpu_env

    model_settings = parse_section(settings, "model", Model)
    gpus = resolve_gpus(gpus)
    cpu_env.prepare(gpus)
    from tgs_salt.training.fit import TrainingInputs, train
    from tgs_salt.training.fold_data import Teacher

    teacher = None
    if teacher_oof or teacher_test:
        if not (teacher_oof and teacher_test and test_images):
            raise UserError("--teacher-oof, --teacher-test and --test-images must be given together.")
        teacher = Teacher(teacher_oof, teacher_test, test_images)
    inputs = TrainingInputs(images, masks, tiles, folds, init_from, teacher)
    train(
        model, fold, model_settings, inputs, output,
        gpus=gpus, jobs_per_gpu=runtime().jobs_per_gpu, checkpoint_minutes=runtime().checkpoint_minutes,
    )  # fmt: skip


@app.command()
def predict(
    settings: SettingsJson,
    split: Annotated[str, typer.Option(help="oof: the tiles of the held-out fold; test: the test tiles.")],
    model: Annotated[Path, typer.Option(help="Trained model (model.pt).")],
    images: Annotated[Path, typer.Option(help="Images of the split (train_images.npy or test_images.npy).")],
    tiles: Tiles,
    folds: FoldsCsv,
    output: Annotated[Path, typer.Option(help="Output array of uint8 probabilities (oof.npy or test.npy).")],
    shard: Annotated[str, typer.Option(help="k/n: predict only shard k of n, counted from 0.")] = "0/1",
    gpus: Gpus = "0",
) -> None:
    """Predict the probabilities of one model and fold."""
    from tgs_salt.compute import cpu_env

    if split not in ("oof", "test"):
        raise UserError(f"--split: expected oof or test, found {split!r}.")
    index, _, count = shard.partition("/")
    if not (index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise UserError(f"--shard: expected k/n with k from 0 to n - 1, such as 0/4, found {shard!r}.")
    predict_settings = parse_section(settings, "predict", Predict)
    gpus = resolve_gpus(gpus)
    cpu_env.prepare(gpus)
    from tgs_salt.inference.predict import predict

    predict(
        split, predict_settings, model=model, images=images, tiles=tiles, folds=folds, output=output,
        gpus=gpus, jobs_per_gpu=runtime().jobs_per_gpu, shard=(int(index), int(count)),
    )  # fmt: skip
