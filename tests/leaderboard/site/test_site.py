"""The site: its files, and how it behaves in a real browser without a network."""

from __future__ import annotations

import html
import io
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from email.message import Message
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from leaderboard.analysis.advice import RULE, advice, order_basis
from leaderboard.analysis.baselines import BASELINES
from leaderboard.analysis.ranking import board
from leaderboard.analysis.results import Results, load
from leaderboard.analysis.runtime import read
from leaderboard.analysis.scoring import AXES
from leaderboard.ledger.entries import claims, entries
from leaderboard.site import publish
from leaderboard.site.figure_list import figure as figure_of
from leaderboard.site.links import file_name, prose
from leaderboard.study import Study
from leaderboard.study.preregistered import CONTRASTS, PREDICTORS, PROPERTIES
from suite.errors import InputError
from suite.tracks import FULL
from tests.leaderboard.helpers import study_records, whole_run

EVIL = "<img src=x onerror=alert(1)> & 'co'"
ROOT = Path(__file__).parents[3]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def _results(seeds: int = 3, track: str = "quick") -> Results:
    """Optimizers (one with a name that would be markup) and architectures on a few tasks."""
    optimizers, networks = whole_run(4, 5, seeds), whole_run(3, 5, seeds, kind="architecture")
    renamed = [r | {"submission": EVIL} if r["submission"] == "opt_1" else r for r in optimizers.records]
    nets = [r | {"submission": "net"} if r["submission"] == "sgd" else r for r in networks.records]
    return Results([r | {"track": track} for r in renamed + nets], ["A note."])


def _asv(directory: Path) -> Path:
    """Result files as asv 0.6 writes them, of two commits."""
    machine = directory / "machine"
    machine.mkdir(parents=True)
    name = "bench_training.TrainingLoop.time_train"
    (directory / "benchmarks.json").write_text(json.dumps({name: {"unit": "seconds"}, "version": 2}))
    (machine / "machine.json").write_text("{}")
    columns = ["result", "params", "version", "started_at"]
    for number, commit in enumerate(("a" * 40, "b" * 40)):
        row = [[0.1 + number, 0.2, None], [["'sgd'", "'adam'", "'sam'"]], "v", 0]
        content = {"commit_hash": commit, "date": 10**12 * (1 + number), "result_columns": columns}
        (machine / f"{commit[:8]}-env.json").write_text(json.dumps(content | {"results": {name: row}}))
    return directory


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    history = read(_asv(tmp_path_factory.mktemp("asv") / "results"))
    study = Study(study_records(), "study-small.jsonl", "lowlands study --records study-small.jsonl")
    ledger = entries([load([BASELINES / "ten_seeds.jsonl.gz"])])
    publish(_results(), directory, [_results(4, "full")], history, "asv/index.html", study, ledger)
    return directory


