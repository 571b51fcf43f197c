"""`--gpus` and GPU leases, with real processes."""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tgs_salt.compute import device as device_module
from tgs_salt.compute.device import FAKE_GPUS, lease, lock_folder, use_device
from tgs_salt.errors import UserError

PROGRAM = """
import sys, time
from pathlib import Path
from tgs_salt.compute.device import lease
with lease(["a", "b"], int(sys.argv[2]), folder=Path(sys.argv[1]), pause=0.05) as index:
    print(index, flush=True)
    time.sleep(60)
"""


def start_lease(folder: Path, jobs_per_gpu: int = 1) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), str(jobs_per_gpu)], stdout=subprocess.PIPE, text=True
    )


def test_zero_selects_the_cpu() -> None:
    with use_device("0") as device:
        assert device.type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("gpus", ["1", "2", "auto"])
def test_missing_gpu(gpus: str) -> None:
    with pytest.raises(UserError, match=r"no CUDA device; .* --resources gpu=0"), use_device(gpus):
        pass


def test_invalid_gpus() -> None:
    with (
        pytest.raises(UserError, match=r"--gpus: expected 0, a number of GPUs, or auto, found 'many'"),
        use_device("many"),
    ):
        pass


def test_leases_are_exclusive_and_released_when_a_process_is_killed(tmp_path: Path) -> None:
    first, second = start_lease(tmp_path), start_lease(tmp_path)
    third = None
    try:
        indices = {first.stdout.readline().strip(), second.stdout.readline().strip()}
        assert indices == {"0", "1"}
        third = start_lease(tmp_path)
        time.sleep(0.5)
        assert third.poll() is None  # waits
        second.kill()
        assert third.stdout.readline().strip() in {"0", "1"}
    finally:
        for process in filter(None, (first, second, third)):
            process.kill()
            process.wait()
            process.stdout.close()


def test_jobs_fill_all_gpus_before_they_share_one(tmp_path: Path) -> None:
    with lease(["a", "b"], 2, tmp_path) as one, lease(["a", "b"], 2, tmp_path) as two:
        assert {one, two} == {0, 1}
        with lease(["a", "b"], 2, tmp_path) as three:
            assert three in (0, 1)


def test_only_visible_gpus_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FAKE_GPUS, "4")
    monkeypatch.setattr(device_module, "lease", lambda names, jobs_per_gpu: nullcontext(names.index("fake-3")))
    used: list[str] = []
    monkeypatch.setattr(device_module, "_select_gpu", lambda index, name: used.append(f"{index} {name}"))
    for visible, gpus in ((None, "1"), ("1,3", "1"), ("3", "1"), ("2,3,7", "auto")):
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        with use_device(gpus):
            pass
    assert used == ["3 fake-3", "1 fake-3", "0 fake-3", "1 fake-3"]


@pytest.mark.parametrize("gpus", ["1", "auto"])
def test_no_visible_gpu(monkeypatch: pytest.MonkeyPatch, gpus: str) -> None:
    monkeypatch.setenv(FAKE_GPUS, "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UserError, match=r"no CUDA device; CUDA_VISIBLE_DEVICES is ''; .*gpu=0"), use_device(gpus):
        pass


def test_auto_does_not_lease_a_single_assigned_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(FAKE_GPUS, "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr(device_module, "lock_folder", lambda: tmp_path)
    with use_device("auto") as one, use_device("auto") as two, use_device("1") as three:
        assert one.type == two.type == three.type == "cpu"
        assert [path.name for path in tmp_path.iterdir()] == ["fake-1.0.lock"]


def test_lock_folder_is_local_to_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # private to a job on some clusters
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert (lock_folder().parent == Path("/dev/shm")) == os.access("/dev/shm", os.W_OK)


def test_driver_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(index: int) -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nMore lines.")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", fail)
    expected = r"^CUDA .* cannot start \(The NVIDIA driver on your system is too old .*\); update the NVIDIA driver"
    with pytest.raises(UserError, match=expected), use_device("auto"):
        pass


@pytest.mark.parametrize(
    ("capability", "supported"), [((6, 0), False), ((7, 0), False), ((7, 5), True), ((12, 1), True)]
)
def test_gpu_that_is_too_old(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], supported: bool) -> None:
    cuda = {
        "device_count": 1, "get_device_properties": SimpleNamespace(uuid="GPU-0"), "get_device_name": "Tesla P100",
        "get_device_capability": capability, "get_arch_list": ["sm_75", "sm_80", "sm_90a", "compute_120"],
        "set_device": None,
    }  # fmt: skip
    for name, value in cuda.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    if supported:
        with use_device("auto") as device:
            assert device == torch.device("cuda", 0)
    else:
        expected = rf"^Tesla P100 has compute capability {capability[0]}.{capability[1]}, .* supports 7\.5 and later"
        with pytest.raises(UserError, match=expected), use_device("auto"):
            pass
