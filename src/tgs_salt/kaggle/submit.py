"""Send one submission to Kaggle, once, and wait for its score.

A day has few submissions, and a connection that breaks while one is sent leaves it unknown whether it counted.
So its message carries a token made of the file's own bytes, and the list of submissions, not the answer to the
sending, says what was sent: what is listed is never sent again.
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

POLL = (5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0)
"""Seconds between looks at the list; the last one repeats."""

_SECONDS_PER_CALL = 120.0
_SECONDS_TO_SEND = 900.0
_DONE = ("COMPLETE", "ERROR")


@dataclass(frozen=True)
class Listed:
    """A submission as Kaggle lists it."""

    ref: str
    status: str
    public_score: str | None
    private_score: str | None
    submitted: str | None


@dataclass(frozen=True)
class _Sending:
    """What is sent where, and under which token."""

    submission: Path
    competition: str
    sha256: str
    message: str
    pauses: Sequence[float]
    poll: Sequence[float]


def submit(
    submission: Path | str,
    *,
    competition: str,
    experiment: str,
    receipt: Path | str,
    dry_run: bool = False,
    wait: float = 900,
    poll: Sequence[float] = POLL,
    pauses: Sequence[float] = client.PAUSES,
) -> None:
    """Send `submission` (a CSV already checked) unless it was sent before, wait for its score, write `receipt`.

    `dry_run` shows what would be sent and contacts nobody. `poll` and `pauses` are seconds between looks at the list
    and between attempts at a call that fails in passing; sending itself is never repeated.

    Raises UserError if Kaggle refuses, no submission is left today, the score does not come within `wait` seconds
    (the same command then goes on waiting), or Kaggle cannot score the file.
    """
    client.check_slug(competition)
    sending = _sending(Path(submission), competition, experiment, pauses, poll)
    known = _from_receipt(Path(receipt), sending)
    if dry_run:
        size = sending.submission.stat().st_size
        log_and_echo(f"Dry run, nothing is sent: {submission}, {size:,} bytes, sha256 {sending.sha256[:12]}.")
        if known is not None:
            log_and_echo(f"It was sent before as submission {known.ref} ({known.status}), as {receipt} says.")
        log_and_echo(f"The command: {command_line(competition, submission, sending.message)}")
        return
    if known is not None and known.status == "COMPLETE":
        log_and_echo(f"Sent before, as {receipt} says: {_scores(known)}. Nothing is sent.")
        return
    client.log_credentials()
    listed = client.retry(lambda: _find(sending), pauses) or known
    if listed is not None:
        log_and_echo(f"Sent before as submission {listed.ref} ({listed.status}). Nothing is sent.")
    else:
        _check_allowance(sending)
        listed = _send(sending)
    if listed is not None:
        _write_receipt(Path(receipt), sending, listed)
    listed = _await_score(sending, listed, wait)
    _write_receipt(Path(receipt), sending, listed)
    if listed.status not in _DONE:
        raise UserError(
            f"{submission}: sent as submission {listed.ref}, but not scored within {wait:g} s; "
            "the same command goes on waiting and does not send it again."
        )
    if listed.status == "ERROR":
        why = client.reason(competition, listed.ref)
        raise UserError(
            f"{submission}: Kaggle could not score submission {listed.ref}"
            f"{f' ({why})' if why else f', see https://www.kaggle.com/competitions/{competition}/submissions'}."
        )
    log_and_echo(f"Submission {listed.ref}: {_scores(listed)}")


def command_line(competition: str, submission: Path | str, message: str) -> str:
    """The plain command that sends `submission`, for a person to read or paste."""
    words = ["kaggle", "competitions", "submit", "-c", competition, "-f", str(submission), "-m", message]
    return shlex.join(words)


def token(sha256: str, experiment: str) -> str:
    """The word in a submission's message by which it is found again."""
    return f"{_same_bytes(sha256)}{re.sub(r'[^A-Za-z0-9_.-]+', '-', experiment)}"


def _same_bytes(sha256: str) -> str:
    """How every token of these bytes begins, whichever experiment they came from."""
    return f"tgs-salt:{sha256[:12]}:"


def _sending(
    submission: Path, competition: str, experiment: str, pauses: Sequence[float], poll: Sequence[float]
) -> _Sending:
    try:
        sha256 = hashlib.sha256(submission.read_bytes()).hexdigest()
    except OSError as problem:
        raise UserError(f"{submission}: cannot be read ({problem.strerror}); make it first.") from None
    return _Sending(submission, competition, sha256, token(sha256, experiment), pauses, poll)


def _find(sending: _Sending) -> Listed | None:
    """The newest submission of these bytes among the last 200, which is all that the client can list."""
    out = client.call(
        "competitions", "submissions", sending.competition, "--format", "json", "--page-size", "200",
        competition=sending.competition, timeout=_SECONDS_PER_CALL,
    )  # fmt: skip
    entries = client.json_in(out)
    if entries is None and "No submissions found" not in out:
        raise client.TransientError("Kaggle's list of submissions cannot be read.")
    for entry in entries or []:
        words = str(entry.get("description") or "").split()
        if any(word.startswith(_same_bytes(sending.sha256)) for word in words):
            return Listed(
                ref=str(entry["ref"]),
                status=str(entry.get("status")).rpartition(".")[2].upper(),
                public_score=entry.get("publicScore") or None,
                private_score=entry.get("privateScore") or None,
                submitted=entry.get("date"),
            )
    return None


