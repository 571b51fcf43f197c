"""Download, with the real client against Kaggle on loopback: what a user is told, and what lies on the disk then."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kaggle_server import (
    FOREVER,
    KEY,
    NO_PERMISSION,
    RULES,
    SLUG,
    TOKEN,
    KaggleServer,
    competition_archive,
    zipped,
)  # fmt: skip
from kaggle_user import Ended, User
from surveys import as_outer_zip, make_survey

from tgs_salt.errors import UserError
from tgs_salt.survey import credentials, kaggle
from tgs_salt.survey.download import check_archive, download
from tgs_salt.survey.layout import recognise

QUICK = (0.01, 0.01)
TILES = {"train_tiles": 24, "test_tiles": 10}
ASK, GET = "DownloadDataFiles", "bundle"  # the two requests of a download: where it is, and its bytes


@cache
def survey_archive() -> bytes:
    """A small survey as Kaggle hands it out; flamingo.zip makes it large enough for the client to resume."""
    with tempfile.TemporaryDirectory() as folder:
        survey = make_survey(Path(folder) / "survey", tile_size=32)
        (survey / "flamingo.zip").write_bytes(os.urandom(3 << 20))
        return as_outer_zip(survey, Path(folder) / "outer.zip").read_bytes()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KaggleServer]:
    with KaggleServer() as server:
        server.stand_in(monkeypatch, tmp_path / "home")
        server.archive = survey_archive()
        yield server


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> User:
    return User(monkeypatch, capsys)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "data" / SLUG / f"{SLUG}.zip"


def on_disk(archive: Path) -> set[str]:
    """What lies in the archive's folder, but for the lock."""
    return {path.name for path in archive.parent.iterdir()} - {f".{SLUG}.lock"}


NOTHING: set[str] = set()
WHOLE = {f"{SLUG}.zip", f"{SLUG}.json"}


def fetch(user: User, archive: Path, *options: object, **tiles: int) -> Ended:
    """`tgs-salt download`, as the rule calls it."""
    settings = json.dumps({"survey": {**TILES, **tiles}})
    return user.types("download", "--competition", SLUG, "--archive", archive, "--settings", settings, *options)


# --- what Kaggle and the network do


@dataclass(frozen=True)
class Case:
    """What goes wrong, by the kind of request; the exit code, a part of what is said, the requests, the pauses."""

    name: str
    faults: dict[str, list[Any]]
    code: int
    says: str
    requests: list[str]
    waited: list[float] = field(default_factory=list)
    options: tuple[object, ...] = ()
    slow: bool = False  # the client's own back-off, or many attempts


def half(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def altered(whole: bytes) -> bytes:
    """A byte changed, the size unchanged."""
    place = len(whole) // 3
    return whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]


