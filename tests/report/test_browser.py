"""The report in headless Chromium: `make test-browser` (Debian packages chromium and chromium-driver)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import Browser, browser
from helpers.experiments import make_experiment

from tgs_salt.report.page import write_report

pytestmark = pytest.mark.browser

VIEWS = [(400, False), (400, True), (1600, False), (1600, True)]

IMAGES = """
const urls = [...document.querySelectorAll('img')].map(i => i.src)
    .concat([...document.querySelectorAll('svg image')].map(i => i.href.baseVal));
return Promise.all(urls.map(async url => {
    const image = new Image();
    image.src = url;
    try { await image.decode(); } catch (error) { return url.slice(0, 80); }
    return image.naturalWidth > 0 ? null : url.slice(0, 80);
})).then(bad => ({count: urls.length, bad: bad.filter(Boolean)}));
"""
UNNAMED = """
return [...document.querySelectorAll('img, svg')]
    .filter(e => !e.closest('[aria-hidden=true]'))
    .filter(e => !((e.alt || e.getAttribute('aria-label') || '').trim()))
    .map(e => e.outerHTML.slice(0, 100));
"""
HEADINGS = "return [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => [Number(h.tagName[1]), h.innerText]);"
OVERFLOW = """
const inside = e => !e.closest('.wide, pre, svg');
return [...document.querySelectorAll('body *')].filter(inside)
    .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5 || e.scrollWidth > e.clientWidth + 1
                 && e.clientWidth > 0 && !['visible', 'auto'].includes(getComputedStyle(e).overflowX))
    .map(e => e.outerHTML.slice(0, 100))
    .concat(document.documentElement.scrollWidth > innerWidth ? ['the page'] : []);
"""
# Each text node with its size on the screen in pixels and its contrast (WCAG 2) to its background.
TEXTS = """
const channels = color => color.match(/[0-9.]+/g).map(Number);
const luminance = color => {
    const linear = c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = channels(color).map(c => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const background = e => {
    for (; e; e = e.parentElement) {
        const color = getComputedStyle(e).backgroundColor;
        if (channels(color).length === 3) return color;
    }
    return null;
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const texts = [];
while (walker.nextNode()) {
    const e = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
    if (!text || e.closest('style, title, details:not([open]) > pre')) continue;
    const style = getComputedStyle(e), svg = e.closest('svg');
    const matrix = svg ? e.getScreenCTM() : {c: 0, d: 1}, scale = Math.hypot(matrix.c, matrix.d);  // any rotation
    const front = luminance(svg ? style.fill : style.color), back = luminance(background(e));
    const contrast = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    texts.push({text, in_svg: Boolean(svg), size: parseFloat(style.fontSize) * scale, contrast});
}
return texts;
"""


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the report of a finished experiment and of an unfinished one."""
    folder = tmp_path_factory.mktemp("browser")
    finished = make_experiment(folder / "salt", side=101, train=45, test=12)
    unfinished = shutil.copytree(finished, folder / "unfinished")
    for name in ("threshold.json", "ensemble", "submission.csv", "scores.csv"):
        path = unfinished / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(unfinished / "models/second")
    for experiment in (finished, unfinished):
        write_report(experiment, experiment / "report.html")
    return {"finished": finished / "report.html", "unfinished": unfinished / "report.html"}


@pytest.mark.parametrize(("width", "dark"), VIEWS, ids=str)
@pytest.mark.parametrize("name", ["finished", "unfinished"])
def test_page_is_self_contained_and_fits(
    window: Browser, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    window.open(pages[name], width, dark)
    assert window.console_messages() == []
    assert window.requests() == [pages[name].as_uri()]
    images = window.run_script(IMAGES)
    assert images["bad"] == [] and (images["count"] > 40 or name == "unfinished")
    assert window.run_script(OVERFLOW) == []
    small = [t for t in window.run_script(TEXTS) if t["size"] < (10 if t["in_svg"] else 12)]
    assert small == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_has_contrast(window: Browser, pages: dict[str, Path], dark: bool) -> None:
    window.open(pages["finished"], 1000, dark)
    texts: list[dict[str, Any]] = window.run_script(TEXTS)
    assert len(texts) > 200 and any(text["in_svg"] for text in texts)
    assert [text for text in texts if text["contrast"] < 4.5] == []
    background = window.run_script("return getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 200) == dark


@pytest.mark.parametrize("name", ["finished", "unfinished"])
def test_page_is_accessible_to_screen_readers(window: Browser, pages: dict[str, Path], name: str) -> None:
    window.open(pages[name], 1000)
    assert window.run_script(UNNAMED) == []
    levels = [level for level, _text in window.run_script(HEADINGS)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(following <= level + 1 for level, following in pairwise(levels))
    assert window.run_script("return document.documentElement.lang") == "en"
    broken_links = window.run_script(
        "return [...document.links].map(a => a.hash).filter(h => !document.querySelector(h))"
    )
    assert broken_links == []


def test_print_style_is_black_on_white(window: Browser, pages: dict[str, Path]) -> None:
    window.open(pages["finished"], 794, dark=True, media="print")
    assert (
        window.run_script("return getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    )
    assert [text for text in window.run_script(TEXTS) if text["contrast"] < 4.5] == []
    assert window.run_script("return document.querySelector('details pre').getBoundingClientRect().height") > 50
    pdf = window.print_to_pdf()
    assert pdf.startswith(b"%PDF") and 2 <= pdf.count(b"/Type /Page\n") <= 15
