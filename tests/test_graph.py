"""The workflow's logic without Snakemake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import workflow_runner

from tgs_salt import graph
from tgs_salt.errors import UserError
from tgs_salt.provenance import rule_digest
from tgs_salt.settings import Settings, load

STAGES = {
    "tuned": {"extends": "base", "init_from": "base"},
    "student": {"extends": "base", "teacher": "tuned"},
    "idle": {"extends": "base"},
}


def settings(**changes: Any) -> Settings:
    """Return the settings of the tiny experiment with `changes`."""
    return load(workflow_runner.tiny(**changes))


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TGS_SALT_KAGGLE_INPUT", str(tmp_path / "input"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_graph_imports_no_slow_packages() -> None:
    slow = {"torch", "cv2", "pandas", "numba", "scipy", "rich", "typer", "matplotlib", "snakemake", "kaggle"}
    script = "import sys, tgs_salt.graph; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert slow.isdisjoint(name.partition(".")[0] for name in done.stdout.split())


def test_load_settings_names_the_bad_key(tmp_path: Path) -> None:
    assert graph.load_settings(workflow_runner.tiny(), []).name == "tiny"
    with pytest.raises(UserError, match=r"^configuration: folds\.n_spilts: unknown key"):
        graph.load_settings(workflow_runner.tiny(folds={"n_spilts": 3}), [])
    (tmp_path / "twice.yaml").write_text("name: a\nname: b\n")
    with pytest.raises(UserError, match=r"^configuration: \S*twice\.yaml: .*'name'"):
        graph.load_settings(workflow_runner.tiny(), [tmp_path / "twice.yaml"])


def test_sections_json_leaves_out_keys_that_change_no_output() -> None:
    one = settings(models={"other": {"extends": "base"}}, predict={"shards": 3})
    sections = json.loads(graph.sections_json(model=one.models["other"], predict=one.predict))
    assert list(sections) == ["model", "predict"]
    assert "extends" not in sections["model"] and "shards" not in sections["predict"]
    assert graph.sections_json(model=one.models["other"]) == graph.sections_json(model=one.models["base"])


def test_data_json_holds_the_named_keys() -> None:
    assert graph.data_json(settings().data, "source", "tile_size") == (
        '{"data": {"source": "synthetic", "tile_size": 32}}'
    )


def test_effective_settings_hold_trained_models_only() -> None:
    effective = graph.effective_settings(settings(models=STAGES, ensemble={"models": ["student"]}))
    assert list(effective) == ["data", "folds", "models", "predict", "ensemble", "threshold"]
    assert list(effective["models"]) == ["base", "tuned", "student"]
    assert "extends" not in effective["models"]["student"]


def test_prediction_code_is_empty_for_teachers() -> None:
    staged = settings(models=STAGES, ensemble={"models": ["student"]})
    codes = {model: graph.prediction_code(staged, model) for model in staged.models}
    assert codes == {name: "" if name == "tuned" else rule_digest("predict") for name in staged.models}
    assert graph.prediction_code(settings(models=STAGES, ensemble={"models": ["tuned"]}), "tuned")


def test_synthetic_data_has_a_folder_for_each_content() -> None:
    source = graph.data_source(settings().data)
    assert source.startswith("data/synthetic-") and source != graph.data_source(settings(data={"seed": 1}).data)
    assert f"{source}/train.zip" in graph.data_source_files(settings().data)
    assert not graph.needs_download(settings().data)


def test_kaggle_data_is_downloaded_unless_it_is_mounted(tmp_path: Path) -> None:
    data = settings(data={"source": "kaggle", "competition": "salt"}).data
    assert graph.needs_download(data)
    assert graph.data_source(data) == "data/salt/salt.zip"
    assert graph.data_source_files(data) == ["data/salt/salt.json"]
    mount = tmp_path / "input" / "salt"
    touch(mount / "train.csv")
    assert not graph.needs_download(data)
    assert graph.data_source(data) == str(mount)
    assert graph.data_source_files(data) == [f"{mount}/train.csv"]


def test_a_data_directory_is_read_in_place(tmp_path: Path) -> None:
    data = settings(data={"source": "directory", "directory": "./raw/"}).data
    with pytest.raises(UserError, match=r"^data\.directory: there is no folder or zip raw \(paths are relative to /"):
        graph.data_source_files(data)
    for name in ("train.csv", "images.zip", "notes.txt", ".hidden.csv", "masks/a.png"):
        touch(tmp_path / "raw" / name)
    assert graph.data_source_files(data) == ["raw/images.zip", "raw/masks", "raw/train.csv"]
    archive = settings(data={"source": "directory", "directory": "raw/images.zip"}).data
    assert graph.data_source_files(archive) == ["raw/images.zip"]


def test_stage_inputs_are_files_of_the_same_fold() -> None:
    staged = settings(models={**STAGES, "file": {"architecture": "unet", "encoder_weights": "weights.pt"}})
    assert graph.stage_inputs(staged, "base", 1) == {}
    assert graph.stage_inputs(staged, "file", 1) == {"encoder_weights": "weights.pt"}
    assert graph.stage_inputs(staged, "tuned", 1) == {"init_from": "<results>/models/base/fold1/model.pt"}
    inputs = graph.stage_inputs(staged, "student", 1)
    assert inputs == {
        "teacher_oof": "<results>/models/tuned/fold1/oof.npy",
        "teacher_test": "<results>/models/tuned/fold1/test.npy",
        "test_images": "<results>/data/test_images.npy",
    }
    assert graph.stage_options({"images": "a.npy", **inputs}) == (
        "--teacher-oof <results>/models/tuned/fold1/oof.npy --teacher-test <results>/models/tuned/fold1/test.npy"
        " --test-images <results>/data/test_images.npy"
    )
    assert graph.stage_options({"encoder_weights": "weights.pt"}) == ""


def test_predictions_list_all_folds_of_each_ensemble_model() -> None:
    staged = settings(models=STAGES, ensemble={"models": ["tuned", "base"]})
    paths = graph.predictions(staged, "oof")
    assert paths == [f"<results>/models/{model}/fold{fold}/oof.npy" for model in ("tuned", "base") for fold in (0, 1)]
    assert graph.repeat_option("oof", paths[:2]) == f"--oof {paths[0]} --oof {paths[1]}"


def test_synthetic_data_cannot_be_submitted() -> None:
    assert graph.submission_file(settings(data={"source": "kaggle"})) == "<results>/submission.csv"
    with pytest.raises(UserError, match=r"^submit: this dataset is synthetic"):
        graph.submission_file(settings())


def test_unused_models_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    staged = settings(models=STAGES, ensemble={"models": ["tuned"]})
    graph.warn_unused_models(staged, ["base", "idle"])
    assert capsys.readouterr().err == (
        "Skipping models that are not part of the ensemble: idle (add them to ensemble.models)\n"
    )
    graph.warn_unused_models(staged, ["base", "tuned"])
    assert capsys.readouterr().err == ""


def test_write_settings(tmp_path: Path) -> None:
    graph.write_settings(settings())
    written = json.loads((tmp_path / "results/tiny/settings.json").read_text())
    assert written == graph.effective_settings(settings())


def test_only_checkpoints_of_finished_trainings_are_removed(tmp_path: Path) -> None:
    folds = [tmp_path / f"results/tiny/models/base/fold{fold}" for fold in (0, 1)]
    for folder in folds:
        touch(folder / "checkpoints/checkpoint.pt")
    touch(folds[0] / "model.pt")
    graph.remove_finished_checkpoints(settings())
    assert [(folder / "checkpoints").exists() for folder in folds] == [False, True]


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((1, [], {}), ""),
        ((0, [], {}), " --resources gpu=0"),
        ((1, ["my overlay.yaml", "b.yaml"], {}), " --configfile 'my overlay.yaml' b.yaml"),
        ((2, [], {"folds": {"n_splits": 3}}), " --resources gpu=2 --config 'folds={'\"'\"'n_splits'\"'\"': 3}'"),
    ],
)
def test_rerun_options(arguments: tuple[int, list[str], dict[str, Any]], options: str) -> None:
    assert graph.rerun_options(*arguments) == options


def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return a list that collects the commands of the package instead of running them."""
    collected: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: collected.append(command[3:]))
    return collected


