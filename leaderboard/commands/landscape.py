"""`lowlands landscape`: the loss between kept solutions and around them, as figures and data.

The suite (and torch with it, two seconds) is imported inside the functions that need it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leaderboard.analysis.baselines import find_log
from leaderboard.commands.console import FiniteRange, file_stem, progress
from leaderboard.commands.run import SOLUTIONS, data_option, use_data
from leaderboard.commands.show import load_log
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.commands.landscape import Line, Plane


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
    from leaderboard.figures.landscapes import LossOnLine, LossOnPlane
    from leaderboard.figures.landscapes import landscape as draw
    from suite.commands.landscape import Landscape

    use_data(data)
    log = find_log(results, track)
    found = Landscape(load_log(log).scored(), log.parent / SOLUTIONS, task, list(dict.fromkeys(submissions)))
    step = progress("Losses")
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
    picture = draw(f"landscape-{task}", drawn, around, alt).for_paper(2)
    stem = file_stem(task)
    files = {f"{stem}.{style}": picture.file(style), f"{stem}-planes.csv": _planes(planes).encode()}
    if lines:
        files[f"{stem}-lines.csv"] = _lines(lines).encode()
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (output / name).write_bytes(content)
            click.echo(f"Wrote {output / name}")
    except OSError as error:
        raise InputError(f"{output} cannot be written to ({error.strerror}).") from error
    click.echo(f"Seed {found.seed} of {task}.")


def _lines(lines: Sequence[Line]) -> str:
    """A row for each place of each line; `aligned` is empty for networks whose units have no free order."""
    import pandas as pd

    from leaderboard.analysis.frames import as_csv

    return as_csv(
        pd.concat(
            pd.DataFrame(
                {"one": line.one, "other": line.other, "t": line.t, "loss": line.loss, "aligned": line.aligned}
            )
            for line in lines
        )
    )


def _planes(planes: Sequence[Plane]) -> str:
    """A row for each point of each plane."""
    import numpy as np
    import pandas as pd

    from leaderboard.analysis.frames import as_csv

    return as_csv(
        pd.concat(
            pd.DataFrame(
                {
                    "submission": plane.name,
                    "a": np.tile(plane.a, len(plane.b)),
                    "b": np.repeat(plane.b, len(plane.a)),
                    "loss": plane.loss.ravel(),
                }
            )
            for plane in planes
        )
    )
