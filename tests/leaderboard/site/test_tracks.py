"""Several tracks on one site, two submissions beside each other, and who set the best score when."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leaderboard.analysis.ranking import board
from leaderboard.analysis.results import Results
from leaderboard.site import publish
from leaderboard.site.history_page import best_scores
from leaderboard.site.shared import SiteContext
from tests.leaderboard.helpers import whole_run
from tests.leaderboard.site.test_site import EVIL, _results, browser, tab

__all__ = ["browser", "tab"]  # fixtures


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Quick with all submissions, and full without the last task and the architectures."""
    directory = tmp_path_factory.mktemp("tracks")
    every = _results(4, "full").records
    last = max(record["task"] for record in every)
    publish(_results(), directory, [Results([r for r in every if r["task"] != last and r["kind"] == "optimizer"])])
    return directory


def _numbers(site: Path) -> dict[str, Any]:
    text = (site / "data" / "comparison.js").read_text(encoding="utf-8")
    numbers: dict[str, Any] = json.loads(text.removeprefix("const COMPARISONS = ").removesuffix(";\n"))
    return numbers


def _switch(page: Path) -> dict[str, tuple[str, bool]]:
    """Track -> where its link in the switch leads, and whether it is marked as the one that is shown."""
    (switch,) = re.findall(r'<nav class="tracks".*?</nav>', page.read_text(encoding="utf-8"), re.DOTALL)
    links = re.findall(r'<a href="([^"]+)"( aria-current="true")?>(.*?)</a>', switch)
    return {label: (target, bool(current)) for target, current, label in links}


def test_every_page_that_a_track_has_switches_to_the_same_page_of_the_others(site: Path) -> None:
    for page in site.rglob("*.html"):
        place = page.relative_to(site)
        track = "full" if place.parts[0] == "tracks" else "quick"
        inner = place.relative_to("tracks/full") if track == "full" else place
        switch = _switch(page)
        assert {name for name, (_, current) in switch.items() if current} == {track}
        for name, (target, _) in switch.items():
            folder = site / "tracks" / "full" if name == "full" else site
            same = folder / inner
            expected = same if same.is_file() else folder / "index.html"
            assert (page.parent / target).resolve() == expected.resolve()


def test_links_of_another_track_lead_somewhere(site: Path) -> None:
    for page in (site / "tracks").rglob("*.html"):
        for target in re.findall(r'(?:href|src)="([^"#?:]+)[^":]*"', page.read_text(encoding="utf-8")):
            assert (page.parent / target).is_file(), f"{page} leads to {target}"