def test_the_report_is_written_again_only_after_a_submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collected = commands(monkeypatch)
    results = tmp_path / "results/tiny"
    touch(results / "report.html")
    graph.refresh_report(settings())
    assert not collected
    receipt = touch(results / "submitted.json")
    os.utime(results / "report.html", (1e9, 1e9))
    os.utime(receipt, (2e9, 2e9))
    graph.refresh_report(settings())
    assert collected == [["report", "results/tiny", "--settings", json.dumps(graph.effective_settings(settings()))]]
    os.utime(results / "report.html", (3e9, 3e9))
    graph.refresh_report(settings())
    assert len(collected) == 1


def test_status_gets_the_competition_and_the_rerun_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collected = commands(monkeypatch)
    graph.show_status(settings(), " --resources gpu=0")
    assert not collected, "there are no results yet"
    (tmp_path / "results/tiny").mkdir(parents=True)
    graph.show_status(settings(), " --resources gpu=0")
    graph.show_status(settings(data={"source": "kaggle", "competition": "salt"}), "")
    assert collected == [
        ["status", "results/tiny", "--competition", "", "--rerun-options", " --resources gpu=0"],
        ["status", "results/tiny", "--competition", "salt", "--rerun-options", ""],
    ]


def test_failure_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph.print_failure_hint(settings(), " --resources gpu=0")
    output = capsys.readouterr().err
    assert "See the last line of its log." in output and "preprocess" not in output
    touch(tmp_path / "results/tiny/models/base/fold0/model.pt")
    graph.print_failure_hint(settings(), " --resources gpu=0")
    command = "snakemake results/tiny/data/tiles.csv results/tiny/folds.csv --cores all --resources gpu=0\n"
    assert capsys.readouterr().err.endswith(command)
    touch(tmp_path / "results/tiny/data/tiles.csv")
    graph.print_failure_hint(settings(), "")
    assert "preprocess" not in capsys.readouterr().err
