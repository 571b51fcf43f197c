"""Download, with the real client and a fake server: messages, requests, and the files that are left."""

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
from helpers.kaggle_user import COMPLETE, NO_FILES, User, download_archive, files_in_folder, running_clients

from tgs_salt.errors import UserError
from tgs_salt.kaggle import client
from tgs_salt.kaggle.download import download

LINK, GET = "DownloadDataFiles", "bundle"  # the two requests of a download: the signed link, and the archive


# --- failures of Kaggle and the network


@dataclass(frozen=True)
class Case:
    """Faults by kind of request; expected exit code, part of the message, requests, and delays between attempts."""

    name: str
    faults: dict[str, list[Any]]
    code: int
    message: str
    requests: list[str]
    delays: list[float] = field(default_factory=list)
    options: tuple[object, ...] = ()
    slow: bool = False  # the client's own backoff, or many attempts


def half(archive: bytes) -> bytes:
    return archive[: len(archive) // 2]


def altered(archive: bytes) -> bytes:
    """Change one byte; the size stays."""
    index = len(archive) // 3
    return archive[:index] + bytes([archive[index] ^ 0xFF]) + archive[index + 1 :]


LIMIT, BUSY, LOGIN = (429, "TooManyRequests"), (503, "Service Unavailable"), "does this network require a login?"
CASES = [
    # succeeds
    Case("no fault", {}, 0, "complete, 3.", [LINK, GET]),
    Case("rate limit", {LINK: [LIMIT]}, 0, "rate limit was reached. Retrying in 5 s.", [LINK, LINK, GET], [5]),
    Case("rate limit with Retry-After", {LINK: [(*LIMIT, {"Retry-After": "2"})]}, 0, "rate limit was reached",
         [LINK, LINK, GET], [5]),
    Case("server error", {LINK: [(500, "Internal Server Error")]}, 0, "server failed", [LINK, LINK, GET], [5]),
    Case("storage busy", {GET: [BUSY]}, 0, "server failed (503 Server Error", [LINK, GET] * 2, [5], slow=True),
    Case("link expired", {GET: [(403, "Expired")]}, 0, "link was rejected or has expired", [LINK, GET] * 2, [5]),
    Case("connection reset", {LINK: ["reset"]}, 0, "connection to Kaggle failed", [LINK, LINK, GET], [5]),
    Case("cut in the body, the client resumes", {GET: ["cut"]}, 0, "complete, 3.", [LINK, GET, GET]),
    Case("web page for the link, then no fault", {LINK: ["page"]}, 0, LOGIN, [LINK, LINK, GET]),
    Case("truncated with an honest length, then no fault", {GET: [half]}, 0, "Downloading it again", [LINK, GET] * 2),
    Case("right size, wrong bytes, then no fault", {GET: [altered]}, 0, "damaged (Bad CRC-32", [LINK, GET] * 2),
    Case("no length", {GET: ["no length"]}, 0, "complete, 3.", [LINK, GET], slow=True),
    Case("no length, ends early, then no fault", {GET: ["no length, cut"]}, 0, "not a complete zip file",
         [LINK, GET] * 2),
    Case("cut, then expired link: an error page inside the file", {GET: ["cut", (403, "Expired"), (403, "Expired")]},
         0, "complete, 3.", [LINK, GET, GET, GET, LINK, GET], [5], slow=True),
    Case("cut again and again, until the client gives up", {GET: ["cut", *["reset"] * 5]}, 0,
         "connection to Kaggle failed", [LINK, *[GET] * 6, LINK, GET, GET], [5], slow=True),
    # fails permanently
    Case("rate limit forever", {LINK: [LIMIT, FOREVER]}, 1, "rate limit was reached", [LINK] * 5, [5, 20, 60, 180],
         slow=True),
    Case("storage busy forever", {GET: [BUSY, FOREVER]}, 1, "server failed", [LINK, GET] * 5, [5, 20, 60, 180],
         slow=True),
    Case("web page for the link", {LINK: ["page", FOREVER]}, 1, LOGIN, [LINK, LINK], slow=True),
    Case("web page for the archive", {GET: [lambda _: b"<html>Sign in</html>", FOREVER]}, 1,
         "verification failed both times", [LINK, GET] * 2, slow=True),
    Case("truncated with an honest length", {GET: [half, FOREVER]}, 1, "verification failed both times: "
         f"{SLUG}.zip: not a complete zip file", [LINK, GET] * 2),
    Case("right size, wrong bytes", {GET: [altered, FOREVER]}, 1, "verification failed both times: "
         f"{SLUG}.zip: damaged (Bad CRC-32", [LINK, GET] * 2, slow=True),
    Case("another number of tiles", {GET: [lambda _: competition_archive(), FOREVER]}, 1,
         "20 test images in train.zip and test.zip; expected 24 train images, 24 train masks and 10 test images",
         [LINK, GET] * 2),
    Case("never responds", {LINK: ["hang", FOREVER]}, 1, "did not finish in time; run the same command to resume",
         [LINK], options=("--timeout", 4)),
    Case("never responds, time left", {LINK: ["hang"]}, 0, "No data received for 4 s. Retrying in 5 s.",
         [LINK, LINK, GET], [5], options=("--stall", 4)),
    # access denied
    Case("rules", {LINK: [(403, RULES)]}, 1, f"accept them at https://www.kaggle.com/competitions/{SLUG}/rules",
         [LINK]),
    Case("wrong slug", {LINK: [(403, NO_PERMISSION)]}, 1, f"has no competition '{SLUG}' that your account", [LINK]),
    Case("unknown slug", {LINK: [(404, "Not found")]}, 1, f"has no competition '{SLUG}' that your account", [LINK],
         slow=True),
    Case("signed out", {LINK: [(401, "Unauthenticated")]}, 1, "rejects the credentials in KAGGLE_USERNAME",
         [LINK], slow=True),
]  # fmt: skip


def case_params(cases: list[Any]) -> list[Any]:
    return [pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.slow else []) for case in cases]


