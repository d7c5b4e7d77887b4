"""The report of a matrix: a function of its records and its matrix file, without dates."""

from __future__ import annotations

import io
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from pyarrow import BufferReader
from pyarrow.parquet import ParquetFile
from tabulate import tabulate

from benchmark.analysis import frames
from benchmark.analysis.differences import measure_headlines
from benchmark.analysis.floor import Floor, best_floor
from benchmark.analysis.looks import take
from benchmark.analysis.published import load_sources
from benchmark.analysis.results import Results
from benchmark.analysis.verdicts import differences
from benchmark.files import write_atomically
from benchmark.matrix.file import experiments_folder
from benchmark.matrix.matrix import UntilSettled
from benchmark.records import looks as looks_file
from benchmark.report import page, tables
from benchmark.report.figures import charts, images
from benchmark.report.figures.picture import Picture
from benchmark.report.markdown import markdown
from benchmark.report.sections.answer import answer, current_differences
from benchmark.report.sections.recommendation import NONE, legend, recommend
from benchmark.report.text import percent, plain
from benchmark.words import count

FIGURES = "figures"
"""Folder of the figures in the results folder; nothing else belongs there."""

DIGESTS = "figures.json"
"""File of figure names with the SHA-256 of the data that their files show."""

PAGE = "report.html"
"""The report as one file with its figures inside."""

RUNS = "runs.parquet"
"""Table with one row per run."""

TERMINAL_COLUMNS = 100
"""Width of sentences on a terminal."""

UNBROKEN = "\u00a0±\u00a0"
"""Between a difference and its half-width where lines are broken."""

REPORT = "report.md"
"""The report in Markdown."""

FACT_COLUMNS = 80
"""Width of the facts of a recommendation on a terminal; their names need the rest."""


def texts_and_pictures(results: Results) -> tuple[dict[str, bytes], list[Picture]]:
    """Return the text files (relative path -> content) and the figures, not yet drawn.

    Raises:
        UserError: a file that a run kept for the report is damaged.
    """
    found = differences(results)
    figures = [*charts.make_pictures(results, found), *images.make_pictures(results)]
    scores = measure_headlines(found, results)
    sources = load_sources(experiments_folder() / "published")
    texts = {
        REPORT: markdown(results, found, scores, figures, sources),
        "table.csv": tables.csv(frames.cells(results)),
        "differences.csv": tables.csv(frames.differences(found, scores)),
        "floor.csv": tables.csv(frames.floor(results)),
        "table.tex": tables.latex(results),
    }
    if isinstance(results.matrix.seeds, UntilSettled):
        texts[looks_file.FILE] = looks_file.encode(take(results)).decode()
    if results.plan.choices:
        texts["tuning.csv"] = tables.csv(frames.tuning(results.plan))
    return {name: text.encode() for name, text in texts.items()}, figures


def write(results: Results, folder: Path) -> list[Path]:
    """Write the report into a folder, each file atomically, and remove figures it no longer has.

    A figure is drawn if its SVG file is missing or ``figures.json`` has another hash for its data. A missing PNG file
    (git does not keep them) is drawn alone.

    Returns:
        The paths, ``report.md`` first.

    Raises:
        UserError: a file that a run kept for the report is damaged, or the folder cannot be written.
    """
    texts, figures = texts_and_pictures(results)
    digests = _read_digests(folder)
    stale = [f for f in figures if digests.get(f.name) != f.digest or not _paths(f, folder)[1].is_file()]
    if stale:  # after a kill while drawing, figures.json is missing: all is drawn from scratch
        (folder / DIGESTS).unlink(missing_ok=True)
    for picture in figures:
        paths = _paths(picture, folder)
        wanted = paths if picture in stale else [path for path in paths if not path.is_file()]
        for path, content in zip(paths, picture.draw_files(), strict=True) if wanted else ():
            if path in wanted:
                write_atomically(path, content)
    files = texts | {
        PAGE: _page(results, texts, figures, folder),
        RUNS: encode_runs(frames.runs(results.plan)),
        DIGESTS: _digests(figures),
    }
    for name, content in files.items():
        if _read(folder, name) != content:
            write_atomically(folder / name, content)
    for path in _surplus(folder, figures):
        path.unlink()
    return [*(folder / name for name in files), *(path for picture in figures for path in _paths(picture, folder))]


def check(results: Results, folder: Path) -> list[str]:
    """Compare the report in a folder with the records, without drawing.

    Texts are compared byte by byte, ``report.html`` with the SVG files on disk inserted, ``runs.parquet`` by its
    content, figures by the hashes of their data in ``figures.json``. PNG files may be missing.

    Returns:
        One line per file that differs, empty if all agree.

    Raises:
        UserError: a file that a run kept for the report is damaged.
    """
    texts, figures = texts_and_pictures(results)
    lines = {
        path.relative_to(folder).as_posix(): "missing"
        for _, path in (_paths(picture, folder) for picture in figures)
        if not path.is_file()
    }
    expected = {**texts, DIGESTS: _digests(figures)}
    if not lines:
        expected[PAGE] = _page(results, texts, figures, folder)
    on_disk = {name: _read(folder, name) for name in (*texts, PAGE, RUNS, DIGESTS)}
    lines |= {name: "missing" for name, content in on_disk.items() if content is None}
    lines |= {name: "changed" for name, content in expected.items() if on_disk[name] not in (None, content)}
    runs = on_disk[RUNS]
    if runs is not None and not runs_agree(runs, frames.runs(results.plan)):
        lines[RUNS] = "changed"
    lines |= {path.relative_to(folder).as_posix(): "surplus" for path in _surplus(folder, figures)}
    return [f"{name}: {what}" for name, what in lines.items()]


