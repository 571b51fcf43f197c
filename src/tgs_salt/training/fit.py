"""`train`: train one model on one fold, from the first epoch to the last.

    python -m tgs_salt train --model unet --fold 0 --settings '{"model": {...}}' --images ... --output .../model.pt

The whole dataset stays on the device as uint8. Random numbers are drawn for a whole epoch at once. Their seed depends
on the setting `seed`, the fold, the epoch and the initial weights of a fine-tuned model, so an epoch can be repeated.
On a CPU, a killed and resumed training run ends with the same bytes, even if it was killed within an epoch. For that,
checkpoints include the state of the random number generators, which dropout advances.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tgs_salt import __version__, files, signals
from tgs_salt.compute.amp import amp_dtype, autocast, grad_scaler
from tgs_salt.compute.device import peak_memory_mb, synchronize, use_device
from tgs_salt.compute.oom import explain_job_oom
from tgs_salt.errors import UserError
from tgs_salt.inference.predict import to_float
from tgs_salt.log import ProgressReporter, log_and_echo, logger, progress
from tgs_salt.models.model_file import TRAINING_VERSION, load_weights, save_model
from tgs_salt.models.tile_model import (
    TileModel,
    build_model,
    check_trainable,
    disable_inplace_activations,
    use_cpu_kernels,
)
from tgs_salt.provenance import rule_digest
from tgs_salt.settings import Model
from tgs_salt.training import augmentation
from tgs_salt.training.checkpoints import CheckpointManager, remove_checkpoints, training_lock
from tgs_salt.training.evaluate import evaluate
from tgs_salt.training.fold_data import FoldData, Teacher, read_fold
from tgs_salt.training.history import History
from tgs_salt.training.losses import build_loss
from tgs_salt.training.optim import build_optimizer, build_scheduler
from tgs_salt.training.weight_averaging import WeightAverager

T = TypeVar("T")


@dataclass(frozen=True)
class TrainingInputs:
    """The input files of one training run."""

    images: Path
    masks: Path
    tiles: Path
    folds: Path
    init_from: Path | None = None
    teacher: Teacher | None = None


def train(
    name: str, fold: int, settings: Model, inputs: TrainingInputs, output: Path, *,
    gpus: str, jobs_per_gpu: int = 1, checkpoint_minutes: float = 10,
) -> None:  # fmt: skip
    """Train model `name` on all folds but `fold`; write model.pt (`output`), history.csv and timing.json.

    Resumes from `checkpoints/` in the folder of `output` if they have the same settings and data. Checkpoints are saved
    after each epoch, and every `checkpoint_minutes` within one.

    Raises:
        UserError: Another process trains this model and fold, the loss is not finite, or memory runs out.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint is saved first.
    """
    checkpoint_dir = output.parent / "checkpoints"
    with training_lock(checkpoint_dir), use_device(gpus, jobs_per_gpu) as device:
        torch.set_num_threads(settings.threads)
        with explain_job_oom(f"lower models.{name}.batch_size (now {settings.batch_size})"):
            paths = (inputs.images, inputs.masks, inputs.tiles, inputs.folds)
            data = read_fold(*paths, fold, settings, inputs.teacher, device)
            trainer = Trainer(name, fold, settings, data, device, inputs.init_from)
            with signals.defer_signals() as stop_request:
                trainer.run(CheckpointManager(checkpoint_dir, trainer.fingerprint, checkpoint_minutes, stop_request))
        files.write_text(output.with_name("history.csv"), trainer.history.to_csv())
        files.write_json(output.with_name("timing.json"), trainer.timing())
        save_model(output, trainer.final_state, settings, data.images.shape[-1], fold, data.fold_hash)
        remove_checkpoints(checkpoint_dir)


def _compile(network: nn.Module) -> nn.Module:
    """Return a compiled module that shares the parameters of `network`, whose state dict keeps its names.

    It has one graph for full batches and one for the last, shorter batch. With dynamic shapes, torch would build a
    slower graph for both, and a resumed training run would switch to it at another step.
    """
    return torch.compile(network, dynamic=False)  # type: ignore[return-value]


def _check_last_batch(name: str, settings: Model, network: TileModel, count: int) -> None:
    """Raise UserError if batch norm would get a single value per channel from a batch of one tile."""
    single = settings.batch_size == 1 or count % settings.batch_size == 1
    if single and settings.architecture == "unet" and network.input_size == settings.size_divisor:
        raise UserError(
            f"models.{name}.batch_size: {count:,} tiles in batches of {settings.batch_size} leave a batch of one tile, "
            f"too few for batch norm at an input of {network.input_size} pixels; "
            "choose another batch_size, or a larger input_size."
        )


def _with_model_name(name: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call `function`, and replace `models.*` in the message of its UserError by the key of model `name`."""
    try:
        return function(*args, **kwargs)
    except UserError as error:
        raise UserError(str(error).replace("models.*", f"models.{name}")) from None


