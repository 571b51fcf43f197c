"""The page as a real Chromium shows it: `make test-browser` (Debian packages chromium and chromium-driver)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import Browser, browser
from helpers.experiments import make_experiment

from tgs_salt.report.page import page

pytestmark = pytest.mark.browser

VIEWS = [(400, False), (400, True), (1600, False), (1600, True)]

PICTURES = """
const addresses = [...document.querySelectorAll('img')].map(i => i.src)
    .concat([...document.querySelectorAll('svg image')].map(i => i.href.baseVal));
return Promise.all(addresses.map(async address => {
    const picture = new Image();
    picture.src = address;
    try { await picture.decode(); } catch (problem) { return address.slice(0, 80); }
    return picture.naturalWidth > 0 ? null : address.slice(0, 80);
})).then(bad => ({count: addresses.length, bad: bad.filter(Boolean)}));
"""
NAMELESS = """
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
# Every piece of text: its size on the screen, and its contrast (WCAG 2) to what lies behind it.
TEXTS = """
const channels = color => color.match(/[0-9.]+/g).map(Number);
const luminance = color => {
    const linear = c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = channels(color).map(c => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = e => {
    for (; e; e = e.parentElement) {
        const color = getComputedStyle(e).backgroundColor;
        if (channels(color).length === 3) return color;
    }
    return null;
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const found = [];
while (walker.nextNode()) {
    const e = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
    if (!text || e.closest('style, title, details:not([open]) > pre')) continue;
    const style = getComputedStyle(e), drawn = e.closest('svg');
    const at = drawn ? e.getScreenCTM() : {c: 0, d: 1}, scale = Math.hypot(at.c, at.d);  // also of turned text
    const ink = luminance(drawn ? style.fill : style.color), paper = luminance(behind(e));
    const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    found.push({text, drawn: Boolean(drawn), size: parseFloat(style.fontSize) * scale, contrast});
}
return found;
"""


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of a finished experiment, and of one whose folds still train."""
    folder = tmp_path_factory.mktemp("browser")
    finished = make_experiment(folder / "salt", side=101, train=45, test=12)
    started = shutil.copytree(finished, folder / "begun")
    for name in ("threshold.json", "ensemble", "submission.csv", "scores.csv"):
        path = started / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(started / "models/second")
    for experiment in (finished, started):
        page(experiment, experiment / "report.html")
    return {"finished": finished / "report.html", "begun": started / "report.html"}


@pytest.mark.parametrize(("width", "dark"), VIEWS, ids=str)
@pytest.mark.parametrize("name", ["finished", "begun"])
def test_the_page_stands_by_itself(window: Browser, pages: dict[str, Path], name: str, width: int, dark: bool) -> None:
    window.open(pages[name], width, dark)
    assert window.complaints() == []
    assert window.requests() == [pages[name].as_uri()]
    pictures = window.ask(PICTURES)
    assert pictures["bad"] == [] and (pictures["count"] > 40 or name == "begun")
    assert window.ask(OVERFLOW) == []
    small = [t for t in window.ask(TEXTS) if t["size"] < (10 if t["drawn"] else 12)]
    assert small == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out(window: Browser, pages: dict[str, Path], dark: bool) -> None:
    window.open(pages["finished"], 1000, dark)
    texts: list[dict[str, Any]] = window.ask(TEXTS)
    assert len(texts) > 200 and any(text["drawn"] for text in texts)
    assert [text for text in texts if text["contrast"] < 4.5] == []
    shade = window.ask("return getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, shade[4:-1].split(","))) < 200) == dark


@pytest.mark.parametrize("name", ["finished", "begun"])
def test_who_hears_the_page_follows_it(window: Browser, pages: dict[str, Path], name: str) -> None:
    window.open(pages[name], 1000)
    assert window.ask(NAMELESS) == []
    levels = [level for level, _ in window.ask(HEADINGS)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert window.ask("return document.documentElement.lang") == "en"
    links = window.ask("return [...document.links].map(a => a.hash).filter(h => !document.querySelector(h))")
    assert links == []


def test_print_is_black_on_white(window: Browser, pages: dict[str, Path]) -> None:
    window.open(pages["finished"], 794, dark=True, media="print")
    assert window.ask("return getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert [text for text in window.ask(TEXTS) if text["contrast"] < 4.5] == []
    assert window.ask("return document.querySelector('details pre').getBoundingClientRect().height") > 50
    printed = window.printed()
    assert printed.startswith(b"%PDF") and 2 <= printed.count(b"/Type /Page\n") <= 15
