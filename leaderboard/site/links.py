"""Which names have pages, and where."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable

from markupsafe import Markup, escape

from leaderboard.tables.table import Column, TableCell

FOLDERS = dict.fromkeys(("submission", "against", "next"), "submissions") | {"task": "tasks", "measure": "measures"}
"""Column -> the folder of the pages that its entries link to."""


def file_name(name: str) -> str:
    """A file name for any text; different texts get different names, on file systems that ignore case too."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "page"
    if "-" not in name and plain == name.replace("_", "-"):
        return plain
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


class Links:
    """The pages of a site; `names`: folder -> the names that have a page in it."""

    def __init__(self, **names: Iterable[str]) -> None:
        self.pages = {
            (folder, name): f"{folder}/{file_name(name)}.html" for folder, members in names.items() for name in members
        }

    def link(self, column: str, value: object) -> str:
        """The path, from the site's root, of the page of an entry of `column`; empty if it has none."""
        return self.pages.get((FOLDERS.get(column, ""), str(value)), "")

    def attributes(self, entry: TableCell, column: Column) -> Markup:
        """An entry's class, and what the script sorts by where that is not its text."""
        classes = " ".join(filter(None, ("words" if column.words else "", "best" if entry.best else "")))
        attributes = Markup(' class="{}"').format(classes) if classes else Markup("")
        key = entry.key
        text = key if isinstance(key, str) else "" if math.isnan(key) else f"{key:.6g}"
        return attributes if text == entry.text else attributes + Markup(' data-key="{}"').format(text)

    def row_flags(self, row: tuple[TableCell, ...]) -> Markup:
        """Attributes of a row of the ranking that the script and the style look at."""
        explicit = any(entry.explicit for entry in row)
        unranked = row[0].value is None and row[0].text == "–"
        return Markup(f"{' data-explicit' if explicit else ''}{' data-unranked' if unranked else ''}")


def prose(text: object) -> Markup:
    """A docstring's paragraph as HTML: its leading words, code, and links to papers."""
    html = str(escape(text))
    html = re.sub(r"``?([^`]+)``?", r"<code>\1</code>", html)
    html = re.sub(r"(?<!\w)\*([\w ]+)\*", r"<em>\1</em>", html)
    html = re.sub(r"arXiv:(\d{4}\.\d{4,5})", r'<a href="https://arxiv.org/abs/\1">arXiv:\1</a>', html)
    html = re.sub(r"(?<!\")(https://[\w./%-]*[\w/])(?![^<]*</a>)", r'<a href="\1">\1</a>', html)
    html = re.sub(r"(?<=\. )((?:Flatness|Norm|Generalization) axis\.)", r"</p><p><strong>\1</strong>", html)
    return Markup(re.sub(r"^([A-Z]\w+( \w+)?\.) ", r"<strong>\1</strong> ", html))
