"""Error messages for running out of memory; `test_checkpoints.py` runs a training that really does."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tgs_salt.compute.oom import explain_oom
from tgs_salt.errors import UserError
from tgs_salt.inference import predict as prediction
from tgs_salt.inference import segment as segmentation
from tgs_salt.inference.predict import predict
from tgs_salt.inference.segment import segment
from tgs_salt.settings import Predict


@pytest.mark.parametrize(
    "problem",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),  # the GPU was full before torch's allocator started
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_remedies_for_gpu_and_cpu(problem: Exception) -> None:
    with pytest.raises(UserError, match=r"^out of GPU memory; do this\.$"), explain_oom("do this", "do that"):
        raise problem
    with pytest.raises(UserError, match=r"^out of memory; do that\.$"), explain_oom("do this", "do that"):
        torch.empty(2**60, dtype=torch.uint8)


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(RuntimeError, match="must match"), explain_oom("", ""):
        torch.zeros(2) + torch.zeros(3)


def allocate_too_much(*_: object) -> None:
    torch.empty(2**60, dtype=torch.uint8)


def test_predict_suggests_a_smaller_batch_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "load_model", allocate_too_much)
    files = dict.fromkeys(("model", "images", "tiles", "folds", "output"), tmp_path / "any")
    with pytest.raises(UserError, match=r"^out of memory; lower predict\.batch_size \(now 16\), or run fewer jobs"):
        predict("oof", Predict(), **files, gpus="0")


def test_segment_suggests_smaller_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8), np.uint8))
    monkeypatch.setattr(segmentation, "load_bundle", allocate_too_much)
    with pytest.raises(UserError, match=r"^out of memory; use smaller images\.$"):
        segment(tmp_path / "any.zip", [tmp_path / "a.png"], tmp_path / "masks", ["mask"], gpus="0")