class _Parsed(HTMLParser):
    """Links, identifiers and scripts of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.identifiers: list[str] = []
        self.handlers: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "href" and tag == "a":
                self.links.append(value or "")
            elif name in ("src", "href") and tag in ("link", "script", "img"):
                self.loaded.append(value or "")
            elif name == "id":
                self.identifiers.append(value or "")
            elif name.startswith("on"):
                self.handlers.append(name)


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, _Parsed]:
    return {path: _Parsed(path) for path in site.rglob("*.html")}


def test_there_is_a_page_for_everything(site: Path) -> None:
    for page in ("index", "tasks", "measures", "findings", "claims", "trust", "runtime", "about", "compare", "history"):
        assert (site / f"{page}.html").is_file()
    assert len(list((site / "submissions").iterdir())) == 4 + 3
    assert len(list((site / "tasks").iterdir())) == 5
    assert {path.stem for path in (site / "measures").iterdir()} >= {"beside", "m-norm"}


def test_the_page_of_a_task_says_who_does_what_theory_says(tmp_path: Path) -> None:
    named = {"opt_1": "adam", "opt_2": "mine"}
    runs = [
        run | {"submission": named.get(run["submission"], run["submission"]), "measures": {"excess_norm": 0.001}}
        for run in whole_run(3, 1).scored()
    ]
    publish(Results([run | {"task": "min_norm_regression"} for run in runs]), tmp_path)
    (page,) = (tmp_path / "tasks").iterdir()
    rows = re.findall(r"<tr.*?</tr>", page.read_text(encoding="utf-8"), re.DOTALL)
    words = [re.sub(r"<[^>]+>", " ", row).split() for row in rows]
    assert any("theory" in row and "gradients" in row for row in words)
    first = {row[0]: row for row in words if row}
    assert "holds" in first["sgd"]
    assert "fails" in first["adam"]
    assert not {"holds", "fails"} & {*first["mine"]}
    assert "What theory predicts" in page.read_text(encoding="utf-8")


def test_every_link_leads_somewhere(pages: dict[Path, _Parsed]) -> None:
    for path, parsed in pages.items():
        for link in parsed.links:
            target, fragment = urldefrag(link)
            target = target.partition("?")[0]
            if link.startswith("https://arxiv.org/") or target == "asv/index.html":
                continue
            page = (path.parent / target).resolve() if target else path
            if page.suffix in (".csv", ".json", ".parquet") and page.is_file():
                continue
            assert page in pages, f"{path.name} links to {link}"
            assert not fragment or fragment in pages[page].identifiers


def test_every_page_leads_to_citation_licence_and_data(site: Path, pages: dict[Path, _Parsed]) -> None:
    for parsed in pages.values():
        ends = {link.rpartition("about.html")[2] for link in parsed.links if "about.html#" in link}
        assert ends == {"#cite", "#licence", "#data", "#submit"}
    about = html.unescape((site / "about.html").read_text(encoding="utf-8"))
    citation = YAML(typ="safe").load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert f"title = {{{{{citation['title']}}}}}" in about
    assert f"author = {{{{{citation['authors'][0]['name']}}}}}" in about
    newest = max(record["time"] for record in _results().scored())[:10]
    assert f"note = {{quick track, results of {newest}}}" in about
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").strip() in about


def test_the_numbers_can_be_had_as_files(site: Path) -> None:
    found = board(_results())
    ranking = pd.read_csv(site / "data" / "ranking-optimizer.csv")
    assert ranking["submission"].tolist() == found.names
    assert ranking["overall"].tolist() == pytest.approx([standing.overall.value for standing in found.standings])
    listed = {link for link in _Parsed(site / "about.html").links if link.startswith("data/")}
    assert listed == {path.relative_to(site).as_posix() for path in (site / "data").iterdir() if path.suffix != ".js"}
    scores = pd.read_csv(site / "data" / "scores.csv")
    assert len(scores) == sum(len(record["axes"]) for record in _results().scored())


def test_what_the_order_rests_on_and_when_to_use_each(site: Path) -> None:
    found = board(_results())
    said = html.unescape((site / "index.html").read_text(encoding="utf-8"))
    assert order_basis(found) in said
    assert RULE in said
    for name, sentence in advice(found).items():
        assert sentence in said
        page = html.unescape((site / "submissions" / f"{file_name(name)}.html").read_text(encoding="utf-8"))
        assert f"<strong>{sentence}</strong>" in page


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, _Parsed]) -> None:
    for path, parsed in pages.items():
        assert not parsed.handlers, "a name became markup"
        for loaded in parsed.loaded:
            assert loaded == "data:," or (path.parent / loaded).is_file()
        assert "url(http" not in path.read_text()


def test_identifiers_are_unique_and_pictures_are_described(pages: dict[Path, _Parsed]) -> None:
    for path, parsed in pages.items():
        assert len(parsed.identifiers) == len(set(parsed.identifiers)), path
        for picture in re.findall(r'<svg role="img".*?</svg>', path.read_text(), re.DOTALL):
            root = ElementTree.fromstring(picture)
            assert len(root.get("aria-label", "")) > 20
            assert not re.search(r"#[0-9a-f]{6}\b", picture), "a colour that does not follow the theme"


def test_text_of_the_source_is_there() -> None:
    html = prose("Claim. See `alpha` <here>, arXiv:1705.08292. Norm axis. Ideal: 1.")
    assert "<strong>Claim.</strong> See <code>alpha</code> &lt;here&gt;" in html
    assert '<a href="https://arxiv.org/abs/1705.08292">' in html
    assert "</p><p><strong>Norm axis.</strong>" in html


def test_pages_say_which_way_a_measure_is_better(site: Path) -> None:
    assert "m_flatness ↓" in (site / "tasks" / "images-0.html").read_text()
    assert "<b>↓</b><span>lower is better</span>" in (site / "measures" / "m-flatness.html").read_text()


def test_a_page_says_what_steps_the_weights_and_what_else_has_that_name(tmp_path: Path) -> None:
    steps = {"placement": {"Muon": 3, "Unheard": 1}, "implementations": {"Muon": "torch 2.14.1"}}
    runs = [r | {"submission": "turned"} | steps if r["submission"] == "opt_2" else r for r in _results().records]
    publish(Results(runs), tmp_path, [], [])
    page = " ".join((tmp_path / "submissions" / "turned.html").read_text().split())
    assert "Weights are stepped by Muon (torch 2.14.1) 75 %, Unheard 25 %." in page
    assert "pytorch_optimizer:Muon, timm.optim:Muon, torch.optim:Muon" in page
    assert "<code>lowlands namesakes muon</code>" in page
    others = [file.read_text() for file in (tmp_path / "submissions").iterdir() if file.name != "turned.html"]
    assert not any("Weights are stepped by" in page for page in others)


def test_trust_shows_how_the_tracks_agree(site: Path) -> None:
    text = (site / "trust.html").read_text()
    assert "full against quick" in text
    assert "rank correlation" in text


def test_what_the_full_track_would_say_of_a_submission_that_was_run_on_quick_alone(tmp_path: Path) -> None:
    quick = whole_run(6, 3, 2)
    names = dict(zip(dict.fromkeys(record["task"] for record in quick.records), FULL, strict=False))
    of_five = [record for record in quick.records if record["submission"] != "opt_5"]
    full = Results([record | {"track": "full", "task": names[record["task"]]} for record in of_five])
    publish(quick, tmp_path / "both", [full])
    trust = (tmp_path / "both" / "trust.html").read_text()
    assert "Predicted scores on full: optimizers" in trust
    assert "over the 5 submissions that have 2 scored tasks of full too" in trust
    assert "predicted overall on full" in (tmp_path / "both" / "submissions" / "opt-5.html").read_text()
    assert "predicted overall on full" not in (tmp_path / "both" / "submissions" / "opt-4.html").read_text()
    publish(quick, tmp_path / "alone")
    assert "Predicted scores" not in (tmp_path / "alone" / "trust.html").read_text()


def test_the_findings_are_all_there_and_say_where_they_come_from(site: Path) -> None:
    text = (site / "findings.html").read_text()
    assert "96 runs, of which 93 reached the target loss" in text
    assert "<code>lowlands study --records study-small.jsonl</code>" in text
    assert all(contrast.claim.statement in text for contrast in CONTRASTS)
    assert all(name in text for name in (*PROPERTIES, *PREDICTORS))
    assert text.count('<svg role="img"') == text.count('<a href="#source">Source</a>') == 4
    assert '<span class="tag holds">holds</span>' in text


def test_every_claim_has_its_verdict_and_what_it_rests_on(site: Path) -> None:
    text = (site / "claims.html").read_text()
    assert all(claim.statement in html.unescape(text) for claim in claims())
    assert '<details id="edge" data-verdict="holds" data-basis="observation">' in text
    assert '<span class="tag holds">holds</span>' in text
    assert "lowlands run sgd --track theory --task edge_of_stability --seeds 10" in text


def test_without_a_study_there_is_no_link_to_one(tmp_path: Path) -> None:
    publish(whole_run(2, 2, 2), tmp_path / "site")
    index = (tmp_path / "site" / "index.html").read_text()
    assert "findings.html" not in index
    assert "claims.html" not in index


@pytest.mark.parametrize("stated", ["homepage, https://a.example", "repository, https://b.example/o/n"])
def test_pages_link_to_the_repository_where_one_is_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stated: str
) -> None:
    def metadata(name: str) -> Message:
        message = Message()
        message["Project-URL"] = stated
        return message

    monkeypatch.setattr(sys.modules["leaderboard.site.publish"], "metadata", metadata)
    publish(whole_run(1, 1, 2), tmp_path)
    links = [link for link in _Parsed(tmp_path / "index.html").links if link.startswith("https://")]
    assert links == (["https://b.example/o/n"] if stated.startswith("repository") else [])


def test_file_names_do_not_collide() -> None:
    names = ["adam", "Adam", "ADAM", "a/b", "a b", "../up", "x_1", "x-1", "", "ä" * 200]
    files = [file_name(name).lower() for name in names]
    assert len(set(files)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in files)


def test_publishing_again_gives_the_same_files_and_removes_old_ones(tmp_path: Path) -> None:
    results = whole_run(2, 2, 2)
    publish(results, tmp_path / "site")
    first = {path: path.read_bytes() for path in (tmp_path / "site").rglob("*") if path.is_file()}
    publish(whole_run(3, 3, 2), tmp_path / "site")
    assert len(list((tmp_path / "site" / "submissions").iterdir())) == 3
    publish(results, tmp_path / "site")
    assert {path: path.read_bytes() for path in (tmp_path / "site").rglob("*") if path.is_file()} == first


def test_what_is_not_a_site_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="not a site of this command"):
        publish(whole_run(2, 2, 2), tmp_path)
    with pytest.raises(InputError, match="nothing to publish"):
        publish(Results([]), tmp_path / "new")


@pytest.mark.parametrize(
    "marker",
    ['["../victim.txt"]', '["/victim.html"]', '["tasks/../../victim.html"]', '["victim.txt"]', "[1, 2]", "null",
     '[["a"]]', '["\\u0000"]', '{"a": 1}', "[", "[" * 10_000, '["a.html\\n"]'],
)  # fmt: skip
def test_a_list_that_is_not_ours_deletes_nothing(tmp_path: Path, marker: str) -> None:
    site = tmp_path / "site"
    site.mkdir()
    kept = [tmp_path / "victim.txt", tmp_path / "victim.html", site / "victim.txt"]
    for path in kept:
        path.write_text("precious")
    (site / ".lowlands-site.json").write_text(marker)
    with pytest.raises(InputError, match="not a site of this command"):
        publish(whole_run(2, 2, 2), site)
    assert all(path.read_text() == "precious" for path in kept)


def test_nothing_is_deleted_or_written_through_links(tmp_path: Path) -> None:
    site, outside = tmp_path / "site", tmp_path / "outside"
    results = whole_run(2, 2, 2)
    publish(results, site)
    outside.mkdir()
    for name in ("a.html", "b.html"):
        (outside / name).write_text("precious")
    (site / "index.html").unlink()
    (site / "index.html").symlink_to(outside / "a.html")
    publish(results, site)
    assert not (site / "index.html").is_symlink()
    (site / "elsewhere").symlink_to(outside)
    listed = json.loads((site / ".lowlands-site.json").read_text())
    (site / ".lowlands-site.json").write_text(json.dumps([*listed, "elsewhere/b.html"]))
    with pytest.raises(InputError, match="leads out of"):
        publish(results, site)
    assert [path.read_text() for path in sorted(outside.iterdir())] == ["precious"] * 2


def test_any_name_can_be_drawn(tmp_path: Path) -> None:
    names = ["$$", "sgd $a_$", "$\\frac{1}$", "_x_", "<b>&amp;", "[/b]"]
    run = whole_run(len(names), 3, 2)
    old = sorted({record["submission"] for record in run.records})
    renamed = [r | {"submission": names[old.index(r["submission"])]} for r in run.records]
    tasks = {"exact_1[alpha=0.1]": "exact_$a_$"}
    renamed = [r | {"task": tasks.get(r["task"], r["task"])} for r in renamed]
    files = publish(Results(renamed), tmp_path / "site")
    drawn = " ".join(" ".join(_Words(path.read_text()).in_pictures) for path in files if path.suffix == ".html")
    for name in (*names, "exact_$a_$"):
        assert name in drawn


class _Words(HTMLParser):
    """The words that stand in a page's pictures."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.in_pictures: list[str] = []
        self._depth = 0
        self.feed(page)

    def handle_starttag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        self._depth += tag == "svg"

    def handle_endtag(self, tag: str) -> None:
        self._depth -= tag == "svg"

    def handle_data(self, data: str) -> None:
        if self._depth:
            self.in_pictures.append(data)


