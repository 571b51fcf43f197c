"""Download the competition's archive once with Kaggle's client, and verify it.

The client treats a truncated or corrupt file as complete and never downloads it again. So it runs in a separate folder,
and a file is moved to the archive's path only after every byte was checked.
"""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from tgs_salt.data.archive import check_zip, open_zip
from tgs_salt.errors import UserError
from tgs_salt.files import atomic_write, read_json, write_json
from tgs_salt.kaggle import client
from tgs_salt.kaggle.download_session import DownloadSession
from tgs_salt.log import log_and_echo, logger

Verify = Callable[[Path], object]


def download(
    competition: str,
    archive: Path | str,
    *,
    timeout: float = 3600,
    stall_timeout: float = 180,
    retry_delays: Sequence[float] = client.RETRY_DELAYS,
    verify: Verify | None = None,
) -> None:
    """Ensure that `archive` and its manifest (same name, `.json`) exist and match.

    An archive that matches its manifest needs no request. An archive without one (a browser download, saved at this
    path or in the parent folder) is checked and gets a manifest.

    Args:
        competition: Slug of the competition.
        archive: Path of the zip.
        timeout: Seconds for the whole download.
        stall_timeout: Seconds without new bytes after which the client is killed and retried. It resumes the download,
            also in the next run.
        retry_delays: Seconds between attempts after a transient error.
        verify: Called with an intact archive; raises UserError if it does not contain the expected files.

    Raises:
        UserError: Kaggle denies access, the archive is invalid (if downloaded: twice), or the time is up.
    """
    client.check_slug(competition)
    archive = Path(archive)
    archive.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout
    with _exclusive(archive, timeout):
        if archive.is_file() and _matches_manifest(archive):
            logger.info(f"{archive} exists and is complete; nothing to download.")
            return
        existing = next((path for path in (archive, archive.parent.parent / archive.name) if path.is_file()), None)
        if existing is not None:
            log_and_echo(f"Found {existing}; checking it")
            _check_existing(existing, verify)
            os.replace(existing, archive)
            _write_manifest(archive, competition, "found here")
        else:
            client.log_credentials()
            try:
                session = DownloadSession(archive, deadline, stall_timeout)
                _download_verified(competition, archive, session, retry_delays, verify)
            except client.AccessDenied as denied:
                raise UserError(
                    f"{str(denied).rstrip('.')}; or download all files in a browser and save the zip as {archive}."
                ) from None
            _write_manifest(archive, competition, "kaggle")


def check_archive(archive: Path) -> None:
    """Check every byte of `archive`, and of the inner archives that the dataset is read from, against the checksums.

    Raises:
        UserError: It is not a zip file, is empty, truncated or altered, or has unsafe members.
    """
    if not zipfile.is_zipfile(archive):
        with open(archive, "rb") as stream:
            head = stream.read(60).lstrip().lower()
        is_page = head.startswith((b"<!doc", b"<html"))
        page = " but a web page (does this network require a login?)" if is_page else ""
        raise UserError(f"{archive}: not a complete zip file{page}.")
    check_zip(archive, str(archive), _inner_archives)


def _inner_archives(names: list[str]) -> list[str]:
    """Return the members that are zips and needed.

    The others may be damaged without harm: redundant copies of the data, and flamingo.zip.
    """
    basenames = {PurePosixPath(name).name for name in names}
    needed = {"train.zip", "test.zip"}
    if not basenames >= needed:
        needed.add("competition_data.zip")
    return [name for name in names if PurePosixPath(name).name in needed or name.endswith(".csv.zip")]


def _download_verified(
    competition: str, archive: Path, session: DownloadSession, retry_delays: Sequence[float], verify: Verify | None
) -> None:
    """Download and check the archive, at most twice, and move it into place."""
    log_and_echo(f"Downloading {competition} from Kaggle to {archive}")
    try:
        for last_attempt in (False, True):
            client.retry(lambda: session.run_client(competition), retry_delays)
            try:
                received = session.received_zip(competition)
                _check(received, verify)
            except UserError as problem:
                # Also removes the client's resume marker: it must not append to invalid bytes.
                session.clear()
                message = str(problem).replace(str(session.folder) + os.sep, "")
                if last_attempt:
                    raise UserError(f"Downloaded twice, and verification failed both times: {message}") from None
                logger.warning(f"{message} Downloading it again.")
            else:
                with atomic_write(archive) as tmp_path:
                    os.replace(received, tmp_path)
                return
    finally:
        session.clear_unless_resumable()


def _check(archive: Path, verify: Verify | None) -> None:
    check_archive(archive)
    if verify is not None:
        verify(archive)


def _check_existing(archive: Path, verify: Verify | None) -> None:
    """Check an archive that the user provided; it may be the only copy, so an invalid one is not removed."""
    try:
        _check(archive, verify)
    except UserError as problem:
        raise UserError(
            f"{str(problem).rstrip('.')}: replace it with a complete archive or remove it to download it again."
        ) from None


@contextmanager
def _exclusive(archive: Path, timeout: float) -> Iterator[None]:
    """Hold the lock on `archive`: the client has no lock, and two of them in one folder corrupt each other's file."""
    lock = FileLock(archive.parent / f".{archive.stem}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log_and_echo(f"Another process is downloading {archive}; waiting for it")
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            raise UserError(f"{archive}: another process is still downloading it after {timeout:g} s.") from None
    try:
        yield
    finally:
        lock.release()


def _manifest_path(archive: Path) -> Path:
    return archive.with_suffix(".json")


def _matches_manifest(archive: Path) -> bool:
    with suppress(UserError, AttributeError):
        manifest = read_json(_manifest_path(archive))
        return bool(manifest.get("size") == archive.stat().st_size and manifest.get("sha256") == _sha256(archive))
    return False


def _write_manifest(archive: Path, competition: str, origin: str) -> None:
    size, sha256 = archive.stat().st_size, _sha256(archive)
    with open_zip(archive, str(archive)) as opened:
        members = {member.filename: member.file_size for member in opened.infolist() if not member.is_dir()}
    manifest = {
        "competition": competition,
        "archive": archive.name,
        "size": size,
        "sha256": sha256,
        "origin": origin,
        "client": client.version() if origin == "kaggle" else None,
        "checked": datetime.now(UTC).isoformat(timespec="seconds"),
        "members": members,
    }
    write_json(_manifest_path(archive), manifest)
    log_and_echo(f"{archive}: complete, {size / 1e6:,.1f} MB, sha256 {sha256[:12]}")


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
