"""Averaged weights by torch's own class: what a training keeps in place of its last step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from tgs_salt.compute.amp import autocast
from tgs_salt.models.tile_model import TileNetwork
from tgs_salt.settings import Model

SWA_SHARE = 0.25  # of the epochs, the last ones, whose weights are averaged


Batch = tuple[Tensor, Tensor]


class WeightAverager:
    """`ema`: exponential decay after every step, batch-norm statistics included. `swa`: the plain mean of the weights
    after each of the last quarter of the epochs, with batch-norm statistics measured anew (Izmailov et al. 2018)."""

    def __init__(self, network: TileNetwork, settings: Model) -> None:
        self.network = network
        self.swa = settings.weight_averaging == "swa"
        self.decay = settings.ema_decay if settings.weight_averaging == "ema" else 0.0
        self.first = settings.epochs - max(1, round(SWA_SHARE * settings.epochs)) + 1
        self.last = settings.epochs
        # Its count of steps lies on the CPU, so that counting never waits for a GPU.
        self.model = AveragedModel(network, use_buffers=not self.swa)
        self.ready = not self.swa
        # AveragedModel would gather the tensors anew at each step, in three times the time of the arithmetic.
        self.averaged, self.learning = _floats(self.model.module), _floats(network)
        self.move = get_ema_multi_avg_fn(self.decay)

    def after_step(self) -> None:
        if not self.decay:
            return
        if int(self.model.n_averaged) == 0:
            self.model.update_parameters(self.network)  # a copy
        else:
            self.move(self.averaged, self.learning, self.model.n_averaged)
            self.model.n_averaged += 1

    def after_epoch(self, epoch: int, batches: Iterator[Batch]) -> None:
        """`batches` are pixels and depths of the learning tiles; they are read only where statistics are measured.

        An epoch counts once, however often this is called: a training may be stopped between here and its next step.
        """
        if not self.swa or epoch < self.first:
            return
        if int(self.model.n_averaged) <= epoch - self.first:
            self.model.update_parameters(self.network)
        if epoch == self.last:
            with autocast(self.learning[0].device):
                update_bn(map(_as_one, batches), _TakesOne(self.model))
            self.ready = True

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "ready": self.ready}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.ready = state["ready"]

    @property
    def best(self) -> TileNetwork:
        """The averaged network where there is one, else the one that is trained."""
        averaged = self.model.module
        assert isinstance(averaged, TileNetwork)
        return averaged if self.ready and (self.decay or self.swa) else self.network


def _floats(network: nn.Module) -> list[Tensor]:
    """Weights and batch-norm statistics, without the counts of batches."""
    tensors = itertools.chain(network.parameters(), network.buffers())
    return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]


class _TakesOne(nn.Module):
    """A network of one argument: `update_bn` hands over no more, and takes tuples apart."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: dict[str, Tensor]) -> Any:
        return self.network(batch["pixels"], batch["depths"])


def _as_one(batch: Batch) -> dict[str, Tensor]:
    return {"pixels": batch[0], "depths": batch[1]}