def test_histories(tmp_path: Path) -> None:
    history = read(_asv(tmp_path / "results"))[0]
    assert (history.machine, history.unit) == ("machine", "seconds")
    assert [point.commit for point in history.points] == ["a" * 8, "b" * 8]
    assert history.points[0].mean == pytest.approx((0.1 * 0.2) ** 0.5)
    assert read(tmp_path / "nothing") == []
    (tmp_path / "results" / "machine" / "broken.json").write_text("{}")
    with pytest.raises(InputError, match="is not a result of asv"):
        read(tmp_path / "results")


def _size(results: Results, directory: Path) -> int:
    """The bytes of the site of `results`."""
    return sum(path.stat().st_size for path in publish(results, directory))


def test_twenty_submissions_would_be_less_than_five_megabytes(tmp_path: Path) -> None:
    # Of the size of the track `quick`; pages and pictures grow with every submission by the same amount.
    few, more = (_size(whole_run(count, 12, 3, 6), tmp_path / str(count)) for count in (2, 5))
    assert few + (20 - 2) * (more - few) / 3 < 5e6


@pytest.mark.slow
def test_twenty_submissions_are_less_than_five_megabytes(tmp_path: Path) -> None:
    assert _size(whole_run(20, 25, 10, 8), tmp_path / "site") < 5e6


