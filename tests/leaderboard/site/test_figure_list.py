"""The figures of the site as files."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from matplotlib.text import Text

import lowlands
from leaderboard.analysis.aggregates import performance_profile
from leaderboard.analysis.ranking import board
from leaderboard.analysis.results import Results
from leaderboard.cli import main
from leaderboard.figures.svg import COLUMN, PAGE
from leaderboard.site.figure_list import FIGURES, figure
from suite.errors import InputError
from suite.storage.record import PATH
from tests.leaderboard.helpers import whole_run

NAMES = {"TASK": "images_0", "CURVE": "learned_function", "SUBMISSION": "opt_1"}


@pytest.fixture(scope="module")
def results() -> Results:
    """Of which the runs on one task were traced."""
    found = whole_run()
    for run in found.scored():
        if run["task"] == NAMES["TASK"]:
            columns = {"weight_norm": [1.0, 2.0, 4.0], "update_norm": [None, 0.5, None]}
            run[PATH] = {"steps": [0, 1, 5], "gradient_evaluations": [0, 1, 5], "measures": columns}
    return found


def _named(pattern: str) -> str:
    return ":".join(NAMES.get(part, part) for part in pattern.split(":"))


@pytest.mark.parametrize("pattern", FIGURES)
def test_every_figure_is_there_with_readable_letters(results: Results, pattern: str) -> None:
    picture = figure(results, _named(pattern)).for_paper()
    assert picture.figure.get_figwidth() in (COLUMN, PAGE)
    letters = [text for text in picture.figure.findobj(Text) if isinstance(text, Text) and text.get_text()]
    assert letters
    assert min(text.get_fontsize() for text in letters) >= 5
    root = ElementTree.fromstring(picture.file("svg"))
    assert float((root.get("width") or "").removesuffix("pt")) == pytest.approx(72 * picture.figure.get_figwidth())


def test_formats_are_what_they_say_and_the_same_each_time(results: Results) -> None:
    for style, start in (("pdf", b"%PDF"), ("png", b"\x89PNG"), ("svg", b"<svg")):
        first, second = (figure(results, "scores").file(style) for _ in range(2))
        assert first.startswith(start)
        assert first == second
    assert b"/FontFile2" in figure(results, "scores").file("pdf")  # TrueType, as publishers ask for


def test_what_a_figure_shows_is_what_the_results_hold(results: Results) -> None:
    found = board(results)
    (panel, *_) = figure(results, "scores").figure.axes
    drawn = {line.get_label(): line.get_xdata() for line in panel.get_lines()}
    for axis in found.scores.axes:
        expected = [standing.axes[axis].value for standing in found.standings]
        assert list(drawn[axis]) == expected  # type: ignore[arg-type]
    (panel, *_) = figure(results, "performance").figure.axes
    shares = [list(line.get_ydata()) for line in panel.get_lines()]  # type: ignore[arg-type]
    rows = [found.ranked.names.index(name) for name in found.ranked_names]
    assert shares == [list(row) for row in performance_profile(found.ranked)[rows]]
    assert not any(math.isnan(share) for row in shares for share in row)


def test_own_rows_are_bold_beside_shipped_ones(results: Results) -> None:
    own = Results([run for run in results.records if run["submission"] == NAMES["SUBMISSION"]])

    def bold(mine: Results | None) -> list[str]:
        (panel, *_) = figure(results, "scores", own=mine).figure.axes
        return [label.get_text() for label in panel.get_yticklabels() if label.get_fontweight() == "bold"]

    assert bold(own) == [NAMES["SUBMISSION"]]
    assert bold(None) == bold(results) == []


def test_a_path_is_drawn_to_its_end_with_a_line_for_every_submission(results: Results) -> None:
    norms, updates = figure(results, f"path:{NAMES['TASK']}").figure.axes
    names = {run["submission"] for run in results.scored() if run["task"] == NAMES["TASK"]}
    assert {line.get_label() for line in norms.get_lines()} == names
    for line in norms.get_lines():
        assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 5], [2.0, 4.0])  # type: ignore[arg-type]
    assert all(list(line.get_ydata()) == [0.5] for line in updates.get_lines())  # type: ignore[arg-type]


def test_what_cannot_be_drawn_is_one_sentence(results: Results) -> None:
    with pytest.raises(InputError, match="did you mean 'tradeoff'"):
        figure(results, "tradeof")
    with pytest.raises(InputError, match="did you mean 'runs:images_0'"):
        figure(results, "runs:image_0")
    with pytest.raises(InputError, match="hold no 'architecture'"):
        figure(results, "scores", "architecture")
    with pytest.raises(InputError, match="nothing to draw"):
        figure(Results([]), "scores")


def test_the_command_writes_a_file_and_lists_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    listed = CliRunner().invoke(main, ["figure"])
    assert all(name in listed.output for name in FIGURES)
    result = CliRunner().invoke(main, ["figure", "curves:min_norm_regression", "--track", "smoke", "--format", "svg"])
    assert result.exit_code == 0, result.output
    assert "<svg" in (tmp_path / "curves_min_norm_regression.svg").read_text()
    assert CliRunner().invoke(main, ["figure", "scores", "--track", "smoke", "-o", "no/where.pdf"]).exit_code == 2


def test_a_notebook_gets_a_figure_of_matplotlib() -> None:
    shown = lowlands.load(track="smoke").figure("scores")
    assert shown._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
