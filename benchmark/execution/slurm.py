"""Execution of runs as jobs of SLURM, submitted as one array by submitit. Needs the extra ``slurm``.

A job starts its run's process as `local` does on this machine. Before a time limit, or when it is preempted, SLURM
signals the job, which submitit then requeues; the run resumes from its last checkpoint. Events and outcomes return
through the results folder, which all nodes must share.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from benchmark.errors import UserError
from benchmark.execution import forkserver, node, worker
from benchmark.execution.events import Event, Started, Warned
from benchmark.execution.executor import Take, not_done
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.record import Failure
from benchmark.training.context import Outcome, RunContext

OURS = {"array", "chdir", "error", "nodes", "ntasks", "ntasks-per-node", "open-mode", "output", "signal", "wrap"}
"""Options of sbatch that this module or submitit sets."""

TIME = "60"
"""Default time limit of a job, minutes. A run that reaches it is requeued."""

REQUEUES = 50
"""Maximum number of times that a run is requeued."""

TICK = 1.0
"""Interval between checks for events and outcomes, seconds."""

ASK_AGAIN = 10.0
"""Interval between questions to SLURM about the jobs' states, seconds."""

GRACE = 30.0
"""Time that a job without an outcome must have been gone before its run is given up: it may be requeued, seconds."""

REMIND = 600.0
"""Interval between messages while all jobs wait, seconds."""

NEVER = re.compile(
    r"account|assocmaxwall|badconstraints|dependencyneversatisfied|invalid|jobheld|jobhold|joblaunch|launch.failed"
    r"|partition(?:node|time)limit|qosmaxwall|qosnotallowed|reservationdeleted",
    re.IGNORECASE,
)
"""Start of the reasons (squeue(1), "job reason codes") for which a waiting job does not start by itself."""

ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT", "GONE"}
"""States of jobs that have ended; ``GONE`` is a job that SLURM does not list."""


@dataclass(frozen=True)
class SlurmExecutor:
    """Execute runs on SLURM; see `executor.Executor`. All runs are taken at once: their jobs wait in SLURM's queue.

    Attributes:
        options: long options of sbatch, see `parse_options`.
        workers: maximum number of concurrent runs.
        threads: CPU threads per run.
        cluster: ``slurm``, or ``local`` for submitit's executor on this machine, which has no queue.
    """

    options: Mapping[str, str]
    workers: int
    threads: int
    cluster: str = "slurm"

    def __call__(
        self, take: Take, context: RunContext, timeout: float | None, on_event: Callable[[Event], None]
    ) -> Generator[Outcome, None, None]:
        """Execute runs.

        Raises:
            UserError: SLURM does not accept or never starts the jobs, or a node cannot execute runs.
        """
        specs = list(iter(take, None))
        if not specs:
            return
        context = replace(node.for_nodes(context), workers=1)
        results = context.weights_folder.parent
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".slurm-", dir=results, ignore_cleanup_errors=True) as name:
            expected = node.versions()
            tasks = [_Task(each, context, timeout, Path.cwd(), expected, Path(name) / each.id) for each in specs]
            command = _Command(self.cluster, self._submit(Path(name), tasks), on_event)
            try:
                yield from command.outcomes()
            finally:
                command.stop()

    def _submit(self, folder: Path, tasks: Sequence[_Task]) -> dict[_Task, Any]:
        submitit = import_submitit()
        options = {name.replace("-", "_"): value for name, value in {"time": TIME, **self.options}.items()}
        try:
            with _outside_jobs():
                limit = {f"{self.cluster}_max_num_timeout": REQUEUES}
                executor = submitit.AutoExecutor(folder, cluster=self.cluster, **limit)
                executor.update_parameters(
                    name=f"benchmark-{folder.parent.name}",
                    timeout_min=60,  # of local jobs
                    cpus_per_task=self.threads,
                    stderr_to_stdout=True,
                    slurm_time=0,  # so that submitit counts each requeue; sbatch gets the time of the options
                    slurm_array_parallelism=self.workers,
                    slurm_additional_parameters=options,
                    slurm_setup=[f"export PYTHONPATH={shlex.quote(os.pathsep.join(sys.path))} PYTHONSAFEPATH=1"],
                )
                return dict(zip(tasks, executor.submit_array(tasks), strict=True))
        except (RuntimeError, OSError) as error:
            why = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            raise UserError(f"--executor slurm: the jobs cannot be submitted ({why[-1].strip()}).") from error


