"""report.html in Chromium, where there is one: it opens with the answer, sorts, filters, and fits a telephone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from benchmark.report import build
from benchmark.report import page as render
from tests import factories

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MATRIX = factories.grid(datasets=["beans", "elpv"])
CAUTIONED = ["rps", "pets-part", "elpv", "magnetic-tile"]
LARGE = factories.grid(
    datasets=["beans", *CAUTIONED, "neu", "hotdog", "pneumoniamnist", "breastmnist"],
    policies=["finetune", "finetune-whole", "feature-extract", "scratch"],
)

PROBE = """
<script>
const found = {};
window.addEventListener("load", () => {
  const table = [...document.querySelectorAll("table")].find((t) => t.tHead.textContent.includes("log loss"));
  const column = [...table.tHead.rows[0].cells].findIndex((c) => c.textContent.includes("macro F1"));
  const texts = () => [...table.tBodies[0].rows].filter((r) => !r.hidden).map((r) => r.cells[column].textContent);
  table.tHead.rows[0].cells[column].querySelector("button").click();
  found.ascending = texts();
  table.tHead.rows[0].cells[column].querySelector("button").click();
  found.descending = texts();
  const input = table.parentElement.previousElementSibling;
  input.value = "elpv scratch";
  input.dispatchEvent(new Event("input"));
  found.filtered = [...table.tBodies[0].rows].filter((r) => !r.hidden).map((r) => r.textContent);
  found.requests = performance.getEntriesByType("resource").map((entry) => entry.name);
  found.width = [document.documentElement.scrollWidth, window.innerWidth];
  found.background = getComputedStyle(document.body).backgroundColor;
  found.figures = document.querySelectorAll("figure svg").length;
  const bottom = (each) => document.querySelector(each).getBoundingClientRect().bottom;
  found.bottoms = [".first > section p:last-of-type", ".first .table", ".first figure svg"].map(bottom);
  found.panels = [...document.querySelectorAll(".first figure svg > g > g[id^=axes_]")].map((each) => {
    const box = each.getBoundingClientRect();
    return [box.width, box.bottom];
  });
  const whole = [...document.querySelectorAll(".first .table")].map((box) =>
    [...box.querySelectorAll("tbody tr")].filter((row) => {
      const place = row.getBoundingClientRect();
      return place.bottom <= Math.min(box.getBoundingClientRect().bottom, 768);
    }).length);
  found.whole = whole[0];
  const lines = (each) => each.getBoundingClientRect().height / parseFloat(getComputedStyle(each).lineHeight);
  const paragraphs = [...document.querySelectorAll(".first p")];
  found.lines = paragraphs.filter((p) => p.getBoundingClientRect().top < 768).map(lines);
  found.rows = [...document.querySelector(".first table").rows].map(lines);
  found.contents = [...document.querySelectorAll("nav a")].map((each) => each.getAttribute("href").slice(1));
  found.anchors = found.contents.filter((each) => document.getElementById(each));
  found.folded = [...document.querySelectorAll("main > details:not([open])")].map((each) => each.id);
  window.dispatchEvent(new Event("beforeprint"));
  found.printed = document.querySelectorAll("details[open]").length - found.folded.length;
  found.wide = [...document.querySelectorAll("table, figure svg")].filter((each) =>
    each.getBoundingClientRect().right > document.querySelector("main").getBoundingClientRect().right + 1).length;
  found.shown = [...document.querySelectorAll("nav, .filter")].filter((each) => each.checkVisibility()).length;
  window.dispatchEvent(new Event("afterprint"));
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
});
</script>
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    store = factories.fill(tmp_path_factory.mktemp("page"), MATRIX, factories.latent())
    build.write(factories.results_of(MATRIX, store), store.folder)
    return (store.folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> str:
    store = factories.fill(tmp_path_factory.mktemp("large"), LARGE, factories.latent())
    build.write(factories.results_of(LARGE, store), store.folder)
    return (store.folder / "report.html").read_text(encoding="utf-8")


def opened(page: str, folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    """Open the page with a probe in it; return what the probe found and what the browser logged."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    path = folder / "probe.html"
    path.write_text(page.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    fixed = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom")
    command = [CHROMIUM, *fixed, f"--user-data-dir={folder / 'profile'}", *options, path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    match = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match, done.stderr[-2000:]
    return json.loads(unescape(match.group(1))), done.stderr


@pytest.mark.slow
def test_tables_sort_and_filter_without_a_request_or_an_error(page: str, tmp_path: Path) -> None:
    found, log = opened(page, tmp_path)
    numbers = [float(text.split()[0]) for text in found["ascending"]]
    assert len(numbers) == 15
    assert numbers == sorted(numbers)
    assert [float(text.split()[0]) for text in found["descending"]] == sorted(numbers, reverse=True)
    assert len(found["filtered"]) == 2
    assert all("elpv" in text and "scratch" in text for text in found["filtered"])
    assert found["requests"] == []
    assert found["figures"] == 7
    assert "CONSOLE" not in log


@pytest.mark.slow
def test_a_laptop_shows_answer_table_and_figure_on_its_first_screen_and_contents_at_the_side(
    page: str, tmp_path: Path
) -> None:
    found, log = opened(page, tmp_path, "--window-size=1366,768")
    assert max(found["bottoms"]) <= 768
    assert max(found["lines"]) <= 4.1
    assert found["contents"] == found["anchors"]
    assert found["contents"][:4] == ["the-answer", "test-accuracy", "recommendation", "paired-differences"]
    assert found["folded"] == [each for each in found["contents"][4:] if each != "recommendation"]
    assert found["printed"] == 0
    assert "CONSOLE" not in log


@pytest.mark.slow
def test_of_nine_datasets_a_laptop_shows_the_answer_and_the_start_of_the_table_and_of_the_figure(
    large: str, tmp_path: Path
) -> None:
    found, _ = opened(large, tmp_path, "--window-size=1366,768")
    answer, table, _ = found["bottoms"]
    assert answer < table < 768
    assert max(found["lines"]) <= 4.1
    assert found["whole"] >= 4
    assert len(found["panels"]) == 9
    assert all(width > 300 and bottom <= 768 for width, bottom in found["panels"][:3])
    line = re.findall(r"<p><strong>Read with care(.*?)</p>", large)
    assert len(line) == 1
    assert all(name in line[0] for name in CAUTIONED)
    assert large.count("<strong>Read with care, ") == len(CAUTIONED)


@pytest.mark.slow
def test_paper_has_every_section_and_column_and_neither_contents_nor_fields(large: str, tmp_path: Path) -> None:
    paper = large.replace("@media print", "@media all").replace("@media screen", "@media (max-width: 0)")
    found, _ = opened(
        paper, tmp_path, "--window-size=718,1000", "--hide-scrollbars"
    )  # A4 without Chromium's margins, at 96 px per inch
    assert found["printed"] == 0
    assert found["wide"] == 0
    assert found["shown"] == 0


@pytest.mark.slow
def test_a_link_to_a_folded_section_opens_it(page: str, tmp_path: Path) -> None:
    linked = page.replace("unfold();\nlet", 'location.hash = "#confusion";\nunfold();\nlet')
    found, _ = opened(linked, tmp_path)
    assert "confusion" not in found["folded"]
    assert "runs" in found["folded"]


@pytest.mark.slow
def test_on_a_telephone_nothing_scrolls_sideways_and_a_row_of_the_comparison_is_one_line(
    page: str, tmp_path: Path
) -> None:
    framed = page.replace("<body>", '<body style="width: 375px">', 1)
    found, _ = opened(framed, tmp_path, "--window-size=500,800")
    assert found["width"][0] <= found["width"][1]
    assert max(found["rows"]) < 2


@pytest.mark.slow
def test_a_dark_system_gets_a_dark_page(page: str, tmp_path: Path) -> None:
    light, _ = opened(page, tmp_path)
    dark, _ = opened(page, tmp_path, "--blink-settings=preferredColorScheme=0")
    assert light["background"] == "rgb(255, 255, 255)"
    assert dark["background"] == "rgb(22, 22, 22)"


def test_the_page_names_no_address_to_load_from(page: str) -> None:
    loading = re.findall(r'(?:src|href|xlink:href)="([^"]*)"', page)
    files = {"table.csv", "differences.csv", "floor.csv"}
    assert {target for target in loading if not target.startswith("#")} <= files
    assert "@import" not in page
    assert "default-src 'none'" in page


@pytest.mark.parametrize(("widths", "narrow"), [((300,), True), ((600,), False), ((300, 300), False)])
def test_a_figure_is_next_to_the_tables_if_it_is_the_only_one_and_has_room(
    widths: tuple[int, ...], narrow: bool
) -> None:
    drawings = {f"size-{k}": f'<svg role="img" width="{width}pt"></svg>' for k, width in enumerate(widths)}
    figures = "".join(f"\n\n**A title**\n\n![A title](figures/{name}.svg)\n\nA caption." for name in drawings)
    shown = render.page(f"# A report\n\n## Test accuracy{figures}\n", "A report", drawings)
    assert shown.count("<figure ") == len(widths)
    assert ('<section id="test-accuracy" class="narrow">' in shown) == narrow


def test_every_figure_of_the_report_is_inside_the_page(page: str) -> None:
    assert re.findall(r'<figure id="([^"]+)"', page) == [
        "accuracy",
        "differences",
        "curves-beans",
        "curves-elpv",
        "time",
        "confusion-beans",
        "confusion-elpv",
    ]
