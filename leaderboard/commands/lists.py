"""The commands around runs: lists of tasks, submissions and measures, measuring a network's weights, a new submission.

The suite (and torch with it, two seconds) is imported inside the commands.
"""

from __future__ import annotations

from pathlib import Path

import click

from leaderboard.commands.console import BYTES
from suite.errors import InputError


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--verbose", "-v", is_flag=True, help="The claim, the oracle, the references and the papers of each.")
@click.option("--format", "style", type=click.Choice(("markdown", "html")), help="The catalogue as a page.")
def tasks(names: tuple[str, ...], verbose: bool, style: str | None) -> None:
    """List the tasks, or explain those named: also image:NAME (your data) and my_task.py:function (your task).

    \b
    Example: lowlands tasks 'sparse_regression[alpha=0.01]'
    """
    from leaderboard.tables import catalogue
    from suite.commands.task_list import task_list
    from suite.tasks import data_functions

    entries = task_list(names)
    if style is not None:
        click.echo(catalogue.render(entries, style))
    elif verbose or names:
        click.echo("\n\n".join(map(catalogue.text, entries)))
    else:
        for entry in entries:
            click.echo(f"{entry['name']:24}{entry['family']:14}{entry['description'].splitlines()[0]}")
        click.echo("\nOn your own data and code (docs/own_tasks.md):")
        for name, function in data_functions().items():
            click.echo(f"{f'{name}:NAME':24}{'':14}{(function.__doc__ or '').splitlines()[0]}")
        click.echo(f"{'my_task.py:function':24}{'':14}A function that returns a lowlands.Task.")


@click.command()
def submissions() -> None:
    """List the built-in submissions.

    \b
    Example: lowlands submissions
    """
    from suite.entries.loading import builtin_files, load

    for name in builtin_files():
        submission = load(name).submission
        first = submission.description.splitlines()[0] if submission.description else ""
        click.echo(f"{name:22}{submission.kind:14}{first}")


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def measures(names: tuple[str, ...]) -> None:
    """List the measures, or explain those named.

    \b
    Example: lowlands measures adaptive_sharpness
    """
    from suite.measures import explain, listing

    click.echo(explain(names) if names else listing())


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path), metavar="CHECKPOINT.safetensors")
@click.option("--data", required=True, help="A task's name, or an .npz file with x and y (or x_train, y_train, …).")
@click.option("--architecture", help="A built-in one, a file, or module:function [default: the task's network].")
@click.option("--measure", "names", multiple=True, metavar="NAME", help="Only this measure (repeatable).")
@click.option("--initial", type=click.Path(path_type=Path), help="The weights before training, as safetensors.")
@click.option(
    "--matched-loss",
    type=float,
    default=0.01,
    show_default=True,
    help="Training loss at which sharpness is compared: outputs are scaled until they reach it.",
)
@click.option("--seed", default=0, show_default=True, help="The seed of the task's data set.")
@click.option("--max-bytes", type=BYTES, metavar="4GB", help="How large the arrays of --data may be [default: 2GiB].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def measure(
    checkpoint: Path,
    data: str,
    architecture: str | None,
    names: tuple[str, ...],
    initial: Path | None,
    matched_loss: float,
    seed: int,
    max_bytes: int | None,
    as_json: bool,
) -> None:
    """Measure a network that is given as a file of weights.

    \b
    Example: lowlands measure net.safetensors --architecture net.py:build --data digits.npz --measure lambda_max
    """
    from suite.commands.checkpoint import measure_checkpoint

    report = measure_checkpoint(
        checkpoint,
        architecture,
        data,
        names,
        seed=seed,
        initial=initial,
        matched_loss=matched_loss,
        max_bytes=max_bytes,
    )
    click.echo(report.json() if as_json else report.text())
    if names and report.skipped:
        raise InputError(f"Not taken: {', '.join(report.skipped)}.")


@click.command()
@click.argument("kind", type=click.Choice(("optimizer", "architecture")))
@click.argument("name")
@click.option("--directory", type=click.Path(path_type=Path), default=Path(), help="Where to write it [default: here].")
def new(kind: str, name: str, directory: Path) -> None:
    """Write the file of a new submission, which runs as it is.

    \b
    Example: lowlands new optimizer my_momentum
    """
    from suite.entries.templates import write

    path = write(kind, name, directory)
    click.echo(f"Wrote {path}. Try it: lowlands run {path} --track smoke")
