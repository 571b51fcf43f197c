"""Checkpoints: interrupted at any batch, damaged, of a different training run, or locked by another process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tgs_salt import signals
from tgs_salt.errors import UserError
from tgs_salt.models.model_file import load_model
from tgs_salt.settings import Model
from tgs_salt.training import augmentation
from tgs_salt.training.checkpoints import CheckpointManager, training_lock
from tgs_salt.training.fit import TrainingInputs, train

SIDE = 32
# Dropout, scheduler, optimizer and weight averaging all have a state. Four steps per epoch.
MODEL = Model(architecture="article", epochs=2, batch_size=2, threads=1, ema_decay=0.9)
NEVER = 1e9  # minutes


@pytest.fixture
def dataset(tmp_path: Path) -> TrainingInputs:
    """Write twelve tiles of noise in three folds; the upper half of each is salt."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (12, SIDE, SIDE), dtype=np.uint8)
    masks = np.zeros_like(images)
    masks[:, : SIDE // 2] = 1
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "masks.npy", masks)
    ids = [f"{row:010x}" for row in range(12)]
    tiles = {"id": ids, "split": "train", "row": range(12), "depth": range(12), "coverage": 0.5, "blank": False}
    pd.DataFrame(tiles).to_csv(tmp_path / "tiles.csv", index=False)
    folds = {"id": ids, "depth": range(12), "coverage_class": 5, "fold": [0, 1, 2] * 4}
    pd.DataFrame(folds).to_csv(tmp_path / "folds.csv", index=False)
    return TrainingInputs(*(tmp_path / name for name in ("images.npy", "masks.npy", "tiles.csv", "folds.csv")))


def run(dataset: TrainingInputs, folder: Path, settings: Model = MODEL, minutes: float = NEVER) -> tuple[bytes, bytes]:
    """Train fold 0 in `folder`; return the bytes of model.pt and history.csv."""
    train("m", 0, settings, dataset, folder / "model.pt", gpus="0", checkpoint_minutes=minutes)
    return (folder / "model.pt").read_bytes(), (folder / "history.csv").read_bytes()


