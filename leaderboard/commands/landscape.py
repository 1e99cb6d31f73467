"""`lowlands landscape`: the loss between kept solutions and around them, as figures and data.

The suite (and torch with it, two seconds) is imported inside the functions that need it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leaderboard.analysis.baselines import find_log
from leaderboard.commands.console import FiniteRange, file_stem, progress
from leaderboard.commands.run import SOLUTIONS, data_option, use_data
from leaderboard.commands.show import load_log
from suite.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from leaderboard.figures import Picture
    from suite.commands.landscape import Line, Plane

Step = Callable[[Sequence[Any]], Iterable[Any]]


@click.command()
@click.argument("results", type=click.Path(exists=True, path_type=Path))
@click.argument("task")
@click.argument("submissions", nargs=-1, required=True, metavar="SUBMISSION...")
@click.option("--track", metavar="NAME", help="The log in the directory RESULTS [default: its only one].")
@click.option("--format", "style", type=click.Choice(("svg", "pdf", "png")), default="pdf", show_default=True)
@click.option("--points", type=click.IntRange(3, 401), default=41, show_default=True, help="On a line.")
@click.option("--side", type=click.IntRange(3, 101), default=21, show_default=True, help="Points on a side of a plane.")
@click.option(
    "--reach",
    type=FiniteRange(min=0, min_open=True),
    default=0.5,
    show_default=True,
    help="How far a plane goes to each side, in lengths of the weights.",
)
@click.option(
    "--output", "-o", type=click.Path(file_okay=False, path_type=Path), default=Path("landscape"), show_default=True
)
@data_option
def landscape(
    results: Path,
    task: str,
    submissions: Sequence[str],
    track: str | None,
    style: str,
    points: int,
    side: int,
    reach: float,
    output: Path,
    data: Path | None,
) -> None:
    """Draw the training loss between the solutions of SUBMISSIONs on a TASK, and around each.

    RESULTS is a log or a directory of logs whose solutions were kept (lowlands run --keep-solutions). Between each two:
    the straight line, as they are and with hidden units matched. Around each: the plane of the two top eigenvectors of
    the Hessian, each filter scaled to the weights' own. Both are also written as CSV.

    \b
    Example: lowlands landscape results univariate_relu sgd adam --format png
    """
    use_data(data)
    found = losses(results, task, submissions, track, points, side, reach, progress("Losses"))
    picture = found.picture.for_paper(2)
    from leaderboard.analysis.frames import as_csv

    stem = file_stem(task)
    files = {f"{stem}.{style}": picture.file(style), f"{stem}-planes.csv": as_csv(found.planes).encode()}
    if len(found.lines):
        files[f"{stem}-lines.csv"] = as_csv(found.lines).encode()
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (output / name).write_bytes(content)
            click.echo(f"Wrote {output / name}")
    except OSError as error:
        raise InputError(f"{output} cannot be written to ({error.strerror}).") from error
    click.echo(f"Seed {found.seed} of {task}.")


@dataclass(frozen=True)
class Losses:
    """The training loss between kept solutions and around them.

    Attributes:
        seed: whose solutions they are.
        picture: lines, then planes.
        lines: a row for each place `t` of each line, from `one` to `other`; `aligned` is the loss with hidden units
            matched, NaN for networks whose units have no free order. Empty for one solution.
        planes: a row for each point (`a`, `b`) of each plane around a `submission`.
    """

    seed: int
    picture: Picture
    lines: pd.DataFrame
    planes: pd.DataFrame


def losses(
    results: Path,
    task: str,
    submissions: Sequence[str],
    track: str | None,
    points: int,
    side: int,
    reach: float,
    step: Step = list,
) -> Losses:
    """Losses between and around the solutions of `submissions` on a task.

    Args:
        results: a log, or a folder of logs, whose solutions were kept.
        task: its name.
        submissions: names in the log.
        track: which log of a folder; None: its only one.
        points: on a line.
        side: points on a side of a plane.
        reach: how far a plane goes to each side, in lengths of the weights.
        step: hands on lines and planes one by one, so that progress can be shown.

    Raises:
        InputError: there are no such results, or no seed on which all reached the target loss and were kept.
    """
    import pandas as pd

    from leaderboard.figures.landscapes import LossOnLine, LossOnPlane
    from leaderboard.figures.landscapes import landscape as draw
    from suite.commands.landscape import Landscape

    log = find_log(results, track)
    found = Landscape(load_log(log).scored(), log.parent / SOLUTIONS, task, list(dict.fromkeys(submissions)))
    pairs = list(itertools.combinations(found.solutions, 2))
    lines = [found.line(one, other, points) for one, other in step(pairs)]
    planes = [found.plane(solution, side, reach) for solution in step(found.solutions)]
    drawn = [
        LossOnLine(
            f"{line.one} to {line.other}",
            line.t,
            {"as they are": line.loss} | ({} if line.aligned is None else {"units matched": line.aligned}),
        )
        for line in lines
    ]
    around = [
        LossOnPlane(
            f"{plane.name} ({plane.eigenvalues[0]:.3g}, {plane.eigenvalues[1]:.3g})", plane.a, plane.b, plane.loss
        )
        for plane in planes
    ]
    alt = f"The training loss on {task}, seed {found.seed}, between and around solutions of {', '.join(submissions)}."
    empty = pd.DataFrame(columns=["one", "other", "t", "loss", "aligned"])
    return Losses(
        found.seed,
        draw(f"landscape-{task}", drawn, around, alt),
        pd.concat(map(_line, lines)) if lines else empty,
        pd.concat(map(_plane, planes)),
    )


def _line(line: Line) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"one": line.one, "other": line.other, "t": line.t, "loss": line.loss, "aligned": line.aligned})


def _plane(plane: Plane) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    places = {"a": np.tile(plane.a, len(plane.b)), "b": np.repeat(plane.b, len(plane.a))}
    return pd.DataFrame({"submission": plane.name, **places, "loss": plane.loss.ravel()})