def test_a_site_of_one_track_has_no_switch(tmp_path: Path) -> None:
    publish(whole_run(2, 2), tmp_path)
    assert not any('aria-label="Tracks"' in page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html"))


def test_a_single_submission_is_compared_with_nothing(tmp_path: Path) -> None:
    results = whole_run(2, 2)
    publish(Results([run for run in results.records if run["submission"] == "sgd"]), tmp_path)
    assert not (tmp_path / "compare.html").exists()
    assert "compare.html" not in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_compared_scores_and_differences_are_those_of_the_runs(site: Path) -> None:
    """Means are numpy's, and who is higher is who the paired test of the tables tells apart."""
    found = board(_results())
    numbers = _numbers(site)["optimizer"]
    names = numbers["names"]
    assert names == found.names
    (row,) = [row for row in numbers["rows"] if row["task"] == "exact_2" and row["axis"] == "norm"]
    (cell,) = [cell for cell in found.scores.cells if (cell.task, cell.axis) == ("exact_2", "norm")]
    runs = {name: cell.scores[found.scores.names.index(name)] for name in names}
    for name, score in zip(names, row["scores"], strict=True):
        assert score[0] == pytest.approx(np.mean(runs[name]), abs=1e-4)
    place = 0
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            difference, low, high, seeds, verdict = row["pairs"][place]
            place += 1
            assert difference == pytest.approx(np.mean(runs[one] - runs[other]), abs=1e-4)
            assert seeds == 3
            assert low <= difference <= high
            assert verdict == np.sign(difference) * (low > 0 or high < 0)
            pair = found.scores.names.index(one), found.scores.names.index(other)
            assert bool(verdict) is bool(cell.differences().p_values()[pair] < 0.05)
    assert place == len(row["pairs"])


def test_the_verdict_on_overall_scores_is_that_of_separation(site: Path) -> None:
    from leaderboard.analysis.robustness import separations

    numbers = _numbers(site)["optimizer"]
    names, (overall, *_) = numbers["names"], numbers["rows"]
    pairs = iter(overall["pairs"])
    verdicts = {(a, b): next(pairs) for i, a in enumerate(names) for b in names[i + 1 :]}
    told = separations(board(_results()))
    assert told
    for each in told:
        difference, *_, verdict = verdicts[each.upper, each.lower]
        assert bool(verdict) is each.apart
        assert difference == pytest.approx(each.difference, abs=1e-4)


def test_who_set_the_best_score_and_when() -> None:
    """Three submissions of one task on three days: the middle one is worse than the first, and sets nothing."""
    scores, days = {"first": 0.5, "worse": 0.7, "last": 0.2}, {"first": 1, "worse": 2, "last": 3}
    template = whole_run(1, 1).scored()[0]
    axes = {"norm": {"measure": "m", "scale": "linear", "score_0": 1.0, "score_1": 0.0, "floor": None}}
    runs = [
        template | {"submission": name, "axes": axes, "measures": {"m": value}, "seed": seed, "converged": True}
        | {"time": f"2026-11-0{days[name]}T0{seed}:00:00Z"}
        for name, value in scores.items()
        for seed in range(2)
    ]  # fmt: skip
    context = SiteContext(Results(runs), (), (), "", None)
    steps = best_scores(context, context.boards[0])
    assert [(step.day, step.submission) for step in steps] == [("2026-11-01", "first"), ("2026-11-03", "last")]
    assert [step.score for step in steps] == pytest.approx([0.5, 0.8])


def test_one_day_is_no_history(site: Path) -> None:
    assert "All records are of one day" in (site / "history.html").read_text(encoding="utf-8")


def test_a_history_is_drawn_where_a_best_score_rose(tmp_path: Path) -> None:
    """Of two days it is drawn if the best came later, and said in words if it was there from the start."""
    records = whole_run(3, 2).records
    best, *_, worst = (standing.submission for standing in board(Results(records), "optimizer").standings)
    pages = {}
    for late in (best, worst):
        runs = [run | {"time": f"2026-11-0{1 + (run['submission'] == late)}T00:00:00Z"} for run in records]
        publish(Results(runs), tmp_path / late)
        text = (tmp_path / late / "history.html").read_text(encoding="utf-8")
        pages[late] = text[text.index("<main") :]
    assert "<svg" in pages[best]
    assert f": {best}" in pages[best]
    assert "no best score rose after its first day" in pages[worst]
    assert "<svg" not in pages[worst]


# -- in a browser ---------------------------------------------------------------------------------------------------


def _compared(tab: Any) -> list[list[str]]:
    rows = tab.locator("#compared tbody tr")
    return [rows.nth(n).locator("th, td").all_inner_texts() for n in range(rows.count())]


def test_the_choice_is_in_the_address_and_a_link_shows_the_same(tab: Any, site: Path) -> None:
    tab.goto((site / "compare.html").as_uri())
    tab.select_option("select[name=a]", "opt_2")
    tab.select_option("select[name=b]", EVIL)
    address, shown = tab.url, _compared(tab)
    assert "a=opt_2" in address
    assert shown
    tab.goto("about:blank")
    tab.goto(address)
    assert tab.locator("select[name=b]").input_value() == EVIL
    assert _compared(tab) == shown
    tab.click("#swap")
    swapped = _compared(tab)
    for before, after in zip(shown, swapped, strict=True):
        assert (before[1], before[2]) == (after[2], after[1])
        assert before[3].split()[0].translate(str.maketrans("+−", "−+")) == after[3].split()[0]
        assert before[4:] == after[4:]
    tab.locator("#compared thead a").first.click()
    assert tab.locator("h1").inner_text().startswith("<img")


def test_an_address_of_nobody_says_so(tab: Any, site: Path) -> None:
    tab.goto(f"{(site / 'compare.html').as_uri()}?a=nobody&b=sgd&kind=toString")
    assert "nobody" in tab.locator("#comparison output").inner_text()
    assert tab.locator("select[name=b]").input_value() == "sgd"
    tab.select_option("select[name=kind]", "architecture")
    assert "net" in tab.locator("select[name=a]").inner_text()
    assert "kind=architecture" in tab.url


def test_the_switch_keeps_to_the_page(tab: Any, site: Path) -> None:
    tab.goto((site / "tasks" / "exact-2.html").as_uri())
    tab.get_by_label("Tracks").get_by_role("link", name="full").click()
    assert "/tracks/full/tasks/exact-2.html" in tab.url
    tab.get_by_label("Tracks").get_by_role("link", name="quick").click()
    assert tab.url == (site / "tasks" / "exact-2.html").as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_new_pages_fit_and_can_be_read(browser: Any, site: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    for name in ("compare.html", "history.html", "tracks/full/index.html"):
        page.goto((site / name).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        links = page.locator("nav.tracks a").evaluate_all(
            "all => all.map(a => { const box = a.getBoundingClientRect(); return [box.left, box.right, box.top]; })"
        )
        assert all(one[1] <= other[0] or one[2] != other[2] for one, other in itertools.pairwise(links))
        contrast = page.evaluate(
            """() => {
              const light = (text) => {
                const parts = text.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255);
                const [r, g, b] = parts.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
              };
              const paper = light(getComputedStyle(document.body).backgroundColor);
              const texts = [...document.querySelectorAll("nav.tracks a, nav.tracks span, #compared td, #compared th")];
              return Math.min(...texts.map((element) => {
                const ink = light(getComputedStyle(element).color);
                return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
              }));
            }"""
        )
        assert contrast >= 4.5, name
    context.close()