# -- in a browser ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("There is no Chromium on this machine (Debian: apt-get install chromium).")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A page in an offline browser; errors and requests that leave the machine fail the test."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    errors: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else errors.append(request.url)
    )
    yield page
    context.close()
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def _column(page: Any, number: int) -> list[str]:
    rows = page.locator("#ranking-optimizer tbody tr:not([hidden])")
    return [rows.nth(n).locator("th, td").nth(number).inner_text().split()[0] for n in range(rows.count())]


def test_every_page_loads_without_an_error(tab: Any, site: Path) -> None:
    for path in sorted(site.rglob("*.html")):
        tab.goto(path.as_uri())
        assert tab.locator("h1").count() == 1
        assert "Lowlands" in tab.title()


def test_links_work_from_a_file(tab: Any, site: Path) -> None:
    tab.goto((site / "index.html").as_uri())
    tab.locator("#ranking-optimizer").get_by_role("link", name="sgd").click()
    assert tab.locator("h1").inner_text().startswith("sgd")
    tab.get_by_role("link", name="images_0").first.click()
    assert tab.locator("h1").inner_text() == "images_0"
    tab.get_by_role("link", name="m_flatness").first.click()
    assert tab.locator("h1").inner_text() == "m_flatness"
    tab.get_by_role("navigation").get_by_role("link", name="Trust").click()
    assert tab.locator("h1").inner_text() == "How far to trust it"


