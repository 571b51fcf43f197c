"""Profiles contain only known options of Snakemake and its plugins, and name existing rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import workflow_runner

PROFILES = sorted((workflow_runner.ROOT / "profiles").glob("*/profile.yaml"))
RULES = "\n".join(path.read_text() for path in (workflow_runner.ROOT / "workflow/rules").glob("*.smk"))
BLOCKS = {block.split(":", 1)[0]: block for block in re.split(r"^ *rule ", RULES, flags=re.MULTILINE)[1:]}
GPU_RULES = {name for name, block in BLOCKS.items() if re.search(r"^ +gpu=1,$", block, re.MULTILINE)}


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.parent.name)
def test_every_key_is_an_option(path: Path) -> None:
    from snakemake.cli import get_argument_parser

    parser = get_argument_parser()
    known = {option.lstrip("-") for action in parser._actions for option in action.option_strings}
    assert set(read(path)) - known == set()
    executor = read(path).get("executor")
    assert (
        executor is None or executor in next(action for action in parser._actions if action.dest == "executor").choices
    )
    assert set(read(path).get("set-resources", {})) <= set(BLOCKS)


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_cluster_profiles_name_every_gpu_rule(name: str) -> None:
    assert {"train", "predict", "predict_shard"} == GPU_RULES
    assert set(read(workflow_runner.ROOT / f"profiles/{name}/profile.yaml")["set-resources"]) >= GPU_RULES


def test_kubernetes_profile_sets_the_manufacturer_and_limits() -> None:
    profile = read(workflow_runner.ROOT / "profiles/kubernetes/profile.yaml")
    for rule in GPU_RULES:
        resources = profile["set-resources"][rule]
        assert resources["gpu_manufacturer"] == "nvidia" and resources["scale"] == 0
    volume, _, mount = profile["kubernetes-persistent-volumes"][0].partition(":")
    assert volume and profile["remote-job-local-storage-prefix"].startswith(f"{mount}/")
    # A rule that has the key at all, even with 0, requests a GPU.
    assert "gpu" not in profile["default-resources"]


def test_snakemake_accepts_the_slurm_profile(tmp_path: Path) -> None:
    path = str(workflow_runner.ROOT / "profiles/slurm")
    planned = workflow_runner.dry_run(tmp_path, workflow_runner.tiny(), "--workflow-profile", path)
    assert planned.code == 0, planned.output
    requested: dict[str, set[str]] = {}
    for rule, resources in re.findall(
        r"^rule (\w+):\n(?:    .*\n)*?    resources: (.*)$", planned.output, re.MULTILINE
    ):
        requested[rule] = set(resources.split(", "))
    assert requested["train"] >= {"mem_mb=8000", "gpu=1", "slurm_partition=gpu", "runtime=720"}
    assert requested["predict"] >= {"mem_mb=4000", "gpu=1", "slurm_partition=gpu", "runtime=60"}
    assert requested["ensemble"] >= {"mem_mb=4000", "slurm_partition=cpu", "runtime=60"}


def test_every_rule_names_the_conda_environment() -> None:
    executing = {name: block for name, block in BLOCKS.items() if re.search(r"^ +shell:", block, re.MULTILINE)}
    assert len(executing) >= 12
    for name, block in executing.items():
        assert re.search(r'^ +conda:\n +"../../envs/tgs-salt.yaml"$', block, re.MULTILINE), name
