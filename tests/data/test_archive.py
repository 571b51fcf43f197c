"""Archives that mean harm, and archives that are damaged: a sentence, and nothing written."""

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
from helpers.kaggle_server import SLUG, KaggleServer, competition_archive, zipped
from helpers.kaggle_user import NOTHING, User, dataset_archive, fetch, on_disk
from hypothesis import given
from hypothesis import strategies as st

from tgs_salt.data.layout import detect_layout
from tgs_salt.errors import UserError
from tgs_salt.kaggle.download import check_archive

ASK, GET = "DownloadDataFiles", "bundle"


def with_member(name: str, **changes: Any) -> bytes:
    """A dataset's archive and one more member, with `changes` to what the zip says of it."""
    member = zipfile.ZipInfo(name)
    member.external_attr = changes.get("mode", 0o644) << 16
    stream = io.BytesIO(dataset_archive())
    with zipfile.ZipFile(stream, "a") as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened.writestr(member, changes.get("content", b"harm"), changes.get("method", zipfile.ZIP_STORED))
    content = bytearray(stream.getvalue())
    entry = content.rindex(b"PK\x01\x02")
    for offset, value in changes.get("bytes", {}).items():
        content[entry + offset : entry + offset + len(value)] = value
    return bytes(content)


def nested(name: str, content: bytes) -> bytes:
    """A dataset's archive whose test.zip has one more member."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(dataset_archive())) as old, zipfile.ZipFile(stream, "w") as new:
        for member in old.namelist():
            read = old.read(member)
            if member == "test.zip":
                inner = io.BytesIO(read)
                with zipfile.ZipFile(inner, "a", zipfile.ZIP_DEFLATED) as opened:
                    opened.writestr(name, content)
                read = inner.getvalue()
            new.writestr(member, read)
    return stream.getvalue()


def many() -> bytes:
    """70 tables, each of 60 MiB by its own account."""
    content = bytearray(zipped({f"{i}.csv": b"" for i in range(70)}))
    entries = [found.start() for found in re.finditer(rb"PK\x01\x02", content)]
    for entry in entries:
        content[entry + 24 : entry + 28] = (60 << 20).to_bytes(4, "little")
    return bytes(content)


LINK = stat.S_IFLNK | 0o777
HOSTILE: list[tuple[str, Callable[[], bytes], str]] = [
    ("out of the folder", lambda: with_member("../../evil.csv"), "'../../evil.csv' has a name that may lead out"),
    ("absolute", lambda: with_member("/tmp/evil.csv"), "'/tmp/evil.csv' has a name that may lead out"),
    ("of Windows", lambda: with_member("..\\evil.csv"), "'..\\\\evil.csv' has a name that may lead out"),
    ("with a drive", lambda: with_member("C:evil.csv"), "'C:evil.csv' has a name that may lead out"),
    ("link", lambda: with_member("depths.csv.zip", mode=LINK, content=b"/etc/passwd"), "is a link or a device"),
    ("twice", lambda: with_member("train.csv"), "'train.csv' is there twice"),
    ("twice, in other words", lambda: with_member("./train.csv"), "'./train.csv' is there twice"),
    ("encrypted", lambda: with_member("a.csv", bytes={8: b"\x01"}), "'a.csv' is encrypted"),
    ("bzip2", lambda: with_member("a.csv", method=zipfile.ZIP_BZIP2), "compressed in an unusual way (method 12)"),
    ("bomb", lambda: with_member("a.csv", content=bytes(65 << 20), method=zipfile.ZIP_DEFLATED),
     "'a.csv' would be 68,157,440 bytes, more than the 64 MiB that one may have"),
    ("bomb of one picture", lambda: nested("images/a.png", bytes(17 << 20)),
     "test.zip: member 'images/a.png' would be 17,825,792 bytes, more than the 16 MiB"),
    ("bomb that lies about its size", lambda: with_member(
        "a.csv", content=bytes(8 << 20), method=zipfile.ZIP_DEFLATED, bytes={24: (10).to_bytes(4, "little")}),
     "damaged (Bad CRC-32 for file 'a.csv')"),
    ("bomb of many", many,
     "brings it to more than 4,096 MiB unpacked"),
    ("nested", lambda: nested("../evil.png", b"harm"), "test.zip: member '../evil.png' has a name that may lead out"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "says"), HOSTILE, ids=[name for name, *_ in HOSTILE])
def test_archives_that_mean_harm(
    server: KaggleServer, user: User, archive: Path, tmp_path: Path, name: str, make: Callable[[], bytes], says: str
) -> None:
    archive.parent.mkdir(parents=True)
    archive.write_bytes(make())
    before = set(tmp_path.rglob("*"))
    ended = fetch(user, archive)
    assert ended.code == 1
    assert says in ended.error, ended.error
    assert "replace it by a whole archive, or remove it" in ended.error
    assert set(tmp_path.rglob("*")) - before == {archive.parent / f".{SLUG}.lock"}
    assert server.requests == []


def test_an_archive_from_kaggle_that_means_harm_is_deleted(server: KaggleServer, user: User, archive: Path) -> None:
    server.archive = with_member("../../evil.csv")
    ended = fetch(user, archive)
    assert ended.code == 1
    assert f"wrong both times: {SLUG}.zip: member '../../evil.csv' has a name" in ended.error
    assert on_disk(archive) == NOTHING
    assert server.requests == [ASK, GET] * 2


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_inside_an_inner_archive_is_found(tmp_path: Path, method: int) -> None:
    inner = bytearray(zipped({"images/a.png": bytes(1000)}, zipfile.ZIP_STORED))
    inner[500] ^= 0xFF  # the outer checksum is of these bytes, so only the inner one tells
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"train.zip": bytes(inner)}, method))
    with pytest.raises(UserError, match="damaged"):
        check_archive(path)


@given(
    places=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=5),
    length=st.floats(0.5, 1.0),
)
def test_whatever_is_altered_ends_with_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, places: list[tuple[int, int]], length: float
) -> None:
    content = bytearray(competition_archive(pictures=1))
    content = content[: int(len(content) * length)]
    for place, value in places:
        content[-1 - place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "altered.zip"
    path.write_bytes(content)
    for look in (check_archive, detect_layout):
        with suppress(UserError):
            look(path)


def test_what_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"<!DOCTYPE html><title>Sign in</title>")
    with pytest.raises(UserError, match="a web page"):
        check_archive(path)
    fold_lock = bytearray(zipped({"a": b"b"}))
    fold_lock[6] |= 1  # the encryption flag, in the member's header and in the directory
    fold_lock[fold_lock.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(fold_lock))
    with pytest.raises(UserError, match="encrypted"):
        check_archive(path)
    path.write_bytes(zipped({}))
    with pytest.raises(UserError, match="empty"):
        check_archive(path)
    path.write_bytes(competition_archive())
    check_archive(path)
