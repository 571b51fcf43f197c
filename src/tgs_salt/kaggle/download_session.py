"""One download by the client into a folder of its own: how far it is, when it is given up, what it leaves."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import suppress
from pathlib import Path

from tgs_salt.errors import UserError
from tgs_salt.kaggle import client
from tgs_salt.log import SECONDS_BETWEEN_LINES, log_and_echo, logger


class Fetching:
    """One download: where the client writes, how long it may, and what is said meanwhile."""

    def __init__(self, archive: Path, until: float, stall: float) -> None:
        self.folder = archive.parent / f".{archive.stem}.download"
        self.until, self.stall = until, stall
        self.arrived, self.moved, self.said = 0, 0.0, 0.0

    def run_client(self, competition: str) -> None:
        """Raises Passing if another attempt may help, UserError if not or if the time is up."""
        self.folder.mkdir(exist_ok=True)
        self.arrived, self.moved, self.said = -1, time.monotonic(), time.monotonic()
        arguments = ("competitions", "download", competition, "-p", str(self.folder))
        try:
            left = max(self.until - time.monotonic(), 0.0)
            client.call(*arguments, competition=competition, timeout=left, watch=self._watch)
        except client.TransientError as problem:
            if isinstance(problem, client.CorruptDownload):
                self.clear()
            if time.monotonic() >= self.until:
                kept = f" ({self.arrived / 1e6:,.0f} MB kept for the next run)" if self.arrived > 0 else ""
                raise UserError(f"The download did not end in the time given{kept}: run it again.") from None
            raise
        logger.info(f"download: {self._size() / 1e6:,.1f} MB received; checking every byte")

    def only_zip(self, competition: str) -> Path:
        """The file the client left, if it is the one it should be. Raises UserError otherwise."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        if [path.name for path in found] != [f"{competition}.zip"]:
            names = ", ".join(str(path.relative_to(self.folder)) for path in found[:5]) or "nothing"
            raise UserError(
                f"{competition}.zip expected from Kaggle, received {names}; does this network ask for a login?"
            )
        return found[0]

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def clear_unless_resumable(self) -> None:
        if not any(self.folder.glob("*.kaggle-partial")):
            self.clear()

    def _size(self) -> int:
        total = 0
        for path in self.folder.rglob("*"):
            with suppress(OSError):  # the client removes its marker when it is done
                total += path.stat().st_size if path.suffix == ".zip" else 0
        return total

    def _announced(self) -> int | None:
        """The archive's size as Kaggle gave it, which the client notes for a resumption."""
        for marker in self.folder.glob("*.kaggle-partial"):
            with suppress(OSError, ValueError, AttributeError, TypeError):
                return int(json.loads(marker.read_text()).get("size"))
        return None

    def _watch(self) -> None:
        now, size = time.monotonic(), self._size()
        if size != self.arrived:
            self.arrived, self.moved = size, now
        elif now - self.moved > self.stall:
            raise client.TransientError(f"Nothing arrived for {self.stall:g} s.")
        if now - self.said >= SECONDS_BETWEEN_LINES:
            self.said = now
            total = self._announced()
            of = f" of {total / 1e6:,.1f} MB, {size / total:.0%}" if total else " MB so far"
            log_and_echo(f"download: {size / 1e6:,.1f}{of}")