def test_findings_unfold(tab: Any, site: Path) -> None:
    tab.goto((site / "index.html").as_uri())
    tab.get_by_role("navigation").get_by_role("link", name="Findings").click()
    assert tab.get_by_role("link", name="Findings").get_attribute("aria-current") == "page"
    row = tab.get_by_role("row", name="scale = 0.5").first
    assert not row.is_visible()
    tab.get_by_text(CONTRASTS[0].claim.statement).click()
    assert row.is_visible()
    assert tab.locator("figure svg").first.bounding_box()["width"] > 300


def test_claims_are_filtered_by_words_and_verdict_and_unfolded_by_links(tab: Any, site: Path) -> None:
    tab.goto((site / "claims.html").as_uri() + "#edge")
    assert tab.locator("#edge").get_by_role("row", name="edge_of_stability").first.is_visible()
    tab.get_by_label("Only this verdict").select_option("fails")
    assert not tab.locator("#edge").is_visible()
    shown = tab.locator("#claims > details:visible")
    assert set(shown.evaluate_all("each => each.map(one => one.dataset.verdict)")) == {"fails"}
    before = shown.count()
    tab.get_by_label("Filter claims").fill("attention_selection")
    assert 0 < shown.count() < before
    assert tab.locator(".controls output").inner_text() == f"{shown.count()} of {len(claims())}"


