"""`--gpus` and the leases of devices, with real processes."""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from tgs_salt.compute import device as learning_device
from tgs_salt.compute.device import PRETEND, lease, lock_folder, use_device
from tgs_salt.errors import UserError

HOLD = """
import sys, time
from pathlib import Path
from tgs_salt.compute.device import lease
with lease(["a", "b"], int(sys.argv[2]), folder=Path(sys.argv[1]), pause=0.05) as index:
    print(index, flush=True)
    time.sleep(60)
"""


def hold(folder: Path, slots: int = 1) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", HOLD, str(folder), str(slots)], stdout=subprocess.PIPE, text=True)


def test_zero_is_the_cpu_on_purpose() -> None:
    with use_device("0") as where:
        assert where.type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("gpus", ["1", "2", "auto"])
def test_a_gpu_that_is_not_there_is_explained(gpus: str) -> None:
    with pytest.raises(UserError, match=r"no CUDA device here; .* --resources gpu=0"), use_device(gpus):
        pass


def test_a_strange_number_is_refused() -> None:
    with (
        pytest.raises(UserError, match=r"--gpus: expected 0, a number of GPUs, or auto, found 'many'"),
        use_device("many"),
    ):
        pass


def test_each_process_gets_its_own_device_and_a_killed_one_gives_it_back(tmp_path: Path) -> None:
    first, second = hold(tmp_path), hold(tmp_path)
    third = None
    try:
        indices = {first.stdout.readline().strip(), second.stdout.readline().strip()}
        assert indices == {"0", "1"}
        third = hold(tmp_path)
        time.sleep(0.5)
        assert third.poll() is None  # waits
        second.kill()
        assert third.stdout.readline().strip() in {"0", "1"}
    finally:
        for process in filter(None, (first, second, third)):
            process.kill()
            process.wait()
            process.stdout.close()


def test_slots_share_a_device_only_when_every_device_has_one(tmp_path: Path) -> None:
    with lease(["a", "b"], 2, tmp_path) as one, lease(["a", "b"], 2, tmp_path) as two:
        assert {one, two} == {0, 1}
        with lease(["a", "b"], 2, tmp_path) as three:
            assert three in (0, 1)


def test_the_devices_are_those_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PRETEND, "4")
    monkeypatch.setattr(learning_device, "lease", lambda names, slots: nullcontext(names.index("pretended-3")))
    used: list[str] = []
    monkeypatch.setattr(learning_device, "_use", lambda index, name: used.append(f"{index} {name}"))
    for visible, gpus in ((None, "1"), ("1,3", "1"), ("3", "1"), ("2,3,7", "auto")):
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        with use_device(gpus):
            pass
    assert used == ["3 pretended-3", "1 pretended-3", "0 pretended-3", "1 pretended-3"]


@pytest.mark.parametrize("gpus", ["1", "auto"])
def test_a_hidden_device_is_not_there(monkeypatch: pytest.MonkeyPatch, gpus: str) -> None:
    monkeypatch.setenv(PRETEND, "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UserError, match=r"no CUDA device here; CUDA_VISIBLE_DEVICES is ''; .*gpu=0"), use_device(gpus):
        pass


def test_auto_shares_the_device_that_a_scheduler_gave_to_several(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(PRETEND, "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr(learning_device, "lock_folder", lambda: tmp_path)
    with use_device("auto") as one, use_device("auto") as two, use_device("1") as three:
        assert one.type == two.type == three.type == "cpu"
        assert [path.name for path in tmp_path.iterdir()] == ["pretended-1.0.lock"]


def test_locks_lie_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a job's own, on some clusters
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert (lock_folder().parent == Path("/dev/shm")) == os.access("/dev/shm", os.W_OK)
