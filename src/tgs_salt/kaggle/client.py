"""Kaggle's own client, run as a subprocess: what it is given, how long it may take, what its failures mean.

The client is never imported here: an import signs in, prints to stdout and may wait for the network for ever.
Its exit code proves little and its error texts help only who knows them, so callers look at what arrived,
and every failure that is known becomes one sentence.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from tgs_salt.errors import UserError
from tgs_salt.kaggle import credentials
from tgs_salt.log import log_and_echo, logger

T = TypeVar("T")

PAUSES = (5.0, 20.0, 60.0, 180.0)
"""Seconds between attempts at something that may pass by itself.

The client does not retry an API call, and it hides the Retry-After of a rate limit, for which these stand in.
"""

_OURS = frozenset({
    "KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR", "KAGGLE_API_ENVIRONMENT",
    "KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_DATA_PROXY_URL", "KAGGLE_API_V1_TOKEN",
})  # fmt: skip
_LOUD = ("VERBOSE", "VERBOSE_OUTPUT")  # they make the client print its Authorization header


class TransientError(UserError):
    """A failure that may pass by itself: a rate limit, a server error, a broken connection, no answer."""


class CorruptDownload(TransientError):
    """The client wrote something into the file that does not belong there; the file must not be resumed."""


class AccessDenied(UserError):
    """Kaggle does not let this account do this: credentials or rules."""


_FAILURES: tuple[tuple[str, type[UserError], str], ...] = (
    (r"No space left on device", UserError, "The disk is full: make room and run again."),
    (r"(ModuleNotFoundError|ImportError): [^\n]*", UserError,
     "The kaggle client does not start ({found}): install this project's requirements again."),
    (r"does not match expected size", CorruptDownload, "The download broke off."),
    (r"4\d\d Client Error[^\n]*Signature", TransientError, "The download link was refused or has run out."),
    (r"accept this competition|accept the rules|must accept", AccessDenied,
     "The rules of '{slug}' are not accepted: sign in, accept them at "
     "https://www.kaggle.com/competitions/{slug}/rules and run again."),
    (r"Permission '|404 Client Error|Could not find competition|[Nn]ot [Ff]ound", UserError,
     "Kaggle knows no competition '{slug}' that this account may use: check the slug, "
     "and that the account has entered https://www.kaggle.com/competitions/{slug} ."),
    (r"429 Client Error|[Tt]oo ?[Mm]any ?[Rr]equests", TransientError, "Kaggle asks to slow down (rate limit)."),
    (r"5\d\d Server Error(: [A-Za-z ]+?)?(?= for url|$)|[Ii]nternal [Ee]rror|[Ii]nternal [Ss]erver|"
     r"[Uu]navailable|[Bb]ad [Gg]ateway|try again later", TransientError, "Kaggle's server failed ({found})."),
    (r"ConnectionError|Connection (aborted|refused|reset|broken)|Max retries exceeded|RemoteDisconnected|"
     r"ProtocolError|ChunkedEncodingError|ProxyError|SSLError|[Tt]imed out|Failed to resolve|prematurely", TransientError,
     "The connection to Kaggle failed ({found})."),
    (r"Expecting value: line", UserError,
     "What answers is not Kaggle but a web page; does this network ask for a login? Sign in to it and run again."),
)  # fmt: skip


def check_slug(competition: str) -> None:
    """Raise UserError unless `competition` can be a slug (it becomes a folder name and a word of a command)."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", competition):
        raise UserError(
            f"'{competition}' is no competition slug: it is the last part of the competition's address, "
            "such as tgs-salt-identification-challenge."
        )


def log_credentials() -> None:
    """Say whose credentials will be used, before anything is asked of Kaggle, and what is wrong with their files."""
    logger.info(credentials.explained())
    for warning in credentials.warnings():
        log_and_echo(f"warning: {warning}")


