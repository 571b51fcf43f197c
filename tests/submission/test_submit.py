"""Submit, with the real client against Kaggle on loopback: how often it sends, and what the receipt says."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kaggle_server import RULES, SLUG, KaggleServer

from tgs_salt.errors import UserError
from tgs_salt.submission.submit import command_line, submit, token

QUICK = (0.05, 0.05, 0.05)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KaggleServer]:
    with KaggleServer() as server:
        server.stand_in(monkeypatch, tmp_path / "home")
        yield server


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    path = tmp_path / "submission.csv"
    path.write_text("id,rle_mask\n0123456789,1 1\n")
    return path


@pytest.fixture
def receipt(tmp_path: Path) -> Path:
    return tmp_path / "submitted.json"


def send(submission: Path, receipt: Path, **changed: Any) -> None:
    settings = {"experiment": "unet", "wait": 30, "poll": QUICK, "pauses": QUICK[:1], **changed}
    submit(submission, competition=SLUG, receipt=receipt, **settings)


def test_sends_waits_and_writes_a_receipt(server: KaggleServer, submission: Path, receipt: Path) -> None:
    server.states.insert(0, {"status": "PENDING"})
    send(submission, receipt)
    sha256 = hashlib.sha256(submission.read_bytes()).hexdigest()
    assert json.loads(receipt.read_text()) == {
        "competition": SLUG,
        "file": str(submission),
        "sha256": sha256,
        "message": f"tgs-salt:{sha256[:12]}:unet",
        "ref": "1000",
        "status": "COMPLETE",
        "public_score": "0.87",
        "private_score": "0.88",
        "submitted": "2026-11-22T10:00:00.123000",
    }
    assert server.count("CreateSubmission") == 1
    assert server.count("ListSubmissions") == 3


def test_the_same_bytes_are_sent_once(server: KaggleServer, submission: Path, receipt: Path) -> None:
    send(submission, receipt)
    asked = len(server.requests)
    send(submission, receipt)
    assert len(server.requests) == asked, "a receipt with a score needs no request"
    first = receipt.read_text()
    receipt.unlink()
    send(submission, receipt)
    assert receipt.read_text() == first
    assert server.count("CreateSubmission") == 1
    submission.write_text("id,rle_mask\n0123456789,\n")
    server.allowed = 0
    with pytest.raises(UserError, match="left today"):  # other bytes: it would send
        send(submission, receipt)
    assert receipt.read_text() == first


def test_no_submission_left(server: KaggleServer, submission: Path, receipt: Path) -> None:
    server.allowed = 0
    with pytest.raises(UserError, match=r"left today \(5 sent\): run again after 00:00 UTC"):
        send(submission, receipt)
    assert server.count("StartSubmissionUpload") == server.count("CreateSubmission") == 0
    assert not receipt.exists()


def test_a_line_cut_after_it_was_counted(server: KaggleServer, submission: Path, receipt: Path) -> None:
    server.faults["CreateSubmission"] = ["done then reset"]
    send(submission, receipt)
    assert json.loads(receipt.read_text())["status"] == "COMPLETE"
    assert server.count("CreateSubmission") == 1


def test_a_line_cut_before_it_was_counted(server: KaggleServer, submission: Path, receipt: Path) -> None:
    server.faults["CreateSubmission"] = ["reset"]
    with pytest.raises(UserError, match="not listed at Kaggle, so run the same command again"):
        send(submission, receipt, poll=QUICK[:1])
    assert server.count("CreateSubmission") == 1
    assert not receipt.exists()


def test_an_upload_that_fails_is_no_success(server: KaggleServer, submission: Path, receipt: Path) -> None:
    server.faults["upload"] = [(403, "Forbidden")]
    with pytest.raises(UserError, match="could not be uploaded"):
        send(submission, receipt)
    assert server.count("CreateSubmission") == 0
    assert not receipt.exists()


def test_rules_not_accepted(server: KaggleServer, submission: Path, receipt: Path) -> None:
    server.faults["StartSubmissionUpload"] = [(403, RULES)]
    with pytest.raises(UserError, match=f"competitions/{SLUG}/rules"):
        send(submission, receipt)
    assert server.submissions == []
    assert not receipt.exists()


def test_what_kaggle_cannot_score(server: KaggleServer, submission: Path, receipt: Path) -> None:
    server.states[:] = [{"status": "ERROR", "errorDescription": "Evaluation Exception: 17999 rows"}]
    with pytest.raises(UserError, match=r"could not score submission 1000 \(Evaluation Exception: 17999 rows\)"):
        send(submission, receipt)
    assert json.loads(receipt.read_text())["status"] == "ERROR"


def test_a_score_that_does_not_come_is_waited_for_later(server: KaggleServer, submission: Path, receipt: Path) -> None:
    server.states[:] = [{"status": "PENDING"}]
    with pytest.raises(UserError, match="goes on waiting and does not send it again"):
        send(submission, receipt, wait=1)
    assert json.loads(receipt.read_text())["status"] == "PENDING"
    server.states[:] = [{"status": "COMPLETE", "publicScore": "0.8"}]
    send(submission, receipt)
    assert json.loads(receipt.read_text())["public_score"] == "0.8"
    assert server.count("CreateSubmission") == 1


def test_a_dry_run_contacts_nobody(
    server: KaggleServer, submission: Path, receipt: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    send(submission, receipt, dry_run=True)
    assert f"kaggle competitions submit -c {SLUG} -f {submission} -m tgs-salt:" in capsys.readouterr().out
    assert server.requests == []
    assert not receipt.exists()


def test_the_command_for_people() -> None:
    assert shlex.split(command_line("slug", "my file.csv", "a b")) == [
        "kaggle", "competitions", "submit", "-c", "slug", "-f", "my file.csv", "-m", "a b",
    ]  # fmt: skip
    assert token("0123456789abcdef", "my net") == "tgs-salt:0123456789ab:my-net"