def test_sorting_by_click_and_by_key(tab: Any, site: Path) -> None:
    tab.goto((site / "index.html").as_uri())
    header = tab.locator("#ranking-optimizer").get_by_role("columnheader", name="overall")
    button = header.get_by_role("button")
    button.click()
    values = [float(text) for text in _column(tab, 2)]
    assert values == sorted(values, reverse=True)
    assert header.get_attribute("aria-sort") == "descending"
    button.focus()
    tab.keyboard.press("Enter")
    assert [float(text) for text in _column(tab, 2)] == sorted(values)
    assert header.get_attribute("aria-sort") == "ascending"
    tab.locator("#ranking-optimizer").get_by_role("button", name="submission").click()
    assert header.get_attribute("aria-sort") == "none"
    names = _column(tab, 1)
    assert sorted(names, key=str.lower) == names


def test_filtering(tab: Any, site: Path) -> None:
    tab.goto((site / "index.html").as_uri())
    everything = _column(tab, 1)
    assert len(everything) == 4
    box = tab.get_by_role("searchbox", name="Filter optimizers")
    box.fill("sg")
    assert _column(tab, 1) == ["sgd"]
    assert tab.locator("[data-for=ranking-optimizer] output").inner_text() == "1 of 4"
    box.fill("")
    tab.locator("[data-for=ranking-optimizer]").get_by_label("only implicit bias").check()
    assert _column(tab, 1) == [name for name in everything if name != "opt_3"]
    # The architectures have a filter of their own.
    assert tab.locator("#ranking-architecture tbody tr:not([hidden])").count() == 3


def test_a_filter_that_leaves_nothing_says_so(tab: Any, site: Path) -> None:
    tab.goto((site / "index.html").as_uri())
    tab.get_by_role("searchbox", name="Filter optimizers").fill("no such thing")
    assert _column(tab, 1) == []
    said = tab.locator("[data-for=ranking-optimizer] output").inner_text()
    assert said == "0 of 4: nothing matches “no such thing”"


def test_a_link_shows_what_is_sorted_and_filtered(browser: Any, tab: Any, site: Path) -> None:
    tab.goto((site / "index.html").as_uri())
    first = _column(tab, 1)
    table = tab.locator("#ranking-optimizer")
    table.get_by_role("button", name="submission").click()
    table.get_by_role("button", name="submission").click()
    tab.get_by_role("searchbox", name="Filter optimizers").fill("opt")
    seen = _column(tab, 1)
    assert seen == sorted(seen, key=str.lower, reverse=True)
    other = browser.new_context(offline=True).new_page()
    other.goto(tab.url)
    assert _column(other, 1) == seen
    assert other.get_by_role("searchbox", name="Filter optimizers").input_value() == "opt"
    # Without a filter, and by rank, the page is as it was.
    other.get_by_role("searchbox", name="Filter optimizers").fill("")
    other.locator("#ranking-optimizer").get_by_role("button", name="rank").click()
    assert _column(other, 1) == first
    other.context.close()