def version() -> str | None:
    """The version of the client installed beside this interpreter, without starting it."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("kaggle")
    return None


def call(*arguments: str, competition: str, timeout: float, watch: Callable[[], None] | None = None) -> str:
    """Run `kaggle -W ARGUMENTS` and return its stdout; `watch` is called several times a second and may raise.

    Raises Refused for credentials and rules, Passing for what may pass by itself (also when there is no answer within
    `timeout` seconds, after ending the client and its children), else UserError.
    """
    code, out, err = _run([_client(), "-W", *arguments], timeout, watch)
    if code != 0:
        raise _explained(out, err, competition)
    return out


def retry(action: Callable[[], T], pauses: Sequence[float] = PAUSES) -> T:
    """Call `action` until it does not raise Passing, with `pauses` between; the last failure is raised."""
    for pause in pauses:
        try:
            return action()
        except TransientError as problem:
            logger.warning(f"{problem} Trying again in {pause:g} s.")
            time.sleep(pause)
    return action()


def json_in(text: str) -> Any:
    """The first JSON value that begins a line of `text` (notes may stand before it), or None."""
    for begin in re.finditer(r"^[\[{]", text, re.MULTILINE):
        with suppress(ValueError):
            return json.JSONDecoder().raw_decode(text, begin.start())[0]
    return None


def reason(competition: str, ref: int | str, timeout: float = 60) -> str:
    """Why Kaggle could not score submission `ref`, or an empty string.

    The client's commands do not show it, its library does; so the library runs in an interpreter of its own.
    """
    program = (
        "import sys; from kaggle import api\n"
        "for entry in api.competition_submissions(sys.argv[1], page_size=200) or []:\n"
        "    if str(entry.ref) == sys.argv[2]: print('reason:', entry.error_description or '')"
    )
    with suppress(UserError):
        # -P: a file kaggle.py in the working folder is not the client.
        _, out, _ = _run([sys.executable, "-P", "-c", program, competition, str(ref)], timeout)
        if found := re.search(r"^reason: (.+)$", out, re.MULTILINE):
            return credentials.redact(found[1].strip())
    return ""


def _client() -> str:
    """The client beside this interpreter, so that an unactivated environment uses its own; else the one on PATH."""
    found = shutil.which("kaggle", path=str(Path(sys.executable).parent)) or shutil.which("kaggle")
    if found is None:
        raise UserError("The kaggle client is not installed: install this project's requirements again.")
    return found


def _environment() -> dict[str, str]:
    """This environment without what would change the client unasked: each KAGGLE_X is a setting of it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE_")}
    kept |= {name: os.environ[name] for name in _OURS if os.environ.get(name)}
    for name in _LOUD:
        kept.pop(name, None)
    return kept | {"PYTHONUTF8": "1"}


def _run(command: list[str], timeout: float, watch: Callable[[], None] | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `command`. Raises Passing when it does not end within `timeout` seconds."""
    until = time.monotonic() + timeout
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command, env=_environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        with _ending_with_us(process):
            while process.poll() is None:
                if time.monotonic() > until:
                    raise TransientError(f"Kaggle gave no answer within {timeout:g} s.")
                if watch is not None:
                    watch()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
        return process.returncode, _text(out), _text(err)


@contextmanager
def _ending_with_us(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leave no client behind: it has a session of its own, so neither Ctrl-C nor a scheduler's SIGTERM reaches it."""
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)) if in_main else None
    try:
        yield
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)
        if process.poll() is None:
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            process.wait()


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


def _explained(out: str, err: str, competition: str) -> UserError:
    """What a failed call means, in one sentence."""
    both = f"{err}\n{out}"
    introspection = "_introspect_token" in err and re.search(r"\b401\b|[Uu]nauth", err)
    if introspection or re.search(r"Authentication required to call|401 Client Error", both):
        return AccessDenied(credentials.refused())
    for pattern, kind, sentence in _FAILURES:
        if found := re.search(pattern, both):
            return kind(sentence.format(slug=competition, found=credentials.redact(found[0])))
    lines = [line.strip() for line in re.split(r"[\r\n]+", f"{out}\n{err}") if line.strip() and "%|" not in line]
    return UserError(f"Kaggle's client reports: {credentials.redact(lines[-1]) if lines else 'nothing, but failed.'}")