@contextlib.contextmanager
def _outside_jobs() -> Iterator[None]:
    """Hide the variables of a job in which this command may run, which sbatch and srun would use for the new jobs."""
    names = [name for name in os.environ if name.startswith(("SLURM_", "SRUN_")) and name != "SLURM_CONF"]
    hidden = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(hidden)


@dataclass(frozen=True, eq=False)
class _Task:
    """A run, as its job executes it.

    Attributes:
        expected: `node.versions` of the command.
        events: file for the run's events, one per line in JSON.
    """

    spec: RunSpec
    context: RunContext
    timeout: float | None
    cwd: Path
    expected: Mapping[str, str]
    events: Path

    def __call__(self) -> Outcome | UserError:
        try:
            node.prepare("slurm", self.cwd, self.expected)
            _start_importing()
            return node.execute(self.spec, self.context, self.timeout, self._send)
        except UserError as error:
            return error

    def checkpoint(self) -> Any:
        """Return what the requeued job executes: the same, which resumes from the run's last checkpoint."""
        return import_submitit().helpers.DelayedSubmission(self)

    def _send(self, event: Event) -> None:
        with self.events.open("ab") as file:
            file.write(_events().dump_json(event) + b"\n")


@functools.cache
def _events() -> TypeAdapter[Event]:
    return TypeAdapter(Event, config=ConfigDict(ser_json_inf_nan="strings"))  # a loss may become infinite or NaN


