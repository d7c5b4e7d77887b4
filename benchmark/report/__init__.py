"""The report of a matrix: a function of its records and its matrix file. No torch, no clock."""

from __future__ import annotations

from collections.abc import Callable
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
from benchmark.report import manifest, page, runs_file, tables
from benchmark.report.figures import pictures
from benchmark.report.image_figures import image_pictures
from benchmark.report.latex import latex
from benchmark.report.markdown import markdown
from benchmark.report.pictures import Drawing, Picture, stated_digest, stated_in_svg
from benchmark.report.text import count, plain
from benchmark.report.verdicts import recommendations
from benchmark.store import Store

FIGURES = "figures"
"""Folder of the pictures inside the results folder; nothing else belongs there."""


PAGE = "report.html"
"""The report as one file with its figures inside."""

RUNS = "runs.parquet"
"""One row a run."""


def texts_and_pictures(results: Results, store: Store) -> tuple[dict[str, bytes], list[Picture]]:
    """Return the text files (relative path -> content) and the pictures, which are not drawn yet.

    Raises:
        UserError: a file that a run left for the report is damaged.
    """
    found = differences(results)
    figures = [*pictures(results, found), *image_pictures(results, store)]
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

    A figure whose files on disk are whole and show the same data is not drawn again.

    Raises:
        UserError: a record, its predictions or what a run left for the report are damaged or contradict each other.
    """
    texts, figures = texts_and_pictures(load(matrix, plan, store), store)
    drawn = [(picture, _kept(picture, store) or picture.drawn()) for picture in figures]
    files = texts | {
        PAGE: page.page(texts["report.md"].decode(), _title(matrix), drawn).encode(),
        RUNS: runs_file.encode(runs_file.runs_frame(plan)),
    }
    for picture, drawing in drawn:
        png, svg = _paths(picture)
        files |= {png: drawing.png, svg: picture.svg_file(drawing.svg)}
    return files | {manifest.NAME: manifest.manifest(files)}


def write(matrix: Matrix, plan: Plan, store: Store) -> list[Path]:
    """Write the report into the store's folder, each file atomically, and remove pictures it no longer has.

    Returns:
        The paths, ``report.md`` first.

    Raises:
        UserError: a record is damaged, or the folder cannot be written.
    """
    files = render(matrix, plan, store)
    for name, content in files.items():
        if _read(store, name) != content:
            write_atomically(store.folder / name, content)
    for path in _surplus(store, set(files)):
        path.unlink()
    return [store.folder / name for name in files]


def check(matrix: Matrix, plan: Plan, store: Store) -> list[str]:
    """Compare the report on disk with what the records give.

    Texts are compared byte for byte, runs.parquet by its content, pictures, also those in report.html, by the hash of
    the data that they carry; and every file with the hash that report.sha256 has of it.

    Returns:
        One line a file that differs, empty where all agree.

    Raises:
        UserError: a record is damaged.
    """
    texts, figures = texts_and_pictures(load(matrix, plan, store), store)
    markdown_text = texts["report.md"].decode()
    names = [*texts, PAGE, RUNS, *(path for picture in figures for path in _paths(picture))]
    on_disk = {name: content for name in names if (content := _read(store, name)) is not None}
    lines = {name: "missing" for name in names if name not in on_disk}

    def compare(name: str, agrees: Callable[[bytes], bool], otherwise: str = "changed") -> None:
        if name in on_disk and not agrees(on_disk[name]):
            lines[name] = otherwise

    for name, content in texts.items():
        compare(name, content.__eq__)
    compare(PAGE, lambda content: page.agrees(content, markdown_text, _title(matrix), figures))
    compare(RUNS, lambda content: runs_file.agrees(content, runs_file.runs_frame(plan)))
    for picture in figures:
        for name, stated in zip(_paths(picture), (stated_digest, stated_in_svg), strict=True):
            if name in on_disk:
                digest = stated(on_disk[name])
                if digest != picture.digest:
                    lines[name] = "damaged, or not made by this report" if digest is None else "shows other data"
    if not lines:
        hashes = _read(store, manifest.NAME)
        changed = [manifest.NAME] if hashes is None else manifest.changed(hashes, on_disk)
        lines = dict.fromkeys(changed, f"not the file that {manifest.NAME} names")
        if hashes is None or changed == [manifest.NAME]:
            lines = {manifest.NAME: "missing" if hashes is None else "changed"}
    surplus = [f"{path.relative_to(store.folder).as_posix()}: surplus" for path in _surplus(store, set(names))]
    return [f"{name}: {what}" for name, what in lines.items()] + surplus


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


def _read(store: Store, name: str) -> bytes | None:
    path = store.folder / name
    return path.read_bytes() if path.is_file() else None


def _kept(picture: Picture, store: Store) -> Drawing | None:
    """Return a picture as it lies on disk, where report.sha256 vouches for both files and they show the same data."""
    files = {name: content for name in _paths(picture) if (content := _read(store, name)) is not None}
    hashes = _read(store, manifest.NAME)
    if len(files) < 2 or hashes is None or not manifest.vouches(hashes, files):
        return None
    return picture.kept(*files.values())


def _paths(picture: Picture) -> tuple[str, str]:
    return f"{FIGURES}/{picture.name}.png", f"{FIGURES}/{picture.name}.svg"


def _surplus(store: Store, wanted: set[str]) -> list[Path]:
    """Return files in the figures folder that the report does not have."""
    on_disk = sorted((store.folder / FIGURES).glob("*.[ps][nv]g"))
    return [path for path in on_disk if f"{FIGURES}/{path.name}" not in wanted]
