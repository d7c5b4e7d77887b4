"""Folders, files and labels with hostile names through a real run: nothing leaves its folder, nothing is executed."""

from __future__ import annotations

import csv
import io
import re

import pytest
from markdown_it import MarkdownIt

from benchmark.matrix.matrix import table_label
from tests.commands import TRAINING, Commands
from tests.factories import picture, save
from tests.report.test_hostile_names import Elements

SCRIPT = "<script>alert(1)</script>"
TREE = "x & y $(touch pwned) | <img src=x onerror=alert(1)>"
"""Name of the folder of a dataset."""
FOLDERS = ("<img src=x onerror=alert(1)>", "$(touch pwned)", "a|b", "x & y", "_ % # {", "`touch pwned`")
"""Names of its classes' folders."""
LABELS = ("../../x", SCRIPT, "/etc/x", "a|b", "_ % # {", "=two+words", '" onload="alert(1)')
"""Of a CSV file, where any text can be a class."""


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """Return the folder of a command that has run, four levels deep, with its images next to it."""
    top = tmp_path_factory.mktemp("hostile")
    images = top / "images"
    for k, name in enumerate(FOLDERS):
        for number in range(10):
            save(picture(100 * k + number).convert("L"), images / TREE / name / f"$(touch pwned) <b> {number}.png")
    rows = []
    for number, label in enumerate(LABELS * 10):
        path = save(picture(7000 + number).convert("L"), images / "table" / f"{number} & ;touch pwned;.png")
        rows.append((path.name, label))
    with (images / "table" / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    made = Commands(top / "a" / "b" / "c", top / "cache")
    made.folder.mkdir(parents=True)
    matrix = made.matrix(
        datasets=[f"folder:{images / TREE}", {"name": f"folder:{images / 'table' / 'labels.csv'}", "label": LABEL}],
        input_modes=["grey-1ch"],
        policies=["scratch", "finetune-whole"],
        seeds=[0],
        training={**TRAINING, "epochs": 1},
        keep_weights="best",
        keep_thumbnails="all",
    )
    done = made.run("run", "--matrix", matrix)
    assert done.returncode == 0, done.stderr
    for verb in (["report"], ["report", "--check"], ["status", "--matrix", matrix], ["plan", "--matrix", matrix]):
        ended = made.run(*verb)
        assert ended.returncode == 0, ended.stderr
    return made


LABEL = "<script>alert(1)<script> ../../x _ % # {"
"""In tables, of the dataset with the CSV file."""


@pytest.mark.slow
def test_a_real_run_writes_nothing_outside_its_results_and_its_cache_and_executes_nothing(commands: Commands) -> None:
    top = commands.folder.parents[2]
    places = (commands.results(), commands.folder / "tiny.yaml", top / "images", top / "cache")
    outside = [path for path in top.rglob("*") if path.is_file() and not any(map(path.is_relative_to, places))]
    assert outside == []
    assert not list(top.rglob("pwned"))
    made = [path.relative_to(top) for place in (commands.results(), top / "cache") for path in place.rglob("*")]
    assert all(re.fullmatch(r"[A-Za-z0-9._/-]+", path.as_posix()) for path in made), made
    classes = {tuple(record["dataset"]["classes"]) for record in commands.records().values()}
    assert classes == {tuple(sorted(FOLDERS)), tuple(sorted(LABELS))}


@pytest.mark.slow
def test_its_report_holds_no_element_no_broken_row_and_no_command_of_theirs(commands: Commands) -> None:
    folder = commands.results()
    found = Elements()
    found.feed((folder / "report.html").read_text(encoding="utf-8"))
    assert not any("alert" in script for script in found.scripts)
    assert not any("alert" in (value or "") for _, value in found.handlers)
    assert "x" not in found.sources
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert not re.search(r"(?<!\\)<(script|img)", text)
    shown = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    assert shown.count("<table>") == len(re.findall(r"^\| :?-", text, flags=re.MULTILINE))
    body = (folder / "table.tex").read_text(encoding="utf-8").split("\n", 1)[1]
    assert not re.search(r"[%#_]|&(?= [y;])", re.sub(r"\\[&%$#_{}]", "", body)), body
    rows = csv.DictReader(io.StringIO((folder / "table.csv").read_text(encoding="utf-8")))
    assert {row["dataset"] for row in rows} == {table_label(TREE), LABEL}
