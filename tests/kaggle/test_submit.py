"""Submit, with the real client and a fake server: number of uploads, messages, and the receipt."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.kaggle_server import FOREVER, NO_PERMISSION, RULES, SLUG, KaggleServer
from helpers.kaggle_user import CommandResult, User, running_clients

from tgs_salt.kaggle import submit as module
from tgs_salt.kaggle.submit import submission_tag, submit_command

# Requests of a submission: list, daily limit, upload URL, upload, create. Then the client requests the limit again.
LIST, LIMITS, START, PUT, CREATE = (
    "ListSubmissions", "GetSubmissionLimits", "StartSubmissionUpload", "upload", "CreateSubmission",
)  # fmt: skip
SEND = [LIST, LIMITS, START, PUT, CREATE]
SENT = [*SEND, LIMITS]
CSV = "id,rle_mask\n0123456789,1 1\nabcdef0123,\n"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The files of an experiment named unet that `submit` reads."""
    folder = tmp_path / "unet"
    (folder / "data").mkdir(parents=True)
    (folder / "submission.csv").write_text(CSV)
    ids = ["0123456789", "abcdef0123"]
    tiles = {"id": ids, "split": "test", "row": [0, 1], "depth": 100.0, "coverage": None, "blank": False}
    pd.DataFrame(tiles).to_csv(folder / "data" / "tiles.csv", index=False)
    return folder


def send(user: User, results: Path, *options: object) -> CommandResult:
    return user.run("submit", "--submission", results / "submission.csv", *options)


def read_receipt(results: Path) -> dict[str, Any] | None:
    path = results / "submitted.json"
    return json.loads(path.read_text()) if path.exists() else None


@dataclass(frozen=True)
class Case:
    """Faults by request; expected exit code, part of the message, requests, status in the receipt, and delays."""

    name: str
    faults: dict[str, list[Any]]
    code: int
    message: str
    requests: list[str]
    status: str | None
    delays: list[float] = field(default_factory=list)
    states: tuple[dict[str, Any], ...] = ()  # of the submission, each time it is listed
    allowed: int = 5
    options: tuple[object, ...] = ()
    slow: bool = False  # many calls of the client, or similar to another case


