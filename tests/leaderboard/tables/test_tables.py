"""Tables parse back, whatever a submission is called, and show as many digits as are known."""

from __future__ import annotations

import csv
import inspect
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console

from leaderboard.analysis.baselines import shipped_logs
from leaderboard.analysis.ranking import Board, board
from leaderboard.analysis.results import Results, load
from leaderboard.analysis.statistics import Interval
from leaderboard.tables import FORMATS, VIEWS, views
from leaderboard.tables.formats import WRITERS, render, terminal
from leaderboard.tables.table import Column, Table, TableCell, digits, estimate, number, text
from suite.errors import InputError
from suite.literals import split
from suite.tracks import FULL, TRACKS
from tests.leaderboard.helpers import record

NAMES = ["plain", "a|b", "<script>", "x_1 & 50%", "_edge_", "[1]"]
SHIPPED = shipped_logs()


@pytest.fixture(scope="module")
def results() -> Results:
    rows = [
        record(name, task, s, 0.1 * n + 0.01 * s * s)
        for n, name in enumerate(NAMES)
        for task in ("a1", "b1")
        for s in range(3)
    ]
    shown = {"measures": {"m_norm": 0.5, "beside": 7.0, "hidden": 8.0}, "reported": ["beside"], "explicit": True}
    return Results([*rows, *(record("half", "b1", s, 0.5, **shown) for s in range(3))])


@pytest.fixture(scope="module")
def made(results: Results) -> Board:
    return board(results)


@pytest.fixture(scope="module")
def ranking(made: Board, results: Results) -> Table:
    return views.ranking(made, results)


def test_the_command_knows_the_views_and_formats(made: Board, results: Results) -> None:
    public = {name: view for name, view in vars(views).items() if not name.startswith("_")}
    assert sorted(name for name, view in public.items() if _takes_a_board(view)) == sorted(VIEWS)
    assert tuple(WRITERS) == FORMATS


def _takes_a_board(view: object) -> bool:
    return inspect.isfunction(view) and list(inspect.signature(view).parameters)[:2] == ["board", "results"]


def test_rotations_task_by_task() -> None:
    """A word for every task, and by how much the path moves where the method knows coordinates."""
    found = {
        ("blind", "a1"): (1e-12, None),
        ("blind", "b1"): (2e-4, 0.0),
        ("sided", "a1"): (1.25, 1e-5),
        ("sided", "b1"): (0.5, 0.3),
    }
    rows = [
        record(
            name, task, seed, 0.5, probe={"behaviors": [], "rotated": rotated, "turned": turned} if seed == 0 else None
        )
        for (name, task), (rotated, turned) in found.items()
        for seed in range(2)
    ]
    results = Results([*rows, *(record("unprobed", task, 0, 0.4) for task in ("a1", "b1"))])
    table = views.rotations(board(results), results)
    lines = list(csv.reader(io.StringIO(render(table, "markdown"), newline=""), delimiter="|"))
    shown = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    names = shown[0][1:]
    cells = {(name, row[0]): cell for row in shown[2:] for name, cell in zip(names, row[1:], strict=True)}
    assert cells == {
        ("blind", "a1"): "yes",
        ("blind", "b1"): "yes",
        ("sided", "a1"): "of inputs and outputs (1.2)",
        ("sided", "b1"): "no (0.5)",
    }


def test_markdown(ranking: Table) -> None:
    lines = render(ranking, "markdown").splitlines()
    assert len(lines) == 2 + len(ranking.rows)
    assert all(line.replace("\\|", "").count("|") == lines[0].count("|") for line in lines)
    assert "half †" in lines[-1]
    assert "\\_edge\\_" in render(ranking, "markdown")
    assert "x_1 & 50%" in render(ranking, "markdown")


