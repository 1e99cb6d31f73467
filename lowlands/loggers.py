"""Callbacks of `lowlands.run` that hand scored runs on to TensorBoard and to Weights & Biases.

A callback is any function of a list of records: it is called with those that are new, once they are in the log. Each of
these needs an extra: ``pip install '.[tensorboard]'`` or ``'.[wandb]'``.

    lowlands.run("my_optimizer.py", track="smoke", trace=1.5, callbacks=[TensorBoard("runs")])
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from suite.errors import InputError
from suite.storage.record import PATH, search_of

Records = Sequence[Mapping[str, Any]]


class TensorBoard:
    """Writes a run of TensorBoard for each scored run: ``SUBMISSION/TASK/SEARCH-TRIAL-SEED`` in a folder.

    Its scalars are ``path/MEASURE`` over the optimizer's steps, of runs that were traced, and at the last step
    ``measures/MEASURE`` and ``train_loss``.
    """

    def __init__(self, folder: str | Path) -> None:
        """Write to `folder`; an `InputError` if TensorBoard is not installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise _missing("tensorboard") from None
        self._folder, self._writer = Path(folder), SummaryWriter

    def __call__(self, records: Records) -> None:
        for record in _scored(records):
            with self._writer(str(self._folder.joinpath(*_names(record)))) as writer:
                for step, values in _rows(record):
                    for name, value in values.items():
                        writer.add_scalar(name, value, step)


class WeightsAndBiases:
    """Writes an offline run of Weights & Biases for each scored run, which ``wandb sync`` uploads.

    The project is the same for all, the group is the task, the type of job the submission; settings are its
    configuration. The history is that of `TensorBoard`.
    """

    def __init__(self, folder: str | Path, project: str = "lowlands") -> None:
        """Write to `folder`, which is made; an `InputError` if wandb is not installed."""
        try:
            import wandb
        except ImportError:
            raise _missing("wandb") from None
        self._folder, self._project, self._init = Path(folder), project, wandb.init

    def __call__(self, records: Records) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for record in _scored(records):
            submission, task, run = _names(record)
            with self._init(
                mode="offline",
                dir=str(self._folder),
                project=self._project,
                name=f"{submission} on {task}, {run}",
                group=task,
                job_type=submission,
                config={"seed": record["seed"], **record["hyperparameters"]},
            ) as history:
                for step, values in _rows(record):
                    history.log(values, step=step)


def _missing(extra: str) -> InputError:
    return InputError(f"It needs the extra `{extra}`: pip install '.[{extra}]'.")


def _scored(records: Records) -> Iterator[Mapping[str, Any]]:
    return (record for record in records if record["phase"] == "score")


def _names(record: Mapping[str, Any]) -> tuple[str, str, str]:
    """Submission, task, and the numbers of search, trial and seed."""
    return record["submission"], record["task"], f"{search_of(record)}-{record['trial']}-{record['seed']}"


def _rows(record: Mapping[str, Any]) -> list[tuple[int, dict[str, float]]]:
    """(step, finite values by name), by steps: what was measured along the way, and at the end."""
    rows: dict[int, dict[str, float]] = {}
    if path := record.get(PATH):
        for name, column in path["measures"].items():
            for step, value in zip(path["steps"], column, strict=True):
                if value is not None:
                    rows.setdefault(step, {})[f"path/{name}"] = value
    end = {f"measures/{name}": value for name, value in record["measures"].items()}
    end["train_loss"] = record["train_loss"]
    known = {name: float(value) for name, value in end.items() if value is not None and math.isfinite(value)}
    rows.setdefault(record["steps"], {}).update(known)
    return sorted(rows.items())
