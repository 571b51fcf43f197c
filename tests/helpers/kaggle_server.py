"""A fake Kaggle server on loopback, with the parts of its API that the real client uses, and its failures.

`KaggleServer.patch_environment` sets an empty home folder, fake credentials, and this server as the proxy for every
protocol. No test can then reach Kaggle, and `requests` records every request of the client.
"""

from __future__ import annotations

import base64
import io
import json
import os
import threading
import zipfile
from collections import defaultdict
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

SLUG = "tgs-salt-identification-challenge"
RULES = "You must accept this competition's rules before you'll be able to download files."
NO_PERMISSION = "Permission 'competitions.participate' was denied"
KEY = "0123456789abcdef0123456789abcdef"
TOKEN = "KGAT_fedcba9876543210"
PAGE = b"<!DOCTYPE html><title>Sign in to this network</title>"
ACCEPTED = (f"Basic {base64.b64encode(f'alice:{KEY}'.encode()).decode()}", f"Bearer {TOKEN}")
FOREVER = object()


def zip_bytes(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return buffer.getvalue()


def competition_archive(images: int = 20) -> bytes:
    """A zip with the layout of the real archive, with noise instead of images."""
    train = zip_bytes({f"{kind}/{i:010x}.png": os.urandom(3000) for kind in ("images", "masks") for i in range(images)})
    test = zip_bytes({f"images/{i:010x}.png": os.urandom(3000) for i in range(images)})
    return zip_bytes({"train.csv": b"id,rle_mask\n", "depths.csv": b"id,z\n", "train.zip": train, "test.zip": test})


class KaggleServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.requests: list[str] = []
        self.ranges: list[str | None] = []  # of each request for the archive
        self.archive = competition_archive()
        self.submissions: list[dict[str, Any]] = []
        self.allowed = 5
        # Changes to the newest submission each time it is listed; the last entry repeats.
        self.states: list[dict[str, Any]] = [{"status": "COMPLETE", "publicScore": "0.87", "privateScore": "0.88"}]
        # Faults of the next requests, by API method, "bundle" (archive) or "upload". FOREVER repeats the one before it.
        #   None: respond normally
        #   (status, message[, headers]): HTTP error
        #   function: send function(archive) instead of the archive
        #   "page": login page of a network
        #   "hang": do not respond
        #   "reset", "done then reset": close the connection before or after handling the request
        #   "cut", "stall": send half of the archive, then close the connection or wait
        #   "no length", "no length, cut": send the archive, or half of it, without Content-Length
        self.faults: dict[str, list[Any]] = defaultdict(list)
        self.released = threading.Event()  # ends hanging requests

    def __enter__(self) -> KaggleServer:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """Ignore connections broken by clients that were killed."""

    def count(self, name: str) -> int:
        return self.requests.count(name)

    def patch_environment(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        """Redirect the Kaggle clients started by this process to this server."""
        for name in [name for name in os.environ if name.startswith("KAGGLE_")]:
            monkeypatch.delenv(name)
        home.mkdir(exist_ok=True)
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), self.address)
        proxies |= {name.upper(): value for name, value in proxies.items()}
        account = {"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "KAGGLE_USERNAME": "alice", "KAGGLE_KEY": KEY}
        account["VERBOSE"] = account["VERBOSE_OUTPUT"] = "1"  # would print the key if passed to the client
        for name, value in {**proxies, **account, "HOME": str(home), "no_proxy": "", "NO_PROXY": ""}.items():
            monkeypatch.setenv(name, value)
        for name in ("XDG_CONFIG_HOME", "PYTHONDONTWRITEBYTECODE"):
            monkeypatch.delenv(name, raising=False)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: KaggleServer

    def log_message(self, *_: object) -> None:
        pass

    def do_CONNECT(self) -> None:
        self.server.requests.append(f"CONNECT {self.path}")
        self.answer(403, b"")

    def do_POST(self) -> None:
        body = json.loads(self.read_body() or b"{}")
        self.serve(urlsplit(self.path).path.rpartition("/")[2], body)

    def do_PUT(self) -> None:
        self.serve("upload", {"content": self.read_body()})

    def do_GET(self) -> None:
        self.serve("bundle", {})

    def read_body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def serve(self, name: str, body: dict[str, Any]) -> None:
        self.server.requests.append(name)
        faults = self.server.faults[name]
        fault = (faults[0] if faults[1:] == [FOREVER] else faults.pop(0)) if faults else None
        if name not in ("bundle", "upload", "IntrospectToken") and self.headers["Authorization"] not in ACCEPTED:
            fault = (401, "Unauthenticated")
        if fault == "hang":
            self.server.released.wait(30)
        if fault in ("hang", "reset"):
            self.close_connection = True
        elif isinstance(fault, tuple):
            # Cloud storage returns XML errors; the client finds no message in them and prints the whole signed URL.
            kind = "application/xml" if name == "bundle" else "application/json"
            content = json.dumps({"code": fault[0], "message": fault[1]}).encode()
            self.answer(fault[0], content, kind, **(fault[2] if len(fault) > 2 else {}))
        elif fault == "page":
            self.answer(200, PAGE, "text/html")
        elif name == "bundle":
            self.send_archive(fault)
        elif name == "DownloadDataFiles":
            url = f"{self.server.address}/gcs/bundle/archive.zip?X-Goog-Signature=secretsignature"
            self.answer(302, b"", Location=url)
        elif fault == "done then reset":
            self.result(name, body)
            self.close_connection = True
        else:
            self.answer(200, json.dumps(self.result(name, body)).encode())

    def send_archive(self, fault: Any) -> None:
        archive = fault(self.server.archive) if callable(fault) else self.server.archive
        headers = {"Last-Modified": formatdate(1531850662, usegmt=True), "Accept-Ranges": "bytes", "ETag": '"e"'}
        self.server.ranges.append(self.headers["Range"])
        if self.headers["Range"]:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {start}-{len(archive) - 1}/{len(archive)}"
            self.answer(206, archive[start:], "application/zip", 1.0, **headers)
        elif fault in ("no length", "no length, cut"):
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(archive[: len(archive) // (2 if "cut" in fault else 1)])
        else:
            self.answer(200, archive, "application/zip", 0.5 if fault in ("cut", "stall") else 1.0, **headers)
        if fault == "stall":
            self.server.released.wait(30)
        self.close_connection = isinstance(fault, str)

    def result(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        server = self.server
        if name == "IntrospectToken":
            return {"active": body["token"] == TOKEN, "username": "alice"}
        if name == "StartSubmissionUpload":
            return {"token": "blob0", "createUrl": f"{server.address}/upload?upload_id=secretupload"}
        if name == "CreateSubmission":
            entry = {"ref": 1000 + len(server.submissions), "date": "2026-11-22T10:00:00.123Z", "status": "PENDING"}
            entry |= {"description": body["submissionDescription"], "fileName": "submission.csv"}
            server.submissions.insert(0, entry)
            return {"message": "Successfully submitted to TGS Salt", "ref": entry["ref"]}
        if name == "GetSubmissionLimits":
            return {"numToday": 5 - server.allowed, "numTotal": 5 - server.allowed, "numAllowedNow": server.allowed}
        if name == "ListSubmissions":
            if server.submissions:
                server.submissions[0] |= server.states.pop(0) if len(server.states) > 1 else server.states[0]
            return {"submissions": server.submissions, "nextPageToken": ""}
        return {}

    def answer(
        self, status: int, content: bytes, kind: str = "application/json", share: float = 1.0, **headers: str
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: int(len(content) * share)])
