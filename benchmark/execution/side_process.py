"""Work that needs a run's libraries, done in a process beside this one, which imports none of them."""

from __future__ import annotations

import copy
import os
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeVar

from benchmark import environment
from benchmark.errors import UserError
from benchmark.execution import forkserver
from benchmark.execution.worker import end_with_parent, set_environment

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""

Returned = TypeVar("Returned")

ATTEMPTS = 3
"""How often work is begun anew whose process was ended."""

_TOLD, _RETURNED, _RAISED = range(3)
"""Kinds of what the process sends."""


class Beside(Protocol):
    """Calls a function where a run's libraries are, and returns what it returns, or raises what it raises."""

    def __call__(
        self, function: Callable[..., Returned], *arguments: Any, progress: Progress | None = None
    ) -> Returned:
        """Call ``function(*arguments)``, with ``progress=progress`` where it is given; the rest is pickled."""
        ...


def beside(function: Callable[..., Returned], *arguments: Any, progress: Progress | None = None) -> Returned:
    """Be a `Beside`: call a function in a process of its own, which ends with the call and with this process.

    `libraries.start_importing`, called earlier, spares the time of the import.

    Raises:
        UserError: the process was ended, each time it was tried.
    """
    for _ in range(ATTEMPTS):
        try:
            return _called(partial(function, *arguments), progress)
        except _EndedError as error:
            code = error.code
    raise UserError(
        f"{ATTEMPTS} times a process that prepares the runs was ended (exit code {code}; -9: killed, as the system "
        "does when memory runs out). Free some memory, or lower training.batch_size."
    )


class _EndedError(Exception):
    """The process is gone, and has not told how the call ended."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class _ElsewhereError(Exception):
    """The traceback of an error in the process, shown as its cause."""


def _called(call: Callable[..., Returned], progress: Progress | None) -> Returned:
    forkserver.wait_until_imported()
    context = forkserver.context()
    reader, writer = context.Pipe(duplex=False)
    arguments = (writer, dict(os.environ), call, progress is not None)
    process = context.Process(target=_work, args=arguments, daemon=True)
    with reader:
        with writer, forkserver.variables(environment.worker_variables()), forkserver.interrupts_held():
            try:
                process.start()
            except forkserver.SERVER_GONE as error:
                raise _EndedError(None) from error
        try:
            while (message := _received(reader)) is not None:
                kind, content = message
                if kind == _RAISED:
                    raised, trace = content
                    raise raised from _ElsewhereError(trace)
                if kind == _RETURNED:
                    returned: Returned = content
                    return returned
                assert progress is not None
                progress(*content)
            process.join()
            raise _EndedError(process.exitcode)
        finally:
            process.kill()
            process.join()


def _received(reader: Connection) -> tuple[int, Any] | None:
    """Return the next message; None: the process ended first, perhaps in the middle of one."""
    try:
        message: tuple[int, Any] = reader.recv()
    except (EOFError, OSError):
        return None
    return message


def _work(told: Connection, variables: Mapping[str, str], call: Callable[..., Any], tells: bool) -> None:
    set_environment(variables)
    end_with_parent()

    def progress(what: str, done: int, total: int) -> None:
        told.send((_TOLD, (what, done, total)))

    try:
        answer = (_RETURNED, call(progress=progress) if tells else call())
    except Exception as error:  # raised where it was called
        answer = (_RAISED, (_picklable(error), traceback.format_exc()))
    told.send(answer)


def _picklable(error: Exception) -> Exception:
    try:
        copy.copy(error)  # as pickle does it
    except Exception:  # a library's error may raise anything there
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
