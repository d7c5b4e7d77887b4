"""Standard output and error, which no character and no reader that has gone can turn into a failure of a command."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, TextIO

from benchmark.errors import UserError


class _Raw(io.FileIO):
    """A file descriptor that takes everything; what cannot be written is lost, and `problem` is the reason."""

    problem: OSError | None = None

    def write(self, content: Any) -> int:
        if self.problem is None:
            try:
                return super().write(content) or 0
            except OSError as error:
                self.problem = error
        return memoryview(content).nbytes


def make_unfailing() -> None:
    """Let standard output and error take every text, in every encoding; call `raise_problem` at the end.

    A character that the encoding lacks is escaped. A command does its work without a reader: its results are files.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream: Any = getattr(sys, name) or _open_nothing(number)
        if stream.isatty():
            stream.reconfigure(errors="backslashreplace")
        else:
            stream.flush()
            raw = io.BufferedWriter(_Raw(stream.fileno(), "w", closefd=False))
            setattr(sys, name, io.TextIOWrapper(raw, stream.encoding, "backslashreplace", line_buffering=True))


def _open_nothing(number: int) -> TextIO:
    """Give a stream that was closed when this process was started its number, which another file would take."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, number)
    os.set_inheritable(number, True)  # for child processes, if the descriptor has the number already
    if descriptor != number:
        os.close(descriptor)
    return os.fdopen(number, "w", encoding="utf-8", closefd=False)


def raise_problem() -> None:
    """Raise why something that was printed is lost, unless its reader has gone.

    Raises:
        UserError: the disk of the file is full, for example.
    """
    sys.stdout.flush()
    problem = getattr(getattr(sys.stdout.buffer, "raw", None), "problem", None)
    if problem is not None and problem.errno != errno.EPIPE:
        raise UserError(f"standard output: cannot be written ({problem.strerror}); what was printed is not complete.")
