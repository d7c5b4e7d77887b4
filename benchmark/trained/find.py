"""Search for done runs and their kept weights, by id or as the winner of a matrix."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from benchmark.analysis.results import load
from benchmark.analysis.winner import best_seed, winners
from benchmark.errors import UserError, did_you_mean
from benchmark.matrix import file
from benchmark.records.plan import make_plan
from benchmark.records.record import DoneRun, TunedRun
from benchmark.records.store import DamagedRecord, StaleRecord, Store, find_results


@dataclass(frozen=True)
class KeptRun:
    """A done run and its results folder.

    Attributes:
        record: record of the run.
        store: store of the results folder.
        title: which run it is, in words.
    """

    record: DoneRun
    store: Store
    title: str

    def find_weights(self) -> Path:
        """Return the file of the best epoch's weights, safetensors.

        Raises:
            UserError: the weights were not kept; the message ends with the command that produces them.
        """
        path = _weights_file(self.store, self.record.id)
        if path.is_file():
            return path
        spec, folder = self.record.spec, self.store.folder
        keys = ("dataset", "input_mode", "policy", "model", "image_size", "seed")
        only = [f"{key}={getattr(spec, key)}" for key in keys]
        command = ["python", "-m", "benchmark", "run", "--matrix", str(self.store.matrix)]
        command += ["--results", str(folder.parent), "--set", "keep_weights=best", "--force"]
        command += [word for selector in only for word in ("--only", selector)]
        raise UserError(f"{path}: the weights of this run were not kept. Produce them with:\n{shlex.join(command)}")


def _weights_file(store: Store, run_id: str) -> Path:
    return store.folder / "weights" / f"{run_id}.safetensors"


def find_kept(results: Path, run: str | None, best: str | None, dataset: str | None) -> KeptRun:
    """Return the run with id ``run``, or the winner of the results named ``best``.

    Raises:
        UserError: not exactly one of the two is given, or the run is missing.
    """
    if run is not None and best is None:
        return find_run(results, run)
    if best is not None and run is None:
        return find_winner(results, best, dataset)
    raise UserError("give exactly one of --run ID and --best NAME (the winner of these results).")


def find_run(results: Path, run_id: str) -> KeptRun:
    """Return the done run with an id from any folder below ``results``, preferably one that has its weights.

    Raises:
        UserError: the run does not exist, its record is damaged or from another protocol, or it is not done.
    """
    paths = sorted(results.glob(f"*/records/{run_id}.json")) if run_id.isalnum() else []
    if not paths:
        known = [path.stem for path in results.glob("*/records/*.json")]
        raise UserError(
            f"--run {run_id}: no such run under {results}.{did_you_mean(run_id, known)} "
            "`python -m benchmark plan --matrix NAME` lists the ids of a matrix."
        )
    store = max((Store(path.parents[1]) for path in paths), key=lambda store: _weights_file(store, run_id).is_file())
    record = store.load(store.path(run_id))
    if isinstance(record, DamagedRecord):
        raise UserError(f"{record.path}: damaged ({record.reason}). Run it again.")
    if isinstance(record, StaleRecord):
        raise UserError(f"--run {run_id}: made under another protocol version. Run it again.")
    if isinstance(record, TunedRun):
        raise UserError(f"--run {run_id}: {record.spec}: this is a tuning run, which keeps no weights.")
    if not isinstance(record, DoneRun):
        raise UserError(f"--run {run_id}: {record.spec} is not done: {record.status}: {record.reason}")
    return KeptRun(record, store, f"run {run_id}")


def find_winner(results: Path, name: str, dataset: str | None = None) -> KeptRun:
    """Return the run with the best validation accuracy in the cell that a matrix's report recommends.

    Args:
        results: parent of the results folders.
        name: name of the results folder.
        dataset: label of the dataset, or None if there is only one.

    Raises:
        UserError: the results are missing, there are several datasets and none is named, or no cell has all its seeds.
    """
    store = find_results(results, name)
    matrix = file.load(store.matrix)
    titles = [entry.title for entry in matrix.datasets]
    if dataset is None and len(titles) > 1:
        raise UserError(f"--best {name}: there are several datasets; name one with --dataset: {', '.join(titles)}.")
    wanted = dataset or titles[0]
    if wanted not in titles:
        raise UserError(f"--dataset {wanted}: {name} has no such dataset.{did_you_mean(wanted, titles)}")
    found = load(matrix, make_plan(matrix, store), store)
    best = winners(wanted, found)
    if not best:
        raise UserError(
            f"--best {name}: no cell of {wanted} has all its seeds. Finish one with: python -m benchmark run --matrix "
            f"{shlex.quote(str(store.matrix))} --results {shlex.quote(str(results))}"
        )
    seed, seeds = best_seed(best[0]), len(best[0].seeds)
    record = best[0].records[seed]
    cell = matrix.add_setup(f"{record.spec.input_mode} with {record.spec.policy}", best[0].key.setup)
    title = f"the winner of {name}: {cell}"
    if seeds == 1:
        return KeptRun(record, store, f"{title}, seed {seed}")
    accuracy = f"{100 * record.validation.accuracy:.1f} %"
    chosen = f"which has the highest mean validation accuracy; seed {seed}, the highest of its {seeds} ({accuracy})"
    return KeptRun(record, store, f"{title}, {chosen}")