PENDING, BAD = {"status": "PENDING"}, {"status": "ERROR", "errorDescription": "Evaluation Exception: 17999 rows"}
LIMIT, BUSY, NOT_LISTED = (429, "TooManyRequests"), (503, "Service Unavailable"), "Kaggle does not list the submission"
CASES = [
    # succeeds
    Case("scored at once", {}, 0, "public score 0.87, private score 0.88", [*SENT, LIST], "COMPLETE", [5]),
    Case("pending, then scored", {}, 0, "1000: PENDING", [*SENT, LIST, LIST, LIST], "COMPLETE", [5, 10, 15],
         states=(PENDING, PENDING)),
    Case("rate limit before", {LIST: [LIMIT]}, 0, "Retrying in 5 s.", [LIST, *SENT, LIST], "COMPLETE", [5, 5]),
    Case("server error before", {LIMITS: [(500, "Internal Server Error")]}, 0, "server failed",
         [LIST, LIMITS, *SENT[1:], LIST], "COMPLETE", [5, 5], slow=True),
    Case("storage busy, with Retry-After: the client retries", {PUT: [(*BUSY, {"Retry-After": "0"})]}, 0,
         "public score", [*SEND[:4], PUT, CREATE, LIMITS, LIST], "COMPLETE", [5]),
    Case("connection reset after the response", {LIMITS: [None, "reset"]}, 0, "public score 0.87",
         [*SENT, LIST], "COMPLETE", [5], slow=True),
    Case("connection reset after creation", {CREATE: ["done then reset"]}, 0,
         "Checking whether the submission was counted", [*SEND, LIST], "COMPLETE", [5]),
    Case("rate limit while waiting", {LIST: [None, LIMIT]}, 0, "Checking again.", [*SENT, LIST, LIST], "COMPLETE",
         [5, 10], slow=True),
    # not sent
    Case("storage refuses", {PUT: [(403, "Forbidden")]}, 1, "could not be uploaded to Kaggle; run the same", SEND[:4],
         None),
    Case("storage busy", {PUT: [BUSY]}, 1, "could not be uploaded to Kaggle; run the same", SEND[:4], None, slow=True),
    Case("connection reset before creation", {CREATE: ["reset"]}, 1, NOT_LISTED,
         [*SEND, LIST, LIST, LIST], None, [5, 10, 15]),
    Case("rate limit at creation", {CREATE: [LIMIT]}, 1, NOT_LISTED, [*SEND, LIST, LIST, LIST], None, [5, 10, 15],
         slow=True),
    Case("connection reset, then no list", {CREATE: ["done then reset"], LIST: [None, "page", FOREVER]}, 1,
         "is unknown (The response is a web page, not Kaggle's API", [*SEND, LIST], None, [5]),
    Case("web page for the list", {LIST: ["page"]}, 1, "The response is a web page, not Kaggle's API", [LIST], None),
    Case("no submission left", {}, 1, "is left today (5 sent); run the same command after 00:00 UTC.",
         [LIST, LIMITS], None, allowed=0),
    Case("rules", {START: [(403, RULES)]}, 1, f"competitions/{SLUG}/rules", SEND[:3], None),
    Case("wrong slug", {LIST: [(403, NO_PERMISSION)]}, 1, f"has no competition '{SLUG}'", [LIST], None, slow=True),
    Case("unknown slug", {LIST: [(404, "Not found")]}, 1, f"has no competition '{SLUG}'", [LIST], None, slow=True),
    Case("signed out", {LIST: [(401, "Unauthenticated")]}, 1, "rejects the credentials in KAGGLE_USERNAME", [LIST],
         None),
    Case("never responds", {LIST: ["hang", FOREVER]}, 1, "Kaggle did not respond within 2 s.", [LIST] * 5, None,
         [5, 20, 60, 180], slow=True),
    # sent, without a score
    Case("cannot be scored", {}, 1, "could not score submission 1000 (Evaluation Exception: 17999 rows).",
         [*SENT, LIST, LIST], "ERROR", [5], states=(BAD,)),
    Case("not scored in time", {}, 1, "run the same command to wait again, it does not send the file again",
         [*SEND, LIST], "PENDING", states=(PENDING,), options=("--wait", 1)),
]  # fmt: skip


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.slow else []) for case in CASES]
)
def test_outcomes_of_a_submission(
    server: KaggleServer, user: User, results: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    server.faults.update({kind: list(faults) for kind, faults in case.faults.items()})
    server.states = [*case.states, *([] if case.status == "ERROR" or case.options else server.states)]
    server.allowed = case.allowed
    if "never" in case.name:
        monkeypatch.setattr(module, "_CALL_TIMEOUT", 2)
    result = send(user, results, *case.options)
    assert result.code == case.code, result.output
    assert case.message in (result.error if case.code else result.output)
    content = read_receipt(results)
    assert (content and content["status"]) == case.status
    if not case.options:  # the number of polls within a second depends on the machine
        assert server.requests == case.requests
        assert result.delays == case.delays
    assert server.count(CREATE) == case.requests.count(CREATE) <= 1
    assert {path.name for path in results.iterdir()} == {
        "data", "submission.csv", *(["submitted.json"] if case.status else []),
    }  # fmt: skip
    assert running_clients() == []


def test_the_same_bytes_are_sent_once(server: KaggleServer, user: User, results: Path) -> None:
    assert send(user, results).code == 0
    sha256 = hashlib.sha256(CSV.encode()).hexdigest()
    first = {
        "competition": SLUG,
        "file": str(results / "submission.csv"),
        "sha256": sha256,
        "message": f"tgs-salt:{sha256[:12]}:unet",
        "ref": "1000",
        "status": "COMPLETE",
        "public_score": "0.87",
        "private_score": "0.88",
        "submitted": "2026-11-22T10:00:00.123000",
    }
    assert read_receipt(results) == first
    assert server.submissions[0]["description"] == first["message"]
    count = len(server.requests)
    again = send(user, results)
    assert (again.code, len(server.requests)) == (0, count), "a receipt with a score needs no request"
    assert "Already sent" in again.output and "public score 0.87" in again.output

    (results / "submitted.json").unlink()
    again = send(user, results, "--experiment", "renamed")
    assert again.code == 0
    assert server.requests[count:] == [LIST]
    assert "Already sent as submission 1000 (COMPLETE). Nothing is sent." in again.output
    assert read_receipt(results) == {**first, "message": submission_tag(sha256, "renamed")}

    (results / "submission.csv").write_text(CSV.replace("1 1", "1 2"))
    server.allowed = 0
    assert "left today" in send(user, results).error, "other bytes would be sent"
    assert server.count(CREATE) == 1


def test_score_after_the_first_run(server: KaggleServer, user: User, results: Path) -> None:
    server.states = [PENDING]
    assert send(user, results, "--wait", 1).code == 1
    server.states = [{"status": "COMPLETE", "publicScore": "0.8"}]
    assert send(user, results).code == 0
    assert (read_receipt(results) or {})["public_score"] == "0.8"
    assert server.count(CREATE) == 1


def test_invalid_submission_is_not_sent(server: KaggleServer, user: User, results: Path) -> None:
    (results / "submission.csv").write_text(CSV.replace("1 1", "1 0"))
    result = send(user, results)
    assert result.code == 1
    assert f"{results / 'submission.csv'}: line 2, id 0123456789" in result.error
    assert (server.requests, read_receipt(results)) == ([], None)


def test_dry_run_sends_no_request(server: KaggleServer, user: User, results: Path) -> None:
    result = send(user, results, "--dry-run")
    size, sha256 = len(CSV), hashlib.sha256(CSV.encode()).hexdigest()
    file = results / "submission.csv"
    assert result.code == 0
    assert f"Dry run, nothing is sent: {file}, {size} bytes, sha256 {sha256[:12]}." in result.output
    assert f"kaggle competitions submit -c {SLUG} -f {file} -m tgs-salt:{sha256[:12]}:unet" in result.output
    assert (server.requests, read_receipt(results)) == ([], None)


def test_submit_command() -> None:
    assert shlex.split(submit_command("slug", "my file.csv", "a b")) == [
        "kaggle", "competitions", "submit", "-c", "slug", "-f", "my file.csv", "-m", "a b",
    ]  # fmt: skip
    assert submission_tag("0123456789abcdef", "my net") == "tgs-salt:0123456789ab:my-net"
