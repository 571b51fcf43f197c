"""Weight averaging with torch's AveragedModel: an exponential moving average, or SWA."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from tgs_salt.compute.amp import autocast
from tgs_salt.models.tile_model import TileModel
from tgs_salt.settings import Model

SWA_FRACTION = 0.25  # SWA averages the weights of this fraction of the epochs, the last ones

Batch = tuple[Tensor, Tensor]


class WeightAverager:
    """The averaged copy of a network.

    ema: exponential moving average after every step, batch-norm statistics included.
    swa: mean of the weights after each epoch of the last quarter; the batch-norm statistics are computed at the end
    (Izmailov et al. 2018).
    """

    def __init__(self, network: TileModel, settings: Model) -> None:
        self.network = network
        self.use_swa = settings.weight_averaging == "swa"
        self.ema_decay = settings.ema_decay if settings.weight_averaging == "ema" else 0.0
        self.swa_start = settings.epochs - max(1, round(SWA_FRACTION * settings.epochs)) + 1
        self.last_epoch = settings.epochs
        # n_averaged stays on the CPU, so that reading it never waits for a GPU.
        self.averaged_model = AveragedModel(network, use_buffers=not self.use_swa)
        self.ready = not self.use_swa
        # AveragedModel would collect the tensors at each step, which takes three times as long as the arithmetic.
        self.averaged_tensors, self.tensors = _float_tensors(self.averaged_model.module), _float_tensors(network)
        self.update_ema = get_ema_multi_avg_fn(self.ema_decay)

    def after_step(self) -> None:
        """Update the exponential moving average, if that is the setting."""
        if not self.ema_decay:
            return
        if int(self.averaged_model.n_averaged) == 0:
            self.averaged_model.update_parameters(self.network)  # a copy
        else:
            self.update_ema(self.averaged_tensors, self.tensors, self.averaged_model.n_averaged)
            self.averaged_model.n_averaged += 1

    def after_epoch(self, epoch: int, batches: Iterator[Batch]) -> None:
        """Update the SWA mean, if that is the setting; after the last epoch, compute its batch-norm statistics.

        `batches` yields pixels and depths of the training tiles and is read only for the statistics. Calls that repeat
        an epoch have no effect on the mean: training may be interrupted and resumed between this and the next step.
        """
        if not self.use_swa or epoch < self.swa_start:
            return
        if int(self.averaged_model.n_averaged) <= epoch - self.swa_start:
            self.averaged_model.update_parameters(self.network)
        if epoch == self.last_epoch:
            with autocast(self.tensors[0].device):
                update_bn(map(_to_dict, batches), _SingleInput(self.averaged_model))
            self.ready = True

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""
        return {"averaged_model": self.averaged_model.state_dict(), "ready": self.ready}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        self.averaged_model.load_state_dict(state["averaged_model"])
        self.ready = state["ready"]

    @property
    def eval_network(self) -> TileModel:
        """The averaged network if there is one, else the trained one."""
        averaged = self.averaged_model.module
        assert isinstance(averaged, TileModel)
        return averaged if self.ready and (self.ema_decay or self.use_swa) else self.network


def _float_tensors(network: nn.Module) -> list[Tensor]:
    """Return parameters and floating-point buffers, without batch norm's integer counters."""
    tensors = itertools.chain(network.parameters(), network.buffers())
    return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]


class _SingleInput(nn.Module):
    """Adapter for update_bn, which passes one argument to the model (only the first item if a batch is a tuple)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: dict[str, Tensor]) -> Any:
        return self.network(batch["pixels"], batch["depths"])


def _to_dict(batch: Batch) -> dict[str, Tensor]:
    return {"pixels": batch[0], "depths": batch[1]}
