"""Send one submission to Kaggle, exactly once, and wait for its score.

Submissions per day are limited, and after a broken connection it is unknown whether a submission was counted.
Its message therefore contains a tag derived from the file's bytes. Kaggle's list of submissions, not the response to
the upload, decides whether it was sent: a listed submission is never sent again.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tgs_salt.errors import UserError
from tgs_salt.files import read_json, write_json
from tgs_salt.kaggle import client
from tgs_salt.log import log_and_echo, logger

POLL_INTERVALS = (5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0)
"""Seconds between requests for the list of submissions; the last one repeats."""

_CALL_TIMEOUT = 120.0
_UPLOAD_TIMEOUT = 900.0
_FINAL_STATUSES = ("COMPLETE", "ERROR")


@dataclass(frozen=True)
class SubmissionRecord:
    """A submission as Kaggle lists it."""

    ref: str
    status: str
    public_score: str | None
    private_score: str | None
    submitted: str | None


@dataclass(frozen=True)
class _Request:
    """The file to send, its competition and message, and the delays between calls."""

    submission: Path
    competition: str
    sha256: str
    message: str
    retry_delays: Sequence[float]
    poll_intervals: Sequence[float]


def submit(
    submission: Path | str,
    *,
    competition: str,
    experiment: str,
    receipt: Path | str,
    dry_run: bool = False,
    wait: float = 900,
    poll_intervals: Sequence[float] = POLL_INTERVALS,
    retry_delays: Sequence[float] = client.RETRY_DELAYS,
) -> None:
    """Send `submission` unless it was sent before, wait for its score, and write `receipt`.

    Args:
        submission: A CSV file that was already checked.
        competition: Slug of the competition.
        experiment: Name of the experiment, part of the message.
        receipt: JSON file to write.
        dry_run: Print what would be sent, without any request.
        wait: Seconds to wait for the score.
        poll_intervals: Seconds between requests for the list of submissions.
        retry_delays: Seconds between attempts after a transient error; the upload itself is never retried.

    Raises:
        UserError: Kaggle denies access, no submission is left today, there is no score after `wait` seconds (the same
            command then waits again), or Kaggle cannot score the file.
    """
    client.check_slug(competition)
    request = _make_request(Path(submission), competition, experiment, retry_delays, poll_intervals)
    known = _read_receipt(Path(receipt), request)
    if dry_run:
        size = request.submission.stat().st_size
        log_and_echo(f"Dry run, nothing is sent: {submission}, {size:,} bytes, sha256 {request.sha256[:12]}.")
        if known is not None:
            log_and_echo(f"It was already sent as submission {known.ref} ({known.status}), see {receipt}.")
        log_and_echo(f"Command: {submit_command(competition, submission, request.message)}")
        return
    if known is not None and known.status == "COMPLETE":
        log_and_echo(f"Already sent, see {receipt}: {_format_scores(known)}. Nothing is sent.")
        return
    client.log_credentials()
    record = client.retry(lambda: _find_submission(request), retry_delays) or known
    if record is not None:
        log_and_echo(f"Already sent as submission {record.ref} ({record.status}). Nothing is sent.")
    else:
        _check_limit(request)
        record = _send(request)
    if record is not None:
        _write_receipt(Path(receipt), request, record)
    record = _await_score(request, record, wait)
    _write_receipt(Path(receipt), request, record)
    if record.status not in _FINAL_STATUSES:
        raise UserError(
            f"{submission}: sent as submission {record.ref}, but not scored within {wait:g} s; "
            "run the same command to wait again, it does not send the file again."
        )
    if record.status == "ERROR":
        reason = client.error_description(competition, record.ref)
        details = f" ({reason})" if reason else f", see https://www.kaggle.com/competitions/{competition}/submissions"
        raise UserError(f"{submission}: Kaggle could not score submission {record.ref}{details}.")
    log_and_echo(f"Submission {record.ref}: {_format_scores(record)}")


def submit_command(competition: str, submission: Path | str, message: str) -> str:
    """Return the shell command that sends `submission` with Kaggle's client."""
    words = ["kaggle", "competitions", "submit", "-c", competition, "-f", str(submission), "-m", message]
    return shlex.join(words)


def submission_tag(sha256: str, experiment: str) -> str:
    """Return the tag in a submission's message by which it is recognized in Kaggle's list."""
    return f"{_tag_prefix(sha256)}{re.sub(r'[^A-Za-z0-9_.-]+', '-', experiment)}"


def _tag_prefix(sha256: str) -> str:
    """Return the part of the tag that depends only on the file's bytes, not on the experiment."""
    return f"tgs-salt:{sha256[:12]}:"


def _make_request(
    submission: Path, competition: str, experiment: str, retry_delays: Sequence[float], poll_intervals: Sequence[float]
) -> _Request:
    try:
        sha256 = hashlib.sha256(submission.read_bytes()).hexdigest()
    except OSError as problem:
        raise UserError(f"{submission}: cannot be read ({problem.strerror}); create it first.") from None
    return _Request(submission, competition, sha256, submission_tag(sha256, experiment), retry_delays, poll_intervals)


