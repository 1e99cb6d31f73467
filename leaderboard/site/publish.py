"""Results -> the files of the site."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import suite
from leaderboard.analysis.results import Results
from leaderboard.analysis.runtime import History
from leaderboard.figures.svg import PALETTE
from leaderboard.site import front_page as front
from leaderboard.site import trust_page as trust
from leaderboard.site.findings_page import findings
from leaderboard.site.links import prose
from leaderboard.site.measure_page import measure
from leaderboard.site.shared import Page, SiteContext
from leaderboard.site.submission_page import submission
from leaderboard.site.task_page import task
from leaderboard.study.study_log import Study
from leaderboard.tables.formats import for_people
from suite.errors import InputError

MARKER = ".lowlands-site.json"
"""Lists what the last publication wrote, so that the next one may replace it, and nothing else."""


STATIC = (PALETTE, *(Path(__file__).parent / "static" / name for name in ("style.css", "board.js")))


MakePage = Callable[[], Page]


Follow = Callable[[Sequence[MakePage]], Iterable[MakePage]]


def publish(
    results: Results,
    directory: Path,
    others: Sequence[Results] = (),
    history: Sequence[History] = (),
    asv: str = "",
    study: Study | None = None,
    follow: Follow = iter,
) -> list[Path]:
    """Write the site of `results` to `directory`; returns the files.

    others: results of other tracks, to show how well the tracks agree. history: asv's, for the page on the runtime.
    asv: where asv's own pages lie, as a link from the site's root. study: for the page on its findings. follow:
    hands on the pages one by one, so that progress can be shown.

    Raises:
        InputError: the directory holds something else, or cannot be written.
    """
    if not results.scored():
        raise InputError("The results hold no scored lane: there is nothing to publish.")
    old = _old_files(directory)
    files = dict(_files(SiteContext(results, others, history, asv, study), follow))
    try:
        for path in old - files.keys():
            (directory / path).unlink(missing_ok=True)
        for path, content in files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(content, encoding="utf-8")
        (directory / MARKER).write_text(json.dumps(sorted(files)), encoding="utf-8")
    except OSError as error:
        raise InputError(f"The site cannot be written to {directory} ({error.strerror}).") from error
    return [directory / path for path in files]


def _old_files(directory: Path) -> set[str]:
    """What an earlier publication wrote there."""
    try:
        if not directory.exists() or not any(directory.iterdir()):
            return set()
        return set(json.loads((directory / MARKER).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        raise InputError(
            f"{directory} holds something that is not a site of this command; give an empty or a new directory."
        ) from None


def _pages(survey: SiteContext) -> list[MakePage]:
    makers: list[MakePage] = [
        partial(make, survey) for make in (front.index, front.task_list, front.measure_list, trust.trust)
    ]
    if survey.study:
        makers.append(partial(findings, survey, survey.study))
    if survey.history:
        makers.append(partial(trust.runtime, survey))
    of_folder = {"submissions": submission, "tasks": task, "measures": measure}
    return makers + [
        partial(of_folder[folder], survey, name, path) for (folder, name), path in survey.links.pages.items()
    ]


def _files(survey: SiteContext, follow: Follow) -> Iterator[tuple[str, str]]:
    environment = Environment(
        loader=PackageLoader("leaderboard.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"prose": prose, "people": for_people}
    for path in STATIC:
        yield f"static/{path.name}", path.read_text(encoding="utf-8")
    for make in follow(_pages(survey)):
        page = make()
        yield page.path, _render(environment, survey, page)


def _render(environment: Environment, survey: SiteContext, page: Page) -> str:
    common: dict[str, Any] = {
        "root": "../" * page.path.count("/"),
        "site": survey.links,
        "pages": survey.navigation(),
        "section": page.section,
        "version": suite.__version__,
        "track": survey.results.track,
    }
    return environment.get_template(f"{page.template}.html.j2").render(common | page.content)
