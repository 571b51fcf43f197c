"""The competition's archive: fetched once with Kaggle's client, proven whole, and never fetched again.

The client calls a truncated or corrupt file a success and skips it for ever after, so it works in a private folder
and its word counts for nothing. What lies at the archive's own name has been read through to the last byte.
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
from tgs_salt.kaggle.download_session import Fetching
from tgs_salt.log import log_and_echo, logger

Check = Callable[[Path], object]


def download(
    competition: str,
    archive: Path | str,
    *,
    timeout: float = 3600,
    stall: float = 180,
    pauses: Sequence[float] = client.PAUSES,
    verify: Check | None = None,
) -> None:
    """Ensure `archive` and, beside it, its manifest (same name, `.json`).

    An archive that agrees with its manifest costs no request. One without (a browser download dropped there, or into
    the folder above) is checked and given a manifest. `verify` is asked about an archive that is whole, and raises
    UserError if its contents are not those wanted. A client that receives nothing for `stall` seconds is ended and
    tried again after `pauses`; it goes on where it stopped, also in the next run.

    Raises UserError if Kaggle refuses, if the archive is not whole (twice, when downloaded),
    or after `timeout` seconds.
    """
    client.check_slug(competition)
    archive = Path(archive)
    archive.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + timeout
    with _alone(archive, timeout):
        if archive.is_file() and _agrees(archive):
            logger.info(f"{archive} is there and whole; nothing to download.")
            return
        dropped = next((path for path in (archive, archive.parent.parent / archive.name) if path.is_file()), None)
        if dropped is not None:
            log_and_echo(f"{dropped} is there; checking it")
            _check_found(dropped, verify)
            os.replace(dropped, archive)
            _write_manifest(archive, competition, "found here")
        else:
            client.log_credentials()
            try:
                _fetch(competition, archive, Fetching(archive, until, stall), pauses, verify)
            except client.AccessDenied as refusal:
                raise UserError(
                    f"{str(refusal).rstrip('.')}; or download all in a browser and save it as {archive}."
                ) from None
            _write_manifest(archive, competition, "kaggle")


def check_archive(archive: Path) -> None:
    """Read every byte of `archive` and of the archives in it that a dataset is read from against its checksums.

    Raises UserError if it is no zip file, is empty, is cut short or altered, or has members that are not to be trusted.
    """
    if not zipfile.is_zipfile(archive):
        with open(archive, "rb") as stream:
            head = stream.read(60).lstrip().lower()
        page = " but a web page (does this network ask for a login?)" if head.startswith((b"<!doc", b"<html")) else ""
        raise UserError(f"{archive}: no zip file{page}, or cut short.")
    check_zip(archive, str(archive), _inner_archives)


def _inner_archives(names: list[str]) -> list[str]:
    """The members that are zips and of use: a damaged copy of what is there twice, or flamingo.zip, harms nobody."""
    bases = {PurePosixPath(name).name for name in names}
    used = {"train.zip", "test.zip"}
    if not bases >= used:
        used.add("competition_data.zip")
    return [name for name in names if PurePosixPath(name).name in used or name.endswith(".csv.zip")]


def _fetch(competition: str, archive: Path, fetching: Fetching, pauses: Sequence[float], verify: Check | None) -> None:
    log_and_echo(f"Downloading {competition} from Kaggle to {archive}")
    try:
        for last in (False, True):
            client.retry(lambda: fetching.run_client(competition), pauses)
            try:
                received = fetching.only_zip(competition)
                _check(received, verify)
            except UserError as problem:
                # With its marker: over bytes that are wrong the client must not resume.
                fetching.clear()
                said = str(problem).replace(str(fetching.folder) + os.sep, "")
                if last:
                    raise UserError(f"Downloaded twice and wrong both times: {said}") from None
                logger.warning(f"{said} Downloading it once more.")
            else:
                with atomic_write(archive) as tmp_path:
                    os.replace(received, tmp_path)
                return
    finally:
        fetching.clear_unless_resumable()


def _check(archive: Path, verify: Check | None) -> None:
    check_archive(archive)
    if verify is not None:
        verify(archive)


def _check_found(archive: Path, verify: Check | None) -> None:
    """Check what we did not fetch. It may be somebody's only copy, so it stays where it is when it is bad."""
    try:
        _check(archive, verify)
    except UserError as problem:
        raise UserError(
            f"{str(problem).rstrip('.')}: replace it by a whole archive, or remove it to download it again."
        ) from None


@contextmanager
def _alone(archive: Path, timeout: float) -> Iterator[None]:
    """The client has no lock; two of them in one folder spoil each other's file."""
    lock = FileLock(archive.parent / f".{archive.stem}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log_and_echo(f"Another process is at work on {archive}; waiting for it")
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            raise UserError(f"{archive}: another process is still at work on it after {timeout:g} s.") from None
    try:
        yield
    finally:
        lock.release()


def _manifest(archive: Path) -> Path:
    return archive.with_suffix(".json")


def _agrees(archive: Path) -> bool:
    with suppress(UserError, AttributeError):
        said = read_json(_manifest(archive))
        return bool(said.get("size") == archive.stat().st_size and said.get("sha256") == _sha256(archive))
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
    write_json(_manifest(archive), manifest)
    log_and_echo(f"{archive}: whole, {size / 1e6:,.1f} MB, sha256 {sha256[:12]}")


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
