"""A report as a reader finds it: its sections, their tables and their text."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "link", "img", "br", "path"}


class Page(HTMLParser):
    """`rows[section]`: rows of the section's tables as texts; `text[section]`: all that is written in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.section = "header"
        self.rows: dict[str, list[list[str]]] = {}
        self.text: dict[str, str] = {}
        self.open: list[str] = []
        self.source = path.read_text()
        self.feed(self.source)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "section":
            self.section = dict(attrs)["id"] or ""
        if tag == "tr":
            self.rows.setdefault(self.section, []).append([])
        if tag in ("td", "th"):
            self.rows[self.section][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "title"):
            return
        self.text[self.section] = " ".join((self.text.get(self.section, "") + " " + data).split())
        if any(tag in ("td", "th") for tag in self.open):
            row = self.rows[self.section][-1]
            row[-1] = f"{row[-1]}{data}".strip()

    def row(self, section: str, *first: str) -> list[str]:
        """The only row of a section that begins with these cells, without them."""
        found = [row for row in self.rows[section] if row[: len(first)] == list(first)]
        assert len(found) == 1, (first, self.rows[section])
        return found[0][len(first) :]
