"""Stopped anywhere, damaged, taken for another, held by somebody else: what a training does next."""

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
from tgs_salt.training.checkpoints import CheckpointManager, fold_lock
from tgs_salt.training.fit import Inputs, train

SIDE = 32
# Dropout, a schedule, an optimizer and averaged weights that all have states: four steps an epoch.
MODEL = Model(architecture="article", epochs=2, batch_size=2, threads=1, ema_decay=0.9)
NEVER = 1e9  # minutes


@pytest.fixture
def dataset(tmp_path: Path) -> Inputs:
    """Twelve tiles of noise in three folds, half of each being salt."""
    numbers = np.random.default_rng(1)
    images = numbers.integers(0, 256, (12, SIDE, SIDE), dtype=np.uint8)
    masks = np.zeros_like(images)
    masks[:, : SIDE // 2] = 1
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "masks.npy", masks)
    ids = [f"{row:010x}" for row in range(12)]
    tiles = {"id": ids, "split": "train", "row": range(12), "depth": range(12), "coverage": 0.5, "blank": False}
    pd.DataFrame(tiles).to_csv(tmp_path / "tiles.csv", index=False)
    folds = {"id": ids, "depth": range(12), "coverage_class": 5, "fold": [0, 1, 2] * 4}
    pd.DataFrame(folds).to_csv(tmp_path / "folds.csv", index=False)
    return Inputs(*(tmp_path / name for name in ("images.npy", "masks.npy", "tiles.csv", "folds.csv")))


def run(dataset: Inputs, folder: Path, settings: Model = MODEL, minutes: float = NEVER) -> tuple[bytes, bytes]:
    """Train fold 0 in `folder`; the bytes of model.pt and history.csv."""
    train("m", 0, settings, dataset, folder / "model.pt", gpus="0", minutes=minutes)
    return (folder / "model.pt").read_bytes(), (folder / "history.csv").read_bytes()


