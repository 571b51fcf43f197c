"""`train`: one model on one fold, from the first epoch to the last. Read it top to bottom.

    python -m tgs_salt train --model unet --fold 0 --settings '{"model": {...}}' --images ... --output .../model.pt

Everything an epoch needs lies on the device as uint8; random numbers are drawn for an epoch at once, from the seed,
the fold, the epoch and the weights that a stage starts from. So an epoch can be repeated, and a training that was
killed ends with the same bytes on a CPU, also when it goes on from the middle of an epoch: what dropout has drawn by
then is part of a checkpoint.
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
from tgs_salt.compute.oom import job_memory
from tgs_salt.errors import UserError
from tgs_salt.inference.predict import to_float
from tgs_salt.log import ProgressReporter, log_and_echo, logger, progress
from tgs_salt.models.model_file import TRAINING_VERSION, load_weights, save_model
from tgs_salt.models.tile_model import TileNetwork, build, disable_inplace_activations, try_step, use_cpu_kernels
from tgs_salt.provenance import rule_digest
from tgs_salt.settings import Model
from tgs_salt.training import augmentation
from tgs_salt.training.checkpoints import CheckpointManager, fold_lock, remove_checkpoints
from tgs_salt.training.evaluate import validate
from tgs_salt.training.fold_data import FoldData, Teacher, read_fold
from tgs_salt.training.history import History
from tgs_salt.training.losses import build_loss
from tgs_salt.training.optim import build_optimizer, build_scheduler
from tgs_salt.training.weight_averaging import WeightAverager

T = TypeVar("T")


@dataclass(frozen=True)
class Inputs:
    """Files that a fold is trained from."""

    images: Path
    masks: Path
    tiles: Path
    folds: Path
    init_from: Path | None = None
    teacher: Teacher | None = None


def train(
    name: str, fold: int, settings: Model, inputs: Inputs, output: Path, *,
    gpus: str, slots: int = 1, minutes: float = 10,
) -> None:  # fmt: skip
    """Train model `name` on all folds but `fold`; write model.pt (`output`), history.csv and timing.json beside it.

    Goes on from `checkpoints/` beside the output where a training with the same settings and data was killed or stopped.
    There is a checkpoint after each epoch and after `minutes` in one. Raises UserError if another process trains this
    fold, the loss is no number or memory runs out, and Stopped, after a checkpoint, on Ctrl-C and SIGTERM.
    """
    resume = output.parent / "checkpoints"
    with fold_lock(resume), use_device(gpus, slots) as device:
        torch.set_num_threads(settings.threads)
        with job_memory(f"lower models.{name}.batch_size (now {settings.batch_size})"):
            files_of_fold = (inputs.images, inputs.masks, inputs.tiles, inputs.folds)
            data = read_fold(*files_of_fold, fold, settings, inputs.teacher, device)
            trainer = Trainer(name, fold, settings, data, device, inputs.init_from)
            with signals.defer_signals() as asked:
                trainer.run(CheckpointManager(resume, trainer.fingerprint, minutes, asked))
        files.write_text(output.with_name("history.csv"), trainer.history.text)
        files.write_json(output.with_name("timing.json"), trainer.timing())
        save_model(output, trainer.kept, settings, data.images.shape[-1], fold, data.fold_hash)
        remove_checkpoints(resume)


def _compiled(network: nn.Module) -> nn.Module:
    """Beside the network, with the same tensors: its weights keep their names.

    One graph for a batch and one for the epoch's last, which may be shorter: the graph for any size that torch would
    make of both is slower, and a training that goes on after a stop would meet it later.
    """
    return torch.compile(network, dynamic=False)  # type: ignore[return-value]


def _check_last_batch(name: str, settings: Model, network: TileNetwork, count: int) -> None:
    """Batch norm learns nothing from one value, which is what the deepest features of a tile may be."""
    alone = settings.batch_size == 1 or count % settings.batch_size == 1
    if alone and settings.architecture == "unet" and network.input_size == settings.multiple:
        raise UserError(
            f"models.{name}.batch_size: {count:,} tiles in batches of {settings.batch_size} leave a batch of one, too "
            f"little for an input of {network.input_size} pixels; choose another batch_size, or a larger input_size."
        )


def _named(name: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call `function`; its error names the key of model `name` instead of `models.*`."""
    try:
        return function(*args, **kwargs)
    except UserError as problem:
        raise UserError(str(problem).replace("models.*", f"models.{name}")) from None


def _no_pause() -> None:
    pass


