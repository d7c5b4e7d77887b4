"""The benchmark's Python interface, on which the command line is built.

``import benchmark`` gives the functions; each imports what it needs when it is called.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from benchmark import environment
from benchmark.errors import UserError
from benchmark.matrix import file
from benchmark.matrix.identify import identify_folders, identify_weights
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.plan import PlannedRun
from benchmark.records.selection import Selection, select_runs
from benchmark.records.store import DamagedRecord, Store, find_results

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.analysis.comparison import Comparison
    from benchmark.analysis.differences import Difference
    from benchmark.analysis.results import Results as LoadedResults
    from benchmark.execution.matrix_run import NotDone
    from benchmark.execution.place import Place
    from benchmark.records.merge import Merged
    from benchmark.records.record import RunRecord

StrPath = str | os.PathLike[str]


def load_matrix(matrix: StrPath, changes: Mapping[str, object] | None = None, *, name: str | None = None) -> Matrix:
    """Read a matrix and check it completely.

    Args:
        matrix: name of a shipped matrix, or a YAML file.
        changes: values by dotted key, as for ``--set``: ``{"seeds": [0, 1], "training.epochs": 5}``.
        name: name of the results folder; default: the matrix's name.

    Raises:
        UserError: the matrix or a change is wrong; the message names every problem with its place.
    """
    overrides = [f"{key}={json.dumps(value, default=str)}" for key, value in (changes or {}).items()]
    return identify_weights(identify_folders(file.load(file.find(os.fspath(matrix)), overrides, name)))


def expand(matrix: Matrix) -> list[RunSpec]:
    """Return the runs of a matrix; if it has several learning rates, the runs at each and the runs that choose one."""
    from benchmark.matrix.tuning import every_run

    return every_run(matrix)


def plan(matrix: Matrix, *, only: Sequence[str] = (), results: StrPath = "results") -> pd.DataFrame:
    """Compare the runs of a matrix with the records on disk. Trains nothing.

    Args:
        matrix: the matrix.
        only: selectors ``KEY=VALUE``, as for ``--only``.
        results: parent of the results folders.

    Returns:
        One row per run with the columns of `benchmark.execution.forecast.ListedRun`: its names, its state, and its
        expected duration on this machine, seconds.

    Raises:
        UserError: a selector is wrong.
    """
    import pandas as pd

    from benchmark.execution.forecast import ListedRun, forecast, list_runs

    selection = select_runs(matrix, only, Path(results))
    rows = list_runs(selection, forecast(selection.plan))
    return pd.DataFrame(rows, columns=list(ListedRun._fields))


def run(
    matrix: Matrix,
    *,
    only: Sequence[str] = (),
    executor: Literal["local", "ray", "slurm"] = "local",
    ray_address: str | None = None,
    slurm: Sequence[str] = (),
    track: Literal["tensorboard", "trackio"] | None = None,
    workers: int | None = None,
    runs_per_gpu: int = 1,
    data_dir: StrPath | None = None,
    results: StrPath = "results",
    force: bool = False,
    progress: bool = False,
) -> Results:
    """Execute the runs of a matrix that are not done, write the report, and return the results.

    Runs are executed in separate processes, which import nothing from the caller's script or notebook. Failed runs are
    in the results, with the reason; another call retries them, and resumes interrupted runs.

    Args:
        matrix: the matrix.
        only: selectors ``KEY=VALUE``, as for ``--only``.
        executor: where runs are executed: on this machine, on a Ray cluster, or as jobs of SLURM.
        ray_address: address of the cluster, ``HOST:PORT`` or ``auto``; default: Ray on this machine only.
        slurm: long options of sbatch ``NAME=VALUE``, as for ``--slurm``.
        track: experiment tracker that also gets losses and scores of the runs, in the results folder's ``tracking/``.
        workers: number of concurrent runs; default: as many as fit on the GPUs or, without GPUs, on the cores.
        runs_per_gpu: number of runs that share a GPU.
        data_dir: folder of the datasets; default: ``BENCHMARK_DATA_DIR``, else the user's data folder.
        results: parent of the results folders; each is named after its matrix.
        force: whether to repeat runs that are done.
        progress: whether to print what ``python -m benchmark run`` prints, or only warnings.

    Raises:
        UserError: an error in the input, such as a selector, an image or a model's name.
    """
    import matplotlib  # noqa: F401  # now: it reads the backend of a notebook, which is shut out of the runs

    from benchmark.execution.place import Place

    folder = None if data_dir is None else Path(data_dir)
    place = Place(executor, ray_address, workers, runs_per_gpu, folder, slurm, track)
    with environment.without_settings() as ignored:
        environment.refuse_other_training(ignored)
        selection = select_runs(matrix, only, Path(results), verify=True)
        return run_selected(selection, place, force=force, progress=progress)


def run_selected(selection: Selection, place: Place, *, force: bool = False, progress: bool = False) -> Results:
    """Execute the selected runs that are not done, and write the report; see `run`."""
    todo = selection.todo(force=force)
    if todo:
        from benchmark.execution import forkserver

        forkserver.start_importing()  # meanwhile this process imports what it needs itself
    if progress:
        for remark in selection.remarks():
            typer.echo(remark)
    not_done = execute(selection, todo, place, force=force, progress=progress)
    return write_report(selection, not_done, progress=progress)


def execute(
    selection: Selection,
    todo: Sequence[PlannedRun],
    place: Place,
    *,
    first_table: bool = True,
    force: bool = False,
    progress: bool = False,
) -> NotDone:
    """Execute runs of a selection, and compute missing floor rows meanwhile; see `benchmark.execution.matrix_run`.

    With ``first_table``, a report is written as soon as the runs on cached features and the floor rows are done.
    """
    from benchmark.analysis.floor import by_method
    from benchmark.execution import matrix_run
    from benchmark.execution.interim import Descriptions
    from benchmark.report import build

    def describe_floor() -> str:
        return build.floor_table(by_method(selection.floor()))

    def describe_readings() -> str:
        return build.readings(read_results(selection.matrix, selection.store).loaded)

    def report_first() -> str:
        results = write_report(selection)
        return f"\n{results}\npreliminary report: {results.folder / build.REPORT}\n"

    descriptions = Descriptions(describe_floor, describe_readings, report_first if first_table else None)
    return matrix_run.execute(selection, todo, place, descriptions=descriptions, force=force, quiet=not progress)


def write_report(selection: Selection, not_done: NotDone | None = None, *, progress: bool = False) -> Results:
    """Write the report of a selection's matrix, and return its results.

    Records are read under the folder's lock: no other command can then write an older report over a newer one.

    Args:
        selection: the selection of runs.
        not_done: runs and floor rows that this command could not finish.
        progress: whether to print the answer, the table and the path of the report.

    Raises:
        UserError: predictions are damaged, or the report cannot be written.
    """
    from benchmark.execution.claims import remove_done_checkpoints
    from benchmark.records.locks import folder_locked

    store = selection.store
    writable = os.access(store.folder, os.W_OK)  # a report that agrees with its records is shown all the same
    with folder_locked(store.folder) if writable else nullcontext():
        results = read_results(selection.matrix, store, not_done)
        if store.checkpoints.is_dir():
            remove_done_checkpoints(store, [record.id for record in results.loaded.plan.finished])
        try:  # first: a report does not depend on who reads what is printed
            path = results.report()
        finally:
            if progress:
                typer.echo(f"\n{results}")
    if progress:
        typer.echo(f"report: {path}")
    return results


def load_results(name: str, *, results: StrPath = "results") -> Results:
    """Return the results of a matrix from its records, floor rows, kept matrix file and groups.csv.

    Args:
        name: name of the results folder.
        results: parent of the results folders.

    Raises:
        UserError: there are no such results, or predictions are damaged.
    """
    store = find_results(Path(results), name)
    return read_results(file.load(store.matrix), store)


def read_results(matrix: Matrix, store: Store, not_done: NotDone | None = None) -> Results:
    """Return the results of a matrix as they are on disk now; ``not_done`` lists what a command could not finish."""
    from benchmark.analysis.looks import load_current

    loaded = load_current(matrix, store)
    return Results(loaded) if not_done is None else Results(loaded, tuple(not_done.runs), tuple(not_done.floor))


def merge(folders: Sequence[StrPath], into: StrPath) -> Merged:
    """Merge results of one matrix, made by several people or machines, into a new folder, and write its report.

    A run that several folders have with the same results is taken from the first. Of different results of a run the
    first folder's are used; the others are kept in ``conflicts/`` of the new folder, and the report says so.

    Args:
        folders: results folders of the same matrix, or of parts of it.
        into: the new folder, written completely or not at all.

    Returns:
        What was merged, with the conflicts.

    Raises:
        UserError: a folder has no results, their matrices, images, or groups of images differ, or ``into`` exists.
    """
    from benchmark.analysis import looks
    from benchmark.files import new_folder
    from benchmark.records.merge import merge
    from benchmark.report import build
    from benchmark.words import slug

    name = Path(into).resolve().name
    if name != slug(name):
        raise UserError(f"--into {into}: name a folder of letters, digits, '.', '_' and '-', which names its matrix.")
    with new_folder(Path(into)) as folder:
        merged = merge([Path(each) for each in folders], folder, name)
        store = Store(folder)
        looks.update(merged.matrix, store)
        build.write(read_results(merged.matrix, store).loaded, folder)
    return merged


def compare(first: StrPath, second: StrPath) -> Comparison:
    """Compare two results of one matrix run by run: another machine, another version, another number of threads.

    Args:
        first: a results folder.
        second: another one.

    Raises:
        UserError: no run is done in both, or their images differ, or predictions are damaged.
    """
    from benchmark.analysis.comparison import compare

    both = (find_results(Path(each).parent, Path(each).name) for each in (first, second))
    one, other = (read_results(file.load(store.matrix), store).loaded for store in both)
    return compare(one, other)


@dataclass(frozen=True, repr=False)
class Results:
    """The results of a matrix as tables; ``print`` shows the answer and the table of accuracies.

    Scores are shares (0..1), differences are shares (-1..1), times are seconds; unknown values are missing.

    Attributes:
        loaded: the cells with their records and predictions, from which the tables are made.
        not_done: records of the runs that `run` could not finish.
        floor_problems: a message for each floor row that `run` could not compute.
    """

    loaded: LoadedResults
    not_done: tuple[RunRecord, ...] = ()
    floor_problems: tuple[str, ...] = ()

    @property
    def matrix(self) -> Matrix:
        """The matrix."""
        return self.loaded.matrix

    @property
    def folder(self) -> Path:
        """The results folder."""
        return self.loaded.store.folder

    @property
    def damaged(self) -> tuple[DamagedRecord, ...]:
        """Damaged records and floor rows, which no number uses."""
        from benchmark.records.floor import damaged_rows

        rows = [row for each in self.loaded.floor for row in each.planned]
        return (*self.loaded.plan.damaged, *damaged_rows(rows))

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row per cell: accuracy with its interval, other scores, times; the columns of table.csv."""
        from benchmark.analysis import frames

        return frames.cells(self.loaded)

    @cached_property
    def differences(self) -> pd.DataFrame:
        """One row per paired difference of accuracies, with its interval; the columns of differences.csv."""
        from benchmark.analysis import frames
        from benchmark.analysis.differences import measure_headlines

        return frames.differences(self._differences, measure_headlines(self._differences, self.loaded))

    @cached_property
    def claims(self) -> pd.DataFrame:
        """One row per published claim and comparison that tests it, with the verdict."""
        from benchmark.analysis import frames
        from benchmark.analysis.published import judge, load_sources

        sources = load_sources(file.experiments_folder() / "published")
        judged = [judge(source.claims, self._differences, self.loaded) for source in sources]
        return frames.claims({claim: verdicts for each in judged for claim, verdicts in each.items()})

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per run, done or not, with its state and its record's fields; the columns of runs.parquet."""
        from benchmark.analysis import frames

        return frames.runs(self.loaded.plan)

    @cached_property
    def _differences(self) -> list[Difference]:
        from benchmark.analysis.verdicts import differences

        return differences(self.loaded)

    def report(self, folder: StrPath | None = None) -> Path:
        """Write the report (Markdown, HTML, CSV, LaTeX, figures) and return the path of its Markdown file.

        Args:
            folder: folder of the report; default: the results folder.

        Raises:
            UserError: a file that a run kept for the report is damaged, or the folder cannot be written.
        """
        from benchmark.report import build

        return build.write(self.loaded, self.folder if folder is None else Path(folder))[0]

    def __str__(self) -> str:
        from benchmark.report import build

        return f"{build.answer_text(self.loaded)}\n\n{build.table(self.loaded)}"

    def __repr__(self) -> str:
        return f"Results({str(self.folder)!r})"