def _check_allowance(sending: _Sending) -> None:
    """Raises UserError when no submission is left; a limit that cannot be read does not stop anyone."""
    slug = sending.competition
    arguments = ("competitions", "submission-limits", slug, "--json")
    out = client.retry(lambda: client.call(*arguments, competition=slug, timeout=_SECONDS_PER_CALL), sending.pauses)
    limits = client.json_in(out)
    if not isinstance(limits, dict):
        logger.warning("Kaggle's limit of submissions cannot be read; sending anyway.")
        return
    left = limits.get("numAllowedNow", 0)  # the client leaves out zeros
    if left > 0:
        logger.info(f"{left} submissions left today")
    elif limits.get("numToday", 0) or limits.get("numTotal", 0):
        raise UserError(
            f"No submission to {slug} is left today ({limits.get('numToday', 0)} sent): "
            "run again after 00:00 UTC. Nothing was sent."
        )
    else:
        raise UserError(
            f"Kaggle allows this account no submission to {slug}: join it and accept its rules at "
            f"https://www.kaggle.com/competitions/{slug}/rules and run again. Nothing was sent."
        )


def _send(sending: _Sending) -> Listed | None:
    """Send once. None: Kaggle took it and does not list it yet.

    Raises UserError if it was not sent; when that cannot be known at once, only after looking at the list.
    """
    slug = sending.competition
    log_and_echo(f"Sending {sending.submission} to {slug} as {sending.message}")
    arguments = ("competitions", "submit", slug, "-f", str(sending.submission), "-m", sending.message)
    try:
        out = client.call(*arguments, competition=slug, timeout=_SECONDS_TO_SEND)
    except client.AccessDenied:
        raise
    except UserError as problem:
        failure = problem
    else:
        if "Could not submit" not in out:
            return None
        # The client calls this a success, but it ended before Kaggle was asked to count anything.
        raise UserError(f"{sending.submission} could not be uploaded to Kaggle: run the same command again.")
    logger.warning(f"{failure} Looking whether it was counted all the same.")
    try:
        listed = _look(sending, times=3 if isinstance(failure, client.TransientError) else 1)
    except UserError as blind:
        raise UserError(
            f"{str(failure).rstrip('.')}; whether it was counted cannot be seen now ({str(blind).rstrip('.')}). "
            "Run the same command again: it looks first and sends only what is not listed."
        ) from None
    if listed is None:
        raise UserError(f"{str(failure).rstrip('.')}; it is not listed at Kaggle, so run the same command again.")
    return listed


def _look(sending: _Sending, times: int) -> Listed | None:
    """Look up to so many `times`: what was counted may be listed a moment later."""
    for pause in sending.poll[:times]:
        time.sleep(pause)
        if listed := client.retry(lambda: _find(sending), sending.pauses[:2]):
            return listed
    return None


def _await_score(sending: _Sending, listed: Listed | None, wait: float) -> Listed:
    """The entry once it has a score or an error, or as it is after `wait` seconds."""
    until = time.monotonic() + wait
    looks = 0
    while (listed is None or listed.status not in _DONE) and time.monotonic() < until:
        time.sleep(min(sending.poll[min(looks, len(sending.poll) - 1)], max(until - time.monotonic(), 0.0)))
        looks += 1
        try:
            listed = _find(sending) or listed
        except client.AccessDenied:
            raise
        except UserError as problem:  # a new submission may be unknown for a moment
            logger.warning(f"{problem} Looking again.")
        else:
            logger.info(f"submission {listed.ref}: {listed.status}" if listed else "not listed yet")
    if listed is None:
        raise UserError(
            f"{sending.submission}: Kaggle took it but has not listed it within {wait:g} s; it may not have counted. "
            f"See https://www.kaggle.com/competitions/{sending.competition}/submissions before you send it again."
        )
    return listed


def _from_receipt(receipt: Path, sending: _Sending) -> Listed | None:
    """What `receipt` says about these very bytes, if anything."""
    with suppress(UserError, KeyError, TypeError):
        said: dict[str, Any] = read_json(receipt)
        if said["competition"] == sending.competition and said["sha256"] == sending.sha256:
            return Listed(**{name: said[name] for name in Listed.__dataclass_fields__})
    return None


def _write_receipt(receipt: Path, sending: _Sending, listed: Listed) -> None:
    written = {
        "competition": sending.competition,
        "file": str(sending.submission),
        "sha256": sending.sha256,
        "message": sending.message,
        "ref": listed.ref,
        "status": listed.status,
        "public_score": listed.public_score,
        "private_score": listed.private_score,
        "submitted": listed.submitted,
    }
    write_json(receipt, written)


def _scores(listed: Listed) -> str:
    return f"public score {listed.public_score or '-'}, private score {listed.private_score or '-'}"