LIMIT, BUSY, LOGIN = (429, "TooManyRequests"), (503, "Service Unavailable"), "does this network ask for a login?"
CASES = [
    # it passes
    Case("all is well", {}, 0, "whole, 3.", [ASK, GET]),
    Case("rate limit", {ASK: [LIMIT]}, 0, "(rate limit). Trying again in 5 s.", [ASK, ASK, GET], [5]),
    Case("rate limit with Retry-After", {ASK: [(*LIMIT, {"Retry-After": "2"})]}, 0, "(rate limit)",
         [ASK, ASK, GET], [5]),
    Case("server error", {ASK: [(500, "Internal Server Error")]}, 0, "server failed", [ASK, ASK, GET], [5]),
    Case("storage busy", {GET: [BUSY]}, 0, "server failed (503 Server Error", [ASK, GET] * 2, [5]),
    Case("link expired", {GET: [(403, "Expired")]}, 0, "link was refused or has run out", [ASK, GET] * 2, [5]),
    Case("connection reset", {ASK: ["reset"]}, 0, "connection to Kaggle failed", [ASK, ASK, GET], [5]),
    Case("cut in the body, the client resumes", {GET: ["cut"]}, 0, "whole, 3.", [ASK, GET, GET]),
    Case("web page for the link, then well", {ASK: ["page"]}, 0, LOGIN, [ASK, ASK, GET]),
    Case("truncated with an honest length, then well", {GET: [half]}, 0, "Downloading it once more", [ASK, GET] * 2),
    Case("right size, wrong bytes, then well", {GET: [altered]}, 0, "damaged (Bad CRC-32", [ASK, GET] * 2),
    Case("no length", {GET: ["no length"]}, 0, "whole, 3.", [ASK, GET]),
    Case("no length, ends early, then well", {GET: ["no length, cut"]}, 0, "cut short", [ASK, GET] * 2),
    Case("cut, then the link expires: an error page in the middle", {GET: ["cut", (403, "Expired"), (403, "Expired")]},
         0, "whole, 3.", [ASK, GET, GET, GET, ASK, GET], [5], slow=True),
    Case("cut again and again, until the client gives up", {GET: ["cut", *["reset"] * 5]}, 0,
         "connection to Kaggle failed", [ASK, *[GET] * 6, ASK, GET], [5], slow=True),
    # it stays
    Case("rate limit for ever", {ASK: [LIMIT, FOREVER]}, 1, "Kaggle asks to slow down", [ASK] * 5, [5, 20, 60, 180],
         slow=True),
    Case("storage busy for ever", {GET: [BUSY, FOREVER]}, 1, "server failed", [ASK, GET] * 5, [5, 20, 60, 180],
         slow=True),
    Case("web page for the link", {ASK: ["page", FOREVER]}, 1, LOGIN, [ASK, ASK]),
    Case("web page for the archive", {GET: [lambda _: b"<html>Sign in</html>", FOREVER]}, 1,
         "twice and wrong both times", [ASK, GET] * 2, slow=True),
    Case("truncated with an honest length", {GET: [half, FOREVER]}, 1, "twice and wrong both times: "
         f"{SLUG}.zip: no zip file, or cut short", [ASK, GET] * 2),
    Case("right size, wrong bytes", {GET: [altered, FOREVER]}, 1, "wrong both times: "
         f"{SLUG}.zip: damaged (Bad CRC-32", [ASK, GET] * 2, slow=True),
    Case("another number of tiles", {GET: [lambda _: competition_archive(), FOREVER]}, 1,
         "20 test images in train.zip and test.zip; expected 24 train images, 24 train masks and 10 test images",
         [ASK, GET] * 2),
    Case("never answers", {ASK: ["hang", FOREVER]}, 1, "did not end in the time given: run it again", [ASK],
         options=("--timeout", 4)),
    Case("never answers, time left", {ASK: ["hang"]}, 0, "Nothing arrived for 4 s. Trying again in 5 s.",
         [ASK, ASK, GET], [5], options=("--stall", 4)),
    # Kaggle says no
    Case("rules", {ASK: [(403, RULES)]}, 1, f"accept them at https://www.kaggle.com/competitions/{SLUG}/rules", [ASK]),
    Case("wrong slug", {ASK: [(403, NO_PERMISSION)]}, 1, f"knows no competition '{SLUG}' that this account", [ASK]),
    Case("unknown slug", {ASK: [(404, "Not found")]}, 1, f"knows no competition '{SLUG}' that this account", [ASK]),
    Case("signed out", {ASK: [(401, "Unauthenticated")]}, 1, "does not accept the credentials in KAGGLE_USERNAME",
         [ASK], slow=True),
]  # fmt: skip


def rows(cases: list[Any]) -> list[Any]:
    return [pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.slow else []) for case in cases]


@pytest.mark.parametrize("case", rows(CASES))
def test_what_kaggle_and_the_network_do(server: KaggleServer, user: User, archive: Path, case: Case) -> None:
    server.faults.update({kind: list(faults) for kind, faults in case.faults.items()})
    ended = fetch(user, archive, *case.options)
    assert ended.code == case.code, ended.said
    assert case.says in (ended.error if case.code else ended.said)
    assert server.requests == case.requests
    assert ended.waited == case.waited
    if case.code == 0:
        assert on_disk(archive) == WHOLE
        assert archive.read_bytes() == server.archive
        assert fetch(user, archive).code == 0
        assert len(server.requests) == len(case.requests), "fetched once"
    else:
        assert on_disk(archive) == NOTHING
    assert psutil.Process().children(recursive=True) == []


# --- who may


def nobody(home: Path) -> dict[str, str]:
    return {}


def wrong_key(home: Path) -> dict[str, str]:
    return {"KAGGLE_USERNAME": "alice", "KAGGLE_KEY": "not-the-key"}


def name_alone(home: Path) -> dict[str, str]:
    return {"KAGGLE_USERNAME": "alice"}


