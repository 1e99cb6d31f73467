"""How to cite, under which licence, and the site's numbers as files."""

from __future__ import annotations

import re
from pathlib import Path

from leaderboard.analysis.frames import as_csv, scores
from leaderboard.site.links import file_name
from leaderboard.site.shared import Page, SiteContext
from leaderboard.site.trust_page import verification_files
from leaderboard.tables import views
from leaderboard.tables.formats import render

DATA_VIEWS = ("ranking", "tasks", "measures")
"""The tables that every kind of submission has as files."""


SCORE_COLUMNS = (
    "submission", "task", "axis", "measure", "search", "trial", "seed", "converged",
    "value", "score_0", "score_1", "score",
)  # fmt: skip
"""Of every scored run; `lowlands export` has the others."""


def about(context: SiteContext) -> Page:
    """The page that every footer leads to; `data_files` are the files that it lists."""
    citation = _document("CITATION.cff")
    newest = max(str(record.get("time", ""))[:10] for record in context.results.scored())
    files = [
        (f"{view} of {board.kind}s", [f"data/{file_name(f'{view}_{board.kind}')}.{style}" for style in ("csv", "json")])
        for board in context.boards
        for view in DATA_VIEWS
    ]
    repeated = [("what repeating shipped runs showed", [file]) for file in verification_files(context)]
    content = {
        "title": _stated("title", citation),
        "author": _stated("- name", citation),
        "newest": newest,
        "citation": citation,
        "licence": _document("LICENSE"),
        "files": [*files, ("every scored run and its scores", ["data/scores.csv"]), *repeated],
    }
    return Page("about.html", "about", "about.html", content)


def data_files(context: SiteContext) -> dict[str, str]:
    """Path -> text of the files with the site's numbers, with all their digits."""
    files = {"data/scores.csv": as_csv(scores(context.results)[list(SCORE_COLUMNS)])}
    for board in context.boards:
        for view in DATA_VIEWS:
            table = getattr(views, view)(board, context.results)
            for style in ("csv", "json"):
                files[f"data/{file_name(f'{view}_{board.kind}')}.{style}"] = render(table, style) + "\n"
    return files


def _document(name: str) -> str:
    """The text of a file that lies beside the packages in a checkout, and in this one when it is installed."""
    package = Path(__file__).parents[1]
    installed = package / name
    return (installed if installed.is_file() else package.parent / name).read_text(encoding="utf-8")


def _stated(key: str, citation: str) -> str:
    """What a line of CITATION.cff says."""
    found = re.search(rf'^\s*{key}: "?([^"\n]*)', citation, re.MULTILINE)
    assert found is not None, key
    return found[1]