def predict(
    images: StrPath | Iterable[StrPath],
    *,
    best: str | None = None,
    run: str | None = None,
    dataset: str | None = None,
    results: StrPath = "results",
) -> pd.DataFrame:
    """Classify images with a run's kept weights, decoded and normalised exactly as the run's own images.

    ``keep_weights: best`` in a matrix keeps the weights.

    Args:
        images: files, and folders of files.
        best: name of a results folder, for the cell that its report recommends.
        run: id of a run; give this or ``best``.
        dataset: with ``best``, the dataset, if the results have several.
        results: parent of the results folders.

    Returns:
        One row per file: ``path``, ``class``, one column ``p(NAME)`` per class with its probability, and ``problem``,
        the reason why a file could not be read as an image, which has no class then.

    Raises:
        UserError: there is no such run, its weights were not kept, or no file is given.
    """
    import pandas as pd

    from benchmark.trained.find import find_kept
    from benchmark.trained.predict import list_images
    from benchmark.trained.predict import predict as predictions
    from benchmark.trained.restore import open_run

    kept = find_kept(Path(results), run, best, dataset)
    trained = open_run(kept.record, kept.find_weights())
    classes = trained.record.dataset.classes
    given = [images] if isinstance(images, str | os.PathLike) else list(images)
    rows: list[dict[str, Any]] = []
    for each in predictions(trained, list_images([Path(path) for path in given])):
        row: dict[str, Any] = {"path": str(each.path), "problem": each.problem}
        if each.probabilities is not None:
            row["class"] = classes[int(each.probabilities.argmax())]
            row |= {f"p({name})": float(p) for name, p in zip(classes, each.probabilities, strict=True)}
        rows.append(row)
    if not rows:
        raise UserError(f"predict: no files below {', '.join(map(str, given))}.")
    return pd.DataFrame(rows, columns=["path", "class", *(f"p({name})" for name in classes), "problem"])