def test_the_best_and_what_ties_with_it_are_marked(ranking: Table) -> None:
    place = ranking.position("norm")
    marked = {str(row[1].value) for row in ranking.rows if row[place].best}
    assert "plain" in marked
    assert "[1]" not in marked
    assert render(ranking, "markdown").count("**") >= 4
    assert r"\textbf{" in render(ranking, "latex")
    assert "<strong>" in render(ranking, "html")
    assert {row["submission"] for row in json.loads(render(ranking, "json"))["rows"] if "norm" in row["best"]} == marked


def test_csv_carries_numbers(made: Board, ranking: Table) -> None:
    rows = list(csv.DictReader(render(ranking, "csv").splitlines()))
    assert [row["submission"] for row in rows] == made.names
    assert float(rows[0]["overall"]) == made.standings[0].overall.value
    assert float(rows[0]["norm_low"]) == made.standings[0].axes["norm"].low
    assert rows[-1]["explicit"] == "True"


def test_json_carries_everything(made: Board, ranking: Table) -> None:
    rows = json.loads(render(ranking, "json"))["rows"]
    assert rows[0]["overall"]["low"] == made.standings[0].overall.low
    assert rows[-1]["missing"] == "a1"


def test_html_escapes(ranking: Table) -> None:
    made = render(ranking, "html")
    assert "<script>" not in made
    cells: list[str] = []
    parser = HTMLParser()
    parser.handle_data = cells.append  # type: ignore[method-assign]
    parser.feed(made)
    assert "<script>" in " ".join(cells)


def test_a_part_of_a_track_and_a_single_seed_are_said_below_the_ranking() -> None:
    def notes(tasks: tuple[str, ...], seeds: int, track: str = "smoke") -> str:
        runs = [record("sgd", task, seed, 0.1 * seed, track=track) for task in tasks for seed in range(seeds)]
        results = Results(runs)
        return " ".join(views.ranking(board(results), results).notes)

    whole = TRACKS["smoke"].tasks
    part = whole[:1]
    assert f"Not the whole track: 1 of the {len(whole)} tasks of smoke: {part[0]}." in notes(part, 2)
    assert "Not the whole track: 9 of the" in notes(tuple(FULL[:9]), 2, "full")
    assert not any("whole track" in notes(*each) for each in ((whole, 2), (("of_my_own",), 2), (part, 2, "mine")))
    assert "one seed has no interval" in notes(whole, 1)
    assert "95 % intervals over seeds" in notes(whole, 2)


def test_latex_escapes(ranking: Table) -> None:
    made = render(ranking, "latex")
    assert r"\toprule" in made
    assert made.startswith("% \\usepackage{booktabs}\n")
    assert r"x\_1 \& 50\%" in made
    assert r"half $\dagger$" in made
    assert made.count(r"\\") == 1 + len(ranking.rows)
    # A row that begins with a bracket would be the optional argument of the row break before it.
    assert "{[}1]" in render(ranking.choose(["submission", "overall"]), "latex")


@pytest.mark.parametrize("style", FORMATS)
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("log", [None, *SHIPPED], ids=lambda path: path.stem if path else "made up")
def test_every_view_in_every_format(results: Results, view: str, style: str, log: Path | None) -> None:
    chosen = results if log is None else _loaded(log)
    table = getattr(views, view)(_board(chosen), chosen)
    written = render(table, style)
    for row in table.rows:
        assert len(row) == len(table.columns)
    if style == "json":
        assert len(json.loads(written)["rows"]) == len(table.rows)
    if style == "csv":
        lines = list(csv.reader(io.StringIO(written)))
        assert len(lines) == 1 + len(table.rows)
        assert len({len(line) for line in lines}) == 1


LOADED: dict[Path, Results] = {}
BOARDS: dict[int, Board] = {}


def _loaded(path: Path) -> Results:
    return LOADED.setdefault(path, load([path]))


def _board(results: Results) -> Board:
    if id(results) not in BOARDS:
        BOARDS[id(results)] = board(results)
    return BOARDS[id(results)]


def test_reported_measures_stand_beside_the_scored_ones(made: Board, results: Results) -> None:
    rows = {(row[0].text, row[1].text, row[2].text) for row in views.measures(made, results).rows}
    assert rows == {("a1", "m_norm ↓", "norm"), ("b1", "m_norm ↓", "norm"), ("b1", "beside", "reported")}


