"""Download, with the real client against Kaggle on loopback: what is raised, and what lies on the disk afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from kaggle_server import KEY, NO_PERMISSION, RULES, SLUG, KaggleServer, competition_archive, zipped

from tgs_salt.errors import UserError
from tgs_salt.survey import kaggle
from tgs_salt.survey.download import check_archive, download

QUICK = (0.01, 0.01)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KaggleServer]:
    with KaggleServer() as server:
        server.stand_in(monkeypatch, tmp_path / "home")
        yield server


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "data" / SLUG / f"{SLUG}.zip"


def on_disk(archive: Path) -> set[str]:
    """What lies in the archive's folder, but for the lock."""
    return {path.name for path in archive.parent.iterdir()} - {f".{SLUG}.lock"}


def refusal(archive: Path, slug: str = SLUG) -> str:
    """The sentence of a download that must fail and leave nothing."""
    with pytest.raises(UserError) as caught:
        download(slug, archive, pauses=QUICK)
    assert on_disk(archive) == set()
    assert KEY not in str(caught.value)
    return str(caught.value)


def test_fetches_checks_and_never_asks_again(server: KaggleServer, archive: Path) -> None:
    seen: list[str] = []
    download(SLUG, archive, verify=lambda path: seen.append(path.name))
    assert archive.read_bytes() == server.archive
    assert seen == [archive.name]
    assert on_disk(archive) == {f"{SLUG}.zip", f"{SLUG}.json"}
    manifest = json.loads(archive.with_suffix(".json").read_text())
    assert manifest["size"] == len(server.archive)
    assert manifest["client"] == kaggle.version()
    assert server.requests == ["DownloadDataFiles", "bundle"]
    download(SLUG, archive)
    assert len(server.requests) == 2


def test_takes_an_archive_that_lies_there(server: KaggleServer, archive: Path) -> None:
    archive.parent.mkdir(parents=True)
    archive.write_bytes(server.archive)
    download(SLUG, archive)
    assert json.loads(archive.with_suffix(".json").read_text())["origin"] == "found here"
    assert server.requests == []


def test_leaves_a_damaged_archive_that_lies_there(server: KaggleServer, archive: Path) -> None:
    archive.parent.mkdir(parents=True)
    archive.write_bytes(server.archive[:-100])
    with pytest.raises(UserError, match="replace it by a whole archive, or remove it"):
        download(SLUG, archive)
    assert on_disk(archive) == {archive.name}
    assert server.requests == []