def key_alone(home: Path) -> dict[str, str]:
    return {"KAGGLE_KEY": KEY}


def key_file(home: Path, key: str = KEY, folder: str = ".kaggle") -> dict[str, str]:
    write(home / folder / "kaggle.json", json.dumps({"username": "alice", "key": key}))
    return {}


def wrong_key_file(home: Path) -> dict[str, str]:
    return key_file(home, "not-the-key")


def broken_key_file(home: Path) -> dict[str, str]:
    write(home / ".kaggle" / "kaggle.json", f"{{'username': 'alice', 'key': '{KEY}'}}")
    return {}


def key_file_in_config(home: Path) -> dict[str, str]:
    return key_file(home, folder=".config/kaggle")


def key_file_elsewhere(home: Path) -> dict[str, str]:
    key_file(home, folder="keys")
    return {"KAGGLE_CONFIG_DIR": str(home / "keys")}


def name_of_another(home: Path) -> dict[str, str]:
    key_file(home)
    return {"KAGGLE_USERNAME": "bob"}


def token(home: Path) -> dict[str, str]:
    return {"KAGGLE_API_TOKEN": TOKEN}


def token_in_a_named_file(home: Path) -> dict[str, str]:
    write(home / "secret.txt", TOKEN)
    return {"KAGGLE_API_TOKEN": str(home / "secret.txt")}


def token_file(home: Path, token: str = TOKEN) -> dict[str, str]:
    write(home / ".kaggle" / "access_token", f"{token}\n")
    return {}


def wrong_token(home: Path) -> dict[str, str]:
    return {"KAGGLE_API_TOKEN": "not-the-key"}


def wrong_token_before_a_good_key(home: Path) -> dict[str, str]:
    key_file(home)
    return token_file(home, "not-the-key")


def signed_in(home: Path) -> dict[str, str]:
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    content = {"refresh_token": "not-the-key", "access_token": TOKEN, "access_token_expiration": until}
    write(home / ".kaggle" / "credentials.json", json.dumps({**content, "username": "alice", "scopes": []}))
    return {}


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o600)


MISSING, WRONG = "No Kaggle credentials found in ", "Kaggle does not accept the credentials in "
WHO: list[tuple[Callable[[Path], dict[str, str]], int, str]] = [
    (nobody, 1, f"{MISSING}KAGGLE_API_TOKEN, ~/.kaggle/access_token, KAGGLE_USERNAME with KAGGLE_KEY, kaggle.json"),
    (name_alone, 1, "~/.kaggle/credentials.json (KAGGLE_USERNAME is set without KAGGLE_KEY): create a token"),
    (key_alone, 1, "~/.kaggle/credentials.json (KAGGLE_KEY is set without KAGGLE_USERNAME): create a token"),
    (broken_key_file, 1, "/.kaggle/kaggle.json is not JSON): create a token"),
    (wrong_key, 1, f"{WRONG}KAGGLE_USERNAME with KAGGLE_KEY: create a token"),
    (wrong_key_file, 1, "/.kaggle/kaggle.json: create a token"),
    (name_of_another, 1, f"{WRONG}KAGGLE_USERNAME with the key of "),
    (wrong_token, 1, f"{WRONG}KAGGLE_API_TOKEN: create a token"),
    (wrong_token_before_a_good_key, 1, "/.kaggle/kaggle.json (the first one is used): create a token"),
    (key_file, 0, "/.kaggle/kaggle.json"),
    (key_file_in_config, 0, "/.config/kaggle/kaggle.json"),
    (key_file_elsewhere, 0, "/keys/kaggle.json"),
    (token, 0, "KAGGLE_API_TOKEN"),
    (token_in_a_named_file, 0, "KAGGLE_API_TOKEN"),
    (token_file, 0, "~/.kaggle/access_token"),
    (signed_in, 0, "~/.kaggle/credentials.json"),
]


LIKE_ANOTHER = (key_alone, wrong_key_file, name_of_another, wrong_token, key_file_in_config, token_in_a_named_file)