def test_a_task_that_nobody_solved_is_named() -> None:
    met, missed = record("x", "a1", 0, 0.5), record("x", "b1", 0, 0.5, converged=False, measures={})
    for records, named in (([met], False), ([met, missed], True)):
        own = Results(records)
        assert any("reached the target loss on b1:" in note for note in views.measures(board(own), own).notes) == named


def test_measures_have_their_references_where_they_are_scored() -> None:
    def run(seed: int, score_0: float) -> dict[str, object]:
        axis = {"measure": "m_norm", "scale": "linear", "score_0": score_0, "score_1": 0.5, "floor": None}
        more = {"axes": {"norm": axis}, "measures": {"m_norm": 0.7, "beside": 7.0}, "reported": ["beside"]}
        return record("sgd", "a1", seed, 0.7, **more)

    own = Results([run(0, 2.0), run(1, 4.0)])
    table = views.measures(board(own), own).choose(["measure", "score_0", "score_1"])
    assert [[entry.value for entry in row] for row in table.rows] == [["m_norm", 3.0, 0.5], ["beside", None, None]]


def test_measures_say_which_direction_is_better(made: Board, results: Results) -> None:
    def run(seed: int) -> dict[str, object]:
        axis = {"measure": "m_norm", "scale": "linear", "score_0": 0.0, "score_1": 2.0, "floor": None}
        return record("sgd", "c1", seed, 0.7, axes={"norm": axis})

    both = Results([*results.records, run(0), run(1)])
    table = views.measures(board(both), both)
    names = {(row[0].text, row[1].value): row[1].text for row in table.rows}
    assert names == {
        ("a1", "m_norm"): "m_norm ↓",
        ("b1", "m_norm"): "m_norm ↓",
        ("b1", "beside"): "beside",  # it is not scored
        ("c1", "m_norm"): "m_norm ↑",
    }
    assert "higher is better" in table.notes[0]
    for style, arrow in (("markdown", "m_norm ↑"), ("html", "m_norm ↑"), ("latex", r"m\_norm $\uparrow$")):
        assert arrow in render(table, style)
    for style in ("csv", "json"):  # for programs, the name alone
        assert "↑" not in render(replace(table, notes=()), style)
    assert len(table.filter("measure=m_norm").rows) == 3


def test_rankings_say_that_higher_scores_are_better(ranking: Table) -> None:
    assert "higher is better" in ranking.notes[0]


def test_a_cell_is_put_together_where_it_is_written() -> None:
    cell = TableCell("sam", "sam", detail="(lacks a1)", explicit=True)
    assert cell.text == "sam † (lacks a1)"
    assert estimate(Interval(0.5, 0.4, 0.6)).text == "0.50 [0.40, 0.60]"
    assert estimate(Interval(0.5, 0.4, 0.6)).label == estimate(Interval(0.5, 0.4, 0.6), bounds=False).text