@pytest.mark.parametrize("case", case_params(CASES))
def test_kaggle_and_network_failures(server: KaggleServer, user: User, archive: Path, case: Case) -> None:
    server.faults.update({kind: list(faults) for kind, faults in case.faults.items()})
    result = download_archive(user, archive, *case.options)
    assert result.code == case.code, result.output
    assert case.message in (result.error if case.code else result.output)
    assert server.requests == case.requests
    assert result.delays == case.delays
    if case.code == 0:
        assert files_in_folder(archive) == COMPLETE
        assert archive.read_bytes() == server.archive
        assert download_archive(user, archive).code == 0
        assert len(server.requests) == len(case.requests), "downloaded only once"
    else:
        assert files_in_folder(archive) == NO_FILES
    assert running_clients() == []


# --- existing files, concurrent processes, the client's environment


def test_uses_an_existing_archive(server: KaggleServer, archive: Path) -> None:
    archive.parent.mkdir(parents=True)
    archive.write_bytes(server.archive)
    download(SLUG, archive)
    assert json.loads(archive.with_suffix(".json").read_text())["origin"] == "found here"
    assert server.requests == []


def test_uses_a_browser_download_in_the_parent_folder(server: KaggleServer, user: User, archive: Path) -> None:
    browser_file = archive.parent.parent / archive.name
    browser_file.parent.mkdir(parents=True)
    browser_file.write_bytes(half(server.archive))
    result = download_archive(user, archive)
    assert result.code == 1
    assert f"{browser_file}: not a complete zip file: replace it with a complete archive or remove it" in result.error
    assert browser_file.exists() and files_in_folder(archive) == NO_FILES
    browser_file.write_bytes(server.archive)
    assert download_archive(user, archive).code == 0
    assert files_in_folder(archive) == COMPLETE and not browser_file.exists()
    assert archive.read_bytes() == server.archive
    assert server.requests == []


def test_manifest(server: KaggleServer, user: User, archive: Path) -> None:
    assert download_archive(user, archive).code == 0
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


def test_keeps_a_damaged_existing_archive(server: KaggleServer, archive: Path) -> None:
    archive.parent.mkdir(parents=True)
    archive.write_bytes(server.archive[:-100])
    with pytest.raises(UserError, match="replace it with a complete archive or remove it"):
        download(SLUG, archive)
    assert files_in_folder(archive) == {archive.name}
    assert server.requests == []


def test_invalid_slug() -> None:
    with pytest.raises(UserError, match="not a competition slug"):
        download("--help", Path("never/used.zip"))
    assert not Path("never").exists()


def test_stalled_download_is_killed_and_resumed(server: KaggleServer, archive: Path) -> None:
    server.archive = competition_archive(images=400)
    server.faults["bundle"] = ["stall"]
    with pytest.raises(UserError, match="No data received for 4 s"):
        download(SLUG, archive, stall_timeout=4, retry_delays=())
    assert files_in_folder(archive) == {f".{SLUG}.download"}
    download(SLUG, archive)
    assert archive.read_bytes() == server.archive
    assert files_in_folder(archive) == {f"{SLUG}.zip", f"{SLUG}.json"}
    assert [header for header in server.ranges if header] == ["bytes=1048576-"]


def test_terminating_the_job_kills_the_client(server: KaggleServer, archive: Path) -> None:
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
    assert files_in_folder(archive) == set()


def test_environment_of_the_client(monkeypatch: pytest.MonkeyPatch, server: KaggleServer) -> None:
    monkeypatch.setenv("KAGGLE_PATH", "/elsewhere")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "")
    monkeypatch.setenv("VERBOSE", "1")
    variables = client._environment()
    assert variables["KAGGLE_KEY"] == KEY
    assert not {"KAGGLE_PATH", "KAGGLE_API_TOKEN", "VERBOSE"} & set(variables)


def test_import_does_not_load_the_client() -> None:
    program = "import sys, tgs_salt.kaggle.submit; print(sorted({'kaggle', 'kagglesdk', 'torch'} & set(sys.modules)))"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == "[]"
