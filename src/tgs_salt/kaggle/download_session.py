"""One download by Kaggle's client into a temporary folder: progress, timeouts and cleanup."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import suppress
from pathlib import Path

from tgs_salt.errors import UserError
from tgs_salt.kaggle import client
from tgs_salt.log import LOG_INTERVAL_SECONDS, log_and_echo, logger


class DownloadSession:
    """Run the client in a hidden folder next to the archive, until a deadline.

    Args:
        archive: Final path of the zip.
        deadline: Value of `time.monotonic()` at which the download is given up.
        stall_timeout: Seconds without new bytes after which an attempt is given up.
    """

    def __init__(self, archive: Path, deadline: float, stall_timeout: float) -> None:
        self.folder = archive.parent / f".{archive.stem}.download"
        self.deadline, self.stall_timeout = deadline, stall_timeout
        self.received, self.last_change_at, self.last_log_at = 0, 0.0, 0.0

    def run_client(self, competition: str) -> None:
        """Run the client once; it resumes a partial download.

        Raises:
            TransientError: A retry may help.
            UserError: A retry does not help, or the time is up.
        """
        self.folder.mkdir(exist_ok=True)
        self.received, self.last_change_at, self.last_log_at = -1, time.monotonic(), time.monotonic()
        arguments = ("competitions", "download", competition, "-p", str(self.folder))
        try:
            timeout = max(self.deadline - time.monotonic(), 0.0)
            client.call(*arguments, competition=competition, timeout=timeout, watch=self._check_progress)
        except client.TransientError as problem:
            if isinstance(problem, client.CorruptDownload):
                self.clear()
            if time.monotonic() >= self.deadline:
                kept = f" ({self.received / 1e6:,.0f} MB are saved)" if self.received > 0 else ""
                raise UserError(f"The download did not finish in time{kept}; run the same command to resume.") from None
            raise
        logger.info(f"download: {self._received_bytes() / 1e6:,.1f} MB received; verifying")

    def received_zip(self, competition: str) -> Path:
        """Return the path of the zip that the client left.

        Raises:
            UserError: There are other files, or none.
        """
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        if [path.name for path in paths] != [f"{competition}.zip"]:
            names = ", ".join(str(path.relative_to(self.folder)) for path in paths[:5]) or "nothing"
            raise UserError(
                f"{competition}.zip expected from Kaggle, received {names}; does this network require a login?"
            )
        return paths[0]

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def clear_unless_resumable(self) -> None:
        """Remove the folder, unless the client can resume from it."""
        if not any(self.folder.glob("*.kaggle-partial")):
            self.clear()

    def _received_bytes(self) -> int:
        total = 0
        for path in self.folder.rglob("*"):
            with suppress(OSError):  # the client removes its marker when it finishes
                total += path.stat().st_size if path.suffix == ".zip" else 0
        return total

    def _expected_bytes(self) -> int | None:
        """Return the archive's size, from the marker that the client writes to resume a download."""
        for marker in self.folder.glob("*.kaggle-partial"):
            with suppress(OSError, ValueError, AttributeError, TypeError):
                return int(json.loads(marker.read_text()).get("size"))
        return None

    def _check_progress(self) -> None:
        """Log the progress; raise a TransientError if the download stalls."""
        now, received = time.monotonic(), self._received_bytes()
        if received != self.received:
            self.received, self.last_change_at = received, now
        elif now - self.last_change_at > self.stall_timeout:
            raise client.TransientError(f"No data received for {self.stall_timeout:g} s.")
        if now - self.last_log_at >= LOG_INTERVAL_SECONDS:
            self.last_log_at = now
            total = self._expected_bytes()
            of_total = f" of {total / 1e6:,.1f} MB, {received / total:.0%}" if total else " MB so far"
            log_and_echo(f"download: {received / 1e6:,.1f}{of_total}")
