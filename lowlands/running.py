"""Runs submissions from Python: what `lowlands run` does, with a bar of progress that notebooks show."""

from __future__ import annotations

import pickle
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import torch  # noqa: F401  # now: a bar that turns while torch is loaded is for terminals

from leaderboard.commands.console import duration, file_stem
from leaderboard.commands.execution import Failures, Resources, line, opened, recorded_costs, start_engine, tell
from leaderboard.commands.run import DEFAULT, RESULTS, SOLUTIONS, sized_track, use_data
from lowlands.results import Results, load
from suite.engine.driver import Driver
from suite.engine.plan import make_plan
from suite.entries.loading import PICKLED, of_factory
from suite.errors import InputError, sentence
from suite.storage.record import Status
from suite.submission import Submission

if TYPE_CHECKING:
    from suite.engine.driver import Progress

Callback = Callable[[list[dict[str, Any]]], object]
"""Takes the records that are new in the log."""

Submitted = str | Path | Submission | Callable[..., Any]


def run(
    submissions: Submitted | Sequence[Submitted] = DEFAULT,
    *,
    track: str = "quick",
    tasks: Sequence[str] = (),
    seeds: int | None = None,
    trials: int | None = None,
    tuning_seeds: int | None = None,
    searches: int | None = None,
    measured_searches: int | None = None,
    results: str | Path = RESULTS,
    data: str | Path | None = None,
    device: str = "cpu",
    engine: str = "local",
    keep_solutions: bool = False,
    trace: float | None = None,
    trace_all: bool = False,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> Results:
    """Score submissions on a track.

    Runs are resumable: those that the log holds are not run again. A submission that is defined in a notebook, or in
    the script that runs, is kept as a file in the folder ``submissions`` beside the log; in another session it counts
    as another one. One in a file of its own (``"my_optimizer.py"``) is known by its source, and can be verified.

    Args:
        submissions: built-in names, paths to files, ``"module:Class"``, classes of optimizers (the space of `lr` is
            then the default one) and `Submission` objects; one or several. By default eight well-known optimizers.
        track: a track's name, or the file of one of your own.
        tasks: these tasks alone; by default the track's.
        seeds, trials, tuning_seeds, searches, measured_searches: in place of the track's, as for ``lowlands run``.
        results: the folder of the log, which is named after the track.
        data: the folder of data sets; by default ``$LOWLANDS_DATA``.
        device: of torch.
        engine: ``local`` (a process per core), ``local:N``, ``local:0`` (this process) or ``dask``.
        keep_solutions: keeps scored weights beside the log.
        trace: measures scored runs along the way, whenever their steps have grown by this factor, such as 1.5; the
            frame ``path`` has them.
        trace_all: by measures that cost more than training too: sharpness, and distances to the oracle.
        callbacks: called with every list of records that are new, once they are in the log (`lowlands.loggers`).
        progress: shows a bar, and a line for runs that fail.

    Returns:
        All that the log holds now.

    Raises:
        InputError: there is no such submission, task or track; or something cannot be built, read or written.
    """
    if isinstance(callbacks, str) or not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise InputError(f"callbacks is a list of functions, not {callbacks!r}.")
    if trace_all and trace is None:
        raise InputError("trace_all needs trace, a factor such as 1.5.")
    folder = Path(results)
    chosen = sized_track(
        track,
        seeds,
        trials=trials,
        tuning_seeds=tuning_seeds,
        searches=searches,
        measured_searches=measured_searches,
    )
    use_data(None if data is None else Path(data))
    if isinstance(submissions, Sequence) and not isinstance(submissions, str):
        texts = [_text(each, folder) for each in submissions]
    else:
        texts = [_text(submissions, folder)]
    path = folder / f"{chosen.name}.jsonl"
    solutions = str((folder / SOLUTIONS).resolve()) if keep_solutions else None
    with start_engine(Resources(engine, None, None, None), device) as started, opened(path) as log:
        plan = make_plan(texts, tasks or chosen.tasks, chosen, device, None, solutions, started, trace, trace_all)
        driver = Driver(plan, log, started, recorded_costs())
        tell(plan.notes)
        tell(log.notes)
        steps = _handed_on(driver.steps(), callbacks)
        if progress:
            _follow(steps, driver.seconds_left(), Failures(path))
        else:
            for _ in steps:
                pass
    return load(path)


def _handed_on(steps: Iterator[Progress], callbacks: Sequence[Callback]) -> Iterator[Progress]:
    """The steps, each when all callbacks have its records."""
    for step in steps:
        for callback in callbacks if step.records else ():
            callback(step.records)
        yield step


def _text(submission: Submitted, folder: Path) -> str:
    """The text that finds `submission` in a worker process; an object is written to a file in `folder` for that."""
    if isinstance(submission, str | Path):
        return str(submission)
    if not isinstance(submission, Submission):
        if not callable(submission):
            raise InputError(f"{submission!r} is no submission: give a name, a path, an optimizer or a Submission.")
        name, module = getattr(submission, "__qualname__", ""), getattr(submission, "__module__", "__main__")
        if module != "__main__" and name.isidentifier():
            return f"{module}:{name}"
        submission = of_factory(submission, name or "optimizer")
    try:
        # By value, with all that it refers to in a notebook or a script: workers do not import those.
        content = cloudpickle.dumps(submission)
    except (pickle.PicklingError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"The submission {submission.name!r} cannot be handed to other processes ({sentence(error)}): write it to "
            f"a file of its own, and give its path."
        ) from error
    path = folder / "submissions" / f"{file_stem(submission.name)}-{sha256(content).hexdigest()[:8]}{PICKLED}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}).") from error
    return str(path)


def _follow(steps: Iterator[Progress], left: float, failures: Failures) -> None:
    """A bar, and for each unit with runs that failed a line, with the last lines of code before the error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets the bar is one of text
        from tqdm.auto import tqdm

    with tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed}, {postfix}") as bar:
        bar.set_postfix_str(f"{duration(left)} left")
        for step in steps:
            bar.update(round(100 * step.done) - bar.n)
            bar.set_postfix_str(f"{duration(step.left)} left: {step.unit.task}")
            if not all(Status(record["status"]).trained for record in step.records):
                tqdm.write("\n".join([line(step), *failures.note(step)]), file=sys.stderr)