class Pauses:
    """Counts the moments at which a training may stop, and has it stop at number `at`, as a signal would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int | None = None) -> None:
        self.seen = 0
        pause = CheckpointManager.pause

        def counted(checkpoints: CheckpointManager, state: Callable[[], dict[str, object]]) -> None:
            self.seen += 1
            if self.seen == at:
                signal.raise_signal(signal.SIGTERM)
            pause(checkpoints, state)

        monkeypatch.setattr(CheckpointManager, "pause", counted)


def stopped(dataset: Inputs, folder: Path, at: int, settings: Model = MODEL) -> Path:
    """A training that SIGTERM stopped at its pause number `at`; its newest checkpoint."""
    with pytest.MonkeyPatch.context() as patch:
        Pauses(patch, at)
        with pytest.raises(
            signals.Interrupted, match=r"^stopped by SIGTERM; the training up to its last step is saved"
        ):
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
def test_stopped_at_any_moment_it_ends_with_the_same_bytes(
    dataset: Inputs, tmp_path: Path, changes: dict[str, object]
) -> None:
    settings = MODEL.model_copy(update=changes)
    with pytest.MonkeyPatch.context() as patch:
        pauses = Pauses(patch)
        whole = run(dataset, tmp_path / "whole", settings)
    # Four steps and one batch of validation an epoch, and with swa four of statistics at the end.
    assert pauses.seen == 5 * settings.epochs + 4 * (settings.weight_averaging == "swa")
    for at in range(1, pauses.seen + 1):
        stopped(dataset, tmp_path / f"at{at}", at, settings)
        assert run(dataset, tmp_path / f"at{at}", settings) == whole, f"stopped at pause {at}"


def test_stopped_again_and_again(dataset: Inputs, tmp_path: Path) -> None:
    whole = run(dataset, tmp_path / "whole")
    for _ in range(10):
        stopped(dataset, tmp_path / "m", 1)
        if len(torch.load(tmp_path / "m/checkpoints/checkpoint.pt", weights_only=True)["history"]) == MODEL.epochs - 1:
            break
    assert run(dataset, tmp_path / "m") == whole


def test_checkpoints_inside_an_epoch_change_nothing(dataset: Inputs, tmp_path: Path) -> None:
    saved = []
    with pytest.MonkeyPatch.context() as patch:
        save = CheckpointManager.save
        patch.setattr(CheckpointManager, "save", lambda self, state: (saved.append(state["step"]), save(self, state)))
        often = run(dataset, tmp_path / "often", minutes=1e-9)
    assert saved == [1, 2, 3, 4, 4, 0] * 2
    saved.clear()
    assert run(dataset, tmp_path / "seldom") == often


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(
    dataset: Inputs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = run(dataset, tmp_path / "whole")
    checkpoint = stopped(dataset, tmp_path / "m", 7)  # the one before is of the first epoch's end
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1  # one bit, somewhere in the weights
    checkpoint.write_bytes(content)
    with caplog.at_level("INFO", "tgs_salt"):
        assert run(dataset, tmp_path / "m") == whole
    assert "checkpoint.pt is damaged; trying the one before it" in caplog.text
    assert "going on after epoch 1 of 2" in caplog.text


def test_a_kill_between_the_two_renames_of_a_checkpoint(dataset: Inputs, tmp_path: Path) -> None:
    whole = run(dataset, tmp_path / "whole")
    checkpoint = stopped(dataset, tmp_path / "m", 7)
    checkpoint.unlink()
    assert checkpoint.with_name("previous.pt").exists()
    assert run(dataset, tmp_path / "m") == whole


def test_a_change_taken_back_goes_on_where_it_was(
    dataset: Inputs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = run(dataset, tmp_path / "whole")
    stopped(dataset, tmp_path / "m", 3)
    stopped(dataset, tmp_path / "m", 1, MODEL.model_copy(update={"epochs": 3}))
    with caplog.at_level("INFO", "tgs_salt"):
        assert run(dataset, tmp_path / "m") == whole
    assert "(epochs 3, now 2); trying the one before it" in caplog.text
    assert "going on after epoch 0 of 2, step 3 of 4 of the next" in caplog.text


def test_other_labels_are_another_training(dataset: Inputs, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stopped(dataset, tmp_path / "m", 3)
    np.save(dataset.masks, 1 - np.load(dataset.masks))
    with caplog.at_level("INFO", "tgs_salt"):
        again = run(dataset, tmp_path / "m")
    assert "is of another training (data " in caplog.text and "going on" not in caplog.text
    assert again == run(dataset, tmp_path / "clean")


def test_a_finished_training_is_trained_again_when_asked(
    dataset: Inputs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = run(dataset, tmp_path / "m")
    assert not (tmp_path / "m" / "checkpoints").exists()
    with caplog.at_level("INFO", "tgs_salt"):
        assert run(dataset, tmp_path / "m") == first
    assert "epoch 1/2" in caplog.text and "going on" not in caplog.text


def test_what_outlived_its_snakemake_is_taken_over(
    dataset: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    monkeypatch.setenv("TGS_SALT_SNAKEMAKE", str(gone.pid))
    first = run(dataset, tmp_path / "m")
    # The next snakemake removes the outputs that it knows nothing of, and asks for them.
    for name in ("model.pt", "history.csv", "timing.json"):
        (tmp_path / "m" / name).unlink()
    caplog.clear()
    monkeypatch.setenv("TGS_SALT_SNAKEMAKE", str(os.getpid()))
    with caplog.at_level("INFO", "tgs_salt"):
        assert run(dataset, tmp_path / "m") == first
    assert "going on after epoch 2 of 2" in caplog.text and "epoch 1/2" not in caplog.text
    assert not (tmp_path / "m" / "checkpoints").exists()


def test_the_second_trainer_is_told_and_harms_nothing(dataset: Inputs, tmp_path: Path) -> None:
    checkpoint = stopped(dataset, tmp_path / "m", 3)
    before = checkpoint.read_bytes()
    holder = "from pathlib import Path; import sys, time; from tgs_salt.training.checkpoints import fold_lock\n"
    holder += "with fold_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", holder, str(checkpoint.parent)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=rf"process {process.pid} on .* is training this fold; wait for it, or"):
            run(dataset, tmp_path / "m")
        assert checkpoint.read_bytes() == before and (checkpoint.parent / "lock").exists()
        assert str(process.pid) in (checkpoint.parent / "holder.txt").read_text()
        process.kill()
    with fold_lock(checkpoint.parent):
        assert str(os.getpid()) in (checkpoint.parent / "holder.txt").read_text()


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGTERM, id="SIGTERM", marks=pytest.mark.slow), pytest.param(signal.SIGINT, id="Ctrl-C")],
)
def test_a_signal_saves_and_the_log_says_so(dataset: Inputs, tmp_path: Path, number: signal.Signals) -> None:
    settings = MODEL.model_copy(update={"epochs": 100000})
    command = [
        sys.executable, "-m", "tgs_salt", "train", "--model", "m", "--fold", "0", "--output", tmp_path / "m/model.pt",
        "--settings", json.dumps({"model": settings.model_dump(mode="json")}), "--images", dataset.images,
        "--masks", dataset.masks, "--tiles", dataset.tiles, "--folds", dataset.folds,
    ]  # fmt: skip
    log = tmp_path / "train.log"
    # A shell that runs the tests in the background has its children ignore Ctrl-C, which a training then does as well.
    before = signal.signal(number, signal.default_int_handler)
    with open(log, "w") as stream:
        process = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": "src"}, stderr=stream, stdout=subprocess.PIPE, text=True
        )
    signal.signal(number, before)
    assert process.stdout is not None
    process.stdout.readline()  # the first epoch is over
    # A second attempt empties the log of a first one that is still alive.
    with open(log, "w") as stream:
        stream.write("error: second\n")
    process.send_signal(number)
    _, _ = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    lines = log.read_text().splitlines()
    assert lines[0] == "error: second", "no hole before the next line"
    assert lines[-1] == (
        f"error: stopped by {name}; the training up to its last step is saved, and the same command goes on from there."
    )
    state = torch.load(tmp_path / "m/checkpoints/checkpoint.pt", weights_only=True)
    assert state["history"]


def test_memory_that_runs_out_names_the_setting(
    dataset: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentation, "sample_augmentations", lambda *_: torch.empty(2**45))
    with pytest.raises(UserError, match=r"^out of memory; lower models\.m\.batch_size \(now 2\), or run fewer jobs"):
        run(dataset, tmp_path / "m")


def test_a_failure_that_is_no_lack_of_memory_stays_itself(
    dataset: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentation, "sample_augmentations", lambda *_: torch.zeros(2) + torch.zeros(3))
    with pytest.raises(RuntimeError, match="must match"):
        run(dataset, tmp_path / "m")


def test_a_flipped_bit_in_a_model_is_noticed(dataset: Inputs, tmp_path: Path) -> None:
    content = bytearray(run(dataset, tmp_path / "m")[0])
    content[len(content) // 2] ^= 1
    (tmp_path / "m" / "model.pt").write_bytes(content)
    with pytest.raises(UserError, match="not a whole model file; delete it and run snakemake again"):
        load_model(tmp_path / "m" / "model.pt", torch.device("cpu"))


def test_a_model_of_other_weights_than_its_settings(dataset: Inputs, tmp_path: Path) -> None:
    run(dataset, tmp_path / "m")
    path = tmp_path / "m" / "model.pt"
    content = torch.load(path, weights_only=True)
    content["weights"].popitem()
    torch.save(content, path)
    with pytest.raises(UserError, match=r"its weights and settings do not fit .*; train this fold again"):
        load_model(path, torch.device("cpu"))
    torch.save({"format": 1}, path)
    with pytest.raises(UserError, match=r"its weights and settings do not fit .*; train this fold again"):
        load_model(path, torch.device("cpu"))


class Touched:
    """Unpickled, it would leave a trace."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_nothing_is_unpickled_from_a_file_of_somebody_else(tmp_path: Path) -> None:
    torch.save({"format": 1, "weights": Touched(tmp_path / "trace")}, tmp_path / "model.pt")
    with pytest.raises(UserError, match="not a whole model file"):
        load_model(tmp_path / "model.pt", torch.device("cpu"))
    assert not (tmp_path / "trace").exists()
    torch.load(tmp_path / "model.pt", weights_only=False)
    assert (tmp_path / "trace").exists(), "the trap works"
