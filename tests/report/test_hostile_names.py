"""Names of datasets and classes cannot break a report, nor leave its folder."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt

from benchmark.matrix.expand import expand
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.store import Store
from benchmark.report import build
from benchmark.report.figures.charts import file_name, slug
from tests import factories

SCRIPT = "<script>alert(1)</script>"
FORMULA = "=HYPERLINK(1)"
LABELS = [SCRIPT, "../../x", "a`b$c\\frac\\d}{e#f%g_h&i~j^k", "$x$ <img src=x onerror=alert(1)>", FORMULA]
CLASSES = ("../../x", SCRIPT, "a|b", "`c`", "$\\frac$", "d\\", "}{#e", "%f", "two\nlines", '" onload="alert(1)')


def hostile_matrix() -> Matrix:
    return factories.grid(
        datasets=[{"name": "beans", "label": label} for label in LABELS],
        input_modes=["grey-3ch", "grey-1ch"],
        policies=["finetune"],
    )


class Elements(HTMLParser):
    """Collects a page's elements and their event handlers."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.handlers: list[tuple[str, str | None]] = []
        self.sources: list[str | None] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_script = tag == "script"
        self.handlers += [(name, value) for name, value in attrs if name.startswith("on")]
        self.sources += [value for name, value in attrs if name == "src"]

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with a complete report, alone in a folder four levels deep."""
    matrix = hostile_matrix()
    store = Store(tmp_path_factory.mktemp("hostile") / "a" / "b" / "c" / matrix.name)
    correct = factories.latent()

    def save(spec: RunSpec) -> None:
        record, predictions = factories.record_of(spec, correct(spec))
        assert record.dataset is not None
        kept = record.dataset.model_copy(update={"classes": CLASSES})
        missing = len(CLASSES) - predictions.probabilities.shape[1]
        wide = replace(predictions, probabilities=np.pad(predictions.probabilities, ((0, 0), (0, missing))))
        store.save(record.model_copy(update={"dataset": kept}), wide)

    for spec in expand(matrix):
        save(spec)
    build.write(factories.results_of(matrix, store), store.folder)
    return store.folder


@pytest.mark.slow
def test_nothing_is_written_outside_the_results_folder(folder: Path) -> None:
    top = folder.parents[2]
    outside = [path for path in top.rglob("*") if path.is_file() and not path.is_relative_to(folder)]
    assert outside == []
    names = [path.name for path in (folder / "figures").iterdir()]
    assert len([name for name in names if name.startswith("curves-")]) == 2 * len(LABELS)
    assert all(re.fullmatch(r"[a-z0-9-]+\.(png|svg)", name) for name in names)


@pytest.mark.slow
def test_the_page_holds_no_element_of_theirs(folder: Path) -> None:
    found = Elements()
    found.feed((folder / "report.html").read_text(encoding="utf-8"))
    assert not any("alert" in script for script in found.scripts)
    assert not any("alert" in (value or "") for _, value in found.handlers)
    assert "x" not in found.sources


@pytest.mark.slow
def test_every_row_of_a_markdown_table_has_the_columns_of_its_header(folder: Path) -> None:
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert SCRIPT not in text
    header = 0
    for line in text.splitlines():
        cells = len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) if line.startswith("|") else 0
        assert cells in (0, header) or header == 0, line
        header = cells
    shown = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    assert shown.count("<table>") == len(re.findall(r"^\| :?-", text, flags=re.MULTILINE))


@pytest.mark.slow
def test_latex_holds_no_bare_special_sign(folder: Path) -> None:
    body = (folder / "table.tex").read_text(encoding="utf-8").split("\n", 1)[1]
    bare = re.sub(r"\\[&%$#_{}^]", "", body)
    assert not re.search(r"[%#_~^`]", bare.replace("a`b", "")), bare
    commands = {r"\begin", r"\end", r"\centering", r"\caption", r"\toprule", r"\midrule", r"\bottomrule", r"\textbf"}
    signs = {r"\textbackslash", r"\textasciitilde", r"\textasciicircum", r"\ensuremath", r"\textbar", r"\pm"}
    assert set(re.findall(r"\\[A-Za-z]+", bare.replace("\\\\\n", "\n"))) <= commands | signs
    assert bare.count("{") == bare.count("}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["table.csv", "differences.csv", "floor.csv"])
def test_the_csv_gives_the_names_back(folder: Path, name: str) -> None:
    rows = list(csv.DictReader(io.StringIO((folder / name).read_text(encoding="utf-8"))))
    assert {*LABELS, f"'{FORMULA}"} - {FORMULA} <= {row["dataset"] for row in rows}
    numbers = [row[name] for row in rows for name in row if name in ("difference", "low_95") and row[name]]
    assert all(float(number) <= 1 for number in numbers), "negative numbers are numbers"
    assert all(None not in row and None not in row.values() for row in rows)


def test_names_that_look_alike_have_files_of_their_own() -> None:
    names = [*LABELS, *CLASSES, "a b", "a|b", "a$b", "a-b", "a_b", "A-b", "a--b", "a-b-", "a/b", "a.b", "é", "ü", ".."]
    names += [slug(name) for name in names]  # a name that is another one's file name
    made = {name: slug(name) for name in names}
    assert len(set(made.values())) == len(made)
    assert all(re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", file) for file in made.values())
    assert (slug("beans"), slug("a-b")) == ("beans", "a-b")
    assert slug("timm/tf_efficientnet_lite0") == "timm-tf-efficientnet-lite0-9ef4e7e6"


def test_figures_of_a_dataset_and_a_model_share_no_name() -> None:
    beans = [{"name": "beans", "label": label} for label in ("a", "a-timm-resnet18", "A")]
    matrix = factories.grid(
        datasets=beans, models=["timm/resnet18", "timm/resnet18-timm-resnet18"], policies=["finetune"]
    )
    results = factories.results_of(matrix, Store(Path("nowhere")))
    made = [file_name("curves", setup, results, d) for d in results.datasets for setup in matrix.setups]
    assert len({name.lower() for name in made}) == 6
