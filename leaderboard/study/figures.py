"""The study's pictures: which factor decides what, and the claims with their intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from leaderboard.study.preregistered import PROPERTIES

if TYPE_CHECKING:
    from leaderboard.study.report import Findings

METADATA = {"Date": None}
"""Files do not change when nothing else does."""


def draw(found: Findings, directory: Path) -> list[str]:
    """Write the figures into `directory`; returns their file names."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "lowlands"
    directory.mkdir(parents=True, exist_ok=True)
    return [_shares(found, directory), _claims(found, directory)]


def _shares(found: Findings, directory: Path) -> str:
    import matplotlib.pyplot as plt

    shares = np.array(
        [
            [
                max(0.0, next((e.omega_squared.value for e in found.effects[name] if e.factors == (factor,)), 0.0))
                for factor in found.factors
            ]
            for name in PROPERTIES
        ]
    )
    figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
    image = axes.imshow(shares, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(found.factors)), found.factors, rotation=30, ha="right")
    axes.set_yticks(range(len(PROPERTIES)), list(PROPERTIES))
    for (row, column), share in np.ndenumerate(shares):
        axes.text(column, row, f"{share:.2f}", ha="center", va="center", color="black" if share > 0.6 else "white")
    figure.colorbar(image, label="partial omega squared")
    name = "which-factor-decides-which-property.svg"
    figure.savefig(directory / name, metadata=METADATA)
    plt.close(figure)
    return name


def _claims(found: Findings, directory: Path) -> str:
    """Differences in units of the claimed direction: right of zero is as claimed."""
    import matplotlib.pyplot as plt

    tested = [v for v in found.verdicts if v.pairs]
    figure, panels = plt.subplots(2, 1, figsize=(8, 4.6), layout="constrained", height_ratios=(3, 1))
    for panel, log in zip(panels, (True, False), strict=True):
        shown = [v for v in tested if v.claim.log == log]
        for row, verdict in enumerate(shown):
            sign = 1 if verdict.claim.more else -1
            for interval in verdict.environments.values():
                panel.plot(sign * interval.value, row, marker="|", color="0.6", markersize=9)
            low, high = sorted((sign * verdict.difference.low, sign * verdict.difference.high))
            panel.plot([low, high], [row, row], color="C0", linewidth=3)
            panel.plot(sign * verdict.difference.value, row, marker="o", color="C0")
        panel.axvline(0, color="0.3", linewidth=0.8)
        panel.set_ylim(-0.6, len(shown) - 0.4)
        panel.set_yticks(range(len(shown)), [v.claim.name for v in shown])
        panel.invert_yaxis()
        panel.set_xlabel(
            "log ratio: as claimed to the right" if log else "difference of test errors: as claimed to the right"
        )
    name = "claims-as-claimed-to-the-right.svg"
    figure.savefig(directory / name, metadata=METADATA)
    plt.close(figure)
    return name
