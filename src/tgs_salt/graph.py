"""The workflow's logic: inputs, parameters and messages of the rules, as functions of the settings.

workflow/rules/common.smk calls these functions. This module imports in a fraction of a second: every job parses the
Snakefile.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tgs_salt import files
from tgs_salt.errors import UserError
from tgs_salt.kaggle import kaggle_input_dir
from tgs_salt.layout import ExperimentPaths
from tgs_salt.provenance import rule_digest
from tgs_salt.settings import Data, Settings, load, read_yaml
from tgs_salt.synthetic import SYNTHETIC_FILES, synthetic_folder

RULE_PATHS = ExperimentPaths(Path("<results>"))  # Snakemake replaces the path variable <results>
ENCODER_WEIGHTS = ("bundled", "imagenet", "none")  # any other value of encoder_weights is a file


def load_settings(config: Mapping[str, Any], configfiles: Iterable[Path | str]) -> Settings:
    """Check Snakemake's merged configuration.

    The files are read again because Snakemake silently keeps the last of two equal keys.
    Raises UserError for an invalid key or value.
    """
    try:
        for path in configfiles:
            read_yaml(Path(path))
        return load(config)
    except UserError as error:
        raise UserError(f"configuration: {error}") from None


def experiment_paths(settings: Settings) -> ExperimentPaths:
    """Return the paths of the experiment, relative to the working directory."""
    return ExperimentPaths(Path("results") / settings.name)


# Parameters: Snakemake compares them as text and reruns a rule whose parameters changed.


def sections_json(**sections: BaseModel) -> str:
    """Return the settings of a rule as one JSON literal.

    Keys that change no output are left out: the model that a model extends, and the number of prediction shards.
    """
    values = {
        name: section.model_dump(mode="json", exclude={"extends", "shards"}) for name, section in sections.items()
    }
    return json.dumps(values, sort_keys=True)


def data_json(data: Data, *keys: str) -> str:
    """Return the named keys of `data` as one JSON literal, so that unused keys, such as a seed, cause no rerun."""
    return json.dumps({"data": data.model_dump(mode="json", include=set(keys))}, sort_keys=True)


def effective_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that determine the results, without models that are not trained, for the report."""
    models = {name: settings.models[name] for name in settings.required_models}
    return {
        "data": settings.data.model_dump(mode="json", include={"source", "competition", "tile_size"}),
        "folds": settings.folds.model_dump(mode="json"),
        "models": {name: model.model_dump(mode="json", exclude={"extends"}) for name, model in models.items()},
        "predict": settings.predict.model_dump(mode="json"),
        "ensemble": settings.ensemble.model_dump(mode="json"),
        "threshold": settings.threshold.model_dump(mode="json"),
    }


def prediction_code(settings: Settings, model: str) -> str:
    """Return the digest of the prediction code, so that a code change predicts again.

    It is empty for teachers: new predictions of a teacher would train its students again.
    """
    teachers = {settings.models[name].teacher for name in settings.required_models}
    return "" if model in teachers else rule_digest("predict")


# Inputs.


def needs_download(data: Data) -> bool:
    """Whether the data comes from Kaggle and is not mounted, as it is in a Kaggle notebook."""
    return data.source == "kaggle" and kaggle_input_dir(data.competition) is None


def data_source(data: Data) -> str:
    """Return the folder or zip that `preprocess` reads."""
    if data.source == "synthetic":
        return synthetic_folder(data)
    if data.source == "kaggle":
        return kaggle_input_dir(data.competition) or f"data/{data.competition}/{data.competition}.zip"
    return os.path.normpath(os.path.expanduser(str(data.directory)))  # noqa: PTH111 (Path raises for an unknown ~user)


def data_source_files(data: Data) -> list[str]:
    """Return the input files of `preprocess`: outputs of another rule, or the files found in the data source.

    Raises UserError if `data.directory` does not exist.
    """
    source = data_source(data)
    if data.source == "synthetic":
        return [f"{source}/{name}" for name in SYNTHETIC_FILES]
    if needs_download(data):
        return [f"data/{data.competition}/{data.competition}.json"]
    if Path(source).is_file():
        return [source]
    if not Path(source).is_dir():
        raise UserError(f"data.directory: there is no folder or zip {source} (paths are relative to {Path.cwd()}).")
    # Other files, such as notes and logs, are not part of the dataset.
    names = [path.name for path in Path(source).iterdir() if path.name.endswith((".csv", ".zip")) or path.is_dir()]
    return sorted(f"{source}/{name}" for name in names if not name.startswith("."))