class Trainer:
    """The state of one training, and the loop over it."""

    def __init__(
        self, name: str, fold: int, settings: Model, data: FoldData, device: torch.device, init_from: Path | None
    ) -> None:
        self.name, self.fold, self.settings, self.data, self.device = name, fold, settings, data, device
        self.origin = "none"
        torch.manual_seed(self._seed(0, "weights"))
        network = _named(name, build, settings, data.images.shape[-1], fetch=init_from is None)
        if init_from is not None:
            load_weights(init_from, network, data.fold_hash)
            # A stage draws other random numbers than the one that it starts from. They depend on that one's weights
            # alone, so that names, versions and code can change without changing the stages that follow.
            self.origin = files.digest(*(tensor.numpy() for tensor in network.state_dict().values()))[:16]
        _check_last_batch(name, settings, network, len(data.images))
        disable_inplace_activations(network)
        if device.type == "cpu":
            use_cpu_kernels(network)
        self.network = network.to(device)
        self.loss = build_loss(settings.loss)
        if settings.architecture == "unet":
            _named(name, try_step, self.network, settings.encoder, self.loss)
        self.forward: nn.Module = _compiled(self.network) if settings.compile else self.network
        self.average = WeightAverager(self.network, settings)
        self.steps_per_epoch = math.ceil(len(data.images) / settings.batch_size)
        self.optimizer = build_optimizer(self.network, settings)
        self.scheduler = build_scheduler(self.optimizer, settings, self.steps_per_epoch * settings.epochs)
        self.scaler = grad_scaler(device)
        self.history = History()
        self.chosen: dict[str, Tensor] | None = None
        self.step, self.rate, self.total = 0, 0.0, torch.zeros((), device=device)  # of the running epoch
        self.random: list[Tensor] = []
        self.shown = ProgressReporter(self.title, 0, None, lines=False)
        self.seconds = 0.0
        self.began = time.monotonic()
        self.fingerprint = self._fingerprint()

    def run(self, checkpoints: CheckpointManager) -> None:
        """All steps that are left, with a checkpoint after each epoch and whenever one is due."""
        state = checkpoints.load()
        if state is not None:
            self._restore(state)
            within = f", step {self.step} of {self.steps_per_epoch} of the next" if self.step else ""
            log_and_echo(f"{self.title}: going on after epoch {len(self.history)} of {self.settings.epochs}{within}")
            del state  # a second copy of all tensors
        logger.info(
            f"{self.title}: {len(self.data.images):,} tiles, {self.settings.epochs} epochs of {self.steps_per_epoch} "
            f"steps on {self.device}"
        )
        count, size = len(self.data.images), self.settings.batch_size
        done = len(self.history) * count + min(self.step * size, count)
        with progress(self.title, self.settings.epochs * count, done, lines=False) as self.shown:
            self._run(checkpoints)

    def _run(self, checkpoints: CheckpointManager) -> None:
        pause = partial(checkpoints.pause, self._state)
        self.began = time.monotonic()
        for epoch in range(len(self.history) + 1, self.settings.epochs + 1):
            if self.history.stalled(self.settings.early_stopping_patience):
                log_and_echo(
                    f"{self.title}: stopped, {self.settings.early_stopping_patience} epochs without a lower validation loss"
                )
                break
            loss = self.epoch(epoch, pause)
            self._check_finite(loss, epoch)
            self.average.after_epoch(epoch, self._batches(pause))
            reached = validate(self.average.best, self.data, pause)
            self._check_finite(reached.loss, epoch)  # the last step's harm is in no training loss
            if self.settings.lr_scheduler == "plateau":
                self.scheduler.step(reached.loss)  # type: ignore[arg-type]
            self.history.add(self.rate, loss, reached)
            if self.history.last_is_best(self.settings.keep_weights):
                # A copy: state_dict() hands out the tensors that training goes on to change.
                self.chosen = {key: tensor.clone() for key, tensor in self.average.best.state_dict().items()}
            self.step = 0
            self._count_time()
            self._announce()
            checkpoints.save(self._state())
            files.write_text(checkpoints.newest.with_name("history.csv"), self.history.text)
            checkpoints.stop_if_asked()

    def epoch(self, epoch: int, pause: Callable[[], None] = _no_pause) -> float:
        """One pass over the tiles in random order; nothing waits for the device until the end. Mean loss a tile.

        Begins at `self.step`, which is 0 unless the training was stopped in this epoch; calls `pause` between steps.
        """
        generator = torch.Generator().manual_seed(self._seed(epoch, "tiles"))
        if self.step == 0:
            torch.manual_seed(self._seed(epoch, "dropout"))
            self.rate = self.optimizer.param_groups[-1]["lr"]
            self.total = torch.zeros((), device=self.device)
        count, size = len(self.data.images), self.settings.batch_size
        order = torch.randperm(count, generator=generator).to(self.device)
        side = self.data.images.shape[-1]
        changes = augmentation.sample_augmentations(count, side, self.settings.augment, generator).to(self.device)
        self.network.train()
        for step in range(self.step, self.steps_per_epoch):
            rows = order[step * size : (step + 1) * size]
            pixels = to_float(self.data.images.index_select(0, rows))
            targets = to_float(self.data.targets.index_select(0, rows))
            pixels, targets = changes.apply(pixels, targets, rows)
            with autocast(self.device):
                outputs = self.forward(pixels, self.data.depths.index_select(0, rows))
            loss = self.loss(outputs, targets)
            self.optimizer.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            if self.settings.lr_scheduler != "plateau":
                self.scheduler.step()
            self.average.after_step()
            self.total += loss.detach() * len(rows)
            self.step = step + 1
            self.shown.advance(len(rows))
            if self.step == self.steps_per_epoch:
                # Measuring statistics draws dropout as well, and is done anew if the training stops after this.
                self.random = self._random()
            pause()
        synchronize(self.device)
        return float(self.total) / count

    def _batches(self, pause: Callable[[], None]) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels and depths of the learning tiles as they are."""
        for first in range(0, len(self.data.images), self.settings.batch_size):
            part = slice(first, first + self.settings.batch_size)
            yield to_float(self.data.images[part]), self.data.depths[part]
            pause()

    @property
    def title(self) -> str:
        return f"{self.name} fold {self.fold}"

    @property
    def kept(self) -> dict[str, Tensor]:
        """The weights that count: averaged, after the last epoch or after the best."""
        return self.chosen if self.chosen is not None else self.average.best.state_dict()

    def _check_finite(self, loss: float, epoch: int) -> None:
        if not math.isfinite(loss):
            raise UserError(
                f"{self.title}: the loss became {loss} in epoch {epoch}; "
                f"lower models.{self.name}.learning_rate (now {self.settings.learning_rate:g})."
            )

    def _seed(self, epoch: int, what: str) -> int:
        """One seed out of all that random numbers may depend on; stable across versions of Python."""
        return int(files.digest(f"{self.settings.seed} {self.fold} {self.origin} {epoch} {what}")[:15], 16)

    def _announce(self) -> None:
        row = self.history.last
        seconds = self.seconds / len(self.history)
        log_and_echo(
            f"{self.title}: epoch {len(self.history)}/{self.settings.epochs}, loss {row['loss']:.4f}, "
            f"score {row['score']:.4f}, {len(self.data.images) / seconds:,.0f} tiles/s, "
            f"{_clock(seconds * (self.settings.epochs - len(self.history)))} left"
        )
        self.shown.name(f"{self.title}, loss {row['loss']:.4f}, score {row['score']:.4f}")

    def timing(self) -> dict[str, Any]:
        """Figures that differ from run to run, for timing.json."""
        epochs = max(len(self.history), 1)
        return {
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu",
            "threads": self.settings.threads,
            "seconds": round(self.seconds, 1),
            "tiles_per_second": round(len(self.data.images) * epochs / max(self.seconds, 1e-9), 1),
            "peak_memory_mb": round(peak_memory_mb(self.device), 1),
            # For who looks on without torch: `status` tells which folds older code has trained.
            "version": __version__,
            "code": rule_digest("train"),
        }

    def _count_time(self) -> None:
        """Add the time since the last call, or since the epoch began, to the training's."""
        now = time.monotonic()
        self.seconds, self.began = self.seconds + now - self.began, now

    def _fingerprint(self) -> dict[str, str]:
        """All that the numbers of this training depend on: a checkpoint with other values is of another training."""
        settings = self.settings.model_dump(mode="json", exclude={"extends", "init_from", "teacher"})
        floats, weights = amp_dtype(self.device), Path(self.settings.encoder_weights)
        return {
            **{key: str(value) for key, value in settings.items()},
            "fold": str(self.fold), "tiles of the fold": self.data.fold_hash, "data": self.data.data_hash,
            "weights of init_from": self.origin,
            **({"weights in the file": files.digest(weights.read_bytes())[:16]} if weights.is_file() else {}),
            "code": f"recipe {TRAINING_VERSION}, torch {torch.__version__}, {self.device.type}{f' {floats}' if floats else ''}",
        }  # fmt: skip

    def _state(self) -> dict[str, Any]:
        self._count_time()
        random = self.random if self.step == self.steps_per_epoch else self._random()
        return {
            "network": self.network.state_dict(), "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(), "lr_scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(), "history": self.history.rows, "chosen": self.chosen,
            "step": self.step, "rate": self.rate, "total": self.total, "seconds": self.seconds,
            "random": random,
        }  # fmt: skip

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["lr_scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        self.history, self.chosen, self.seconds = History(state["history"]), state["chosen"], state["seconds"]
        self.step, self.rate, self.total = state["step"], state["rate"], state["total"].to(self.device)
        self.random = state["random"]
        torch.set_rng_state(self.random[0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(self.random[1], self.device)

    def _random(self) -> list[Tensor]:
        """The states of the random numbers, of the CPU and of the GPU that trains."""
        on_gpu = self.device.type == "cuda"
        return [torch.get_rng_state(), *([torch.cuda.get_rng_state(self.device)] if on_gpu else [])]


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
