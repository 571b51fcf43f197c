"""The workflow of the real competition with a local Kaggle server, or with the data mounted in a notebook."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import workflow_runner
from helpers.datasets import extract_zips, make_dataset, make_outer_zip
from helpers.kaggle_server import KEY, SLUG, KaggleServer

KAGGLE = workflow_runner.tiny(data={"source": "kaggle"})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KaggleServer]:
    dataset = make_dataset(tmp_path / "data", train_tiles=24, test_tiles=8, tile_size=32)
    with KaggleServer() as server:
        server.patch_environment(monkeypatch, tmp_path / "home")
        server.archive = make_outer_zip(dataset, tmp_path / "outer.zip").read_bytes()
        yield server


@pytest.mark.slow
def test_download_run_and_submit(server: KaggleServer, tmp_path: Path) -> None:
    folder, results = tmp_path / "work", tmp_path / "work" / "results" / "tiny"
    first = workflow_runner.run(folder, KAGGLE, "--resources", "gpu=0")
    assert first.code == 0, first.output
    assert "download" in first.names and "submit" not in first.names
    assert server.requests == ["DownloadDataFiles", "bundle"]
    file = "results/tiny/submission.csv"
    assert f"kaggle competitions submit -c {SLUG} -f {file} -m tgs-salt:" in first.output

    server.states.insert(0, {"status": "PENDING"})
    sent = workflow_runner.run(folder, KAGGLE, "submit", "--resources", "gpu=0")
    assert sent.code == 0, sent.output
    assert sent.names == {"submit"}
    assert "public score 0.87, private score 0.88" in sent.output
    receipt = json.loads((results / "submitted.json").read_text())
    assert (receipt["status"], receipt["ref"], receipt["public_score"]) == ("COMPLETE", "1000", "0.87")
    assert receipt["message"] in first.output, "the printed kaggle command has the same message"

    requests = len(server.requests)
    assert workflow_runner.run(folder, KAGGLE, "submit", "--resources", "gpu=0").names == set()
    assert len(server.requests) == requests
    # Snakemake removes the receipt before the job; the list of submissions prevents a second one.
    again = workflow_runner.run(folder, KAGGLE, "submit", "--resources", "gpu=0", "--forcerun", "submit")
    assert again.code == 0, again.output
    assert server.requests[requests:] == ["ListSubmissions"]
    assert server.count("CreateSubmission") == 1

    texts = [first.output, sent.output, *(path.read_text(errors="replace") for path in folder.rglob("*.log"))]
    texts += [path.read_text(errors="replace") for path in (folder / ".snakemake").rglob("*") if path.is_file()]
    assert not [text for text in texts if KEY in text or "secretsignature" in text or "secretupload" in text]


@pytest.mark.parametrize(
    ("subfolder", "unpacked"),
    [("competitions/", False), pytest.param("", True, marks=pytest.mark.slow)],
    ids=["zips", "old mount, unpacked"],
)
def test_data_mounted_in_a_notebook_is_read_in_place(
    server: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subfolder: str, unpacked: bool
) -> None:
    monkeypatch.setenv("TGS_SALT_KAGGLE_INPUT", str(tmp_path / "input"))
    mount = tmp_path / "input" / f"{subfolder}{SLUG}"
    mount.parent.mkdir(parents=True)
    shutil.move(tmp_path / "data", mount)
    if unpacked:
        extract_zips(mount)
    before = sorted(tmp_path.joinpath("input").rglob("*"))
    preprocessed = workflow_runner.run(tmp_path / "work", KAGGLE, "results/tiny/data/tiles.csv")
    assert preprocessed.code == 0, preprocessed.output
    assert preprocessed.names == {"preprocess"}
    log = (tmp_path / "work" / "results" / "tiny" / "data" / "preprocess.log").read_text()
    assert f"found {mount}: 24 train images, 24 train masks, 8 test images in" in log
    assert sorted(tmp_path.joinpath("input").rglob("*")) == before
    assert server.requests == []