def _find_submission(request: _Request) -> SubmissionRecord | None:
    """Return the newest submission of these bytes among the last 200, the most that the client can list."""
    out = client.call(
        "competitions", "submissions", request.competition, "--format", "json", "--page-size", "200",
        competition=request.competition, timeout=_CALL_TIMEOUT,
    )  # fmt: skip
    entries = client.extract_json(out)
    if entries is None and "No submissions found" not in out:
        raise client.TransientError("Kaggle's list of submissions cannot be parsed.")
    for entry in entries or []:
        words = str(entry.get("description") or "").split()
        if any(word.startswith(_tag_prefix(request.sha256)) for word in words):
            return SubmissionRecord(
                ref=str(entry["ref"]),
                status=str(entry.get("status")).rpartition(".")[2].upper(),
                public_score=entry.get("publicScore") or None,
                private_score=entry.get("privateScore") or None,
                submitted=entry.get("date"),
            )
    return None


def _check_limit(request: _Request) -> None:
    """Check that a submission is left today; a limit that cannot be parsed only logs a warning.

    Raises:
        UserError: No submission is left.
    """
    slug = request.competition
    arguments = ("competitions", "submission-limits", slug, "--json")
    out = client.retry(lambda: client.call(*arguments, competition=slug, timeout=_CALL_TIMEOUT), request.retry_delays)
    limits = client.extract_json(out)
    if not isinstance(limits, dict):
        logger.warning("Kaggle's submission limit cannot be parsed; sending anyway.")
        return
    left = limits.get("numAllowedNow", 0)  # the client omits zeros
    if left > 0:
        logger.info(f"{left} submissions left today")
    elif limits.get("numToday", 0) or limits.get("numTotal", 0):
        raise UserError(
            f"Nothing was sent: no submission to {slug} is left today ({limits.get('numToday', 0)} sent); "
            "run the same command after 00:00 UTC."
        )
    else:
        raise UserError(
            f"Nothing was sent: Kaggle allows your account no submission to {slug}; join the competition and accept "
            f"its rules at https://www.kaggle.com/competitions/{slug}/rules, then run the same command again."
        )


def _send(request: _Request) -> SubmissionRecord | None:
    """Send the file once.

    Returns:
        The submission if the call failed but Kaggle lists it; None if the call succeeded.

    Raises:
        UserError: It was not sent, or this cannot be determined now.
    """
    slug = request.competition
    log_and_echo(f"Sending {request.submission} to {slug} as {request.message}")
    arguments = ("competitions", "submit", slug, "-f", str(request.submission), "-m", request.message)
    try:
        out = client.call(*arguments, competition=slug, timeout=_UPLOAD_TIMEOUT)
    except client.AccessDenied:
        raise
    except UserError as problem:
        failure = problem
    else:
        if "Could not submit" not in out:
            return None
        # The client exits with 0, but the upload failed before the submission was created.
        raise UserError(f"{request.submission} could not be uploaded to Kaggle; run the same command again.")
    logger.warning(f"{failure} Checking whether the submission was counted.")
    try:
        record = _find_recent(request, attempts=3 if isinstance(failure, client.TransientError) else 1)
    except UserError as problem:
        raise UserError(
            f"{str(failure).rstrip('.')}; whether the submission was counted is unknown "
            f"({str(problem).rstrip('.')}). Run the same command again: it sends the file only if it is not listed."
        ) from None
    if record is None:
        raise UserError(f"{str(failure).rstrip('.')}; Kaggle does not list the submission, run the same command again.")
    return record


def _find_recent(request: _Request, attempts: int) -> SubmissionRecord | None:
    """Look for the submission up to `attempts` times, because Kaggle may list it with a delay."""
    for interval in request.poll_intervals[:attempts]:
        time.sleep(interval)
        if record := client.retry(lambda: _find_submission(request), request.retry_delays[:2]):
            return record
    return None


def _await_score(request: _Request, record: SubmissionRecord | None, wait: float) -> SubmissionRecord:
    """Poll until the submission has a score or an error, at most `wait` seconds, and return its last state."""
    deadline = time.monotonic() + wait
    polls = 0
    while (record is None or record.status not in _FINAL_STATUSES) and time.monotonic() < deadline:
        interval = request.poll_intervals[min(polls, len(request.poll_intervals) - 1)]
        time.sleep(min(interval, max(deadline - time.monotonic(), 0.0)))
        polls += 1
        try:
            record = _find_submission(request) or record
        except client.AccessDenied:
            raise
        except UserError as problem:  # the list may be unavailable right after a submission
            logger.warning(f"{problem} Checking again.")
        else:
            logger.info(f"submission {record.ref}: {record.status}" if record else "not listed yet")
    if record is None:
        raise UserError(
            f"{request.submission}: Kaggle accepted it but did not list it within {wait:g} s; it may not have counted. "
            f"Check https://www.kaggle.com/competitions/{request.competition}/submissions before you send it again."
        )
    return record


def _read_receipt(receipt: Path, request: _Request) -> SubmissionRecord | None:
    """Return the submission in `receipt` if it has these bytes and this competition."""
    with suppress(UserError, KeyError, TypeError):
        content: dict[str, Any] = read_json(receipt)
        if content["competition"] == request.competition and content["sha256"] == request.sha256:
            return SubmissionRecord(**{name: content[name] for name in SubmissionRecord.__dataclass_fields__})
    return None


def _write_receipt(receipt: Path, request: _Request, record: SubmissionRecord) -> None:
    content = {
        "competition": request.competition,
        "file": str(request.submission),
        "sha256": request.sha256,
        "message": request.message,
        "ref": record.ref,
        "status": record.status,
        "public_score": record.public_score,
        "private_score": record.private_score,
        "submitted": record.submitted,
    }
    write_json(receipt, content)


def _format_scores(record: SubmissionRecord) -> str:
    return f"public score {record.public_score or '-'}, private score {record.private_score or '-'}"
