"""Parse a report into sections with their tables and text."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

VOID_TAGS = {"meta", "link", "img", "br", "path"}


class Page(HTMLParser):
    """A parsed report: `rows[section]` holds the cells of its table rows, `text[section]` all of its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.section = "header"
        self.rows: dict[str, list[list[str]]] = {}
        self.text: dict[str, str] = {}
        self.open_tags: list[str] = []
        self.source = path.read_text()
        self.feed(self.source)
        assert not self.open_tags, f"unclosed tags: {self.open_tags}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "section":
            self.section = dict(attrs)["id"] or ""
        if tag == "tr":
            self.rows.setdefault(self.section, []).append([])
        if tag in ("td", "th"):
            self.rows[self.section][-1].append("")
        if tag not in VOID_TAGS:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if self.open_tags and self.open_tags[-1] in ("style", "title"):
            return
        self.text[self.section] = " ".join((self.text.get(self.section, "") + " " + data).split())
        if any(tag in ("td", "th") for tag in self.open_tags):
            row = self.rows[self.section][-1]
            row[-1] = f"{row[-1]}{data}".strip()

    def row(self, section: str, *first: str) -> list[str]:
        """Return the remaining cells of the only row of a section that starts with the cells `first`."""
        matches = [row for row in self.rows[section] if row[: len(first)] == list(first)]
        assert len(matches) == 1, (first, self.rows[section])
        return matches[0][len(first) :]
