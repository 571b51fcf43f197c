"""A SLURM cluster of one node and two fake GPUs, from Debian's packages and without systemd."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
CONFIG_FOLDER = Path("/etc/slurm")  # the executor drops SLURM_CONF, so clients inside a job read this folder
FILES = ("slurm.conf", "gres.conf", "cgroup.conf")
GPUS = ((1, 3), (1, 5))  # major and minor of /dev/null and /dev/zero: SLURM requires character devices
GRACE = 5  # seconds from SIGTERM to SIGKILL

# Memory and cores are fake too: nothing here needs what the rules ask for.
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=512
GresTypes=gpu
MpiDefault=none
ReturnToService=2
MinJobAge=3600
KillWait={grace}
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 SocketsPerBoard=1 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=64000 \
Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes={host} MaxTime=INFINITE State=UP
"""


def unavailable_reason() -> str:
    """Return why the cluster cannot be started here; empty if it can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "starting SLURM's daemons needs root"
    if not all(map(shutil.which, PROGRAMS)) and not shutil.which("apt-get"):
        return "SLURM is not installed, and there is no apt-get to install it"
    if any((CONFIG_FOLDER / name).exists() and not _is_stale_link(CONFIG_FOLDER / name) for name in FILES):
        return f"SLURM is already configured on this machine ({CONFIG_FOLDER})"
    return ""


def _is_stale_link(path: Path) -> bool:
    """Return whether a killed test run has left this link."""
    return path.is_symlink() and path.readlink().parent.name.startswith("slurm")


def install() -> None:
    """Install SLURM's packages unless its programs are on the path."""
    if not all(map(shutil.which, PROGRAMS)):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *PACKAGES]):
            subprocess.run(["apt-get", *command], check=True, env=environment, timeout=600)


def slurm(*command: str) -> str:
    """Return the output of a client. Clients retry a missing controller for minutes, hence the timeout."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """Run SLURM with its files in `folder`; stop all daemons and remove all files outside it at the end."""
    host = socket.gethostname().partition(".")[0]
    devices = [folder / f"gpu{index}" for index in range(len(GPUS))]
    for path, numbers in zip(devices, GPUS, strict=True):
        os.mknod(path, 0o20666, os.makedev(*numbers))
    (folder / "slurm.conf").write_text(CONFIGURATION.format(host=host, folder=folder, grace=GRACE))
    (folder / "gres.conf").write_text("".join(f"NodeName={host} Name=gpu File={path}\n" for path in devices))
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    (folder / "spool").mkdir()
    with ExitStack() as stack:
        CONFIG_FOLDER.mkdir(exist_ok=True)
        for name in FILES:
            if _is_stale_link(CONFIG_FOLDER / name):
                (CONFIG_FOLDER / name).unlink()
            (CONFIG_FOLDER / name).symlink_to(folder / name)
            stack.callback((CONFIG_FOLDER / name).unlink)
        if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode:
            _prepare_munge()
            stack.enter_context(_daemon(folder, "runuser", "-u", "munge", "--", "munged", "--foreground"))
        stack.enter_context(_daemon(folder, "slurmctld", "-D"))
        stack.enter_context(_daemon(folder, "slurmd", "-D"))
        _wait_for_node(folder)
        yield
        slurm("scancel", "--user", "root")


def _prepare_munge() -> None:
    key, socket_folder = Path("/etc/munge/munge.key"), Path("/run/munge")
    if not key.exists():
        key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    socket_folder.mkdir(exist_ok=True)
    socket_folder.chmod(0o755)
    for path in (key, socket_folder):
        shutil.chown(path, "munge", "munge")


@contextmanager
def _daemon(folder: Path, *command: str) -> Iterator[None]:
    with open(folder / f"{command[-2]}.log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_node(folder: Path, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    output = ""
    while time.monotonic() < end:
        result = subprocess.run(
            ["sinfo", "--noheader", "-o", "%T %G"], capture_output=True, text=True, timeout=90, check=False
        )
        output = result.stdout + result.stderr
        if re.search(r"^idle .*gpu", output, re.MULTILINE):
            return
        time.sleep(0.5)
    logs = "\n".join(path.read_text()[-1500:] for path in folder.glob("*.log"))
    raise AssertionError(f"the node did not become idle: {output}\n{logs}")