def _do_nothing() -> None:
    pass


class Trainer:
    """The state and the loop of one training run."""

    def __init__(
        self, name: str, fold: int, settings: Model, data: FoldData, device: torch.device, init_from: Path | None
    ) -> None:
        self.name, self.fold, self.settings, self.data, self.device = name, fold, settings, data, device
        self.init_digest = "none"
        torch.manual_seed(self._seed(0, "weights"))
        network = _with_model_name(name, build_model, settings, data.images.shape[-1], pretrained=init_from is None)
        if init_from is not None:
            load_weights(init_from, network, data.fold_hash)
            # A fine-tuned model uses a different random stream from the model it starts from. The seed includes a
            # digest of the initial weights, not the name or version of that model.
            self.init_digest = files.digest(*(tensor.numpy() for tensor in network.state_dict().values()))[:16]
        _check_last_batch(name, settings, network, len(data.images))
        disable_inplace_activations(network)
        if device.type == "cpu":
            use_cpu_kernels(network)
        self.network = network.to(device)
        self.loss_fn = build_loss(settings.loss)
        if settings.architecture == "unet":
            _with_model_name(name, check_trainable, self.network, settings.encoder, self.loss_fn)
        self.train_network: nn.Module = _compile(self.network) if settings.compile else self.network
        self.averager = WeightAverager(self.network, settings)
        self.steps_per_epoch = math.ceil(len(data.images) / settings.batch_size)
        self.optimizer = build_optimizer(self.network, settings)
        self.scheduler = build_scheduler(self.optimizer, settings, self.steps_per_epoch * settings.epochs)
        self.grad_scaler = grad_scaler(device)
        self.history = History()
        self.best_state: dict[str, Tensor] | None = None
        # Of the current epoch: finished steps, learning rate at the start, sum of the tiles' losses.
        self.step, self.lr, self.loss_sum = 0, 0.0, torch.zeros((), device=device)
        self.rng_state: list[Tensor] = []  # at the end of the epoch's last step
        self.progress = ProgressReporter(self.title, 0, None, lines=False)
        self.elapsed_seconds = 0.0
        self.last_timed_at = time.monotonic()
        self.fingerprint = self._fingerprint()

    def run(self, checkpoints: CheckpointManager) -> None:
        """Run all remaining steps, with a checkpoint after each epoch and whenever one is due."""
        state = checkpoints.load()
        if state is not None:
            self.load_state_dict(state)
            within = f", step {self.step} of {self.steps_per_epoch} of the next epoch" if self.step else ""
            log_and_echo(f"{self.title}: resuming after epoch {len(self.history)} of {self.settings.epochs}{within}")
            del state  # free the second copy of all tensors
        logger.info(
            f"{self.title}: {len(self.data.images):,} tiles, {self.settings.epochs} epochs of {self.steps_per_epoch} "
            f"steps on {self.device}"
        )
        count, size = len(self.data.images), self.settings.batch_size
        done = len(self.history) * count + min(self.step * size, count)
        with progress(self.title, self.settings.epochs * count, done, lines=False) as self.progress:
            self._train_epochs(checkpoints)

    def _train_epochs(self, checkpoints: CheckpointManager) -> None:
        on_batch = partial(checkpoints.maybe_save, self.state_dict)
        patience = self.settings.early_stopping_patience
        self.last_timed_at = time.monotonic()
        for epoch in range(len(self.history) + 1, self.settings.epochs + 1):
            if self.history.should_stop(patience):
                log_and_echo(f"{self.title}: stopped early, {patience} epochs without a lower validation loss")
                break
            loss = self.train_epoch(epoch, on_batch)
            self._check_finite(loss, epoch)
            self.averager.after_epoch(epoch, self._training_batches(on_batch))
            result = evaluate(self.averager.eval_network, self.data, on_batch)
            self._check_finite(result.loss, epoch)  # the training loss does not show the effect of the last step
            if self.settings.lr_scheduler == "plateau":
                self.scheduler.step(result.loss)  # type: ignore[arg-type]
            self.history.add(self.lr, loss, result)
            if self.history.last_is_best(self.settings.keep_weights):
                # Clone, because state_dict() returns the tensors that training goes on to change.
                state = self.averager.eval_network.state_dict()
                self.best_state = {key: tensor.clone() for key, tensor in state.items()}
            self.step = 0
            self._update_seconds()
            self._log_epoch()
            checkpoints.save(self.state_dict())
            files.write_text(checkpoints.latest.with_name("history.csv"), self.history.to_csv())
            checkpoints.raise_if_stopped()

    def train_epoch(self, epoch: int, on_batch: Callable[[], None] = _do_nothing) -> float:
        """Train on all tiles once, in random order, and return the mean loss per tile.

        Starts at `self.step`, which is 0 unless training was interrupted within this epoch. Calls `on_batch` after each
        step. Does not wait for the device before the end.
        """
        generator = torch.Generator().manual_seed(self._seed(epoch, "tiles"))
        if self.step == 0:
            torch.manual_seed(self._seed(epoch, "dropout"))
            self.lr = self.optimizer.param_groups[-1]["lr"]
            self.loss_sum = torch.zeros((), device=self.device)
        count, size = len(self.data.images), self.settings.batch_size
        order = torch.randperm(count, generator=generator).to(self.device)
        tile_size = self.data.images.shape[-1]
        params = augmentation.sample_augmentations(count, tile_size, self.settings.augment, generator).to(self.device)
        self.network.train()
        for step in range(self.step, self.steps_per_epoch):
            rows = order[step * size : (step + 1) * size]
            pixels = to_float(self.data.images.index_select(0, rows))
            targets = to_float(self.data.targets.index_select(0, rows))
            pixels, targets = params.apply(pixels, targets, rows)
            with autocast(self.device):
                outputs = self.train_network(pixels, self.data.depths.index_select(0, rows))
            loss = self.loss_fn(outputs, targets)
            self.optimizer.zero_grad(set_to_none=True)
            self.grad_scaler.scale(loss).backward()
            self.grad_scaler.step(self.optimizer)
            self.grad_scaler.update()
            if self.settings.lr_scheduler != "plateau":
                self.scheduler.step()
            self.averager.after_step()
            self.loss_sum += loss.detach() * len(rows)
            self.step = step + 1
            self.progress.advance(len(rows))
            if self.step == self.steps_per_epoch:
                # The SWA batch-norm update also consumes random numbers (dropout is active) and runs again after a
                # resume, so the state before it is saved.
                self.rng_state = self._get_rng_state()
            on_batch()
        synchronize(self.device)
        return float(self.loss_sum) / count

    def _training_batches(self, on_batch: Callable[[], None]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield pixels and depths of the training tiles, without augmentation."""
        for start in range(0, len(self.data.images), self.settings.batch_size):
            batch = slice(start, start + self.settings.batch_size)
            yield to_float(self.data.images[batch]), self.data.depths[batch]
            on_batch()

    @property
    def title(self) -> str:
        """Model and fold, for log lines."""
        return f"{self.name} fold {self.fold}"

    @property
    def final_state(self) -> dict[str, Tensor]:
        """The (averaged) weights of the last or of the best epoch, by the setting `keep_weights`."""
        return self.best_state if self.best_state is not None else self.averager.eval_network.state_dict()

    def _check_finite(self, loss: float, epoch: int) -> None:
        if not math.isfinite(loss):
            raise UserError(
                f"{self.title}: the loss became {loss} in epoch {epoch}; "
                f"lower models.{self.name}.learning_rate (now {self.settings.learning_rate:g})."
            )

    def _seed(self, epoch: int, purpose: str) -> int:
        """Return a seed derived from all that random numbers may depend on; the same for every version of Python."""
        return int(files.digest(f"{self.settings.seed} {self.fold} {self.init_digest} {epoch} {purpose}")[:15], 16)

    def _log_epoch(self) -> None:
        row = self.history.last
        seconds = self.elapsed_seconds / len(self.history)
        log_and_echo(
            f"{self.title}: epoch {len(self.history)}/{self.settings.epochs}, loss {row['loss']:.4f}, "
            f"score {row['score']:.4f}, {len(self.data.images) / seconds:,.0f} tiles/s, "
            f"{_format_duration(seconds * (self.settings.epochs - len(self.history)))} left"
        )
        self.progress.set_description(f"{self.title}, loss {row['loss']:.4f}, score {row['score']:.4f}")

    def timing(self) -> dict[str, Any]:
        """Return the content of timing.json, which differs from run to run."""
        epochs = max(len(self.history), 1)
        return {
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu",
            "threads": self.settings.threads,
            "seconds": round(self.elapsed_seconds, 1),
            "tiles_per_second": round(len(self.data.images) * epochs / max(self.elapsed_seconds, 1e-9), 1),
            "peak_memory_mb": round(peak_memory_mb(self.device), 1),
            # `status` lists folds trained by an older version, and does not import torch to read model.pt.
            "version": __version__,
            "code": rule_digest("train"),
        }

    def _update_seconds(self) -> None:
        """Add the time since the last call, or since the first epoch started, to `elapsed_seconds`."""
        now = time.monotonic()
        self.elapsed_seconds, self.last_timed_at = self.elapsed_seconds + now - self.last_timed_at, now

    def _fingerprint(self) -> dict[str, str]:
        """Return all that the result depends on; a checkpoint with other values belongs to another run."""
        settings = self.settings.model_dump(mode="json", exclude={"extends", "init_from", "teacher"})
        dtype, encoder_weights = amp_dtype(self.device), Path(self.settings.encoder_weights)
        if encoder_weights.is_file():
            settings["encoder_weights file"] = files.digest(encoder_weights.read_bytes())[:16]
        device = f"{self.device.type} {dtype}" if dtype else self.device.type
        return {
            **{key: str(value) for key, value in settings.items()},
            "fold": str(self.fold),
            "held-out tiles": self.data.fold_hash,
            "data": self.data.data_hash,
            "init_from weights": self.init_digest,
            "training code version": str(TRAINING_VERSION),
            "torch and device": f"{torch.__version__}, {device}",
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""
        self._update_seconds()
        rng_state = self.rng_state if self.step == self.steps_per_epoch else self._get_rng_state()
        return {
            "network": self.network.state_dict(), "averager": self.averager.state_dict(),
            "optimizer": self.optimizer.state_dict(), "lr_scheduler": self.scheduler.state_dict(),
            "grad_scaler": self.grad_scaler.state_dict(), "history": self.history.rows, "best_state": self.best_state,
            "step": self.step, "lr": self.lr, "loss_sum": self.loss_sum, "seconds": self.elapsed_seconds,
            "rng_state": rng_state,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of `state_dict`, the states of the random number generators included."""
        self.network.load_state_dict(state["network"])
        self.averager.load_state_dict(state["averager"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["lr_scheduler"])
        self.grad_scaler.load_state_dict(state["grad_scaler"])
        self.history, self.best_state = History(state["history"]), state["best_state"]
        self.elapsed_seconds = state["seconds"]
        self.step, self.lr, self.loss_sum = state["step"], state["lr"], state["loss_sum"].to(self.device)
        self.rng_state = state["rng_state"]
        torch.set_rng_state(self.rng_state[0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(self.rng_state[1], self.device)

    def _get_rng_state(self) -> list[Tensor]:
        """Return the random number generator states of the CPU and, if training on a GPU, of the GPU."""
        on_gpu = self.device.type == "cuda"
        return [torch.get_rng_state(), *([torch.cuda.get_rng_state(self.device)] if on_gpu else [])]


def _format_duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