def stage_inputs(settings: Settings, model: str, fold: int | str) -> dict[str, str]:
    """Return the inputs that `train` needs from earlier models of the same fold, and a file of encoder weights."""
    keys = settings.models[model]
    inputs: dict[str, Path | str] = {}
    if keys.architecture == "unet" and keys.encoder_weights not in ENCODER_WEIGHTS:
        inputs["encoder_weights"] = keys.encoder_weights
    if keys.init_from:
        inputs["init_from"] = RULE_PATHS.fold(keys.init_from, fold).model_file
    if keys.teacher:
        teacher = RULE_PATHS.fold(keys.teacher, fold)
        inputs["teacher_oof"] = teacher.predictions("oof")
        inputs["teacher_test"] = teacher.predictions("test")
        inputs["test_images"] = RULE_PATHS.test_images
    return {name: str(path) for name, path in inputs.items()}


def stage_options(inputs: Mapping[str, str]) -> str:
    """Return the options of `train` for those of `stage_inputs` that are among `inputs`."""
    names = ("init_from", "teacher_oof", "teacher_test", "test_images")
    return " ".join(f"--{name.replace('_', '-')} {inputs[name]}" for name in names if name in inputs)


def repeat_option(option: str, paths: Iterable[str]) -> str:
    """Return `--option path` for each path."""
    return " ".join(f"--{option} {path}" for path in paths)


def predictions(settings: Settings, split: str) -> list[str]:
    """Return the prediction files of the ensemble's models, all folds of the first model first."""
    return [
        str(RULE_PATHS.fold(model, fold).predictions(split))
        for model in settings.ensemble_models
        for fold in settings.folds.selected_folds
    ]


def submission_file(settings: Settings) -> str:
    """Return the file that `submit` sends. Raises UserError for synthetic data, which has no competition."""
    if settings.data.source == "synthetic":
        raise UserError("submit: this dataset is synthetic and has no competition; set data.source to kaggle.")
    return str(RULE_PATHS.submission)


# Messages and files before and after a run.


def warn_unused_models(settings: Settings, configured: Container[str]) -> None:
    """Print the models that are not trained, among those that the user has `configured`."""
    unused = [name for name in settings.models if name in configured and name not in settings.required_models]
    if unused:
        message = (
            f"Skipping models that are not part of the ensemble: {', '.join(unused)} (add them to ensemble.models)"
        )
        print(message, file=sys.stderr)


def write_settings(settings: Settings) -> None:
    """Write settings.json, which `status` reads to list the models before they are trained. It is no rule's input."""
    files.write_json(experiment_paths(settings).settings, effective_settings(settings))


def refresh_report(settings: Settings) -> None:
    """Write the report again if the receipt of a submission is newer.

    The receipt is not an input of the rule, because submitting must not cause reruns.
    """
    paths = experiment_paths(settings)
    if (
        paths.report.exists()
        and paths.receipt.exists()
        and paths.report.stat().st_mtime < paths.receipt.stat().st_mtime
    ):
        _run_command("report", str(paths.folder), "--settings", json.dumps(effective_settings(settings)))


def remove_finished_checkpoints(settings: Settings) -> None:
    """Remove the checkpoints of finished training runs, which `--force` would otherwise resume.

    A run that outlives its Snakemake process keeps its checkpoint, because the next Snakemake may have given up on it.
    """
    paths = experiment_paths(settings)
    for model in settings.required_models:
        for fold in settings.folds.selected_folds:
            if paths.fold(model, fold).model_file.exists():
                shutil.rmtree(paths.fold(model, fold).checkpoints, ignore_errors=True)


def rerun_options(gpus: int, configfiles: Iterable[Path | str], config: Mapping[str, Any]) -> str:
    """Return the options, each after a space, that make a snakemake command apply to the experiment of this run."""
    options = [] if gpus == 1 else [f" --resources gpu={gpus}"]
    if configfiles := list(configfiles):
        options.append(f" --configfile {shlex.join(map(os.path.relpath, configfiles))}")
    if config:
        options.append(f" --config {shlex.join(f'{key}={value}' for key, value in config.items())}")
    return "".join(options)


def show_status(settings: Settings, options: str) -> None:
    """Print the status table and the next commands, with the rerun options of this run."""
    folder = experiment_paths(settings).folder
    if not folder.is_dir():
        return
    competition = "" if settings.data.source == "synthetic" else settings.data.competition
    _run_command("status", str(folder), "--competition", competition, "--rerun-options", options)


def print_failure_hint(settings: Settings, options: str) -> None:
    """Print where to look after a failed job, and how to avoid training again if preprocessing failed."""
    print(
        "A job failed or was stopped. See the last line of its log. Without an `error:` line the job was probably "
        "killed (out of memory?). Finished jobs are kept: fix the cause and run the same command to resume.",
        file=sys.stderr,
    )
    paths = experiment_paths(settings)
    # Snakemake reruns everything that depends on a job of the same run, even if its output is identical.
    if not paths.tiles_csv.exists() and any(paths.models.glob("*/fold*/model.pt")):
        print(
            "The models are trained, but the dataset is not preprocessed. After fixing the cause, preprocess it in a "
            "separate run; otherwise all models are trained again, even for identical data: "
            f"snakemake {paths.tiles_csv} {paths.folds_csv} --cores all{options}",
            file=sys.stderr,
        )


def _run_command(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "tgs_salt", *arguments], check=False)
