"""Calls in processes with the libraries of a run, which this process does not import."""

from __future__ import annotations

import copy
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic, TypeVar

from benchmark.environment import WORKER_VARIABLES
from benchmark.errors import UserError
from benchmark.execution import forkserver
from benchmark.execution.forkserver import ATTEMPTS

Progress = Callable[[str, int, int], None]
"""Function called with (what, done, total)."""

Returned = TypeVar("Returned")


class ChildEndedError(Exception):
    """The process ended before its call did.

    Attributes:
        code: exit code; a negative value is the signal that ended it.
    """

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class _ElsewhereError(Exception):
    """The traceback of an error in the other process, shown as its cause."""


@dataclass(frozen=True)
class _Answer:
    """Return value of a call, or the error it raised and the text of its traceback."""

    returned: Any = None
    error: Exception | None = None
    trace: str = ""


class Child(Generic[Returned]):
    """A call in a new process with the libraries of a run, which ends with the call or with this process.

    Args:
        call: called there with a function that sends messages here; call and messages are pickled.
        variables: environment variables in addition to those of this process.
    """

    def __init__(self, call: Callable[[Callable[[Any], None]], Returned], variables: Mapping[str, str]) -> None:
        self._reader, writer = multiprocessing.Pipe(duplex=False)
        self._answer: _Answer | None = None
        self.is_over = False
        """Whether the call or the process has ended, as observed by `received`."""
        with writer:
            self._process = forkserver.start(_work, writer, {**os.environ, **variables}, call)

    def received(self) -> Iterator[Any]:
        """Yield the messages that have arrived, without waiting."""
        ended = self._process.exitcode is not None  # first, because messages arrive before the process ends
        try:
            while self._answer is None and self._reader.poll():
                message = self._reader.recv()
                if isinstance(message, _Answer):
                    self._answer = message
                else:
                    yield message
        except (EOFError, OSError):  # it ended, perhaps in the middle of a message
            ended = True
        self.is_over = ended or self._answer is not None

    def end(self) -> None:
        """Kill the process and wait until it has ended."""
        self._process.kill()
        self._process.join()
        self._reader.close()

    def result(self) -> Returned:
        """Return what the call returned; call `end` first.

        Raises:
            ChildEndedError: the process ended before the call did.
            Exception: the call raised it.
        """
        if self._answer is None:
            raise ChildEndedError(self._process.exitcode)
        if self._answer.error is not None:
            raise self._answer.error from _ElsewhereError(self._answer.trace)
        returned: Returned = self._answer.returned
        return returned

    @staticmethod
    def wait(children: Collection[Child[Any]], timeout: float | None = None) -> None:
        """Wait until a child has sent something or ended, at most ``timeout`` seconds."""
        connection.wait([each for child in children for each in (child._reader, child._process.sentinel)], timeout)


def call_in_side_process(
    function: Callable[..., Returned], *arguments: Any, progress: Callable[..., None] | None = None
) -> Returned:
    """Call ``function(*arguments)`` in a separate process; return its value or raise its error.

    Calling `forkserver.start_importing` earlier saves the time of the import.

    Args:
        function: function to call, with ``progress=...`` if that is given; pickled, like its arguments.
        arguments: arguments of the function.
        progress: called here with the arguments with which the function calls it.

    Raises:
        UserError: the process was ended in each of `ATTEMPTS` attempts.
    """
    call = partial(function, *arguments)
    for _ in range(ATTEMPTS):
        child = Child(partial(_call, call, progress is not None), {})
        try:
            while not child.is_over:
                Child.wait([child])
                for given in child.received():
                    assert progress is not None
                    progress(*given)
        finally:
            child.end()
        try:
            return child.result()
        except ChildEndedError as error:
            code = error.code
    raise UserError(
        f"a process of this command was ended {ATTEMPTS} times (exit code {code}; -9 means killed, often because "
        "memory ran out). Free some memory, or reduce training.batch_size."
    )


def _call(call: Callable[..., Returned], with_progress: bool, send: Callable[[Any], None]) -> Returned:
    return call(progress=lambda *given: send(given)) if with_progress else call()


def _work(writer: Connection, variables: Mapping[str, str], call: Callable[[Callable[[Any], None]], Any]) -> None:
    _set_environment(variables)
    _end_with_parent()
    try:
        answer = ForkingPickler.dumps(_Answer(call(writer.send)))
    except Exception as error:  # raised again in the parent
        answer = ForkingPickler.dumps(_Answer(error=_make_picklable(error), trace=traceback.format_exc()))
    sys.stdout.flush()
    writer.send_bytes(answer)


def _set_environment(variables: Mapping[str, str]) -> None:
    """Replace the variables of this process, which may be a fork of one with another environment.

    `WORKER_VARIABLES` are read when a program starts, so they are not changed.
    """
    kept = {name: value for name, value in os.environ.items() if name in WORKER_VARIABLES}
    os.environ.clear()
    os.environ.update({name: value for name, value in variables.items() if name not in WORKER_VARIABLES})
    os.environ.update(kept)


def _end_with_parent() -> None:
    """End this process as soon as the process that started it, or the one it was forked from, has ended.

    Only the latter can report its exit code.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("only for a process started by multiprocessing")
    watched = [parent.sentinel]
    with suppress(AttributeError, OSError):  # not Linux, or Linux before 5.3
        watched.append(os.pidfd_open(os.getppid()))

    def watch() -> None:
        connection.wait(watched)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


def _make_picklable(error: Exception) -> Exception:
    try:
        copy.copy(error)  # like pickle
    except Exception:  # a library's error may raise anything there
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