class BatchCounter:
    """Counts the calls of `maybe_save`, one per batch, and raises SIGTERM at call number `stop_at`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None) -> None:
        self.count = 0
        maybe_save = CheckpointManager.maybe_save

        def count_and_save(checkpoints: CheckpointManager, state_dict: Callable[[], dict[str, object]]) -> None:
            self.count += 1
            if self.count == stop_at:
                signal.raise_signal(signal.SIGTERM)
            maybe_save(checkpoints, state_dict)

        monkeypatch.setattr(CheckpointManager, "maybe_save", count_and_save)


def interrupt(dataset: TrainingInputs, folder: Path, at: int, settings: Model = MODEL) -> Path:
    """Train until SIGTERM at batch number `at`; return the path of the latest checkpoint."""
    with pytest.MonkeyPatch.context() as patch:
        BatchCounter(patch, at)
        with pytest.raises(signals.Interrupted, match=r"^stopped by SIGTERM; a checkpoint was saved after the last "):
            run(dataset, folder, settings)
    assert not (folder / "model.pt").exists()
    return folder / "checkpoints" / "checkpoint.pt"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="ema"),
        pytest.param({"weight_averaging": "swa"}, id="swa", marks=pytest.mark.slow),
        pytest.param(
            {"lr_scheduler": "plateau", "optimizer": "adam", "keep_weights": "best_loss"},
            id="plateau",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_resumed_from_any_batch_it_ends_with_the_same_bytes(
    dataset: TrainingInputs, tmp_path: Path, changes: dict[str, object]
) -> None:
    settings = MODEL.model_copy(update=changes)
    with pytest.MonkeyPatch.context() as patch:
        batches = BatchCounter(patch)
        whole = run(dataset, tmp_path / "whole", settings)
    # Per epoch four training steps and one evaluation batch; with swa four batch-norm batches at the end.
    assert batches.count == 5 * settings.epochs + 4 * (settings.weight_averaging == "swa")
    for at in range(1, batches.count + 1):
        interrupt(dataset, tmp_path / f"at{at}", at, settings)
        assert run(dataset, tmp_path / f"at{at}", settings) == whole, f"interrupted at batch {at}"


def test_resumed_many_times_it_ends_with_the_same_bytes(dataset: TrainingInputs, tmp_path: Path) -> None:
    whole = run(dataset, tmp_path / "whole")
    for _ in range(10):
        interrupt(dataset, tmp_path / "m", 1)
        if len(torch.load(tmp_path / "m/checkpoints/checkpoint.pt", weights_only=True)["history"]) == MODEL.epochs - 1:
            break
    assert run(dataset, tmp_path / "m") == whole


def test_checkpoints_within_an_epoch_do_not_change_the_result(dataset: TrainingInputs, tmp_path: Path) -> None:
    saved = []
    with pytest.MonkeyPatch.context() as patch:
        save = CheckpointManager.save
        patch.setattr(CheckpointManager, "save", lambda self, state: (saved.append(state["step"]), save(self, state)))
        frequent = run(dataset, tmp_path / "frequent", minutes=1e-9)
    assert saved == [1, 2, 3, 4, 4, 0] * 2
    saved.clear()
    assert run(dataset, tmp_path / "rare") == frequent


def test_damaged_checkpoint_is_replaced_by_the_previous_one(
    dataset: TrainingInputs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = run(dataset, tmp_path / "whole")
    checkpoint = interrupt(dataset, tmp_path / "m", 7)  # the previous one is from the end of the first epoch
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1  # one bit, somewhere in the weights
    checkpoint.write_bytes(content)
    with caplog.at_level("INFO", "tgs_salt"):
        assert run(dataset, tmp_path / "m") == whole
    assert "checkpoint.pt is damaged; trying the previous checkpoint" in caplog.text
    assert "resuming after epoch 1 of 2" in caplog.text


def test_kill_between_the_two_renames_of_a_checkpoint(dataset: TrainingInputs, tmp_path: Path) -> None:
    whole = run(dataset, tmp_path / "whole")
    checkpoint = interrupt(dataset, tmp_path / "m", 7)
    checkpoint.unlink()
    assert checkpoint.with_name("previous.pt").exists()
    assert run(dataset, tmp_path / "m") == whole


def test_reverting_a_setting_resumes_from_the_matching_checkpoint(
    dataset: TrainingInputs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = run(dataset, tmp_path / "whole")
    interrupt(dataset, tmp_path / "m", 3)
    interrupt(dataset, tmp_path / "m", 1, MODEL.model_copy(update={"epochs": 3}))
    with caplog.at_level("INFO", "tgs_salt"):
        assert run(dataset, tmp_path / "m") == whole
    assert "(epochs was 3, is now 2); trying the previous checkpoint" in caplog.text
    assert "resuming after epoch 0 of 2, step 3 of 4 of the next epoch" in caplog.text


def test_checkpoint_of_other_labels_is_not_used(
    dataset: TrainingInputs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    interrupt(dataset, tmp_path / "m", 3)
    np.save(dataset.masks, 1 - np.load(dataset.masks))
    with caplog.at_level("INFO", "tgs_salt"):
        resumed = run(dataset, tmp_path / "m")
    assert "training run with different settings, data or code (data was " in caplog.text
    assert "resuming" not in caplog.text
    assert resumed == run(dataset, tmp_path / "clean")


def test_finished_training_starts_from_the_first_epoch(
    dataset: TrainingInputs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = run(dataset, tmp_path / "m")
    assert not (tmp_path / "m" / "checkpoints").exists()
    with caplog.at_level("INFO", "tgs_salt"):
        assert run(dataset, tmp_path / "m") == first
    assert "epoch 1/2" in caplog.text and "resuming" not in caplog.text


def test_checkpoint_is_kept_if_snakemake_has_ended(
    dataset: TrainingInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    snakemake = subprocess.Popen([sys.executable, "-c", ""])
    snakemake.wait()
    monkeypatch.setenv("TGS_SALT_SNAKEMAKE", str(snakemake.pid))
    first = run(dataset, tmp_path / "m")
    # The next Snakemake removes the outputs, whose job it does not know to be complete, and runs the job again.
    for name in ("model.pt", "history.csv", "timing.json"):
        (tmp_path / "m" / name).unlink()
    caplog.clear()
    monkeypatch.setenv("TGS_SALT_SNAKEMAKE", str(os.getpid()))
    with caplog.at_level("INFO", "tgs_salt"):
        assert run(dataset, tmp_path / "m") == first
    assert "resuming after epoch 2 of 2" in caplog.text and "epoch 1/2" not in caplog.text
    assert not (tmp_path / "m" / "checkpoints").exists()


def test_second_process_fails_and_changes_nothing(dataset: TrainingInputs, tmp_path: Path) -> None:
    checkpoint = interrupt(dataset, tmp_path / "m", 3)
    before = checkpoint.read_bytes()
    holder = "from pathlib import Path; import sys, time; from tgs_salt.training.checkpoints import training_lock\n"
    holder += "with training_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", holder, str(checkpoint.parent)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=rf"process {process.pid} on .* is training this model and fold; wait"):
            run(dataset, tmp_path / "m")
        assert checkpoint.read_bytes() == before and (checkpoint.parent / "lock").exists()
        assert str(process.pid) in (checkpoint.parent / "holder.txt").read_text()
        process.kill()
    with training_lock(checkpoint.parent):
        assert str(os.getpid()) in (checkpoint.parent / "holder.txt").read_text()


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGTERM, id="SIGTERM", marks=pytest.mark.slow), pytest.param(signal.SIGINT, id="Ctrl-C")],
)
def test_signal_saves_a_checkpoint_and_is_logged(
    dataset: TrainingInputs, tmp_path: Path, number: signal.Signals
) -> None:
    settings = MODEL.model_copy(update={"epochs": 100000})
    command = [
        sys.executable, "-m", "tgs_salt", "train", "--model", "m", "--fold", "0", "--output", tmp_path / "m/model.pt",
        "--settings", json.dumps({"model": settings.model_dump(mode="json")}), "--images", dataset.images,
        "--masks", dataset.masks, "--tiles", dataset.tiles, "--folds", dataset.folds,
    ]  # fmt: skip
    log = tmp_path / "train.log"
    # A shell runs background jobs with SIGINT ignored, and the child process would inherit that from the tests.
    before = signal.signal(number, signal.default_int_handler)
    with open(log, "w") as stream:
        process = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": "src"}, stderr=stream, stdout=subprocess.PIPE, text=True
        )
    signal.signal(number, before)
    assert process.stdout is not None
    process.stdout.readline()  # the first epoch is over
    # A second attempt truncates the log of a first one that is still running.
    with open(log, "w") as stream:
        stream.write("error: second\n")
    process.send_signal(number)
    _, _ = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    lines = log.read_text().splitlines()
    assert lines[0] == "error: second", "no null bytes before the next line"
    assert lines[-1] == (
        f"error: stopped by {name}; a checkpoint was saved after the last completed step; "
        "run the same command to resume."
    )
    state = torch.load(tmp_path / "m/checkpoints/checkpoint.pt", weights_only=True)
    assert state["history"]


def test_out_of_memory_error_names_the_setting(
    dataset: TrainingInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentation, "sample_augmentations", lambda *_: torch.empty(2**45))
    with pytest.raises(UserError, match=r"^out of memory; lower models\.m\.batch_size \(now 2\), or run fewer jobs"):
        run(dataset, tmp_path / "m")


def test_other_runtime_errors_are_not_changed(
    dataset: TrainingInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentation, "sample_augmentations", lambda *_: torch.zeros(2) + torch.zeros(3))
    with pytest.raises(RuntimeError, match="must match"):
        run(dataset, tmp_path / "m")


def test_flipped_bit_in_a_model_is_detected(dataset: TrainingInputs, tmp_path: Path) -> None:
    content = bytearray(run(dataset, tmp_path / "m")[0])
    content[len(content) // 2] ^= 1
    (tmp_path / "m" / "model.pt").write_bytes(content)
    with pytest.raises(UserError, match="not a valid model file; delete this file and run snakemake again"):
        load_model(tmp_path / "m" / "model.pt", torch.device("cpu"))


def test_model_whose_weights_do_not_match_its_settings(dataset: TrainingInputs, tmp_path: Path) -> None:
    run(dataset, tmp_path / "m")
    path = tmp_path / "m" / "model.pt"
    content = torch.load(path, weights_only=True)
    content["weights"].popitem()
    torch.save(content, path)
    with pytest.raises(UserError, match=r"its weights do not match its settings .*; train this fold again"):
        load_model(path, torch.device("cpu"))
    torch.save({"format": 1}, path)
    with pytest.raises(UserError, match=r"its weights do not match its settings .*; train this fold again"):
        load_model(path, torch.device("cpu"))


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_untrusted_model_is_not_unpickled(tmp_path: Path) -> None:
    torch.save({"format": 1, "weights": Touch(tmp_path / "created")}, tmp_path / "model.pt")
    with pytest.raises(UserError, match="not a valid model file"):
        load_model(tmp_path / "model.pt", torch.device("cpu"))
    assert not (tmp_path / "created").exists()
    torch.load(tmp_path / "model.pt", weights_only=False)
    assert (tmp_path / "created").exists(), "unpickling would create the file"
