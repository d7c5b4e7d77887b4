"""``run``: execute the runs of a matrix that are not done, print the table and write the report."""

from __future__ import annotations

import signal
import time
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark import environment
from benchmark.cli import options
from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.api import Results

SOME_RUN_FAILED = 1
INTERRUPTED = 130


class ExecutorName(str, Enum):
    """Values of ``--executor``."""

    local = "local"
    ray = "ray"
    slurm = "slurm"


class TrackerName(str, Enum):
    """Values of ``--track``."""

    tensorboard = "tensorboard"
    trackio = "trackio"


def run(
    matrix: options.MatrixOrNone = None,
    folder: options.Folder = None,
    overrides: options.Overrides = None,
    only: options.Only = None,
    executor: Annotated[
        ExecutorName,
        typer.Option(
            "--executor",
            help="Where runs are executed: on this machine, on Ray (extra: ray), or as jobs of SLURM (extra: slurm).",
        ),
    ] = ExecutorName.local,
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address",
            metavar="ADDRESS",
            help="Address of a Ray cluster: HOST:PORT, or auto on one of its nodes; default: Ray on this machine only.",
        ),
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            "--slurm",
            metavar="NAME=VALUE",
            help="A long option of sbatch for the jobs, e.g. partition=gpu, gpus=1, account=lab or time=4:00:00 "
            "(default: time=60, minutes; longer runs are requeued); may be repeated.",
        ),
    ] = None,
    track: Annotated[
        TrackerName | None,
        typer.Option(
            "--track",
            help="Also give losses and scores of the runs to TensorBoard (extra: tensorboard) or trackio, in the "
            "results folder's tracking/.",
        ),
    ] = None,
    workers: Annotated[
        str,
        typer.Option(
            "--workers",
            help="Concurrent runs: a number, or auto (GPUs x runs per GPU; without GPUs cores / threads; on a cluster "
            "as many as fit on its nodes).",
        ),
    ] = "auto",
    runs_per_gpu: Annotated[
        int, typer.Option("--runs-per-gpu", min=1, help="Runs that share a GPU; each run uses one GPU.")
    ] = 1,
    data_dir: options.DataDir = None,
    results: options.Results = options.DEFAULT_RESULTS,
    name: options.Name = None,
    force: Annotated[bool, typer.Option("--force", help="Repeat runs that are done.")] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="TIME",
            help="With --folder, on a CPU: time for the command, e.g. 90s, 10min or 1h; it decides the image size at "
            "which whole networks are trained. A later command with more time may add a larger one.",
            show_default="10min",
        ),
    ] = None,
) -> None:
    """Execute the runs of a matrix that are not done, print the table and write the report.

    Exit codes: 0 everything requested is done, 1 a run or floor row failed, 2 an error in the request, 130 interrupted.
    """
    ignored = environment.remove_settings()
    environment.refuse_other_training(ignored)
    if ignored:
        typer.echo(f"ignored settings in the environment: {', '.join(ignored)}", err=True)
    started = time.monotonic()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    if folder is not None and matrix is not None:
        raise UserError("--folder and --matrix: name one of them. In a matrix, datasets=[folder:PATH] names a folder.")
    if folder is None and budget is not None:
        raise UserError(f"--budget {budget}: give --folder with it; a matrix states which runs it has.")
    try:
        from benchmark.execution.place import Place

        place = Place(
            executor=executor.value,
            ray_address=ray_address,
            workers=_workers(workers),
            runs_per_gpu=runs_per_gpu,
            data_dir=data_dir,
            slurm=slurm or (),
            tracker=track.value if track else None,
        )
        if folder is not None:
            from benchmark.execution import forkserver

            forkserver.start_importing()  # meanwhile this process imports what it needs itself
            from benchmark.cli.folder_run import FolderRequest, run_folder

            found = run_folder(
                FolderRequest(folder, overrides or (), only, name, results, budget, force, started), place
            )
        else:
            from benchmark import api
            from benchmark.records.selection import select

            selection = select(matrix or options.DEFAULT_MATRIX, overrides, only, name, results, verify=True)
            found = api.run_selected(selection, place, force=force, progress=True)
            explain(found)
    except KeyboardInterrupt:
        typer.echo("interrupted. Finished runs are kept; run the same command again to resume.", err=True)
        # CPython notes an interrupt inside an exec of text (dataclasses use it), handled or not, and would end by the
        # signal whatever the exit code; the next exec of text clears the note.
        exec("")
        raise typer.Exit(INTERRUPTED) from None
    if found.not_done or found.floor_problems:
        raise typer.Exit(SOME_RUN_FAILED)


def _interrupt(number: int, frame: Any) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second signal ends this process at once, and workers with it
    raise KeyboardInterrupt


def _workers(given: str) -> int | None:
    if given == "auto":
        return None
    if given.isdigit():
        return int(given)
    raise UserError(f"--workers {given}: write a positive number, or auto.")


def explain(results: Results) -> None:
    """Print a line per run and floor row that is not done, what waits for them, and how to retry them."""
    from benchmark.records.selection import explain_waiting

    for message in results.floor_problems:
        typer.echo(message, err=True)
    for record in results.not_done:
        title = results.matrix.title(record.spec)
        typer.echo(f"{record.status}: {title} ({record.id}): {record.reason}", err=True)
    if results.not_done:
        for line in explain_waiting(results.matrix, results.loaded.plan):
            typer.echo(line, err=True)
        typer.echo(
            f"{len(results.not_done)} runs failed; tracebacks are in {results.folder / 'records'}/<id>.json. "
            "Run the same command to retry them.",
            err=True,
        )
