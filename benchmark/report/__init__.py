"""The report of a matrix: a function of its records and its matrix file. No torch, no clock."""

from __future__ import annotations

from pathlib import Path

from tabulate import tabulate

from benchmark.analysis.differences import differences
from benchmark.analysis.published import load_sources
from benchmark.analysis.results import Results, load
from benchmark.analysis.score_differences import score_differences
from benchmark.files import write_atomically
from benchmark.matrix import Matrix
from benchmark.matrix_file import experiments_folder
from benchmark.plan import Plan
from benchmark.report import page, runs_file, tables
from benchmark.report.figures import pictures
from benchmark.report.latex import latex
from benchmark.report.markdown import markdown
from benchmark.report.pictures import Picture, stated_digest
from benchmark.report.text import count, plain
from benchmark.report.verdicts import recommendations
from benchmark.store import Store

FIGURES = "figures"
"""Folder of the pictures inside the results folder; nothing else belongs there."""


PAGE = "report.html"
"""The report as one file with its figures inside."""

RUNS = "runs.parquet"
"""One row a run."""


def texts_and_pictures(results: Results) -> tuple[dict[str, bytes], list[Picture]]:
    """Return the text files (relative path -> content) and the pictures, which are not drawn yet."""
    found = differences(results)
    figures = pictures(results, found)
    own = (d.contrast for d in found if d.contrast.headline and d.contrast.dataset in results.datasets)
    scores = {contrast: score_differences(contrast, results) for contrast in own}
    sources = load_sources(experiments_folder() / "published")
    texts = {
        "report.md": markdown(results, found, scores, figures, sources),
        "table.csv": tables.cells_csv(results),
        "differences.csv": tables.differences_csv(found, scores),
        "table.tex": latex(results),
    }
    return {name: text.encode() for name, text in texts.items()}, figures


def render(matrix: Matrix, plan: Plan, store: Store) -> dict[str, bytes]:
    """Return every file of the report: relative path -> content, ``report.md`` first.

    Raises:
        UserError: a record or its predictions are damaged or contradict each other.
    """
    texts, figures = texts_and_pictures(load(matrix, plan, store))
    html = page.page(texts["report.md"].decode(), _title(matrix), figures)
    others = {PAGE: html.encode(), RUNS: runs_file.encode(runs_file.runs_frame(plan))}
    return texts | others | {_path(picture): picture.png() for picture in figures}


def write(matrix: Matrix, plan: Plan, store: Store) -> list[Path]:
    """Write the report into the store's folder, each file atomically, and remove pictures it no longer has.

    Returns:
        The paths, ``report.md`` first.

    Raises:
        UserError: a record is damaged, or the folder cannot be written.
    """
    files = render(matrix, plan, store)
    for name, content in files.items():
        write_atomically(store.folder / name, content)
    for path in _surplus(store, set(files)):
        path.unlink()
    return [store.folder / name for name in files]


def check(matrix: Matrix, plan: Plan, store: Store) -> list[str]:
    """Compare the report on disk with what the records give.

    Texts are compared byte for byte, runs.parquet by its content, pictures, also those in report.html, by the hash of
    the data that they carry and by their own checksums.

    Returns:
        One line a file that differs, empty where all agree.

    Raises:
        UserError: a record is damaged.
    """
    texts, figures = texts_and_pictures(load(matrix, plan, store))
    lines = []
    for name, content in texts.items():
        path = store.folder / name
        if not path.is_file():
            lines.append(f"{name}: missing")
        elif path.read_bytes() != content:
            lines.append(f"{name}: changed")
    html = store.folder / PAGE
    if not html.is_file():
        lines.append(f"{PAGE}: missing")
    elif not _same_page(html.read_bytes(), texts["report.md"].decode(), _title(matrix), figures):
        lines.append(f"{PAGE}: changed")
    runs = store.folder / RUNS
    if not runs.is_file():
        lines.append(f"{RUNS}: missing")
    elif not runs_file.agrees(runs.read_bytes(), runs_file.runs_frame(plan)):
        lines.append(f"{RUNS}: changed")
    for picture in figures:
        path = store.folder / _path(picture)
        if not path.is_file():
            lines.append(f"{_path(picture)}: missing")
        elif (stated := stated_digest(path.read_bytes())) is None:
            lines.append(f"{_path(picture)}: damaged, or not made by this report")
        elif stated != picture.digest:
            lines.append(f"{_path(picture)}: shows other data")
    surplus = _surplus(store, {_path(picture) for picture in figures})
    return lines + [f"{path.relative_to(store.folder).as_posix()}: surplus" for path in surplus]


def terminal_table(matrix: Matrix, plan: Plan, store: Store) -> str:
    """Return the ledger and the comparison table as plain text.

    Raises:
        UserError: a record is damaged.
    """
    results = load(matrix, plan, store)
    header, rows = tables.comparison(results)
    counted = ", ".join(f"{number} {state}" for state, number in tables.ledger(results))
    note = (
        f"test accuracy in %: mean over seeds (95 % interval, seeds and images); {tables.BEST} highest of its dataset"
    )
    body = tabulate(rows, headers=header, tablefmt="simple", disable_numparse=True)
    return f"{matrix.name}: {count(len(plan.runs), 'run')}: {counted}\n\n{body}\n\n{note}"


def recommendation(matrix: Matrix, plan: Plan, store: Store) -> str:
    """Return the report's recommendation for each dataset as plain text.

    Raises:
        UserError: a record is damaged.
    """
    return plain(recommendations(load(matrix, plan, store)))


def _title(matrix: Matrix) -> str:
    return f"Greyscale transfer benchmark: {matrix.name}"


def _same_page(content: bytes, markdown: str, title: str, figures: list[Picture]) -> bool:
    try:
        return page.agrees(content.decode(), markdown, title, figures)
    except UnicodeDecodeError:
        return False


def _path(picture: Picture) -> str:
    return f"{FIGURES}/{picture.name}.png"


def _surplus(store: Store, wanted: set[str]) -> list[Path]:
    """Return pictures in the figures folder that the report does not have."""
    on_disk = sorted((store.folder / FIGURES).glob("*.png"))
    return [path for path in on_disk if f"{FIGURES}/{path.name}" not in wanted]
