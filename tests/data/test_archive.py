"""Malicious and damaged archives are rejected with a clear error, and nothing is written."""

from __future__ import annotations

import io
import re
import stat
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from helpers.kaggle_server import SLUG, KaggleServer, competition_archive, zip_bytes
from helpers.kaggle_user import NO_FILES, User, dataset_archive, download_archive, files_in_folder
from hypothesis import given
from hypothesis import strategies as st

from tgs_salt.data.layout import detect_layout
from tgs_salt.errors import UserError
from tgs_salt.kaggle.download import check_archive

LIST_REQUEST, DOWNLOAD_REQUEST = "DownloadDataFiles", "bundle"


def with_member(name: str, **changes: Any) -> bytes:
    """Return a dataset's archive with one more member; `changes` set its attributes and directory entry."""
    member = zipfile.ZipInfo(name)
    member.external_attr = changes.get("mode", 0o644) << 16
    stream = io.BytesIO(dataset_archive())
    with zipfile.ZipFile(stream, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(member, changes.get("content", b"harm"), changes.get("method", zipfile.ZIP_STORED))
    content = bytearray(stream.getvalue())
    entry = content.rindex(b"PK\x01\x02")
    for offset, value in changes.get("bytes", {}).items():
        content[entry + offset : entry + offset + len(value)] = value
    return bytes(content)


def with_nested_member(name: str, content: bytes) -> bytes:
    """Return a dataset's archive whose test.zip has one more member."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(dataset_archive())) as old, zipfile.ZipFile(stream, "w") as new:
        for member in old.namelist():
            data = old.read(member)
            if member == "test.zip":
                inner = io.BytesIO(data)
                with zipfile.ZipFile(inner, "a", zipfile.ZIP_DEFLATED) as archive:
                    archive.writestr(name, content)
                data = inner.getvalue()
            new.writestr(member, data)
    return stream.getvalue()


def many_large_members() -> bytes:
    """Return a zip of 70 tables, each with a declared size of 60 MiB."""
    content = bytearray(zip_bytes({f"{i}.csv": b"" for i in range(70)}))
    entries = [match.start() for match in re.finditer(rb"PK\x01\x02", content)]
    for entry in entries:
        content[entry + 24 : entry + 28] = (60 << 20).to_bytes(4, "little")
    return bytes(content)


LINK = stat.S_IFLNK | 0o777
MALICIOUS: list[tuple[str, Callable[[], bytes], str]] = [
    ("parent folder", lambda: with_member("../../evil.csv"), "'../../evil.csv' has an unsafe path"),
    ("absolute path", lambda: with_member("/tmp/evil.csv"), "'/tmp/evil.csv' has an unsafe path"),
    ("Windows path", lambda: with_member("..\\evil.csv"), "'..\\\\evil.csv' has an unsafe path"),
    ("Windows drive", lambda: with_member("C:evil.csv"), "'C:evil.csv' has an unsafe path"),
    ("link", lambda: with_member("depths.csv.zip", mode=LINK, content=b"/etc/passwd"), "is a link or a device"),
    ("duplicate", lambda: with_member("train.csv"), "'train.csv' appears twice"),
    ("duplicate with another spelling", lambda: with_member("./train.csv"), "'./train.csv' appears twice"),
    ("encrypted", lambda: with_member("a.csv", bytes={8: b"\x01"}), "'a.csv' is encrypted"),
    ("bzip2", lambda: with_member("a.csv", method=zipfile.ZIP_BZIP2), "uses unsupported compression (method 12)"),
    ("zip bomb", lambda: with_member("a.csv", content=bytes(65 << 20), method=zipfile.ZIP_DEFLATED),
     "'a.csv' unpacks to 68,157,440 bytes, above the limit of 64 MiB"),
    ("zip bomb in a nested zip", lambda: with_nested_member("images/a.png", bytes(17 << 20)),
     "test.zip: member 'images/a.png' unpacks to 17,825,792 bytes, above the limit of 16 MiB"),
    ("zip bomb with a false size", lambda: with_member(
        "a.csv", content=bytes(8 << 20), method=zipfile.ZIP_DEFLATED, bytes={24: (10).to_bytes(4, "little")}),
     "damaged (Bad CRC-32 for file 'a.csv')"),
    ("many large members", many_large_members,
     "brings the unpacked size above the limit of 4,096 MiB"),
    ("unsafe path in a nested zip", lambda: with_nested_member("../evil.png", b"harm"),
     "test.zip: member '../evil.png' has an unsafe path"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "message"), MALICIOUS, ids=[name for name, *_ in MALICIOUS])
def test_malicious_archives_are_rejected(
    server: KaggleServer, user: User, archive: Path, tmp_path: Path, name: str, make: Callable[[], bytes], message: str
) -> None:
    archive.parent.mkdir(parents=True)
    archive.write_bytes(make())
    before = set(tmp_path.rglob("*"))
    result = download_archive(user, archive)
    assert result.code == 1
    assert message in result.error, result.error
    assert "replace it with a complete archive or remove it" in result.error
    assert set(tmp_path.rglob("*")) - before == {archive.parent / f".{SLUG}.lock"}
    assert server.requests == []


def test_a_malicious_download_is_deleted(server: KaggleServer, user: User, archive: Path) -> None:
    server.archive = with_member("../../evil.csv")
    result = download_archive(user, archive)
    assert result.code == 1
    assert f"verification failed both times: {SLUG}.zip: member '../../evil.csv' has an unsafe path" in result.error
    assert files_in_folder(archive) == NO_FILES
    assert server.requests == [LIST_REQUEST, DOWNLOAD_REQUEST] * 2


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_in_a_nested_archive_is_detected(tmp_path: Path, method: int) -> None:
    inner = bytearray(zip_bytes({"images/a.png": bytes(1000)}, zipfile.ZIP_STORED))
    inner[500] ^= 0xFF  # only the checksum in the nested zip detects this
    path = tmp_path / "a.zip"
    path.write_bytes(zip_bytes({"train.zip": bytes(inner)}, method))
    with pytest.raises(UserError, match="damaged"):
        check_archive(path)


@given(
    changes=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=5),
    length=st.floats(0.5, 1.0),
)
def test_altered_archives_raise_user_errors_only(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], length: float
) -> None:
    content = bytearray(competition_archive(images=1))
    content = content[: int(len(content) * length)]
    for position, value in changes:
        content[-1 - position % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "altered.zip"
    path.write_bytes(content)
    for function in (check_archive, detect_layout):
        with suppress(UserError):
            function(path)


def test_files_that_are_not_valid_archives(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"<!DOCTYPE html><title>Sign in</title>")
    with pytest.raises(UserError, match="a web page"):
        check_archive(path)
    encrypted = bytearray(zip_bytes({"a": b"b"}))
    encrypted[6] |= 1  # the encryption flag, in the member's header and in the directory entry
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(encrypted))
    with pytest.raises(UserError, match="encrypted"):
        check_archive(path)
    path.write_bytes(zip_bytes({}))
    with pytest.raises(UserError, match="empty"):
        check_archive(path)
    path.write_bytes(competition_archive())
    check_archive(path)
