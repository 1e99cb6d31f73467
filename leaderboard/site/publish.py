"""Results -> the files of the site."""

from __future__ import annotations

import gc
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

import suite
from leaderboard.analysis.results import Results
from leaderboard.analysis.runtime import History
from leaderboard.figures import PALETTE
from leaderboard.site.about_page import about, data_files
from leaderboard.site.claims_page import claims_page
from leaderboard.site.compare_page import compare_page, comparison_script
from leaderboard.site.findings_page import findings_page
from leaderboard.site.front_page import index, measure_list, task_list
from leaderboard.site.history_page import history_page
from leaderboard.site.links import file_name, prose
from leaderboard.site.measure_page import measure_page
from leaderboard.site.shared import Page, SiteContext
from leaderboard.site.submission_page import submission_page
from leaderboard.site.task_page import task_page
from leaderboard.site.trust_page import runtime, trust, verification_files
from leaderboard.study import Study
from leaderboard.tables.table import Table
from suite.errors import InputError

if TYPE_CHECKING:
    from leaderboard.ledger.entries import Entry

MARKER = ".lowlands-site.json"
"""Lists what the last publication wrote, so that the next one may replace it, and nothing else."""

SITE_FILE = re.compile(r"(tracks/[a-z0-9-]+/)?(([a-z]+/)?[a-z0-9-]+\.(html|css|js)|data/[a-z0-9-]+\.(csv|json))")
"""What a site's files are called; a list of other names is no list of ours, and nothing on it is deleted."""

STATIC = (
    PALETTE,
    *(Path(__file__).parent / "static" / name for name in ("style.css", "board.js", "figures.js", "compare.js")),
)

MakePage = Callable[[], tuple[str, str]]
"""Makes the path and the text of a page."""

Progress = Callable[[Sequence[MakePage]], Iterable[MakePage]]


def publish(
    results: Results,
    directory: Path,
    others: Sequence[Results] = (),
    history: Sequence[History] = (),
    asv: str = "",
    study: Study | None = None,
    ledger: Sequence[Entry] = (),
    progress: Progress = iter,
) -> list[Path]:
    """Write a site.

    Args:
        results: what it shows.
        directory: where it goes: a new or an empty directory, or an earlier site, which is replaced.
        others: results of other tracks, which have pages of their own; tracks that can be compared say how well they
            agree.
        history: asv's histories, for the page on the runtime.
        asv: a link from the site's root to asv's own pages.
        study: for the page of its findings.
        ledger: claims held against records, for the page of claims.
        progress: hands on the pages one by one, so that progress can be shown.

    Returns:
        The files.

    Raises:
        InputError: the directory holds something else, or cannot be written.
    """
    if not results.scored():
        raise InputError("The results hold no scored run: there is nothing to publish.")
    old = _old_files(directory)
    contexts = [SiteContext(results, (), history, asv, study, ledger)]
    contexts += [
        SiteContext(other, (), history, asv, study, ledger, f"tracks/{file_name(other.track)}/")
        for other in others
        if other.track and other.scored()
    ]
    for context in contexts:
        context.others = [other for other in contexts if other is not context]
    gc.freeze()  # records live until the end: the collections that thousands of short-lived artists cause pass them by
    try:
        files = dict(_files(contexts, progress))
    finally:
        gc.unfreeze()
    contents = files | {MARKER: json.dumps(sorted(files))}
    try:
        for path in old - files.keys():
            _within(directory, path).unlink(missing_ok=True)
        for path, content in contents.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            target = _within(directory, path)
            if target.is_symlink():
                target.unlink()  # not written through, wherever it leads
            target.write_text(content, encoding="utf-8")
    except OSError as error:
        raise InputError(f"The site cannot be written to {directory} ({error.strerror}).") from error
    return [directory / path for path in files]


def _old_files(directory: Path) -> set[str]:
    """What an earlier publication wrote there."""
    try:
        if not directory.exists() or not any(directory.iterdir()):
            return set()
        written = msgspec.json.decode((directory / MARKER).read_bytes(), type=set[str])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        written = {""}
    if not all(map(SITE_FILE.fullmatch, written)):
        raise InputError(
            f"{directory} holds something that is not a site of this command; give an empty or a new directory."
        )
    return written


def _within(directory: Path, path: str) -> Path:
    """The place of a site's file; an InputError if a link leads its folder out of the site."""
    target = directory / path
    if not target.parent.resolve().is_relative_to(directory.resolve()):
        raise InputError(f"{target.parent} leads out of {directory}: nothing is written or deleted there.")
    return target


def _pages(context: SiteContext) -> list[Callable[[], Page]]:
    """What makes the pages of a track, one by one; the track of the front page has those that are of no track."""
    shared = (index, task_list, measure_list, history_page, trust, about)
    makers: list[Callable[[], Page]] = [partial(make, context) for make in shared]
    if context.comparable:
        makers.append(partial(compare_page, context))
    makers += [] if context.folder else _pages_of_no_track(context)
    of_folder = {"submissions": submission_page, "tasks": task_page, "measures": measure_page}
    return makers + [
        partial(of_folder[folder], context, name, path) for (folder, name), path in context.links.pages.items()
    ]


def _pages_of_no_track(context: SiteContext) -> list[Callable[[], Page]]:
    """What makes the pages of the study, the ledger and the runtime, as far as there are any."""
    makers: list[Callable[[], Page]] = []
    if context.study:
        makers.append(partial(findings_page, context, context.study))
    if context.ledger:
        makers.append(partial(claims_page, context))
    if context.history:
        makers.append(partial(runtime, context))
    return makers


def _repository() -> str:
    """Where Lowlands is published, as pyproject.toml states it; empty where it does not, or nothing is installed."""
    try:
        stated = metadata("lowlands").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    urls = dict(line.split(", ", 1) for line in stated)
    return urls.get("repository", "")


def _files(contexts: Sequence[SiteContext], progress: Progress) -> Iterator[tuple[str, str]]:
    """Path and text of every file; a context for each track."""
    loader = PackageLoader("leaderboard.site")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"prose": prose, "people": Table.for_people, "quoted": shlex.quote}
    environment.globals |= {"version": suite.__version__, "repository": _repository()}
    for path in STATIC:
        yield f"static/{path.name}", path.read_text(encoding="utf-8")
    for context in contexts:
        for name, content in (data_files(context) | verification_files(context)).items():
            yield context.folder + name, content
        if context.comparable:
            yield f"{context.folder}data/comparison.js", comparison_script(context)
    makers = [partial(_rendered, environment, context, make) for context in contexts for make in _pages(context)]
    for make_page in progress(makers):
        yield make_page()


def _rendered(environment: Environment, context: SiteContext, make: Callable[[], Page]) -> tuple[str, str]:
    """Path, from the site's root, and text of a page; `root` leads to its track's folder, `base` to the site's root."""
    page = make()
    path = context.folder + page.path
    text = environment.get_template(f"{page.template}.html.j2").render(
        page.content,
        site=context.links,
        pages=context.navigation(),
        tracks=context.tracks(page.path),
        track=context.results.track,
        board=context.results.board_version,
        root="../" * page.path.count("/"),
        base="../" * path.count("/"),
        section=page.section,
    )
    return path, text
