"""Execution of single runs on a node of a cluster, for the executors that distribute runs."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from benchmark import environment
from benchmark.errors import UserError
from benchmark.execution.events import Event
from benchmark.execution.local import LocalExecutor
from benchmark.locations import expand_home
from benchmark.matrix.run_spec import RunSpec
from benchmark.protocol import PROTOCOL_VERSION
from benchmark.training.context import Outcome, RunContext, load_run_images


def for_nodes(context: RunContext) -> RunContext:
    """Return a context with absolute paths, which are valid in any working folder."""
    return replace(
        context,
        weights_folder=context.weights_folder.absolute(),
        data_dir=context.data_dir and expand_home(context.data_dir).absolute(),
        checkpoints=context.checkpoints and context.checkpoints.absolute(),
        exhibits=context.exhibits and context.exhibits.absolute(),
    )


def versions() -> dict[str, str]:
    """Return the versions of the protocol, libraries and package, which affect results."""
    commit, dirty = environment.git_revision()
    return {
        "protocol": str(PROTOCOL_VERSION),
        **environment.package_versions(),
        "revision": "unknown" if commit is None else commit + (" with changes" if dirty else ""),
    }


def prepare(executor: str, cwd: Path, expected: Mapping[str, str]) -> None:
    """Remove settings from this process's environment, check its versions, and change to the working folder.

    Args:
        executor: value of ``--executor``.
        cwd: working folder of the command, for relative paths, on nodes that have it.
        expected: `versions` of the command.

    Raises:
        UserError: this node has other versions, so its results would not be comparable.
    """
    environment.remove_settings()
    mine = versions()
    different = [f"{name} {mine.get(name)} (not {each})" for name, each in expected.items() if mine.get(name) != each]
    if different:
        raise UserError(
            f"--executor {executor}: node {platform.node()} has {', '.join(different)}. Its results would not be "
            "comparable with this machine's: install the same versions on every node."
        )
    with contextlib.suppress(OSError):
        os.chdir(cwd)


def execute(spec: RunSpec, context: RunContext, timeout: float | None, send: Callable[[Event], None]) -> Outcome:
    """Execute a run in a process of this node; see `executor.Executor`. Images are prepared before its time starts."""
    with contextlib.suppress(Exception):  # the run raises the error again and records it
        load_run_images(spec, context.data_dir)
    runs = iter([spec])
    (outcome,) = LocalExecutor(1, ())(lambda: next(runs, None), context, timeout, send)
    return outcome