def encode_runs(frame: pd.DataFrame) -> bytes:
    """Return the Parquet file; its bytes depend on the versions of pandas and pyarrow, its content does not."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def runs_agree(content: bytes, frame: pd.DataFrame) -> bool:
    """Return whether a Parquet file, of any version of pandas and pyarrow, contains exactly this table.

    They are compared as pandas reads them: Arrow's type of a text is another one since pandas 3.
    """
    try:
        found, expected = (
            ParquetFile(BufferReader(each)).read(use_threads=False).to_pandas(use_threads=False)
            for each in (content, encode_runs(frame))
        )
    except (OSError, ValueError):  # pyarrow's ArrowInvalid is a ValueError
        return False
    return bool(found.equals(expected))


def table(results: Results) -> str:
    """Return the ledger, the comparison table and the best floor rows as plain text."""
    header, rows = tables.comparison(results)
    best = {dataset: best_floor(dataset, results.floor) for dataset in results.datasets}
    lines = [
        f"{results.matrix.name}: {count(len(results.plan.runs), 'run')}: {tables.ledger(results)}",
        "",
        tabulate(rows, headers=header, tablefmt="simple", disable_numparse=True),
        "",
        f"test accuracy in %: mean over seeds (95 % interval, seeds and images); {tables.BEST} highest of its dataset",
        *(
            f"{name}: best floor row: {row.method} {percent(row.mean('test.accuracy') or 0.0)}"
            for name, row in best.items()
            if row
        ),
    ]
    return "\n".join(lines)


def floor_table(floors: Sequence[Floor]) -> str:
    """Return the floor rows as plain text."""
    header, rows = tables.floor(floors)
    body = tabulate(rows, headers=header, tablefmt="simple", disable_numparse=True)
    return f"floor rows: methods without a network; {tables.BEST} highest validation accuracy\n\n{body}\n"


def answer_text(results: Results) -> str:
    """Return the answer as plain text."""
    return _wrapped(plain(answer(results, differences(results))))


def readings(results: Results) -> str:
    """Return the current difference of each question with its interval as plain text, one line per question."""
    return plain(current_differences(results, differences(results)))


def recommendation(results: Results, *, with_legend: bool = True) -> str:
    """Return the report's recommendations as plain text: a sentence and a small table for each dataset."""
    parts = []
    for each in recommend(results):
        rows = [(name, plain(text).replace(" ± ", UNBROKEN)) for name, text in each.rows.items()]
        facts = tabulate(rows, tablefmt="plain", maxcolwidths=[None, FACT_COLUMNS], disable_numparse=True)
        facts = textwrap.indent(facts.replace(UNBROKEN, " ± "), "  ")
        parts.append(f"{_wrapped(plain(each.sentence))}\n{facts}".rstrip())
    if not parts:
        return NONE
    return "\n\n".join([*parts, _wrapped(legend(results))] if with_legend else parts)


def _wrapped(text: str) -> str:
    lines = text.replace(" ± ", UNBROKEN).splitlines()
    return "\n".join(textwrap.fill(line, TERMINAL_COLUMNS) for line in lines).replace(UNBROKEN, " ± ")


def _page(results: Results, texts: Mapping[str, bytes], figures: Sequence[Picture], folder: Path) -> bytes:
    """Return report.html with the figures' SVG files on disk inserted."""
    drawings = {picture.name: _paths(picture, folder)[1].read_bytes().decode(errors="replace") for picture in figures}
    title = f"Greyscale transfer benchmark: {results.matrix.name}"
    return page.page(texts[REPORT].decode(), title, drawings).encode()


def _digests(figures: Sequence[Picture]) -> bytes:
    return (json.dumps({picture.name: picture.digest for picture in figures}, indent=1) + "\n").encode()


def _read_digests(folder: Path) -> dict[str, str]:
    """Return the content of figures.json, empty if it is missing or damaged."""
    try:
        found = json.loads(_read(folder, DIGESTS) or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _read(folder: Path, name: str) -> bytes | None:
    path = folder / name
    return path.read_bytes() if path.is_file() else None


def _paths(picture: Picture, folder: Path) -> tuple[Path, Path]:
    """Return the PNG and the SVG file of a figure."""
    path = folder / FIGURES / picture.name
    return path.with_name(f"{picture.name}.png"), path.with_name(f"{picture.name}.svg")


def _surplus(folder: Path, figures: Sequence[Picture]) -> list[Path]:
    """Return the files in the figures folder that do not belong to the report."""
    wanted = {path for picture in figures for path in _paths(picture, folder)}
    return sorted(set((folder / FIGURES).glob("*.[ps][nv]g")) - wanted)
