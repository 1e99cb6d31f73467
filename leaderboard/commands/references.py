"""`lowlands references`: the values that score 0 and 1 on a task of the user's own.

The suite (and torch with it, two seconds) is imported inside the function that needs it.
"""

from __future__ import annotations

from pathlib import Path

import click

from leaderboard.commands.console import file_stem
from leaderboard.commands.execution import Resources, execute, opened, resource_options, start_engine
from leaderboard.commands.run import data_option, device_option, results_option, use_data
from suite.errors import InputError


@click.command()
@click.argument("task")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Runs of each optimizer.")
@results_option
@data_option
@device_option
@resource_options
def references(task: str, seeds: int, results: Path, data: Path | None, device: str, resources: Resources) -> None:
    """Make the references of a TASK of your own: then it is scored.

    TASK is my_task.py:NAME, whose axes leave their references open as NaN, or image:NAME. Seven well-known optimizers
    are tuned and run on seeds of their own. The best mean of each measure scores 1, the worst scores 0. The file lies
    beside the task or its data; remake it when they change. Runs are resumable.

    \b
    Example: lowlands references my_task.py:line
    """
    use_data(data)
    with start_engine(resources, device) as engine:
        from suite.commands.own_references import SUBMISSIONS, references_of, track_of_references
        from suite.engine.plan import make_plan
        from suite.storage.log import read
        from suite.storage.record import of_newest_source
        from suite.tasks import open_task, place_of_references
        from suite.tasks.own_references import write

        own = open_task(task)
        path, name = place_of_references(own)
        if not own.open_axes:
            raise InputError(f"{task} leaves no references open: give its axes score_0=math.nan, score_1=math.nan.")
        track = track_of_references(task, seeds)
        place = results / "references" / f"{file_stem(task)}.jsonl"
        with opened(place, resources.dry_run) as log:
            execute(engine, make_plan(SUBMISSIONS, track.tasks, track, device, engine=engine), log, resources)
        records = [record for record in of_newest_source(read(place).records) if record["phase"] == "score"]
        pairs = references_of(records, own.open_axes)
    write(path, name, pairs)
    for measure, pair in pairs.items():
        worst, best = f"{pair.score_0:.4g} scores 0 ({pair.score_0_run})", f"{pair.score_1:.4g} scores 1"
        click.echo(f"{measure}: {worst}, {best} ({pair.score_1_run})")
    click.echo(f"Wrote {path}")
