"""A real, headless Chromium that opens pages from disk, without any network of its own.

Debian's packages `chromium` and `chromium-driver` are enough; nothing is fetched at run time.
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
    """One window; what its pages asked for and complained about is kept until it is read."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver
        driver.get("about:blank")
        self.complaints()
        self.requests()  # those of Chromium's own start page

    def open(self, page: Path, width: int, dark: bool = False, media: str = "screen", height: int = 900) -> None:
        """Open a file in a window of `width` CSS pixels, in the light or the dark scheme, as on screen or in print."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": scheme})
        self.driver.get(page.resolve().as_uri())

    def ask(self, script: str) -> Any:
        """The value that the body of a JavaScript function returns; promises are waited for."""
        return self.driver.execute_script(script)

    def screenshot(self, path: Path, area: tuple[int, int, int, int] | None = None) -> None:
        """The whole page, or x, y, width and height of it, as a PNG."""
        options: dict[str, Any] = {"captureBeyondViewport": True}
        if area is None:
            size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
            area = (0, 0, size["width"], size["height"])
        options["clip"] = {**dict(zip(("x", "y", "width", "height"), area, strict=True)), "scale": 1}
        path.write_bytes(base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]))

    def printed(self) -> bytes:
        """The page as a PDF, as its print style has it."""
        options = {"printBackground": False, "paperWidth": 8.27, "paperHeight": 11.69}
        return base64.b64decode(self.driver.execute_cdp_cmd("Page.printToPDF", options)["data"])

    def complaints(self) -> list[str]:
        """What stood in the console since the last look."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that pages asked for since the last look, without those that hold their content themselves."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith("data:")]


@contextmanager
def browser() -> Iterator[Browser]:
    """Raises RuntimeError, with what to install, where there is no Chromium."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        raise RuntimeError("no chromium or no chromedriver here: apt-get install chromium chromium-driver")
    with tempfile.TemporaryDirectory(prefix="tgs-browser-", ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = chromium
        for switch in (*SWITCHES, f"--user-data-dir={profile}"):
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # Both paths are named, so that selenium does not look for others.
        window = Chrome(options=options, service=ChromeService(executable_path=driver))
        try:
            yield Browser(window)
        finally:
            window.quit()