@pytest.mark.parametrize(
    ("place", "code", "says"),
    [pytest.param(*row, id=row[0].__name__, marks=[pytest.mark.slow] if row[0] in LIKE_ANOTHER else []) for row in WHO],
)
def test_who_may(
    server: KaggleServer, user: User, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    place: Callable[[Path], dict[str, str]], code: int, says: str,
) -> None:  # fmt: skip
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    for name, value in place(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    ended = fetch(user, archive)
    assert ended.code == code, ended.said
    if code == 0:
        (used,) = [line for line in ended.said.splitlines() if "Kaggle credentials from" in line]
        assert used.endswith(says)
        assert on_disk(archive) == WHOLE
    else:
        assert says in ended.error
        assert f"download all in a browser and save it as {archive}" in ended.error
        assert on_disk(archive) == NOTHING


@pytest.mark.parametrize(
    ("answers", "code", "says", "waited"),
    [
        ([(401, "Unauthenticated"), FOREVER], 1, f"{WRONG}KAGGLE_API_TOKEN", []),
        ([BUSY, BUSY], 0, "server failed", [5]),  # it asks twice
    ],
)
def test_a_token_that_cannot_be_looked_at(
    server: KaggleServer, user: User, archive: Path, monkeypatch: pytest.MonkeyPatch,
    answers: list[Any], code: int, says: str, waited: list[float],
) -> None:  # fmt: skip
    """The client ends with a traceback here; a user does not see it."""
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    server.faults["IntrospectToken"] = list(answers)
    ended = fetch(user, archive)
    assert (ended.code, ended.waited) == (code, waited), ended.said
    assert says in ended.said


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_a_key_that_others_can_read(server: KaggleServer, user: User, archive: Path, tmp_path: Path) -> None:
    for put in (key_file, token_file, signed_in):
        put(tmp_path / "home")
    assert credentials.warnings() == []
    folder = tmp_path / "home" / ".kaggle"
    for name in ("kaggle.json", "access_token", "credentials.json"):
        (folder / name).chmod(0o640)
    ended = fetch(user, archive)
    assert ended.code == 0, ended.said
    for name in ("kaggle.json", "access_token", "credentials.json"):
        warning = f"warning: others on this machine can read the key in {folder / name}: chmod 600 {folder / name}"
        assert warning in ended.said


# --- archives that mean harm


def with_member(name: str, **changes: Any) -> bytes:
    """A survey's archive and one more member, with `changes` to what the zip says of it."""
    member = zipfile.ZipInfo(name)
    member.external_attr = changes.get("mode", 0o644) << 16
    stream = io.BytesIO(survey_archive())
    with zipfile.ZipFile(stream, "a") as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened.writestr(member, changes.get("content", b"harm"), changes.get("method", zipfile.ZIP_STORED))
    content = bytearray(stream.getvalue())
    entry = content.rindex(b"PK\x01\x02")
    for offset, value in changes.get("bytes", {}).items():
        content[entry + offset : entry + offset + len(value)] = value
    return bytes(content)


def nested(name: str, content: bytes) -> bytes:
    """A survey's archive whose test.zip has one more member."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(survey_archive())) as old, zipfile.ZipFile(stream, "w") as new:
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


# --- what lies there already, and what happens beside it


def test_takes_an_archive_that_lies_there(server: KaggleServer, archive: Path) -> None:
    archive.parent.mkdir(parents=True)
    archive.write_bytes(server.archive)
    download(SLUG, archive)
    assert json.loads(archive.with_suffix(".json").read_text())["origin"] == "found here"
    assert server.requests == []


def test_takes_a_browser_download_from_data(server: KaggleServer, user: User, archive: Path) -> None:
    dropped = archive.parent.parent / archive.name
    dropped.parent.mkdir(parents=True)
    dropped.write_bytes(half(server.archive))
    ended = fetch(user, archive)
    assert ended.code == 1
    assert f"{dropped}: no zip file, or cut short: replace it by a whole archive, or remove it" in ended.error
    assert dropped.exists() and on_disk(archive) == NOTHING
    dropped.write_bytes(server.archive)
    assert fetch(user, archive).code == 0
    assert on_disk(archive) == WHOLE and not dropped.exists()
    assert archive.read_bytes() == server.archive
    assert server.requests == []


def test_the_manifest(server: KaggleServer, user: User, archive: Path) -> None:
    assert fetch(user, archive).code == 0
    manifest = json.loads(archive.with_suffix(".json").read_text())
    with zipfile.ZipFile(archive) as opened:
        sizes = {name: len(opened.read(name)) for name in opened.namelist()}
    assert manifest.pop("checked")[:2] == "20"
    assert manifest == {
        "competition": SLUG,
        "archive": f"{SLUG}.zip",
        "size": len(server.archive),
        "sha256": hashlib.sha256(server.archive).hexdigest(),
        "origin": "kaggle",
        "client": kaggle.version(),
        "members": sizes,
    }


def test_leaves_a_damaged_archive_that_lies_there(server: KaggleServer, archive: Path) -> None:
    archive.parent.mkdir(parents=True)
    archive.write_bytes(server.archive[:-100])
    with pytest.raises(UserError, match="replace it by a whole archive, or remove it"):
        download(SLUG, archive)
    assert on_disk(archive) == {archive.name}
    assert server.requests == []


def test_a_slug_that_is_none() -> None:
    with pytest.raises(UserError, match="no competition slug"):
        download("--help", Path("never/used.zip"))
    assert not Path("never").exists()


def test_a_stalled_client_is_ended_and_what_arrived_is_kept(server: KaggleServer, archive: Path) -> None:
    server.archive = competition_archive(pictures=400)
    server.faults["bundle"] = ["stall"]
    with pytest.raises(UserError, match="Nothing arrived for 4 s"):
        download(SLUG, archive, stall=4, pauses=())
    assert on_disk(archive) == {f".{SLUG}.download"}
    download(SLUG, archive)
    assert archive.read_bytes() == server.archive
    assert on_disk(archive) == {f"{SLUG}.zip", f"{SLUG}.json"}
    assert [wanted for wanted in server.ranges if wanted] == ["bytes=1048576-"]


def test_ending_the_job_ends_the_client(server: KaggleServer, archive: Path) -> None:
    server.faults["DownloadDataFiles"] = ["hang"]
    program = "import sys; from tgs_salt.survey.download import download; download(sys.argv[1], sys.argv[2])"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    job = psutil.Popen([sys.executable, "-c", program, SLUG, str(archive)], env=env)
    while not server.requests and job.is_running():
        time.sleep(0.05)
    clients = job.children()
    job.terminate()
    assert job.wait(10) == 143
    assert clients
    assert not any(client.is_running() for client in clients)
    assert on_disk(archive) == set()


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
    for look in (check_archive, recognise):
        with suppress(UserError):
            look(path)


def test_what_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"<!DOCTYPE html><title>Sign in</title>")
    with pytest.raises(UserError, match="a web page"):
        check_archive(path)
    locked = bytearray(zipped({"a": b"b"}))
    locked[6] |= 1  # the encryption flag, in the member's header and in the directory
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(locked))
    with pytest.raises(UserError, match="encrypted"):
        check_archive(path)
    path.write_bytes(zipped({}))
    with pytest.raises(UserError, match="empty"):
        check_archive(path)
    path.write_bytes(competition_archive())
    check_archive(path)


def test_nothing_secret_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KAGGLE_USERNAME", "alice")
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    (tmp_path / ".kaggle").mkdir()
    (tmp_path / ".kaggle" / "access_token").write_text("tokentokentoken\n")
    said = credentials.redact(
        f"Authorization: Basic YWxpY2U6aw==\n{{'Authorization': 'Bearer abc.def'}} key {KEY}, tokentokentoken "
        "https://x/a.zip?Signature=s1&Expires=2&X-Goog-Signature=s2 https://y?upload_id=s3 the end"
    )
    for secret in ("YWxpY2U6aw", "abc.def", KEY, "tokentokentoken", "s1", "s2", "s3"):
        assert secret not in said
    assert "Expires=2" in said
    assert said.endswith("the end")


def test_what_the_client_is_given(monkeypatch: pytest.MonkeyPatch, server: KaggleServer) -> None:
    monkeypatch.setenv("KAGGLE_PATH", "/elsewhere")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "")
    monkeypatch.setenv("VERBOSE", "1")
    given = kaggle._environment()
    assert given["KAGGLE_KEY"] == KEY
    assert not {"KAGGLE_PATH", "KAGGLE_API_TOKEN", "VERBOSE"} & set(given)


def test_importing_does_not_load_the_client() -> None:
    program = (
        "import sys, tgs_salt.submission.submit; print(sorted({'kaggle', 'kagglesdk', 'torch'} & set(sys.modules)))"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env)
    assert ran.stdout.strip() == "[]"