def test_unknown_format(ranking: Table) -> None:
    with pytest.raises(InputError, match="no table format"):
        render(ranking, "pdf")


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_terminal_shows_every_submission_and_cuts_nothing(ranking: Table, width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    for part in terminal(ranking, width):
        console.print(part)
    shown = console.export_text()
    assert all(name in shown for name in NAMES)
    assert "…" not in shown
    assert all(len(line) <= width for line in shown.splitlines())


@pytest.mark.parametrize(
    ("numbers", "wanted"),
    [
        ([0.7945, 0.752, 0.826], ["0.79", "0.75", "0.83"]),
        ([0.7945, 0.7815, 0.8075], ["0.794", "0.781", "0.807"]),  # half an interval of 0.013: two digits
        ([0.5], ["0.500"]),
        ([1.0, 1.0, 1.0], ["1.00", "1.00", "1.00"]),
        ([1.93e-5, 1.7e-5, 2.1e-5], ["1.9e-05", "1.7e-05", "2.1e-05"]),
        ([123456.0, 120000.0, 127000.0], ["1.23e+05", "1.20e+05", "1.27e+05"]),
        ([312.7, 250.0, 380.0], ["313", "250", "380"]),
        ([0.04, -1.0, 1.1], ["0.04", "-1.00", "1.10"]),  # never so few that nothing is left
        ([0.0, 0.0, 0.0], ["0.00", "0.00", "0.00"]),
    ],
)
def test_digits(numbers: list[float], wanted: list[str]) -> None:
    assert digits(numbers) == wanted


@given(st.floats(-1e9, 1e9), st.floats(1e-9, 1e6))
def test_digits_lose_less_than_the_interval(value: float, half: float) -> None:
    assume(half > 1e-9 * abs(value))
    shown = [float(part) for part in digits([value, value - half, value + half])]
    assert abs(shown[0] - value) <= 0.5 * half + 1e-9 * abs(value)


TABLE = Table(
    "t",
    (Column("name", "name", words=True), Column("score", "score"), Column("note", "note", words=True, data=True)),
    tuple(
        (text(name), score, text("n"))
        for name, score in (
            ("b", estimate(Interval(0.5, 0.4, 0.6))),
            ("a", number(None)),
            ("c", estimate(Interval(0.7, 0.6, 0.8))),
        )
    ),
)


def _names(table: Table) -> str:
    return "".join(row[0].text for row in table.rows)


def test_sorting_puts_the_unknown_last() -> None:
    assert _names(TABLE.sort("score")) == "bca"
    assert _names(TABLE.sort("-score")) == "cba"
    assert _names(TABLE.sort("name")) == "abc"


@pytest.mark.parametrize(
    ("condition", "left"), [("score>=0.5", "bc"), ("score > 0.5", "c"), ("score<0.6", "b"), ("name=[ac]", "ac")]
)
def test_filtering(condition: str, left: str) -> None:
    assert _names(TABLE.filter(condition)) == left


def test_former_names_of_columns_are_still_taken(results: Results) -> None:
    ranking = views.ranking(board(results, "optimizer"), results)
    assert ranking.choose(["submission", "stop", "lanes"]) == ranking.choose(["submission", "target", "runs"])
    assert ranking.sort("-stop") == ranking.sort("-target")
    axes = Table("axes", (Column("axis", "axis", words=True),), ((text("reported"),), (text("norm"),)))
    assert axes.filter("axis=shown").rows == ((text("reported"),),)


def test_choosing_columns() -> None:
    chosen = TABLE.choose(["note", "name"])
    assert [entry.text for entry in chosen.rows[0]] == ["n", "b"]
    # What is asked for by name is shown to people too.
    assert "note" in render(chosen, "markdown")
    assert "note" not in render(TABLE, "markdown")


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        (lambda: TABLE.sort("scor"), "did you mean 'score'"),
        (lambda: TABLE.filter("score>high"), "not a number"),
        (lambda: TABLE.filter("nonsense"), "must look like"),
        (lambda: TABLE.choose(["zzz"]), "there are name, score, note"),
        (lambda: TABLE.choose(["null"]), "There is no column 'null'"),
    ],
)
def test_mistakes_are_one_sentence(what: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        what()  # type: ignore[operator]


def test_an_estimate_of_one_seed_has_no_bounds() -> None:
    assert estimate(Interval(0.5, math.nan, math.nan)).text == "0.500"
    assert estimate(None).text == estimate(Interval(math.nan, math.nan, math.nan)).text == "–"
    assert TableCell(True, "yes").key == 1.0


ACTIVE_NAMES = (
    "[click](http://example.org)", "[click][x]", "[x]: http://example.org", "@team", "me@example.org",
    "www.example.org", "https://example.org/a_b", "#12", "GH-12", "owner/repo#3", "deadbeef1", "![i](x)", "<b>x</b>",
    "<!-- x", "~~gone~~", "`code`", "``", "a | b", "a\\|b", "\\", "**", "_x_", "&lt;b&gt;", "&#64;team", "<http://a>",
    "[x[/b]]", "ok_name[lr=0.1]",
)  # fmt: skip
"""Texts that markdown, or GitHub in particular, would make something of."""


def _inline_of(source: str) -> list[list[Token]]:
    """The inline tokens of every cell of a markdown table, row by row, as a parser of GitHub's dialect finds them."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(source)
    assert {token.type.partition("_")[0] for token in tokens} <= {"table", "thead", "tbody", "tr", "th", "td", "inline"}
    return [token.children or [] for token in tokens if token.type == "inline"]


def _of_names(*names: str) -> Table:
    rows = tuple((TableCell(name, name, best=n % 2 == 0), TableCell(1.0, "1")) for n, name in enumerate(names))
    return Table("names", (Column("who", "who", words=True), Column(names[0], names[0])), rows)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(ACTIVE_NAMES) | st.text("ab01@#[](){}<>|`*_~!:/.&;\\$-+= ", min_size=1, max_size=12))
def test_no_name_is_markup_in_markdown(name: str) -> None:
    cells = _inline_of(render(_of_names(name, "plain"), "markdown"))
    assert len(cells) == 6
    for place in (1, 2):  # as a title, and as the best of a column
        shown = "".join(token.content for token in cells[place])
        assert shown.split() == name.split()
        kinds = {token.type for token in cells[place]}
        assert kinds <= {"text", "text_special", "code_inline", "strong_open", "strong_close"}
        assert ("strong_open" in kinds) == (place == 2 and bool(name.strip()))
        free = "".join(token.content for token in cells[place] if token.type != "code_inline")
        assert not re.search(r"@|://|www\.|#\d|GH-\d", free, re.I)


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\tx", "\rx", "plain", "'=1", "sgd-1"])
def test_no_name_is_a_formula_in_csv(name: str) -> None:
    header, first, second = csv.reader(io.StringIO(render(_of_names(name, "x"), "csv"), newline=""))
    escaped = name if name in ("plain", "'=1", "sgd-1") else f"'{name}".replace("\r", " ")
    assert header[1] == first[0] == escaped
    assert second == ["x", "1.0"]
    negative = Table("numbers", (Column("n", "n"),), ((TableCell(-1.5, "-1.5"),), (TableCell(-2, "-2"),)))
    assert render(negative, "csv").splitlines() == ["n", "-1.5", "-2"]


SUITE_NAMES = ("SGD[lr=0.3,momentum=0.9]", "SGD[lr=0.2]", "SGDl", "Adam[betas=(0.9,0.95)]", "x[/b]", "-minus")


@pytest.mark.parametrize("name", SUITE_NAMES)
def test_filters_columns_and_sorting_take_the_names_that_the_suite_makes(name: str) -> None:
    rows = tuple((TableCell(other, other), TableCell(len(other), "n")) for other in SUITE_NAMES)
    who = Table("who", (Column("submission", "submission", words=True), Column("n", "n")), rows)
    assert [row[0].value for row in who.filter(f"submission={name}").rows] == [name]
    assert [row[0].value for row in who.filter(f"submission=={name}").rows] == [name]
    columns = (Column("task", "task", words=True), *(Column(other, other) for other in SUITE_NAMES))
    cells = tuple(
        (TableCell(f"t{row}[alpha=1.0]", ""), *(TableCell(row * (-1) ** n, "") for n in range(6))) for row in range(4)
    )
    wide = Table("wide", columns, cells)
    assert [column.key for column in wide.choose(split(f"task,{name}")).columns] == ["task", name]
    assert [row[0].value for row in wide.filter("task=t2[alpha=1.0]").rows] == ["t2[alpha=1.0]"]
    place = SUITE_NAMES.index(name)
    assert len(wide.filter(f"{name} >= 2").rows) == (2 if place % 2 == 0 else 0)
    assert [row[0].value for row in wide.filter(f"{name}={3 * (-1) ** place}").rows] == ["t3[alpha=1.0]"]
    rising = [row[1 + place].value for row in wide.sort(name).rows]
    assert rising == sorted(rising)
    assert [row[1 + place].value for row in wide.sort(f"-{name}").rows] == rising[::-1]


def test_a_filter_takes_truth_values_as_they_are_written() -> None:
    rows = tuple((TableCell(value, str(value)),) for value in (True, False))
    table = Table("who", (Column("explicit", "explicit"),), rows)
    for condition in ("explicit=false", "explicit=False", "explicit==false"):
        assert [row[0].value for row in table.filter(condition).rows] == [False]


@pytest.mark.parametrize("width", [60, 200])
def test_names_are_not_markup_on_a_terminal(width: int) -> None:
    names = ("SGD[lr=0.3]", "SGD[lr=0.2]", "x[/b]", "[red]y", "[link=http://a]z")
    columns = (Column("task", "task[alpha=1]", words=True), *(Column(name, name) for name in names))
    row = (TableCell("t[b=1]", "t[b=1]"), *(TableCell(1.0, "1") for _ in names))
    console = Console(width=width, record=True, file=io.StringIO())
    for part in terminal(Table("of [/b] and [red]", columns, (row,)), width):
        console.print(part)
    shown = console.export_text()
    for name in (*names, "task[alpha=1]", "t[b=1]", "of [/b] and [red]"):
        assert name in shown


def test_the_dagger_is_explained_only_where_the_shown_runs_show_why() -> None:
    """A submission may have earned it on tasks that are not shown."""
    harmless, decays = (
        {"steps": 16, "behaviors": [word]} for word in ("keeps copies of its weights", "decays its weights")
    )
    runs = [
        record(name, "a", seed, 0.1 * seed, explicit=True, probe=probe)
        for name, probe in (("averages", harmless), ("decays", decays))
        for seed in range(3)
    ]
    (note,) = [n for n in views.ranking(board(Results(runs)), Results(runs)).notes if "Measured" in n]
    assert "Measured: decays decays its weights." in note
    assert "averages" not in note


def test_a_row_says_which_algorithms_step_its_weights_and_of_which_packages() -> None:
    placements = {"a": {"Muon": 30, "AdamW": 10}, "b": {"AdamW": 5}, "c": {"Muon": 8, "AdamW": 0}}
    torchs = {"Muon": "torch 2.14.1", "AdamW": "torch 2.14.1"}
    runs = [
        *(record("both", task, 0, 0.1, placement=steps, implementations=torchs) for task, steps in placements.items()),
        *(
            record("one", task, 0, 0.2, placement={"SGD": 40}, implementations={"SGD": "torch 2.14.1"})
            for task in "abc"
        ),
        *(record("of a file", task, 0, 0.3, placement={"Own": 40}) for task in "abc"),
        *(record("older", task, 0, 0.4) for task in "abc"),
    ]
    table = views.ranking(board(Results(runs)), Results(runs))
    place = [column.key for column in table.columns].index("implementation")
    both = "Muon (torch 2.14.1) 58 %, AdamW (torch 2.14.1) 42 %"
    assert [row[place].text for row in table.rows] == [both, "SGD (torch 2.14.1)", "Own", ""]
    (note,) = [note for note in table.notes if "several algorithms" in note]
    assert note == f"Weights that several algorithms step, with their mean shares over tasks: both ({both})."


def test_a_row_says_where_it_was_trained_in_single_precision() -> None:
    runs = [
        *(record("narrow", task, 0, 0.1, precision="float32" if task != "c" else None) for task in "abc"),
        *(record("wide", task, 0, 0.2) for task in "abc"),
    ]
    table = views.ranking(board(Results(runs)), Results(runs))
    place = [column.key for column in table.columns].index("submission")
    assert [row[place].detail for row in table.rows] == ["(float32 on 2 tasks)", ""]
    assert views.SINGLE_PRECISION in table.notes
    ordinary = Results(runs[3:])
    assert views.SINGLE_PRECISION not in views.ranking(board(ordinary), ordinary).notes
