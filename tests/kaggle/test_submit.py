"""Submit, with the real client against Kaggle on loopback: how often it sends, what is said, what the receipt says."""

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
from helpers.kaggle_user import Ended, User, clients_left

from tgs_salt.kaggle import submit as module
from tgs_salt.kaggle.submit import command_line, token

# The requests of a submission: what was sent before, what is left today, a place for the file, its bytes, "count it".
# When it has been counted, the client asks by itself what is left.
LIST, LEFT, PLACE, PUT, COUNT = (
    "ListSubmissions", "GetSubmissionLimits", "StartSubmissionUpload", "upload", "CreateSubmission",
)  # fmt: skip
SEND = [LIST, LEFT, PLACE, PUT, COUNT]
SENT = [*SEND, LEFT]
TABLE = "id,rle_mask\n0123456789,1 1\nabcdef0123,\n"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """An experiment called unet, as far as sending needs it."""
    folder = tmp_path / "unet"
    (folder / "data").mkdir(parents=True)
    (folder / "submission.csv").write_text(TABLE)
    ids = ["0123456789", "abcdef0123"]
    tiles = {"id": ids, "split": "test", "row": [0, 1], "depth": 100.0, "coverage": None, "blank": False}
    pd.DataFrame(tiles).to_csv(folder / "data" / "tiles.csv", index=False)
    return folder


def send(user: User, results: Path, *options: object) -> Ended:
    return user.types("submit", "--submission", results / "submission.csv", *options)


def receipt(results: Path) -> dict[str, Any] | None:
    path = results / "submitted.json"
    return json.loads(path.read_text()) if path.exists() else None


@dataclass(frozen=True)
class Case:
    """What goes wrong, by request; exit code, a part of what is said, requests, the receipt's status, pauses."""

    name: str
    faults: dict[str, list[Any]]
    code: int
    says: str
    requests: list[str]
    status: str | None
    waited: list[float] = field(default_factory=list)
    states: tuple[dict[str, Any], ...] = ()  # of the submission, each time that it is listed
    allowed: int = 5
    options: tuple[object, ...] = ()
    slow: bool = False  # many calls of the client, or like another case