def test_no_credentials(server: KaggleServer, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    said = refusal(archive)
    for place in ("KAGGLE_API_TOKEN", "~/.kaggle/access_token", "KAGGLE_USERNAME with KAGGLE_KEY", "kaggle.json"):
        assert place in said
    assert f"save it as {archive}" in said
    assert server.requests == []


def test_credentials_that_kaggle_does_not_accept(server: KaggleServer, archive: Path) -> None:
    server.faults["DownloadDataFiles"] = [(401, "Unauthenticated")]
    assert "does not accept the credentials in KAGGLE_USERNAME with KAGGLE_KEY:" in refusal(archive)
    assert server.requests == ["DownloadDataFiles"]


def test_rules_not_accepted(server: KaggleServer, archive: Path) -> None:
    server.faults["DownloadDataFiles"] = [(403, RULES)]
    assert f"https://www.kaggle.com/competitions/{SLUG}/rules" in refusal(archive)
    assert server.requests == ["DownloadDataFiles"]


@pytest.mark.parametrize("answer", [(403, NO_PERMISSION), (404, "Not found")])
def test_a_slug_that_kaggle_does_not_know(server: KaggleServer, archive: Path, answer: tuple[int, str]) -> None:
    server.faults["DownloadDataFiles"] = [answer]
    said = refusal(archive, "tgs-slat")
    assert "no competition 'tgs-slat'" in said
    assert "/rules" not in said
    assert server.requests == ["DownloadDataFiles"]


def test_a_slug_that_is_none() -> None:
    with pytest.raises(UserError, match="no competition slug"):
        download("--help", Path("never/used.zip"))
    assert not Path("never").exists()


def test_rate_limit_and_server_error_pass(server: KaggleServer, archive: Path) -> None:
    server.faults["DownloadDataFiles"] = [(429, "TooManyRequests")]
    server.faults["bundle"] = [(503, "Service Unavailable")]
    download(SLUG, archive, pauses=QUICK)
    assert archive.read_bytes() == server.archive
    assert server.count("DownloadDataFiles") == 3


def test_a_failure_that_stays_ends_without_the_signed_link(server: KaggleServer, archive: Path) -> None:
    server.faults["bundle"] = [(503, "Service Unavailable")] * 3
    said = refusal(archive)
    assert "server failed" in said
    assert "secretsignature" not in said
    assert server.count("bundle") == 3


def test_cut_short_with_an_honest_length(server: KaggleServer, archive: Path) -> None:
    server.archive = server.archive[: len(server.archive) // 2]
    assert "wrong both times" in refusal(archive)
    assert server.count("bundle") == 2


def test_wrong_bytes_heal_at_the_second_attempt(server: KaggleServer, archive: Path) -> None:
    wrong = bytearray(server.archive)
    wrong[len(wrong) // 2] ^= 0xFF
    server.faults["bundle"] = [bytes(wrong)]
    download(SLUG, archive)
    assert archive.read_bytes() == server.archive
    assert on_disk(archive) == {f"{SLUG}.zip", f"{SLUG}.json"}
    assert server.count("bundle") == 2


def test_wrong_contents_are_named(server: KaggleServer, archive: Path) -> None:
    def no_such_layout(path: Path) -> None:
        raise UserError(f"{path}: masks are missing.")

    with pytest.raises(UserError, match=f"wrong both times: {SLUG}.zip: masks are missing"):
        download(SLUG, archive, verify=no_such_layout)
    assert on_disk(archive) == set()


def test_a_server_that_never_answers(server: KaggleServer, archive: Path) -> None:
    server.faults["DownloadDataFiles"] = ["hang"]
    began = time.monotonic()
    with pytest.raises(UserError, match="did not end in the time given"):
        download(SLUG, archive, timeout=2)
    assert time.monotonic() - began < 8
    assert on_disk(archive) == set()
    assert psutil.Process().children(recursive=True) == []


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
    program = "import sys; from tgs_salt.survey.download import download; download(sys.argv[1], sys.argv[2])"
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


@pytest.mark.slow  # the client's own pause before it asks again
def test_an_error_body_in_the_middle_is_not_resumed(server: KaggleServer, archive: Path) -> None:
    server.faults["bundle"] = ["cut", (403, "Expired"), (403, "Expired")]
    download(SLUG, archive, pauses=QUICK)
    assert archive.read_bytes() == server.archive
    assert server.count("DownloadDataFiles") == 2


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_inside_an_inner_archive_is_found(tmp_path: Path, method: int) -> None:
    inner = bytearray(zipped({"images/a.png": bytes(1000)}, zipfile.ZIP_STORED))
    inner[500] ^= 0xFF  # the outer checksum is of these bytes, so only the inner one tells
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"train.zip": bytes(inner)}, method))
    with pytest.raises(UserError, match="damaged"):
        check_archive(path)


def test_what_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"<!DOCTYPE html><title>Sign in</title>")
    with pytest.raises(UserError, match="a web page"):
        check_archive(path)
    locked = bytearray(zipped({"a": b"b"}))
    locked[6] |= 1  # the encryption flag, in the member's header and in the directory
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(locked))
    with pytest.raises(UserError, match="encrypted"):
        check_archive(path)
    path.write_bytes(zipped({}))
    with pytest.raises(UserError, match="empty"):
        check_archive(path)
    path.write_bytes(competition_archive())
    check_archive(path)


def test_nothing_secret_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KAGGLE_USERNAME", "alice")
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    (tmp_path / ".kaggle").mkdir()
    (tmp_path / ".kaggle" / "access_token").write_text("tokentokentoken\n")
    said = kaggle.redact(
        f"Authorization: Basic YWxpY2U6aw==\n{{'Authorization': 'Bearer abc.def'}} key {KEY}, tokentokentoken "
        "https://x/a.zip?Signature=s1&Expires=2&X-Goog-Signature=s2 https://y?upload_id=s3 the end"
    )
    for secret in ("YWxpY2U6aw", "abc.def", KEY, "tokentokentoken", "s1", "s2", "s3"):
        assert secret not in said
    assert "Expires=2" in said
    assert said.endswith("the end")


def test_what_the_client_is_given(monkeypatch: pytest.MonkeyPatch, server: KaggleServer) -> None:
    monkeypatch.setenv("KAGGLE_PATH", "/elsewhere")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "")
    monkeypatch.setenv("VERBOSE", "1")
    given = kaggle._environment()
    assert given["KAGGLE_KEY"] == KEY
    assert not {"KAGGLE_PATH", "KAGGLE_API_TOKEN", "VERBOSE"} & set(given)


def test_importing_does_not_load_the_client() -> None:
    program = (
        "import sys, tgs_salt.submission.submit; print(sorted({'kaggle', 'kagglesdk', 'torch'} & set(sys.modules)))"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env)
    assert ran.stdout.strip() == "[]"
