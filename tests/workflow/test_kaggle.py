"""The real competition's graph, with Kaggle on loopback: from download to receipt, or from a notebook's mount."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import workflow_runner
from helpers.datasets import as_outer_zip, make_dataset, unpack
from helpers.kaggle_server import KEY, SLUG, KaggleServer

KAGGLE = workflow_runner.tiny(data={"source": "kaggle"})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KaggleServer]:
    dataset = make_dataset(tmp_path / "data", train_tiles=24, test_tiles=8, tile_size=32)
    with KaggleServer() as server:
        server.stand_in(monkeypatch, tmp_path / "home")
        server.archive = as_outer_zip(dataset, tmp_path / "outer.zip").read_bytes()
        yield server


@pytest.mark.slow
def test_from_the_download_to_the_receipt(server: KaggleServer, tmp_path: Path) -> None:
    folder, results = tmp_path / "work", tmp_path / "work" / "results" / "tiny"
    made = workflow_runner.run(folder, KAGGLE, "--resources", "gpu=0")
    assert made.code == 0, made.output
    assert "download" in made.names and "send" not in made.names
    assert server.requests == ["DownloadDataFiles", "bundle"]
    file = "results/tiny/submission.csv"
    assert f"kaggle competitions submit -c {SLUG} -f {file} -m tgs-salt:" in made.output

    server.states.insert(0, {"status": "PENDING"})
    sent = workflow_runner.run(folder, KAGGLE, "submit", "--resources", "gpu=0")
    assert sent.code == 0, sent.output
    assert sent.names == {"send"}
    assert "public score 0.87, private score 0.88" in sent.output
    receipt = json.loads((results / "submitted.json").read_text())
    assert (receipt["status"], receipt["ref"], receipt["public_score"]) == ("COMPLETE", "1000", "0.87")
    assert receipt["message"] in made.output, "the command for people sends the same message"

    asked = len(server.requests)
    assert workflow_runner.run(folder, KAGGLE, "submit", "--resources", "gpu=0").names == set()
    assert len(server.requests) == asked
    # Snakemake removes the receipt before it sends again; the list knows.
    again = workflow_runner.run(folder, KAGGLE, "submit", "--resources", "gpu=0", "--forcerun", "send")
    assert again.code == 0, again.output
    assert server.requests[asked:] == ["ListSubmissions"]
    assert server.count("CreateSubmission") == 1

    kept = [made.output, sent.output, *(path.read_text(errors="replace") for path in folder.rglob("*.log"))]
    kept += [path.read_text(errors="replace") for path in (folder / ".snakemake").rglob("*") if path.is_file()]
    assert not [text for text in kept if KEY in text or "secretsignature" in text or "secretupload" in text]


@pytest.mark.parametrize(
    ("below", "unpacked"),
    [("competitions/", False), pytest.param("", True, marks=pytest.mark.slow)],
    ids=["zips", "old, folders"],
)
def test_a_notebooks_mount_is_read_in_place(
    server: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str, unpacked: bool
) -> None:
    monkeypatch.setenv("TGS_SALT_KAGGLE_INPUT", str(tmp_path / "input"))
    mount = tmp_path / "input" / f"{below}{SLUG}"
    mount.parent.mkdir(parents=True)
    shutil.move(tmp_path / "data", mount)
    if unpacked:
        unpack(mount)
    before = sorted(tmp_path.joinpath("input").rglob("*"))
    packed = workflow_runner.run(tmp_path / "work", KAGGLE, "results/tiny/data/tiles.csv")
    assert packed.code == 0, packed.output
    assert packed.names == {"preprocess"}
    log = (tmp_path / "work" / "results" / "tiny" / "data" / "preprocess.log").read_text()
    assert f"found {mount}: 24 train images, 24 train masks, 8 test images in" in log
    assert sorted(tmp_path.joinpath("input").rglob("*")) == before
    assert server.requests == []