PENDING, BAD = {"status": "PENDING"}, {"status": "ERROR", "errorDescription": "Evaluation Exception: 17999 rows"}
LIMIT, BUSY, NO = (429, "TooManyRequests"), (503, "Service Unavailable"), "it is not listed at Kaggle, so run the same"
CASES = [
    # it passes
    Case("scored at once", {}, 0, "public score 0.87, private score 0.88", [*SENT, LIST], "COMPLETE", [5]),
    Case("pending, then scored", {}, 0, "1000: PENDING", [*SENT, LIST, LIST, LIST], "COMPLETE", [5, 10, 15],
         states=(PENDING, PENDING)),
    Case("rate limit before", {LIST: [LIMIT]}, 0, "Trying again in 5 s.", [LIST, *SENT, LIST], "COMPLETE", [5, 5]),
    Case("server error before", {LEFT: [(500, "Internal Server Error")]}, 0, "server failed",
         [LIST, LEFT, *SENT[1:], LIST], "COMPLETE", [5, 5], slow=True),
    Case("storage busy, with Retry-After: the client tries again", {PUT: [(*BUSY, {"Retry-After": "0"})]}, 0,
         "public score", [*SEND[:4], PUT, COUNT, LEFT, LIST], "COMPLETE", [5]),
    Case("line cut after the answer", {LEFT: [None, "reset"]}, 0, "public score 0.87",
         [*SENT, LIST], "COMPLETE", [5], slow=True),
    Case("line cut after it was counted", {COUNT: ["done then reset"]}, 0, "Looking whether it was counted all",
         [*SEND, LIST], "COMPLETE", [5]),
    Case("rate limit while waiting", {LIST: [None, LIMIT]}, 0, "Looking again.", [*SENT, LIST, LIST], "COMPLETE",
         [5, 10], slow=True),
    # it was not sent
    Case("storage refuses", {PUT: [(403, "Forbidden")]}, 1, "could not be uploaded to Kaggle: run the same", SEND[:4],
         None),
    Case("storage busy", {PUT: [BUSY]}, 1, "could not be uploaded to Kaggle: run the same", SEND[:4], None, slow=True),
    Case("line cut before it was counted", {COUNT: ["reset"]}, 1, NO, [*SEND, LIST, LIST, LIST], None, [5, 10, 15]),
    Case("rate limit when it is to be counted", {COUNT: [LIMIT]}, 1, NO, [*SEND, LIST, LIST, LIST], None, [5, 10, 15],
         slow=True),
    Case("line cut, and then blind", {COUNT: ["done then reset"], LIST: [None, "page", FOREVER]}, 1,
         "cannot be seen now (What answers is not Kaggle but a web page", [*SEND, LIST], None, [5]),
    Case("web page for the list", {LIST: ["page"]}, 1, "What answers is not Kaggle but a web page", [LIST], None),
    Case("none left", {}, 1, "is left today (5 sent): run again after 00:00 UTC. Nothing was sent.", [LIST, LEFT], None,
         allowed=0),
    Case("rules", {PLACE: [(403, RULES)]}, 1, f"competitions/{SLUG}/rules", SEND[:3], None),
    Case("wrong slug", {LIST: [(403, NO_PERMISSION)]}, 1, f"knows no competition '{SLUG}'", [LIST], None, slow=True),
    Case("unknown slug", {LIST: [(404, "Not found")]}, 1, f"knows no competition '{SLUG}'", [LIST], None, slow=True),
    Case("signed out", {LIST: [(401, "Unauthenticated")]}, 1, "not accept the credentials in KAGGLE_USERNAME", [LIST],
         None),
    Case("never answers", {LIST: ["hang", FOREVER]}, 1, "Kaggle gave no answer within 2 s.", [LIST] * 5, None,
         [5, 20, 60, 180], slow=True),
    # it was sent, and has no score
    Case("cannot be scored", {}, 1, "could not score submission 1000 (Evaluation Exception: 17999 rows).",
         [*SENT, LIST, LIST], "ERROR", [5], states=(BAD,)),
    Case("not scored in time", {}, 1, "goes on waiting and does not send it again", [*SEND, LIST], "PENDING",
         states=(PENDING,), options=("--wait", 1)),
]  # fmt: skip


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.slow else []) for case in CASES]
)
def test_what_becomes_of_a_submission(
    server: KaggleServer, user: User, results: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    server.faults.update({kind: list(faults) for kind, faults in case.faults.items()})
    server.states = [*case.states, *([] if case.status == "ERROR" or case.options else server.states)]
    server.allowed = case.allowed
    if "never" in case.name:
        monkeypatch.setattr(module, "_SECONDS_PER_CALL", 2)
    ended = send(user, results, *case.options)
    assert ended.code == case.code, ended.said
    assert case.says in (ended.error if case.code else ended.said)
    said = receipt(results)
    assert (said and said["status"]) == case.status
    if not case.options:  # how often it is listed within a second is up to the machine
        assert server.requests == case.requests
        assert ended.waited == case.waited
    assert server.count(COUNT) == case.requests.count(COUNT) <= 1
    assert {path.name for path in results.iterdir()} == {
        "data", "submission.csv", *(["submitted.json"] if case.status else []),
    }  # fmt: skip
    assert clients_left() == []


def test_the_same_bytes_are_sent_once(server: KaggleServer, user: User, results: Path) -> None:
    assert send(user, results).code == 0
    sha256 = hashlib.sha256(TABLE.encode()).hexdigest()
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
    assert receipt(results) == first
    assert server.submissions[0]["description"] == first["message"]
    asked = len(server.requests)
    again = send(user, results)
    assert (again.code, len(server.requests)) == (0, asked), "a receipt with a score needs no request"
    assert "Sent before" in again.said and "public score 0.87" in again.said

    (results / "submitted.json").unlink()
    again = send(user, results, "--experiment", "renamed")
    assert again.code == 0
    assert server.requests[asked:] == [LIST]
    assert "Sent before as submission 1000 (COMPLETE). Nothing is sent." in again.said
    assert receipt(results) == {**first, "message": token(sha256, "renamed")}

    (results / "submission.csv").write_text(TABLE.replace("1 1", "1 2"))
    server.allowed = 0
    assert "left today" in send(user, results).error, "other bytes: it would send"
    assert server.count(COUNT) == 1


def test_a_score_that_comes_later(server: KaggleServer, user: User, results: Path) -> None:
    server.states = [PENDING]
    assert send(user, results, "--wait", 1).code == 1
    server.states = [{"status": "COMPLETE", "publicScore": "0.8"}]
    assert send(user, results).code == 0
    assert (receipt(results) or {})["public_score"] == "0.8"
    assert server.count(COUNT) == 1


def test_what_kaggle_would_refuse_is_not_sent(server: KaggleServer, user: User, results: Path) -> None:
    (results / "submission.csv").write_text(TABLE.replace("1 1", "1 0"))
    ended = send(user, results)
    assert ended.code == 1
    assert f"{results / 'submission.csv'}: line 2, id 0123456789" in ended.error
    assert (server.requests, receipt(results)) == ([], None)


def test_a_dry_run_contacts_nobody(server: KaggleServer, user: User, results: Path) -> None:
    ended = send(user, results, "--dry-run")
    size, sha256 = len(TABLE), hashlib.sha256(TABLE.encode()).hexdigest()
    file = results / "submission.csv"
    assert ended.code == 0
    assert f"Dry run, nothing is sent: {file}, {size} bytes, sha256 {sha256[:12]}." in ended.said
    assert f"kaggle competitions submit -c {SLUG} -f {file} -m tgs-salt:{sha256[:12]}:unet" in ended.said
    assert (server.requests, receipt(results)) == ([], None)


def test_the_command_for_people() -> None:
    assert shlex.split(command_line("slug", "my file.csv", "a b")) == [
        "kaggle", "competitions", "submit", "-c", "slug", "-f", "my file.csv", "-m", "a b",
    ]  # fmt: skip
    assert token("0123456789abcdef", "my net") == "tgs-salt:0123456789ab:my-net"
