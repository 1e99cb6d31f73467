"""The commands that show results. They need records only: neither torch nor, before a table is asked for, pandas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from leaderboard.analysis.baselines import SHIPPED_TRACK, find_log
from leaderboard.commands.console import file_stem, output, print_table, progress
from leaderboard.commands.kept import Note, print_kept, to_stderr
from leaderboard.tables import FORMATS, VIEWS
from suite.errors import InputError
from suite.literals import split
from suite.tracks import TRACKS

if TYPE_CHECKING:
    from leaderboard.analysis.results import Results

results_option = click.option(
    "--results", type=click.Path(path_type=Path), help="A log, or a directory of logs [default: shipped]."
)
with_option = click.option(
    "--with",
    "beside",
    type=click.Choice(("shipped",)),
    help="Beside yours the shipped results of the same track, tasks and seeds.",
)
track_option = click.option(
    "--track",
    metavar="NAME",
    help=f"The track: {', '.join(TRACKS)}, or your own [default: the directory's only log; quick, if shipped].",
)
board_option = click.option(
    "--board", metavar="VERSION", help="The board whose records are shown (docs/boards.md) [default: the newest there]."
)


@click.command()
@click.option("--view", type=click.Choice(VIEWS), default="ranking", show_default=True, help="What the table shows.")
@click.option("--format", "style", type=click.Choice(FORMATS), help="[default: a table for the terminal]")
@results_option
@track_option
@with_option
@board_option
@click.option("--against", metavar="NAME", help="In why and separation: compare with this one, not with neighbours.")
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="Only this task (repeatable).")
@click.option("--kind", help="Only optimizers or only architectures [default: each kind by itself].")
@click.option("--implicit-only", is_flag=True, help="Leave out submissions that regularize on purpose (†).")
@click.option("--previous", is_flag=True, help="Show the source of a submission before the newest beside it.")
@click.option("--columns", metavar="NAME,...", help="Only these columns, in this order.")
@click.option("--sort", metavar="NAME", help="Rows by this column; -NAME: from the highest.")
@click.option(
    "--filter", "filters", multiple=True, metavar="CONDITION", help="Only rows that meet the CONDITION (repeatable)."
)
def table(
    view: str,
    style: str | None,
    results: Path | None,
    track: str | None,
    beside: str | None,
    board: str | None,
    against: str | None,
    tasks: Sequence[str],
    kind: str | None,
    implicit_only: bool,
    previous: bool,
    columns: str | None,
    sort: str | None,
    filters: Sequence[str],
) -> None:
    """Print the shipped results, or yours.

    A CONDITION compares a column with a pattern (submission=ada*) or a number (overall>=0.5). Columns are named as
    --format csv names them.

    \b
    Example: lowlands table --view tasks --kind optimizer --format latex --columns task,axis,sgd,adam
    """
    path = find_log(results, track)

    def shown(console: Console, note: Note) -> None:
        from leaderboard.tables.formats import document
        from leaderboard.tables.selection import tables_of

        own = load_log(path, previous, note, board)
        loaded = _beside(own, beside, note)
        if tasks:
            loaded = loaded.of_tasks(tasks)
        selections = tables_of(
            loaded,
            view,
            kind,
            own=own if beside else None,
            against=against,
            implicit_only=implicit_only,
            filters=filters,
            sort=sort,
            columns=split(columns) if columns else (),
        )
        for name, selection in selections.items():
            if filters and not selection.rows:
                note(f"No row of the {name}s meets {' and '.join(filters)}.")
        if style is not None:
            console.out(document(list(selections.values()), style), highlight=False)
            return
        for selection in selections.values():
            print_table(selection, console)

    if results is None and beside is None:  # what is shipped depends on no code but the packages'
        print_kept(path, click.get_current_context().params, shown)
    else:
        shown(output(), to_stderr)


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@results_option
@track_option
@with_option
@board_option
@click.option(
    "--asv",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".asv"),
    show_default=True,
    help="The directory of asv's results, for the page on the runtime.",
)
@click.option("--asv-pages", default="", metavar="LINK", help="A link from the site's root to asv's own pages.")
@click.option(
    "--study",
    "study_log",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The study's log, for the page of its findings [default: a complete one in the directory of the results].",
)
def publish(
    directory: Path,
    results: Path | None,
    track: str | None,
    beside: str | None,
    board: str | None,
    asv: Path,
    asv_pages: str,
    study_log: Path | None,
) -> None:
    """Write the static site to DIRECTORY: it works from a file, without a network.

    Where the directory holds logs of other tracks too, the site has them all, with a switch on every page, and shows
    how well they agree.

    \b
    Example: lowlands publish site --results results
    """
    from leaderboard.analysis.results import Results
    from leaderboard.analysis.runtime import read
    from leaderboard.ledger.entries import entries, shipped_results
    from leaderboard.site import publish as write_site
    from leaderboard.study import find_study, open_study

    path = find_log(results, track, SHIPPED_TRACK)
    loaded = _beside(load_log(path, board=board), beside)
    others = _other_tracks(path, loaded)
    study = open_study(study_log) if study_log else find_study(path.parent)
    own = [loaded, *others, *([Results(study.records)] if study else [])]
    # Of what is shipped all logs count, those too that are of no track.
    ledger = [each for each in entries(shipped_results() if results is None else own) if each.measured or not results]
    pages = progress("Writing pages")
    files = write_site(loaded, directory, others, read(asv / "results"), asv_pages, study, ledger, pages)
    click.echo(f"{len(files)} files; open {directory / 'index.html'}")


def _other_tracks(path: Path, shown: Results) -> list[Results]:
    """The results beside the log at `path` that are of another track and of the same board; notes name what is not."""
    from leaderboard.analysis.results import load

    others: dict[str, Results] = {}
    for log in sorted(path.parent.glob("*.jsonl")):
        if log == path or log.stem.startswith("study"):
            continue
        try:
            found = load([log])
        except InputError as error:
            to_stderr(f"Note: without the log {log}: {error}")
            continue
        if found.scored() and found.board_version == shown.board_version and found.track not in ("", shown.track):
            others.setdefault(found.track, found)
    own = [name for name in others if name not in TRACKS]
    return [others[name] for name in (*TRACKS, *own) if name in others]


@click.command()
@click.option("--results", type=click.Path(path_type=Path), help="A directory of logs [default: shipped].")
@click.option(
    "--tracks", default="quick,full", show_default=True, metavar="ONE,OTHER", help="Which two; ONE+MORE joins logs."
)
@click.option("--other-tasks", is_flag=True, help="Leave the tasks of ONE out of OTHER: does ONE predict the rest?")
def agreement(results: Path | None, tracks: str, other_tasks: bool) -> None:
    """Print how well two tracks order the same submissions: Kendall's rank correlation with its interval.

    The interval is over seeds; it says nothing of other tasks or other submissions. A name like theory+full stands for
    what the logs of both hold together.

    \b
    Example: lowlands agreement --results results --tracks quick,full
    """
    from leaderboard.analysis.ranking import board
    from leaderboard.analysis.results import load
    from leaderboard.analysis.robustness import agreement as agree
    from leaderboard.tables.table import estimate

    names = [name.strip() for name in tracks.split(",")]
    if len(names) != 2:
        raise InputError(f"--tracks names two tracks, as in quick,full, not {tracks!r}.")
    one, other = (load([find_log(results, part) for part in name.split("+")]) for name in names)
    for kind in one.kinds():
        if kind not in other.kinds():
            continue
        result = agree(board(one, kind), board(other, kind), other_tasks=other_tasks)
        if result is None:
            click.echo(f"{kind}s: too few are ranked on both tracks, or one track has no task that distinguishes them.")
        else:
            click.echo(
                f"{kind}s: Kendall's tau {estimate(result.tau).text} over {len(result.names)} submissions "
                f"({result.tasks[0]} tasks of {names[0]}, {result.tasks[1]} of {names[1]})."
            )


@click.command()
@click.argument("name", required=False)
@click.option("--format", "style", type=click.Choice(("svg", "pdf", "png")), default="pdf", show_default=True)
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="The file [default: NAME.FORMAT]."
)
@click.option(
    "--columns", type=click.IntRange(1, 2), help="As wide as so many columns of a paper [default: by figure]."
)
@results_option
@track_option
@with_option
@board_option
@click.option("--kind", help="Of optimizers or of architectures [default: optimizers].")
def figure(
    name: str | None,
    style: str,
    output: Path | None,
    columns: int | None,
    results: Path | None,
    track: str | None,
    beside: str | None,
    board: str | None,
    kind: str | None,
) -> None:
    """Write a figure of the site to a file, with sizes and letters for a two-column paper; list them without NAME.

    \b
    Example: lowlands figure scores --format pdf
    """
    from leaderboard.site.figure_list import FIGURES
    from leaderboard.site.figure_list import figure as draw

    if name is None:
        for each, meaning in FIGURES.items():
            click.echo(f"{each:22}{meaning}")
        return
    own = load_log(find_log(results, track), board=board)
    picture = draw(_beside(own, beside), name, kind, own if beside else None).for_paper(columns)
    path = output or Path(f"{file_stem(name)}.{style}")
    try:
        path.write_bytes(picture.file(style))
    except OSError as error:
        raise InputError(f"The file {path} cannot be written ({error.strerror}).") from error
    click.echo(f"Wrote {path}: {picture.alt}")


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--format", "style", type=click.Choice(("parquet", "csv")), default="csv", show_default=True)
@results_option
@track_option
@with_option
@board_option
def export(
    directory: Path, style: str, results: Path | None, track: str | None, beside: str | None, board: str | None
) -> None:
    """Write records as tables for other programs to DIRECTORY: runs, scores, measures, settings and curves.

    docs/export.md says what their columns hold.

    \b
    Example: lowlands export tables --format csv
    """
    from leaderboard.analysis.frames import write

    paths = write(_beside(load_log(find_log(results, track), board=board), beside), directory, style)
    for path in paths:
        click.echo(f"Wrote {path}")


def _beside(own: Results, beside: str | None, note: Note = to_stderr) -> Results:
    """The results, with the shipped ones where the option asks for them; what keeps them apart is noted."""
    from leaderboard.analysis.baselines import with_shipped

    joint = own if beside is None else with_shipped(own)
    for each in joint.notes[len(own.notes) :]:
        note(each)
    return joint


def load_log(path: Path, previous: bool = False, note: Note = to_stderr, board: str | None = None) -> Results:
    """The results of a log, of the newest `board` if None; what is wrong with it is noted."""
    from leaderboard.analysis.results import load

    results = load([path], previous, board)
    for each in results.notes:
        note(each)
    return results