LUMINANCE = """
    (colour) => {
      const canvas = document.createElement("canvas").getContext("2d");
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)
        .map((value) => value / 255)
        .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    }
"""
"""The relative luminance of a colour, as WCAG 2 defines it."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_score_of_the_heat_map_can_be_read(browser: Any, site: Path, scheme: str) -> None:
    """At WCAG's contrast for text, 4.5, whatever the score."""
    context = browser.new_context(offline=True, color_scheme=scheme)
    page = context.new_page()
    page.goto((site / "index.html").as_uri())
    page.evaluate("document.querySelector('.heat td').style.setProperty('--v', 1.25)")  # the highest that there is
    contrasts = page.evaluate(f"""() => {{
        const luminance = {LUMINANCE};
        return [...document.querySelectorAll(".heat td")].map((cell) => {{
            const style = getComputedStyle(cell);
            const [low, high] = [luminance(style.color), luminance(style.backgroundColor)].sort((a, b) => a - b);
            return (high + 0.05) / (low + 0.05);
        }});
    }}""")
    assert len(contrasts) > 20
    assert min(contrasts) >= 4.5
    assert min(contrasts) < max(contrasts) - 1  # scores have colours
    context.close()


def test_the_heat_map_has_the_order_of_the_tables_and_can_be_sorted(tab: Any, site: Path) -> None:
    tab.goto((site / "index.html").as_uri())
    table = tab.locator("#heat-optimizer")
    columns = [text.split(" · ") for text in table.locator("thead th > span").all_inner_texts()]
    for task in {task for task, _ in columns}:
        axes = [AXES.index(axis) for name, axis in columns if name == task]
        assert axes == sorted(axes)
    names = table.locator("tbody th").all_inner_texts()
    assert [name for name in names if name.endswith("†")] == ["opt_3 †"]
    table.locator("thead th").nth(1).get_by_role("button").click()
    values = [float(text) for text in table.locator("tbody tr td:nth-of-type(1)").all_inner_texts() if text != "–"]
    assert values == sorted(values, reverse=True)
    assert table.bounding_box()["width"] >= 0.98 * table.locator("..").bounding_box()["width"]


def test_the_keyboard_reaches_the_table(tab: Any, site: Path) -> None:
    tab.goto((site / "index.html").as_uri())
    reached = set()
    for _ in range(60):  # the profile stands before the ranking
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate("document.activeElement.tagName + ' ' + document.activeElement.textContent.trim()"))
    assert {"A To the content", "A Tasks", "BUTTON overall", "A sgd"} <= reached


def test_themes(browser: Any, site: Path) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    colours = {}
    for scheme in ("light", "dark"):
        context = browser.new_context(offline=True, color_scheme=scheme)
        page = context.new_page()
        page.goto((site / "index.html").as_uri())
        colours[scheme] = page.evaluate(paper)
        page.locator("#theme").click()
        colours[f"{scheme} switched"] = page.evaluate(paper)
        page.goto((site / "tasks.html").as_uri())
        assert page.evaluate(paper) == colours[f"{scheme} switched"], "the choice is kept"
        context.close()
    assert colours["light"] == colours["dark switched"] != colours["dark"] == colours["light switched"]


def test_on_a_telephone_figures_are_legible_and_row_lines_unbroken(browser: Any, site: Path) -> None:
    context = browser.new_context(offline=True, viewport={"width": 390, "height": 844})
    page = context.new_page()
    for path in ("index.html", "findings.html", "submissions/sgd.html", "tasks/images-0.html"):
        page.goto((site / path).as_uri())
        sizes = page.evaluate("""() => [...document.querySelectorAll("figure svg text")].map((text) => {
            const picture = text.ownerSVGElement;
            const scale = picture.getBoundingClientRect().width / picture.viewBox.baseVal.width;
            return scale * parseFloat(getComputedStyle(text).fontSize);
        })""")
        assert len(sizes) > 10
        assert min(sizes) >= 11 - 1e-6, path
    page.goto((site / "index.html").as_uri())
    for table in ("ranking", "advice"):
        region = page.locator(f"#{table}-optimizer").locator("..")
        region.evaluate("(each) => { each.scrollLeft = 130; each.scrollIntoView(); }")
        heads = region.locator("thead th.words").first.bounding_box(), region.locator("tbody th").first.bounding_box()
        assert heads[0]["x"] == heads[1]["x"]
        pixels = matplotlib.image.imread(io.BytesIO(region.screenshot()))[:, 2:-2]  # without the frame
        rows, top = region.locator("tr"), region.bounding_box()["y"]
        for n in range(rows.count() - 1):
            box = rows.nth(n).bounding_box()
            below = round(box["y"] + box["height"] - top)
            near = pixels[below - 3 : below + 3]
            even = (near == near[:, :1]).all(axis=(1, 2))  # a line, or the space between two
            assert (even & (near[:, 0] != near[0, 0]).any(axis=1)).any(), f"the line below row {n} of {table} breaks"
    context.close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1400, "dark")])
