"""A lack of memory becomes a sentence; `test_resume.py` has a training that really asks for too much."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tgs_salt.compute.oom import explain_out_of_memory
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
        RuntimeError("CUDA error: out of memory"),  # the device was full before torch's own allocator began
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_gpu_and_the_machine_have_remedies_of_their_own(problem: Exception) -> None:
    with pytest.raises(UserError, match=r"^out of GPU memory; do this\.$"), explain_out_of_memory("do this", "do that"):
        raise problem
    with pytest.raises(UserError, match=r"^out of memory; do that\.$"), explain_out_of_memory("do this", "do that"):
        torch.empty(2**60, dtype=torch.uint8)


def test_other_failures_stay_themselves() -> None:
    with pytest.raises(RuntimeError, match="must match"), explain_out_of_memory("", ""):
        torch.zeros(2) + torch.zeros(3)


def too_much(*_: object) -> None:
    torch.empty(2**60, dtype=torch.uint8)


def test_a_prediction_names_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "load_model", too_much)
    files = dict.fromkeys(("model", "images", "tiles", "folds", "output"), tmp_path / "any")
    with pytest.raises(UserError, match=r"^out of memory; lower predict\.batch_size \(now 16\), or run fewer jobs"):
        predict("oof", Predict(), **files, gpus="0")


def test_a_segmentation_names_what_its_user_can_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8), np.uint8))
    monkeypatch.setattr(segmentation, "load_bundle", too_much)
    with pytest.raises(UserError, match=r"^out of memory; use smaller pictures\.$"):
        segment(tmp_path / "any.zip", [tmp_path / "a.png"], tmp_path / "masks", ["mask"], gpus="0")
