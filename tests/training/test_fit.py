"""Training, resuming and predicting on a tiny dataset with the article's network."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import segmentation_models_pytorch as smp
import torch

from tgs_salt.errors import UserError
from tgs_salt.inference.predict import predict
from tgs_salt.kernels import iou_score
from tgs_salt.models.model_file import load_model
from tgs_salt.settings import Augment, Model, Predict
from tgs_salt.training.evaluate import EvaluationResult
from tgs_salt.training.fit import Trainer, TrainingInputs, train
from tgs_salt.training.fold_data import Teacher, read_fold, select_pseudo_labels

SIDE = 32
MODEL = Model(architecture="article", epochs=3, batch_size=4, threads=1, learning_rate=3e-3)
FLIP_ONLY = Augment(hflip=0.5, brightness=0, contrast=0)
CPU = torch.device("cpu")


@pytest.fixture
def dataset(tmp_path: Path) -> TrainingInputs:
    """Write twelve labeled tiles in three folds, with bright squares as salt, and four test tiles, one blank."""
    rng = np.random.default_rng(0)
    images = rng.integers(60, 120, (16, SIDE, SIDE), dtype=np.uint8)
    masks = np.zeros((16, SIDE, SIDE), np.uint8)
    for row in range(0, 16, 2):
        top, left = rng.integers(0, SIDE // 2, 2)
        masks[row, top : top + 14, left : left + 14] = 1
    images += masks * 100
    images[15] = 0
    np.save(tmp_path / "train_images.npy", images[:12])
    np.save(tmp_path / "train_masks.npy", masks[:12])
    np.save(tmp_path / "test_images.npy", images[12:])
    ids = [f"{row:010x}" for row in range(16)]
    tiles = pd.DataFrame(
        {
            "id": ids, "split": ["train"] * 12 + ["test"] * 4, "row": [*range(12), *range(4)], "depth": range(100, 116),
            "coverage": [*masks[:12].mean(axis=(1, 2)), *[np.nan] * 4], "blank": [False] * 15 + [True],
        }
    )  # fmt: skip
    tiles.to_csv(tmp_path / "tiles.csv", index=False)
    folds = pd.DataFrame({"id": ids[:12], "depth": range(12), "coverage_class": 0, "fold": [0, 1, 2] * 4})
    folds.to_csv(tmp_path / "folds.csv", index=False)
    return TrainingInputs(
        *(tmp_path / name for name in ("train_images.npy", "train_masks.npy", "tiles.csv", "folds.csv"))
    )


def run(dataset: TrainingInputs, output: Path, settings: Model = MODEL, fold: int = 0) -> Path:
    train("m", fold, settings, dataset, output / "model.pt", gpus="0")
    return output / "model.pt"


def predictions_of(model: Path, dataset: TrainingInputs, split: str = "oof", tta: str = "hflip") -> np.ndarray:
    output = model.with_name(f"{split}_{tta}.npy")
    images = dataset.images if split == "oof" else dataset.images.with_name("test_images.npy")
    predict(
        split, Predict(tta=tta, batch_size=3), model=model, images=images, tiles=dataset.tiles, folds=dataset.folds,
        output=output, gpus="0",
    )  # fmt: skip
    return np.load(output)


def test_training_is_reproducible_and_removes_its_checkpoints(dataset: TrainingInputs, tmp_path: Path) -> None:
    one, two = run(dataset, tmp_path / "one"), run(dataset, tmp_path / "two")
    assert one.read_bytes() == two.read_bytes()
    assert one.with_name("history.csv").read_bytes() == two.with_name("history.csv").read_bytes()
    assert not (tmp_path / "one" / "checkpoints").exists()
    assert json.loads(one.with_name("timing.json").read_text())["tiles_per_second"] > 0


def test_seed_and_fold_change_the_weights(dataset: TrainingInputs, tmp_path: Path) -> None:
    base = run(dataset, tmp_path / "base").read_bytes()
    assert run(dataset, tmp_path / "seed", MODEL.model_copy(update={"seed": 1})).read_bytes() != base
    assert run(dataset, tmp_path / "fold", fold=1).read_bytes() != base


@pytest.mark.slow
def test_training_learns_bright_squares(dataset: TrainingInputs, tmp_path: Path) -> None:
    settings = MODEL.model_copy(update={"epochs": 100, "loss": "bce + dice", "batch_size": 2, "augment": FLIP_ONLY})
    model = run(dataset, tmp_path / "long", settings)
    masks = np.load(dataset.masks)[0::3]  # fold 0
    assert iou_score.score_bytes(predictions_of(model, dataset), masks, 128).mean() > 0.9


def test_history_has_one_row_per_epoch_with_the_metrics_of_the_weights(dataset: TrainingInputs, tmp_path: Path) -> None:
    model = run(dataset, tmp_path / "m", MODEL.model_copy(update={"epochs": 8}))
    history = pd.read_csv(model.with_name("history.csv"))
    assert list(history["epoch"]) == list(range(1, 9))
    # Metrics by definition, in double precision, on fold 0.
    masks = np.load(dataset.masks)[0::3]
    network, _ = load_model(model, CPU)
    with torch.inference_mode():
        logits = network(torch.from_numpy(np.load(dataset.images)[0::3]).unsqueeze(1) / 255)[:, 0].double().numpy()
    loss = np.logaddexp(0, np.where(masks == 1, -logits, logits)).mean()
    last = history.iloc[-1]
    assert last["score"] == iou_score.score_bytes(predictions_of(model, dataset, tta="none"), masks, 128).mean()
    assert last["accuracy"] == pytest.approx(((logits > 0) == (masks == 1)).mean(), abs=1e-4)
    assert last["validation_loss"] == pytest.approx(loss, rel=1e-4)


def mock_evaluate(monkeypatch: pytest.MonkeyPatch, results: list[EvaluationResult]) -> list[dict[str, torch.Tensor]]:
    """Make epoch k evaluate to `results[k]`; return the list that collects the weights of each epoch."""
    weights: list[dict[str, torch.Tensor]] = []

    def evaluate(network: torch.nn.Module, data: object, on_batch: object) -> EvaluationResult:
        weights.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return results[len(weights) - 1]

    monkeypatch.setattr("tgs_salt.training.fit.evaluate", evaluate)
    return weights


@pytest.mark.parametrize(("keep_weights", "epoch"), [("last", 4), ("best_score", 3), ("best_loss", 1)])
def test_keep_weights_selects_the_epoch(
    dataset: TrainingInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_weights: str, epoch: int
) -> None:
    metrics = [(0.2, 0.9), (0.5, 0.3), (0.7, 0.4), (0.7, 0.5), (0.6, 0.6)]  # of equal scores the later one is the best
    weights = mock_evaluate(monkeypatch, [EvaluationResult(score, loss, 0.5) for score, loss in metrics])
    settings = MODEL.model_copy(update={"epochs": 5, "weight_averaging": "none", "keep_weights": keep_weights})
    network, _ = load_model(run(dataset, tmp_path / "m", settings), CPU)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, weights[epoch][name]), name
    assert any(not torch.equal(tensor, weights[epoch - 1][name]) for name, tensor in network.state_dict().items())


def test_swa_averages_the_last_quarter_and_recomputes_batch_norm_statistics(
    dataset: TrainingInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: list[dict[str, torch.Tensor]] = []
    train_epoch = Trainer.train_epoch

    def train_and_record(self: Trainer, epoch: int, on_batch: Callable[[], None]) -> float:
        loss = train_epoch(self, epoch, on_batch)
        weights.append({name: tensor.clone() for name, tensor in self.network.state_dict().items()})
        return loss

    monkeypatch.setattr(Trainer, "train_epoch", train_and_record)
    settings = MODEL.model_copy(
        update={"epochs": 8, "weight_averaging": "swa", "batch_size": 8, "lr_scheduler": "constant"}
    )
    network, _ = load_model(run(dataset, tmp_path / "m", settings), CPU)
    for name, tensor in network.named_parameters():
        torch.testing.assert_close(tensor, (weights[6][name] + weights[7][name]) / 2, msg=name)
    pixels = torch.from_numpy(np.load(dataset.images)[np.arange(12) % 3 != 0]).unsqueeze(1) / 255
    with torch.no_grad():
        features = network.inner.down[0][0](pixels)  # one batch of all eight training tiles
    norm = network.inner.down[0][1]
    torch.testing.assert_close(norm.running_mean, features.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, features.var(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_plateau_reduces_the_learning_rate_and_patience_stops(
    dataset: TrainingInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = [0.9, 0.8, 0.79995, 0.85, 0.8, 0.85, 0.8, 0.7, *[0.71] * 20]  # the third is not lower by 1e-4
    mock_evaluate(monkeypatch, [EvaluationResult(0.5, loss, 0.5) for loss in losses])
    settings = MODEL.model_copy(
        update={
            "lr_scheduler": "plateau",
            "optimizer": "adam",
            "epochs": 28,
            "early_stopping_patience": 8,
            "learning_rate": 0.1,
        }
    )
    history = pd.read_csv(run(dataset, tmp_path / "m", settings).with_name("history.csv"))
    # As in Keras: a tenth after 5 epochs without an improvement of 1e-4, and stop after 8 without a lower loss.
    np.testing.assert_allclose(history["learning_rate"], [0.1] * 7 + [0.01] * 6 + [0.001] * 3)
    np.testing.assert_allclose(history["validation_loss"], losses[:16])


def test_cosine_schedule_decays_the_learning_rate_to_zero(dataset: TrainingInputs, tmp_path: Path) -> None:
    first = run(dataset, tmp_path / "first")
    settings = MODEL.model_copy(
        update={"lr_scheduler": "cosine", "optimizer": "sgd", "epochs": 4, "learning_rate": 0.1}
    )
    history = pd.read_csv(run(replace(dataset, init_from=first), tmp_path / "m", settings).with_name("history.csv"))
    steps = np.arange(4) / 4  # at the start of each epoch
    np.testing.assert_allclose(history["learning_rate"], 0.1 * (1 + np.cos(np.pi * steps)) / 2)


def command(dataset: TrainingInputs, output: Path, epochs: int) -> list[str]:
    settings = json.dumps({"model": MODEL.model_copy(update={"epochs": epochs}).model_dump(mode="json")})
    files = ["--images", dataset.images, "--masks", dataset.masks, "--tiles", dataset.tiles, "--folds", dataset.folds]
    return [
        sys.executable, "-m", "tgs_salt", "train", "--model", "m", "--fold", "0", "--settings", settings,
        *map(str, files), "--output", str(output / "model.pt"),
    ]  # fmt: skip


@pytest.mark.slow
def test_terminal_shows_a_progress_bar_below_the_log(dataset: TrainingInputs, tmp_path: Path) -> None:
    leader, follower = os.openpty()
    environment = {**os.environ, "PYTHONPATH": "src", "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(command(dataset, tmp_path, 3), env=environment, stderr=follower, stdout=subprocess.PIPE)
    os.close(follower)
    output = b""
    try:
        while chunk := os.read(leader, 4096):
            output += chunk
    except OSError:  # the other end is closed
        pass
    os.close(leader)
    assert process.wait() == 0 and process.stdout.read() == b"", "each line is printed once"
    text = output.decode()
    assert "m fold 0, loss" in text and "24/24" in text and "/s" in text
    assert all(f"m fold 0: epoch {epoch}/3, loss" in text for epoch in (1, 2, 3))


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_bytes(dataset: TrainingInputs, tmp_path: Path) -> None:
    epochs = 20
    whole = run(dataset, tmp_path / "whole", MODEL.model_copy(update={"epochs": epochs}))
    killed = tmp_path / "killed"
    environment = {**os.environ, "PYTHONPATH": "src"}
    process = subprocess.Popen(command(dataset, killed, epochs), env=environment, stderr=subprocess.DEVNULL)
    checkpoint = killed / "checkpoints" / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists() and not (killed / "model.pt").exists()
    done = len(torch.load(checkpoint, weights_only=True)["history"])
    assert 0 < done < epochs
    resumed = subprocess.run(
        command(dataset, killed, epochs), env=environment, capture_output=True, text=True, check=True
    )
    assert f"resuming after epoch {done} of {epochs}" in resumed.stdout
    assert (killed / "model.pt").read_bytes() == whole.read_bytes()
    assert (killed / "history.csv").read_bytes() == whole.with_name("history.csv").read_bytes()
    assert not checkpoint.exists()


def test_checkpoint_with_other_settings_is_skipped_with_a_warning(
    dataset: TrainingInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    interrupt(dataset, tmp_path / "m", monkeypatch)
    other = MODEL.model_copy(update={"learning_rate": 1e-4})
    with caplog.at_level("WARNING", "tgs_salt"):
        model = run(dataset, tmp_path / "m", other)
    assert "(learning_rate was 0.003, is now 0.0001); trying the previous checkpoint" in caplog.text
    assert "(learning_rate was 0.003, is now 0.0001); starting from the first epoch" in caplog.text
    assert model.read_bytes() == run(dataset, tmp_path / "clean", other).read_bytes()


def test_damaged_checkpoints_start_from_the_first_epoch(
    dataset: TrainingInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = interrupt(dataset, tmp_path / "m", monkeypatch)
    for path in (checkpoint, checkpoint.with_name("previous.pt")):
        path.write_bytes(path.read_bytes()[:1000])
    with caplog.at_level("WARNING", "tgs_salt"):
        model = run(dataset, tmp_path / "m")
    assert "is damaged; starting from the first epoch" in caplog.text
    assert model.read_bytes() == run(dataset, tmp_path / "clean").read_bytes()


def interrupt(dataset: TrainingInputs, output: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Train for two epochs and interrupt; return the path of the checkpoint."""
    train_epoch = Trainer.train_epoch

    def train_two_epochs(self: Trainer, epoch: int, on_batch: Callable[[], None]) -> float:
        if epoch == 3:
            raise KeyboardInterrupt
        return train_epoch(self, epoch, on_batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", train_two_epochs)
        with pytest.raises(KeyboardInterrupt):
            run(dataset, output)
    return output / "checkpoints" / "checkpoint.pt"


def test_fold_is_trained_by_one_process_at_a_time(dataset: TrainingInputs, tmp_path: Path) -> None:
    from tgs_salt.training.checkpoints import training_lock

    holder = "from pathlib import Path; import sys, time; from tgs_salt.training.checkpoints import training_lock\n"
    holder += "with training_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path / "checkpoints")], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        message = rf"process {process.pid} on .* is training this model and fold; wait for it"
        with pytest.raises(UserError, match=message), training_lock(tmp_path / "checkpoints"):
            pass
        process.kill()


def test_loss_that_is_not_finite_names_the_setting(dataset: TrainingInputs, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the loss became .* in epoch \d+; lower models\.m\.learning_rate"):
        run(dataset, tmp_path / "m", MODEL.model_copy(update={"learning_rate": 1e30, "lr_scheduler": "constant"}))


def test_divergence_in_the_last_step_is_detected(dataset: TrainingInputs, tmp_path: Path) -> None:
    """The training loss is computed before the last step; only the validation loss shows its effect."""
    changes = {"learning_rate": 1e30, "lr_scheduler": "constant", "batch_size": 64, "epochs": 1}
    with pytest.raises(UserError, match=r"the loss became .* in epoch 1; lower models\.m\.learning_rate"):
        run(dataset, tmp_path / "m", MODEL.model_copy(update=changes))
    assert not (tmp_path / "m/model.pt").exists()


def test_batch_of_one_tile_too_small_for_batch_norm_fails(dataset: TrainingInputs, tmp_path: Path) -> None:
    settings = Model(encoder="resnet18", encoder_weights="none", epochs=1, batch_size=1, threads=1)
    expected = r"^models\.m\.batch_size: \d+ tiles in batches of 1 leave a batch of one tile, .* input of 32 pixels"
    with pytest.raises(UserError, match=expected):
        run(dataset, tmp_path / "m", settings)


def test_stage_has_other_random_numbers_than_the_stage_it_starts_from(dataset: TrainingInputs, tmp_path: Path) -> None:
    data = read_fold(dataset.images, dataset.masks, dataset.tiles, dataset.folds, 0, MODEL, None, CPU)
    run(dataset, tmp_path / "m")
    first, second, variant = (
        Trainer("m", 0, settings, data, CPU, init_from)
        for settings, init_from in (
            (MODEL, None),
            (MODEL, tmp_path / "m/model.pt"),
            (MODEL.model_copy(update={"loss": "lovasz"}), tmp_path / "m/model.pt"),
        )
    )
    for purpose in ("tiles", "dropout"):
        assert first._seed(1, purpose) != second._seed(1, purpose)
        assert second._seed(1, purpose) == variant._seed(1, purpose), "variants of one stage have the same seeds"


def test_seed_of_a_stage_depends_only_on_its_initial_weights(dataset: TrainingInputs, tmp_path: Path) -> None:
    data = read_fold(dataset.images, dataset.masks, dataset.tiles, dataset.folds, 0, MODEL, None, CPU)
    first = run(dataset, tmp_path / "m")
    content = torch.load(first, weights_only=True)
    renamed = {**content, "versions": {}, "code": "other", "settings": {}}
    torch.save(renamed, tmp_path / "renamed.pt")
    name, tensor = next(iter(content["weights"].items()))
    torch.save({**content, "weights": {**content["weights"], name: tensor * 2}}, tmp_path / "changed.pt")
    seeds = [
        Trainer("m", 0, MODEL, data, CPU, path)._seed(1, "tiles")
        for path in (first, tmp_path / "renamed.pt", tmp_path / "changed.pt")
    ]
    assert seeds[0] == seeds[1] != seeds[2]


def test_fingerprint_contains_the_digest_of_the_encoder_weights(dataset: TrainingInputs, tmp_path: Path) -> None:
    data = read_fold(dataset.images, dataset.masks, dataset.tiles, dataset.folds, 0, MODEL, None, CPU)
    settings = Model(
        encoder="resnet18", encoder_weights=str(tmp_path / "encoder.pth"), batch_size=2, input_size=64, threads=1
    )
    encoder = smp.Unet("resnet18", encoder_weights=None, in_channels=1).encoder.state_dict()
    fingerprints = []
    for factor in (1, 2):
        torch.save({name: tensor * factor for name, tensor in encoder.items()}, tmp_path / "encoder.pth")
        fingerprints.append(Trainer("m", 0, settings, data, CPU, None).fingerprint)
    assert {key for key in fingerprints[0] if fingerprints[0][key] != fingerprints[1][key]} == {"encoder_weights file"}


def test_predictions_are_quantized_and_blank_tiles_are_zero(dataset: TrainingInputs, tmp_path: Path) -> None:
    model = run(dataset, tmp_path / "m")
    network, _ = load_model(model, CPU)
    tiles = np.load(dataset.images.with_name("test_images.npy"))
    with torch.inference_mode():
        probabilities = torch.sigmoid(network(torch.from_numpy(tiles).unsqueeze(1) / 255))[:, 0].double().numpy()
    expected = np.minimum(255, np.floor(256 * probabilities)).astype(np.uint8)
    result = predictions_of(model, dataset, "test", "none")
    assert result.shape == (4, SIDE, SIDE) and not result[3].any()
    assert np.abs(result[:3].astype(int) - expected[:3]).max() <= 1


def test_hflip_tta_predicts_the_flipped_mask_for_a_flipped_tile(dataset: TrainingInputs, tmp_path: Path) -> None:
    model = run(dataset, tmp_path / "m")
    original = predictions_of(model, dataset, "test")
    path = dataset.images.with_name("test_images.npy")
    np.save(path, np.load(path)[..., ::-1])
    flipped = predictions_of(model, dataset, "test")
    assert np.abs(flipped[..., ::-1].astype(int) - original).max() <= 1
    assert np.abs(predictions_of(model, dataset, "test", "none").astype(int) - flipped).max() > 1


def test_stage_starts_from_the_weights_of_init_from(dataset: TrainingInputs, tmp_path: Path) -> None:
    first = run(dataset, tmp_path / "first")
    frozen = MODEL.model_copy(
        update={"epochs": 1, "learning_rate": 1e-30, "weight_averaging": "none", "weight_decay": 0.0}
    )
    second = run(replace(dataset, init_from=first), tmp_path / "second", frozen)
    start, end = (load_model(path, CPU)[0] for path in (first, second))
    for (name, a), b in zip(start.named_parameters(), end.parameters(), strict=True):
        torch.testing.assert_close(a, b, msg=name)
    with pytest.raises(UserError, match="needs a model that held out the same tiles"):
        run(replace(dataset, init_from=first), tmp_path / "leak", frozen, fold=1)
    described = MODEL.model_copy(update={"architecture": "article-described"})
    with pytest.raises(UserError, match="init_from needs a model with the same network"):
        run(replace(dataset, init_from=first), tmp_path / "third", described)


def test_student_uses_pseudo_labels_of_its_own_fold_and_never_its_labels(
    dataset: TrainingInputs, tmp_path: Path
) -> None:
    test_images = dataset.images.with_name("test_images.npy")
    first = run(dataset, tmp_path / "teacher")
    predictions_of(first, dataset), predictions_of(first, dataset, "test")
    teacher = Teacher(first.with_name("oof_hflip.npy"), first.with_name("test_hflip.npy"), test_images)
    data = read_fold(dataset.images, dataset.masks, dataset.tiles, dataset.folds, 0, MODEL, teacher, CPU)
    assert len(data.images) == 8 + 4 + 4  # training tiles, held-out tiles, test tiles
    np.testing.assert_array_equal(data.targets[8:12].numpy(), np.load(teacher.oof))
    np.testing.assert_array_equal(data.targets[12:].numpy(), np.load(teacher.test))

    student = run(replace(dataset, teacher=teacher), tmp_path / "student")
    masks = np.load(dataset.masks)
    masks[0::3] = 1 - masks[0::3]  # invert the labels of fold 0
    np.save(dataset.masks, masks)
    inverted = run(replace(dataset, teacher=teacher), tmp_path / "inverted")
    assert inverted.read_bytes() == student.read_bytes()


def test_hard_pseudo_labels_are_masks_and_uncertain_tiles_are_excluded() -> None:
    predictions = np.full((3, 10, 10), 128, np.uint8)
    predictions[0, :5] = 204  # half just below 0.8, half at 0.5
    predictions[1, :5] = 205  # half confident (salt)
    predictions[2, :9], predictions[2, 9] = 50, 51  # nine tenths confident (no salt)
    selected, labels = select_pseudo_labels(predictions, MODEL.model_copy(update={"pseudo_label_min_confidence": 0.5}))
    assert selected.tolist() == [False, True, True]
    np.testing.assert_array_equal(labels, predictions[1:])
    selected, labels = select_pseudo_labels(
        predictions, MODEL.model_copy(update={"pseudo_label_min_confidence": 0.9, "pseudo_labels": "hard"})
    )
    assert selected.tolist() == [False, False, True] and not labels.any()
    _, labels = select_pseudo_labels(predictions, MODEL.model_copy(update={"pseudo_labels": "hard"}))
    np.testing.assert_array_equal(labels == 255, predictions >= 128)


@pytest.mark.slow
def test_compiled_training_gives_nearly_the_same_weights(dataset: TrainingInputs, tmp_path: Path) -> None:
    settings = MODEL.model_copy(
        update={"epochs": 1, "architecture": "unet", "encoder_weights": "none", "weight_averaging": "none"}
    )
    one = load_model(run(dataset, tmp_path / "one", settings), CPU)[0].state_dict()
    two = load_model(run(dataset, tmp_path / "two", settings.model_copy(update={"compile": True})), CPU)[0].state_dict()
    assert list(one) == list(two)
    close = [torch.allclose(a, b, rtol=0.1, atol=0.02) for a, b in zip(one.values(), two.values(), strict=True)]
    assert sum(close) > 0.95 * len(close)


def test_model_of_other_folds_is_rejected(dataset: TrainingInputs, tmp_path: Path) -> None:
    model = run(dataset, tmp_path / "m")
    folds = pd.read_csv(dataset.folds, dtype={"id": str})
    folds["fold"] = (folds["fold"] + 1) % 3
    folds.to_csv(dataset.folds, index=False)
    with pytest.raises(UserError, match=r"its training folds differ from folds\.csv"):
        predictions_of(model, dataset)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a model", None])
def test_damaged_or_missing_model_is_reported(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="not a valid model file" if content is not None else "no such file"):
        load_model(path, CPU)