def test_letters_of_figures_are_no_larger_than_the_text_and_names_of_points_do_not_touch(
    browser: Any, site: Path, width: int, scheme: str
) -> None:
    context = browser.new_context(offline=True, color_scheme=scheme, viewport={"width": width, "height": 900})
    page = context.new_page()
    for path in ("index.html", "trust.html", "findings.html", "submissions/sgd.html", "tasks/images-0.html"):
        page.goto((site / path).as_uri())
        largest, body = (
            page.evaluate("""() => [Math.max(...[...document.querySelectorAll("figure svg text")].map((text) => {
            const picture = text.ownerSVGElement;
            const scale = picture.getBoundingClientRect().width / picture.viewBox.baseVal.width;
            return scale * parseFloat(getComputedStyle(text).fontSize);
        })), parseFloat(getComputedStyle(document.body).fontSize)]""")
        )
        assert largest <= body + 1e-6, path
    page.goto((site / "index.html").as_uri())
    names, touching = page.evaluate("""() => {
        const picture = document.querySelector("figure svg");
        const texts = [...picture.querySelectorAll("text")];
        const boxes = texts.map((text) => [text.textContent, text.getBoundingClientRect()]);
        const touch = (a, b) => a.left < b.right && b.left < a.right && a.top + 1 < b.bottom && b.top + 1 < a.bottom;
        return [boxes.map(([name]) => name), boxes.flatMap(([name, a], n) =>
            boxes.slice(n + 1).filter(([, b]) => touch(a, b)).map(([other]) => `${name} on ${other}`))];
    }""")
    assert "sgd" in names
    assert touching == []
    context.close()


def test_figures_can_be_saved(tab: Any, site: Path, tmp_path: Path) -> None:
    tab.goto((site / "tasks/images-0.html").as_uri())
    figure = tab.locator("figure").first
    for style in ("SVG", "PNG"):
        with tab.expect_download() as waiting:
            figure.get_by_role("button", name=style).click()
        waiting.value.save_as(tmp_path / waiting.value.suggested_filename)
    saved = ElementTree.fromstring((tmp_path / "runs-images_0-optimizer.svg").read_text(encoding="utf-8"))
    assert "var(" not in ElementTree.tostring(saved, encoding="unicode")
    shown = ["".join(text.itertext()) for text in saved.iter("{http://www.w3.org/2000/svg}text")]
    assert {"sgd", EVIL} <= set(shown)
    pixels = matplotlib.image.imread(tmp_path / "runs-images_0-optimizer.png")
    assert pixels.shape[1] == 2400
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 10  # something is drawn


def test_commands_below_figures_draw_them(site: Path) -> None:
    results = _results()
    for path in ("index.html", "submissions/sgd.html", "tasks/images-0.html"):
        commands = re.findall(r"<code>lowlands figure ([^<]*)</code>", (site / path).read_text(encoding="utf-8"))
        assert commands
        for command in commands:
            name, option, kind = shlex.split(html.unescape(command))
            assert option == "--kind"
            assert figure_of(results, name, kind).alt


@pytest.mark.parametrize("width", [360, 768])
def test_no_page_is_wider_than_a_phone(browser: Any, site: Path, width: int) -> None:
    context = browser.new_context(offline=True, viewport={"width": width, "height": 800})
    page = context.new_page()
    for path in [*site.glob("*.html"), *list(site.glob("*/*.html"))[::3]]:
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name
    context.close()
