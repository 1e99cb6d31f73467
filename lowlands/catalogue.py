"""The tasks as a frame."""

from __future__ import annotations

import pandas as pd

from suite.commands.task_list import task_list
from suite.tracks import TRACKS


def tasks(*names: str) -> pd.DataFrame:
    """The tasks that there are, or those named, ordered by family.

    Args:
        names: tasks as `run` takes them, with their variants: ``"sparse_regression[alpha=0.01]"``.

    Returns:
        A row for each task, indexed by `name`: its family, the question that it asks, the measures that stand for its
        axes, the tracks that hold it, and its whole description.

    Raises:
        InputError: there is no such task.
    """
    rows = [
        {
            "name": entry["name"],
            "family": entry["family"],
            "question": entry["description"].partition("\n")[0],
            "measures": ", ".join(axis["measure"] for axis in entry["axes"]),
            "tracks": ", ".join(track.name for track in TRACKS.values() if entry["name"] in track.tasks),
            "description": entry["description"],
        }
        for entry in task_list(names)
    ]
    return pd.DataFrame(rows).set_index("name")
