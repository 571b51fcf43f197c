"""Headless Chromium for tests of the report, without network access.

Needs Debian's packages `chromium` and `chromium-driver`. Nothing is downloaded at run time.
"""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


class Browser:
    """A browser window that records console messages and requests until they are read."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver
        driver.get("about:blank")
        self.console_messages()
        self.requests()  # discard those of Chromium's start page

    def open(self, page: Path, width: int, dark: bool = False, media: str = "screen", height: int = 900) -> None:
        """Open a file in a window of `width` x `height` CSS pixels, in the given color scheme and CSS media type."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": scheme})
        self.driver.get(page.resolve().as_uri())

    def run_script(self, script: str) -> Any:
        """Run the body of a JavaScript function and return its result; promises are awaited."""
        return self.driver.execute_script(script)

    def screenshot(self, path: Path, area: tuple[int, int, int, int] | None = None) -> None:
        """Write a PNG of the whole page, or of `area` (x, y, width, height in CSS pixels)."""
        options: dict[str, Any] = {"captureBeyondViewport": True}
        if area is None:
            size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
            area = (0, 0, size["width"], size["height"])
        options["clip"] = {**dict(zip(("x", "y", "width", "height"), area, strict=True)), "scale": 1}
        path.write_bytes(base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]))

    def print_to_pdf(self) -> bytes:
        """Return the page as a PDF in its print style, A4."""
        options = {"printBackground": False, "paperWidth": 8.27, "paperHeight": 11.69}
        return base64.b64decode(self.driver.execute_cdp_cmd("Page.printToPDF", options)["data"])

    def console_messages(self) -> list[str]:
        """Return the console messages since the last call."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return the URLs requested since the last call, without data URIs."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith("data:")]


@contextmanager
def browser() -> Iterator[Browser]:
    """Yield a window of a new browser with an empty profile.

    Raises:
        RuntimeError: Chromium or its driver is not installed.
    """
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        raise RuntimeError("chromium or chromedriver is not installed: apt-get install chromium chromium-driver")
    with tempfile.TemporaryDirectory(prefix="tgs-browser-", ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = chromium
        for switch in (*SWITCHES, f"--user-data-dir={profile}"):
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # Name both paths, or selenium searches for other ones.
        window = Chrome(options=options, service=ChromeService(executable_path=driver))
        try:
            yield Browser(window)
        finally:
            window.quit()
