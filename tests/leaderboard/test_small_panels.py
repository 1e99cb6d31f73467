"""Small panels put data where matplotlib's own axes would."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from leaderboard.figures.canvas import tick_label
from leaderboard.figures.small_panels import SmallPanels


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("margin", [0.05, 0.12])
def test_data_lie_where_matplotlib_puts_them(log: bool, margin: float) -> None:
    x, y = np.array([0.003, 0.01, 0.27]), np.array([7.6e-18, 1.0, 40.0])
    panel = SmallPanels(1).panel("task", x, y, log, log, margin)
    axes = Figure().add_axes((0, 0, 1, 1), xmargin=margin, ymargin=margin)
    axes.plot(x, y)
    if log:
        axes.set(xscale="log", yscale="log")
    axes.autoscale_view()
    shares = axes.transAxes.inverted().transform(axes.transData.transform(np.column_stack([x, y])))
    np.testing.assert_allclose((panel.x(x) - panel.x.start) / panel.x.length, shares[:, 0], atol=1e-12)
    np.testing.assert_allclose((panel.y(y) - panel.y.start) / panel.y.length, shares[:, 1], atol=1e-12)


def test_what_has_no_place_is_a_gap() -> None:
    nothing = np.array([np.nan, np.inf, -1.0, 0.0])
    panel = SmallPanels(1).panel("task", nothing, np.array([2.0, 2.0]), x_log=True)
    assert np.isnan(panel.x(nothing)).all()
    assert panel.y(np.array([2.0])) == panel.y.start + panel.y.length / 2


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (0, "0"), (364, "360"), (0.2744, "0.27"), (-1.5, "−1.5"), (99_400, "99000"), (99_800, "10⁵"), (1e-6, "10⁻⁶"),
        (2.84e5, "2.8×10⁵"), (-7.61e-18, "−7.6×10⁻¹⁸"), (9.97e-4, "0.001"), (0.00123, "0.0012"),
    ],
)  # fmt: skip
def test_labels_of_ticks(value: float, label: str) -> None:
    assert tick_label(value) == label