def _start_importing() -> None:
    """Start the fork server with the signals of a requeue blocked, which SLURM sends to every process of a job."""
    resource_tracker.ensure_running()  # in Python 3.11 and older, its start unblocks SIGTERM
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
    try:
        forkserver.start_importing()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Command:
    """The jobs of one command.

    Args:
        cluster: see `SlurmExecutor`.
        jobs: submitted jobs by task.
        on_event: see `executor.Executor`.
    """

    def __init__(self, cluster: str, jobs: dict[_Task, Any], on_event: Callable[[Event], None]) -> None:
        self._cluster, self._active, self._on_event = cluster, jobs, on_event
        self._asked = self._reminded = time.monotonic()
        self._states: dict[str, tuple[str, str]] = {}  # state and reason of each job, by its id
        self._alive = {job.job_id: self._asked for job in jobs.values()}  # when it was last seen not to have ended
        self._started: dict[str, Started] = {}
        self._positions = {task.spec.id: 0 for task in jobs}  # bytes of events that have been read

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcomes of runs until none is active."""
        while self._active:
            for task in self._active:
                self._pass_on_events(task)
            yield from [self._outcome(task) for task, job in list(self._active.items()) if self._is_over(job)]
            if time.monotonic() - self._asked > ASK_AGAIN:
                self._ask()
            time.sleep(TICK)

    def stop(self) -> None:
        """Cancel the active jobs, and wait until they have ended."""
        jobs = {job.job_id: job for job in self._active.values()}
        if self._cluster == "slurm" and jobs:
            for signals in ([], ["--signal=KILL"]):  # those that wait; those that run, at once
                subprocess.run(["scancel", *signals, *jobs], capture_output=True, check=False)
        else:
            for job in jobs.values():
                job.cancel(check=False)
        deadline = time.monotonic() + GRACE
        while any(state not in ENDED for state, _ in self._current().values()) and time.monotonic() < deadline:
            time.sleep(TICK / 4)

    def _is_over(self, job: Any) -> bool:
        return job.paths.result_pickle.exists() or time.monotonic() - self._alive[job.job_id] > GRACE + ASK_AGAIN

    def _outcome(self, task: _Task) -> Outcome:
        job = self._active.pop(task)
        self._pass_on_events(task)
        state, _ = self._states.get(job.job_id, ("GONE", ""))
        reason = f"its job {job.job_id} ended without an outcome, in state {state}"
        if job.paths.result_pickle.exists():
            try:
                outcome = job.result()
            except Exception as error:  # of submitit: the text of an error in the job
                reason = str(error).replace("-", "").strip().splitlines()[-1]
            else:
                if isinstance(outcome, UserError):
                    raise outcome
                assert isinstance(outcome, Outcome)
                return outcome
        status: Failure = "oom" if state == "OUT_OF_MEMORY" else "killed"
        record = not_done(task.spec, self._started.get(task.spec.id), status, reason).record
        return Outcome(record.model_copy(update={"log": worker.last_lines(job.paths.stdout)}))

    def _pass_on_events(self, task: _Task) -> None:
        run = task.spec.id
        with contextlib.suppress(FileNotFoundError), task.events.open("rb") as file:
            file.seek(self._positions[run])
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is being written
                self._positions[run] += len(line)
                event = _events().validate_json(line)
                if isinstance(event, Started):
                    if run in self._started:
                        self._on_event(Warned(run, f"{event.spec}: its job was requeued and has started again"))
                    self._started[run] = event
                self._on_event(event)

    def _ask(self) -> None:
        """Ask for the jobs' states; print from time to time why all jobs wait.

        Raises:
            UserError: a job never starts.
        """
        self._asked = now = time.monotonic()
        current = self._current()
        states = {job.job_id: current.get(job.job_id, ("UNKNOWN", "")) for job in self._active.values()}
        self._states |= states
        for job_id, (state, reason) in states.items():
            if state not in ENDED:
                self._alive[job_id] = now
            if state == "PENDING" and NEVER.match(reason):
                raise UserError(
                    f"--executor slurm: job {job_id} does not start ({reason}). Change --slurm, or ask the cluster's "
                    "administrators. Finished runs are kept."
                )
        if any(state != "PENDING" for state, _ in states.values()):
            self._reminded = now
        elif states and now - self._reminded > REMIND:
            self._reminded = now
            reasons = ", ".join(sorted({reason for _, reason in states.values()}))
            self._on_event(Warned(next(iter(self._active)).spec.id, f"all {len(states)} jobs are waiting ({reasons})"))

    def _current(self) -> dict[str, tuple[str, str]]:
        """Return the current states and reasons of the active jobs by id; empty if SLURM does not answer."""
        jobs = {job.job_id: job for job in self._active.values()}
        if self._cluster != "slurm":
            return {job_id: ("RUNNING" if job.state == "RUNNING" else "COMPLETED", "") for job_id, job in jobs.items()}
        numbers = ",".join(sorted({job_id.partition("_")[0] for job_id in jobs}))
        asked = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r", f"--jobs={numbers}"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)
        if answer.returncode and "Invalid job id" not in answer.stderr:
            return {}
        lines = (line.split("|", 2) for line in answer.stdout.splitlines())
        known = {job_id: (state, reason) for job_id, state, reason in lines}
        return {job_id: known.get(job_id, ("GONE", "")) for job_id in jobs}


def import_submitit() -> Any:
    """Return the module ``submitit``.

    Raises:
        UserError: it is not installed.
    """
    try:
        import submitit
        import submitit.helpers
    except ImportError:
        raise UserError(
            "--executor slurm: submitit is not installed. Install it with pip install "
            "'greyscale-transfer-benchmark[slurm]', or in a clone with pip install -e '.[slurm]'."
        ) from None
    return submitit


def parse_options(given: Sequence[str]) -> dict[str, str]:
    """Return the long options of sbatch, by name without dashes.

    Args:
        given: values of ``--slurm``, ``NAME=VALUE``.

    Raises:
        UserError: a value is malformed, or is an option that this module sets.
    """
    options = {}
    for each in given:
        name, _, value = each.partition("=")
        name = name.strip().lower().replace("_", "-")
        if not re.fullmatch("[a-z][a-z-]*", name) or not value or not value.isprintable():
            raise UserError(
                f"--slurm {each!r}: write NAME=VALUE, a long option of sbatch, e.g. partition=gpu or gpus=1."
            )
        if name in OURS:
            raise UserError(f"--slurm {each}: {name} is set by this command.")
        options[name] = value
    return options
