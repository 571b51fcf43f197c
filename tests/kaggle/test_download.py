"""Download, with the real client against Kaggle on loopback: what a user is told, and what lies on the disk then."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from helpers.kaggle_server import FOREVER, KEY, NO_PERMISSION, RULES, SLUG, KaggleServer, competition_archive
from helpers.kaggle_user import NOTHING, WHOLE, User, clients_left, fetch, on_disk

from tgs_salt.errors import UserError
from tgs_salt.kaggle import client
from tgs_salt.kaggle.download import download

QUICK = (0.01, 0.01)
ASK, GET = "DownloadDataFiles", "bundle"  # the two requests of a download: where it is, and its bytes


# --- what Kaggle and the network do


@dataclass(frozen=True)
class Case:
    """What goes wrong, by the kind of request; the exit code, a part of what is said, the requests, the pauses."""

    name: str
    faults: dict[str, list[Any]]
    code: int
    says: str
    requests: list[str]
    waited: list[float] = field(default_factory=list)
    options: tuple[object, ...] = ()
    slow: bool = False  # the client's own back-off, or many attempts


def half(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def altered(whole: bytes) -> bytes:
    """A byte changed, the size unchanged."""
    place = len(whole) // 3
    return whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]


LIMIT, BUSY, LOGIN = (429, "TooManyRequests"), (503, "Service Unavailable"), "does this network ask for a login?"
CASES = [
    # it passes
    Case("all is well", {}, 0, "whole, 3.", [ASK, GET]),
    Case("rate limit", {ASK: [LIMIT]}, 0, "(rate limit). Trying again in 5 s.", [ASK, ASK, GET], [5]),
    Case("rate limit with Retry-After", {ASK: [(*LIMIT, {"Retry-After": "2"})]}, 0, "(rate limit)",
         [ASK, ASK, GET], [5]),
    Case("server error", {ASK: [(500, "Internal Server Error")]}, 0, "server failed", [ASK, ASK, GET], [5]),
    Case("storage busy", {GET: [BUSY]}, 0, "server failed (503 Server Error", [ASK, GET] * 2, [5], slow=True),
    Case("link expired", {GET: [(403, "Expired")]}, 0, "link was refused or has run out", [ASK, GET] * 2, [5]),
    Case("connection reset", {ASK: ["reset"]}, 0, "connection to Kaggle failed", [ASK, ASK, GET], [5]),
    Case("cut in the body, the client resumes", {GET: ["cut"]}, 0, "whole, 3.", [ASK, GET, GET]),
    Case("web page for the link, then well", {ASK: ["page"]}, 0, LOGIN, [ASK, ASK, GET]),
    Case("truncated with an honest length, then well", {GET: [half]}, 0, "Downloading it once more", [ASK, GET] * 2),
    Case("right size, wrong bytes, then well", {GET: [altered]}, 0, "damaged (Bad CRC-32", [ASK, GET] * 2),
    Case("no length", {GET: ["no length"]}, 0, "whole, 3.", [ASK, GET], slow=True),
    Case("no length, ends early, then well", {GET: ["no length, cut"]}, 0, "cut short", [ASK, GET] * 2),
    Case("cut, then the link expires: an error page in the middle", {GET: ["cut", (403, "Expired"), (403, "Expired")]},
         0, "whole, 3.", [ASK, GET, GET, GET, ASK, GET], [5], slow=True),
    Case("cut again and again, until the client gives up", {GET: ["cut", *["reset"] * 5]}, 0,
         "connection to Kaggle failed", [ASK, *[GET] * 6, ASK, GET, GET], [5], slow=True),
    # it stays
    Case("rate limit for ever", {ASK: [LIMIT, FOREVER]}, 1, "Kaggle asks to slow down", [ASK] * 5, [5, 20, 60, 180],
         slow=True),
    Case("storage busy for ever", {GET: [BUSY, FOREVER]}, 1, "server failed", [ASK, GET] * 5, [5, 20, 60, 180],
         slow=True),
    Case("web page for the link", {ASK: ["page", FOREVER]}, 1, LOGIN, [ASK, ASK], slow=True),
    Case("web page for the archive", {GET: [lambda _: b"<html>Sign in</html>", FOREVER]}, 1,
         "twice and wrong both times", [ASK, GET] * 2, slow=True),
    Case("truncated with an honest length", {GET: [half, FOREVER]}, 1, "twice and wrong both times: "
         f"{SLUG}.zip: no zip file, or cut short", [ASK, GET] * 2),
    Case("right size, wrong bytes", {GET: [altered, FOREVER]}, 1, "wrong both times: "
         f"{SLUG}.zip: damaged (Bad CRC-32", [ASK, GET] * 2, slow=True),
    Case("another number of tiles", {GET: [lambda _: competition_archive(), FOREVER]}, 1,
         "20 test images in train.zip and test.zip; expected 24 train images, 24 train masks and 10 test images",
         [ASK, GET] * 2),
    Case("never answers", {ASK: ["hang", FOREVER]}, 1, "did not end in the time given: run it again", [ASK],
         options=("--timeout", 4)),
    Case("never answers, time left", {ASK: ["hang"]}, 0, "Nothing arrived for 4 s. Trying again in 5 s.",
         [ASK, ASK, GET], [5], options=("--stall", 4)),
    # Kaggle says no
    Case("rules", {ASK: [(403, RULES)]}, 1, f"accept them at https://www.kaggle.com/competitions/{SLUG}/rules", [ASK]),
    Case("wrong slug", {ASK: [(403, NO_PERMISSION)]}, 1, f"knows no competition '{SLUG}' that this account", [ASK]),
    Case("unknown slug", {ASK: [(404, "Not found")]}, 1, f"knows no competition '{SLUG}' that this account", [ASK],
         slow=True),
    Case("signed out", {ASK: [(401, "Unauthenticated")]}, 1, "does not accept the credentials in KAGGLE_USERNAME",
         [ASK], slow=True),
]  # fmt: skip


def rows(cases: list[Any]) -> list[Any]:
    return [pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.slow else []) for case in cases]


@pytest.mark.parametrize("case", rows(CASES))
def test_what_kaggle_and_the_network_do(server: KaggleServer, user: User, archive: Path, case: Case) -> None:
    server.faults.update({kind: list(faults) for kind, faults in case.faults.items()})
    ended = fetch(user, archive, *case.options)
    assert ended.code == case.code, ended.said
    assert case.says in (ended.error if case.code else ended.said)
    assert server.requests == case.requests
    assert ended.waited == case.waited
    if case.code == 0:
        assert on_disk(archive) == WHOLE
        assert archive.read_bytes() == server.archive
        assert fetch(user, archive).code == 0
        assert len(server.requests) == len(case.requests), "fetched once"
    else:
        assert on_disk(archive) == NOTHING
    assert clients_left() == []


# --- what lies there already, and what happens beside it


def test_takes_an_archive_that_lies_there(server: KaggleServer, archive: Path) -> None:
    archive.parent.mkdir(parents=True)
    archive.write_bytes(server.archive)
    download(SLUG, archive)
    assert json.loads(archive.with_suffix(".json").read_text())["origin"] == "found here"
    assert server.requests == []


def test_takes_a_browser_download_from_data(server: KaggleServer, user: User, archive: Path) -> None:
    dropped = archive.parent.parent / archive.name
    dropped.parent.mkdir(parents=True)
    dropped.write_bytes(half(server.archive))
    ended = fetch(user, archive)
    assert ended.code == 1
    assert f"{dropped}: no zip file, or cut short: replace it by a whole archive, or remove it" in ended.error
    assert dropped.exists() and on_disk(archive) == NOTHING
    dropped.write_bytes(server.archive)
    assert fetch(user, archive).code == 0
    assert on_disk(archive) == WHOLE and not dropped.exists()
    assert archive.read_bytes() == server.archive
    assert server.requests == []


def test_the_manifest(server: KaggleServer, user: User, archive: Path) -> None:
    assert fetch(user, archive).code == 0
    manifest = json.loads(archive.with_suffix(".json").read_text())
    with zipfile.ZipFile(archive) as opened:
        sizes = {name: len(opened.read(name)) for name in opened.namelist()}
    assert manifest.pop("checked")[:2] == "20"
    assert manifest == {
        "competition": SLUG,
        "archive": f"{SLUG}.zip",
        "size": len(server.archive),
        "sha256": hashlib.sha256(server.archive).hexdigest(),
        "origin": "kaggle",
        "client": client.version(),
        "members": sizes,
    }


def test_leaves_a_damaged_archive_that_lies_there(server: KaggleServer, archive: Path) -> None:
    archive.parent.mkdir(parents=True)
    archive.write_bytes(server.archive[:-100])
    with pytest.raises(UserError, match="replace it by a whole archive, or remove it"):
        download(SLUG, archive)
    assert on_disk(archive) == {archive.name}
    assert server.requests == []


def test_a_slug_that_is_none() -> None:
    with pytest.raises(UserError, match="no competition slug"):
        download("--help", Path("never/used.zip"))
    assert not Path("never").exists()


def test_a_stalled_client_is_ended_and_what_arrived_is_kept(server: KaggleServer, archive: Path) -> None:
    server.archive = competition_archive(pictures=400)
    server.faults["bundle"] = ["stall"]
    with pytest.raises(UserError, match="Nothing arrived for 4 s"):
        download(SLUG, archive, stall=4, pauses=())
    assert on_disk(archive) == {f".{SLUG}.download"}
    download(SLUG, archive)
    assert archive.read_bytes() == server.archive
    assert on_disk(archive) == {f"{SLUG}.zip", f"{SLUG}.json"}
    assert [wanted for wanted in server.ranges if wanted] == ["bytes=1048576-"]


def test_ending_the_job_ends_the_client(server: KaggleServer, archive: Path) -> None:
    server.faults["DownloadDataFiles"] = ["hang"]
    program = "import sys; from tgs_salt.kaggle.download import download; download(sys.argv[1], sys.argv[2])"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    job = psutil.Popen([sys.executable, "-c", program, SLUG, str(archive)], env=env)
    while not server.requests and job.is_running():
        time.sleep(0.05)
    clients = job.children()
    job.terminate()
    assert job.wait(10) == 143
    assert clients
    assert not any(client.is_running() for client in clients)
    assert on_disk(archive) == set()


def test_what_the_client_is_given(monkeypatch: pytest.MonkeyPatch, server: KaggleServer) -> None:
    monkeypatch.setenv("KAGGLE_PATH", "/elsewhere")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "")
    monkeypatch.setenv("VERBOSE", "1")
    given = client._environment()
    assert given["KAGGLE_KEY"] == KEY
    assert not {"KAGGLE_PATH", "KAGGLE_API_TOKEN", "VERBOSE"} & set(given)


def test_importing_does_not_load_the_client() -> None:
    program = "import sys, tgs_salt.kaggle.submit; print(sorted({'kaggle', 'kagglesdk', 'torch'} & set(sys.modules)))"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env)
    assert ran.stdout.strip() == "[]"
